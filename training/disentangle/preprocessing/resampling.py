"""Resampling between grids: once, through one composed transform, smoothed before going coarser."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..study import Grid, Image
from ..study.geometry import affine_of, cleaned
from .smoothing import smooth

_MARGIN = 4
"""Voxels around what is cut out, enough for interpolation and smoothing."""
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    """(4, 4) matrix of a linear SimpleITK transform of LPS points in mm.

    Raises:
        ValueError: the transform is not linear.
    """
    if not transform.IsLinear():
        raise ValueError("only linear transforms have a matrix")
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        point = [0.0, 0.0, 0.0]
        point[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(point)) - matrix[:3, 3]
    return matrix


def transform_of(matrix: np.ndarray) -> sitk.AffineTransform:
    """SimpleITK transform of a (4, 4) matrix."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(v) for v in cleaned(matrix[:3, :3]).ravel()])
    transform.SetTranslation([float(v) for v in matrix[:3, 3]])
    return transform


def canonical_axes(direction: np.ndarray) -> np.ndarray:
    """The axes of ``direction`` (3, 3 columns) permuted and flipped so that they run nearest to L, P and S.

    The result is a rotation (determinant +1) also for left-handed grids.
    """
    remaining = [0, 1, 2]
    axes = np.zeros((3, 3))
    # The most certain assignment first, so that an oblique axis cannot take another one's place.
    strength = np.abs(direction)
    for _ in range(3):
        patient, axis = max(
            ((p, a) for p in range(3) if not axes[:, p].any() for a in remaining), key=lambda pa: strength[pa]
        )
        axes[:, patient] = direction[:, axis] * (1.0 if direction[patient, axis] >= 0 else -1.0)
        remaining.remove(axis)
    u, _, vt = np.linalg.svd(axes)
    rotation = u @ vt
    if np.linalg.det(rotation) < 0:
        raise ValueError("direction is not a frame of three axes")
    return rotation


def slice_axes(direction: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The axes of a stack of slices: k is its own slice axis (the last, unless another one has clearly larger steps);
    i and j are permuted and flipped as slices are usually shown (L to the right, P or else I downwards).

    Args:
        direction: (3, 3) columns. spacing: (3,) in mm.

    Returns:
        (3, 3) columns, a rotation.
    """
    slices = int(np.argmax(spacing)) if spacing.max() > 1.5 * spacing[2] else 2
    a, b = (direction[:, axis] for axis in range(3) if axis != slices)
    turns = [(p * first, q * second) for first, second in ((a, b), (b, a)) for p in (1, -1) for q in (1, -1)]
    i, j = max(turns, key=lambda pair: pair[0] @ (1.0, 0.5, 0.0) + pair[1] @ (0.0, 1.0, -1.0))
    return np.stack([i, j, np.cross(i, j)], axis=1)


def index_matrix(source: np.ndarray, grid: Grid, matrix: np.ndarray) -> np.ndarray:
    """(4, 4) matrix from voxel indices of ``grid`` to continuous voxel indices of a source.

    Args:
        source: (4, 4) LPS affine of the source.
        grid: the target grid.
        matrix: (4, 4), target points to source points in mm.
    """
    return np.linalg.inv(source) @ matrix @ grid.affine


def coverage(source: Grid, grid: Grid, matrix: np.ndarray) -> np.ndarray:
    """Which voxels of ``grid`` lie inside the field of view of ``source``: bool (K, J, I)."""
    to_index = index_matrix(source.affine, grid, matrix)
    k, j, i = (np.arange(n, dtype=np.float32) for n in grid.shape)
    inside = np.ones(grid.shape, dtype=bool)
    for axis, size in enumerate(source.size):
        a, b, c, d = (np.float32(v) for v in to_index[axis])
        index = (c * k + d)[:, None, None] + (b * j)[None, :, None] + (a * i)[None, None, :]
        # A hundredth of a voxel of tolerance: the far border of an equal grid must count as inside.
        inside &= (index >= -0.51) & (index <= size - 0.49)
    return inside


def resample(
    image: sitk.Image,
    grid: Grid,
    matrix: np.ndarray | None = None,
    interpolation: str = "linear",
    default: float = 0.0,
) -> np.ndarray:
    """Values of ``image`` on ``grid``.

    Before linear interpolation the image is smoothed along each of its axes as far as the target's voxels are
    coarser than its own (the Gaussian of Cardoso et al., MICCAI 2015), so that nothing aliases. Only the part of the
    image that the grid covers is touched.

    Args:
        image: source, any voxel type.
        grid: target.
        matrix: (4, 4) target points to source points in mm; None is the identity.
        interpolation: "linear" or "nearest".
        default: value outside the source.

    Returns:
        (K, J, I) on ``grid``; float32 for "linear", the source's type for "nearest".
    """
    if interpolation not in ("linear", "nearest"):
        raise ValueError(f"interpolation is 'linear' or 'nearest', not {interpolation!r}")
    matrix = np.eye(4) if matrix is None else matrix
    image = _crop_image(image, grid, matrix)
    if image is None:
        return np.full(grid.shape, default, dtype=np.float32)
    if interpolation == "linear":
        image = _smooth_for(sitk.Cast(image, sitk.sitkFloat32), grid, matrix)
    method = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    moved = sitk.Resample(image, grid.to_sitk_reference(), transform_of(matrix), method, float(default))
    return sitk.GetArrayFromImage(moved)


def resample_part(image: Image, grid: Grid, matrix: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """An image linearly on a grid, float32, 0 outside it and, where there is a mask on its own grid, outside that.

    The part that the grid covers, and the mask reaches, is cut out before anything is copied.
    """
    box = crop_to(image.grid, grid, matrix)
    if box is not None and mask is not None:
        box = around(mask, box)
    if box is None:
        return np.zeros(grid.shape, np.float32)
    part = image.cropped(box)
    if mask is not None:
        part = part.with_array(np.where(mask[box], part.array, 0).astype(np.float32))
    return resample(part.to_sitk(), grid, matrix)


def around(mask: np.ndarray, box: tuple[slice, ...], margin: int = _MARGIN) -> tuple[slice, ...] | None:
    """What a mask reaches of a box, and a margin around it inside the box; None where it does not reach it."""
    found = []
    for axis, whole in enumerate(box):
        along = np.flatnonzero(mask[box].any(axis=tuple({0, 1, 2} - {axis}))) + whole.start
        if not len(along):
            return None
        found.append(slice(max(whole.start, int(along[0]) - margin), min(whole.stop, int(along[-1]) + 1 + margin)))
    return tuple(found)


def crop_to(
    source: Grid, grid: Grid, matrix: np.ndarray | None = None, margin: int = _MARGIN
) -> tuple[slice, slice, slice] | None:
    """The part (k, j, i) of ``source`` that ``grid`` covers, None where they do not meet.

    Args:
        source, grid: of an image, and the target.
        matrix: (4, 4) target points to source points in mm; None is the identity.
        margin: voxels around it, enough for interpolation and smoothing.
    """
    matrix = np.eye(4) if matrix is None else matrix
    corners = np.c_[grid.corners(), np.ones(8)] @ (np.linalg.inv(source.affine) @ matrix).T
    size = np.array(source.size)
    low = np.clip(np.floor(corners[:, :3].min(axis=0)).astype(int) - margin, 0, size)
    high = np.clip(np.ceil(corners[:, :3].max(axis=0)).astype(int) + margin + 1, 0, size)
    if (high <= low).any():
        return None
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))
    return k, j, i


def _crop_image(image: sitk.Image, grid: Grid, matrix: np.ndarray) -> sitk.Image | None:
    """The part of ``image`` that ``grid`` covers, None where they do not meet."""
    box = crop_to(Grid(image.GetSize()[::-1], affine_of(image)), grid, matrix)
    if box is None:
        return None
    return sitk.RegionOfInterest(image, [s.stop - s.start for s in box[::-1]], [s.start for s in box[::-1]])


def _smooth_for(image: sitk.Image, grid: Grid, matrix: np.ndarray) -> sitk.Image:
    """Smooth ``image`` along each axis as far as the steps of ``grid`` exceed its voxels."""
    axes = np.array(image.GetDirection()).reshape(3, 3)
    steps = matrix[:3, :3] @ grid.affine[:3, :3]
    extent = (axes.T @ steps) ** 2
    variance = np.maximum(extent.sum(axis=1) - np.array(image.GetSpacing()) ** 2, 0.0) / _FWHM**2
    variance[variance < 0.01] = 0.0
    if not variance.any():
        return image
    in_voxels = variance / np.array(image.GetSpacing()) ** 2
    result = sitk.GetImageFromArray(smooth(sitk.GetArrayViewFromImage(image), in_voxels[::-1]))
    result.CopyInformation(image)
    return result
