"""What a scanner does to the signal: bias field, resolution, slices, pose, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from ..study import Grid, Image
from .randomness import grid_noise


def bias_field(rng: np.random.Generator, grid: Grid, strength: float) -> np.ndarray:
    """Smooth positive field, float32 (K, J, I): its logarithm has mean 0 and standard deviation ``strength``."""
    field = grid_noise(rng, grid, 90.0)
    field -= field.mean()
    return np.exp(field * np.float32(strength / max(float(field.std()), 1e-6)))


def rician(rng: np.random.Generator, signal: np.ndarray, sigma: float) -> np.ndarray:
    """Magnitude of the signal with complex Gaussian noise of standard deviation ``sigma`` in both channels."""
    if sigma <= 0:
        return signal
    real = signal + np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, imaginary)


def draw_rigid(rng: np.random.Generator, centre: Sequence[float], shift_mm: float, turn_deg: float) -> sitk.Transform:
    """Rigid motion in a random direction: a shift of length ``shift_mm`` and a turn of ``turn_deg`` about an axis."""
    shift, axis = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    transform = sitk.VersorRigid3DTransform()
    transform.SetCenter([float(c) for c in centre])
    transform.SetRotation([float(a) for a in axis], float(np.deg2rad(turn_deg)))
    transform.SetTranslation([float(s) * shift_mm for s in shift])
    return transform


def slice_grid(grid: Grid, thickness_mm: float, axis: int) -> Grid:
    """The grid of a series of thick slices over the same box.

    Args:
        axis: of the patient across the slices: 0 (sagittal), 1 (coronal) or 2 (axial).

    Returns:
        A grid whose last index k runs across the slices, as scanners store it.
    """
    order = {2: (0, 1, 2), 1: (2, 0, 1), 0: (1, 2, 0)}[axis]
    size = np.array(grid.size)
    spacing = np.array(grid.spacing)
    length = size[axis] * spacing[axis]
    count = max(int(length // thickness_mm), 3)
    new_size, new_spacing = size.copy(), spacing.copy()
    new_size[axis], new_spacing[axis] = count, thickness_mm
    first = -0.5 * (new_size - 1) * new_spacing + 0.5 * (size - 1) * spacing
    affine = np.eye(4)
    directions = grid.direction
    for column, old in enumerate(order):
        affine[:3, column] = directions[:, old] * new_spacing[old]
    affine[:3, 3] = grid.origin + directions @ first
    return Grid(tuple(int(new_size[old]) for old in reversed(order)), affine)


def blurred(signal: np.ndarray, spacing: Sequence[float], sigma_mm: Sequence[float]) -> np.ndarray:
    """Gaussian blur with a standard deviation per axis (i, j, k) in mm."""
    sigma = [s / h for s, h in zip(reversed(list(sigma_mm)), reversed(list(spacing)), strict=True)]
    if max(sigma) < 0.15:
        return signal
    return ndimage.gaussian_filter(signal, sigma, truncate=3.0, mode="nearest", output=np.float32)


def moved(array: np.ndarray, grid: Grid, target: Grid, transform: sitk.Transform, nearest: bool = False) -> np.ndarray:
    """Resample an array; ``transform`` takes points of ``target`` to points of ``grid``; 0 outside."""
    image = Image(array, grid.affine).to_sitk()
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    result = sitk.Resample(image, target.to_sitk_reference(), transform, interpolator, 0.0, image.GetPixelID())
    return sitk.GetArrayFromImage(result)
