"""From the cases of a data set to subjects in the cache: one way for all layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..preprocessing import PreprocessingConfig, prepare
from ..preprocessing.planes import turned
from ..preprocessing.resampling import slice_axes
from ..progress import Progress
from ..study import Image, Study
from .cases import Case, Layout
from .labels import known_class
from .layouts import layout_module
from .layouts.chaos import DicomSlices
from .stacks import stack_subject
from .versions import code_version
from .volumes import MAKERS, Subject, cached

PAIRS = ("expert", "position", "random", "none")
REACH = 2
"""Random partners lie up to this many pairs beside the right one (DAFNet, table III)."""


@dataclass(frozen=True)
class Loading:
    """What cases become; part of the key of their subjects in the cache.

    Attributes:
        sequences: those to read.
        classes: of the system, background first.
        preprocessing: as recorded in the bundle later.
        pairs: of unregistered sets, one of :data:`PAIRS`; with "none" every sequence becomes a subject of its own.
        size: (H, W) of slices of unregistered sets; None = the largest of a subject's sequences.
        centre: sequences whose masks tell where the layout's ``centre`` is, which then comes to the middle of such
            slices (training): the first one that shows it, for all sequences of a subject. One by one, a mask that
            training may not see would tell how a sequence is to be aligned.
    """

    sequences: tuple[str, ...]
    classes: tuple[str, ...]
    preprocessing: PreprocessingConfig
    pairs: str = "none"
    size: tuple[int, int] | None = None
    centre: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pairs not in PAIRS:
            raise InputError(f'data.dataset.pairs is "{self.pairs}"; use one of {", ".join(PAIRS)}.')


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
    cases: Sequence[Case], layout: Layout, loading: Loading, cache: Path, progress: Progress | None = None
) -> list[Subject]:
    """Prepare cases, or take them from the cache (keyed by the files' names, sizes and times, and all settings).

    Raises:
        InputError: what cannot be read or prepared, with the subject's name.
    """
    progress, subjects = progress or Progress(), []
    if layout.registered:
        preprocessing = replace(loading.preprocessing, **layout.preprocessing)
        loading = replace(loading, preprocessing=preprocessing, pairs="none", size=None, centre=())
    through = ("datasets.loading", "datasets.stacks", "datasets.cases", *MAKERS)
    code = code_version(("preprocessing.prepare", layout_module(layout.name)), through)
    for index, case in enumerate(cases):
        progress("data set", index / len(cases), case.subject)
        alone = not layout.registered and loading.pairs == "none"
        groups = [(s,) for s in loading.sequences if s in case.images] if alone else [loading.sequences]
        for names in groups:
            settings = replace(loading, sequences=names)
            shown = asdict(settings) | {"preprocessing": settings.preprocessing.to_dict()}
            key = [layout.name, case.subject, case.group, shown, _state(case), code]
            subjects.append(cached(cache, key, lambda c=case, s=settings: _made(c, layout, s)))
    progress("data set", 1.0)
    return subjects


def _made(case: Case, layout: Layout, loading: Loading) -> Subject:
    about = layout.about() | {"subject": case.subject, **case.about}
    try:
        study, own = read_case(case, loading.sequences)
        if len(loading.classes) < 2:
            study.labels, own = None, {}  # the system does not segment
        if layout.registered:
            prepared = prepare(study, loading.preprocessing)
            return Subject.from_prepared(prepared, layout.name, case.group, about, loading.classes)
        return _stacked(case, layout, study, own, loading, about)
    except InputError as error:
        raise InputError(f"Subject {case.subject} of {layout.title}: {error}") from error


def _stacked(
    case: Case, layout: Layout, study: Study, own: Mapping[str, Image], loading: Loading, about: dict[str, Any]
) -> Subject:
    first = study.first.grid
    axes = slice_axes(first.direction, first.spacing)
    images = {s: turned(image, axes) for s, image in study.images.items()}
    masks = {s: turned(mask, axes) for s, mask in own.items()}
    rows = dict.fromkeys(images, slice(None))
    if loading.pairs != "none" and len(images) > 1:
        rows = paired_slices(case, study, images, loading.pairs)
        about = about | {"slices": {s: [int(n) for n in numbers] for s, numbers in rows.items()}}
    name = f"{case.subject}-{loading.sequences[0]}" if loading.pairs == "none" else case.subject
    return stack_subject(
        name,
        case.group,
        {s: image.array[rows[s]] for s, image in images.items()},
        {s: _class_indices(mask.array[rows[s]], case, loading.classes) for s, mask in masks.items()},
        {s: tuple(image.spacing) for s, image in images.items()},
        loading.preprocessing,
        loading.size,
        _centres(images, {s: masks[s] for s in loading.centre if s in masks}, case, layout.centre),
        layout.name,
        about,
    )


def paired_slices(case: Case, study: Study, images: Mapping[str, Image], pairs: str) -> dict[str, list[int]]:
    """Sequence -> slices of its volume, partners at the same place in the lists.

    Args:
        study: as the files have it, which experts counted in.
        images: the same turned to common axes, which the result is about.

    Raises:
        InputError: no expert has paired these slices, or none lie at the same height.
    """
    if pairs == "expert" or (pairs == "random" and case.pairs is not None):
        if case.pairs is None:
            raise InputError(case.unpaired)
        found = {}
        for sequence, image in images.items():
            source = case.images[sequence]
            order = source.order() if isinstance(source, DicomSlices) else range(len(image.array))
            numbers = [order[n] for n in case.pairs[sequence]]
            upside_down = study[sequence].grid.direction[:, 2] @ image.grid.direction[:, 2] < 0
            found[sequence] = [len(image.array) - 1 - n for n in numbers] if upside_down else numbers
    else:
        found = by_position(images)
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


def _centres(
    images: Mapping[str, Image], masks: Mapping[str, Image], case: Case, wanted: str | None
) -> dict[str, tuple[float, float]]:
    """Sequence -> (row, column) of the middle of what is called ``wanted`` in the first mask that shows it."""
    values = [value for value, name in case.label_names.items() if name == wanted]
    for mask in masks.values():
        place = np.argwhere(np.isin(mask.array, values))
        if len(place):
            point = mask.affine @ [*place.mean(0)[::-1], 1.0]
            inside = {s: np.linalg.inv(image.affine) @ point for s, image in images.items()}
            return {s: (float(row), float(column)) for s, (column, row, *_) in inside.items()}
    return {}


def _class_indices(mask: np.ndarray, case: Case, classes: tuple[str, ...]) -> np.ndarray:
    """Class indices of a mask; what the classes leave out is background."""
    table = {value: known_class(name, classes) for value, name in case.label_names.items()}
    if all(index is None for index in table.values()):
        raise InputError(f"its labels ({', '.join(case.label_names.values())}) are none of system.classes.")
    # Its background would teach that they are nowhere.
    if unseen := [name for index, name in enumerate(classes) if index and index not in table.values()]:
        raise InputError(f"nobody has drawn {', '.join(unseen)} in this set; take them out of system.classes.")
    result = np.zeros(mask.shape, np.uint8)
    for value, index in table.items():
        if index is not None:
            result[mask == value] = index
    return result


def _state(case: Case) -> list[list[Any]]:
    """Names, sizes and times of a case's files: hashing hundreds of gigabytes at every start would take too long.

    A study folder counts with all that is in it: its study.json names the labels, and masks lie beside the images."""
    paths = case.files()
    if case.folder is not None:
        paths = sorted({*paths, *(path for path in case.folder.rglob("*") if path.is_file())})
    found = []
    for path in paths:
        about = path.stat()
        found.append([path.name, about.st_size, about.st_mtime_ns])
    return found
