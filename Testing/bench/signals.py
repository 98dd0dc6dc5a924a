"""Signals with PythonQt's manners: by signature string or by attribute, surplus arguments cut off."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import names
from .values import unwrap, wrap

uncaught: list[str] = []
"""Tracebacks of exceptions that left a slot; Slicer only prints them, the bench fails the test."""

_connections: dict[int, list[tuple[str, Any, QtCore.QMetaObject.Connection]]] = {}


def accepted_arguments(target: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt passes: what a plain function or method takes; None means all there are."""
    function = target.__func__ if inspect.ismethod(target) else target
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - (1 if inspect.ismethod(target) else 0)


class _Functor:
    """What Qt calls: cuts the arguments, wraps them, keeps exceptions from unwinding into C++."""

    def __init__(self, target: Callable[..., Any], signature: list[str], convert: Callable[[Any], Any] | None) -> None:
        self.target = target
        self.count = len(signature)
        self.convert = convert

    def __call__(self, *args: Any) -> None:
        values = [wrap(value) for value in args[: self.count]]
        if self.convert is not None:
            values = [self.convert(value) for value in values]
        limit = accepted_arguments(self.target)
        try:
            self.target(*(values if limit is None else values[:limit]))
        except Exception:
            uncaught.append(traceback.format_exc())
            traceback.print_exc(file=sys.stderr)


def type_names(signature: str) -> list[str]:
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    return [part.strip() for part in inside.split(",") if part.strip()]


def normalized(signature: str) -> str:
    """Qt's own spelling: ``currentNodeChanged(vtkMRMLNode*)``."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def _custom_overload(native: QtCore.QObject, signature: str) -> list[str] | None:
    """The argument types of a qMRML/ctk signal that matches ``signature``; None if its class has no such signal."""
    name = signature.partition("(")[0]
    for overload in names.qt_signals(native.metaObject().className()).get(name, ()):
        types = [argument.partition("=")[0].strip() for argument in overload]
        if normalized(f"{name}({','.join(_without_names(types))})") == signature:
            return type_names(signature)
    return None


def _without_names(arguments: list[str]) -> list[str]:
    """``const QString& id`` -> ``const QString&``; a lone type stays."""
    result = []
    for argument in arguments:
        head, _, tail = argument.rpartition(" ")
        result.append(head if head and head != "const" and tail.isidentifier() else argument)
    return result


def _native_overload(native: QtCore.QObject, signature: str) -> list[str] | None:
    meta = native.metaObject()
    index = meta.indexOfSignal(signature)
    return None if index < 0 else type_names(signature)


def is_signal(native: QtCore.QObject, name: str) -> bool:
    """Whether ``name`` is a signal of the object's class."""
    if name in names.qt_signals(native.metaObject().className()):
        return True
    meta = native.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and bytes(method.name().data()).decode() == name:
            return True
    return False


def default_signature(native: QtCore.QObject, name: str) -> str:
    """The overload that ``widget.signal.connect`` means: the first with the most arguments."""
    custom = names.qt_signals(native.metaObject().className()).get(name)
    if custom:
        first = _without_names([argument.partition("=")[0].strip() for argument in custom[0]])
        return normalized(f"{name}({','.join(first)})")
    meta = native.metaObject()
    found = [
        bytes(meta.method(index).methodSignature().data()).decode()
        for index in range(meta.methodCount())
        if bytes(meta.method(index).name().data()).decode() == name
        and meta.method(index).methodType() == QtCore.QMetaMethod.MethodType.Signal
    ]
    return max(found, key=lambda signature: len(type_names(signature)))


def connect(native: QtCore.QObject, signature: str, target: Callable[..., Any]) -> bool:
    """``widget.connect("clicked(bool)", f)``.

    Raises:
        AttributeError: no such signal; Slicer only prints a warning and never calls ``f``.
        TypeError: ``f`` cannot be called.
    """
    if not callable(target):
        raise TypeError(f"{target!r} connected to {signature} is not callable")
    if not isinstance(signature, str):
        raise TypeError(f"the signal must be given as a signature string, not {signature!r}")
    wanted = normalized(signature)
    types = _custom_overload(native, wanted)
    custom = types is not None
    if types is None:
        types = _native_overload(native, wanted)
    if types is None:
        raise AttributeError(f"{native.metaObject().className()} has no signal {signature!r}")
    name = wanted.partition("(")[0]
    convert = None
    if custom and types == ["bool"] and len(names.qt_signals(native.metaObject().className())[name]) > 1:
        convert = _exists  # currentNodeChanged(bool) beside currentNodeChanged(vtkMRMLNode*)
    functor = _Functor(target, types, convert)
    if custom:
        connection = getattr(native, name).connect(functor)
    else:
        connection = QtCore.QObject.connect(native, QtCore.SIGNAL(wanted), functor)
    kept = _connections.setdefault(_key(native), [])
    kept.append((wanted, target, connection))
    return True


def _exists(value: Any) -> bool:
    return value is not None


def _key(native: QtCore.QObject) -> int:
    pointer = shiboken6.getCppPointer(native)[0]
    if pointer not in _connections:
        native.destroyed.connect(lambda *_: _connections.pop(pointer, None))
    return pointer


def disconnect(native: QtCore.QObject, signature: str, target: Callable[..., Any] | None = None) -> bool:
    """``widget.disconnect("clicked(bool)", f)``; without ``f``, every function connected to that signal."""
    wanted = normalized(signature)
    kept = _connections.get(_key(native), [])
    gone = [item for item in kept if item[0] == wanted and (target is None or item[1] == target)]
    for item in gone:
        QtCore.QObject.disconnect(item[2])
        kept.remove(item)
    return bool(gone)


class BoundSignal:
    """``widget.clicked``: connect, disconnect, emit or call it."""

    def __init__(self, native: QtCore.QObject, name: str, signature: str | None = None) -> None:
        self._object = native
        self._name = name
        self._signature = signature or default_signature(native, name)

    def __getitem__(self, types: str) -> BoundSignal:
        return BoundSignal(self._object, self._name, normalized(f"{self._name}({types})"))

    def connect(self, target: Callable[..., Any]) -> bool:
        """Call ``target`` when the signal is emitted."""
        return connect(self._object, self._signature, target)

    def disconnect(self, target: Callable[..., Any] | None = None) -> bool:
        """Undo one connection, or all of this signal made from Python."""
        return disconnect(self._object, self._signature, target)

    def emit(self, *args: Any) -> None:
        """Emit the signal."""
        getattr(self._object, self._name).emit(*[unwrap(value) for value in args])

    __call__ = emit
