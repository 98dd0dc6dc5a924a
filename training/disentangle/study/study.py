"""The sequences of one subject."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import InputError
from ..sequences import SEQUENCES, canonical
from .files import write_atomically
from .image import Image


class Study:
    """The sequences of one subject, each in its own geometry, some of them missing.

    Args:
        images: canonical sequence name -> image; the first is the first input, whose grid results take.
        name: the subject's or the folder's name.
        labels: integer label volume.
        masks: sequence -> brain mask; the key "" stands for every sequence.
        label_names: label value -> name.
        warnings: sentences that the user should see.
    """

    def __init__(
        self,
        images: Mapping[str, Image],
        name: str = "",
        labels: Image | None = None,
        masks: Mapping[str, Image] | None = None,
        label_names: Mapping[int, str] | None = None,
        warnings: Iterable[str] = (),
    ) -> None:
        if not images:
            raise InputError("A study needs at least one sequence; give at least one image.")
        self.images: dict[str, Image] = dict(images)
        self.name = name
        self.labels = labels
        self.masks: dict[str, Image] = dict(masks or {})
        self.label_names: dict[int, str] = dict(label_names or {})
        self.warnings: list[str] = list(warnings)

    def __getitem__(self, sequence: str) -> Image:
        return self.images[sequence]

    def __contains__(self, sequence: str) -> bool:
        return sequence in self.images

    @property
    def available(self) -> tuple[str, ...]:
        """The sequences that are there, first input first."""
        return tuple(self.images)

    @property
    def first(self) -> Image:
        """The first input."""
        return next(iter(self.images.values()))

    def subset(self, sequences: Iterable[str]) -> Study:
        """The same study with some of its sequences, in the order given."""
        names = list(sequences)
        masks = {k: m for k, m in self.masks.items() if k == "" or k in names}
        return Study({n: self.images[n] for n in names}, self.name, self.labels, masks, self.label_names, self.warnings)

    @classmethod
    def from_images(cls, images: Mapping[str, Image], name: str = "") -> Study:
        """From images in memory."""
        return cls({canonical(s): i for s, i in images.items()}, name)

    @classmethod
    def read(cls, paths: Mapping[str, str | os.PathLike[str]], time_point: int | None = None) -> Study:
        """Read one file (or DICOM folder) per sequence."""
        images = {}
        for given, path in paths.items():
            sequence = canonical(given)
            images[sequence] = Image.read(path, time_point, sequence=sequence)
        return cls(images)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Study:
        """Read a folder in the study layout."""
        folder = Path(folder)
        images = {}
        for sequence in SEQUENCES:
            path = folder / f"{sequence}.nii.gz"
            if path.exists():
                images[sequence] = Image.read(path, sequence=sequence)
        labels = folder / "labels.nii.gz"
        mask = folder / "brainmask.nii.gz"
        card = folder / "study.json"
        names = json.loads(card.read_text(encoding="utf-8")).get("labels", {}) if card.exists() else {}
        return cls(
            images,
            folder.name,
            Image.read(labels) if labels.exists() else None,
            {"": Image.read(mask)} if mask.exists() else None,
            {int(k): str(v) for k, v in names.items()},
        )

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the study layout: one ``<SEQUENCE>.nii.gz`` each, labels, masks, study.json."""
        folder = Path(folder)
        for sequence, image in self.images.items():
            image.write(folder / f"{sequence}.nii.gz")
        if self.labels is not None:
            self.labels.write(folder / "labels.nii.gz")
        for sequence, mask in self.masks.items():
            mask.write(folder / (f"brainmask-{sequence}.nii.gz" if sequence else "brainmask.nii.gz"))
        card = {
            "name": self.name,
            "sequences": list(self.images),
            "labels": {str(k): v for k, v in self.label_names.items()},
        }
        with write_atomically(folder / "study.json") as temporary:
            temporary.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        return folder
