"""What a user does to results in the scene: drawing inside a factor, copies, segments of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
