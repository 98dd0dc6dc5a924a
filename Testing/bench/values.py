"""Values that cross between PySide6 and Python the way PythonQt passes them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

_wrap_object: Callable[[Any], Any] | None = None


def set_object_wrapper(wrap_object: Callable[[Any], Any]) -> None:
    """``pythonqt`` says how Qt objects are wrapped; kept apart so that the two files do not import each other."""
    global _wrap_object
    _wrap_object = wrap_object


class EnumValue(int):
    """An enum value as PythonQt shows it: an int that also knows what it is for Qt."""

    native: Any

    def __new__(cls, native: enum.Enum) -> EnumValue:
        raw = native.value
        made = super().__new__(cls, raw if isinstance(raw, int) else 0)
        made.native = native
        return made

    def _combine(self, other: Any, operation: str) -> int:
        if isinstance(other, EnumValue) and isinstance(self.native, enum.Flag):
            return EnumValue(getattr(self.native, operation)(other.native))
        return getattr(int(self), operation)(int(other))

    def __or__(self, other: Any) -> int:
        return self._combine(other, "__or__")

    def __and__(self, other: Any) -> int:
        return self._combine(other, "__and__")

    def __invert__(self) -> int:
        return EnumValue(~self.native) if isinstance(self.native, enum.Flag) else ~int(self)

    __ror__ = __or__
    __rand__ = __and__


class EnumType:
    """An enum's type: callable on an int; unlike PySide's, it does not offer the values as attributes."""

    def __init__(self, native: type[enum.Enum]) -> None:
        self._native_enum = native

    def __call__(self, value: int) -> EnumValue:
        return EnumValue(self._native_enum(int(value)))


def unwrap(value: Any) -> Any:
    """A Python value as PySide6 takes it.

    Raises:
        TypeError: PythonQt cannot convert such a value (a ``pathlib.Path``, for example).
    """
    native = getattr(value, "_native", None) if not isinstance(value, type) else None
    if native is not None:
        return native
    if isinstance(value, EnumValue):
        return value.native
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    if hasattr(value, "__fspath__"):
        raise TypeError(f"PythonQt cannot convert {value!r}; pass str(path)")
    return value


def wrap(value: Any) -> Any:
    """A PySide6 value as PythonQt shows it."""
    if isinstance(value, enum.Enum):
        return EnumValue(value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, list | tuple):
        return type(value)(wrap(item) for item in value) if type(value) in (list, tuple) else value
    assert _wrap_object is not None
    return _wrap_object(value)
