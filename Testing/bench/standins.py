"""Makes stand-ins for qMRML* and ctk* widgets out of the tables of their properties and signals.

A class made here has exactly the Qt properties and signals that the table lists. What its slots do is
written by hand, in ``ctk_widgets.py`` and ``mrml_widgets.py``; a slot that the real class has and nobody
imitated raises NotImplementedError when called.
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from . import names, pythonqt

_TYPES: dict[str, tuple[Any, Any]] = {
    "bool": (bool, False),
    "int": (int, 0),
    "double": (float, 0.0),
    "QString": (str, ""),
    "QStringList": ("QStringList", []),
}


def _property(name: str, kind: str, notify: str | None, default: Any) -> QtCore.Property:
    qt_type, fallback = _TYPES.get(kind, ("QVariant", None))
    start = fallback if default is None else default

    def read(self: Any) -> Any:
        hook = getattr(self, f"read_{name}", None)
        return hook() if hook is not None else self.__dict__.setdefault("_values", {}).get(name, start)

    def write(self: Any, value: Any) -> None:
        value = list(value) if kind == "QStringList" else value
        if value == read(self):
            return
        self.__dict__.setdefault("_values", {})[name] = value
        hook = getattr(self, f"write_{name}", None)
        if hook is not None:
            hook(value)
        if notify is not None and not hasattr(self, f"read_{name}"):
            getattr(self, notify).emit(value)

    return QtCore.Property(qt_type, read, write)


def make(full_name: str, base: type, mixin: type | None = None, **defaults: Any) -> type:
    """A stand-in class for ``full_name``.

    Args:
        full_name: for example ``ctk.ctkSliderWidget``.
        base: the Qt class (or a stand-in) it derives from, as in the real one.
        mixin: behaviour; ``read_<property>()`` and ``write_<property>(value)`` of it serve the properties.
        defaults: first values of properties that are not zero, empty or False.
    """
    short = full_name.split(".")[1]
    namespace: dict[str, Any] = {}
    signals = names.qt_signals(short)
    for name, overloads in signals.items():
        namespace[name] = QtCore.Signal(*[object] * len(overloads[0]))
    for name, table in names.qt_properties(short).items():
        notify = table.get("notify")
        namespace[name] = _property(name, table["type"], notify if notify in signals else None, defaults.get(name))
    bases = (base,) if mixin is None else (mixin, base)
    made = type(base)(short, bases, namespace)
    pythonqt.register(full_name, made)
    return made


class Labelled:
    """A frame that says which widget of Slicer would be drawn here."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        label = QtWidgets.QLabel(type(self).__name__)
        label.setEnabled(False)
        label.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        label.setStyleSheet("border: 1px dashed gray; padding: 12px")
        QtWidgets.QVBoxLayout(self).addWidget(label)


class HasScene:
    """``mrmlScene()``, ``setMRMLScene()`` and ``mrmlSceneChanged``."""

    _scene: Any = None

    def mrmlScene(self) -> Any:
        """The scene, or None."""
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        """Set the scene and tell those who asked."""
        if scene is self._scene:
            return
        self._scene = scene
        self.scene_changed(scene)
        if "mrmlSceneChanged" in names.qt_signals(type(self).__name__):
            self.mrmlSceneChanged.emit(scene)

    def scene_changed(self, scene: Any) -> None:
        """What a widget does when it gets a scene."""
