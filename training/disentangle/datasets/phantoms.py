"""Seeded digital subjects, generated once and cached, through the same normalisation as real studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from ..phantoms.brain import BRAIN_CLASSES, BrainPhantomConfig, brain_phantom
from ..preprocessing import PreprocessingConfig, prepare
from ..progress import Progress
from .volumes import Subject, cache_path, cached


def load_phantoms(
    seeds: Iterable[int],
    phantom: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    config: PreprocessingConfig,
    cache: Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Subject]:
    """One brain phantom per seed, from the cache where it is there.

    Args:
        seeds: one per subject.
        phantom: arguments of :class:`BrainPhantomConfig` common to all.
        variants: further arguments, taken in turn by seed; may be empty.
        config: preprocessing; registration and bias-field correction are left out, since phantoms are made on the
            canonical grid.
        cache: folder of cached subjects.
        workers: processes that generate missing ones.
        progress: reports subject by subject.
    """
    progress = progress or Progress()
    plain = replace(config, registration="none", pose="reference", bias_field=False)
    jobs = []
    for seed in seeds:
        arguments = dict(phantom) | dict(variants[seed % len(variants)] if variants else {})
        jobs.append((int(seed), arguments, plain.to_dict(), str(cache)))
    missing = [job for job in jobs if not cache_path(cache, _key(job)).exists()]
    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
            for index, _ in enumerate(pool.map(_store, missing)):
                progress("phantoms", index / len(missing), f"{index + 1} of {len(missing)}")
    subjects = []
    for index, job in enumerate(jobs):
        progress("phantoms", index / len(jobs), f"{index + 1} of {len(jobs)}")
        subjects.append(_load(job))
    progress("phantoms", 1.0)
    return subjects


_Job = tuple[int, dict[str, Any], dict[str, Any], str]


def _key(job: _Job) -> dict[str, Any]:
    seed, arguments, preprocessing, _ = job
    return {"phantom": seed, "arguments": arguments, "preprocessing": preprocessing}


def _load(job: _Job) -> Subject:
    return cached(Path(job[3]), _key(job), lambda: _make(job))


def _store(job: _Job) -> None:
    _load(job)


def _make(job: _Job) -> Subject:
    seed, arguments, preprocessing, _ = job
    phantom = brain_phantom(seed, BrainPhantomConfig(**arguments))
    study = phantom.study
    study.name = f"phantom-{seed}"
    study.label_names = dict(enumerate(BRAIN_CLASSES))
    prepared = prepare(study, PreprocessingConfig.from_dict(preprocessing))
    return Subject.from_prepared(prepared, "phantom", study.name, {"seed": seed, "arguments": arguments})


def _one_thread() -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
