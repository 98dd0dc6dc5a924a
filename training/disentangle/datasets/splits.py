"""Splits of a data set by person, written once: seed, folds, and a hash of what was split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..losses import UNLABELLED
from ..study import write_atomically
from .cases import Case, natural
from .volumes import Subject

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class SplitConfig:
    """How a split is drawn.

    Attributes:
        folds: how many; without ``test`` every person is tested in exactly one of them.
        validation: fraction of the persons that are not tested (at least one, where above 0).
        test: fraction of all persons; None = 1 / folds, or 0.2 for a single fold.
        seed: of the order of persons.
    """

    folds: int = 5
    validation: float = 0.1
    test: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = self.folds < 1 or not 0 <= self.validation < 1
        if wrong or (self.test is not None and not 0 < self.test < 1):
            raise InputError(
                "A split needs folds of at least 1, validation from 0 to below 1 and test between 0 and 1."
            )


def draw_folds(persons: Iterable[str], config: SplitConfig) -> list[dict[str, list[str]]]:
    """Fold -> part -> persons: disjoint, complete, and the same whatever the order of ``persons``.

    Raises:
        InputError: fewer persons than folds, or nobody left to train on.
    """
    names = sorted(set(persons), key=lambda n: (natural(n), n))
    if len(names) < max(config.folds, 2):
        raise InputError(f"{len(names)} persons cannot be split into {config.folds} folds; lower data.dataset.folds.")
    order = [names[n] for n in np.random.default_rng(config.seed).permutation(len(names))]
    if config.test is None and config.folds > 1:
        blocks = [list(block) for block in np.array_split(order, config.folds)]
    else:
        count = max(1, round((config.test or 0.2) * len(order)))
        turned = order * (config.folds + 1)
        blocks = [turned[f * count : (f + 1) * count] for f in range(config.folds)]
    folds = []
    for block in blocks:
        test = [str(n) for n in block]
        start = order.index(test[-1]) + 1
        rest = [n for n in order[start:] + order[:start] if n not in set(test)]
        held = max(1, round(config.validation * len(rest))) if config.validation else 0
        if len(rest) <= held:
            raise InputError(f"{len(names)} persons leave nobody to train on; lower validation or test.")
        folds.append({"training": rest[held:], "validation": rest[:held], "test": test})
    return folds


def manifest_hash(cases: Sequence[Case], folder: Path) -> str:
    """SHA-256 of the subjects, their persons and the names of their files, wherever the set lies."""
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda c: c.subject):
        files = [p.relative_to(folder).as_posix() for p in case.files()]
        digest.update(json.dumps([case.subject, case.group, files]).encode())
    return digest.hexdigest()


def folds_of(cases: Sequence[Case], folder: Path, config: SplitConfig, path: Path) -> list[dict[str, list[str]]]:
    """The folds stored at ``path``; drawn and stored where there is no such file.

    Raises:
        InputError: the file is damaged, or was written for other subjects, files or settings.
    """
    wanted: dict[str, Any] = {"manifest": manifest_hash(cases, folder), "settings": vars(config)}
    if not path.exists():
        folds = draw_folds([c.group for c in cases], config)
        content = {**wanted, "subjects": [c.subject for c in cases], "folds": folds}
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return folds
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        manifest, settings, folds = stored["manifest"], stored["settings"], stored["folds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The split {path} is damaged; restore it, or delete it to draw a new one.") from error
    if manifest != wanted["manifest"]:
        raise InputError(
            f"The split {path} was written for other subjects or files than are in {folder} now; restore the data, or "
            "name another file in data.dataset.split."
        )
    if settings != wanted["settings"]:
        raise InputError(f"The split {path} was written with {settings}; use these settings or name another file.")
    return folds


def annotated_persons(persons: Iterable[str], fraction: float, seed: int = 0) -> set[str]:
    """The persons whose masks are used; those of a smaller fraction are among those of a larger one.

    Raises:
        InputError: a fraction outside 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"data.dataset.annotated is {fraction}; give a fraction from 0 to 1.")
    names = sorted(set(persons))
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    return {names[n] for n in order[: round(fraction * len(names))]}


def with_annotations(
    subjects: Sequence[Subject], annotated: float | Mapping[str, float], seed: int = 0
) -> list[Subject]:
    """Subjects without the masks of the persons that are not in the annotated fraction.

    Args:
        annotated: fraction for all, or by sequence (1 where a sequence is not named); see :func:`annotated_persons`.
    """
    persons = [s.group for s in subjects]
    if not isinstance(annotated, Mapping):
        kept = annotated_persons(persons, annotated, seed)
        return [s if s.group in kept else _hidden(s, tuple(s.sequence_labels), True) for s in subjects]
    kept_by = {sequence: annotated_persons(persons, f, seed) for sequence, f in annotated.items()}
    return [_hidden(s, [q for q, kept in kept_by.items() if s.group not in kept], False) for s in subjects]


def _hidden(subject: Subject, sequences: Sequence[str], shared: bool) -> Subject:
    nothing = np.where(subject.mask, UNLABELLED, 0).astype(np.uint8)
    own = {s: nothing if s in sequences else a for s, a in subject.sequence_labels.items()}
    labels = nothing if shared else subject.labels
    if own and not shared:
        # They repeat those of the first annotated sequence.
        labels = next((a for a in own.values() if (a != UNLABELLED).any()), nothing)
    return replace(subject, labels=labels, sequence_labels=own)
