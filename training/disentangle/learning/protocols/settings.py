"""A protocol file: a training configuration plus methods, conditions, repetitions and subjects to test on."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..config import read_settings

_OWN = {
    "protocol": None,
    "title": None,
    "report": None,
    "methods": {},
    "only": None,
    "conditions": {},
    "only_conditions": None,
    "seeds": [0],
    "folds": None,
    "test": {},
    "compare": None,
    "options": {},
}
"""Keys of a protocol file that a training configuration does not have."""
_METHOD_KEYS = ("of", "mode", "conditions", "changes", "train", "run")
_CONDITION_KEYS = ("label", "targets", "changes")


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        label: as the paper calls it.
        changes: what differs from the common training configuration. "{target}" and "{source}" in a text stand for a
            sequence: such a method has one model per sequence, or per ordered pair; "{run:LABEL}" stands for the
            final checkpoint of another method in the same condition and repetition, trained before.
        of: label of the method whose models it uses, for another way of predicting with them.
        mode: how it predicts, see :mod:`.predictions`.
        conditions: names of the conditions that it takes part in; None = all.
        trains: False for methods without weights, or whose weights come with them.
        run: label that its runs are named after, that of the same method in another protocol file with the same output:
            they are trained once. None = its own.
    """

    label: str
    changes: dict[str, Any] = field(default_factory=dict)
    of: str | None = None
    mode: str | None = None
    conditions: tuple[str, ...] | None = None
    trains: bool = True
    run: str | None = None

    def fields(self) -> set[str]:
        """Which of "target" and "source" its configuration names."""
        return set(re.findall(r"\{(target|source)\}", json.dumps(self.changes)))

    def needs(self) -> list[str]:
        """Labels of the methods whose checkpoints it starts from."""
        return list(dict.fromkeys(re.findall(r"\{run:([^}]+)\}", json.dumps(self.changes))))


@dataclass(frozen=True)
class Condition:
    """A column group of the table: "0 %", say.

    Attributes:
        name: distinct; part of the run's name. "" is the only condition of a protocol without any.
        label: of the column.
        targets: sequences that are scored; None = all that the protocol scores.
        changes: what differs from the common training configuration.
    """

    name: str = ""
    label: str = ""
    targets: tuple[str, ...] | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProtocolSettings:
    """A protocol file, read and checked.

    Attributes:
        protocol: "E000-1", ...; which module computes the scores.
        title: of the report, without the data, which the report names itself.
        name: of the report's folder.
        report: folder that the report's folder is made in.
        methods, conditions: rows and column groups.
        seeds, folds: repetitions are all pairs of them; folds is (None,) without cross-validation.
        test: which subjects to score, see :func:`.cohort.test_subjects`.
        compare: prefix of the paper's columns to print beside the measured ones ("BraTS"); None prints none.
        options: settings of the protocol itself.
        common: training configuration of all methods, without defaults.
    """

    protocol: str
    title: str
    name: str
    report: Path
    methods: tuple[Method, ...]
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    folds: tuple[int | None, ...]
    test: dict[str, Any]
    compare: str | None
    options: dict[str, Any]
    common: dict[str, Any]

    def method(self, label: str) -> Method:
        """The method of that label.

        Raises:
            InputError: there is none.
        """
        for method in self.methods:
            if method.label == label:
                return method
        raise InputError(f'The protocol has no method "{label}"; it has {", ".join(m.label for m in self.methods)}.')


def is_protocol(path: str | Path) -> bool:
    """Whether a file is a YAML file with the key ``protocol``."""
    path = Path(path)
    return path.suffix.lower() in (".yaml", ".yml") and path.is_file() and "protocol" in read_settings(path)


def load_protocol(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> ProtocolSettings:
    """Read a protocol file.

    Args:
        source: a YAML file or its content.
        overrides: "section.key=value", of the training configuration or of the protocol: ``training.steps=2000``,
            ``seeds=[0,1,2]``, ``only=[DAFNet]``, ``only_conditions=[0 %]``.

    Raises:
        InputError: a key that does not exist, or a method that refers to one that is not there.
    """
    given = read_settings(source, overrides)
    if not isinstance(given.get("protocol"), str):
        raise InputError('A protocol file names its protocol, for example "protocol: E000-1".')
    own = {key: copy.deepcopy(given.pop(key, default)) for key, default in _OWN.items()}
    if not own["methods"] or not isinstance(own["methods"], Mapping):
        raise InputError(f"The protocol {own['protocol']} lists no methods; add the section methods.")
    name = str(given.get("name", own["protocol"].lower()))
    methods = tuple(_method(label, entry or {}) for label, entry in own["methods"].items())
    labels = [m.label for m in methods]
    for method in methods:
        for other in [*method.needs(), *([method.of] if method.of else [])]:
            if other not in labels:
                raise InputError(f'The method "{method.label}" refers to "{other}", which the protocol does not list.')
    if own["only"] is not None:
        methods = tuple(m for m in methods if m.label in _with_needs(own["only"], methods))
    conditions = tuple(_condition(n, c or {}) for n, c in own["conditions"].items()) or (Condition(),)
    if own["only_conditions"] is not None:
        conditions = _chosen(conditions, own["only_conditions"])
    return ProtocolSettings(
        protocol=own["protocol"],
        title=own["title"] or own["protocol"],
        name=name,
        report=Path(own["report"] or "runs/reports"),
        methods=methods,
        conditions=conditions,
        seeds=tuple(int(s) for s in own["seeds"]),
        folds=(None,) if own["folds"] is None else tuple(int(f) for f in own["folds"]),
        test=dict(own["test"] or {}),
        compare=own["compare"],
        options=dict(own["options"] or {}),
        common=given,
    )


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``first`` changed by ``second``, section by section; lists are replaced."""
    result = copy.deepcopy(dict(first))
    for key, value in second.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = merge(result[key], value) if both else copy.deepcopy(value)
    return result


def _method(label: str, entry: Mapping[str, Any]) -> Method:
    _check(f'method "{label}"', entry, _METHOD_KEYS)
    conditions = entry.get("conditions")
    return Method(
        label=str(label),
        changes=dict(entry.get("changes") or {}),
        of=entry.get("of"),
        mode=entry.get("mode"),
        conditions=None if conditions is None else tuple(str(c) for c in conditions),
        trains=bool(entry.get("train", True)),
        run=entry.get("run"),
    )


def _condition(name: str, entry: Mapping[str, Any]) -> Condition:
    _check(f'condition "{name}"', entry, _CONDITION_KEYS)
    targets = entry.get("targets")
    changes = dict(entry.get("changes") or {})
    return Condition(str(name), str(entry.get("label", name)), None if targets is None else tuple(targets), changes)


def _chosen(conditions: tuple[Condition, ...], names: Iterable[str]) -> tuple[Condition, ...]:
    """The conditions of those names, in the order of the file."""
    names, known = [str(n) for n in names], [c.name for c in conditions]
    for name in names:
        if name not in known:
            raise InputError(f'The protocol has no condition "{name}"; it has {", ".join(known)}.')
    return tuple(c for c in conditions if c.name in names)


def _check(what: str, entry: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(entry, Mapping):
        raise InputError(f"The {what} must be a section with some of the keys {', '.join(keys)}.")
    unknown = sorted(set(entry) - set(keys))
    if unknown:
        raise InputError(f"The {what} has no setting {', '.join(unknown)}; its settings are {', '.join(keys)}.")


def _with_needs(labels: Iterable[str], methods: Iterable[Method]) -> set[str]:
    """The labels, and those of all methods that they are built on."""
    by_label, wanted, left = {m.label: m for m in methods}, set(), list(labels)
    while left:
        label = left.pop()
        if label not in by_label:
            raise InputError(f'The protocol has no method "{label}"; it has {", ".join(by_label)}.')
        if label not in wanted:
            wanted.add(label)
            left += [*by_label[label].needs(), *([by_label[label].of] if by_label[label].of else [])]
    return wanted
