"""Batches of unpaired domains: every domain has subjects, slices and labels of its own (method-spec 5b and 5c)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..losses import UNLABELLED
from .pairs import PairSampler, PairSamplingConfig
from .volumes import Subject


@dataclass(frozen=True)
class UnpairedSamplingConfig:
    """How unpaired batches are drawn.

    Attributes:
        batch: samples *per domain*, each of another person.
        domains: name -> its sequences, as of the system; None = every sequence is a domain of its own.
        annotated: domains whose labels are handed out; None = the first alone.
        split: a person with images of several domains serves one of them only, in turn, so that nothing is paired.
            False: serves all (validation).
        lesions: probability that a slice of an annotated domain is drawn from those that show a class beyond the
            healthy ones (slices with liver); where nothing is annotated, slices are drawn evenly.
        sizes, slices, rotation, scale, shift, flip, intensity: as of :class:`.PairSamplingConfig`.
    """

    batch: int = 4
    domains: Mapping[str, Sequence[str]] | None = None
    annotated: Sequence[str] | None = None
    split: bool = True
    lesions: float = 0.0
    sizes: Sequence[tuple[int, int]] = ((256, 256),)
    slices: int = 1
    rotation: float = 15.0
    scale: float = 0.1
    shift: float = 4.0
    flip: float = 0.0
    intensity: Mapping[str, float] | None = None

    def without_augmentation(self, batch: int) -> UnpairedSamplingConfig:
        """For validation: samples as they are, with all labels; persons serve every domain that they have. One sample
        per domain however many are asked for, since a domain may have one person to validate on."""
        plain = replace(self, batch=1, rotation=0.0, scale=0.0, shift=0.0, intensity=None, flip=0.0, lesions=0.0)
        return replace(plain, annotated=("*",), split=False)


class UnpairedSampler:
    """Draws batches in which every sample is one image of one domain.

    Sample b has one sequence only: ``available`` tells which, the other sequences hold zeros. The samples of the first
    domain come first, ``config.batch`` of each domain. ``labels`` are those of the sample's own slice, UNLABELLED
    throughout unless its domain is annotated: then not even the choice of the slice looks at them.

    Args:
        subjects: per domain at least as many groups (persons) as ``config.batch``.
        sequences: what the system reads.
        lesion_values: classes that ``config.lesions`` is about.
        config: how.
        seed: of everything that is drawn.

    Raises:
        InputError: a domain has too few persons for its part of a batch, or is not as ``sequences`` have it.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        sequences: Sequence[str],
        lesion_values: Sequence[int] = (),
        config: UnpairedSamplingConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config or UnpairedSamplingConfig()
        self.sequences = tuple(sequences)
        self.seed = seed
        self.domains = {s: (s,) for s in self.sequences} if self.config.domains is None else self.config.domains
        if unknown := sorted({s for names in self.domains.values() for s in names} - set(self.sequences)):
            raise InputError(f"sampling.domains names {', '.join(unknown)}, which the system does not read.")
        annotated = tuple(self.domains)[:1] if self.config.annotated is None else tuple(self.config.annotated)
        self.annotated = tuple(self.domains) if annotated == ("*",) else annotated
        if unknown := sorted(set(self.annotated) - set(self.domains)):
            raise InputError(f"sampling.annotated names {', '.join(unknown)}, which is no domain.")
        serving = self._serving(subjects)
        # All domains of a batch have one size: a sampler per size and domain. They share the subjects' arrays.
        self._samplers = [
            {name: self._sampler(name, serving[name], lesion_values, tuple(size)) for name in self.domains}
            for size in self.config.sizes
        ]

    def batch(self, number: int) -> dict[str, Any]:
        """Batch ``number``, as the fields of ``systems.base.Batch``."""
        random = np.random.default_rng([self.seed, number])
        samplers = self._samplers[int(random.integers(len(self._samplers)))]
        parts = {name: sampler.batch(number) for name, sampler in samplers.items()}
        count = self.config.batch
        nothing = torch.zeros_like(next(iter(next(iter(parts.values()))["images"].values())))
        absent = torch.zeros(count, dtype=torch.bool)
        offset, subject = 0, []
        for name, part in parts.items():
            subject.append(part["subject"] + offset)
            offset += len(samplers[name].subjects)
        return {
            "images": {s: torch.cat([p["images"].get(s, nothing) for p in parts.values()]) for s in self.sequences},
            "available": {
                s: torch.cat([p["available"].get(s, absent) for p in parts.values()]) for s in self.sequences
            },
            "mask": torch.cat([p["mask"] for p in parts.values()]),
            "labels": torch.cat([_own_labels(p) for p in parts.values()]),
            "subject": torch.cat(subject),
        }

    def _serving(self, subjects: Sequence[Subject]) -> dict[str, list[Subject]]:
        """Domain -> the single images that it draws from."""
        possible: dict[str, set[str]] = {}
        for subject in subjects:
            has = {name for name, members in self.domains.items() if set(members) & set(subject.images)}
            possible[subject.group] = possible.get(subject.group, set()) | has
        order = list(self.domains)
        serves: dict[str, set[str]] = {}
        for group, names in possible.items():
            if self.config.split and names:
                # The domain that fewest persons serve so far; the first of several.
                names = {min(names, key=lambda n: (sum(n in s for s in serves.values()), order.index(n)))}
            serves[group] = names
        return {
            name: [
                _single(s, sequence, name in self.annotated)
                for s in subjects
                if name in serves[s.group]
                for sequence in members
                if sequence in s.images
            ]
            for name, members in self.domains.items()
        }

    def _sampler(
        self, name: str, subjects: list[Subject], lesion_values: Sequence[int], size: tuple[int, int]
    ) -> PairSampler:
        shared = {f.name for f in fields(self.config)} & {f.name for f in fields(PairSamplingConfig)} - {"annotated"}
        settings = {key: getattr(self.config, key) for key in shared} | {"sizes": (size,)}
        seed = self.seed * len(self.domains) + list(self.domains).index(name)
        try:
            return PairSampler(subjects, self.domains[name], lesion_values, PairSamplingConfig(**settings), seed)
        except InputError as error:
            raise InputError(f"{name} cannot fill its part of a batch. {error}") from error


def _single(subject: Subject, sequence: str, annotated: bool) -> Subject:
    """One image of a subject with the labels on its own slices, which are hidden unless it is annotated."""
    labels = subject.sequence_labels.get(sequence, subject.labels)
    if not annotated:
        labels = np.broadcast_to(np.uint8(UNLABELLED), labels.shape)
    about = {key: value for key, value in subject.about.items() if key != "pairs"}
    return replace(subject, images={sequence: subject.images[sequence]}, labels=labels, sequence_labels={}, about=about)


def _own_labels(part: dict[str, Any]) -> Tensor:
    """Labels (B, H, W) of the one sequence that each sample has."""
    labels = [torch.where(part["available"][s][:, None, None], y, 0) for s, y in part["sequence_labels"].items()]
    return torch.stack(labels).sum(0)
