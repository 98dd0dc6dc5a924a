"""Both panels, driven by clicks from an empty scene to a reopened one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import dialogs
from bench.places import places as layout_places

RUN_SECONDS = 300.0


@pytest.fixture
def scene_state(slicer_bench: Any) -> Callable[[], dict[str, Any]]:
    """Every node and hierarchy item of the scene, by name and class; views and the modules' own state apart."""

    def state() -> dict[str, Any]:
        scene = slicer_bench.scene
        nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        hierarchy = scene.GetSubjectHierarchyNode()
        items: list[int] = []
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        return {
            "nodes": sorted(f"{node.GetClassName()} {node.GetID()} {node.GetName()}" for node in nodes),
            "items": sorted(hierarchy.GetItemName(item) for item in items),
            "layout": slicer_bench.layout_manager.read_layout(),
        }

    return state


def run(panel: Any, click: Any, wait_until: Any) -> None:
    """Press Apply and wait for the end."""
    click(panel.ui.applyButton)
    wait_until(lambda: not panel.logic.controller.busy, RUN_SECONDS, "the end of the run")


def texts(panel: Any) -> dict[str, str]:
    return {sequence: row.guess.text for sequence, row in panel.studyBox.rows.items()}


def shown_volumes(slicer_bench: Any) -> list[list[str]]:
    """Names of the background volumes of the views of the present layout, row by row."""
    rows: dict[float, list[str]] = {}
    for name, _x, y, _w, _h in layout_places(slicer_bench.layout_manager.layoutLogic().GetLayoutNode()):
        composite = slicer_bench.layout_manager.sliceWidget(name).mrmlSliceCompositeNode()
        volume = slicer_bench.scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        rows.setdefault(y, []).append(volume.GetName() if volume is not None else "")
    return list(rows.values())


@pytest.fixture
def seg(tiny_models: Any, study: Any, load_module: Any) -> Any:
    return load_module("DisentangleSeg")


@pytest.fixture
def synth(tiny_models: Any, study: Any, load_module: Any) -> Any:
    import slicer

    slicer.mrmlScene.RemoveNode(study.pop("FLAIR"))
    return load_module("DisentangleSynth")


def test_an_empty_scene_says_what_to_do(tiny_models: Any, load_module: Any) -> None:
    panel = load_module("DisentangleSeg")
    assert not panel.ui.applyButton.enabled
    assert "Choose the volume" in panel.ui.applyButton.toolTip


def test_the_volumes_of_a_study_are_guessed_and_can_be_changed(
    seg: Any, study: Any, click: Any, wait_until: Any
) -> None:
    click(seg.ui.assignButton)
    assert {name: node.GetName() for name, node in seg.studyBox.nodes().items()} == {
        name: node.GetName() for name, node in study.items()
    }
    assert all("sure" in text for text in texts(seg).values()), texts(seg)
    assert seg.ui.applyButton.enabled
    seg.studyBox.rows["FLAIR"].combo.setCurrentNode(study["T2"])  # the two change places
    wait_until(lambda: seg.studyBox.nodes()["T2"] is study["FLAIR"], 5, "the swap")
    assert (texts(seg)["FLAIR"], texts(seg)["T2"]) == ("✕ looks like T2", "✕ looks like FLAIR")
    assert seg._parameterNode.inputT2 is study["FLAIR"]
    assert seg.ui.applyButton.enabled
    seg.studyBox.rows["T2"].combo.setCurrentNode(None)
    assert texts(seg)["T2"] == "○ not given"
    assert "T2 is missing; the model card has no figures" in seg.ui.missingLabel.text
    assert seg.ui.applyButton.enabled


def test_what_is_no_input_is_refused_in_a_sentence(seg: Any, study: Any, slicer_bench: Any) -> None:
    import slicer

    study["T2"].SetAttribute("Disentangle.Synthetic", "1")
    seg.updateReadiness()
    assert "is synthetic" in seg.ui.applyButton.toolTip
    study["T2"].RemoveAttribute("Disentangle.Synthetic")
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    tree.SetItemAttribute(tree.GetItemByDataNode(study["T2"]), "DICOM.Modality", "CT")
    seg.updateReadiness()
    assert not seg.ui.applyButton.enabled
    assert "'T2' is CT, not MR; choose an MR volume as T2" in seg.ui.applyButton.toolTip
    tree.SetItemAttribute(tree.GetItemByDataNode(study["T2"]), "DICOM.Modality", "MR")
    with seg.studyBox.as_stored():
        seg.studyBox.rows["T1Gd"].combo.setCurrentNode(study["T1"])
    seg.updateReadiness()
    assert "T1 is chosen both as T1 and as T1Gd" in seg.ui.applyButton.toolTip
    with seg.studyBox.as_stored():
        seg.studyBox.rows["T1Gd"].combo.setCurrentNode(study["T1Gd"])
    for name, sequences in (("Anna", ("T1", "T1Gd")), ("Bert", ("T2",))):
        patient = tree.CreateSubjectItem(tree.GetSceneItemID(), name)
        for sequence in sequences:
            tree.SetItemParent(tree.GetItemByDataNode(study[sequence]), patient)
    seg.updateReadiness()
    assert not seg.ui.applyButton.enabled
    assert "different patients" in seg.ui.applyButton.toolTip
    assert "T2 of Bert" in seg.ui.applyButton.toolTip
    seg.studyBox.assign()  # one patient's only
    assert set(seg.studyBox.nodes()) <= {"T1", "T1Gd", "FLAIR"}


def test_segmentation_factors_and_cross_reconstructions(
    seg: Any, study: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    before = slicer_bench.layout_manager.read_layout()
    click(seg.ui.crossCheckBox)
    seg.ui.deviceComboBox.setCurrentText("cpu")
    run(seg, click, wait_until)
    assert dialogs.shown == []
    assert seg.logic.runner.run.wanted.device == "cpu"
    assert "The slices on screen are done" in seg.ui.logTextEdit.plainText
    outputs = seg.outputs
    names = [segment_name(outputs.segmentation, number) for number in range(4)]
    assert names == ["cerebrospinal fluid", "grey matter", "white matter", "white-matter lesion"]
    first = outputs.segmentation.GetSegmentation().GetNthSegment(2)
    assert "SCT" in first.GetTerminology()
    assert slicer.util.getSubjectHierarchyItemChildren(outputs.folder)
    assert "ml" in seg.ui.resultsLabel.text

    click(seg.ui.factorsViewButton)
    rows = shown_volumes(slicer_bench)
    channels = len(outputs.channels["T1"])
    assert channels > 1
    assert [len(row) for row in rows] == [channels + 2] * 4  # input, channels, reconstruction
    assert rows[0][1] == outputs.channels["T1"][0].GetName()
    assert rows[3][-1] == outputs.reconstructions["FLAIR"].GetName()
    display = outputs.segmentation.GetDisplayNode()
    assert not any(display.IsDisplayableInView(node.GetID()) for node in grid_nodes(slicer_bench))  # it would hide them
    screenshot("seg-factors")

    click(seg.ui.crossViewButton)
    rows = shown_volumes(slicer_bench)
    assert [len(row) for row in rows] == [4] * 4
    assert rows[1][2] == outputs.cross["T1Gd", "T2"].GetName()
    screenshot("seg-cross-reconstructions")
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.ShowSmallBasic
    outputs.cross["T1Gd", "T2"].GetDisplayNode().SetWindowLevelMinMax(10.0, 20.0)
    changed = outputs.cross["T1", "T2"].GetDisplayNode()
    assert changed.GetWindowLevelMax() < 1.5 * 20.0, "window and level are shared in a column"
    click(seg.ui.uncertaintyViewButton)
    maps = (outputs.lesion_uncertainty, outputs.uncertainty)
    assert shown_volumes(slicer_bench) == [["T1", "T1", node.GetName()] for node in maps]
    screenshot("seg-panel", slicer.modules.disentangleseg.widgetRepresentation())

    click(seg.ui.previousLayoutButton)
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair
    assert slicer_bench.layout_manager.read_layout() == before
    assert all(display.IsDisplayableInView(node.GetID()) for node in grid_nodes(slicer_bench))


def grid_nodes(slicer_bench: Any) -> list[Any]:
    """Slice nodes of the present layout."""
    manager = slicer_bench.layout_manager
    return [manager.sliceWidget(name).mrmlSliceNode() for name in manager.visible_slice_names()]


def segment_name(node: Any, number: int) -> str:
    return node.GetSegmentation().GetNthSegment(number).GetName()


def test_grid_views_scroll_together(seg: Any, click: Any, wait_until: Any, slicer_bench: Any) -> None:
    import slicer

    run(seg, click, wait_until)
    red = slicer_bench.layout_manager.sliceWidget("Red").sliceLogic()
    red.SetSliceOffset(31.0)
    click(seg.ui.factorsViewButton)
    places = layout_places(slicer_bench.layout_manager.layoutLogic().GetLayoutNode())
    logics = [slicer_bench.layout_manager.sliceWidget(name).sliceLogic() for name, *_ in places]
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([31.0] * len(logics)), "where the user looked"
    offset = logics[0].GetSliceOffset() + 12.0
    logics[0].StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    logics[0].SetSliceOffset(offset)
    logics[0].EndSliceNodeInteraction()
    assert [logic.GetSliceOffset() for logic in logics] == pytest.approx([offset] * len(logics))
    click(seg.ui.uncertaintyViewButton)  # another grid stays there
    view = slicer_bench.layout_manager.sliceWidget("Disentangle1-1").sliceLogic()
    assert view.GetSliceOffset() == pytest.approx(offset)
    click(seg.ui.previousLayoutButton)
    red.SetSliceOffset(900.0)  # outside: the middle
    click(seg.ui.factorsViewButton)
    assert abs(view.GetSliceOffset()) < 100.0


def test_the_segmentation_lies_in_the_geometry_of_the_first_input(
    seg: Any, study: Any, click: Any, wait_until: Any
) -> None:
    import slicer

    run(seg, click, wait_until)
    first = seg.studyBox.nodes()["T1"]
    node = seg.outputs.segmentation
    total = sum(
        slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, first)
        for segment in node.GetSegmentation().GetSegmentIDs()
    )
    assert total.shape == slicer.util.arrayFromVolume(first).shape
    assert total.max() == 1  # segments do not overlap


def test_edit_save_and_reopen(
    seg: Any, study: Any, click: Any, wait_until: Any, tmp_path: Path, slicer_bench: Any
) -> None:
    import slicer

    run(seg, click, wait_until)
    editor = seg.editor
    assert editor.segmentationNode() is seg.outputs.segmentation
    assert editor.sourceVolumeNode() is study["T1"]
    segment = seg.outputs.segmentation.GetSegmentation().GetSegmentIdBySegmentName("white-matter lesion")
    mask = np.zeros(slicer.util.arrayFromVolume(study["T1"]).shape, dtype=np.uint8)
    mask[10:14, 20:26, 15:22] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, seg.outputs.segmentation, segment, study["T1"])
    click(seg.ui.factorsViewButton)
    summary = seg.ui.resultsLabel.text
    names = sorted(node.GetName() for node in seg.outputs.nodes())
    layout = slicer_bench.layout_manager.read_layout()

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer_bench.application.processEvents()
    assert seg.outputs is None
    assert not seg.ui.factorsViewButton.enabled
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer_bench.application.processEvents()

    assert seg.outputs is not None
    assert sorted(node.GetName() for node in seg.outputs.nodes()) == names
    assert {name: node.GetName() for name, node in seg.studyBox.nodes().items()} == {
        "T1": "T1", "T1Gd": "T1Gd", "T2": "T2", "FLAIR": "FLAIR"
    }  # fmt: skip
    assert seg.ui.resultsLabel.text == summary
    segmentation = seg.outputs.segmentation
    again = segmentation.GetSegmentation().GetSegmentIdBySegmentName("white-matter lesion")
    edited = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, again, slicer.util.getNode("T1"))
    assert np.array_equal(edited > 0, mask > 0)
    assert "SCT" in segmentation.GetSegmentation().GetSegment(again).GetTerminology()
    assert slicer_bench.layout_manager.read_layout() == layout
    assert seg.ui.factorsViewButton.enabled
    click(seg.ui.factorsViewButton)
    assert shown_volumes(slicer_bench)[0][1] == seg.outputs.channels["T1"][0].GetName()
    click(seg.ui.previousLayoutButton)
    assert segmentation.GetDisplayNode().GetNumberOfViewNodeIDs() == 0  # visible everywhere again, in new views too
    run(seg, click, wait_until)
    assert dialogs.shown == []


def test_a_new_run_leaves_no_old_pictures_in_the_grid(seg: Any, click: Any, wait_until: Any, slicer_bench: Any) -> None:
    run(seg, click, wait_until)
    click(seg.ui.factorsViewButton)
    run(seg, click, wait_until)
    if slicer_bench.layout_manager.visible_slice_names()[0].startswith("Disentangle"):
        first, *_, last = shown_volumes(slicer_bench)[0]
        outputs = seg.outputs
        assert (first, last) == (outputs.aligned["T1"].GetName(), outputs.reconstructions["T1"].GetName())


@pytest.mark.parametrize("name", ["DisentangleSeg", "DisentangleSynth"])
def test_cancel_leaves_the_scene_as_it_was(
    name: str, tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, scene_state: Any
) -> None:
    import slicer

    if name == "DisentangleSynth":
        slicer.mrmlScene.RemoveNode(study.pop("FLAIR"))
    panel = load_module(name)
    before = scene_state()
    click(panel.ui.applyButton)
    assert panel.ui.applyButton.text == "Cancel"
    click(panel.ui.applyButton)
    wait_until(lambda: not panel.logic.controller.busy, RUN_SECONDS, "the end of the cancelled run")
    assert scene_state() == before
    assert panel.ui.applyButton.text == "Apply"
    assert dialogs.shown == []
    run(panel, click, wait_until)
    assert panel.outputs is not None


def test_a_study_with_one_bad_volume_is_refused_in_one_sentence(
    seg: Any, study: Any, click: Any, wait_until: Any, scene_state: Any
) -> None:
    import slicer

    array = slicer.util.arrayFromVolume(study["T2"])
    slicer.util.updateVolumeFromArray(study["T2"], np.where(array > array.mean(), np.nan, array).astype(np.float32))
    before = scene_state()
    run(seg, click, wait_until)
    assert len(dialogs.shown) == 1
    text = dialogs.shown[0].text
    assert "T2" in text
    assert "\n" not in text
    assert seg.ui.statusLabel.text == text
    assert scene_state() == before
    assert seg.ui.applyButton.enabled


def test_synthesis_of_the_missing_sequence(
    synth: Any, study: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    assert synth.targets() == ["FLAIR"]
    run(synth, click, wait_until)
    assert dialogs.shown == []
    node = synth.outputs.synthetic["FLAIR"]
    assert "FLAIR" in node.GetName()
    assert "ynthetic" in node.GetName()
    assert slicer.util.arrayFromVolume(node).shape == slicer.util.arrayFromVolume(study["T1"]).shape
    low, high = node.GetDisplayNode().GetWindowLevelMin(), node.GetDisplayNode().GetWindowLevelMax()
    values = slicer.util.arrayFromVolume(node)
    assert values.min() <= low < high <= values.max() * 1.5 + 1
    click(synth.ui.compareViewButton)
    assert node.GetName() in [name for row in shown_volumes(slicer_bench) for name in row]
    screenshot("synth-compare")
    assert not any(n.GetName() == "Uncertainty" for n in synth.outputs.nodes())
    click(synth.ui.uncertaintyViewButton)  # computed when it is asked for
    shown = lambda: [row[-1] for row in shown_volumes(slicer_bench)] == ["Uncertainty"]  # noqa: E731
    wait_until(shown, RUN_SECONDS, "the uncertainty")
    assert slicer.util.arrayFromVolume(synth.outputs.uncertainty).max() > 0.05
    screenshot("synth-uncertainty")
    screenshot("synth-panel", slicer.modules.disentanglesynth.widgetRepresentation())


def test_a_synthesis_is_saved_and_reopened(
    synth: Any, study: Any, click: Any, wait_until: Any, tmp_path: Path, slicer_bench: Any
) -> None:
    import slicer

    run(synth, click, wait_until)
    before = slicer.util.arrayFromVolume(synth.outputs.synthetic["FLAIR"]).copy()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer_bench.application.processEvents()
    node = synth.outputs.synthetic["FLAIR"]
    assert np.allclose(slicer.util.arrayFromVolume(node), before)
    assert synth.targets() == ["FLAIR"]
    assert synth.ui.compareViewButton.enabled


def test_the_logic_is_callable_from_the_console(seg: Any, study: Any) -> None:
    import slicer

    logic = slicer.modules.disentangleseg.widgetRepresentation().self().logic
    segmentation = logic.segment({"T1": study["T1"], "FLAIR": study["FLAIR"]}, model="tiny")
    assert segmentation.IsA("vtkMRMLSegmentationNode")
    cross = logic.crossReconstruct([study["T1"], study["T2"]], model="tiny")
    assert set(cross) == {("T1", "T1"), ("T1", "T2"), ("T2", "T1"), ("T2", "T2")}


def test_leaving_the_module_brings_the_layout_back(seg: Any, click: Any, wait_until: Any, slicer_bench: Any) -> None:
    import slicer

    run(seg, click, wait_until)
    before = slicer_bench.layout_manager.read_layout()
    click(seg.ui.factorsViewButton)
    slicer.util.selectModule("Volumes")
    assert slicer_bench.layout_manager.read_layout() == before
    slicer.util.selectModule("DisentangleSeg")
    assert seg.outputs is not None


def test_torch_missing_asks_first_and_installs_through_the_pytorch_extension(
    seg: Any, study: Any, click: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    import qt

    from bench.slicer_modules import pytorch_utils

    dependencies = sys.modules["disentangle.panel.dependencies"]
    reports = iter([{"ok": False, "missing": ["torch>=2.2"], "message": "no torch"}, {"ok": True}])
    monkeypatch.setattr(dependencies, "check_interpreter", lambda devices=False: next(reports))
    dialogs.answer(qt.QMessageBox.Ok)
    run(seg, click, wait_until)
    assert "PyTorch" in dialogs.shown[0].text
    assert pytorch_utils.requests == [">=2.2"]
    assert seg.outputs is not None
