"""Which working slice lies where the user looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..preprocessing import PreparedStudy
from ..preprocessing.resampling import matrix_of


def nearest_slice(prepared: PreparedStudy, point: Sequence[float], sequence: str) -> int:
    """Number k of the slice of the working grid, inside the mask, that is nearest to a point.

    Args:
        point: LPS mm in the space of ``sequence``.
    """
    reference = np.linalg.inv(matrix_of(prepared.transforms[sequence])) @ np.array([*point, 1.0])
    index = np.linalg.inv(prepared.grid.affine) @ reference
    inside = np.flatnonzero(prepared.mask.any(axis=(1, 2)))
    if not len(inside):
        return 0
    return int(np.clip(round(float(index[2])), inside[0], inside[-1]))
