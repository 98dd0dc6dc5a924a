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
from ..config import completed, merged, read_settings

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
_TEST: dict[str, Any] = {"phantoms": 0, "first_seed": 0, "arguments": {}, "variants": [], "studies": 0}
"""Section ``test``, for the types of its settings."""
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
            ``seeds=[0,1,2]``, ``only=[DAFNet]``, ``only_conditions=[0 %]``; where one is meant, ``seeds=3`` will do.

    Raises:
        InputError: a key that does not exist, a value of the wrong type, or a method that refers to one that is not
            there.
    """
    given = read_settings(source, overrides)
    if not isinstance(given.get("protocol"), str):
        raise InputError('A protocol file names its protocol, for example "protocol: E000-1".')
    own = {key: copy.deepcopy(given.pop(key, default)) for key, default in _OWN.items()}
    if not own["methods"] or not isinstance(own["methods"], Mapping):
        raise InputError(f"The protocol {own['protocol']} lists no methods; add the section methods.")
    for key in ("conditions", "test", "options"):
        own[key] = _section(key, own[key])
    for key in ("title", "report", "compare"):
        if own[key] is not None and not isinstance(own[key], str):
            raise InputError(f"The setting {key} must be a text, not {own[key]!r}.")
    completed(given)
    merged(_TEST, own["test"], "test")
    name = str(given.get("name", own["protocol"].lower()))
    methods = tuple(_method(label, entry or {}) for label, entry in own["methods"].items())
    labels = [m.label for m in methods]
    for method in methods:
        for other in [*method.needs(), *([method.of] if method.of else [])]:
            if other not in labels:
                raise InputError(f'The method "{method.label}" refers to "{other}", which the protocol does not list.')
    if own["only"] is not None:
        wanted = _with_needs(_names("only", own["only"]), methods)
        methods = tuple(m for m in methods if m.label in wanted)
    conditions = tuple(_condition(n, c or {}) for n, c in own["conditions"].items()) or (Condition(),)
    if own["only_conditions"] is not None:
        conditions = _chosen(conditions, _names("only_conditions", own["only_conditions"]))
    for part in (*methods, *conditions):
        completed(changed(given, part.changes))
    return ProtocolSettings(
        protocol=own["protocol"],
        title=own["title"] or own["protocol"],
        name=name,
        report=Path(own["report"] or "runs/reports"),
        methods=methods,
        conditions=conditions,
        seeds=tuple(_numbers("seeds", own["seeds"])),
        folds=(None,) if own["folds"] is None else tuple(_numbers("folds", own["folds"])),
        test=own["test"],
        compare=own["compare"],
        options=own["options"],
        common=given,
    )


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``first`` changed by ``second``, section by section; lists are replaced."""
    result = copy.deepcopy(dict(first))
    for key, value in second.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = merge(result[key], value) if both else copy.deepcopy(value)
    return result


def changed(given: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A training configuration with the changes of a method or a condition. Subjects that it has none of (phantoms,
    say: ``data.phantoms=null``) do not come back by a change of their settings."""
    data = given.get("data") or {}
    result = merge(given, changes)
    for key in ("phantoms", "studies", "dataset"):
        if key in data and data[key] is None:
            result["data"][key] = None
    return result


def _method(label: str, entry: Mapping[str, Any]) -> Method:
    _check(f'method "{label}"', entry, _METHOD_KEYS)
    conditions = entry.get("conditions")
    return Method(
        label=str(label),
        changes=_section(f"methods.{label}.changes", entry.get("changes")),
        of=entry.get("of"),
        mode=entry.get("mode"),
        conditions=None if conditions is None else tuple(_names(f"methods.{label}.conditions", conditions)),
        trains=bool(entry.get("train", True)),
        run=entry.get("run"),
    )


def _condition(name: str, entry: Mapping[str, Any]) -> Condition:
    _check(f'condition "{name}"', entry, _CONDITION_KEYS)
    targets = entry.get("targets")
    changes = _section(f"conditions.{name}.changes", entry.get("changes"))
    targets = None if targets is None else tuple(_names(f"conditions.{name}.targets", targets))
    return Condition(str(name), str(entry.get("label", name)), targets, changes)


def _section(what: str, value: Any) -> dict[str, Any]:
    """A section of settings; one that is empty is null in YAML."""
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"The setting {what} must be a section of settings, not {value!r}.")
    return dict(value or {})


def _names(what: str, value: Any) -> list[str]:
    """A list of names; a single one stands for a list of one."""
    return [str(v) for v in _listed(what, value, (str, int, float), "names, such as [A, B]")]


def _numbers(what: str, value: Any) -> list[int]:
    """A list of whole numbers; a single one stands for a list of one."""
    return _listed(what, value, int, "whole numbers, such as [1, 2]")


def _listed(what: str, value: Any, kind: Any, words: str) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        raise InputError(f"The setting {what} must be a list of {words}, not {value!r}.")
    return values


def _chosen(conditions: tuple[Condition, ...], names: Iterable[str]) -> tuple[Condition, ...]:
    """The conditions of those names, in the order of the file."""
    names, known = list(names), [c.name for c in conditions]
    for name in names:
        if name not in known:
            raise InputError(f'The protocol has no condition "{name}"; it has {", ".join(known)}.')
    return tuple(c for c in conditions if c.name in names)


def _check(what: str, entry: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(entry, Mapping):
        raise InputError(f"The {what} must be a section with some of the keys {', '.join(keys)}.")
    unknown = sorted(str(key) for key in set(entry) - set(keys))
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
