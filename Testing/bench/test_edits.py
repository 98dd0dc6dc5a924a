"""What a user does to results in the scene: drawing inside a factor, copies, segments of one's own."""

# ruff: noqa: F811 - the fixture "ran" is imported
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench import dialogs
from bench.test_tools import paint, ran, rows, wait_idle  # noqa: F401

SHAPE = (6, 7, 8)
EDITOR, SEGMENTATION = "vtkMRMLSegmentEditorNode", "vtkMRMLSegmentationNode"


@pytest.fixture
def scene(slicer_bench: Any) -> Any:
    return slicer_bench.scene


def add_labels(scene, name="anatomy map"):
    """A label map that is 1 in one half and 2 in the other."""
    import slicer

    array = np.ones(SHAPE, np.int16)
    array[:, :, 4:] = 2
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    return node


def add_segmentation(scene, volume, **masks):
    """A segmentation on the grid of a volume; segment ID -> voxels, bool [k, j, i]."""
    node = scene.AddNewNodeByClass(SEGMENTATION, "segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    for name, mask in masks.items():
        node.GetSegmentation().AddEmptySegment(name, name)
        draw(node, name, mask, volume)
    return node


def draw(segmentation, name, mask, volume):
    import slicer

    from disentangle.mrml.volumes import RAS_LPS, Placement, ijk_to_ras, oriented_image

    image = oriented_image(mask.astype(np.uint8), RAS_LPS @ ijk_to_ras(volume), Placement())
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, segmentation, name, logic.MODE_REPLACE, image.GetExtent())


def box():
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 1:5, 2:6] = True
    return mask


def test_drawing_is_restricted_to_the_same_place_after_the_segmentation_was_hardened(scene: Any) -> None:
    import slicer
    import vtk

    from disentangle.mrml.factor_mask import MASK_SEGMENT, restrict
    from disentangle.mrml.segments import mask_of

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 3.0)
    transform.SetMatrixTransformToParent(matrix)
    argmax = add_labels(scene)
    argmax.SetAndObserveTransformNodeID(transform.GetID())
    segmentation = add_segmentation(scene, argmax, Disentangle_1=box())
    editor = scene.AddNewNodeByClass(EDITOR)
    segmentation.HardenTransform()
    restrict(editor, segmentation, argmax, [2])
    argmax.HardenTransform()
    found = mask_of(segmentation, MASK_SEGMENT, argmax)
    assert np.array_equal(found, slicer.util.arrayFromVolume(argmax) == 2)


def test_the_editor_has_the_users_settings_again_after_drawing_inside_a_factor(scene: Any) -> None:
    import slicer

    from disentangle.mrml.factor_mask import MASK_SEGMENT, release, restrict

    argmax = add_labels(scene)
    segmentation = add_segmentation(scene, argmax, Disentangle_1=box())
    editor = scene.AddNewNodeByClass(EDITOR)
    editor.SetOverwriteMode(editor.OverwriteNone)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("Disentangle_1")
    for channels in ([1], [2]):  # the user ticks another one
        restrict(editor, segmentation, argmax, channels)
        assert editor.GetMaskSegmentID() == MASK_SEGMENT
    release(editor, segmentation)
    assert editor.GetOverwriteMode() == editor.OverwriteNone
    assert editor.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
    assert editor.GetMaskSegmentID() == "Disentangle_1"


def test_a_mask_segment_that_was_removed_meanwhile_restricts_no_longer(scene: Any) -> None:
    import slicer

    from disentangle.mrml.factor_mask import release, restrict

    argmax = add_labels(scene)
    segmentation = add_segmentation(scene, argmax, Disentangle_1=box())
    editor = scene.AddNewNodeByClass(EDITOR)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    editor.SetMaskSegmentID("Disentangle_1")
    restrict(editor, segmentation, argmax, [1])
    segmentation.GetSegmentation().RemoveSegment("Disentangle_1")
    release(editor, segmentation)
    assert editor.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere


def add_result(scene, kind, role, sequence="", channel=None):
    from disentangle.mrml.outputs import CHANNEL, RUN, SEQUENCE
    from disentangle.mrml.studies import ROLE

    node = scene.AddNewNodeByClass(kind, role)
    for name, value in ((RUN, "a run"), (ROLE, role), (SEQUENCE, sequence), (CHANNEL, channel)):
        if value is not None:
            node.SetAttribute(name, value)
    return node


def test_a_clone_of_a_result_does_not_take_its_place(scene: Any) -> None:
    from disentangle.mrml.outputs import outputs_of

    segmentation = add_result(scene, SEGMENTATION, "segmentation")
    channels = [add_result(scene, "vtkMRMLScalarVolumeNode", "anatomy", "T1", str(n)) for n in (1, 2)]
    for node in (segmentation, channels[0]):
        scene.AddNewNodeByClass(node.GetClassName(), "clone").Copy(node)
    found = outputs_of(scene, "a run")
    assert found.segmentation is segmentation
    assert found.channels == {"T1": channels}


def test_of_segmentations_from_single_sequences_the_latest_count(scene: Any) -> None:
    from disentangle.mrml.outputs import outputs_of

    made = [add_result(scene, SEGMENTATION, "subset", "T1") for _ in range(2)]
    assert outputs_of(scene, "a run").subsets == {"T1": made[1]}


def test_segments_that_the_user_added_are_told_from_classes_and_from_the_mask_of_drawing(scene: Any) -> None:
    from disentangle.mrml.factor_mask import restrict
    from disentangle.mrml.segments import own_mask

    argmax = add_labels(scene)
    segmentation = add_segmentation(scene, argmax, Disentangle_1=~box(), cavity=box())
    restrict(scene.AddNewNodeByClass(EDITOR), segmentation, argmax, [1])
    assert np.array_equal(own_mask(segmentation, argmax), box())


def test_a_copied_segment_has_voxels_name_colour_and_term_and_takes_nothing_from_others(scene: Any) -> None:
    from disentangle.mrml.segments import copy_segments, mask_of

    argmax = add_labels(scene)
    source = add_segmentation(scene, argmax, Disentangle_1=~box(), cavity=box())
    segment = source.GetSegmentation().GetSegment("cavity")
    segment.SetName("resection cavity")
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetTerminology("term")
    target = add_segmentation(scene, argmax, Disentangle_1=np.ones(SHAPE, bool))
    copy_segments(source, ["cavity"], target, argmax)
    copied = target.GetSegmentation().GetSegment("cavity")
    assert (copied.GetName(), copied.GetColor(), copied.GetTerminology()) == (
        "resection cavity",
        (0.1, 0.2, 0.3),
        "term",
    )
    assert np.array_equal(mask_of(target, "cavity", argmax), box())
    assert mask_of(target, "Disentangle_1", argmax).all()


def test_a_fingerprint_changes_with_a_voxel_that_moves_and_not_with_the_box_that_holds_them(scene: Any) -> None:
    from disentangle.mrml.segments import fingerprint

    argmax = add_labels(scene)
    segmentation = add_segmentation(scene, argmax, Disentangle_1=box())
    before = fingerprint(segmentation, argmax)
    segmentation.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert fingerprint(segmentation, argmax) == before
    draw(segmentation, "Disentangle_1", np.roll(box(), 1, axis=2), argmax)
    assert fingerprint(segmentation, argmax) != before


# -- what the next run keeps -------------------------------------------------------------------------------------------


def edits(changed: dict[int, str], bundle: dict[str, str]) -> Any:
    """Class 4 was drawn in the box, where nothing else is."""
    from disentangle.panel.kept_edits import KeptEdits

    labels = np.where(box(), 4, 0).astype(np.uint8)
    return KeptEdits(None, "first segmentation", labels, np.eye(4), changed, {}, bundle)


def answer(names: tuple[str, ...], bundle: dict[str, str]) -> Any:
    """A result in which every voxel is of class 1."""
    from disentangle.bundles.card import default_class
    from disentangle.inference import Result
    from disentangle.study import Image

    classes = [default_class(value, name) for value, name in enumerate(names)]
    report = {"bundle": bundle, "checksums": {}, "volumes_ml": {}}
    return Result(segmentation=Image(np.ones(SHAPE, np.uint8), np.eye(4)), classes=classes, report=report)


BRAIN = ("background", "grey matter", "white matter", "cerebrospinal fluid", "white-matter lesion")
TINY, OTHER = {"name": "tiny", "checksum": "a"}, {"name": "other", "checksum": "b"}


def test_edits_of_one_model_are_not_taken_for_another_models_class_of_the_same_number(slicer_bench: Any) -> None:
    found = answer(("background", "skull", "vessel", "thalamus", "metastasis"), OTHER)
    edits({4: "white-matter lesion"}, TINY)(found)
    assert (found.segmentation.array == 1).all()
    (sentence,) = found.report["warnings"]
    assert "not kept (white-matter lesion), as another model" in sentence
    assert "first segmentation has it" in sentence


def test_edits_are_kept_for_a_class_that_another_model_has_too(slicer_bench: Any) -> None:
    found = answer(BRAIN, OTHER)
    edits({4: "white-matter lesion", 2: "vessel"}, TINY)(found)
    assert (found.segmentation.array[box()] == 4).all()
    assert ["vessel" in sentence for sentence in found.report["warnings"]] == [True, False]


def test_edits_are_kept_for_the_same_model_whatever_the_user_calls_the_segment(slicer_bench: Any) -> None:
    found = answer(BRAIN, TINY)
    edits({4: "lesion 1"}, TINY)(found)
    assert (found.segmentation.array[box()] == 4).all()


def test_the_volumes_that_a_run_reports_are_those_of_the_segmentation_with_what_was_kept(slicer_bench: Any) -> None:
    found = answer(BRAIN, TINY)
    edits({4: "white-matter lesion"}, TINY)(found)
    assert found.report["volumes_ml"]["white-matter lesion"] == pytest.approx(box().sum() / 1000)
    assert found.report["volumes_ml"]["grey matter"] == pytest.approx((~box()).sum() / 1000)


BOX = (slice(12, 16), slice(20, 28), slice(14, 22))


def test_a_segment_that_the_user_added_comes_along_and_teaches_nothing(
    ran: Any, study: Any, click: Any, wait_until: Any, monkeypatch: Any
) -> None:
    before = ran.outputs.segmentation
    before.GetSegmentation().AddEmptySegment("cavity", "resection cavity")
    paint(before, study["T1"], "resection cavity", BOX)
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    segmentation = ran.outputs.segmentation
    assert segmentation is not before
    found = segment_array(segmentation, "cavity", study["T1"])
    assert found[BOX].all()
    assert found.sum() == found[BOX].sum()
    assert "resection cavity" in rows(ran.statisticsBox.table)
    assert "resection cavity" in ran.ui.resultsLabel.text

    click(ran.editTools.learnButton)
    wait_idle(ran, wait_until)
    assert "Nothing was corrected" in dialogs.shown.pop().text, "a cavity is no background"
    lesson = (slice(20, 24), *BOX[1:])
    paint(segmentation, study["T1"], "white-matter lesion", lesson)
    paint_only(segmentation, "cavity", study["T1"], BOX)
    click(ran.editTools.learnButton)
    wait_idle(ran, wait_until)
    assert "Learnt from" in ran.editTools.status.text
    assert segment_array(segmentation, "cavity", study["T1"])[BOX].all()
    classes = [segment_array(segmentation, f"Disentangle_{n}", study["T1"])[BOX].any() for n in (1, 2, 3, 4)]
    assert not any(classes), "what the model says there does not cover the user's segment"


def segment_array(segmentation: Any, name: str, volume: Any) -> np.ndarray:
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume)


def paint_only(segmentation: Any, name: str, volume: Any, where: tuple[slice, ...]) -> None:
    """Give a box of voxels to a segment and leave the others alone."""
    mask = np.zeros(segment_array(segmentation, name, volume).shape, bool)
    mask[where] = True
    draw(segmentation, name, mask, volume)


def test_edits_of_one_time_point_are_not_kept_in_another(ran: Any, study: Any, click: Any, wait_until: Any) -> None:
    import slicer

    paint(ran.outputs.segmentation, study["T1"], "white-matter lesion", BOX)
    for node in study.values():  # as a sequence browser does, which fills the same nodes again
        array = np.roll(slicer.util.arrayFromVolume(node), 6, axis=2)
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))
    click(ran.ui.applyButton)
    wait_idle(ran, wait_until)
    assert "What you edited is not kept, as the first input" in ran.ui.resultsLabel.text
    assert not segment_array(ran.outputs.segmentation, "Disentangle_4", study["T1"])[BOX].all()


# -- scores and single sequences ---------------------------------------------------------------------------------------


def test_scores_go_where_the_segmentation_or_the_reference_is_no_longer_what_was_compared(
    ran: Any, study: Any, click: Any, wait_until: Any
) -> None:
    import slicer

    statistics, segmentation = ran.statisticsBox, ran.outputs.segmentation
    statistics.section.collapsed = False
    references = []
    for name in ("reader 1", "reader 2"):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
        node.CreateDefaultDisplayNodes()
        references.append(node)

    def compare() -> None:
        click(statistics.compareButton)
        wait_idle(ran, wait_until)
        assert statistics.scores

    statistics.reference.setCurrentNode(references[0])
    compare()
    click(statistics.updateButton)
    assert statistics.scores, "nothing was changed"
    click(statistics.tableButton)
    assert statistics.node.GetDescription() == "Compared with reader 1."
    statistics.reference.setCurrentNode(references[1])
    assert not statistics.scores
    assert "Dice" not in statistics.table.titles
    compare()
    paint(segmentation, study["T1"], "white-matter lesion", BOX)
    click(statistics.updateButton)
    assert not statistics.scores
    compare()
    paint(references[1], study["T1"], "white matter", BOX)
    click(statistics.tableButton)
    assert statistics.node.GetTable().GetNumberOfColumns() == 4
    assert statistics.node.GetDescription() == ""


def test_everything_is_compared_in_every_language(ran: Any, click: Any, wait_until: Any, monkeypatch: Any) -> None:
    import sys

    import slicer

    for module in ("segment_tools", "statistics_box"):
        translated = lambda text: {"everything": "alles"}.get(text, text)  # noqa: E731
        monkeypatch.setattr(sys.modules[f"disentangle.panel.{module}"], "_", translated)
    statistics, segmentation = ran.statisticsBox, ran.outputs.segmentation
    statistics.section.collapsed = False
    reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    content = reference.GetSegmentation()
    content.DeepCopy(segmentation.GetSegmentation())
    for number, name in enumerate(content.GetSegmentIDs()):
        content.GetSegment(name).SetName(f"Segment_{number}")
    statistics.reference.setCurrentNode(reference)
    click(statistics.compareButton)
    wait_idle(ran, wait_until)
    assert rows(statistics.table)["alles"][1] == "1.00"


def test_single_sequences_lie_with_the_fused_segmentation_where_the_study_was_moved_since(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any
) -> None:
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    for node in study.values():
        node.SetAndObserveTransformNodeID(transform.GetID())
    panel = load_module("DisentangleSeg")
    click(panel.ui.applyButton)
    wait_idle(panel, wait_until)
    matrix = slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 40.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    transform.SetMatrixTransformToParent(matrix)
    panel.statisticsBox.section.collapsed = False
    click(panel.statisticsBox.aloneButton)
    wait_idle(panel, wait_until)
    boxes = []
    for node in (panel.outputs.segmentation, *panel.outputs.subsets.values()):
        assert node.GetParentTransformNode() is transform
        image = node.GetSegmentation().GetSegment("Disentangle_1").GetRepresentation("Binary labelmap")
        boxes.append(image.GetOrigin())
    assert len(boxes) == 5
    assert np.allclose(boxes, boxes[0])

    for node in study.values():
        slicer.mrmlScene.RemoveNode(node)
    click(panel.statisticsBox.aloneButton)
    assert "no longer in the scene; load it and press Apply" in dialogs.shown.pop().text


def test_a_model_that_was_removed_cannot_be_saved_and_the_user_is_told(ran: Any, monkeypatch: Any) -> None:
    import sys

    def removed() -> Any:
        raise sys.modules["disentangle.errors"].InputError("There is no model 'tiny'.")

    monkeypatch.setattr(ran.logic, "modelOfRun", removed)
    ran.editTools.save()
    assert "There is no model" in dialogs.shown.pop().text
