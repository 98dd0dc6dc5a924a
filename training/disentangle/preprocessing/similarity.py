"""Mutual information of some thousand points, cheap enough to compare hundreds of poses."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..study.geometry import affine_of

_POINTS = 2000


class MutualInformation:
    """Mutual information of two coarse volumes as a function of the pose.

    Points are taken inside a mask of the fixed volume on a regular pattern, so that values are reproducible. The
    joint histogram is filled with the partial volumes of linear interpolation in the moving image's grey values.

    Args:
        fixed, moving: volumes of about 8 mm.
        mask: uint8 volume on the grid of ``fixed``; only its points count.
        bins: of the histogram along each axis.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, bins: int = 24) -> None:
        self.bins = bins
        inside = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)
        inside = inside[:: max(1, len(inside) // _POINTS)]
        values = sitk.GetArrayFromImage(fixed)[tuple(inside.T)]
        affine = affine_of(fixed)
        self.points = inside[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
        self._fixed = np.rint(self._scaled(values, values)).astype(np.int64)
        array = sitk.GetArrayFromImage(moving)
        self._moving = self._scaled(array, array[array > array.min()]).ravel()
        self._to_index = np.linalg.inv(affine_of(moving))
        self._size = np.array(moving.GetSize())

    def __call__(self, matrix: np.ndarray) -> tuple[float, float]:
        """Mutual information in nats, and the share of the points that meet the moving volume.

        Args:
            matrix: (4, 4) fixed points to moving points, mm.
        """
        to_index = self._to_index @ matrix
        index = self.points @ to_index[:3, :3].T + to_index[:3, 3]
        inside = ((index >= -0.5) & (index <= self._size - 0.5)).all(axis=1)
        share = float(inside.mean())
        if inside.sum() < 100:
            return 0.0, share
        value = self._interpolate(np.clip(index[inside], 0, self._size - 1))
        low = np.minimum(value.astype(np.int64), self.bins - 2)
        weight = value - low
        cell = self._fixed[inside] * self.bins + low
        cells = self.bins * self.bins
        joint = np.bincount(cell, 1.0 - weight, cells) + np.bincount(cell + 1, weight, cells)
        joint = joint.reshape(self.bins, self.bins) / joint.sum()
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        filled = joint > 1e-12
        return float((joint[filled] * np.log(joint[filled] / product[filled])).sum()), share

    def score(self, matrix: np.ndarray) -> float:
        """Mutual information weighted with the overlap, so that a small perfect overlap does not win."""
        information, share = self(matrix)
        return information * share

    def _scaled(self, values: np.ndarray, sample: np.ndarray) -> np.ndarray:
        """Values mapped to [0, bins - 1] between robust extremes."""
        low, high = np.percentile(sample, [1, 99]) if sample.size else (0.0, 1.0)
        return np.clip((values - low) / max(high - low, 1e-6), 0, 1) * (self.bins - 1)

    def _interpolate(self, index: np.ndarray) -> np.ndarray:
        """Trilinear values of the moving volume at continuous indices (N, 3) in (i, j, k)."""
        base = np.minimum(index.astype(np.int64), np.maximum(self._size - 2, 0))
        i, j, k = (index - base).T
        # Places in the flat volume, and the way to the next voxel along each axis: two thirds of three indices' time.
        strides = np.array([1, self._size[0], self._size[0] * self._size[1]])
        corner = base @ strides
        next_i, next_j, next_k = np.where(self._size > 1, strides, 0)

        def along_i(start: np.ndarray) -> np.ndarray:
            low, high = self._moving.take(start), self._moving.take(start + next_i)
            return low + i * (high - low)

        near, far = (along_i(start) * (1.0 - j) + along_i(start + next_j) * j for start in (corner, corner + next_k))
        return near * (1.0 - k) + far * k
