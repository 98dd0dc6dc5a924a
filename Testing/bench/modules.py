"""slicer.modules, the module manager, and the loading of scripted modules as the application does it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from . import names
from .standins import HasScene, make
from .values import wrap

_classes: dict[str, type] = {}


class Module:
    """What every module has: name, path, logic, and a widget made when first asked for."""

    _name = ""
    _path = ""
    _logic: Any = None
    _widget: Any = None

    def read_name(self) -> str:
        """The module's name."""
        return self._name

    def read_path(self) -> str:
        """Where it was loaded from."""
        return self._path

    def logic(self) -> Any:
        """Its C++ logic."""
        return self._logic


class ScriptedModule(Module):
    """A module written in Python."""

    def widgetRepresentation(self) -> Any:
        """The panel; made and set up once."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        """A new panel: the module's Widget class on a new parent, then its setup()."""
        python_module = sys.modules[self._name]
        parent = _classes["widget"]()
        parent.module_name = self._name
        QtWidgets.QVBoxLayout(parent)
        parent.setMRMLScene(slicer.mrmlScene)
        instance = getattr(python_module, f"{self._name}Widget")(wrap(parent))
        parent.python_self = instance
        setattr(slicer.modules, f"{self._name}Widget", instance)
        instance.setup()
        return parent


class ScriptedWidget(HasScene):
    """The parent of a scripted module's panel."""

    python_self: Any = None
    module_name = ""
    entered = False

    def self(self) -> Any:
        """The Python object."""
        return self.python_self

    def read_moduleName(self) -> str:
        """The module's name."""
        return self.module_name

    def read_isEntered(self) -> bool:
        """Whether the user is in the module."""
        return self.entered

    def enter(self) -> None:
        """The user comes."""
        self.entered = True
        _call(self.python_self, "enter")

    def exit(self) -> None:
        """The user goes."""
        self.entered = False
        _call(self.python_self, "exit")


def _call(instance: Any, method: str) -> None:
    if hasattr(instance, method):
        getattr(instance, method)()


class ModuleManager:
    """Knows the loaded modules."""

    def setup(self) -> None:
        """No modules yet."""
        self._modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        """A module by name."""
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        """All names."""
        return list(self._modules)

    def factoryManager(self) -> Any:
        """The bench has one manager for both."""
        return _FactoryManager(self)


class _FactoryManager:
    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def loadedModuleNames(self) -> list[str]:
        """All names."""
        return self._manager.modulesNames()

    def isLoaded(self, name: str) -> bool:
        """Whether a module is there."""
        return name in self._manager.modulesNames()


class MainWindow:
    """The main window: a status bar, a module selector, a panel, the views are elsewhere."""

    def setup(self, manager: Any) -> None:
        """An empty window."""
        self.setObjectName("qSlicerMainWindow")
        self._selector = _classes["selector"](self)
        self._selector.manager = manager

    def moduleSelector(self) -> Any:
        """The tool bar that chooses modules."""
        return self._selector


class ModuleSelector:
    """Leaves one module and enters the next."""

    manager: Any = None
    current = ""

    def read_selectedModule(self) -> str:
        """The module the user is in."""
        return self.current

    def selectModule(self, name: str) -> None:
        """Go to a module."""
        module = self.manager.module(name)
        if module is None or name == self.current:
            return
        before = self.manager.module(self.current)
        if isinstance(before, ScriptedModule):
            before.widgetRepresentation().exit()
        self.current = name
        if isinstance(module, ScriptedModule):
            module.widgetRepresentation().enter()
        self.moduleSelected.emit(name)


class ModulesNamespace(ModuleType):
    """``slicer.modules``: the modules by lower-case name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in names.object_names("slicer.modules"):
            raise NotImplementedError(f"the bench does not imitate slicer.modules.{name}")
        raise AttributeError(f"module 'modules' has no attribute {name!r}")


def register_all() -> None:
    """Make the classes."""
    for key, full, base, mixin in (
        ("scripted", "slicer.qSlicerScriptedLoadableModule", QtCore.QObject, ScriptedModule),
        ("loadable", "slicer.qSlicerLoadableModule", QtCore.QObject, Module),
        ("widget", "slicer.qSlicerScriptedLoadableModuleWidget", QtWidgets.QWidget, ScriptedWidget),
        ("manager", "slicer.qSlicerModuleManager", QtCore.QObject, ModuleManager),
        ("window", "slicer.qSlicerMainWindow", QtWidgets.QMainWindow, MainWindow),
        ("selector", "slicer.qSlicerModuleSelectorToolBar", QtWidgets.QToolBar, ModuleSelector),
    ):
        _classes[key] = make(full, base, mixin)


def create_manager(logics: dict[str, Any]) -> Any:
    """The manager, with the modules whose logics are real."""
    manager = _classes["manager"]()
    manager.setup()
    for name, logic in logics.items():
        module = _classes["loadable"]()
        module._name, module._logic = name, logic
        manager._modules[name] = module
        setattr(slicer.modules, name.lower(), wrap(module))
    return manager


def create_main_window(manager: Any) -> Any:
    """The main window."""
    window = _classes["window"]()
    window.setup(manager)
    return window


def load(manager: Any, path: Path) -> Any:
    """Load a scripted module's file as the application does; its folder must be on sys.path already."""
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    python_module = importlib.util.module_from_spec(spec)
    sys.modules[name] = python_module
    spec.loader.exec_module(python_module)
    module = _classes["scripted"]()
    module._name, module._path = name, str(path)
    module._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
    instance = getattr(python_module, name)(wrap(module))
    setattr(slicer.modules, f"{name}Instance", instance)
    _call(instance, "setup")
    manager._modules[name] = module
    setattr(slicer.modules, name.lower(), wrap(module))
    manager.moduleLoaded.emit(name)
    return module


def unload(manager: Any, name: str) -> None:
    """Unload a scripted module: its panel's cleanup() runs, its widgets go."""
    manager.moduleAboutToBeUnloaded.emit(name)
    module = manager._modules.pop(name)
    if module._widget is not None:
        module._widget.deleteLater()
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        if attribute in slicer.modules.__dict__:
            delattr(slicer.modules, attribute)
    sys.modules.pop(name, None)
