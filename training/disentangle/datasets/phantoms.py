"""Seeded digital subjects, generated once and cached, through the same normalisation as real studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..phantoms import (
    ABDOMEN_CLASSES,
    BRAIN_CLASSES,
    HEART_CLASSES,
    HEART_CLASSES_RV,
    create_phantom,
    phantom_kinds,
    phantom_module,
)
from ..phantoms.abdomen import AbdomenPhantomConfig
from ..phantoms.heart import HeartPhantomConfig
from ..preprocessing import PreparedStudy, PreprocessingConfig, prepare
from ..progress import Progress
from .stacks import STACKED, framed
from .versions import code_version
from .volumes import MAKERS, Subject, cache_path, cached

CLASSES = {
    "brain": BRAIN_CLASSES,
    "brain-pet": BRAIN_CLASSES,
    "heart": HEART_CLASSES,
    "heart-rv": HEART_CLASSES_RV,
    "abdomen": ABDOMEN_CLASSES,
}
"""Name of a set of classes -> the classes, background first."""
_STACKS = {"heart": HeartPhantomConfig, "abdomen": AbdomenPhantomConfig}
"""Kinds whose subjects are stacks of unregistered slices, background being a class."""
_STACK_PREPROCESSING: dict[str, Any] = STACKED | {"normalization": "slice_percentile"}


def preprocessing_of(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of :class:`PreprocessingConfig` that phantoms of a kind need, for training and in the bundle.

    Hearts and abdomens keep their own slices; each slice, or CT's window, becomes [-1, 1] (method-spec 2c, 5c). Brains
    take the defaults.

    Args:
        arguments: of the phantom.
    """
    if kind not in _STACKS:
        return {}
    return _STACK_PREPROCESSING | {"spacing": list(arguments.get("spacing", _STACKS[kind].spacing))}


def load_phantoms(
    seeds: Iterable[int],
    phantom: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    config: PreprocessingConfig,
    cache: Path,
    workers: int = 1,
    progress: Progress | None = None,
    kind: str = "brain",
    size: tuple[int, int] | None = None,
) -> list[Subject]:
    """One phantom per seed, from the cache where it is there.

    Hearts and abdomens become stacks as :func:`.stacks.stack_subject` makes them: slice k of one sequence beside slice
    k of another, not registered, ``sequence_labels`` for each, the mask everything, background a class (0). A sequence
    that is missing is not in ``images``; so one seed may be CT only and another MR only, for unpaired learning.

    Args:
        seeds: one per subject.
        phantom: arguments of the kind's configuration common to all.
        variants: further arguments, taken in turn by seed; may be empty.
        config: preprocessing; registration is left out, since phantoms are made on the canonical grid, and so is the
            bias-field correction of brains.
        cache: folder of cached subjects.
        workers: processes that generate missing ones.
        progress: reports subject by subject.
        kind: of :func:`.phantoms.phantom_kinds`.
        size: (H, W) that a network reads: smaller stacks get a black border, as in inference.

    Raises:
        InputError: an unknown kind, or an impossible configuration.
    """
    if kind not in phantom_kinds():
        raise InputError(
            f'There are no phantoms of kind "{kind}"; set data.phantoms.kind to one of {", ".join(phantom_kinds())}.'
        )
    progress = progress or Progress()
    stacks = kind in _STACKS
    plain = replace(config, registration="none", pose="reference", bias_field=config.bias_field and stacks)
    jobs = []
    for seed in seeds:
        arguments = dict(phantom) | dict(variants[seed % len(variants)] if variants else {})
        jobs.append((int(seed), arguments, plain.to_dict(), str(cache), kind))
    missing = [job for job in jobs if not cache_path(cache, _key(job)).exists()]
    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
            for index, _ in enumerate(pool.map(_store, missing)):
                progress("phantoms", index / len(missing), f"{index + 1} of {len(missing)}")
    subjects = []
    for index, job in enumerate(jobs):
        progress("phantoms", index / len(jobs), f"{index + 1} of {len(jobs)}")
        subjects.append(_bordered(_load(job), size, config.background) if stacks and size else _load(job))
    progress("phantoms", 1.0)
    return subjects


_Job = tuple[int, dict[str, Any], dict[str, Any], str, str]


def _key(job: _Job) -> dict[str, Any]:
    seed, arguments, preprocessing, _, kind = job
    code = code_version((phantom_module(kind), "preprocessing.prepare"), ("datasets.phantoms", *MAKERS))
    return {"phantom": seed, "kind": kind, "arguments": arguments, "preprocessing": preprocessing, "code": code}


def _load(job: _Job) -> Subject:
    return cached(Path(job[3]), _key(job), lambda: _make(job))


def _store(job: _Job) -> None:
    _load(job)


def _make(job: _Job) -> Subject:
    seed, arguments, preprocessing, _, kind = job
    study = create_phantom(kind, seed, **arguments).study
    study.name = f"phantom-{seed}"
    if kind not in _STACKS:
        study.label_names = dict(enumerate(BRAIN_CLASSES))
    prepared = prepare(study, PreprocessingConfig.from_dict(preprocessing))
    about = {"seed": seed, "arguments": arguments}
    if kind in _STACKS:
        return _stack(prepared, about | {"kind": kind})
    return Subject.from_prepared(prepared, "phantom", study.name, about)


def _stack(prepared: PreparedStudy, about: dict[str, Any]) -> Subject:
    """A prepared stack; the values of phantoms' labels are the classes already."""
    own = {s: array.astype(np.uint8) for s, array in prepared.sequence_labels.items()}
    return Subject(
        prepared.study.name,
        prepared.study.name,
        {s: array.astype(np.float16) for s, array in prepared.images.items()},
        prepared.mask,
        own[prepared.reference],
        tuple(float(v) for v in prepared.grid.spacing),
        "phantom",
        about,
        own,
    )


def _bordered(subject: Subject, size: tuple[int, int], background: float) -> Subject:
    """A stack in the middle of slices of at least a size."""
    old = subject.mask.shape[1:]
    new = tuple(max(n, wanted) for n, wanted in zip(old, size, strict=True))
    middle = (old[0] // 2, old[1] // 2)
    return replace(
        subject,
        images={s: framed(array, new, middle, background) for s, array in subject.images.items()},
        mask=np.ones((len(subject.mask), *new), bool),
        labels=framed(subject.labels, new, middle, 0),
        sequence_labels={s: framed(array, new, middle, 0) for s, array in subject.sequence_labels.items()},
    )


def _one_thread() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
