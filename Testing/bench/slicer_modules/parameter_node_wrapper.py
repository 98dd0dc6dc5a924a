"""slicer.parameterNodeWrapper: typed attributes over a parameter node, and their connection to widgets."""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
import vtk

from .parameter_types import (
    Choice,
    Default,
    Kind,
    Maximum,
    Minimum,
    Validator,
    WithinRange,
    kind_of,
    split,
)

__all__ = [
    "Choice",
    "Default",
    "Maximum",
    "Minimum",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"

_RESERVED = (
    "allParameters",
    "default",
    "isCached",
    "dataType",
    "getValue",
    "setValue",
    "connectGui",
    "connectParametersToGui",
    "disconnectGui",
    "StartModify",
    "EndModify",
    "AddObserver",
    "RemoveObserver",
    "Modified",
)


class _Parameter:
    """One attribute: its kind and first value."""

    def __init__(self, name: str, annotation: Any, assigned: Any) -> None:
        self.name, self.annotation = name, annotation
        self.kind: Kind = kind_of(annotation)
        marks = [item for item in split(annotation)[1] if isinstance(item, Default)]
        self._mark = marks[0] if marks else None
        self._assigned = assigned

    def first_value(self) -> Any:
        """What a new node gets."""
        if self._assigned is not None:
            return self._assigned
        return self._mark.value if self._mark is not None else self.kind.default

    def read(self, node: Any) -> Any:
        """The value; a node without one gets the first value."""
        if not self.kind.present(node, self.name):
            self.write(node, self.first_value())
        return self.kind.read(node, self.name)

    def write(self, node: Any, value: Any) -> None:
        """Check and store."""
        self.kind.check(value)
        self.kind.write(node, self.name, value)


def _attribute(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def _process(cls: type) -> type:
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters: dict[str, _Parameter] = {}
    for name, annotation in hints.items():
        if name in _RESERVED:
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        try:
            parameters[name] = _Parameter(name, annotation, getattr(cls, name, None))
        except Exception as error:
            raise Exception(f"Unable to create serializer for {cls} member {name}") from error
        setattr(cls, name, _attribute(name))
    cls.allParameters = parameters
    cls._is_parameter_node_wrapper = True
    for name, function in vars(_Methods).items():
        if not name.startswith("__") or name == "__init__":
            setattr(cls, name, function)
    return cls


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Class decorator, with or without parentheses."""
    return _process if cls is None else _process(cls)


def isParameterNodeWrapper(thing: Any) -> bool:
    """Whether a class or object was made by the decorator."""
    return getattr(thing, "_is_parameter_node_wrapper", False)


class _Methods:
    """What every wrapper class gets."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if prefix:
            raise NotImplementedError("the bench does not imitate prefixes")
        assert parameterNode is not None
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, _Connector]] = {}
        self._gui_observers: dict[int, int] = {}
        self._next_tag = 0
        self._updating = False
        for parameter in self.allParameters.values():
            if not parameter.kind.present(parameterNode, parameter.name):
                parameter.write(parameterNode, parameter.first_value())

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        """The value of a parameter."""
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        """Set a parameter."""
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        """The first value of a parameter."""
        return Default(self._parameter(name).first_value())

    def dataType(self, name: str) -> Any:
        """The annotation of a parameter."""
        return self._parameter(name).annotation

    def isCached(self, name: str) -> bool:
        """The bench caches nothing."""
        self._parameter(name)
        return False

    def connectGui(self, gui: Any) -> int:
        """Connect every widget that has the dynamic property SlicerParameterName."""
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else list(vars(gui).values())
        mapping = {}
        for widget in widgets:
            name = widget.property(SlicerParameterNamePropertyName)
            if name:
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Connect parameters to widgets; the widgets show the node's values at once."""
        connectors = {name: _connector(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.on_changed(self._from_gui(name, connector))
        self._gui_observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        return tag

    def _from_gui(self, name: str, connector: _Connector) -> Callable[[], None]:
        def changed() -> None:
            with slicer.util.NodeModify(self):
                if not self._updating:
                    self.setValue(name, connector.read())

        return changed

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag: int) -> None:
        """Undo connectGui."""
        for connector in self._guis.pop(tag, {}).values():
            connector.on_changed(None)
        if tag in self._gui_observers:
            self.RemoveObserver(self._gui_observers.pop(tag))

    def StartModify(self) -> int:
        """As of the node."""
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: int) -> None:
        """As of the node."""
        self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: Any, callback: Callable[..., Any], priority: float = 0.0) -> int:
        """As of the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """As of the node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """As of the node."""
        self.parameterNode.Modified()


class _Connector:
    """Reads and writes one widget."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._widget, self._signal, self.read, self.write = widget, signal, read, write
        self._callback: Callable[[], None] | None = None

    def on_changed(self, callback: Callable[[], None] | None) -> None:
        """Call ``callback`` when the user changes the widget; None stops it."""
        signal = getattr(self._widget, self._signal)
        if self._callback is not None:
            signal.disconnect(self._callback)
        self._callback = callback
        if callback is not None:
            signal.connect(callback)


def _by_property(widget: Any, name: str, signal: str, convert: Callable[[Any], Any] = lambda v: v) -> _Connector:
    return _Connector(
        widget, signal, lambda: convert(getattr(widget, name)), lambda value: setattr(widget, name, value)
    )


def _combo(widget: Any, labels: list[str], values: list[Any]) -> _Connector:
    widget.clear()
    for label in labels:
        widget.addItem(label)

    def write(value: Any) -> None:
        widget.currentIndex = values.index(value)

    return _Connector(widget, "currentIndexChanged", lambda: values[widget.currentIndex], write)


def _set_range(widget: Any, annotations: tuple[Any, ...], convert: Callable[[Any], Any]) -> None:
    for item in annotations:
        if hasattr(item, "minimum"):
            widget.minimum = convert(item.minimum)
        if hasattr(item, "maximum"):
            widget.maximum = convert(item.maximum)


def _connector(widget: Any, annotation: Any) -> _Connector:
    """The connector for exactly this widget class and type.

    Raises:
        TypeError: Slicer has none (a derived class, or a type that the widget cannot show).
    """
    plain, annotations = split(annotation)
    cls = type(widget)
    if plain is bool and cls in (qt.QCheckBox, ctk.ctkCheckBox):
        return _by_property(widget, "checked", "stateChanged")
    if plain is bool and cls is qt.QPushButton and widget.checkable:
        return _by_property(widget, "checked", "toggled")
    if plain is int and cls in (qt.QSpinBox, qt.QSlider):
        _set_range(widget, annotations, int)
        return _by_property(widget, "value", "valueChanged", int)
    if plain in (int, float) and cls in (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSpinBox):
        _set_range(widget, annotations, float)
        return _by_property(widget, "value", "valueChanged", plain)
    if cls in (qt.QComboBox, ctk.ctkComboBox) and isinstance(plain, type) and issubclass(plain, enum.Enum):
        label = getattr(plain, "label", lambda item: item.name)
        return _combo(widget, [label(item) for item in plain], list(plain))
    if cls in (qt.QComboBox, ctk.ctkComboBox) and plain in (int, float, str, bool):
        choices = [item for item in annotations if isinstance(item, Choice)]
        if not choices:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return _combo(widget, [str(item) for item in choices[0].choices], list(choices[0].choices))
    if plain is str and cls is qt.QLineEdit:
        return _by_property(widget, "text", "textChanged")
    if plain is str and cls is qt.QTextEdit:
        return _by_property(widget, "plainText", "textChanged")
    if isinstance(plain, type) and issubclass(plain, pathlib.PurePath) and cls is ctk.ctkPathLineEdit:
        return _Connector(
            widget,
            "currentPathChanged",
            lambda: plain(widget.currentPath),
            lambda value: setattr(widget, "currentPath", str(value)),
        )
    if cls is slicer.qMRMLNodeComboBox:
        options = [split(item)[0] for item in typing.get_args(plain)] or [plain]
        nodes = [item for item in options if isinstance(item, type) and issubclass(item, slicer.vtkMRMLNode)]
        if nodes:
            widget.nodeTypes = [item().GetClassName() for item in nodes]
            return _Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise TypeError(f"Unable to create GUI connector from {cls.__name__} to {annotation}")
