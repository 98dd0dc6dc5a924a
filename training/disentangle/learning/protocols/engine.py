"""From a protocol to its report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...datasets.volumes import Subject
from ...errors import InputError
from ...progress import Progress
from ..run_folders import command, commit
from .cohort import for_all, kinds, test_subjects
from .protocol import Protocol, Scores
from .report import ALL, Report, Score
from .runs import Models, Repetition, Runs
from .settings import Condition


def execute(
    protocol: Protocol, overrides: Sequence[str], progress: Progress | None = None, say: Callable[[str], None] = print
) -> Path:
    """Run a protocol, see :func:`disentangle.learning.protocols.run`."""
    progress, settings = progress or Progress(), protocol.settings
    began = time.monotonic()
    runs, report = Runs(settings, say), Report(protocol, _about(overrides))
    folder = settings.report / settings.name
    pieces = [
        (Repetition(seed, fold), condition, method)
        for seed in settings.seeds
        for fold in settings.folds
        for condition in settings.conditions
        for method in settings.methods
        if method.conditions is None or condition.name in method.conditions
    ]
    if not pieces:
        raise InputError("The protocol has nothing to do: no method takes part in any condition.")
    shown: dict[tuple[str, str], Models] = {}
    subjects: dict[int | None, list[Subject]] = {}
    for number, (repetition, condition, method) in enumerate(pieces):
        part = progress.part(number / len(pieces), (number + 1) / len(pieces))
        what = f"{column_name(method.label, condition)}, {repetition}"
        part("protocol", 0.0, what)
        models = runs.models(method, condition, repetition)
        if repetition.fold not in subjects:
            source, target = next(iter(models.paths), (None, None))
            config = runs.config(method, condition, Repetition(repetition.seed), source, target)
            config = for_all(config, settings)
            subjects[repetition.fold] = test_subjects(config, settings.test, repetition.fold)
        tested = subjects[repetition.fold]
        for subject in tested:
            part("protocol", 0.9, f"{what}: {subject.name}")
            scores = protocol.score(models, subject)
            report.scores += _scores(scores, models, subject.name)
        report.scores += _scores(protocol.analyse(models, tested), models, ALL)
        say(f"{what}: scored on {len(tested)} subjects")
        if (repetition.seed, repetition.fold) == (settings.seeds[0], settings.folds[0]):
            shown[method.label, condition.name] = models
            report.models.setdefault(method.label, {})[condition.label] = models.about()
        models.forget()
    report.about["data"] = kinds(s for found in subjects.values() for s in found)
    report.about["tested on"] = _described(subjects)
    report.about["subjects"] = len({s.name for found in subjects.values() for s in found})
    report.about["seconds"] = round(time.monotonic() - began)
    # Scores took hours, maybe: a picture that cannot be drawn must not lose them.
    say(f"scores: {report.write(folder, draw=False)}")
    report.pictures = protocol.draw(shown, subjects[settings.folds[0]], folder)
    report.about["seconds"] = round(time.monotonic() - began)
    path = report.write(folder)
    progress("protocol", 1.0)
    return path


def _scores(scores: Scores, models: Models, subject: str) -> list[Score]:
    repetition = models.repetition
    return [
        Score(table, models.method.label, column_name(column, models.condition), repetition.seed, repetition.fold,
              subject, float(value))
        for table, columns in scores.items()
        for column, value in columns.items()
    ]  # fmt: skip


def column_name(column: str, condition: Condition) -> str:
    """A column of a table, or a row, in a condition: "LGE 0 %"."""
    return f"{column} {condition.label}".strip()


def _about(overrides: Sequence[str]) -> dict[str, Any]:
    return {
        "command": command(),
        "overrides": list(overrides),
        "machine": f"{platform.machine()}, "
        + (torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads")
        + f", torch {torch.__version__}",
        "commit": commit(),
    }


def _described(subjects: Mapping[int | None, Sequence[Subject]]) -> str:
    names = [s.name for found in subjects.values() for s in found]
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f"{len(names)} subjects ({shown})"
