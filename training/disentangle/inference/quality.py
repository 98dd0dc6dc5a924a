"""Scoring results against a reference where the user has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..bundles import ClassInfo
from ..errors import InputError
from ..metrics.image import data_range, image_quality, match_histogram, psnr, slice_axis
from ..metrics.overlap import dice


def fit_scale(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``a * image + b`` with the (a, b) that fits ``target`` best inside the mask (least squares).

    A synthetic image has no measured intensity unit; its contrast, not its unit, is to be scored. A constant image
    becomes the target's mean.
    """
    x, y = image[mask].astype(np.float64), target[mask].astype(np.float64)
    spread = x.var()
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 0 else 0.0
    return (slope * (image - x.mean()) + y.mean()).astype(np.float32)


def synthesis_quality(
    synthetic: np.ndarray,
    reference: np.ndarray,
    inputs: Mapping[str, np.ndarray],
    mask: np.ndarray,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[str, Any]:
    """PSNR, SSIM and MAE of a synthetic image, and those of the best input after histogram matching.

    Args:
        synthetic, reference: (K, J, I) on one grid.
        inputs: sequence -> (K, J, I) on that grid; the naive alternative is the one nearest to the reference.
        mask: (K, J, I) bool, voxels that count.
        spacing: (i, j, k) in mm; SSIM goes slice by slice, across the coarsest axis.

    Raises:
        InputError: the images cannot be scored: one has voxels that are no numbers inside the mask, the reference is
            constant there, or slices are smaller than a window of SSIM.
    """
    across = slice_axis(tuple(spacing)[::-1])
    data_range(reference, mask)  # refuses it before anything is fitted to it
    if not np.isfinite(synthetic[mask]).all():
        raise InputError("The synthetic image has voxels that are no numbers, so it cannot be scored; make it again.")
    quality = image_quality(fit_scale(synthetic, reference, mask), reference, mask, across)
    report: dict[str, Any] = {
        **_finite(quality.to_dict()),
        "scale": "least-squares fit of slope and offset inside the brain mask",
    }
    if inputs:
        # SSIM, most of the work, of the nearest alone.
        copies = {name: match_histogram(image, reference, mask) for name, image in inputs.items()}
        best = max(copies, key=lambda name: psnr(copies[name], reference, mask, quality.data_range))
        nearest = image_quality(copies[best], reference, mask, across)
        report["nearest_input"] = {"sequence": best, **_finite(nearest.to_dict())}
    return report


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: the PSNR of identical images is null."""
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in figures.items()}


def segmentation_quality(
    segmentation: np.ndarray, labels: np.ndarray, label_names: Mapping[int, str], classes: Sequence[ClassInfo]
) -> dict[str, float]:
    """Dice of the classes whose name the study's own labels share.

    Args:
        segmentation: (K, J, I) class values.
        labels: (K, J, I) values of the study's labels on the same grid.
        label_names: label value -> name.
        classes: of the segmentation.
    """
    by_name = {name.lower(): value for value, name in label_names.items()}
    scores = {}
    for info in classes[1:]:
        if info.name.lower() in by_name:
            score = dice(segmentation == info.value, labels == by_name[info.name.lower()])
            if np.isfinite(score):
                scores[info.name] = round(float(score), 4)
    return scores
