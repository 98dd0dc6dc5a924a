"""Starts the imitated Slicer: fills ``qt``, ``ctk`` and ``slicer`` once for the whole process."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import fonts, pythonqt
from .values import wrap

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

_STANDIN_MODULES = {
    "slicer.i18n": "i18n",
    "slicer.packaging": "packaging",
    "slicer.parameterNodeWrapper": "parameter_node_wrapper",
    "slicer.ScriptedLoadableModule": "scripted_loadable_module",
    "PyTorchUtils": "pytorch_utils",
    "SampleData": "sample_data",
}

SLICER_SOURCES = "DISENTANGLE_SLICER_SOURCES"
"""Environment variable: a checkout of Slicer, whose own Python modules then take the place of the stand-ins."""
_REAL_MODULES = {
    "slicer.i18n": "slicer/i18n.py",
    "slicer.parameterNodeWrapper": "slicer/parameterNodeWrapper/__init__.py",
    "slicer.ScriptedLoadableModule": "slicer/ScriptedLoadableModule.py",
}


@dataclass
class Slicer:
    """The running imitation. Attributes without wrapper: the bench's own view of things."""

    application: Any
    scene: Any
    logics: dict[str, Any]
    application_logic: Any
    layout_manager: Any
    module_manager: Any
    main_window: Any
    home: Path


_running: Slicer | None = None


def _make_immortal() -> None:
    """PySide6 6.12 gives back one reference to True and None too many for each signal emitted.

    From Python 3.12 on these objects are immortal; before, the interpreter would end in an abort.
    """
    if sys.version_info < (3, 12):
        for value in (True, False, None):
            ctypes.c_ssize_t.from_address(id(value)).value += 1 << 40


def _install_qt() -> None:
    for name in ("qt", "ctk"):
        sys.modules[name] = pythonqt.Module(name)


def _install_slicer_module() -> Any:
    """The real ``slicer`` package of slicer-core, with the names that only the application adds."""
    import slicer

    def missing(name: str) -> Any:
        if name.startswith(("qMRML", "qSlicer")):
            return pythonqt.wrapper_class(f"slicer.{name}")
        raise AttributeError(f"module 'slicer' has no attribute {name!r}")

    slicer.__getattr__ = missing
    return slicer


def _install_standin_modules(slicer: Any) -> None:
    sources = os.environ.get(SLICER_SOURCES)
    for name, file in _STANDIN_MODULES.items():
        if sources and name in _REAL_MODULES:
            module = _real_module(name, Path(sources) / "Base" / "Python" / _REAL_MODULES[name])
        else:
            module = importlib.import_module(f"bench.slicer_modules.{file}")
            sys.modules[name] = module
        parent, _, short = name.rpartition(".")
        if parent:
            setattr(slicer, short, module)


def _real_module(name: str, path: Path) -> Any:
    """A module of Slicer's own sources, in place of its stand-in."""
    package = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=package)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _register_widgets() -> None:
    from . import application, ctk_widgets, io_manager, layout, modules, mrml_widgets, ui_loader

    for part in (ctk_widgets, mrml_widgets, layout, modules, io_manager, application):
        part.register_all()
    pythonqt.register("qt.QUiLoader", ui_loader.UiLoader)


def start(home: Path | None = None) -> Slicer:
    """Start it, or give back the one that runs.

    Args:
        home: Slicer's folder, for settings and temporary files; a new temporary folder by default.
    """
    global _running
    if _running is not None:
        return _running
    from . import application, io_manager, layout, modules, scene

    _make_immortal()
    home = home or Path(tempfile.mkdtemp(prefix="slicer-bench-"))
    _install_qt()
    slicer = _install_slicer_module()
    _register_widgets()
    app = application.create(home)
    fonts.ensure()
    scene.collect_vtk_errors()
    slicer.modules = modules.ModulesNamespace("slicer.modules")
    around = scene.ApplicationScene(Path(app.read_temporaryPath()))
    slicer.mrmlScene = around.scene
    manager = modules.create_manager(around.logics)
    layout_manager = layout.create(around.scene, around.application_logic)
    window = modules.create_main_window(manager)
    app.put(
        scene=around.scene,
        logics=around.logics,
        application_logic=around.application_logic,
        layout_manager=layout_manager,
        module_manager=manager,
        io_manager=io_manager.create(around.scene, around.application_logic, around.logics),
        around=around,
    )
    slicer.app = wrap(app)
    _install_standin_modules(slicer)
    _running = Slicer(app, around.scene, around.logics, around.application_logic, layout_manager, manager, window, home)
    return _running
