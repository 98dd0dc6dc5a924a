"""Intensity normalisation: value = (intensity - offset) / scale, so that every choice has its inverse."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .config import PreprocessingConfig

Level = float | np.ndarray
"""A number for a whole volume, or (K, 1, 1) numbers of its slices."""
_SAMPLE = 400_000
_ROUNDING = 1e-6
"""Differences up to this share of the intensities are rounding: single precision has seven digits."""
_BY_SLICE = {"slice": (0.0, 100.0), "slice_percentile": (1.0, 99.0)}
"""Percentiles that become -1 and 1, slice by slice."""


def measure(
    array: np.ndarray, mask: np.ndarray, config: PreprocessingConfig, sequence: str = ""
) -> tuple[Level, Level]:
    """Offset and scale of an image, or of each of its slices.

    Args:
        array: (K, J, I) intensities.
        mask: (K, J, I) bool, voxels that count.
        config: chooses the normalisation.
        sequence: for the message.

    Raises:
        InputError: the image is constant inside the mask, or the mask is empty.
    """
    if config.normalization == "none":
        return 0.0, 1.0
    fixed = by_window(config, sequence)
    if fixed is not None:
        return fixed
    values = array[mask]
    # Every n-th voxel is enough for percentiles and keeps a 1 mm volume to milliseconds.
    values = values[:: max(1, len(values) // _SAMPLE)].astype(np.float64)
    least = _resolved(values)
    if len(values) < 2 or values.max() - values.min() <= least:
        where = "inside the brain" if config.mask == "auto" else "throughout"
        raise InputError(f"{sequence or 'The image'} is constant {where}; check that the file holds an image.")
    if config.normalization in _BY_SLICE:
        return _measure_slices(array, mask, _BY_SLICE[config.normalization], least)
    if config.normalization == "max":
        return 0.0, float(np.percentile(values, 99.9)) or 1.0
    if config.normalization == "percentile":
        lower, upper = np.percentile(values, [1.0, 99.0])
        return float(lower + upper) / 2, max(float(upper - lower) / 2, least)
    # The outermost half percent (vessels, residual fat, dark rims) would stretch the standard deviation.
    values = np.clip(values, *np.percentile(values, [0.5, 99.5]))
    return float(values.mean()), max(float(values.std()), least)


def by_window(config: PreprocessingConfig, sequence: str | None) -> tuple[float, float] | None:
    """Offset and scale where they follow from the settings alone, whatever the image: window, SUV; else None."""
    if sequence == "PET" and config.suv:
        return config.suv
    if config.normalization == "window" or (sequence == "CT" and config.window):
        lower, upper = config.window
        return (lower + upper) / 2, (upper - lower) / 2
    return None


def without_units(config: PreprocessingConfig) -> tuple[float, float]:
    """Offset and scale of a sequence without measured intensities: the range of normalised values as 0 to 1000."""
    lower, upper = config.clip or (-5.0, 5.0)
    scale = 1000.0 / (upper - lower)
    return -lower * scale, scale


def _resolved(values: np.ndarray) -> float:
    """The largest difference of intensities (N,) that is mere rounding, in whatever units they come; 0 where all are 0.

    Outliers of fitted maps are many orders of magnitude above all else: nearly the largest magnitude counts.
    """
    magnitudes = np.abs(values)
    if not magnitudes.any():
        return 0.0
    return _ROUNDING * float(np.percentile(magnitudes, 99.0) or magnitudes.max())


def _measure_slices(
    array: np.ndarray, mask: np.ndarray, ends: tuple[float, float], least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and scales (K, 1, 1) float32; a slice that is constant up to ``least``, or outside the mask, becomes -1,
    and 1 in it is above its intensity by 2, or as little more or less as the unit of the intensities demands."""
    pairs = [np.percentile(v[m], ends) if m.any() else (0.0, 0.0) for v, m in zip(array, mask, strict=True)]
    low, high = np.array(pairs, np.float32).T[..., None, None]
    flat = high - low <= least
    # Above rounding, and within the intensities of the image: 1 would be a thousand million times those of an SI unit.
    unit = np.float32(np.clip(1.0, 16 * least, least / _ROUNDING))
    return np.where(flat, low + unit, (low + high) / 2), np.where(flat, unit, (high - low) / 2)


def apply(array: np.ndarray, offset: Level, scale: Level, clip: tuple[float, float] | None = None) -> np.ndarray:
    """Normalised intensities, float32."""
    result = (array.astype(np.float32) - np.float32(offset)) / np.float32(scale)
    return result if clip is None else np.clip(result, *clip, out=result)


def invert(array: np.ndarray, offset: Level, scale: Level) -> np.ndarray:
    """Intensities of normalised values, float32; the inverse of :func:`apply` except where it clipped."""
    return array.astype(np.float32) * np.float32(scale) + np.float32(offset)
