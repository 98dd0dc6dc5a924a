"""Options of phantoms, checked against the types of their configurations' fields: one sentence per mistake."""

from __future__ import annotations

import math
import numbers
import types
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from ..errors import InputError

_WORDS = {
    float: "a number from 0",
    int: "a whole number from 0",
    bool: "true or false",
    str: "a text",
    type(None): "null",
}
_LENGTHS = {2: "two", 3: "three"}


def check_options(config: Any) -> None:
    """Check every field of a frozen configuration; a single item becomes a list of one where a list is asked for.

    Numbers of phantoms are sizes, strengths and probabilities: none may be negative.

    Raises:
        InputError: a value is of another type than its field, not finite, negative, or a range is upside down.
    """
    hints = get_type_hints(type(config))
    for name in (field.name for field in fields(config)):
        value, kinds = getattr(config, name), list(_kinds(hints[name]))
        if any(_fits(value, kind) for kind in kinds):
            continue
        if any(_fits((value,), kind) for kind in kinds if kind in (tuple[str, ...], tuple[int, ...])):
            object.__setattr__(config, name, (value,))
            continue
        words = " or ".join(dict.fromkeys(_words(kind) for kind in kinds))
        raise InputError(f"The option {name} of a phantom cannot be {value!r}; give {words}.")


def _kinds(hint: Any) -> Iterator[Any]:
    """The types of which a value may have any."""
    if get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _kinds(part)
    else:
        yield hint


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        if not isinstance(value, (tuple, list, np.ndarray)):
            return False
        parts = get_args(kind)
        parts = (parts[0],) * len(value) if parts[-1] is ... else parts
        fitting = len(value) == len(parts) and all(_fits(v, p) for v, p in zip(value, parts, strict=True))
        return fitting and (kind != tuple[float, float] or value[0] <= value[1])
    if kind is bool or isinstance(value, (bool, np.bool_)):
        return kind is bool and isinstance(value, (bool, np.bool_))
    if kind is float:
        return isinstance(value, numbers.Real) and 0 <= value < math.inf
    if kind is int:
        return isinstance(value, numbers.Integral) and value >= 0
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is not tuple:
        return _WORDS[kind]
    parts = get_args(kind)
    if parts[-1] is ...:
        return "a list of names" if parts[0] is str else "a list of whole numbers"
    if kind == tuple[float, float]:
        return "two numbers in order, [low, high]"
    return f"{_LENGTHS[len(parts)]} numbers"
