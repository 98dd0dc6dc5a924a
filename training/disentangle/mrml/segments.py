"""The segments of a run's segmentation as class values: what the user changed, and what a new run must keep."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..bundles import ClassInfo

PREFIX = "Disentangle_"
"""Start of the ID of the segments that stand for classes; the class value follows."""
CHECKSUM = "Disentangle.Checksum"
"""Tag of a segment: what its voxels were when the run ended."""


def segment_id(value: int) -> str:
    """ID of the segment of a class."""
    return f"{PREFIX}{value}"


def class_of(segment: str) -> int | None:
    """Class value of a segment by its ID; None for segments that the user added."""
    rest = segment.removeprefix(PREFIX)
    return int(rest) if rest != segment and rest.isdigit() else None


def checksums(labels: np.ndarray, values: Sequence[int]) -> dict[int, str]:
    """Of the voxels of each class, the same whatever box they are stored in."""
    flat = labels.ravel()
    return {v: f"{zlib.crc32(np.flatnonzero(flat == v).astype(np.int64).tobytes()):08x}" for v in values}


def labels_of(
    segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode
) -> tuple[np.ndarray, list[int]]:
    """Class values on the grid of a volume, uint8 [k, j, i], and the classes that have a segment.

    Where segments overlap, the later one counts.
    """
    shape = tuple(reversed(volume.GetImageData().GetDimensions()))
    labels = np.zeros(shape, np.uint8)
    values = []
    for name in segmentation.GetSegmentation().GetSegmentIDs():
        value = class_of(name)
        if value is not None:
            values.append(value)
            labels[mask_of(segmentation, name, volume)] = value
    return labels, values


def mask_of(segmentation: slicer.vtkMRMLSegmentationNode, name: str, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Voxels of one segment on the grid of a volume, bool [k, j, i]."""
    segment = segmentation.GetSegmentation().GetSegment(name)
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    shape = tuple(reversed(volume.GetImageData().GetDimensions()))
    image = segment.GetRepresentation(representation)
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return np.zeros(shape, bool)
    place = _box_in(image, segmentation, volume)
    if place is None:  # drawn on another grid
        return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume) > 0
    mask = np.zeros(shape, bool)
    (low, high), extent = place, image.GetExtent()
    stored = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    stored = stored.reshape(extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    inside = tuple(
        slice(a - extent[2 * n], b - extent[2 * n] + 1) for n, (a, b) in enumerate(zip(low, high, strict=True))
    )[::-1]
    outer = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))[::-1]
    mask[outer] = stored[inside] == segment.GetLabelValue()
    return mask


def _box_in(image, segmentation, volume) -> tuple[list[int], list[int]] | None:
    """Lowest and highest (i, j, k) of a stored label map on the volume's grid; None where it has another grid."""
    if segmentation.GetParentTransformNode() is not volume.GetParentTransformNode():
        return None
    matrices = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrices[0])
    volume.GetIJKToRASMatrix(matrices[1])
    own, grid = (slicer.util.arrayFromVTKMatrix(m) for m in matrices)
    if not np.allclose(own, grid, atol=1e-4):
        return None
    size, extent = volume.GetImageData().GetDimensions(), image.GetExtent()
    low = [max(extent[2 * n], 0) for n in range(3)]
    high = [min(extent[2 * n + 1], size[n] - 1) for n in range(3)]
    return (low, high) if all(a <= b for a, b in zip(low, high, strict=True)) else None


def edited(segmentation: slicer.vtkMRMLSegmentationNode, labels: np.ndarray, values: Sequence[int]) -> list[int]:
    """Classes whose voxels are no longer those that the run gave."""
    now = checksums(labels, values)
    changed = []
    for value in values:
        before = _checksum_of(segmentation.GetSegmentation().GetSegment(segment_id(value)))
        if before and before != now[value]:
            changed.append(value)
    return changed


def kept(new: np.ndarray, old: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """New class values in which some classes are as they were before; what they leave free becomes background."""
    result = np.where(np.isin(new, list(values)), 0, new).astype(np.uint8)
    mine = np.isin(old, list(values))
    result[mine] = old[mine]
    return result


def tag_checksums(segmentation: slicer.vtkMRMLSegmentationNode, sums: dict[int, str]) -> None:
    """Remember what the voxels of each class were."""
    for value, checksum in sums.items():
        segment = segmentation.GetSegmentation().GetSegment(segment_id(value))
        if segment is not None:
            segment.SetTag(CHECKSUM, checksum)


def tags_of(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[int, str]:
    """What :func:`tag_checksums` remembered, by class."""
    content = segmentation.GetSegmentation()
    tags = {class_of(name): _checksum_of(content.GetSegment(name)) for name in content.GetSegmentIDs()}
    return {value: tag for value, tag in tags.items() if value is not None and tag}


def _checksum_of(segment: slicer.vtkSegment) -> str:
    """The tag of a segment; "" where it has none."""
    found = vtk.reference("")
    return str(found) if segment.GetTag(CHECKSUM, found) else ""


def replace_labels(
    segmentation: slicer.vtkMRMLSegmentationNode,
    labels: np.ndarray,
    classes: Sequence[ClassInfo],
    volume: slicer.vtkMRMLVolumeNode,
) -> None:
    """Give the class segments of a segmentation other voxels; segments that the user added stay."""
    modifying = segmentation.StartModify()
    for info in classes:
        if info.value and segmentation.GetSegmentation().GetSegment(segment_id(info.value)) is not None:
            slicer.util.updateSegmentBinaryLabelmapFromArray(
                (labels == info.value).astype(np.uint8), segmentation, segment_id(info.value), volume
            )
    segmentation.EndModify(modifying)
