"""A small extension, written for the purpose, is loaded, driven, saved and unloaded as Slicer would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import cmake_lists, dialogs, install_tree, modules
from bench.slicer_modules import packaging, pytorch_utils
from bench.test_ui_files import UI

SOURCE = """
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from SampleLib import helper


class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Sample")
        parent.categories = ["Testing"]


@parameterNodeWrapper
class SampleParameters:
    volume: vtkMRMLScalarVolumeNode
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    names: list[str]
    chosen: dict[str, str]
    note: str | None = None


class SampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.runs = 0
        self.log = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleLogic()
        self.ui.run.connect("clicked(bool)", self.onRun)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onEndClose)
        self.parameters = self.logic.getParameterNode()
        self.parameters.connectGui(self.ui)

    def onRun(self):
        self.runs += 1
        if self.parameters.volume is None:
            slicer.util.errorDisplay(_("Choose a volume."))

    def onEndClose(self, caller, event):
        self.log.append("closed")
        self.parameters = self.logic.getParameterNode()

    def enter(self):
        self.log.append("enter")

    def exit(self):
        self.log.append("exit")

    def cleanup(self):
        self.removeObservers()
        CLEANED.append(True)


CLEANED = []


class SampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return SampleParameters(super().getParameterNode())


class SampleTest(ScriptedLoadableModuleTest):
    def test_something(self):
        self.assertEqual(helper.answer(), 42)
"""
CMAKE = """set(MODULE_NAME Sample)
set(MODULE_PYTHON_SCRIPTS
  ${MODULE_NAME}.py  # the module itself
  SampleLib/__init__.py
  SampleLib/helper.py
  )
set(MODULE_PYTHON_RESOURCES
  Resources/UI/${MODULE_NAME}.ui
  )
slicerMacroBuildScriptedModule(
  NAME ${MODULE_NAME}
  SCRIPTS ${MODULE_PYTHON_SCRIPTS}
  RESOURCES ${MODULE_PYTHON_RESOURCES}
  WITH_GENERIC_TESTS
  )
if(BUILD_TESTING)
  slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)
  add_subdirectory(Testing)
endif()
"""
TOP = """cmake_minimum_required(VERSION 3.16.3...3.19.7 FATAL_ERROR)
project(SampleExtension)
set(EXTENSION_DESCRIPTION "A sample; nothing (else)")
find_package(Slicer REQUIRED)
include(${Slicer_USE_FILE})
add_subdirectory(Sample)
## NEXT_MODULE
include(${Slicer_EXTENSION_GENERATE_CONFIG})
"""


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    root = tmp_path / "extension"
    for name, text in {
        "CMakeLists.txt": TOP,
        "Sample/CMakeLists.txt": CMAKE,
        "Sample/Sample.py": SOURCE,
        "Sample/SampleLib/__init__.py": "",
        "Sample/SampleLib/helper.py": "def answer():\n    return 42\n",
        "Sample/Resources/UI/Sample.ui": UI,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def sample(extension: Path, tmp_path: Path, slicer_bench: Any, python_path: None, repository: Path) -> Any:
    folder = install_tree.build(extension, tmp_path / "install")
    install_tree.use(folder, repository)
    modules.load(slicer_bench.module_manager, folder / "Sample.py")
    slicer_bench.main_window.moduleSelector().selectModule("Sample")
    return slicer_bench.module_manager.module("Sample").widgetRepresentation().self()


def test_only_listed_files_are_installed(extension: Path, tmp_path: Path) -> None:
    (extension / "Sample" / "SampleLib" / "forgotten.py").write_text("", encoding="utf-8")
    folder = install_tree.build(extension, tmp_path / "install")
    assert sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()) == [
        "Resources/UI/Sample.ui", "Sample.py", "SampleLib/__init__.py", "SampleLib/helper.py"
    ]  # fmt: skip


def test_a_listed_file_that_is_missing_is_an_error(extension: Path, tmp_path: Path) -> None:
    (extension / "Sample" / "SampleLib" / "helper.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"helper\.py"):
        install_tree.build(extension, tmp_path / "install")


def test_packages_installed_beside_the_modules_keep_their_folders(extension: Path) -> None:
    text = """set(FILES pack/__init__.py pack/inner/a.py)
ctkMacroCompilePythonScript(
  TARGET_NAME pack SCRIPTS ${FILES} RESOURCES pack/data/x.json SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR}/..
  DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
  INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR} NO_INSTALL_SUBDIR)
"""
    (extension / "Sample" / "CMakeLists.txt").write_text(text, encoding="utf-8")
    lib = cmake_lists.SLICER_LIB
    assert [item.target for item in install_tree.listed_files(extension)] == [
        f"{lib}/pack/__init__.py", f"{lib}/pack/inner/a.py", f"{lib}/pack/data/x.json"
    ]  # fmt: skip


def test_paths_that_leave_the_folder_are_refused(extension: Path) -> None:
    (extension / "Sample" / "CMakeLists.txt").write_text(
        CMAKE.replace("Resources/UI/${MODULE_NAME}.ui", "../Resources/x.json"), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="outside"):
        install_tree.listed_files(extension)


def test_the_module_is_where_slicer_puts_it(sample: Any) -> None:
    import slicer

    assert slicer.modules.sample.widgetRepresentation().self() is sample
    assert slicer.modules.sample.title == "Sample"
    assert slicer.util.getModuleLogic("Sample") is sample.logic
    assert slicer.util.modulePath("Sample").endswith("Sample.py")
    assert slicer.modules.SampleWidget is sample
    with pytest.raises(AttributeError):
        _ = slicer.modules.nosuchmodule
    with pytest.raises(AttributeError):
        slicer.modules.sample.banner = 1
    slicer.selfTests["Sample"]()


def test_clicks_reach_the_panel(sample: Any, click: Any) -> None:
    click(sample.ui.run)
    assert sample.runs == 1
    assert dialogs.shown[-1].text == "Choose a volume."


def test_entering_and_leaving(sample: Any) -> None:
    import slicer

    slicer.util.selectModule("Volumes")
    assert sample.log == ["enter", "exit"]
    assert slicer.util.selectedModule() == "Volumes"


def test_parameters_come_back_with_the_scene(sample: Any, tmp_path: Path) -> None:
    import numpy as np
    import slicer

    parameters = sample.parameters
    parameters.volume = slicer.util.addVolumeFromArray(np.zeros((3, 3, 3)), name="t1")
    parameters.threshold = 0.125
    parameters.names = ["T1", "T2"]
    parameters.names.append("FLAIR")
    parameters.chosen["T1"] = "vtkMRMLScalarVolumeNode1"
    parameters.note = "kept"
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    assert sample.log[-1] == "closed"
    assert sample.parameters.names == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    again = sample.logic.getParameterNode()
    assert again.volume.GetName() == "t1"
    assert (again.threshold, again.names, again.note) == (0.125, ["T1", "T2", "FLAIR"], "kept")
    assert again.chosen == {"T1": "vtkMRMLScalarVolumeNode1"}


def test_parameters_refuse_wrong_values(sample: Any) -> None:
    with pytest.raises(ValueError, match="range"):
        sample.parameters.threshold = 2.0
    with pytest.raises(TypeError):
        sample.parameters.names = [1]
    with pytest.raises(TypeError):
        sample.parameters.volume = sample.parameters.parameterNode


def test_unloading_cleans_up(sample: Any, slicer_bench: Any) -> None:
    import sys

    cleaned = sys.modules["Sample"].CLEANED
    modules.unload(slicer_bench.module_manager, "Sample")
    assert cleaned == [True]


def test_nothing_is_ever_installed(slicer_bench: Any) -> None:
    import PyTorchUtils
    import qt
    import slicer.packaging

    assert slicer.packaging.pip_check("numpy>=1.20")
    dialogs.answer(qt.QMessageBox.Cancel)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-package-42>=1", requester="Sample")
    assert packaging.installed == []
    pytorch_utils.pretend_missing = True
    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert not logic.torchInstalled()
    dialogs.answer(qt.QMessageBox.Cancel)
    assert logic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.2") is None
    assert pytorch_utils.requests == [">=2.2"]


def test_f_strings_in_translations_are_caught(slicer_bench: Any) -> None:
    from slicer.i18n import tr as _

    assert _("{n} volumes").format(n=2) == "2 volumes"
    with pytest.raises(AssertionError, match="format"):
        for number in (1, 2):
            _(f"{number} volumes")
