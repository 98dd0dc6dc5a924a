"""Batches of slices of sequences that are not registered: partners of one subject, and candidates for a partner.

A batch is a pure function of (seed, batch number), as in :mod:`.sampling`. Which subjects keep their annotations, and
how partners are shuffled, does not even depend on the seed of the batches: that is a property of an experiment.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..losses import UNLABELLED
from .augmentation import IntensityAugmentation, plane_grid, sample_plane
from .sampling import by_person, mask_centre
from .volumes import Subject

PAIRINGS = ("index", "random")


@dataclass(frozen=True)
class PairSamplingConfig:
    """How pairs are drawn (method-spec 2b and 2c).

    Attributes:
        batch: pairs per batch, each of another person.
        sizes: (H, W) of slices in pixels, one of them drawn per batch.
        slices: adjacent slices per input, odd.
        rotation, scale, shift, flip: half-ranges in degrees, fraction and pixels, and a probability; the same change
            for all slices of a pair. Rotation alone is published.
        intensity: arguments of :class:`.IntensityAugmentation`; None leaves intensities alone.
        pairing: "index" pairs slices of one index (or of one entry of ``about["pairs"]``, see :class:`PairSampler`);
            "random" then moves the partner of the first sequence by up to ``offset`` slices (Table III of DAFNet), by
            the same amount whenever that slice is drawn.
        offset: of "random".
        candidates: k slices per sequence to choose the partner from (pair weighting): the partner itself and k - 1
            others within ``reach`` slices, in random order; 0 = none.
        reach: see ``candidates``.
        annotated: sequence -> fraction of the persons whose labels of that sequence are used, the others' are
            UNLABELLED; 1 where a sequence is not named. Smaller fractions are subsets of larger ones.
        annotated_share: share of a batch (rounded up) that is drawn from the persons whose labels are used, where
            ``annotated`` leaves some of them out: half, as the published systems take a step on annotated and one on
            other subjects (method-spec 2b); 1 for what learns from labels alone. Drawn from all alike, 58 % of the
            batches of four held no label where an eighth of the persons has some.
        annotation_seed: which persons these are, and how "random" moves partners.
        lesions: probability that a slice is drawn from those that show a lesion of the subject, where there are any.
    """

    batch: int = 6
    sizes: Sequence[tuple[int, int]] = ((192, 192),)
    slices: int = 1
    rotation: float = 20.0
    scale: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    intensity: Mapping[str, float] | None = None
    pairing: str = "index"
    offset: int = 2
    candidates: int = 0
    reach: int = 2
    annotated: Mapping[str, float] = field(default_factory=dict)
    annotated_share: float = 0.5
    annotation_seed: int = 0
    lesions: float = 0.0

    def __post_init__(self) -> None:
        if self.pairing not in PAIRINGS:
            raise InputError(f'Unknown sampling.pairing "{self.pairing}"; use "index" or "random".')
        if self.candidates and (self.pairing == "random" or self.candidates > 2 * self.reach + 1):
            raise InputError(
                "sampling.candidates need sampling.pairing=index and at most 2 * sampling.reach + 1 of them."
            )
        if wrong := [s for s, fraction in self.annotated.items() if not 0 <= fraction <= 1]:
            raise InputError(f"sampling.annotated.{wrong[0]} must lie between 0 and 1.")
        if not 0 <= self.annotated_share <= 1:
            raise InputError("sampling.annotated_share must lie between 0 and 1.")

    def without_augmentation(self, batch: int) -> PairSamplingConfig:
        """For validation: batches of ``batch`` pairs as they are, with all annotations."""
        return replace(
            self, batch=batch, rotation=0.0, scale=0.0, shift=0.0, flip=0.0, intensity=None, annotated={}, lesions=0.0
        )


class PairSampler:
    """Draws pairs (with n sequences: n-tuples) of slices.

    The sequences of a subject have the same number of slices, slice k of one beside slice k of another; or
    ``subject.about["pairs"]`` names the partners: sequence -> indices, equally many of each, partners at the same
    position.

    Args:
        subjects: at least as many groups (persons) as ``config.batch``. Where a mask is everything, label 0 is the
            background; inside other masks it is unknown, as in :class:`.SliceSampler`.
        sequences: what the system reads; a sequence that a subject lacks is zero and not available.
        lesion_values: class indices that count as lesions.
        config: how.
        seed: of everything that is drawn.

    Raises:
        InputError: too few persons for a batch, a pair table that does not fit, or a sequence that is not there.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        sequences: Sequence[str],
        lesion_values: Sequence[int] = (),
        config: PairSamplingConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or PairSamplingConfig()
        self.sequences = tuple(sequences)
        self.seed = seed
        self.subjects, self._groups = by_person(subjects, self.sequences, self.config.batch)
        if unknown := sorted(set(self.config.annotated) - set(self.sequences)):
            raise InputError(f"sampling.annotated names {unknown[0]}, which the system does not read.")
        self.annotated = {s: self._annotated_groups(s) for s in self.sequences}
        self._labelled = self._labelled_persons()
        self._tables = [self._table(s) for s in self.subjects]
        self._full = [bool(s.mask.all()) for s in self.subjects]
        self._centres = [mask_centre(s.mask) for s in self.subjects]
        self._lesions = [self._positions_with(n, lesion_values) for n in range(len(self.subjects))]
        self._intensity = None if self.config.intensity is None else IntensityAugmentation(**self.config.intensity)

    def batch(self, number: int) -> dict[str, Any]:
        """Batch ``number``, as the fields of ``systems.base.Batch``."""
        config = self.config
        random = np.random.default_rng([self.seed, number])
        chosen = [int(random.choice(self._groups[name])) for name in self._persons(random)]
        size = tuple(config.sizes[int(random.integers(len(config.sizes)))])
        samples = [self._sample(index, size, random) for index in chosen]
        names = list(self._groups)
        batch = {
            "images": {s: torch.stack([sample[0][n, 0] for sample in samples]) for n, s in enumerate(self.sequences)},
            "available": {s: torch.tensor([s in self.subjects[i].images for i in chosen]) for s in self.sequences},
            "mask": torch.stack([sample[1] for sample in samples]),
            "sequence_labels": {s: torch.stack([x[2][n] for x in samples]) for n, s in enumerate(self.sequences)},
            "subject": torch.tensor([names.index(self.subjects[i].group) for i in chosen]),
        }
        if config.candidates:
            batch["candidates"] = {
                s: torch.stack([sample[0][n, 1:] for sample in samples]) for n, s in enumerate(self.sequences)
            }
        return batch

    def _persons(self, random: np.random.Generator) -> list[str]:
        """The persons of a batch, ``annotated_share`` of them from those whose labels are used."""
        size, everyone = self.config.batch, list(self._groups)
        if not self._labelled or len(self._labelled) == len(everyone):
            return [everyone[n] for n in random.choice(len(everyone), size, replace=False)]
        rest = [name for name in everyone if name not in self._labelled]
        wanted = min(math.ceil(self.config.annotated_share * size), len(self._labelled))
        wanted = max(wanted, size - len(rest))
        drawn = [*random.permutation(self._labelled)[:wanted], *random.permutation(rest)[: size - wanted]]
        return [str(name) for name in random.permutation(drawn)]

    def partners(self, index: int, position: int) -> dict[str, int]:
        """The slice of each sequence at a position of a subject's table (of its volume where it has none)."""
        table, shift = self._tables[index], 0
        if self.config.pairing == "random":
            span = 2 * self.config.offset + 1
            shift = _digest(self.config.annotation_seed, self.subjects[index].name, position) % span
            shift -= self.config.offset
        last = len(next(iter(table.values()))) - 1
        moved = min(max(position + shift, 0), last)
        return {s: int(table[s][position if n == 0 else moved]) for n, s in enumerate(self.sequences)}

    def _annotated_groups(self, sequence: str) -> set[str]:
        """Persons whose labels of a sequence are used: the first ones of an order that never changes."""
        order = sorted(self._groups, key=lambda group: _digest(self.config.annotation_seed, group))
        return set(order[: round(self.config.annotated.get(sequence, 1.0) * len(order))])

    def _labelled_persons(self) -> list[str]:
        """Persons with labels of every sequence they have, sequences aside that nobody has labels of."""
        known = {
            s: {p for p in persons if any((self._labels(n, s) != UNLABELLED).any() for n in self._groups[p])}
            for s, persons in self.annotated.items()
        }
        held = {p: {s for n in members for s in self.subjects[n].images} for p, members in self._groups.items()}
        used = {s for s, persons in known.items() if persons}
        return [p for p in self._groups if held[p] & used and all(p in known[s] for s in held[p] & used)]

    def _table(self, subject: Subject) -> dict[str, np.ndarray]:
        """Indices of the slices of each sequence, partners at the same position."""
        whole = np.arange(len(subject.mask))
        given = subject.about.get("pairs")
        if given is None:
            return dict.fromkeys(self.sequences, whole)
        table = {s: np.asarray(given.get(s, ()), int) for s in self.sequences}
        lengths = {len(t) for s, t in table.items() if s in subject.images}
        if len(lengths) != 1 or not lengths - {0}:
            raise InputError(f"The pair table of {subject.name} does not name as many slices of every sequence.")
        length = lengths.pop()
        table = {s: t if len(t) else np.zeros(length, int) for s, t in table.items()}
        if any(t.min() < 0 or t.max() >= len(whole) for t in table.values()):
            raise InputError(f"The pair table of {subject.name} names a slice outside its volume.")
        return table

    def _positions_with(self, index: int, values: Sequence[int]) -> np.ndarray:
        """Positions of a subject's table whose slice shows one of these classes in any sequence."""
        table = self._tables[index]
        shown = np.zeros(len(next(iter(table.values()))), bool)
        for sequence, slices in table.items():
            shown |= np.isin(self._labels(index, sequence)[slices], list(values)).any(axis=(1, 2))
        return np.flatnonzero(shown)

    def _labels(self, index: int, sequence: str) -> np.ndarray:
        subject = self.subjects[index]
        return subject.sequence_labels.get(sequence, subject.labels)

    def _sample(self, index: int, size: tuple[int, int], random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n, 1 + k, S, H, W): the slices and their candidates; mask (1, H, W); labels (n, H, W)."""
        config, subject = self.config, self.subjects[index]
        lesions, length = self._lesions[index], len(self._tables[index][self.sequences[0]])
        biased = len(lesions) and random.random() < config.lesions
        position = int(random.choice(lesions)) if biased else int(random.integers(length))
        slices = self.partners(index, position)
        half = config.slices // 2
        stacks, labels = [], []
        for sequence, centre in slices.items():
            chosen = np.append(centre, self._candidates(index, sequence, position, random)).astype(int)
            rows = np.clip(chosen[:, None] + np.arange(-half, half + 1), 0, len(subject.mask) - 1)
            volume = subject.images.get(sequence)
            shape = (*rows.shape, *subject.mask.shape[1:])
            stacks.append(np.zeros(shape, np.float32) if volume is None else volume[rows].astype(np.float32))
            own = self._labels(index, sequence)[centre].astype(np.float32)
            known = volume is not None and subject.group in self.annotated[sequence]
            labels.append(own if known else np.full_like(own, UNLABELLED))
        mask = np.stack([subject.mask[k] for k in slices.values()]).any(0).astype(np.float32)
        return self._cut(index, np.stack(stacks), mask, np.stack(labels), size, random)

    def _cut(
        self,
        index: int,
        planes: np.ndarray,
        mask: np.ndarray,
        labels: np.ndarray,
        size: tuple[int, int],
        random: np.random.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Slices (n, 1 + k, S, J, I), mask (J, I) and labels (n, J, I) turned, cut to ``size`` and augmented."""
        config = self.config
        grid = plane_grid(
            planes.shape[-2:],
            self._centres[index],
            size,
            angle=np.deg2rad(random.uniform(-config.rotation, config.rotation)),
            scale=1 + random.uniform(-config.scale, config.scale),
            shift=tuple(random.uniform(-config.shift, config.shift, 2)),
            flip=bool(random.random() < config.flip),
        )
        # Whole slices go on beyond their border as they end there; those cut to a mask are 0 around it.
        padding = "border" if self._full[index] else "zeros"
        leading = planes.shape[:3]
        turned = sample_plane(torch.from_numpy(planes).flatten(0, 2), grid, "bilinear", padding)
        turned = turned.unflatten(0, leading)
        inside = (sample_plane(torch.from_numpy(mask)[None], grid, "bilinear", padding) > 0.5).float()
        truth = sample_plane(torch.from_numpy(labels), grid, "nearest", padding).long()
        if not self._full[index]:
            truth = torch.where((inside > 0) & (truth == 0), UNLABELLED, truth)
        if self._intensity is not None:
            flat = turned.flatten(1, 2)
            turned = self._intensity(flat, inside.expand(flat.shape[1], -1, -1), random).unflatten(1, leading[1:])
        return turned, inside, truth

    def _candidates(self, index: int, sequence: str, position: int, random: np.random.Generator) -> np.ndarray:
        """Slices (k,) that may be the partner, in random order."""
        if not self.config.candidates:
            return np.zeros(0, int)
        table, reach = self._tables[index][sequence], self.config.reach
        near = [p for p in range(position - reach, position + reach + 1) if p != position and 0 <= p < len(table)]
        count = self.config.candidates - 1
        # At the ends of a short volume there may be too few neighbours: some then come twice.
        others = random.choice(near, count, replace=len(near) < count) if near else np.full(count, position)
        return table[random.permutation(np.append(position, others).astype(int))]


def _digest(*parts: Any) -> int:
    """A number that depends on the parts alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(str(p) for p in parts).encode()).digest()[:8], "big")
