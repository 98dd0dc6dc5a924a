"""Loads .ui files with Qt's own loader, and checks what Slicer's loader would not accept."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import names, pythonqt, signals
from .values import wrap


class UiLoader(QtUiTools.QUiLoader):
    """QUiLoader whose custom widgets are the stand-ins."""

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        """One widget of the .ui file.

        Raises:
            NotImplementedError: a widget class that Slicer has and the bench does not imitate.
        """
        for module in ("slicer", "ctk"):
            full = f"{module}.{class_name}"
            if full in pythonqt.standins:
                widget = pythonqt.standins[full](parent)
                widget.setObjectName(name)
                return widget
        if class_name.startswith(("qMRML", "qSlicer", "ctk")):
            raise NotImplementedError(f"the bench does not imitate {class_name}, which the .ui file uses")
        return super().createWidget(class_name, parent, name)

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> Any:
        """The top-level widget, its connections made."""
        data = bytes(device.readAll().data())
        tree = ElementTree.fromstring(data)
        check(tree)
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is not None:
            _connect_all(connections, widget)
        return widget


def check(tree: ElementTree.Element) -> None:
    """Refuse properties and custom widgets that the real classes do not have.

    Raises:
        AttributeError: a property that the widget class does not have.
    """
    for element in tree.iter("widget"):
        class_name = element.get("class", "")
        known = names.qt_properties(class_name)
        if not known:
            continue
        base = _qt_base(class_name).staticMetaObject
        for item in element.findall("property"):
            name = item.get("name", "")
            if item.get("stdset") != "0" and name not in known and base.indexOfProperty(name) < 0:
                raise AttributeError(f"{class_name} {element.get('name')!r} has no property {name!r} (.ui file)")


def _qt_base(class_name: str) -> type:
    for module in ("slicer", "ctk"):
        if f"{module}.{class_name}" in pythonqt.standins:
            return pythonqt.standins[f"{module}.{class_name}"]
    raise NotImplementedError(f"the bench does not imitate {class_name}, which the .ui file uses")


def _connect_all(connections: ElementTree.Element | None, top: QtWidgets.QWidget) -> None:
    """Connect what <connections> says; a sender or receiver that is not there is an error."""
    for item in connections if connections is not None else ():
        texts = {child.tag: (child.text or "").strip() for child in item if child.tag != "hints"}
        ends = []
        for role in ("sender", "receiver"):
            name = texts[role]
            found = top if top.objectName() == name else top.findChild(QtCore.QObject, name)
            if found is None:
                raise AttributeError(f".ui connection: no object named {name!r}")
            ends.append(found)
        sender, receiver = ends
        slot = getattr(wrap(receiver), texts["slot"].partition("(")[0])
        count = len(signals.type_names(texts["slot"]))
        signals.connect(sender, texts["signal"], _Slot(slot, count, texts["slot"]))


class _Slot:
    """A receiver's slot with as many arguments as its signature has."""

    def __init__(self, slot: Any, count: int, signature: str) -> None:
        self.slot, self.count, self.signature = slot, count, signature

    def __call__(self, *args: Any) -> None:
        self.slot(*args[: self.count])


def load(path: str | Path) -> Any:
    """The widget tree of a .ui file, unwrapped; tests of the loader use it, modules use slicer.util.loadUI."""
    file = QtCore.QFile(str(path))
    file.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    return UiLoader().load(file)
