"""Buttons act on the study that the panel shows, whatever was computed, drawn or removed since."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import dialogs
from bench.test_tools import open_section, paint, ran, rows, wait_idle  # noqa: F401

LESION = "Disentangle_4"
BOX = (slice(12, 16), slice(20, 28), slice(14, 22))
LATE = (slice(30, 33), slice(20, 28), slice(14, 22))
GONE = "no longer in memory"


def patient(folder: Path, name: str) -> dict[str, Any]:
    """The same volumes again, as those of another patient."""
    import slicer

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = tree.CreateSubjectItem(tree.GetSceneItemID(), name)
    nodes = {s: slicer.util.loadVolume(str(folder / f"{s}.nii.gz"), {"name": f"{name} {s}"}) for s in ("T1", "FLAIR")}
    for node in nodes.values():
        tree.SetItemParent(tree.GetItemByDataNode(node), item)
    return nodes


@pytest.fixture
def twins(slicer_bench: Any, study_folder: Path) -> dict[str, dict[str, Any]]:
    """Two patients whose volumes have the same names; the views show the first one's."""
    import slicer

    people = {name: patient(study_folder, name) for name in ("Anna", "Bert")}
    for nodes in people.values():
        for sequence, node in nodes.items():
            node.SetName(sequence)
    slicer.util.setSliceViewerLayers(background=people["Anna"]["T1"])
    return people


def parameters(panel: Any) -> dict[str, Any]:
    """Sequence -> volume that the parameter node has."""
    found = {sequence: getattr(panel._parameterNode, f"input{sequence}") for sequence in panel.studyBox.rows}
    return {sequence: node for sequence, node in found.items() if node is not None}


def touch(panel: Any) -> None:
    """A parameter changes that has nothing to do with volumes."""
    panel._parameterNode.crossReconstructions = not panel._parameterNode.crossReconstructions


def choose(panel: Any, nodes: dict[str, Any]) -> None:
    for sequence, row in panel.studyBox.rows.items():
        row.combo.setCurrentNode(nodes.get(sequence))


def lesion(segmentation: Any, volume: Any) -> np.ndarray:
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, LESION, volume).copy()


def refused(text: str) -> None:
    assert [text in shown.text for shown in dialogs.shown] == [True], dialogs.shown
    dialogs.shown.clear()


class Answer:
    """A result as the thread gets it, of which the change looks at these."""

    def __init__(self, affine: np.ndarray, shape: tuple[int, ...], classes: Any) -> None:
        import sys

        self.segmentation = sys.modules["disentangle.study"].Image(np.zeros(shape, np.uint8), affine)
        self.classes, self.report = classes, {"checksums": {}}


def test_edits_are_kept_for_the_same_first_input_only(
    ran: Any,  # noqa: F811
    study: Any, study_folder: Path, click: Any, wait_until: Any,
) -> None:  # fmt: skip
    import slicer

    logic, segmentation = ran.logic, ran.outputs.segmentation
    paint(segmentation, study["T1"], "white-matter lesion", BOX)
    other = patient(study_folder, "Bert")
    assert logic.keepEdited(segmentation, other) is None
    classes = ran.modelBox.bundle.classes
    image = logic.runner.run.inputs.study["T1"]
    shape = image.array.shape

    answer = Answer(image.affine, shape, classes)
    logic.keepEdited(segmentation, study)(answer)
    assert (answer.segmentation.array[BOX] == 4).all()
    assert "Kept as you edited it" in answer.report["warnings"][0]

    answer = Answer(image.affine, shape, classes)
    logic.keepEdited(segmentation, {"FLAIR": study["FLAIR"], "T1": study["T1"]})(answer)
    assert not answer.segmentation.array.any(), "another first input: nothing says that the head lies as before"
    assert "is not kept" in answer.report["warnings"][0]

    # Under a transform places are compared as well; where the nodes lie is known before the thread asks.
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    for node in (study["T1"], segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    change = logic.keepEdited(segmentation, study)
    study["T1"].GetParentTransformNode = None
    elsewhere = image.affine.copy()
    elsewhere[:3, 3] += 30.0
    for affine, kept in ((image.affine, True), (elsewhere, False)):
        answer = Answer(affine, shape, classes)
        change(answer)
        assert answer.segmentation.array.any() == kept
    del study["T1"].GetParentTransformNode

    choose(ran, other)
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    assert ran.outputs.inputs["T1"] is other["T1"]
    assert not lesion(ran.outputs.segmentation, other["T1"])[BOX].all()
    assert "edited" not in ran.ui.resultsLabel.text
    assert dialogs.shown == []


def test_buttons_refuse_the_factors_of_another_run(
    ran: Any,  # noqa: F811
    study: Any, study_folder: Path, click: Any, wait_until: Any,
) -> None:  # fmt: skip
    first, logic = ran.outputs, ran.logic
    paint(first.segmentation, study["T1"], "white-matter lesion", BOX)
    click(ran.editTools.learnButton)
    wait_idle(ran, wait_until)
    taught = lesion(first.segmentation, study["T1"])
    style = logic.styles()["FLAIR"]
    live = logic.liveVolume(first)
    other = patient(study_folder, "Bert")
    logic.factors(other)
    logic.segment(other)
    assert ran.outputs is first
    open_section(ran.statisticsBox.section)
    open_section(ran.editSection)
    tools = ran.editTools
    for button in (ran.statisticsBox.aloneButton, tools.learnButton, tools.undoButton, tools.saveButton):
        click(button)
        wait_idle(ran, wait_until)
        refused(GONE)
    assert first.subsets == {}
    assert np.array_equal(lesion(first.segmentation, study["T1"]), taught)
    InputError = __import__("sys").modules["disentangle.errors"].InputError
    for act in (
        lambda: logic.drawSlice(live, "T1", style, {"FLAIR": 1.0}),
        lambda: logic.drawVolume("T1", style, {"FLAIR": 1.0}, live),
        lambda: logic.drawnUncertainty(style, run=first),
        lambda: logic.liveVolume(first),
    ):
        with pytest.raises(InputError, match=GONE):
            act()


def surfaces_of(segmentation: Any) -> Any:
    """A copy that exists as closed surfaces only, as a plan of radiotherapy does."""
    import slicer

    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "plan")
    content, names = reference.GetSegmentation(), slicer.vtkSegmentationConverter
    content.DeepCopy(segmentation.GetSegmentation())
    content.CreateRepresentation(names.GetSegmentationClosedSurfaceRepresentationName())
    content.SetSourceRepresentationName(names.GetSegmentationClosedSurfaceRepresentationName())
    content.RemoveRepresentation(names.GetSegmentationBinaryLabelmapRepresentationName())
    return reference


def test_surfaces_are_compared_as_voxels_and_stay_surfaces(
    ran: Any,  # noqa: F811
    study: Any, click: Any, wait_until: Any,
) -> None:  # fmt: skip
    import sys

    import slicer
    import vtk

    box, segmentation = ran.statisticsBox, ran.outputs.segmentation
    # An untrained model scatters single voxels, which no surface keeps.
    paint(segmentation, study["T1"], "white matter", (slice(None),) * 3)
    paint(segmentation, study["T1"], "white-matter lesion", (slice(10, 22), slice(18, 32), slice(12, 26)))
    reference = surfaces_of(segmentation)
    open_section(box.section)
    box.reference.setCurrentNode(reference)
    click(box.compareButton)
    wait_idle(ran, wait_until)
    assert dialogs.shown == []
    assert float(rows(box.table)["white-matter lesion"][1]) > 0.8
    names = slicer.vtkSegmentationConverter
    voxels = names.GetSegmentationBinaryLabelmapRepresentationName()
    assert not reference.GetSegmentation().ContainsRepresentation(voxels)

    mask_of = sys.modules["disentangle.mrml.segments"].mask_of
    plan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "ball")
    plan.SetSourceRepresentationToClosedSurface()
    ball = vtk.vtkSphereSource()
    ball.SetRadius(30.0)
    ball.SetThetaResolution(40)
    ball.SetPhiResolution(40)
    ball.Update()
    plan.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", [1, 0, 0], "ball")
    plan.AddSegmentFromClosedSurfaceRepresentation(vtk.vtkPolyData(), "nothing", [1, 0, 0], "nothing")
    mask = mask_of(plan, "ball", study["T1"])
    size = 4.0 / 3.0 * np.pi * 30.0**3 / np.prod(study["T1"].GetSpacing())
    assert mask.sum() == pytest.approx(size, rel=0.1)
    assert not mask_of(plan, "nothing", study["T1"]).any()
    move = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 2.0 * study["T1"].GetSpacing()[2])
    move.SetMatrixTransformToParent(matrix)
    plan.SetAndObserveTransformNodeID(move.GetID())
    moved = mask_of(plan, "ball", study["T1"])
    centres = [np.argwhere(m).mean(axis=0) for m in (mask, moved)]
    assert np.abs(centres[1] - centres[0]).sum() == pytest.approx(2.0, abs=0.1)


def test_what_has_no_voxels_and_cannot_get_any_is_refused(
    study: Any, load_module: Any, slicer_bench: Any, monkeypatch: Any
) -> None:
    import sys

    import slicer

    load_module("DisentangleSeg")
    segments = sys.modules["disentangle.mrml.segments"]
    segment = slicer.vtkSegment()
    segment.SetName("white matter")
    source = __import__("vtk").vtkSphereSource()
    source.Update()
    segment.AddRepresentation("Planar contour", source.GetOutput())
    plan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "plan")
    plan.GetSegmentation().SetSourceRepresentationName("Planar contour")
    plan.GetSegmentation().AddSegment(segment, "wm")
    from bench import scene

    with pytest.raises(sys.modules["disentangle.errors"].InputError, match="white matter of plan cannot be turned"):
        segments.mask_of(plan, "wm", study["T1"])
    scene.vtk_errors.clear()  # VTK says so, too


def test_apply_works_after_the_old_volumes_were_removed(
    ran: Any,  # noqa: F811
    study: Any, study_folder: Path, click: Any, wait_until: Any,
) -> None:  # fmt: skip
    import slicer

    old = ran.outputs.segmentation
    slicer.mrmlScene.RemoveNode(study["T1"])  # the other inputs are left, but the grid is gone
    assert ran.logic.keepEdited(old, study) is None
    for sequence in ("T1Gd", "T2", "FLAIR"):
        slicer.mrmlScene.RemoveNode(study[sequence])
    other = patient(study_folder, "Bert")
    choose(ran, other)
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    assert dialogs.shown == []
    assert ran.outputs.segmentation is not old


def test_a_removed_segmentation_is_said_to_be_gone_and_computed_again(
    ran: Any,  # noqa: F811
    study: Any, click: Any, wait_until: Any,
) -> None:  # fmt: skip
    import slicer

    box, old = ran.statisticsBox, ran.outputs.segmentation
    open_section(box.section)
    slicer.mrmlScene.RemoveNode(old)
    click(box.tableButton)
    refused("is no longer in the scene; press Apply")
    assert not box.tableButton.enabled
    assert ran.extras() == {"change": None}
    with pytest.raises(__import__("sys").modules["disentangle.errors"].InputError, match="no longer in the scene"):
        ran.logic.statistics(old)
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    assert dialogs.shown == []
    assert ran.outputs.segmentation is not old
    assert box.tableButton.enabled


def test_what_is_drawn_while_it_learns_stays_and_corrections_still_count(
    ran: Any,  # noqa: F811
    study: Any, click: Any, wait_until: Any, monkeypatch: Any,
) -> None:  # fmt: skip
    segmentation, volume, logic = ran.outputs.segmentation, study["T1"], ran.logic
    open_section(ran.editSection)
    saved: list[np.ndarray] = []
    monkeypatch.setattr(
        type(ran.editor), "saveStateForUndo", lambda _self: saved.append(lesion(segmentation, volume)), raising=True
    )
    paint(segmentation, volume, "white-matter lesion", BOX)
    click(ran.editTools.learnButton)
    wait_until(lambda: logic.runner._request is not None and not logic.runner._background.busy, 60)
    drawn = ~lesion(segmentation, volume)[LATE].astype(bool)
    paint(segmentation, volume, "white-matter lesion", LATE)
    wait_idle(ran, wait_until)
    assert "Learnt from" in ran.editTools.status.text
    learnt = lesion(segmentation, volume)
    assert learnt[BOX].all()
    assert drawn.any()
    assert learnt[LATE][drawn].all()
    assert len(saved) == 1
    assert saved[0][LATE].all(), "the editor's Undo leads back to what was there just before"
    assert "white-matter lesion" in logic.editedSegments(segmentation)
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    assert np.array_equal(lesion(ran.outputs.segmentation, volume), learnt)


def test_the_user_changes_from_one_patient_to_another_whose_volumes_have_the_same_names(
    tiny_models: Any, twins: Any, load_module: Any, slicer_bench: Any
) -> None:
    panel = load_module("DisentangleSeg")
    assert panel.inputs() == twins["Anna"]
    for sequence, node in twins["Bert"].items():
        panel.studyBox.rows[sequence].combo._native.activate(node)
        slicer_bench.application.processEvents()
    assert parameters(panel) == twins["Bert"]
    touch(panel)
    slicer_bench.application.processEvents()
    assert panel.inputs() == twins["Bert"]


def test_whatever_fills_the_rows_the_volumes_of_the_right_patient_stay(
    tiny_models: Any, twins: Any, load_module: Any, slicer_bench: Any, click: Any
) -> None:
    panel = load_module("DisentangleSeg")
    box, rows = panel.studyBox, panel.studyBox.rows
    anna, bert = twins["Anna"], twins["Bert"]

    def held(expected: dict[str, Any]) -> None:
        assert parameters(panel) == expected
        touch(panel)
        assert panel.inputs() == parameters(panel) == expected

    choose(panel, bert)  # a program
    held(bert)
    box.assign()
    held(bert)
    bert["FLAIR"].SetName("T1")
    box.exchange(rows["T1"], rows["FLAIR"])  # a drag
    held({"T1": bert["FLAIR"], "FLAIR": bert["T1"]})
    rows["FLAIR"].combo._native.activate(bert["FLAIR"])  # chosen twice: the two change places
    slicer_bench.application.processEvents()
    held(bert)
    bert["FLAIR"].SetName("FLAIR")
    rows["FLAIR"].combo._native.activate(anna["FLAIR"])  # the volume chosen last tells the patient
    slicer_bench.application.processEvents()
    click(panel.ui.assignButton)
    held(anna)
    panel._parameterNode.inputT1 = bert["T1"]  # a script
    held(anna | {"T1": bert["T1"]})
    rows["T1"].combo._native.activate(anna["T1"])
    held(anna)


def test_a_volume_that_gets_another_name_stays_where_it_is(
    tiny_models: Any, study: Any, load_module: Any, slicer_bench: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    study["T1"].GetStorageNode().SetFileName("")
    study["T1"].SetName("Flair of today")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")  # the bench reads the names again
    slicer_bench.application.processEvents()
    assert panel.inputs() == parameters(panel) == study
    assert "looks like FLAIR" in panel.studyBox.rows["T1"].guess.text


def test_the_look_is_that_of_the_chosen_patient(
    tiny_models: Any, twins: Any, load_module: Any, slicer_bench: Any
) -> None:
    panel = load_module("DisentangleSynth")
    for name in ("Anna", "Bert"):
        panel.ui.styleSelector._native.activate(twins[name]["T1"])
        touch(panel)
        slicer_bench.application.processEvents()
        assert panel._parameterNode.styleReference is twins[name]["T1"]
        assert list(panel.extras()["examples"].values()) == [twins[name]["T1"]]


def test_a_reference_of_the_same_name_as_the_segmentation_can_be_compared_with(ran: Any) -> None:  # noqa: F811
    import slicer

    box, segmentation = ran.statisticsBox, ran.outputs.segmentation
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", segmentation.GetName())
    assert other.GetName() == segmentation.GetName()
    box.reference._native.activate(segmentation)
    assert not box.compareButton.enabled
    box.reference._native.activate(other)
    assert box.compareButton.enabled


def test_a_second_run_hides_the_segmentation_of_the_first_and_no_others(
    ran: Any,  # noqa: F811
    study: Any, study_folder: Path, click: Any, wait_until: Any,
) -> None:  # fmt: skip
    def shown(segmentation: Any) -> bool:
        return bool(segmentation.GetDisplayNode().GetVisibility())

    first = ran.outputs.segmentation
    other = ran.logic.segment(patient(study_folder, "Bert"))
    assert shown(first) and shown(other)
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    assert ran.outputs.segmentation is not first
    assert shown(ran.outputs.segmentation) and shown(other)
    assert not shown(first)
    ran.logic.factors(study)  # as a run that makes synthetic volumes: there is nothing to show instead
    hide_earlier = __import__("sys").modules["disentangle.panel.result_views"].hide_earlier
    hide_earlier(ran.logic.runner.run.outputs)
    assert shown(ran.outputs.segmentation)


def test_what_a_synthetic_volume_says_of_itself_is_true(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any
) -> None:
    panel = load_module("DisentangleSynth")
    click(panel.targetBoxes["FLAIR"])
    panel.ui.styleSelector.setCurrentNode(study["T2"])
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    assert "from T1, T1Gd, T2, in the look of the volume 'T2';" in panel.outputs.synthetic["FLAIR"].GetDescription()


def test_a_look_that_cannot_be_used_is_named(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSynth")
    click(panel.targetBoxes["T1Gd"])
    look = slicer.modules.volumes.logic().CloneVolume(study["T2"], "of another scanner")
    array = slicer.util.arrayFromVolume(look).astype(np.float32)
    array[:2] = np.nan
    slicer.util.updateVolumeFromArray(look, array)
    panel.ui.styleSelector.setCurrentNode(look)
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    refused("volume 'of another scanner' holds")


@pytest.fixture
def files(slicer_bench: Any, study_folder: Path, tmp_path: Path) -> Any:
    """``files("anna", "T1", ...)`` loads files of a person whom nothing but folder and name tells."""
    import slicer

    def load(person: str, *sequences: str) -> dict[str, Any]:
        (tmp_path / person).mkdir(exist_ok=True)
        nodes = {}
        for sequence in sequences:
            file = tmp_path / person / f"{person}_{sequence}.nii.gz"
            shutil.copy(study_folder / f"{sequence}.nii.gz", file)
            nodes[sequence] = slicer.util.loadVolume(str(file))
        return nodes

    return load


def test_files_of_two_persons_are_not_mixed(
    tiny_models: Any, files: Any, load_module: Any, slicer_bench: Any, click: Any
) -> None:
    anna = files("anna", "T1", "FLAIR")
    panel = load_module("DisentangleSeg")
    assert panel.inputs() == anna
    assert "anna" not in panel.ui.missingLabel.text, "nobody else is there"
    bert = files("bert", "T1", "T1Gd", "T2", "FLAIR")
    panel.onArrivals({node.GetID() for node in bert.values()})
    assert panel.inputs() == anna
    assert "These volumes are of anna." in panel.ui.missingLabel.text
    panel.studyBox.rows["T1"].combo.setCurrentNode(bert["T1"])
    slicer_bench.application.processEvents()
    assert "different patients or visits: T1 of bert, FLAIR of anna;" in panel.ui.missingLabel.text
    assert panel.ui.applyButton.enabled, "a doubt is no refusal"
    click(panel.ui.assignButton)
    assert panel.inputs() == bert
    assert "different patients" not in panel.ui.missingLabel.text


def test_a_module_that_is_opened_proposes_the_patient_on_screen(
    tiny_models: Any, twins: Any, load_module: Any, slicer_bench: Any
) -> None:
    panel = load_module("DisentangleSeg")
    assert panel.inputs() == twins["Anna"]
    assert "These volumes are of Anna." in panel.ui.missingLabel.text
    panel.grids.show_elsewhere(twins["Bert"]["FLAIR"])
    panel = load_module("DisentangleSynth")
    assert panel.inputs() == twins["Bert"]
    assert "These volumes are of Bert." in panel.ui.missingLabel.text


def test_what_is_on_screen_and_of_no_use_does_not_keep_volumes_from_being_proposed(
    tiny_models: Any, twins: Any, load_module: Any, slicer_bench: Any
) -> None:
    import slicer

    head = slicer.modules.volumes.logic().CloneVolume(twins["Bert"]["T1"], "head of somebody")
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    tree.SetItemParent(tree.GetItemByDataNode(head), tree.GetSceneItemID())
    slicer.util.setSliceViewerLayers(background=head)
    assert load_module("DisentangleSeg").inputs() == twins["Anna"]
