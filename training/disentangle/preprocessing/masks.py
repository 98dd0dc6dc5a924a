"""Where the head and the brain are: skull-stripped input, whole heads, foreground."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..study import Image

_LARGEST_BRAIN_ML = 2300.0
"""Anything larger than this is a head: brain with meninges and cerebellum stays below 2 litres."""


def background_value(array: np.ndarray) -> tuple[float, float]:
    """The value that fills the outside of a volume, and the share of border voxels that carry it.

    Args:
        array: (K, J, I).
    """
    faces = (array[0], array[-1], array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1])
    border = np.concatenate([face.ravel() for face in faces])
    values, counts = np.unique(border, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]), float(counts[most] / border.size)


def stripped_foreground(image: Image) -> np.ndarray | None:
    """Everything but the constant background of a volume that shows a brain and nothing else, bool (K, J, I); None of
    other volumes.

    The background may be any constant: 0, or a negative number after a z-score. Whole heads whose air was set to 0
    by the scanner are told apart by their size, and by the neck that reaches the border.
    """
    background, share = background_value(image.array)
    if share < 0.9:
        return None
    foreground = image.array != background
    if not 0.02 <= float(foreground.mean()) <= 0.8 or _volume_ml(foreground, image) > _LARGEST_BRAIN_ML:
        return None
    return foreground


def is_skull_stripped(image: Image) -> bool:
    """Whether the volume shows a brain on a constant background, see :func:`stripped_foreground`."""
    return stripped_foreground(image) is not None


def stripped_mask(image: Image) -> np.ndarray | None:
    """The brain of a skull-stripped volume, holes filled, bool (K, J, I); None of other volumes."""
    foreground = stripped_foreground(image)
    return None if foreground is None else largest_filled(foreground)


def head_mask(image: Image) -> np.ndarray:
    """The foreground of a volume against air, holes filled: bool (K, J, I).

    Raises:
        InputError: the volume holds one value only.
    """
    volume = sitk.Cast(image.to_sitk(), sitk.sitkFloat32)
    low, high = np.percentile(image.array[:: max(1, image.array.shape[0] // 32)], [1, 99])
    if not high > low:
        low, high = float(image.array.min()), float(image.array.max())
    if not high > low:
        name = image.sequence or image.source or "The volume"
        raise InputError(f"{name} holds the same value everywhere; check that the file is an image.")
    factors = _shrink_factors(image, 3.0)
    small = sitk.BinShrink(sitk.Clamp(volume, sitk.sitkFloat32, float(low), float(high)), factors)
    # Triangle and Otsu err on opposite sides for dark heads (T1, FLAIR) and bright fat; half of Otsu suits both.
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(small)
    array = sitk.GetArrayFromImage(small)
    mask = sitk.GetImageFromArray((array > low + 0.5 * (otsu.GetThreshold() - low)).astype(np.uint8))
    mask.CopyInformation(small)
    radius = [max(1, round(6.0 / s)) for s in mask.GetSpacing()]
    mask = sitk.BinaryMorphologicalClosing(mask, radius)
    mask = sitk.BinaryMorphologicalOpening(mask, [max(1, round(3.0 / s)) for s in mask.GetSpacing()])
    mask = _largest_component(mask)
    mask = _fill_by_slices(mask)
    full = sitk.Resample(mask, volume, sitk.Transform(), sitk.sitkNearestNeighbor)
    # BinShrink's outermost voxel centres lie inside the volume: the rim beyond them repeats the nearest slice.
    return _repeat_rim(sitk.GetArrayFromImage(full) > 0, factors)


def _repeat_rim(mask: np.ndarray, factors: list[int]) -> np.ndarray:
    """Fill the voxels beyond the last block of the shrunken grid with the mask of that block."""
    for axis, factor in zip((2, 1, 0), factors, strict=True):
        size = mask.shape[axis]
        covered = size // factor * factor
        if factor > 1:
            index = np.clip(np.arange(size), factor // 2, max(covered - 1 - factor // 2, factor // 2))
            mask = np.take(mask, index, axis=axis)
    return mask


def _shrink_factors(image: Image, mm: float) -> list[int]:
    """Factors (i, j, k) that bring a volume to about ``mm``, never to fewer than eight voxels an axis."""
    sizes = image.array.shape[::-1]
    return [max(1, min(int(mm / s + 0.25), n // 8)) for s, n in zip(image.spacing, sizes, strict=True)]


def _volume_ml(mask: np.ndarray, image: Image) -> float:
    return float(mask.sum()) * float(np.abs(np.linalg.det(image.affine[:3, :3]))) / 1000.0


def _largest_component(mask: sitk.Image) -> sitk.Image:
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(mask), sortByObjectSize=True)
    return sitk.Cast(labels == 1, sitk.sitkUInt8)


def _fill_by_slices(mask: sitk.Image) -> sitk.Image:
    """Fill holes slice by slice, seen from two sides; a head is open at the neck, so 3-D filling would not do."""
    array = sitk.GetArrayFromImage(mask) > 0
    for axis in (0, 2):
        for index in range(array.shape[axis]):
            plane = np.take(array, index, axis=axis)
            if plane.any():
                filled = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(plane.astype(np.uint8))))
                selection: list[slice | int] = [slice(None)] * 3
                selection[axis] = index
                array[tuple(selection)] = filled > 0
    result = sitk.GetImageFromArray(array.astype(np.uint8))
    result.CopyInformation(mask)
    return result


def largest_filled(mask: np.ndarray) -> np.ndarray:
    """The largest component of a mask with its holes filled; only its bounding box is worked on."""
    result = np.zeros_like(mask)
    if not mask.any():
        return result
    box = tuple(
        slice(along[0], along[-1] + 1)
        for axis in range(3)
        for along in [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))]
    )
    # A rim of background, or a hole that touches the box would count as outside.
    volume = sitk.GetImageFromArray(np.pad(mask[box], 1).astype(np.uint8))
    # What the rim's background does not reach is a hole; sitk.BinaryFillhole says the same in four times the time.
    outside = sitk.GetArrayFromImage(sitk.ConnectedComponent(_largest_component(volume) == 0))
    result[box] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return result


def near(mask: np.ndarray, model: np.ndarray, image: Image, tolerance_mm: float) -> np.ndarray:
    """A mask kept within a tolerance of a model: grown to the model shrunk by it, cut to the model grown by it.

    Args:
        mask, model: bool (K, J, I) on the grid of ``image``.
        tolerance_mm: how far the mask's border may lie from the model's.
    """
    volume = image.with_array(model.astype(np.uint8)).to_sitk()
    distance = sitk.SignedMaurerDistanceMap(volume, squaredDistance=False, useImageSpacing=True)
    distance = sitk.GetArrayFromImage(distance)
    return largest_filled((mask & (distance <= tolerance_mm)) | (distance <= -tolerance_mm))
