"""The segments of a run's segmentation as class values: what the user changed, and what a new run must keep."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..bundles import ClassInfo
from ..errors import InputError
from .factor_mask import MASK_SEGMENT
from .text import _
from .volumes import RAS_LPS, Placement, ijk_to_ras, oriented_image

PREFIX = "Disentangle_"
"""Start of the ID of the segments that stand for classes; the class value follows."""
CHECKSUM = "Disentangle.Checksum"
"""Tag of a segment: what its voxels were when the run ended."""
EDITED = "edited"
"""Value of that tag where the user had edited the segment by then."""


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


def added_segments(segmentation: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """IDs of the segments that the user added, which stand for no class."""
    names = segmentation.GetSegmentation().GetSegmentIDs()
    return [name for name in names if class_of(name) is None and name != MASK_SEGMENT]


def own_mask(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Voxels of the segments that the user added, on the grid of a volume, bool [k, j, i]."""
    mask = np.zeros(_shape_of(volume), bool)
    for name in added_segments(segmentation):
        mask |= mask_of(segmentation, name, volume)
    return mask


def copy_segments(
    source: slicer.vtkMRMLSegmentationNode,
    names: Iterable[str],
    target: slicer.vtkMRMLSegmentationNode,
    volume: slicer.vtkMRMLVolumeNode,
) -> None:
    """Give a segmentation segments of another one, as voxels on the grid of a volume, with names, colours and terms.

    Args:
        volume: under the same transform as the target.
    """
    for name in names:
        segment = source.GetSegmentation().GetSegment(name)
        if segment is None or target.GetSegmentation().GetSegment(name) is not None:
            continue
        mask = oriented_image(mask_of(source, name, volume).astype(np.uint8), RAS_LPS @ ijk_to_ras(volume), Placement())
        target.GetSegmentation().AddEmptySegment(name, segment.GetName(), segment.GetColor())
        target.GetSegmentation().GetSegment(name).SetTerminology(segment.GetTerminology())
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetBinaryLabelmapToSegment(mask, target, name, logic.MODE_REPLACE, mask.GetExtent())


def fingerprint(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLVolumeNode) -> dict[str, str]:
    """Name of each segment and a checksum of its voxels on the grid of a volume, by the segment's ID.

    Raises:
        InputError: a segment cannot be turned into voxels.
    """
    content = segmentation.GetSegmentation()
    found = {}
    for name in content.GetSegmentIDs():
        if name != MASK_SEGMENT:
            sums = checksums(mask_of(segmentation, name, volume), [1])
            found[name] = f"{sums[1]} {content.GetSegment(name).GetName()}"
    return found


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
    """Voxels of one segment on the grid of a volume, bool [k, j, i]; the segmentation is not changed.

    Raises:
        InputError: the segment has another representation that cannot be turned into voxels.
    """
    segment = segmentation.GetSegmentation().GetSegment(name)
    image = segment.GetRepresentation(_voxels())
    if image is None and _drawn(segment):  # surfaces of a plan, of a mesh file
        return _converted(segmentation, name, volume)
    if _empty(image):
        return np.zeros(_shape_of(volume), bool)
    if segmentation.GetParentTransformNode() is not volume.GetParentTransformNode() or not _on_grid(image, volume):
        return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume) > 0
    return _placed(image, segment.GetLabelValue(), volume)


def _converted(segmentation: slicer.vtkMRMLSegmentationNode, name: str, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Voxels of a segment without a label map, made from a copy of it."""
    content = segmentation.GetSegmentation()
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(content.GetSourceRepresentationName())
    copy.CopySegmentFromSegmentation(content, name, False)
    parents = segmentation.GetParentTransformNode(), volume.GetParentTransformNode()
    if parents[0] is not parents[1]:
        transform = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, transform)
        copy.ApplyNonLinearTransform(transform)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    converter = slicer.vtkSegmentationConverter
    geometry = converter.SerializeImageGeometry(matrix, volume.GetImageData())
    copy.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
    segment = copy.GetSegment(name)
    if segment is None or not copy.CreateRepresentation(_voxels()):
        sentence = _("{segment} of {name} cannot be turned into voxels; convert it to a binary labelmap first.")
        raise InputError(sentence.format(segment=content.GetSegment(name).GetName(), name=segmentation.GetName()))
    image = segment.GetRepresentation(_voxels())
    if _empty(image):  # too small for a voxel, or outside
        return np.zeros(_shape_of(volume), bool)
    if not _on_grid(image, volume):
        stored, grid, image = image, slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        converter.DeserializeImageGeometry(geometry, grid, False)
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(stored, grid, image, False)
    return _placed(image, segment.GetLabelValue(), volume)


def _voxels() -> str:
    """The representation that is a label map."""
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _empty(image: slicer.vtkOrientedImageData | None) -> bool:
    return image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None


def _drawn(segment: slicer.vtkSegment) -> bool:
    """Whether a segment has any representation that is not empty."""
    names: list[str] = []
    segment.GetContainedRepresentationNames(names)
    return any(segment.GetRepresentation(name).GetNumberOfElements(vtk.vtkDataObject.POINT) for name in names)


def _shape_of(volume: slicer.vtkMRMLVolumeNode) -> tuple[int, ...]:
    return tuple(reversed(volume.GetImageData().GetDimensions()))


def _placed(image: slicer.vtkOrientedImageData, value: int, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Where a label map on a volume's grid has a value, in the whole volume."""
    mask = np.zeros(_shape_of(volume), bool)
    place = _box_in(image, volume)
    if place is None:
        return mask
    (low, high), extent = place, image.GetExtent()
    stored = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    stored = stored.reshape(extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    inside = tuple(
        slice(a - extent[2 * n], b - extent[2 * n] + 1) for n, (a, b) in enumerate(zip(low, high, strict=True))
    )[::-1]
    outer = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))[::-1]
    mask[outer] = stored[inside] == value
    return mask


def _on_grid(image: slicer.vtkOrientedImageData, volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether a stored label map has the voxels of a volume, whatever box of them."""
    matrices = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrices[0])
    volume.GetIJKToRASMatrix(matrices[1])
    own, grid = (slicer.util.arrayFromVTKMatrix(m) for m in matrices)
    return np.allclose(own, grid, atol=1e-4)


def _box_in(image: slicer.vtkOrientedImageData, volume: slicer.vtkMRMLVolumeNode) -> tuple[list[int], list[int]] | None:
    """Lowest and highest (i, j, k) of a label map on the volume's grid; None where it lies outside."""
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
