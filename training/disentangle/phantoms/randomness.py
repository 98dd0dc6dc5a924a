"""Random smooth fields and random draws that every phantom uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..study import Grid

Range = float | tuple[float, float]
"""A fixed number, or (low, high) to draw from uniformly."""

BODY_MM = 260.0
"""Length of the box that random fields are drawn for."""


def draw(rng: np.random.Generator, value: Range) -> float:
    """A number of a :data:`Range`."""
    if isinstance(value, (tuple, list)):
        low, high = value
        return float(rng.uniform(low, high))
    return float(value)


def stream(seed: int, stage: int) -> np.random.Generator:
    """The generator of one stage of a phantom; stages do not disturb each other."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stage,)))


def _spline_weights(size: int, spacing: float, scale: float, extent: float) -> np.ndarray:
    """(size, coefficients) weights of cubic B-splines with knots ``scale`` apart at voxels ``spacing`` apart."""
    position = np.arange(size) * (spacing / scale) + 1.5
    count = int(np.ceil(max(position[-1], extent / scale))) + 3
    distance = np.abs(position[:, None] - np.arange(count)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def smooth_noise(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing: Sequence[float],
    scale: float,
    extent: float = 0.0,
) -> np.ndarray:
    """Gaussian random field, a cubic B-spline over random coefficients.

    Args:
        shape: (K, J, I).
        spacing: voxel size along (i, j, k).
        scale: distance of the knots, in the unit of ``spacing``; structures are about twice as long.
        extent: coefficients are drawn for a box at least this long, so that grids of any spacing that begin at one
            place get the same field.

    Returns:
        float32 (K, J, I), mean 0, standard deviation about 1.
    """
    weights = [_spline_weights(n, s, scale, extent) for n, s in zip(shape, reversed(list(spacing)), strict=True)]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for axis_weights in weights:
        # Contracting the first axis and appending the new one visits the three axes in turn.
        field = np.tensordot(field, axis_weights, axes=(0, 1))
    # The mean of the squared weights is 151/315 per axis.
    return field / np.float32((151 / 315) ** 1.5)


def grid_noise(rng: np.random.Generator, grid: Grid, scale_mm: float) -> np.ndarray:
    """:func:`smooth_noise` on a grid of at most ``BODY_MM``, the same for every spacing of one subject."""
    return smooth_noise(rng, grid.shape, grid.spacing, scale_mm, extent=BODY_MM)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Logistic function, safe for large arguments."""
    return 0.5 * (1 + np.tanh(0.5 * values))
