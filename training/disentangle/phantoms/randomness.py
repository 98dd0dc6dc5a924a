"""Random smooth fields and random draws that every phantom uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Range = float | tuple[float, float]
"""A fixed number, or (low, high) to draw from uniformly."""


def draw(rng: np.random.Generator, value: Range) -> float:
    """A number of a :data:`Range`."""
    if isinstance(value, (tuple, list)):
        low, high = value
        return float(rng.uniform(low, high))
    return float(value)


def _spline_weights(size: int, spacing_mm: float, scale_mm: float) -> np.ndarray:
    """(size, coefficients) cubic B-spline weights of knots ``scale_mm`` apart at voxels ``spacing_mm`` apart."""
    position = np.arange(size) * (spacing_mm / scale_mm) + 1.5
    count = int(np.ceil(position[-1])) + 3
    distance = np.abs(position[:, None] - np.arange(count)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: Sequence[float], scale_mm: float
) -> np.ndarray:
    """Gaussian random field, a cubic B-spline over random coefficients.

    Args:
        shape: (K, J, I).
        spacing: voxel size along (i, j, k) in mm.
        scale_mm: distance of the knots; structures are about twice as long.

    Returns:
        float32 (K, J, I), mean 0, standard deviation about 1.
    """
    weights = [_spline_weights(n, s, max(scale_mm, s)) for n, s in zip(shape, reversed(list(spacing)), strict=True)]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for axis_weights in weights:
        # Contracting the first axis and appending the new one visits the three axes in turn.
        field = np.tensordot(field, axis_weights, axes=(0, 1))
    # The mean of the squared weights is 151/315 per axis.
    return field / np.float32((151 / 315) ** 1.5)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Logistic function, safe for large arguments."""
    return 0.5 * (1 + np.tanh(0.5 * values))
