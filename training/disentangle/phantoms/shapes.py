"""Soft shapes, and how tissues cover each other: the pencil of the trunk's and the heart's anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..study import Grid
from .anatomy import sample
from .randomness import sigmoid, smooth_noise


def edge(depth: np.ndarray, softness: float = 0.6) -> np.ndarray:
    """From a depth in mm (positive inside) to a share of the voxel: 1 inside, 0 outside, soft over ``softness``."""
    return sigmoid(depth * np.float32(1 / softness))


def ellipsoid(points: Sequence[np.ndarray], centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """Approximate depth in mm within an ellipsoid, positive inside; ``points`` are (x, y, z) arrays of one shape."""
    squared = sum(((p - np.float32(c)) * np.float32(1 / r)) ** 2 for p, c, r in zip(points, centre, radii, strict=True))
    return (1 - np.sqrt(squared)) * np.float32(min(radii))


def joined(first: np.ndarray, second: np.ndarray, blend: float) -> np.ndarray:
    """Union of two depths, rounded over about ``blend`` mm where they meet."""
    return np.float32(blend) * np.logaddexp(first * np.float32(1 / blend), second * np.float32(1 / blend))


@dataclass
class Layers:
    """Tissues painted over each other; what is painted later covers what was there."""

    layers: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def paint(self, tissue: str, share: np.ndarray) -> None:
        """Cover with a tissue where ``share`` (0 to 1) says so."""
        self.layers.append((tissue, share))

    def fractions(self, rest: str = "air") -> dict[str, np.ndarray]:
        """Tissue -> fraction of the voxel, summing to 1; ``rest`` is what nothing covers."""
        result: dict[str, np.ndarray] = {}
        visible = np.float32(1)
        for tissue, share in reversed(self.layers):
            seen = visible * share
            result[tissue] = result[tissue] + seen if tissue in result else seen
            visible = visible - seen
        result[rest] = result.get(rest, np.float32(0)) + visible
        return result


class Fields:
    """Smooth random functions of space, about standard normal, periodic beyond nothing: the edge repeats outside.

    Args:
        rng: draws them.
        low, high: corners (x, y, z) in mm of the box in which they vary.
    """

    def __init__(self, rng: np.random.Generator, low: Sequence[float], high: Sequence[float]) -> None:
        self.rng, self.low, self.high = rng, np.asarray(low, float), np.asarray(high, float)

    def draw(self, scale_mm: float) -> Field:
        """A function whose structures are about twice ``scale_mm`` long."""
        step = scale_mm / 2
        size = np.ceil((self.high - self.low) / step).astype(int) + 1
        affine = np.diag([step, step, step, 1.0])
        affine[:3, 3] = self.low
        shape = tuple(int(n) for n in size[::-1])
        return Field(smooth_noise(self.rng, shape, (step,) * 3, scale_mm), Grid(shape, affine))


@dataclass(frozen=True, eq=False)
class Field:
    """One function of :class:`Fields`: call it with (x, y, z) points (3, ...)."""

    values: np.ndarray
    grid: Grid

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return sample(self.values, self.grid, points)


def warped(points: np.ndarray, fields: Sequence[Field], amount_mm: float) -> np.ndarray:
    """Points (3, ...) displaced by three :class:`Field`, standard deviation ``amount_mm`` along each axis."""
    return points + np.float32(amount_mm) * np.stack([f(points) for f in fields])
