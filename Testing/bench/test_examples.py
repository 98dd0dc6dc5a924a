"""Every button has a method of the logic, and the example of each method runs as it stands in its docstring."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

from bench import dialogs

RUN_SECONDS = 300.0
SEG = {
    "assignButton": "assign", "addModelButton": "addModel", "verifyModelButton": "verifyModel",
    "removeModelButton": "removeModel", "licenseButton": "agreeToLicence", "applyButton": "segment",
    "factorsViewButton": "showGrid", "crossViewButton": "showGrid", "uncertaintyViewButton": "showGrid",
    "agnosticViewButton": "showGrid", "previousLayoutButton": "previousLayout", "liveButton": "drawSlice",
    "drawVolumeButton": "drawVolume", "drawnUncertaintyButton": "drawnUncertainty", "resetAppearanceButton": "styles",
    "scoreFactorsButton": "disentanglement",
    "showPlotButton": "showPlot", "updateStatisticsButton": "statistics", "compareButton": "compareSegmentations",
    "showTableButton": "showTable", "singleSequencesButton": "singleSequences", "learnButton": "learn",
    "undoLearningButton": "undoLearning", "saveModelButton": "saveModel", "batchRunButton": "batch",
    "checkPythonButton": "checkWorker",
}  # fmt: skip
SYNTH = {"applyButton": "synthesize", "compareViewButton": "showGrid", "uncertaintyViewButton": "uncertainty"}
WITHOUT_BUTTON = {
    "factors", "crossReconstruct", "editInside", "editEverywhere", "editedSegments", "models", "revokeLicence",
    "usePython", "liveVolume", "recognize", "setSensitivity",
}  # fmt: skip
SLICERS_OWN = {"show3DButton"}


def example_of(method: Any) -> str:
    """The code of a docstring's "Example::" block; "" where there is none."""
    lines = iter(inspect.getdoc(method).splitlines() if inspect.getdoc(method) else ())
    for line in lines:
        if line.strip() == "Example::":
            block = []
            for following in lines:
                if following and not following.startswith(" "):
                    break
                block.append(following)
            return textwrap.dedent("\n".join(block)).strip()
    return ""


def examples(logic: Any) -> dict[str, str]:
    methods = {name: getattr(type(logic), name) for name in dir(type(logic)) if not name.startswith("_")}
    return {name: code for name, method in methods.items() if callable(method) and (code := example_of(method))}


def run(code: str, names: dict[str, Any]) -> None:
    exec(compile(code, "example", "exec"), names)


@pytest.fixture
def home(worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder of the user's own models; the worker of this test knows it."""
    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    worker.end()
    worker._client = None
    yield tmp_path / "home"
    worker.end()
    worker._client = None


def test_examples_of_the_segmentation_logic(
    home: Path, study: Any, study_folder: Path, load_module: Any, slicer_bench: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import slicer

    from tiny_bundle import tiny_bundle

    monkeypatch.setenv("DISENTANGLE_MODELS", str(tmp_path / "models"))
    tiny_bundle(tmp_path / "models" / "brain-mr", name="brain-mr")
    tiny_bundle(tmp_path / "mine", name="mine")
    panel = load_module("DisentangleSeg")
    logic = panel.logic
    found = examples(logic)
    assert set(found) == {*SEG.values(), *WITHOUT_BUTTON}
    (tmp_path / "in" / "anna").mkdir(parents=True)
    shutil.copy(study_folder / "T1.nii.gz", tmp_path / "in" / "anna")
    names: dict[str, Any] = {
        "slicer": slicer, "t1": study["T1"], "t2": study["T2"], "flair": study["FLAIR"],
        "folder_of_model": tmp_path / "mine", "folder_of_studies": tmp_path / "in",
        "folder_of_results": tmp_path / "out",
    }  # fmt: skip
    study["T1"].SetName("t1")
    study["FLAIR"].SetName("flair")
    run(example_of(type(logic)), names)  # logic and segmentation, of the class itself
    assert names["logic"] is logic
    todo = ["assign", "models", "checkWorker", "usePython", "addModel", "verifyModel", "removeModel", "agreeToLicence"]
    todo += ["recognize", "revokeLicence", "segment", "crossReconstruct"]
    for name in todo:
        run(found.pop(name), names)
    run(found.pop("factors"), names)
    names["segmentation"] = logic.compute(
        {"T1": study["T1"], "FLAIR": study["FLAIR"]}, everything(logic), True
    ).segmentation
    by_hand = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    by_hand.GetSegmentation().DeepCopy(names["segmentation"].GetSegmentation())
    names["by_hand"] = by_hand
    for name in ("showGrid", "previousLayout", "styles", "liveVolume", "drawVolume", "drawnUncertainty"):
        run(found.pop(name), names)
    run(found.pop("disentanglement"), names)
    for name in ("showPlot", "showTable", "statistics", "compareSegmentations", "singleSequences", "editInside"):
        run(found.pop(name), names)
    run(found.pop("editEverywhere"), names)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(names["segmentation"], "Disentangle_4", study["T1"])
    array[12:16, 20:28, 14:22] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, names["segmentation"], "Disentangle_4", study["T1"])
    for name in ("editedSegments", "setSensitivity", "learn", "saveModel", "undoLearning", "drawSlice", "batch"):
        run(found.pop(name), names)
    assert found == {}
    assert dialogs.shown == []
    assert [entry.status for entry in names["batch"].entries] == ["done"]


def everything(logic: Any) -> Any:
    import sys

    kind = sys.modules["disentangle.panel.tasks"].Wanted
    return kind(logic.modelFolder(None), segment=True, factors=True, cross_reconstructions=True)


def test_examples_of_the_synthesis_logic(tiny_models: Path, study: Any, load_module: Any, slicer_bench: Any) -> None:
    import slicer

    panel = load_module("DisentangleSynth")
    found = examples(panel.logic)
    assert set(SYNTH.values()) <= set(found)
    for name in ("T1", "T2"):
        study[name].SetName(name.lower())
    names = {"slicer": slicer, "t1": study["T1"], "t2": study["T2"], "other_scanner": study["FLAIR"]}
    run(example_of(type(panel.logic)), names)
    run(found["synthesize"], names)
    run(found["uncertainty"], names)
    assert names["made"]["FLAIR"].GetAttribute("Disentangle.Synthetic") == "1"
    assert dialogs.shown == []


@pytest.mark.parametrize(("module", "table"), [("DisentangleSeg", SEG), ("DisentangleSynth", {**SEG, **SYNTH})])
def test_every_button_has_a_method(module: str, table: dict, tiny_models: Path, load_module: Any) -> None:
    import slicer

    panel = load_module(module)
    whole = getattr(slicer.modules, module.lower()).widgetRepresentation()
    buttons = {str(b.objectName) for b in slicer.util.findChildren(whole, className="QPushButton") if b.objectName}
    unknown = buttons - set(table) - SLICERS_OWN
    assert not {name for name in unknown if name.endswith("Button") and not name.startswith("ctk")}, unknown
    for name in buttons & set(table):
        assert hasattr(panel.logic, table[name]), (name, table[name])
