"""The modules ``qt`` and ``ctk`` as Slicer's Python has them, over PySide6.

PythonQt's manners: Qt properties are attributes, everything else is a method; signals are connected by
signature string; enum values are ints; a wrapper refuses attributes that its class does not have, when
read and when set; wrapper classes do not derive from each other (``isinstance(label, qt.QWidget)`` is
False in Slicer too).
"""

from __future__ import annotations

import enum
import traceback
import types
import weakref
from functools import cache
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import dialogs, names, signals, usage
from .values import EnumType, EnumValue, set_object_wrapper, unwrap, wrap

_MISSING = object()
_QT_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)
_MODAL_STATICS = {"QFileDialog", "QMessageBox", "QInputDialog", "QColorDialog"}
standins: dict[str, type] = {}
_alive: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def register(full_name: str, native_class: type) -> None:
    """Make a stand-in class known, for example ``slicer.qMRMLWidget``."""
    standins[full_name] = native_class


def native_class_of(full_name: str) -> type:
    """The PySide6 or stand-in class behind ``qt.QLabel`` or ``slicer.qMRMLWidget``.

    Raises:
        NotImplementedError: Slicer has it, the bench does not imitate it.
    """
    if full_name in standins:
        return standins[full_name]
    module, _, short = full_name.partition(".")
    for qt_module in _QT_MODULES if module == "qt" else ():
        if hasattr(qt_module, short):
            return getattr(qt_module, short)
    raise NotImplementedError(f"the bench does not imitate {full_name}")


class PythonQtType(type):
    """Class of wrapper classes: enum values, enum types and static functions are looked up in the tables."""

    def __getattr__(cls, name: str) -> Any:
        full = cls.__dict__.get("_full") or next((b._full for b in cls.__mro__ if "_full" in b.__dict__), None)
        if name.startswith("_") or full is None:
            raise AttributeError(name)
        short = full.split(".")[1]
        if name not in names.names_of(full):
            raise AttributeError(f"type object '{short}' has no attribute '{name}'")
        usage.record(full, name)
        if name in ("connect", "disconnect"):
            return lambda sender, *args: getattr(sender, name)(*args)
        attribute = getattr(native_class_of(full), name, _MISSING)
        if attribute is _MISSING:
            raise NotImplementedError(f"the bench does not imitate {full}.{name}")
        if isinstance(attribute, enum.Enum):
            return EnumValue(attribute)
        if isinstance(attribute, type) and issubclass(attribute, enum.Enum):
            return EnumType(attribute)
        if (
            short in _MODAL_STATICS
            and callable(attribute)
            and name.startswith(("get", "question", "warning", "information", "critical", "about"))
        ):
            return lambda *args: dialogs.ask(f"{short}.{name}", args)
        return lambda *args: wrap(attribute(*[unwrap(value) for value in args]))


class PythonQtObject(metaclass=PythonQtType):
    """One Qt object or value as Python in Slicer sees it."""

    def __init__(self, *args: Any) -> None:
        object.__setattr__(self, "_native", _native_class_for(type(self))(*[unwrap(value) for value in args]))
        _adopt(self)
        usage.record(type(self)._full, "()")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_native":
            raise AttributeError(name)
        return _read(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _write(self, name, value)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, PythonQtObject):
            return False
        if isinstance(self._native, QtCore.QObject):
            return self._native is other._native or _pointer(self._native) == _pointer(other._native)
        return bool(self._native == other._native)

    def __hash__(self) -> int:
        return _pointer(self._native) if isinstance(self._native, QtCore.QObject) else hash(repr(self._native))

    def __repr__(self) -> str:
        return f"{self._full.split('.')[1]} ({self._native!r})"

    def __bool__(self) -> bool:
        return True


def _pointer(native: Any) -> int:
    return shiboken6.getCppPointer(native)[0] if shiboken6.isValid(native) else id(native)


def _adopt(wrapper: PythonQtObject) -> None:
    if isinstance(wrapper._native, QtCore.QObject):
        _alive[_pointer(wrapper._native)] = wrapper


@cache
def wrapper_class(full_name: str) -> PythonQtType:
    """The Python class ``qt.QLabel`` itself.

    Raises:
        AttributeError: Slicer does not have it, or the bench's tables leave it out.
    """
    module, _, short = full_name.partition(".")
    if not names.offers(full_name):
        raise AttributeError(f"module '{module}' has no attribute '{short}' (see bench/api/classes.txt)")
    return PythonQtType(short, (PythonQtObject,), {"_full": full_name, "__module__": module})


@cache
def _native_class_for(cls: PythonQtType) -> type:
    """The class to instantiate: for a class derived in Python, one whose virtual functions call Python."""
    native = native_class_of(cls._full)
    if "_full" in cls.__dict__:
        return native
    overrides = {}
    for base in cls.__mro__:
        if "_full" in base.__dict__:
            break
        for name, function in base.__dict__.items():
            if isinstance(function, types.FunctionType) and hasattr(native, name) and not name.startswith("__"):
                overrides.setdefault(name, _virtual(name))
    return type(native)(f"{cls.__name__}_native", (native,), overrides)


def _virtual(name: str) -> Any:
    def call(native: Any, *args: Any) -> Any:
        wrapper = _alive.get(_pointer(native))
        if wrapper is None:
            return None
        try:
            return unwrap(getattr(wrapper, name)(*[wrap(value) for value in args]))
        except Exception:  # Qt only prints it, as Slicer does
            signals.uncaught.append(traceback.format_exc())
            raise

    return call


def _is_derived(wrapper: PythonQtObject) -> bool:
    return "_full" not in type(wrapper).__dict__


def _is_property(native: Any, name: str) -> bool:
    if not isinstance(native, QtCore.QObject):
        return False
    if isinstance(native, QtCore.QTimer) and name == "singleShot":
        return False  # PythonQt keeps the static function and hides the property
    class_name = native.metaObject().className()
    return name in names.qt_properties(class_name) or native.metaObject().indexOfProperty(name) >= 0


def _resolve(wrapper: PythonQtObject, name: str) -> str | None:
    """The name under which the class has ``name``; None if it does not."""
    native, full = wrapper._native, type(wrapper)._full
    allowed = names.names_of(full)
    if name == "name" and name not in allowed and isinstance(native, QtCore.QObject):
        return "objectName"
    if name in allowed:
        return name
    if name.endswith("_") and name[:-1] in allowed:
        return name[:-1]
    if names.listed_without_properties(full) and _is_property(native, name):
        return name
    return None


def _check_alive(wrapper: PythonQtObject, name: str, verb: str) -> None:
    if isinstance(wrapper._native, QtCore.QObject) and not shiboken6.isValid(wrapper._native):
        raise ValueError(f"Trying to {verb} '{name}' of a destroyed {type(wrapper).__name__} object")


def _read(wrapper: PythonQtObject, name: str) -> Any:
    _check_alive(wrapper, name, "read")
    native, full = wrapper._native, type(wrapper)._full
    resolved = _resolve(wrapper, name)
    if resolved is None:
        if isinstance(native, QtCore.QObject):
            if name in [bytes(item.data()).decode() for item in native.dynamicPropertyNames()]:
                return wrap(native.property(name))
            for child in native.children():
                if child.objectName() == name:
                    return wrap(child)
        raise AttributeError(f"{type(wrapper).__name__} has no attribute named '{name}'")
    usage.record(full, name)
    if resolved in _SPECIAL and isinstance(native, QtCore.QObject):
        return lambda *args: _SPECIAL[resolved](native, *args)
    if _is_property(native, resolved):
        return wrap(read_property(native, resolved))
    if isinstance(native, QtCore.QObject) and signals.is_signal(native, resolved):
        return signals.BoundSignal(native, resolved)
    attribute = getattr(native, resolved, getattr(native, resolved + "_", _MISSING))
    if attribute is _MISSING:
        raise NotImplementedError(f"the bench does not imitate {full}.{name}")
    if isinstance(attribute, enum.Enum):
        return EnumValue(attribute)
    if isinstance(attribute, type) and issubclass(attribute, enum.Enum):
        return EnumType(attribute)
    return _bound(native, full, resolved, attribute)


def _bound(native: Any, full: str, name: str, function: Any) -> Any:
    if name == "exec" and isinstance(native, QtWidgets.QDialog | QtWidgets.QMenu):
        return lambda *args: wrap(dialogs.execute(native))
    overloads = names.qt_methods(full.split(".")[1]).get(name)

    def call(*args: Any) -> Any:
        if overloads is not None and not any(_fits(args, overload) for overload in overloads):
            raise ValueError(f"Could not find matching overload: {full}.{name}{args!r}; it takes {overloads}")
        result = wrap(function(*[unwrap(value) for value in args]))
        if isinstance(native, QtCore.QSettings) and name == "value" and isinstance(result, bool | int | float):
            return str(result).lower()  # what the settings file gives back after a restart
        return result

    call.__name__ = name
    return call


def _fits(args: tuple[Any, ...], overload: list[str]) -> bool:
    needed = len([argument for argument in overload if "=" not in argument])
    if not needed <= len(args) <= len(overload):
        return False
    return all(_accepts(argument, value) for argument, value in zip(overload, args, strict=False))


def _accepts(argument: str, value: Any) -> bool:
    """Whether a Python value converts to a C++ argument such as ``const QString& nodeType`` (plain types only)."""
    if "QString " in argument + " " or "QString&" in argument:
        return isinstance(value, str)
    if argument.startswith("bool"):
        return isinstance(value, bool | int)
    if argument.startswith(("int", "unsigned", "double", "float")):
        return isinstance(value, int | float)
    if "vtk" in argument and "*" in argument:
        class_name = argument.replace("const ", "").split("*")[0].strip()
        return value is None or (hasattr(value, "IsA") and bool(value.IsA(class_name)))
    return True


def read_property(native: QtCore.QObject, name: str) -> Any:
    """The value of a Qt property; by its getter where PySide6 has one, since QVariant loses some types."""
    attribute = getattr(native, name, _MISSING)
    if attribute is not _MISSING and not callable(attribute):
        return attribute  # a property of a stand-in, declared in Python
    getter = attribute if attribute is not _MISSING else getattr(native, f"is{name[0].upper()}{name[1:]}", None)
    return getter() if callable(getter) else native.property(name)


_PLAIN = {
    "bool": (bool, int),
    "QString": (str,),
    "int": (int, float),
    "uint": (int, float),
    "double": (int, float),
    "float": (int, float),
    "QStringList": (list, tuple),
}


def _property_type(native: QtCore.QObject, name: str) -> tuple[str, bool]:
    """The C++ type of a property and whether it can be written."""
    custom = names.qt_properties(native.metaObject().className()).get(name)
    if custom is not None:
        return custom["type"], custom["writable"]
    meta = native.metaObject().property(native.metaObject().indexOfProperty(name))
    return meta.typeName(), meta.isWritable()


def write_property(native: QtCore.QObject, name: str, value: Any) -> None:
    """Set a Qt property.

    Raises:
        AttributeError: it is read-only or does not take such a value.
    """
    class_name = native.metaObject().className()
    kind, writable = _property_type(native, name)
    if not writable:
        raise AttributeError(f"Property '{name}' of {class_name} object is not writable")
    accepted = _PLAIN.get(kind)
    refusal = f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__} ({value})"
    if accepted is not None and not isinstance(value, accepted):
        raise AttributeError(refusal)
    plain = unwrap(value)
    if kind in ("int", "uint") and isinstance(plain, float):
        plain = int(plain)
    setter = getattr(native, f"set{name[0].upper()}{name[1:]}", None)
    try:
        if isinstance(getattr(type(native), name, None), QtCore.Property):
            setattr(native, name, plain)
        elif setter is not None and (accepted is not None or not isinstance(plain, int)):
            setter(plain)
        elif not native.setProperty(name, plain):
            raise AttributeError(refusal)
    except TypeError as error:
        raise AttributeError(refusal) from error


def _write(wrapper: PythonQtObject, name: str, value: Any) -> None:
    _check_alive(wrapper, name, "set") if "_native" in wrapper.__dict__ else None
    if "_native" not in wrapper.__dict__:
        object.__setattr__(wrapper, name, value)  # a derived class before its base constructor ran
        return
    native = wrapper._native
    resolved = _resolve(wrapper, name)
    if resolved is not None and _is_property(native, resolved):
        usage.record(type(wrapper)._full, name)
        write_property(native, resolved, value)
    elif resolved is not None and not _is_derived(wrapper):
        raise AttributeError(f"'{name}' can not be overwritten on {type(wrapper).__name__} object")
    elif isinstance(native, QtCore.QObject) and name in [
        bytes(item.data()).decode() for item in native.dynamicPropertyNames()
    ]:
        native.setProperty(name, unwrap(value))
    elif _is_derived(wrapper):
        object.__setattr__(wrapper, name, value)
    else:
        raise AttributeError(
            f"'{name}' does not exist on {type(wrapper).__name__} "
            "and creating new attributes on C++ objects is not allowed"
        )


def _find_children(native: QtCore.QObject, kind: Any, name: str = "") -> list[Any]:
    class_name = kind._full.split(".")[1] if isinstance(kind, PythonQtType) else kind
    if not isinstance(class_name, str):
        raise TypeError("findChildren takes a class (qt.QWidget) or a class name first")
    found: list[Any] = []
    for child in native.children():
        if child.inherits(class_name) and (not name or child.objectName() == name):
            found.append(wrap(child))
        found.extend(_find_children(child, kind, name))
    return found


def _find_child(native: QtCore.QObject, kind: Any, name: str = "") -> Any:
    found = _find_children(native, kind, name)
    return found[0] if found else None


def _connect(native: QtCore.QObject, signature: str, *target: Any) -> bool:
    return signals.connect(native, signature, _target(target))


def _disconnect(native: QtCore.QObject, signature: str, *target: Any) -> bool:
    return signals.disconnect(native, signature, _target(target) if target else None)


def _target(target: tuple[Any, ...]) -> Any:
    """A callable, or a receiver and its slot's signature."""
    if len(target) == 1:
        return target[0]
    receiver, slot = target
    return getattr(receiver, slot.partition("(")[0])


_SPECIAL = {
    "connect": _connect,
    "disconnect": _disconnect,
    "findChild": _find_child,
    "findChildren": _find_children,
    "className": lambda native: native.metaObject().className(),
    "inherits": lambda native, class_name: native.inherits(class_name),
    "delete": lambda native: shiboken6.delete(native),
}


def wrap_object(native: Any) -> Any:
    """A Qt object or value in its PythonQt wrapper; anything else (a vtk object, say) as it is."""
    if isinstance(native, QtCore.QObject):
        if not shiboken6.isValid(native):
            return None
        kept = _alive.get(_pointer(native))
        if kept is not None and kept._native is not None and shiboken6.isValid(kept._native):
            return kept
    full = _full_name(native)
    if full is None:
        return native
    cls = wrapper_class(full)
    wrapper = cls.__new__(cls)
    object.__setattr__(wrapper, "_native", native)
    _adopt(wrapper)
    return wrapper


def _full_name(native: Any) -> str | None:
    if isinstance(native, QtCore.QObject):
        meta = native.metaObject()
        while meta is not None:
            for module in ("slicer", "ctk", "qt"):
                full = f"{module}.{meta.className()}"
                if full in standins or (module == "qt" and names.offers(full)):
                    return full
            meta = meta.superClass()
        return None
    full = f"qt.{type(native).__name__}"
    return full if type(native).__module__.startswith("PySide6") and names.offers(full) else None


class Module(types.ModuleType):
    """``qt`` or ``ctk``: classes appear when asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__name__ == "qt" and name == "Qt":
            return _namespace()
        return wrapper_class(f"{self.__name__}.{name}")


@cache
def _namespace() -> Any:
    """``qt.Qt``: the enums of the Qt namespace."""
    return PythonQtType("Qt", (PythonQtObject,), {"_full": "qt.Qt", "__module__": "qt"})


set_object_wrapper(wrap_object)
