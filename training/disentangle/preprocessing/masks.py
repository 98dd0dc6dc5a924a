"""Where the head and the brain are: skull-stripped input, whole heads, foreground."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..study import Image

_LARGEST_BRAIN_ML = 2300.0
"""Anything larger than this is a head: brain with meninges and cerebellum stays below 2 litres."""
_LARGEST_FILLED_ML = 2100.0
"""The same for brains without what lies around them. The head of ms-long-03b, whose air is clean, has 2204 ml without
its darkest parts at 2 mm."""
_ON_BORDER = 0.9
"""Share of the border that is background where nothing but a brain is shown."""
_REST = 1e-3
"""What interpolation leaves of a constant background, as a share of the 99th percentile. The air of a whole head has
noise of 1e-2 and more."""
_LEAST_REST = 0.03
"""Share of all voxels that such a rest is seen in at least; B-splines left one in 0.06 to 0.76 of tcga-fg-6692."""
_RINGING = 0.1
"""Less than this share of the 99th percentile is no brain where the background was interpolated: cubic B-splines ring
around it. The brains of tcga-fg-6692, ms-07 and brats13-02, moved by B-splines at 1 and 2 mm, had 98 to 105 % of their
volume and Dice coefficients of 0.97 to 0.99 with it, 105 to 115 % and 0.93 to 0.97 at 0.02."""


def background_value(array: np.ndarray) -> tuple[float, float]:
    """The value that fills the outside of a volume, and the share of border voxels that carry it.

    Args:
        array: (K, J, I).
    """
    border = _border(array)
    values, counts = np.unique(border, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]), float(counts[most] / border.size)


def _border(array: np.ndarray) -> np.ndarray:
    """(N,) values on the six faces of a volume (K, J, I)."""
    faces = (array[0], array[-1], array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1])
    return np.concatenate([face.ravel() for face in faces])


def stripped_foreground(image: Image) -> np.ndarray | None:
    """Everything but the constant background of a volume that shows a brain and nothing else, bool (K, J, I); None of
    other volumes.

    The background may be any constant: 0, or a negative number after a z-score; and what interpolation left of one.
    Whole heads whose air was set to 0 by the scanner are told apart by their size, and by the neck that reaches the
    border.
    """
    background, share = background_value(image.array)
    if share >= _ON_BORDER:
        foreground = image.array != background
        if _is_brain(foreground, image, _LARGEST_BRAIN_ML):
            return foreground
    return _interpolated_foreground(image)


def _interpolated_foreground(image: Image) -> np.ndarray | None:
    """The brain of a skull-stripped volume that was resampled, holes filled, bool (K, J, I); None of other volumes.

    Its background is constant but for what splines and rounding left there, see :data:`_REST` and :data:`_RINGING`.
    """
    if image.sequence in ("CT", "PET"):  # most of a body is that dark in PET; neither is given without its skull
        return None
    border = _border(image.array).astype(np.float32)
    background = np.float32(np.median(border))
    some = np.abs(image.array[::3, ::3, ::3].astype(np.float32) - background)
    rest = _REST * float(np.percentile(some, 99))
    # Where air was set to 0 by the scanner there is no rest: that may be a small head.
    if np.mean(np.abs(border - background) <= rest) < _ON_BORDER or np.mean((some > 0) & (some <= rest)) < _LEAST_REST:
        return None
    foreground = np.abs(image.array.astype(np.float32) - background) > rest * (_RINGING / _REST)
    foreground = largest_filled(foreground)
    return foreground if _is_brain(foreground, image, _LARGEST_FILLED_ML) else None


def _is_brain(foreground: np.ndarray, image: Image, largest_ml: float) -> bool:
    """Whether a foreground may be a brain by its volume."""
    return 0.02 <= float(foreground.mean()) <= 0.8 and _volume_ml(foreground, image) <= largest_ml


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
        array = np.moveaxis(filled_planes(np.moveaxis(array, axis, 0)), 0, axis)
    result = sitk.GetImageFromArray(array.astype(np.uint8))
    result.CopyInformation(mask)
    return result


def filled_planes(array: np.ndarray) -> np.ndarray:
    """The holes of every plane (J, I) of bool (K, J, I) filled: background that does not reach the plane's border.

    One call of ITK for all planes, which foreground keeps apart; ``sitk.BinaryFillhole`` plane by plane says the same
    in thirty to a hundred times the time, most of a head's mask.
    """
    planes, height, width = array.shape
    air = np.zeros((2 * planes, height + 2, width + 2), np.uint8)
    air[::2] = 1
    air[::2, 1:-1, 1:-1] = ~array
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(air)))[::2]
    outside = parts[:, :1, :1]  # the corner of each plane's border
    return (parts != outside)[:, 1:-1, 1:-1]


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
