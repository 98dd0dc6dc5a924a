"""What can be done with the results of a run, by clicks: statistics, sliders, learning, batches, marks."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import dialogs

RUN_SECONDS = 300.0


def wait_idle(panel: Any, wait_until: Any) -> None:
    wait_until(lambda: not panel.logic.runner.busy, RUN_SECONDS, "the end of the computation")


@pytest.fixture
def ran(tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any) -> Any:
    """DisentangleSeg after a run."""
    panel = load_module("DisentangleSeg")
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    assert dialogs.shown == []
    return panel


def open_section(section: Any) -> None:
    section.collapsed = False


def rows(table: Any) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in table.texts()}


def texts_in(view: str) -> list[str]:
    """What is written over the image of a slice view."""
    import slicer

    widget = slicer.app.layoutManager().sliceWidget(view)
    props = widget.sliceView().renderWindow().GetRenderers().GetFirstRenderer().GetViewProps()
    actors = [props.GetItemAsObject(number) for number in range(props.GetNumberOfItems())]
    return [actor.GetInput() for actor in actors if actor.IsA("vtkTextActor") and actor.GetVisibility()]


def paint(segmentation: Any, volume: Any, name: str, box: tuple[slice, slice, slice]) -> None:
    """Stands for the Segment Editor: give a box of voxels to a segment, and take it from the others."""
    import slicer

    content = segmentation.GetSegmentation()
    for segment in content.GetSegmentIDs():
        array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume)
        array[box] = content.GetSegment(segment).GetName() == name
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, segment, volume)


def test_volumes_are_listed_updated_compared_and_shown_as_a_table(
    ran: Any, study: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    box, segmentation = ran.statisticsBox, ran.outputs.segmentation
    open_section(box.section)
    before = rows(box.table)
    white = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "Disentangle_3", study["T1"]).sum()
    voxel = np.prod(study["T1"].GetSpacing())
    assert float(before["white matter"][1]) == pytest.approx(white * voxel, abs=1)
    assert float(before["white matter"][0]) == pytest.approx(white * voxel / 1000, abs=0.01)
    assert float(before["brain tissue"][0]) == pytest.approx(
        float(before["grey matter"][0]) + float(before["white matter"][0]), abs=0.02
    )

    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    reference.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
    reference.CreateDefaultDisplayNodes()
    paint(segmentation, study["T1"], "white-matter lesion", (slice(10, 20), slice(20, 30), slice(15, 25)))
    click(box.updateButton)
    assert float(rows(box.table)["white-matter lesion"][1]) > float(before["white-matter lesion"][1])
    assert not box.compareButton.enabled
    box.reference.setCurrentNode(reference)
    click(box.compareButton)
    wait_idle(ran, wait_until)
    compared = rows(box.table)
    assert 0.5 < float(compared["white matter"][1]) < 1.0
    assert float(compared["white matter"][2]) >= 0.0
    screenshot("seg-statistics", box.section)
    click(box.show3DButton)
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    assert segmentation.GetSegmentation().ContainsRepresentation(surface)
    click(box.tableButton)
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    assert box.node.GetTable().GetNumberOfColumns() == 7
    assert box.node.GetCellText(0, 0) == "cerebrospinal fluid"


def test_single_sequences_are_segmented_from_the_factors_at_hand(
    ran: Any, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    open_section(ran.statisticsBox.section)
    click(ran.statisticsBox.aloneButton)
    wait_idle(ran, wait_until)
    subsets = ran.outputs.subsets
    assert set(subsets) == {"T1", "T1Gd", "T2", "FLAIR"}
    assert "SCT" in subsets["T2"].GetSegmentation().GetNthSegment(0).GetTerminology()
    assert not subsets["T2"].GetDisplayNode().GetVisibility()
    assert slicer.util.getSubjectHierarchyItemChildren(ran.outputs.folder)


def test_sliders_redraw_the_slice_on_screen(
    ran: Any, study: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    box = ran.appearanceBox
    open_section(box.section)
    box.anatomy.setCurrentText("T1")
    click(box.startButton)
    wait_until(lambda: not box.logic._drawing, 30, "the first slice")
    live = box.live.node
    first = slicer.util.arrayFromVolume(live).copy()
    box.blend.value = 0.5
    wait_until(lambda: not box.logic._drawing, 30, "the blend")
    blended = slicer.util.arrayFromVolume(live).copy()
    changed = np.flatnonzero((blended != first).any(axis=(1, 2)))
    assert len(changed) == 1  # the slice on screen, and only that one
    box.group.collapsed = False
    box.sliders[2].value = box.sliders[2].maximum
    wait_until(lambda: not box.logic._drawing, 30, "the dimension")
    assert not np.array_equal(slicer.util.arrayFromVolume(live)[changed[0]], blended[changed[0]])
    view = slicer_bench.layout_manager.sliceWidget("Disentangle1-2").sliceLogic()
    view.SetSliceOffset(view.GetSliceOffset() + 8.0)
    wait_until(lambda: box.logic._waiting is None and not box.logic._drawing, 30, "the next slice")
    now = np.flatnonzero((slicer.util.arrayFromVolume(live) != first).any(axis=(1, 2)))
    assert len(now) == 2
    screenshot("seg-live")
    screenshot("seg-appearance", box.section)
    click(box.volumeButton)
    wait_idle(ran, wait_until)
    assert len(np.flatnonzero((slicer.util.arrayFromVolume(live) != first).any(axis=(1, 2)))) > 10
    assert live.GetAttribute("Disentangle.Synthetic") == "1"
    click(ran.ui.previousLayoutButton)


def test_the_uncertainty_of_a_drawing_is_that_of_the_appearance_that_the_sliders_say(
    ran: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    box = ran.appearanceBox
    open_section(box.section)
    box.blend.value = 0.5
    click(box.uncertaintyButton)
    wait_idle(ran, wait_until)
    first = slicer.util.arrayFromVolume(box.uncertainty).copy()
    assert first.max() > 0.01
    view = slicer_bench.layout_manager.sliceWidget("Disentangle1-2").mrmlSliceCompositeNode()
    assert view.GetForegroundVolumeID() == box.uncertainty.GetID()
    assert view.GetBackgroundVolumeID() == box.live.node.GetID()
    assert ran.outputs.uncertainty is not box.uncertainty, "that of the segmentation stays"
    views = [slicer_bench.layout_manager.sliceWidget(f"Disentangle1-{n}").mrmlSliceNode() for n in (1, 2, 3)]
    assert len({round(view.GetFieldOfView()[1], 3) for view in views}) == 1, "at one scale, though the grids differ"
    assert np.allclose(*(slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS()) for view in views[1:]))
    screenshot("seg-live-uncertainty")
    box.sliders[0].value = box.sliders[0].maximum
    assert "press Uncertainty again" in box.status.text
    click(box.uncertaintyButton)
    wait_idle(ran, wait_until)
    assert "of this appearance" in box.status.text
    assert not np.array_equal(slicer.util.arrayFromVolume(box.uncertainty), first)
    assert len(slicer.util.getNodes("Uncertainty of the drawing*")) == 1, "filled again"
    click(ran.ui.previousLayoutButton)
    wait_until(lambda: not box.logic._drawing and box.logic._waiting is None, 30, "the last slice")


def test_the_factors_are_scored_and_plotted(
    ran: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    page = ran.factorPage
    open_section(page.section)
    click(page.computeButton)
    wait_idle(ran, wait_until)
    assert "distance correlation" in rows(page.table)
    assert rows(page.matrix)["T1"][0] == "1.00 / 1.00"
    screenshot("seg-disentanglement", page.section)
    click(page.plotButton)
    assert set(page.page["plots"]) == {"components", "t-SNE of z", "t-SNE of s"}
    chart = page.page["plots"]["components"]
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() == chart.GetID()
    assert chart.GetNumberOfPlotSeriesNodes() == 4
    series = chart.GetNthPlotSeriesNode(0)
    assert series.GetTableNode().GetTable().GetNumberOfRows() > 4


def test_drawing_inside_a_factor(ran: Any, study: Any, click: Any, slicer_bench: Any) -> None:
    import slicer

    tools = ran.editTools
    ran.editSection.collapsed = False
    node = ran.editor.mrmlSegmentEditorNode()
    argmax = slicer.util.arrayFromVolume(ran.outputs.argmax["T1"])
    k, j, i = np.argwhere(argmax == argmax[argmax > 0][0])[0]
    matrix = slicer.vtkMatrix4x4() if hasattr(slicer, "vtkMatrix4x4") else __import__("vtk").vtkMatrix4x4()
    ran.outputs.argmax["T1"].GetIJKToRASMatrix(matrix)
    ras = matrix.MultiplyPoint([float(i), float(j), float(k), 1.0])[:3]
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCursorPositionRAS(list(ras))
    click(tools.pick)
    slicer.app.layoutManager().sliceWidget("Red").sliceView().interactor().InvokeEvent("LeftButtonPressEvent")
    assert tools.chosen() == [int(argmax[k, j, i])]
    assert node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
    assert node.GetMaskSegmentID() == "DisentangleFactor"
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(ran.outputs.segmentation, "DisentangleFactor", study["T1"])
    assert mask.any()
    assert not mask.all()
    assert "edit inside" not in " ".join(rows(ran.statisticsBox.table))
    assert not ran.outputs.segmentation.GetDisplayNode().GetSegmentVisibility("DisentangleFactor")
    slicer.util.selectModule("Volumes")
    assert node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    assert ran.outputs.segmentation.GetSegmentation().GetSegment("DisentangleFactor") is None


def test_edits_are_learnt_undone_and_kept_by_the_next_run(
    ran: Any,
    study: Any,
    click: Any,
    wait_until: Any,
    slicer_bench: Any,
    screenshot: Any,
    monkeypatch: Any,
    tmp_path: Path,
) -> None:
    import slicer

    tools, segmentation = ran.editTools, ran.outputs.segmentation
    ran.editSection.collapsed = False
    volume = study["T1"]
    click(tools.learnButton)
    wait_idle(ran, wait_until)
    assert "Nothing was corrected" in dialogs.shown.pop().text
    box = (slice(12, 16), slice(20, 28), slice(14, 22))
    paint(segmentation, volume, "white-matter lesion", box)
    assert "white-matter lesion" in ran.logic.editedSegments(segmentation)
    lesion = "Disentangle_4"
    drawn = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, lesion, volume).copy()
    click(tools.learnButton)
    wait_idle(ran, wait_until)
    assert "Learnt from" in tools.status.text
    learnt = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, lesion, volume)
    assert learnt[box].all()
    screenshot("seg-edit", ran.editSection)
    dialogs.answer("no/name")  # a name that is none, so that nothing is stored; test_examples.py stores a model
    click(tools.saveButton)
    wait_idle(ran, wait_until)
    assert "cannot be the name of a model" in dialogs.shown.pop().text
    click(tools.undoButton)
    wait_idle(ran, wait_until)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, lesion, volume), drawn)
    assert not tools.undoButton.enabled
    assert "white-matter lesion" in ran.logic.editedSegments(segmentation)

    click(ran.ui.applyButton)  # again: what was edited stays
    wait_idle(ran, wait_until)
    assert ran.outputs.segmentation is not segmentation
    again = slicer.util.arrayFromSegmentBinaryLabelmap(ran.outputs.segmentation, lesion, volume)
    assert np.array_equal(again, drawn)
    assert "Kept as you edited it" in ran.ui.resultsLabel.text
    click(ran.ui.keepEditedCheckBox)
    assert ran.extras() == {"change": None}, "unticked, the next run answers anew"


def test_a_slider_draws_more_lesions_or_fewer_and_leaves_what_was_drawn(
    ran: Any, study: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    from disentangle.mrml.segments import labels_of

    segmentation, volume, slider = ran.outputs.segmentation, study["T1"], ran.sensitivityBox.slider
    ran.editSection.collapsed = False

    def labels() -> np.ndarray:
        return labels_of(segmentation, volume)[0]

    def lesions() -> int:
        return int((labels() >= 4).sum())

    usual, listed = lesions(), rows(ran.statisticsBox.table)
    slider.value = 4.0
    wait_idle(ran, wait_until)
    assert lesions() > usual
    assert rows(ran.statisticsBox.table) != listed
    assert segmentation.GetAttribute("Disentangle.Sensitivity") == "16"
    assert ran.logic.editedSegments(segmentation) == [], "what the model says is no edit"
    assert "Odds of lesions: 16 times what the model says." in ran.ui.resultsLabel.text
    volume_ml = rows(ran.statisticsBox.table)["white-matter lesion"][0]
    assert f"white-matter lesion: {float(volume_ml):.1f} ml" in ran.ui.resultsLabel.text
    screenshot("seg-sensitivity", ran.editSection)
    box = (slice(12, 16), slice(20, 28), slice(14, 22))
    drawn = np.zeros(labels().shape, bool)
    drawn[box] = labels()[box] != 4
    assert drawn.any()
    paint(segmentation, volume, "white-matter lesion", box)
    slider.value = -6.0
    slider.value = -5.0  # moved on while it computes
    wait_idle(ran, wait_until)
    assert segmentation.GetAttribute("Disentangle.Sensitivity") == "0.03125"
    assert (labels()[drawn] == 4).all()
    assert lesions() < usual + drawn.sum()
    assert "white-matter lesion" in ran.logic.editedSegments(segmentation)

    click(ran.ui.applyButton)  # a new answer is the model's own
    wait_idle(ran, wait_until)
    assert slider.value == 0.0 and slider.enabled and "Odds" not in ran.ui.resultsLabel.text
    os.kill(ran.logic.runner.link.client.pid, signal.SIGKILL)
    slider.value = 1.0
    wait_idle(ran, wait_until)
    told = dialogs.shown.pop().text  # the first where its end had been noticed by then
    assert "press Apply" in told or "run again" in told
    assert slider.value == 0.0, "the segmentation is as it was"


def test_a_folder_of_studies_with_a_broken_one_then_resumed(
    tiny_models: Any, study_folder: Path, slicer_bench: Any, load_module: Any, click: Any, wait_until: Any,
    tmp_path: Path, screenshot: Any,
) -> None:  # fmt: skip
    import shutil

    for name in ("anna", "bert"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for sequence in ("T1", "FLAIR"):
            shutil.copy(study_folder / f"{sequence}.nii.gz", tmp_path / "in" / name)
    (tmp_path / "in" / "broken").mkdir()
    (tmp_path / "in" / "broken" / "T1.nii.gz").write_bytes(b"no image")
    panel = load_module("DisentangleSeg")
    box = panel.batchBox
    open_section(box.section)
    box.input.currentPath = str(tmp_path / "in")
    click(box.runButton)
    assert "folder for the results" in dialogs.shown.pop().text
    box.output.currentPath = str(tmp_path / "out")
    click(box.runButton)
    wait_until(lambda: box.batch.done, RUN_SECONDS, "the end of the batch")
    states = {row[0]: row[1] for row in box.table.texts()}
    assert states == {"anna": "done", "bert": "done", "broken": "failed"}
    assert "2 of 3" in box.status.text
    assert (tmp_path / "out" / "bert" / "segmentation.nii.gz").is_file()
    assert "failed" in (tmp_path / "out" / "batch.csv").read_text(encoding="utf-8")
    screenshot("seg-batch", box.section)
    click(box.runButton)
    wait_until(lambda: box.batch.done, RUN_SECONDS, "the end of the second batch")
    states = {row[0]: row[1] for row in box.table.texts()}
    assert states == {"anna": "done before", "bert": "done before", "broken": "failed"}


def test_patients_of_the_scene_are_run_one_after_the_other(
    tiny_models: Any, study: Any, study_folder: Path, slicer_bench: Any, load_module: Any, click: Any, wait_until: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    other = slicer.util.loadVolume(str(study_folder / "T2.nii.gz"))
    for name, nodes in (("Anna", list(study.values())), ("Bert", [other])):
        patient = tree.CreateSubjectItem(tree.GetSceneItemID(), name)
        for node in nodes:
            tree.SetItemParent(tree.GetItemByDataNode(node), patient)
    box = panel.batchBox
    open_section(box.section)
    box.source.setCurrentIndex(1)
    assert not box.input.enabled
    click(box.runButton)
    wait_until(lambda: box.batch.done, RUN_SECONDS, "the end of the batch")
    assert [row[:2] for row in box.table.texts()] == [["Anna", "done"], ["Bert", "done"]]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_models_are_added_verified_and_removed(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, tmp_path: Path, monkeypatch: Any,
    worker: Any, slicer_bench: Any, screenshot: Any,
) -> None:  # fmt: skip
    import shutil

    import qt

    from tiny_bundle import tiny_bundle

    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    worker.end()  # the next one learns of the new home
    worker._client = None
    tiny_bundle(tmp_path / "mine", name="mine", license={"name": "Some-NC", "permissive": False, "text": "Do no harm."})
    panel = load_module("DisentangleSeg")
    dialogs.answer(str(tmp_path / "mine" / "bundle.json"))
    click(panel.ui.addModelButton)
    assert dialogs.shown.pop().kind == "QFileDialog.getOpenFileName"
    wait_idle(panel, wait_until)
    assert panel.modelBox.bundle.name == "mine"
    assert "to be agreed to" in panel.ui.bundleLabel.text
    dialogs.answer(qt.QMessageBox.No)
    click(panel.ui.applyButton)
    assert "not agreed to" in panel.ui.statusLabel.text
    assert "Do no harm." in dialogs.shown.pop().text
    dialogs.answer(qt.QMessageBox.Yes)
    click(panel.ui.licenseButton)
    assert "(agreed to)" in panel.ui.bundleLabel.text
    dialogs.answer(qt.QMessageBox.Yes)
    click(panel.ui.licenseButton)
    assert "to be agreed to" in panel.ui.bundleLabel.text
    click(panel.ui.verifyModelButton)
    wait_idle(panel, wait_until)
    assert "complete and unchanged" in dialogs.shown.pop().text
    (tmp_path / "home" / "Models" / "mine" / "model.safetensors").write_bytes(b"0")
    click(panel.ui.verifyModelButton)
    wait_idle(panel, wait_until)
    assert "damaged" in dialogs.shown.pop().text
    dialogs.answer(qt.QMessageBox.Yes)
    click(panel.ui.removeModelButton)
    assert "mine" not in panel.modelBox.bundles
    dialogs.shown.clear()
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path, "mine")
    dialogs.answer(archive)
    click(panel.ui.addModelButton)
    wait_idle(panel, wait_until)
    assert panel.modelBox.bundle.name == "mine"
    worker.end()
    worker._client = None


def test_a_real_target_is_compared_with_the_synthetic_one(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSynth")
    assert panel.targets() == []
    click(panel.targetBoxes["FLAIR"])
    panel.ui.styleSelector.setCurrentNode(study["FLAIR"])
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    assert dialogs.shown == []
    outputs = panel.outputs
    assert "FLAIR: PSNR" in panel.ui.resultsLabel.text
    assert outputs.differences["FLAIR"].GetDisplayNode().GetColorNode().GetName() == "Difference (blue - orange)"
    click(panel.ui.compareViewButton)
    assert texts_in("Disentangle1-2") == ["synthetic"]
    assert texts_in("Disentangle1-1") == []
    screenshot("synth-difference")
    click(panel.ui.uncertaintyViewButton)
    wait_idle(panel, wait_until)
    assert "FLAIR like volume 'FLAIR'" in outputs.uncertainty.GetDescription()
    first = slicer_bench.layout_manager.sliceWidget("Disentangle1-1").mrmlSliceCompositeNode()
    assert first.GetBackgroundVolumeID() == outputs.synthetic["FLAIR"].GetID()
    click(panel.ui.previousLayoutButton)
    panel.ui.sourceComboBox.setCurrentIndex(panel.ui.sourceComboBox.findText("T2"))
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    assert list(panel.outputs.inputs) == ["T2"]
    synthetic = panel.outputs.synthetic["FLAIR"]
    assert "T2" in synthetic.GetDescription()
    panel.studyBox.rows["FLAIR"].combo.setCurrentNode(synthetic)
    slicer_bench.application.processEvents()
    assert "is synthetic" in panel.ui.applyButton.toolTip
    assert slicer.mrmlScene.GetSubjectHierarchyNode() is not None


def test_the_first_slices_come_before_the_volume(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    panel = load_module("DisentangleSeg")
    assert "GB of memory" in panel.ui.memoryLabel.text
    seen: list[str] = []
    panel.logic.controller.listen(lambda _view: None, seen.append)
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    assert any("slices on screen" in line for line in seen)
    names = [slicer_bench.scene.GetNthNode(n).GetName() for n in range(slicer_bench.scene.GetNumberOfNodes())]
    assert not any("preview" in (name or "") for name in names)


def test_sample_data_is_registered_once_and_made_on_demand(
    tiny_models: Any, slicer_bench: Any, load_module: Any
) -> None:
    import slicer

    from bench.slicer_modules import sample_data

    load_module("DisentangleSeg")
    names = [source["sampleName"] for source in sample_data.registered]
    assert names == [
        "Digital glioma, four MR sequences",
        "Digital MS lesions, without T1Gd",
        "Brain tumour of a patient, T1",
    ], "Slicer shows them as they are"
    public = sample_data.registered[-1]
    assert public["checksums"].removeprefix("SHA256:") in public["uris"]
    assert Path(public["thumbnailFileName"]).is_file()
    chosen = type("Source", (), {"sampleName": names[1]})
    nodes = sample_data.registered[1]["customDownloader"](chosen)
    assert [node.GetName() for node in nodes] == ["Digital MS T1", "Digital MS T2", "Digital MS FLAIR"]
    panel = slicer.modules.disentangleseg.widgetRepresentation().self()
    panel.studyBox.assign()
    assert set(panel.studyBox.nodes()) == {"T1", "T2", "FLAIR"}
    assert "T1Gd is missing" in panel.ui.missingLabel.text


def test_digital_subjects_have_names_of_their_own(tiny_models: Any, load_module: Any) -> None:
    import sys

    load_module("DisentangleSeg")
    make = sys.modules["disentangle.panel.sample_data"].phantom_nodes
    made = [make(("T1",), lesions, spacing=8.0)["T1"].GetName() for lesions in ("glioma", "ms", "ms")]
    assert made == ["Digital glioma T1", "Digital MS T1", "Digital MS T1_1"]


def test_digital_subjects_are_patients_of_their_own_whose_volumes_are_not_mixed(
    tiny_models: Any, load_module: Any
) -> None:
    import sys

    panel = load_module("DisentangleSeg")
    make = sys.modules["disentangle.panel.sample_data"].phantom_nodes
    make(("T1", "T2", "FLAIR"), "glioma", spacing=8.0)
    second = make(("T1", "FLAIR"), "ms", spacing=8.0)
    panel.studyBox.rows["T1"].combo.setCurrentNode(second["T1"])  # the user chooses a volume of the second
    panel.studyBox.assign()
    assert panel.studyBox.nodes() == second


def test_fast_is_offered_for_a_model_that_has_a_fast_mode_and_asked_of_no_other(
    tiny_models: Any, load_module: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from disentangle.bundles import add_fast_mode
    from tiny_bundle import tiny_bundle

    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    measured = {"times_torch": 9.3, "dice": {"loss": 0.004}, "psnr": {"loss": 0.02}}
    quick = tiny_bundle(tmp_path / "home" / "Models" / "quick", name="quick")
    add_fast_mode(quick, b"PK", {"programs": ["segment"], "measured": measured})
    panel = load_module("DisentangleSeg")
    panel.modelBox.choose("quick")
    box = panel.ui.fastCheckBox
    assert not box.isHidden()
    assert "9.3 times as fast as PyTorch; Dice lost 0.004, 0.02 dB" in box.toolTip
    assert not panel.wanted(panel.modelBox.bundle).fast
    box.checked = True
    assert panel.wanted(panel.modelBox.bundle).fast
    panel.modelBox.choose("tiny")
    assert box.isHidden()
    assert not panel.wanted(panel.modelBox.bundle).fast
