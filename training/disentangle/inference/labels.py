"""Labels of class values: which class is the most probable one."""

from __future__ import annotations

import numpy as np


def most_probable(values: np.ndarray) -> np.ndarray:
    """The index of the greatest value along the first axis, of equal ones the first: uint8, as ``argmax(axis=0)``.

    One class after the other, as they lie in memory: 0.02 s for eight classes of 1.8 million voxels, 0.08 s of argmax.

    Args:
        values: (L, ...), of at most 256 classes.
    """
    best, labels = values[0].copy(), np.zeros(values.shape[1:], np.uint8)
    for index in range(1, len(values)):
        better = values[index] > best
        np.copyto(labels, index, where=better)
        np.copyto(best, values[index], where=better)
    return labels
