"""Batches of slices: distinct subjects, one relative height, three adjacent slices, augmented.

A batch is a pure function of (seed, batch number). So a resumed training goes on with the very batches that it
would have seen, any number of loader processes gives the same ones, and nothing has to be saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..losses import UNLABELLED
from .artefacts import ArtefactAugmentation
from .augmentation import IntensityAugmentation, plane_grid, sample_plane
from .volumes import Subject


@dataclass(frozen=True)
class SamplingConfig:
    """How batches are drawn.

    Attributes:
        batch: subjects per batch.
        sizes: (H, W) of slices in pixels, one of them drawn per batch; H runs anterior to posterior (the brain's long
            axis), W right to left. A network meets whatever multiple of 32 a brain needs; narrow slices cost less.
        slices: adjacent slices per input, odd.
        labelled: slices with labels: 1 = the middle one, (B, H, W); n = the middle one, n // 2 below it and the rest
            above it, (B, n, H, W), for networks that segment slabs.
        heights: the relative heights that a batch draws from, 0 the lowest slice of the mask and 1 the highest.
        lesions: probability that a batch's height is taken from a slice with lesions of one of its subjects.
        weights: share of draws by ``Subject.source``; sources that are not there do not count.
        flip: probability of a left-right flip.
        rotation, scale, shift: half-ranges: degrees, fraction, pixels.
        intensity: arguments of :class:`IntensityAugmentation`; None leaves intensities alone.
        artefacts: arguments of :class:`ArtefactAugmentation`; None adds no artefacts. Targets of reconstruction show
            them too, so they should stay rare.
    """

    batch: int = 8
    sizes: Sequence[tuple[int, int]] = ((128, 96), (128, 128))
    slices: int = 3
    labelled: int = 1
    heights: tuple[float, float] = (0.04, 0.97)
    lesions: float = 0.5
    weights: Mapping[str, float] | None = None
    flip: float = 0.5
    rotation: float = 15.0
    scale: float = 0.1
    shift: float = 4.0
    intensity: Mapping[str, float] | None = None
    artefacts: Mapping[str, Any] | None = None

    def without_augmentation(self, batch: int) -> SamplingConfig:
        """For validation: batches of ``batch`` subjects without augmentation and lesion bias."""
        return SamplingConfig(
            batch=batch,
            sizes=self.sizes,
            slices=self.slices,
            heights=self.heights,
            lesions=0.0,
            weights=self.weights,
            flip=0.0,
            rotation=0.0,
            scale=0.0,
            shift=0.0,
        )


class SliceSampler:
    """Draws batches from prepared subjects.

    Args:
        subjects: at least as many groups (persons) as ``config.batch``. Where a mask is everything (stacks of whole
            slices), label 0 is the background class; inside other masks :func:`.labels.training_labels` leaves none,
            and what turning brings in there is unknown.
        sequences: what the system reads; a sequence that a subject lacks is zero and not available.
        lesion_values: class indices that count as lesions.
        config: how.
        seed: of everything that is drawn.

    Raises:
        InputError: too few persons for a batch.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        sequences: Sequence[str],
        lesion_values: Sequence[int] = (),
        config: SamplingConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or SamplingConfig()
        self.sequences = tuple(sequences)
        self.seed = seed
        self.subjects, self._groups = by_person(subjects, self.sequences, self.config.batch)
        self._weights = self._group_weights()
        self._extent = [np.flatnonzero(s.mask.any(axis=(1, 2)))[[0, -1]] for s in self.subjects]
        self._centres = [mask_centre(s.mask) for s in self.subjects]
        self._full = [bool(s.mask.all()) for s in self.subjects]
        self._lesion_slices = [
            np.flatnonzero(np.isin(s.labels, list(lesion_values)).any(axis=(1, 2))) for s in self.subjects
        ]
        self._intensity = None if self.config.intensity is None else IntensityAugmentation(**self.config.intensity)
        self._artefacts = None if self.config.artefacts is None else ArtefactAugmentation(**self.config.artefacts)

    def batch(self, number: int) -> dict[str, Any]:
        """Batch ``number``, as the fields of ``systems.base.Batch``."""
        config = self.config
        random = np.random.default_rng([self.seed, number])
        chosen = self._choose(random)
        height = self._height(random, chosen)
        size = tuple(config.sizes[int(random.integers(len(config.sizes)))])
        samples = [self._sample(index, height, size, random) for index in chosen]
        groups = list(self._groups)
        available = {s: torch.tensor([s in self.subjects[i].images for i in chosen]) for s in self.sequences}
        images = torch.stack([sample[0] for sample in samples])
        images = images.reshape(config.batch, len(self.sequences), config.slices, *size)
        return {
            "images": {s: images[:, n].contiguous() for n, s in enumerate(self.sequences)},
            "available": available,
            "mask": torch.stack([sample[1] for sample in samples]),
            "labels": torch.stack([sample[2] for sample in samples]),
            "subject": torch.tensor([groups.index(self.subjects[i].group) for i in chosen]),
        }

    def _group_weights(self) -> np.ndarray:
        """Probability of each group: every source shares its weight evenly among its groups."""
        sources = [self.subjects[members[0]].source for members in self._groups.values()]
        wanted = self.config.weights or {}
        weights = np.array([float(wanted.get(source, 1.0)) / sources.count(source) for source in sources])
        if not (weights > 0).sum() >= self.config.batch:
            raise InputError("Too few subjects have a sampling weight above 0; raise data.weights.")
        return weights / weights.sum()

    def _choose(self, random: np.random.Generator) -> list[int]:
        groups = random.choice(len(self._groups), self.config.batch, replace=False, p=self._weights)
        members = list(self._groups.values())
        return [int(random.choice(members[g])) for g in groups]

    def _height(self, random: np.random.Generator, chosen: Sequence[int]) -> float:
        low, high = self.config.heights
        with_lesions = [i for i in chosen if len(self._lesion_slices[i])]
        if with_lesions and random.random() < self.config.lesions:
            index = int(random.choice(with_lesions))
            first, last = self._extent[index]
            return float(np.clip((random.choice(self._lesion_slices[index]) - first) / max(last - first, 1), low, high))
        return float(random.uniform(low, high))

    def _sample(
        self, index: int, height: float, size: tuple[int, int], random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images (n·S, H, W), mask (1, H, W) and labels (H, W), or (labelled, H, W), of a subject at a relative
        height."""
        config, subject = self.config, self.subjects[index]
        first, last = self._extent[index]
        centre = round(first + height * (last - first))
        half = config.slices // 2
        rows = np.clip(np.arange(centre - half, centre + half + 1), 0, len(subject.mask) - 1)
        taught = centre + np.arange(config.labelled) - config.labelled // 2
        beyond, taught = (taught < 0) | (taught >= len(subject.mask)), np.clip(taught, 0, len(subject.mask) - 1)
        shape = subject.mask.shape[1:]
        planes = np.zeros((len(self.sequences), config.slices, *shape), np.float32)
        for n, sequence in enumerate(self.sequences):
            if sequence in subject.images:
                planes[n] = subject.images[sequence][rows]
        planes = torch.from_numpy(planes)
        # Masks of the slices with labels, and of each slice shown, since neighbours differ at the rim.
        masks = torch.from_numpy(subject.mask[np.append(taught, rows)].astype(np.float32))
        labels = torch.from_numpy(subject.labels[taught].astype(np.float32))

        grid = plane_grid(
            shape,
            self._centres[index],
            size,
            angle=np.deg2rad(random.uniform(-config.rotation, config.rotation)),
            scale=1 + random.uniform(-config.scale, config.scale),
            shift=tuple(random.uniform(-config.shift, config.shift, 2)),
            flip=bool(random.random() < config.flip),
        )
        # Whole slices go on beyond their border as they end there; those cut to a mask are 0 around it.
        padding = "border" if self._full[index] else "zeros"
        planes = sample_plane(planes.flatten(0, 1), grid, "bilinear", padding).unflatten(0, planes.shape[:2])
        masks = (sample_plane(masks, grid, "bilinear", padding) > 0.5).float()
        labels = sample_plane(labels, grid, "nearest", padding).long()
        inside, own = masks[: config.labelled], masks[config.labelled :]
        mask = inside[config.labelled // 2][None]
        if self._intensity is not None:
            planes = self._intensity(planes, own, random)
        if self._artefacts is not None:
            planes = self._artefacts(planes, own, random)
        if not self._full[index]:  # a rim where the turned mask reaches farther than the turned labels
            labels = torch.where((inside > 0) & (labels == 0), UNLABELLED, labels)
        labels = torch.where(inside > 0, labels, 0)
        labels[torch.from_numpy(beyond)] = UNLABELLED  # what is repeated beyond the ends teaches nothing
        return (planes * own).flatten(0, 1), mask, labels[0] if config.labelled == 1 else labels


def by_person(
    subjects: Sequence[Subject], sequences: Sequence[str], batch: int
) -> tuple[list[Subject], dict[str, list[int]]]:
    """The subjects that have any of the sequences, and person -> their numbers among these.

    Raises:
        InputError: fewer persons than a batch shows.
    """
    chosen = [s for s in subjects if set(s.images) & set(sequences)]
    groups: dict[str, list[int]] = {}
    for index, subject in enumerate(chosen):
        groups.setdefault(subject.group, []).append(index)
    if len(groups) < batch:
        raise InputError(
            f"A batch of {batch} needs as many different subjects, but there are {len(groups)}; add subjects or lower "
            "sampling.batch."
        )
    return chosen, groups


def mask_centre(mask: np.ndarray) -> tuple[int, int]:
    """Centre (row, column) of the mask's bounding box over the whole volume: one centre for all slices."""
    rows, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    return int(rows[0] + rows[-1] + 1) // 2, int(columns[0] + columns[-1] + 1) // 2
