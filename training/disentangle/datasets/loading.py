"""From the cases of a data set to subjects in the cache: one way for all layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..preprocessing import PreprocessingConfig, prepare
from ..progress import Progress
from ..study import Image, Study
from .cases import Case, Layout
from .labels import known_class
from .layouts.chaos import DicomSlices
from .stacks import stack_subject
from .volumes import Subject, cached

PAIRS = ("expert", "position", "random", "none")
REACH = 2
"""Random partners lie up to this many pairs beside the right one (DAFNet, table III)."""


@dataclass(frozen=True)
class StackConfig:
    """How slices of unregistered sets are prepared; see :func:`.stacks.stack_subject`.

    Attributes:
        orientation: "LPS" turns volumes (permuting and flipping axes only) so that slices are axial; None leaves them.
    """

    normalisation: str = "slice"
    size: tuple[int, int] | None = None
    pixel: float | None = None
    window: tuple[float, float] | None = None
    orientation: str | None = None


def read_case(case: Case, sequences: Sequence[str]) -> tuple[Study, dict[str, Image]]:
    """A case as a study, and the masks of sequences that are not registered.

    Raises:
        InputError: none of the sequences is there, or a file cannot be read or used.
    """
    if case.folder is not None:
        study = Study.from_folder(case.folder)
        return study.subset([s for s in sequences if s in study]), {}
    chosen = {s: case.images[s] for s in sequences if s in case.images}
    if not chosen:
        raise InputError(f"Subject {case.subject} has none of {', '.join(sequences)}; it has {', '.join(case.images)}.")
    study = Study.from_images({s: source.read(s) for s, source in chosen.items()}, case.subject)
    study.label_names = dict(case.label_names)
    study.masks = {s: source.read() for s, source in case.masks.items()}
    if case.labels is not None:
        study.labels = _on_voxels(case.labels.read(), study.first, case)
    own = {s: _on_voxels(case.sequence_labels[s].read(), study[s], case) for s in chosen if s in case.sequence_labels}
    return study, own


def load_cases(
    cases: Sequence[Case],
    layout: Layout,
    sequences: Sequence[str],
    classes: Sequence[str],
    preprocessing: PreprocessingConfig,
    stack: StackConfig,
    pairs: str,
    cache: Path,
    progress: Progress | None = None,
) -> list[Subject]:
    """Prepare cases, or take them from the cache (keyed by the files' names, sizes and times, and all settings).

    Args:
        pairs: of unregistered sets, one of :data:`PAIRS`; with "none" every sequence becomes a subject of its own.

    Raises:
        InputError: what cannot be read or prepared, with the subject's name.
    """
    if pairs not in PAIRS:
        raise InputError(f'data.dataset.pairs is "{pairs}"; use one of {", ".join(PAIRS)}.')
    progress, subjects = progress or Progress(), []
    aligned = replace(preprocessing, **layout.preprocessing) if layout.registered else preprocessing
    for index, case in enumerate(cases):
        progress("data set", index / len(cases), case.subject)
        groups = [[s] for s in sequences if s in case.images] if _alone(layout, pairs) else [list(sequences)]
        for names in groups:
            settings = aligned.to_dict() if layout.registered else [asdict(stack), pairs]
            key = [layout.name, case.subject, case.group, names, list(classes), settings, _state(case)]
            subjects.append(
                cached(cache, key, lambda c=case, n=names: _made(c, layout, n, classes, aligned, stack, pairs))
            )
    progress("data set", 1.0)
    return subjects


def _alone(layout: Layout, pairs: str) -> bool:
    return not layout.registered and pairs == "none"


def _made(
    case: Case,
    layout: Layout,
    sequences: Sequence[str],
    classes: Sequence[str],
    preprocessing: PreprocessingConfig,
    stack: StackConfig,
    pairs: str,
) -> Subject:
    about = layout.about() | {"subject": case.subject, **case.about}
    try:
        study, own = read_case(case, sequences)
        if layout.registered:
            return Subject.from_prepared(prepare(study, preprocessing), layout.name, case.group, about, classes)
        slices = None if len(study.images) == 1 else paired_slices(case, study, pairs)
        name = f"{case.subject}-{sequences[0]}" if _alone(layout, pairs) else case.subject
        return _stacked(case, study, own, slices, classes, stack, name, layout.name, about)
    except InputError as error:
        raise InputError(f"Subject {case.subject} of {layout.title}: {error}") from error


def _stacked(
    case: Case,
    study: Study,
    own: Mapping[str, Image],
    slices: Mapping[str, Sequence[int]] | None,
    classes: Sequence[str],
    stack: StackConfig,
    name: str,
    source: str,
    about: dict[str, Any],
) -> Subject:
    images, labels, spacing = {}, {}, {}
    for sequence, image in study.images.items():
        rows = slice(None) if slices is None else list(slices[sequence])
        turned = _oriented(image, stack.orientation)
        images[sequence], spacing[sequence] = turned.array[rows], tuple(turned.spacing)
        if sequence in own:
            mask = _oriented(own[sequence], stack.orientation).array[rows]
            labels[sequence] = _class_indices(mask, case, tuple(classes))
    if slices is not None:
        about = about | {"slices": {s: [int(n) for n in numbers] for s, numbers in slices.items()}}
    return stack_subject(
        name,
        case.group,
        images,
        labels,
        spacing,
        stack.normalisation,
        stack.size,
        stack.pixel,
        window=stack.window,
        source=source,
        about=about,
    )


def paired_slices(case: Case, study: Study, pairs: str) -> dict[str, list[int]]:
    """Sequence -> slices of its volume, partners at the same place in the lists.

    Raises:
        InputError: no expert has paired these slices, or none lie at the same height.
    """
    if pairs == "expert" or (pairs == "random" and case.pairs is not None):
        if case.pairs is None:
            raise InputError("nobody has paired its slices; set data.dataset.pairs=position.")
        found = {}
        for sequence in study.images:
            source = case.images[sequence]
            order = source.order() if isinstance(source, DicomSlices) else None
            found[sequence] = [n if order is None else order[n] for n in case.pairs[sequence]]
    else:
        found = by_position(study.images)
    if pairs == "random":
        count = len(next(iter(found.values())))
        seed = int.from_bytes(hashlib.sha256(case.subject.encode()).digest()[:4], "big")
        random = np.random.default_rng(seed)
        for sequence in list(found)[1:]:
            moved = np.clip(np.arange(count) + random.integers(-REACH, REACH + 1, count), 0, count - 1)
            found[sequence] = [found[sequence][n] for n in moved]
    return found


def by_position(images: Mapping[str, Image]) -> dict[str, list[int]]:
    """For every slice of the first sequence the nearest of each other one along the first one's normal, where it is
    within half of its own slice spacing.

    Raises:
        InputError: no slice has partners in all sequences.
    """
    first = next(iter(images.values()))
    normal = first.grid.direction[:, 2]
    heights = {}
    for sequence, image in images.items():
        depth, rows, columns = image.array.shape
        middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
        index = np.c_[np.tile(middle, (depth, 1)), np.arange(depth), np.ones(depth)]
        heights[sequence] = (index @ image.affine.T)[:, :3] @ normal
    own = next(iter(heights.values()))
    partners = {s: np.abs(h[None] - own[:, None]).argmin(1) for s, h in heights.items()}
    close = np.ones(len(own), bool)
    for sequence, image in images.items():
        close &= np.abs(heights[sequence][partners[sequence]] - own) <= image.spacing[2] / 2 + 1e-3
    if not close.any():
        raise InputError("no slices of its sequences lie at the same height; set data.dataset.pairs=none.")
    return {s: [int(n) for n in p[close]] for s, p in partners.items()}


def _on_voxels(labels: Image, image: Image, case: Case) -> Image:
    """A mask on the image that it was drawn on: masks of published sets have been given other headers now and then."""
    if labels.array.shape != image.array.shape:
        raise InputError(f"its mask {labels.source} has other dimensions than {image.source}; download both again.")
    unknown = [int(v) for v in np.unique(labels.array) if v and int(v) not in case.label_names]
    if unknown:
        listed = ", ".join(f"{v} {n}" for v, n in case.label_names.items())
        raise InputError(f"its mask {labels.source} holds the value {unknown[0]}, but the set defines {listed} only.")
    return Image(np.asarray(np.rint(labels.array), np.int16), image.affine, source=labels.source)


def _oriented(image: Image, orientation: str | None) -> Image:
    if orientation is None:
        return image
    return Image.from_sitk(sitk.DICOMOrient(image.to_sitk(), orientation), image.sequence, image.source)


def _class_indices(mask: np.ndarray, case: Case, classes: tuple[str, ...]) -> np.ndarray:
    """Class indices of a mask; what the classes leave out is background."""
    table = {value: known_class(name, classes) for value, name in case.label_names.items()}
    if all(index is None for index in table.values()):
        raise InputError(f"its labels ({', '.join(case.label_names.values())}) are none of system.classes.")
    result = np.zeros(mask.shape, np.uint8)
    for value, index in table.items():
        if index is not None:
            result[mask == value] = index
    return result


def _state(case: Case) -> list[list[Any]]:
    """Names, sizes and times of a case's files: hashing hundreds of gigabytes at every start would take too long."""
    found = []
    for path in case.files():
        about = path.stat()
        found.append([path.name, about.st_size, about.st_mtime_ns])
    return found
