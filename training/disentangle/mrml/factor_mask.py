"""Editing inside a factor: an invisible segment of some anatomy channels, inside which the Segment Editor may draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk

MASK_SEGMENT = "DisentangleFactor"
"""ID of the segment that holds where drawing is allowed."""
_BEFORE = "Disentangle.BeforeFactor"
"""Attribute of the editor node: overwrite mode, mask mode and mask segment that the user had chosen, one a line. In the
node, since it is saved with the restriction."""


def shared_editor_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSegmentEditorNode:
    """The parameters of the Segment Editor module, made here where they do not exist yet."""
    tag = "SegmentEditor"
    node = scene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node = scene.AddNode(node)
    return node


def restrict(
    editor: slicer.vtkMRMLSegmentEditorNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    argmax: slicer.vtkMRMLLabelMapVolumeNode,
    channels: Sequence[int],
) -> int:
    """Let every effect of the Segment Editor change only voxels whose strongest channel is one of ``channels``.

    Segmentation and anatomy map are brought together by where they lie in the world; in results of a run both lie where
    its first input does.

    Returns:
        how many voxels that are.
    """
    array = np.isin(slicer.util.arrayFromVolume(argmax), list(channels)).astype(np.uint8)
    source = _oriented(array, argmax)
    parents = argmax.GetParentTransformNode(), segmentation.GetParentTransformNode()
    if parents[0] is not parents[1]:  # one of them was hardened, or moved alone
        between = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, between)
        slicer.vtkOrientedImageDataResample.TransformOrientedImage(source, between)
    reference = slicer.vtkOrientedImageData()
    geometry = segmentation.GetSegmentation().GetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    )
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, reference, False)
    mask = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(source, reference, mask, False)
    content = segmentation.GetSegmentation()
    if content.GetSegment(MASK_SEGMENT) is None:
        content.AddEmptySegment(MASK_SEGMENT, "edit inside (factor)", [0.6, 0.6, 0.6])
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        mask, segmentation, MASK_SEGMENT, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE, mask.GetExtent()
    )
    if segmentation.GetDisplayNode() is not None:
        segmentation.GetDisplayNode().SetSegmentVisibility(MASK_SEGMENT, False)
    if editor.GetMaskSegmentID() != MASK_SEGMENT:
        chosen = (editor.GetOverwriteMode(), editor.GetMaskMode(), editor.GetMaskSegmentID() or "")
        editor.SetAttribute(_BEFORE, "\n".join(str(entry) for entry in chosen))
    # Painting must not take voxels from the mask itself: it is invisible, and only visible segments give way.
    editor.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments)
    editor.SetMaskSegmentID(MASK_SEGMENT)
    editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    return int(np.count_nonzero(array))


def release(editor: slicer.vtkMRMLSegmentEditorNode, segmentation: slicer.vtkMRMLSegmentationNode | None) -> None:
    """Let the Segment Editor draw where it could before :func:`restrict`, by the settings that the user had chosen."""
    if editor.GetMaskSegmentID() == MASK_SEGMENT:
        overwrite, mode, inside = _chosen_before(editor)
        content = segmentation.GetSegmentation() if segmentation is not None else None
        if inside and (content is None or content.GetSegment(inside) is None):  # removed meanwhile
            mode, inside = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere, ""
        editor.SetMaskMode(mode)
        editor.SetMaskSegmentID(inside)
        if editor.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteVisibleSegments:
            editor.SetOverwriteMode(overwrite)  # else the user has chosen another one since
        editor.RemoveAttribute(_BEFORE)
    if segmentation is not None and segmentation.GetSegmentation().GetSegment(MASK_SEGMENT) is not None:
        segmentation.GetSegmentation().RemoveSegment(MASK_SEGMENT)


def _chosen_before(editor: slicer.vtkMRMLSegmentEditorNode) -> tuple[int, int, str]:
    """Overwrite mode, mask mode and mask segment before :func:`restrict`; Slicer's defaults where they are unknown, in
    scenes of earlier versions."""
    stored = editor.GetAttribute(_BEFORE)
    if stored is None:
        everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
        return slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments, everywhere, ""
    overwrite, mode, inside = stored.split("\n", 2)
    return int(overwrite), int(mode), inside


def channel_at(argmax: slicer.vtkMRMLLabelMapVolumeNode, ras: Sequence[float]) -> int:
    """Number of the strongest channel at a point (world RAS mm); 0 outside the head."""
    point = list(ras)
    parent = argmax.GetParentTransformNode()
    if parent is not None:
        from_world = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, from_world)
        point = from_world.TransformPoint(point)
    to_ijk = vtk.vtkMatrix4x4()
    argmax.GetRASToIJKMatrix(to_ijk)
    i, j, k = (round(v) for v in to_ijk.MultiplyPoint([*point, 1.0])[:3])
    array = slicer.util.arrayFromVolume(argmax)
    inside = 0 <= k < array.shape[0] and 0 <= j < array.shape[1] and 0 <= i < array.shape[2]
    return int(array[k, j, i]) if inside else 0


def _oriented(array: np.ndarray, volume: slicer.vtkMRMLVolumeNode) -> slicer.vtkOrientedImageData:
    from .volumes import RAS_LPS, Placement, ijk_to_ras, oriented_image

    return oriented_image(array, RAS_LPS @ ijk_to_ras(volume), Placement())
