"""Subjects ready for training: normalised volumes in half precision, their mask and labels, and their cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..phantoms.brain import BRAIN_CLASSES
from ..preprocessing import PreparedStudy
from ..study import write_atomically
from .labels import training_labels

CACHE_VERSION = 2
"""Raised whenever cached volumes must not be used any more though the code that made them is the same (another
atlas); what the code is, the keys tell by :func:`.versions.code_version`."""
MAKERS = ("datasets.volumes", "datasets.labels")
"""Modules that every cached subject went through; for :func:`.versions.code_version`."""
_MARGIN = 2


@dataclass(frozen=True, eq=False)
class Subject:
    """One subject on its canonical working grid, cut to the mask and a margin.

    Attributes:
        name: study name.
        group: subjects of one group are the same person and never meet in a batch.
        images: sequence -> float16 (K, J, I), normalised, 0 outside the mask.
        mask: bool (K, J, I).
        labels: uint8 (K, J, I), see :func:`.labels.training_labels`.
        sequence_labels: sequence -> uint8 (K, J, I) on that sequence's own slices, for sequences that share a grid
            but are not registered to each other; empty where ``labels`` holds for all.
        spacing: (i, j, k) in mm.
        source: "phantom", "study", or the name of a data set's layout.
        about: licence, citation, parameters (JSON-able).
    """

    name: str
    group: str
    images: dict[str, np.ndarray]
    mask: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    source: str
    about: dict[str, Any] = field(default_factory=dict)
    sequence_labels: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write an .npz file; complete or not at all."""
        card = {k: getattr(self, k) for k in ("name", "group", "spacing", "source", "about")}
        arrays = {f"image-{s}": a for s, a in self.images.items()}
        arrays |= {f"labels-{s}": a for s, a in self.sequence_labels.items()}
        with write_atomically(path) as temporary, temporary.open("wb") as file:
            np.savez(file, card=np.array(json.dumps(card)), mask=self.mask, labels=self.labels, **arrays)

    @classmethod
    def load(cls, path: Path) -> Subject:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            card = json.loads(str(file["card"]))
            images = {n.removeprefix("image-"): file[n] for n in file.files if n.startswith("image-")}
            own = {n.removeprefix("labels-"): file[n] for n in file.files if n.startswith("labels-")}
            card["spacing"] = tuple(card["spacing"])
            return cls(images=images, mask=file["mask"], labels=file["labels"], sequence_labels=own, **card)

    @classmethod
    def from_prepared(
        cls,
        prepared: PreparedStudy,
        source: str,
        group: str,
        about: dict[str, Any],
        classes: Sequence[str] = BRAIN_CLASSES,
    ) -> Subject:
        """Cut a prepared study to its mask and store it compactly, with its labels as indices into ``classes``."""
        box = _bounding_box(prepared.mask)
        mask = prepared.mask[box]
        labels = None if prepared.labels is None else prepared.labels[box]
        return cls(
            prepared.study.name,
            group,
            {s: np.where(mask, a[box], 0).astype(np.float16) for s, a in prepared.images.items()},
            mask,
            training_labels(labels, prepared.study.label_names, mask, tuple(classes)),
            tuple(float(v) for v in prepared.grid.spacing),
            source,
            about,
        )


def cached(folder: Path, key: Any, make: Callable[[], Subject]) -> Subject:
    """The subject stored under ``key`` (JSON-able) in ``folder``; made and stored where it is missing or damaged."""
    path = cache_path(folder, key)
    if path.exists():
        try:
            return Subject.load(path)
        except (OSError, ValueError, KeyError, BadZipFile):
            path.unlink()
    subject = make()
    subject.save(path)
    return subject


def cache_path(folder: Path, key: Any) -> Path:
    """Where the subject of ``key`` is cached."""
    text = json.dumps([CACHE_VERSION, key], sort_keys=True, default=str)
    return Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(int(inside[0]) - _MARGIN, 0), int(inside[-1]) + _MARGIN + 1))
    return tuple(box)
