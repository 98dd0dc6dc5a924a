"""The average brain that registration starts from and phantoms grow from (MNI152, Resources/Atlas)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..resources import resource_path
from ..study import Grid

STORED_MM = 2.0
"""Resolution of the committed arrays."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """ICBM 152 (2009a, nonlinear, symmetric) without skull, on one grid.

    All arrays are [k, j, i] and read-only; i runs right to left, j anterior to posterior, k inferior to superior.

    Attributes:
        t1: T1-weighted average, float32 in [0, 1], 0 outside the brain.
        gm, wm, csf: tissue fractions, float32; their sum is 1 inside ``brain`` and 0 outside.
        brain: bool.
        grid: where the voxels lie (LPS mm, axes parallel to the patient's).
    """

    t1: np.ndarray
    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    brain: np.ndarray
    grid: Grid


@lru_cache(maxsize=4)
def load_atlas(resolution_mm: float = STORED_MM) -> Atlas:
    """The atlas at an isotropic resolution; the same box in space whatever the resolution.

    Raises:
        InputError: a resolution outside 0.5 to 20 mm.
        FileNotFoundError: the atlas is missing from this installation.
    """
    if not 0.5 <= resolution_mm <= 20:
        raise InputError(f"The atlas cannot be given at {resolution_mm} mm; choose between 0.5 and 20 mm.")
    with np.load(resource_path("Atlas", "mni152_2mm.npz"), allow_pickle=False) as stored:
        affine = stored["affine"].astype(np.float64)
        arrays = {name: stored[name].astype(np.float32) for name in ("t1", "gm", "wm", "brain")}
    for name in ("t1", "gm", "wm"):
        arrays[name] /= 255.0
    if resolution_mm != STORED_MM:
        arrays, affine = _resampled(arrays, affine, resolution_mm)

    brain = arrays["brain"] >= 0.5
    t1, gm, wm = (np.where(brain, np.clip(arrays[name], 0, 1), 0).astype(np.float32) for name in ("t1", "gm", "wm"))
    # 8-bit rounding may push the two stored fractions over 1 together.
    excess = np.maximum(gm + wm, 1)
    gm, wm = gm / excess, wm / excess
    csf = np.where(brain, 1 - gm - wm, 0).clip(0, 1).astype(np.float32)
    for array in (t1, gm, wm, csf, brain):
        array.setflags(write=False)
    return Atlas(t1, gm, wm, csf, brain, Grid(t1.shape, affine))


def _resampled(
    arrays: dict[str, np.ndarray], affine: np.ndarray, resolution_mm: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Linear interpolation onto an isotropic grid over the same box (smoothed first where it gets coarser)."""
    origin = affine[:3, 3]
    size_mm = np.array(next(iter(arrays.values())).shape[::-1]) * STORED_MM
    size = np.ceil(size_mm / resolution_mm - 1e-6).astype(int)
    start = origin - STORED_MM / 2 + (size_mm - size * resolution_mm) / 2 + resolution_mm / 2
    sigma = 0.42 * np.sqrt(max(resolution_mm**2 - STORED_MM**2, 0))

    result = {}
    for name, array in arrays.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([STORED_MM] * 3)
        image.SetOrigin(origin.tolist())
        if sigma > 0:
            image = sitk.SmoothingRecursiveGaussian(image, float(sigma))
        resampled = sitk.Resample(
            image, size.tolist(), sitk.Transform(), sitk.sitkLinear, start.tolist(), [resolution_mm] * 3
        )
        result[name] = sitk.GetArrayFromImage(resampled)
    moved = np.diag([resolution_mm] * 3 + [1.0])
    moved[:3, 3] = start
    return result, moved
