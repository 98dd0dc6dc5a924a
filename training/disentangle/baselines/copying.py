"""Copy: the labels of the paired slice as they are (Chartsias et al., section IV-B; method-spec 2e)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Propagation = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""``(source image, source labels, target image) -> labels of the target``, all (H, W) on pixels of one size."""


def copied(source: np.ndarray, labels: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The labels of the source; their overlap with the target's own tells how far the sequences lie apart."""
    return labels.copy()


def propagate(method: Propagation, source: np.ndarray, labels: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Labels (K, H, W) of a target volume, slice by slice; slices without source labels stay empty.

    Args:
        method: :func:`copied`, :func:`.registration.registered` or :func:`.active_contour.refined`.
        source, target: images (K, H, W), slice k of one paired with slice k of the other.
        labels: (K, H, W) of the source, 0 the background.
    """
    found = np.zeros_like(labels)
    for k in np.flatnonzero(labels.any(axis=(1, 2))):
        found[k] = method(source[k], labels[k], target[k])
    return found
