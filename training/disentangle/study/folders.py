"""From a folder to the sequences in it: the study layout, files with telling names, DICOM series."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..sequences import SEQUENCES, Guess, guess_sequence
from .dicom import Series, find_series, is_dicom
from .image import Image
from .reading import is_image_name, read_file, stem_of

CARD = "study.json"
LABELS = "labels"
MASK = "brainmask"


@dataclass
class Found:
    """The parts of a study that lie in a folder; the fields are the arguments of ``Study``."""

    images: dict[str, Image]
    name: str
    labels: Image | None = None
    masks: dict[str, Image] = field(default_factory=dict)
    label_names: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sequence_labels: dict[str, Image] = field(default_factory=dict)


def twice(sequence: str, first: object, second: object) -> InputError:
    """The sentence for two volumes given as one sequence."""
    return InputError(f"{first} and {second} are both {sequence}; give one volume per sequence.")


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder as a path.

    Raises:
        InputError: it does not exist or is a file.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} does not exist; check the path.")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; give the folder it lies in, or name its sequence (SEQUENCE=PATH).")
    return folder


def _unsure(what: object, guess: Guess) -> InputError:
    """The sentence for a volume whose sequence is not clear."""
    maybe = f"maybe {guess.sequence}: {guess.reason}" if guess.sequence else guess.reason
    example = guess.sequence or "T1"
    return InputError(
        f"It is not clear which sequence {what} is ({maybe}); name it, for example {example}=PATH, "
        f"or rename the file to {example}.nii.gz."
    )


def _read_card(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        names = {int(value): str(name) for value, name in dict(card.get("labels") or {}).items()}
        sequences = [s for s in card.get("sequences") or [] if s in SEQUENCES]
        return {"name": str(card.get("study") or card.get("name") or ""), "labels": names, "sequences": sequences}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged (no valid study description); correct it or take it away.") from error


def _mask_of(path: Path) -> str | None:
    """The sequence that a brain mask belongs to, "" for all of them, None where the file is no brain mask."""
    rest = _rest_of(path, MASK)
    return rest if rest in SEQUENCES or rest == "" else None


def _labels_of(path: Path) -> str | None:
    """The sequence that labels belong to, "" for all of them, None where the file is no label map by its name."""
    rest = _rest_of(path, LABELS)
    return rest if rest in SEQUENCES or stem_of(path).lower() == LABELS else None


def _rest_of(path: Path, word: str) -> str | None:
    """What follows ``word`` in the name of a file, None where the name does not begin with it."""
    stem = stem_of(path)
    return stem[len(word) :].strip("-_ ") if stem.lower().startswith(word) else None


def read_folder(folder: str | os.PathLike[str], time_point: int | None = None) -> Found:
    """The study layout (``<SEQUENCE>.nii.gz``, ``labels``, ``labels-<SEQUENCE>``, ``brainmask``, ``study.json``), or
    files whose sequences are guessed from names and headers, or else DICOM files.

    Raises:
        InputError: no images, a guess that is not sure, one sequence twice, or what one cannot read.
    """
    folder = existing_folder(folder)
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".") and is_image_name(p))
    if not files:
        if any(is_dicom(p) for p in folder.rglob("*") if p.is_file()):
            return read_dicom(folder, time_point)
        raise InputError(f"{folder} holds no images; give a folder of NIfTI, NRRD, MetaImage or DICOM files.")
    card = _read_card(folder / CARD)
    found = Found({}, card.get("name") or folder.name, label_names=card.get("labels", {}))
    chosen: dict[str, Image] = {}
    for path in files:
        mask, labels = _mask_of(path), _labels_of(path)
        if mask is not None:
            found.masks[mask] = Image.read(path)
        elif labels == "":
            found.labels = Image.read(path, time_point)
        elif labels is not None:
            found.sequence_labels[labels] = Image.read(path, time_point, labels)
        else:
            _take_file(path, time_point, chosen, found.warnings, told="sequences" in card)
    if not chosen:
        raise InputError(" ".join([f"{folder} holds no sequence that can be used.", *found.warnings]))
    stated = [s for s in card.get("sequences", []) if s in chosen]
    rest = [s for s in SEQUENCES if s in chosen and s not in stated]
    found.images = {s: chosen[s] for s in stated + rest}
    return found


def _take_file(path: Path, time_point: int | None, chosen: dict[str, Image], warnings: list[str], told: bool) -> None:
    exact = stem_of(path) in SEQUENCES
    guess = Guess(stem_of(path), 1.0, f"it is named {path.name}") if exact else guess_sequence(path.name)
    if guess.sequence is None and (guess.confidence > 0 or told):
        warnings.append(f"{path} was left out: {guess.reason}.")
        return
    volume = read_file(path, time_point)
    seen = guess_sequence(path.name, volume.header)
    # A plain name stands unless the header leaves no doubt: FLAIR.nii.gz may say that it is synthetic.
    if seen.surely_none or (not exact and seen.sequence is None and seen.confidence > 0):
        warnings.append(f"{path} was left out: {seen.reason}.")
        return
    guess = guess if exact else seen
    if not guess.sure or guess.sequence is None:
        raise _unsure(path, guess)
    if guess.sequence in chosen:
        raise twice(guess.sequence, chosen[guess.sequence].source, path)
    chosen[guess.sequence] = Image.from_volume(volume, guess.sequence, str(path), guess)


def read_dicom(folder: str | os.PathLike[str], time_point: int | None = None) -> Found:
    """The DICOM series below a folder, each guessed by its attributes and its folder's name.

    Series that are surely no sequence of the vocabulary (localizers, maps) are left out with a warning; of two
    series of one sequence the one with the smaller voxels is taken, with a warning.

    Raises:
        InputError: no series, one whose sequence is not clear, or a damaged one.
    """
    folder = existing_folder(folder)
    series = find_series(folder)
    if not series:
        raise InputError(f"{folder} holds no DICOM images; give a folder of DICOM files.")
    found = Found({}, folder.name)
    taken: dict[str, Series] = {}
    for item in series:
        where = f"{item.title} in {item.folder}"
        # A series' own folder may name it; the folder of all series says nothing about one of them.
        guess = guess_sequence(item.folder.name if item.folder != folder else None, dicom=item.attributes)
        if guess.sequence is None and guess.confidence > 0:
            found.warnings.append(f"{where} was left out: {guess.reason}.")
            continue
        if not guess.sure or guess.sequence is None:
            raise _unsure(where, guess)
        sequence = guess.sequence
        image = Image.from_volume(item.read(time_point), sequence, where, guess)
        if sequence in taken:
            finer = float(np.prod(image.spacing)) < float(np.prod(found.images[sequence].spacing))
            kept, dropped = (item, taken[sequence]) if finer else (taken[sequence], item)
            found.warnings.append(
                f"{kept.title} and {dropped.title} are both {sequence}; {kept.title} was taken "
                f"({'smaller voxels' if finer else 'no larger voxels, and it comes first'})."
            )
            if not finer:
                continue
        taken[sequence] = item
        found.images[sequence] = image
    if not found.images:
        raise InputError(" ".join([f"{folder} holds no series that can be used.", *found.warnings]))
    return found
