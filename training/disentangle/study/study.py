"""The sequences of one subject."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Union

import numpy as np

from ..errors import InputError
from ..sequences import canonical
from .files import write_atomically
from .folders import CARD, LABELS, MASK, Found, read_dicom, read_folder, twice
from .image import Image, check_image
from .masks import check_mask

_Path = Union[str, "os.PathLike[str]"]


class Study:
    """The sequences of one subject, each in its own geometry, some of them missing.

    The constructor takes images as they are; :meth:`read`, :meth:`from_folder`, :meth:`from_dicom` and
    :meth:`from_images` check them and their masks first.

    Args:
        images: canonical sequence name -> image; the first is the first input, whose grid results take.
        name: the subject's or the folder's name.
        labels: integer label volume.
        masks: sequence -> brain mask; the key "" stands for every sequence.
        label_names: label value -> name.
        warnings: sentences that the user should see.
        sequence_labels: sequence -> labels of what this sequence shows, for sequences that are not registered to each
            other (``labels`` are then those of one of them).
    """

    def __init__(
        self,
        images: Mapping[str, Image],
        name: str = "",
        labels: Image | None = None,
        masks: Mapping[str, Image] | None = None,
        label_names: Mapping[int, str] | None = None,
        warnings: Iterable[str] = (),
        sequence_labels: Mapping[str, Image] | None = None,
    ) -> None:
        if not images:
            raise InputError("A study needs at least one sequence; give at least one image.")
        self.images: dict[str, Image] = dict(images)
        self.name = name
        self.labels = labels
        self.masks: dict[str, Image] = dict(masks or {})
        self.label_names: dict[int, str] = dict(label_names or {})
        self.warnings: list[str] = list(warnings)
        self.sequence_labels: dict[str, Image] = dict(sequence_labels or {})

    def __getitem__(self, sequence: str) -> Image:
        return self.images[sequence]

    def __contains__(self, sequence: str) -> bool:
        return sequence in self.images

    def __repr__(self) -> str:
        return f"Study({self.name!r}: {', '.join(self.images)})"

    @property
    def available(self) -> tuple[str, ...]:
        """The sequences that are there, first input first."""
        return tuple(self.images)

    @property
    def first(self) -> Image:
        """The first input."""
        return next(iter(self.images.values()))

    def subset(self, sequences: Iterable[str]) -> Study:
        """The same study with some of its sequences, in the order given.

        Raises:
            InputError: one of them is not in the study.
        """
        names = list(sequences)
        missing = [n for n in names if n not in self.images]
        if missing:
            raise InputError(f"The study has no {missing[0]}; choose from {', '.join(self.images)}.")
        masks = {k: m for k, m in self.masks.items() if k == "" or k in names}
        own = {k: image for k, image in self.sequence_labels.items() if k in names}
        images = {n: self.images[n] for n in names}
        return Study(images, self.name, self.labels, masks, self.label_names, self.warnings, own)

    @classmethod
    def from_images(cls, images: Mapping[str, Image], name: str = "") -> Study:
        """From images in memory, by sequence name or synonym.

        Raises:
            InputError: a name unknown or twice, or a volume that cannot be used (see ``check_image``).
        """
        named: dict[str, Image] = {}
        for given, image in images.items():
            sequence = canonical(given)
            if sequence in named:
                raise twice(sequence, named[sequence].source or "An earlier volume", image.source or repr(given))
            named[sequence] = image
        return cls._checked(Found(named, name))

    @classmethod
    def read(cls, paths: Mapping[str, _Path] | Iterable[tuple[str, _Path]], time_point: int | None = None) -> Study:
        """Read one file, or folder of one DICOM series, per sequence.

        Args:
            paths: sequence name or synonym -> path, or pairs of these.
            time_point: which volume of 4-D files, from 0; 3-D files are not affected.

        Raises:
            InputError: what one cannot read or use, one sequence twice, one file for two sequences.
        """
        chosen: dict[str, Path] = {}
        for given, path in paths.items() if isinstance(paths, Mapping) else paths:
            sequence, path = canonical(given), Path(path)
            if sequence in chosen:
                raise twice(sequence, chosen[sequence], path)
            for other, taken in chosen.items():
                if taken.absolute() == path.absolute():
                    raise InputError(f"{path} is given as {other} and as {sequence}; give each sequence its own file.")
            chosen[sequence] = path
        images = {sequence: Image.read(path, time_point, sequence) for sequence, path in chosen.items()}
        study = cls._checked(Found(images, next(iter(chosen.values())).parent.name if chosen else ""))
        for sequence, image in images.items():
            guess = image.guess
            if guess is not None and guess.sure and guess.sequence != sequence:
                study.warnings.append(
                    f"{image.source} was given as {sequence} but looks like {guess.sequence} ({guess.reason}); "
                    "check the assignment."
                )
            elif guess is not None and guess.surely_none:
                study.warnings.append(
                    f"{image.source} was given as {sequence} but is hardly an acquired one ({guess.reason}); check the "
                    "assignment."
                )
        return study

    @classmethod
    def from_folder(cls, folder: _Path, time_point: int | None = None) -> Study:
        """Read a folder: the study layout (``<SEQUENCE>.nii.gz``, ``labels``, ``brainmask``, ``study.json``), or files
        whose sequences are guessed from their names and headers, or DICOM files.

        Raises:
            InputError: no images, a guess that is not sure, one sequence twice, or what one cannot read or use.
        """
        return cls._checked(read_folder(folder, time_point))

    @classmethod
    def from_dicom(cls, folder: _Path, time_point: int | None = None) -> Study:
        """Read the DICOM series below a folder, each guessed by its attributes.

        Raises:
            InputError: no series, one that cannot be guessed surely, or what one cannot read or use.
        """
        return cls._checked(read_dicom(folder, time_point))

    @classmethod
    def _checked(cls, found: Found) -> Study:
        study = cls(**vars(found))
        for image in study.images.values():
            check_image(image)
            study.warnings.extend(image.notes)
        for sequence, mask in study.masks.items():
            if sequence in ("", *study.images):
                check_mask(mask, [study[sequence]] if sequence else study.images.values())
        study.warnings.extend(_given_twice(study.images))
        return study

    def write(self, folder: _Path) -> Path:
        """Write the study layout: one ``<SEQUENCE>.nii.gz`` each, labels (of one sequence: ``labels-<SEQUENCE>``),
        masks, study.json.

        Everything is written aside first: where something fails, the folder is as it was before. Other files of the
        folder stay.

        Raises:
            InputError: read-only place, or no space left.
        """
        folder = Path(folder)
        card = {
            "name": self.name,
            "sequences": list(self.images),
            "labels": {str(value): name for value, name in self.label_names.items()},
        }
        if self.sequence_labels:
            card["sequence_labels"] = list(self.sequence_labels)
        with write_atomically(folder) as temporary:
            temporary.mkdir()
            for sequence, image in self.images.items():
                image.write(temporary / f"{sequence}.nii.gz")
            if self.labels is not None:
                self.labels.write(temporary / f"{LABELS}.nii.gz")
            for sequence, labels in self.sequence_labels.items():
                labels.write(temporary / f"{LABELS}-{sequence}.nii.gz")
            for sequence, mask in self.masks.items():
                mask.write(temporary / (f"{MASK}_{sequence}.nii.gz" if sequence else f"{MASK}.nii.gz"))
            (temporary / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return folder


def _given_twice(images: Mapping[str, Image]) -> Iterator[str]:
    """A sentence for each two sequences that are one image, as where a file was copied to a second name: what differs
    between them, such as enhancement, would be read from images that do not differ."""
    for (a, first), (b, second) in combinations(images.items(), 2):
        # Nearly all that differ do so in one slice: comparing whole volumes of each two would take long.
        middle = len(first.array) // 2
        alike = first.grid.same_as(second.grid) and np.array_equal(first.array[middle], second.array[middle])
        if alike and np.array_equal(first.array, second.array):
            yield f"{a} and {b} are the same image, voxel for voxel; leave one out or give the right file."
