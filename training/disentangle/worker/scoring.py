"""Comparing a segmentation with a reference: overlap and distances of surfaces, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..progress import Progress


def compare_masks(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], spacing: Sequence[float], progress: Progress
) -> dict[str, dict[str, float | None]]:
    """Dice, 95 % Hausdorff distance and mean surface distance (mm) of each structure.

    Args:
        pairs: name -> (found, reference) bool arrays [k, j, i] on one grid.
        spacing: mm along (i, j, k).

    Returns:
        name -> ``dice``, ``hd95_mm``, ``asd_mm``; None where a figure does not exist (one of both is empty).
    """
    from ..metrics.overlap import average_surface_distance, dice, hd95

    scores = {}
    for n, (name, (found, truth)) in enumerate(pairs.items()):
        progress("results", n / max(len(pairs), 1), f"comparing {name}")
        found, truth = _cropped(found, truth)
        figures = {"dice": dice(found, truth), "hd95_mm": hd95(found, truth, tuple(spacing))}
        figures["asd_mm"] = average_surface_distance(found, truth, tuple(spacing))
        scores[name] = {key: round(float(v), 4) if np.isfinite(v) else None for key, v in figures.items()}
    return scores


def _cropped(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both within the box around their union: distances to what lies outside do not change, but take long."""
    both = found | truth
    if not both.any():
        return found, truth
    box = []
    for axis in range(3):
        inside = np.flatnonzero(both.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(inside[0], inside[-1] + 1))
    return found[tuple(box)], truth[tuple(box)]
