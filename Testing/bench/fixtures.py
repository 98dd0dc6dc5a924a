"""Fixtures of the bench: a fresh scene, modules loaded from the install tree, clicks, waiting, screenshots."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import (
    application,
    dialogs,
    install_tree,
    modules,
    python_slicer,
    scene,
    screenshots,
    shared_worker,
    signals,
    slicer_app,
)
from bench.slicer_modules import packaging, pytorch_utils, sample_data


@pytest.fixture(scope="session")
def slicer_process(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> slicer_app.Slicer:
    """The imitated Slicer; one for the whole process."""
    home = tmp_path_factory.mktemp("Slicer-5.13")
    python_slicer.write_launcher(home / "bin", repository / "training")
    os.environ["PATH"] = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return slicer_app.start(home)


@pytest.fixture
def slicer_bench(slicer_process: slicer_app.Slicer, monkeypatch: pytest.MonkeyPatch) -> Iterator[slicer_app.Slicer]:
    """A fresh scene. Afterwards: no exception left a slot, VTK reported no error, no render pause is left over."""
    import slicer

    running = slicer_process
    running.scene.Clear(False)
    records: list[list[Any]] = [signals.uncaught, scene.vtk_errors, packaging.installed, sample_data.registered]
    for record in [*records, pytorch_utils.requests]:
        record.clear()
    pytorch_utils.pretend_missing = False
    slicer.modules.sampleDataSources = {}
    dialogs.forget()
    running.application.userSettings().clear()
    # A second after volumes were chosen the worker would look at them, in every test that takes so long.
    running.application.userSettings().setValue("Disentangle/LookAtImages", "false")
    monkeypatch.setattr(sys, "executable", str(running.home / "bin" / python_slicer.NAME))  # as Slicer does itself
    node = running.layout_manager.layoutLogic().GetLayoutNode()
    node.SetViewArrangement(node.SlicerLayoutFourUpView)
    yield running
    running.application.processEvents()
    running.main_window._selector.current = ""
    for name in [name for name in running.module_manager.modulesNames() if name not in running.logics]:
        modules.unload(running.module_manager, name)
    running.application.processEvents()
    node.SetViewArrangement(node.SlicerLayoutFourUpView)
    running.layout_manager.drop_views()
    running.scene.Clear(False)
    running.application.processEvents()
    application.delete_later()
    assert not signals.uncaught, "an exception left a slot:\n" + "\n".join(signals.uncaught)
    assert not scene.vtk_errors, "VTK reported:\n" + "\n".join(scene.vtk_errors)
    assert running.application.paused == 0, "slicer.app.pauseRender() without resumeRender()"


@pytest.fixture(scope="session")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed modules, built from the CMake lists."""
    return install_tree.build(repository, tmp_path_factory.mktemp("install"))


@pytest.fixture
def python_path() -> Iterator[None]:
    """Puts ``sys.path`` and the imported package back."""
    path = list(sys.path)
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "disentangle"}
    yield
    sys.path[:] = path
    install_tree.forget_package()
    sys.modules.update(kept)


@pytest.fixture(scope="session")
def worker() -> Iterator[shared_worker.SharedWorker]:
    """The worker process that the panel tests share."""
    shared = shared_worker.SharedWorker()
    yield shared
    shared.end()


@pytest.fixture
def load_module(
    slicer_bench: slicer_app.Slicer,
    installed: Path,
    repository: Path,
    python_path: None,
    worker: shared_worker.SharedWorker,
) -> Callable[..., Any]:
    """``load_module("DisentangleSeg")`` loads a module and enters it; the panel's Python object comes back.

    ``source=True`` takes the source tree instead of the install tree.
    """

    def load(name: str, source: bool = False) -> Any:
        if source:
            install_tree.use_source(repository, name)
        else:
            install_tree.use(installed, repository)
        folder = repository / name if source else installed
        if not source:
            worker.use()
        modules.load(slicer_bench.module_manager, folder / f"{name}.py")
        slicer_bench.application.startupCompleted.emit()
        slicer_bench.main_window.moduleSelector().selectModule(name)
        slicer_bench.application.processEvents()
        return slicer_bench.module_manager.module(name).widgetRepresentation().self()

    return load


@pytest.fixture
def click(slicer_bench: slicer_app.Slicer) -> Callable[[Any], None]:
    """``click(ui.runButton)``: as the user does; a disabled or hidden button fails the test."""

    def press(button: Any) -> None:
        assert button.enabled, f"{button.name} is disabled: {button.toolTip}"
        assert not button.isHidden(), f"{button.name} is hidden"
        button.click()
        slicer_bench.application.processEvents()
        names = [n for n in slicer_bench.module_manager.modulesNames() if n not in slicer_bench.logics]
        for panel in [slicer_bench.module_manager.module(n).widgetRepresentation().self() for n in names]:
            views = getattr(panel, "resultViews", None)
            while views is not None and views.busy:  # views of a grid are made in several turns
                slicer_bench.application.processEvents()

    return press


@pytest.fixture
def wait_until(slicer_bench: slicer_app.Slicer) -> Callable[..., None]:
    """``wait_until(lambda: done(), timeout=60)``: lets the event loop run until the condition holds."""

    def wait(condition: Callable[[], bool], timeout: float = 30.0, what: str = "the condition") -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert not signals.uncaught, "an exception left a slot:\n" + "\n".join(signals.uncaught)
            if time.monotonic() > end:
                pytest.fail(f"{what} did not come true in {timeout:g} s; dialogs: {dialogs.shown}")
            slicer_bench.application.processEvents()
            time.sleep(0.01)

    return wait


@pytest.fixture
def screenshot(slicer_bench: slicer_app.Slicer, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    """``screenshot("seg-panel", widget)`` photographs a panel, ``screenshot("factors")`` the slice views.

    The files go to the folder of ``--screenshots``, by default to a temporary one.
    """
    chosen = request.config.getoption("--screenshots", None)
    folder = Path(chosen) if chosen else tmp_path

    def take(name: str, widget: Any = None) -> Path:
        path = folder / f"{name}.png"
        if widget is None:
            return screenshots.views(slicer_bench.layout_manager, path)
        return screenshots.panel(widget._native, path)

    return take


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one untrained bundle, ``tiny``."""
    from tiny_bundle import tiny_bundle

    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "tiny")
    return folder


@pytest.fixture
def tiny_models(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes ``tiny`` the first model on the search path, and the only one that the panels propose."""
    monkeypatch.setenv("DISENTANGLE_MODELS", str(tiny_folder))
    return tiny_folder


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digital subject of 4 mm on disk, one NIfTI file per sequence."""
    from disentangle.phantoms.brain import BrainPhantomConfig, brain_phantom

    folder = tmp_path_factory.mktemp("study")
    brain_phantom(11, BrainPhantomConfig(spacing=4.0, lesions="ms")).study.write(folder)
    return folder


@pytest.fixture
def study(slicer_bench: slicer_app.Slicer, study_folder: Path) -> dict[str, Any]:
    """That subject, loaded as the user loads files: sequence -> volume node."""
    import slicer

    sequences = ("T1", "T1Gd", "T2", "FLAIR")
    return {name: slicer.util.loadVolume(str(study_folder / f"{name}.nii.gz")) for name in sequences}
