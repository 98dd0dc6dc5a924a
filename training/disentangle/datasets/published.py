"""Published data sets as ``data.dataset`` of a configuration names them: their parts, prepared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..losses import HEALTHY
from ..progress import Progress
from .cases import Case, Layout
from .layouts import find_cases, layout
from .loading import Loading, load_cases
from .splits import PARTS, SplitConfig, folds_of, manifest_hash, with_annotations
from .stacks import STACKED
from .volumes import Subject

SLICES = ("all", "labelled")


@dataclass(frozen=True)
class DataSet:
    """An entry of ``data.dataset``.

    Attributes:
        layout: of :data:`.layouts.LAYOUTS`.
        folder: as the set was unpacked.
        split: JSON file of the split, drawn and written where there is none; None = the published split of the layout
            where it has one, else one that is drawn and written to the folder of the runs.
        fold: which of the split's folds.
        folds, validation, test, seed: of a split to be drawn, see :class:`.SplitConfig`. The seed is not that of the
            run: repetitions of an experiment are tested on the same subjects.
        sequences: those to read; None = all that both the system and the set know.
        pairs: partners among the slices of unregistered sets. "expert": as published for CHAOS; "position": by their
            place in space; "random": shifted by up to two slices; "none": sequences are subjects of their own. None =
            as the layout says: "expert" for CHAOS, else "position".
        include, exclude: shell patterns of subjects.
        same_subject: lists of patterns of subjects that are one person.
        annotated: fraction of the training persons whose labels are used, for all or by sequence.
        slices: "all", or "labelled": those of the training subjects that show a class (method-spec 5c). Subjects of
            unregistered sets only; one without any label keeps all of them.
    """

    layout: str
    folder: str
    split: str | None = None
    fold: int = 0
    folds: int = 5
    validation: float = 0.1
    test: float | None = None
    seed: int = 0
    sequences: Sequence[str] | None = None
    pairs: str | None = None
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    same_subject: Sequence[Sequence[str]] = ()
    annotated: float | Mapping[str, float] = 1.0
    slices: str = "all"

    def __post_init__(self) -> None:
        if self.slices not in SLICES:
            raise InputError(f'data.dataset.slices is "{self.slices}"; use one of {", ".join(SLICES)}.')

    def found(self) -> list[Case]:
        """Its cases."""
        return find_cases(self.layout, self.folder, self.include, self.exclude, self.same_subject)


def data_sets(given: Any) -> list[DataSet]:
    """The entries of ``data.dataset``: a mapping, a list of them, or None.

    Raises:
        InputError: a setting that does not exist, or one that is missing.
    """
    known, sets = [f.name for f in fields(DataSet)], []
    for entry in [given] if isinstance(given, Mapping) else given or []:
        if not isinstance(entry, Mapping):
            raise InputError("data.dataset is a section with layout and folder, or a list of such sections.")
        if unknown := sorted(set(entry) - set(known)):
            raise InputError(f'There is no setting "data.dataset.{unknown[0]}"; the settings are {", ".join(known)}.')
        if missing := [key for key in ("layout", "folder") if not entry.get(key)]:
            raise InputError(f"data.dataset needs a {missing[0]}, for example {{layout: brats2020, folder: PATH}}.")
        sets.append(DataSet(**entry))
    return sets


def preprocessing_of_sets(sets: Sequence[DataSet]) -> dict[str, Any]:
    """Settings of :class:`PreprocessingConfig` that data sets need, for training and in the bundle.

    Stacks of unregistered sets come as published users have them, the first set's where they differ; a window, which
    is for CT, gives way to another set's normalisation of MR. Registered sets keep the defaults: what they make
    unnecessary is left out for them alone.

    Raises:
        InputError: registered and unregistered sets together.
    """
    layouts = [layout(s.layout) for s in sets]
    if len({found.registered for found in layouts}) > 1:
        listed = ", ".join(f"{found.name} ({'' if found.registered else 'not '}registered)" for found in layouts)
        raise InputError(f"Registered and unregistered data sets cannot be mixed in data.dataset: {listed}.")
    result: dict[str, Any] = {}
    for found in layouts:
        if not found.registered:
            normalization = result.get("normalization", "window")
            result = STACKED | dict(found.preprocessing) | result
            if normalization == "window":
                result["normalization"] = found.preprocessing["normalization"]
    return result


@dataclass(frozen=True)
class Source:
    """Where the subjects of a run come from, for its record: ``split`` is a file, or "published"."""

    layout: str
    folder: str
    split: str
    fold: int
    manifest: str


@dataclass(frozen=True)
class Parts:
    """What a data set has for a system, before any voxel is read.

    Attributes:
        chosen: the entry of ``data.dataset``.
        layout: its layout.
        sequences: those to read.
        cases: part -> the cases that have any of these.
        source: for the record of a run.
    """

    chosen: DataSet
    layout: Layout
    sequences: tuple[str, ...]
    cases: Mapping[str, Sequence[Case]]
    source: Source


def parts_of(chosen: DataSet, wanted: Sequence[str], splits: Path) -> Parts | None:
    """The parts of a data set for a system with the sequences ``wanted``; None where it has none of these.

    Args:
        splits: folder for splits that have no file of their own.

    Raises:
        InputError: missing data, or a split that does not fit them.
    """
    found = layout(chosen.layout)
    sequences = _sequences(chosen, found, wanted)
    if not sequences:
        return None
    if isinstance(chosen.annotated, Mapping) and (found.registered or set(chosen.annotated) - set(sequences)):
        raise InputError(
            f"data.dataset.annotated by sequence is for unregistered sets and {', '.join(sequences)}; give one "
            "fraction for all."
        )
    split, source = _split(chosen, found, chosen.found(), splits)
    useful = {part: [c for c in cases if set(c.images) & set(sequences)] for part, cases in split.items()}
    return Parts(chosen, found, sequences, useful, source)


def load_sets(
    sets: Sequence[DataSet],
    parts: Iterable[str],
    loading: Loading,
    cache: Path,
    splits: Path,
    progress: Progress | None = None,
) -> tuple[dict[str, list[Subject]], list[Source]]:
    """Part -> subjects of all sets, and where they come from.

    Args:
        sets: entries of ``data.dataset``.
        parts: those to prepare, of :data:`.splits.PARTS`.
        loading: for all; its sequences are those of the system, its pairs are replaced by those of each set.
        cache: folder of cached subjects.
        splits: folder for splits that have no file of their own.

    Raises:
        InputError: missing data, or a split that does not fit them.
    """
    progress, sources = progress or Progress(), []
    subjects: dict[str, list[Subject]] = {part: [] for part in parts}
    for number, chosen in enumerate(sets):
        found = parts_of(chosen, loading.sequences, splits)
        if found is None:
            continue
        sources.append(found.source)
        mine = replace(loading, sequences=found.sequences, pairs=chosen.pairs or found.layout.pairs)
        for index, part in enumerate(subjects):
            start = (number + index / len(subjects)) / len(sets)
            here = progress.part(start, start + 1 / len(subjects) / len(sets))
            cases = found.cases[part]
            centre = () if part == "test" else _most_annotated(found.sequences, chosen.annotated)
            loaded = load_cases(cases, found.layout, replace(mine, centre=centre), cache, here) if cases else []
            if part == "training":
                loaded = with_annotations(loaded, chosen.annotated, chosen.seed)
                loaded = [only_labelled(s) if chosen.slices == "labelled" else s for s in loaded]
            subjects[part] += loaded
    if not sources:
        listed = ", ".join(s for chosen in sets for s in layout(chosen.layout).sequences)
        raise InputError(
            f"data.dataset has {listed}, but the system reads {', '.join(loading.sequences)}; set system.sequences, or "
            "another data.dataset."
        )
    return subjects, sources


def only_labelled(subject: Subject) -> Subject:
    """A subject of stacked slices without those that show no class; as it is where no slice shows any."""
    shown = np.zeros(len(subject.mask), bool)
    for labels in subject.sequence_labels.values():
        shown |= ((labels > 0) & (labels < HEALTHY)).any(axis=(1, 2))
    if not shown.any() or shown.all():
        return subject
    about = dict(subject.about)
    if "slices" in about:
        about["slices"] = {s: [n for n, k in zip(v, shown, strict=True) if k] for s, v in about["slices"].items()}
    return replace(
        subject,
        images={s: a[shown] for s, a in subject.images.items()},
        mask=subject.mask[shown],
        labels=subject.labels[shown],
        sequence_labels={s: a[shown] for s, a in subject.sequence_labels.items()},
        about=about,
    )


def _most_annotated(sequences: Sequence[str], annotated: float | Mapping[str, float]) -> tuple[str, ...]:
    """The sequences with annotations, those of most persons first."""
    shares = {s: annotated.get(s, 1.0) if isinstance(annotated, Mapping) else annotated for s in sequences}
    return tuple(sorted((s for s in sequences if shares[s]), key=lambda s: -shares[s]))


def _sequences(chosen: DataSet, found: Layout, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those to read; none where the set has nothing for the system."""
    if chosen.sequences is None:
        return tuple(s for s in wanted if s in found.sequences)
    if unknown := [s for s in chosen.sequences if s not in found.sequences]:
        raise InputError(f"{found.title} has no {unknown[0]}; data.dataset.sequences are {', '.join(found.sequences)}.")
    return tuple(chosen.sequences)


def _split(chosen: DataSet, found: Layout, cases: Sequence[Case], splits: Path) -> tuple[dict[str, list[Case]], Source]:
    """Part -> cases of the fold."""
    folder = Path(chosen.folder)
    manifest = manifest_hash(cases, folder)
    if chosen.split is None and found.published:
        folds, where = found.published, "published"
        _require(chosen, found, cases)
    else:
        config = SplitConfig(chosen.folds, chosen.validation, chosen.test, chosen.seed)
        key = hashlib.sha256(json.dumps([manifest, vars(config)]).encode()).hexdigest()[:12]
        path = Path(chosen.split) if chosen.split else splits / f"{found.name}-{key}.json"
        folds, where = folds_of(cases, folder, config, path), str(path)
    if not 0 <= chosen.fold < len(folds):
        raise InputError(f"data.dataset.fold is {chosen.fold}; the split has the folds 0 to {len(folds) - 1}.")
    fold = folds[chosen.fold]
    parts = {part: [c for c in cases if c.group in fold[part]] for part in PARTS}
    return parts, Source(found.name, str(folder), where, chosen.fold, manifest)


def _require(chosen: DataSet, found: Layout, cases: Sequence[Case]) -> None:
    """Refuse a published split whose subjects are not there, unless the user left them out."""
    if tuple(chosen.include) != ("*",) or chosen.exclude:
        return
    there = {c.subject for c in cases}
    lacking = [s for part in PARTS for s in found.published[0][part] if s not in there]
    if lacking:
        raise InputError(
            f"The published split of {found.title} names {lacking[0]}, which is not in {chosen.folder}; complete the "
            "download, or name a file in data.dataset.split to draw a split of what is there."
        )
