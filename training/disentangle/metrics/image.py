"""Image quality inside a mask: PSNR, SSIM, mean absolute error (method-spec.md, section 1f).

Protocol "A", the one that is reported: only voxels inside the mask count, and the data range is the
0.5-99.5 percentile range of the target volume inside the mask. :func:`paper_mode` ("B") repeats the convention
of Ouyang et al.'s code, whose range includes a background of -10 and is therefore inflated: never compare the two.

Needs numpy alone, since the predictor scores its output with it inside Slicer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

WINDOW = 7
"""Side of the uniform SSIM window in pixels (skimage's default)."""


@dataclass(frozen=True)
class ImageQuality:
    """PSNR in dB, SSIM in [-1, 1] and the mean absolute error in the target's units, with the range used."""

    psnr: float
    ssim: float
    mae: float
    data_range: float

    def to_dict(self) -> dict[str, float]:
        return {"psnr": self.psnr, "ssim": self.ssim, "mae": self.mae, "data_range": self.data_range}


def data_range(target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The 0.5-99.5 percentile range of ``target`` inside ``mask`` (everywhere where None).

    Raises:
        InputError: the mask is empty, or the target is constant or not finite everywhere inside it.
    """
    values = _inside(target, mask)
    wrong = int(values.size - np.count_nonzero(np.isfinite(values)))
    if wrong:
        raise InputError(
            f"The reference image has {wrong} voxels that are no numbers (NaN or infinite) inside the mask, so quality "
            "cannot be scored; give one without them."
        )
    low, high = np.percentile(values, (0.5, 99.5))
    if high - low <= 0:
        low, high = values.min(), values.max()
    if not high > low:
        raise InputError(
            "The reference image is constant inside the mask, so quality cannot be scored; give another reference."
        )
    return float(high - low)


def mae(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean absolute error inside the mask, in the units of the images."""
    _check_shapes(prediction, target, mask)
    return float(np.abs(_inside(prediction, mask) - _inside(target, mask)).mean())


def psnr(
    prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, range_: float | None = None
) -> float:
    """Peak signal-to-noise ratio in dB inside the mask.

    Args:
        prediction, target: arrays of one shape.
        mask: bool array of that shape; None counts every voxel.
        range_: data range; None takes :func:`data_range` of the target (protocol A).

    Returns:
        ``10 log10(range² / MSE)``; infinity for identical images.
    """
    _check_shapes(prediction, target, mask)
    range_ = data_range(target, mask) if range_ is None else range_
    error = float(np.mean((_inside(prediction, mask) - _inside(target, mask)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(range_**2 / error))


def ssim(
    prediction: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray | None = None,
    range_: float | None = None,
    across: int = 0,
) -> float:
    """Structural similarity, slice by slice, averaged over the windows centred inside the mask.

    Constants, window and sample covariance are those of ``skimage.metrics.structural_similarity``. Both images are
    set to the target's minimum outside the mask, so that windows across its border see the same background.

    Args:
        prediction, target: (K, J, I) or (J, I).
        mask: bool array of that shape; None counts every window that fits into the image.
        range_: data range; None takes :func:`data_range` of the target (protocol A).
        across: axis of a volume that slices are perpendicular to, see :func:`slice_axis`.

    Raises:
        InputError: a slice is smaller than a window, or the mask touches none.
    """
    _check_shapes(prediction, target, mask)
    range_ = data_range(target, mask) if range_ is None else range_
    x, y = np.asarray(prediction), np.asarray(target)
    if across:
        x, y, mask = (None if a is None else np.moveaxis(a, across, 0) for a in (x, y, mask))
    _check_window(x.shape)
    if mask is not None:
        background = _inside(y, mask).min()
        box = _windows_box(np.asarray(mask, bool))
        x, y, mask = x[box], y[box], mask[box]
        x, y = np.where(mask, x, background), np.where(mask, y, background)
    return _mean_ssim(x.astype(np.float64), y.astype(np.float64), mask, range_)


def slice_axis(spacing: Sequence[float]) -> int:
    """The axis of an array that its slices were acquired across: the coarsest one.

    The first one unless another is coarser than both others by more than a tenth: a volume of about isotropic voxels
    has no slices of its own, and is read as it is stored.

    Args:
        spacing: voxel size in mm in the order of the array's axes (k, j, i).
    """
    coarsest = int(np.argmax(spacing))
    others = [s for axis, s in enumerate(spacing) if axis != coarsest]
    return coarsest if spacing[coarsest] > 1.1 * max(others) else 0


def image_quality(
    prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, across: int = 0
) -> ImageQuality:
    """All three figures under protocol A; ``across`` as in :func:`ssim`."""
    _check_shapes(prediction, target, mask)
    range_ = data_range(target, mask)
    return ImageQuality(
        psnr(prediction, target, mask, range_),
        ssim(prediction, target, mask, range_, across),
        mae(prediction, target, mask),
        range_,
    )


def paper_mode(
    prediction: np.ndarray, target: np.ndarray, mask: np.ndarray, background: float = -10.0
) -> tuple[float, float]:
    """(PSNR, SSIM) in Ouyang et al.'s convention ("B"), averaged over the slices that meet the mask.

    Background voxels are set to ``background`` in both images and count; the range of a slice is the maximum of the
    target minus its minimum, background included.
    """
    _check_shapes(prediction, target, mask)
    scores = []
    volumes = (np.reshape(a, (-1, *np.shape(a)[-2:])) for a in (prediction, target, mask))
    for x, y, inside in zip(*volumes, strict=True):
        if not inside.any():
            continue
        x, y = np.where(inside, x, background).astype(np.float64), np.where(inside, y, background).astype(np.float64)
        range_ = float(y.max() - y.min())
        scores.append((psnr(x, y, None, range_), ssim(x, y, None, range_)))
    if not scores:
        raise InputError("The mask is empty, so the image quality cannot be scored.")
    return tuple(float(v) for v in np.mean(scores, axis=0))


def _mean_ssim(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None, range_: float) -> float:
    """Mean of the SSIM map over the windows centred in the mask (windows must fit into the slice)."""
    half = WINDOW // 2
    inner = (..., slice(half, -half), slice(half, -half))
    sample = WINDOW**2 / (WINDOW**2 - 1)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variance_x = sample * (_window_mean(x * x) - mean_x**2)
    variance_y = sample * (_window_mean(y * y) - mean_y**2)
    covariance = sample * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * range_) ** 2, (0.03 * range_) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    values = luminance * structure
    if mask is not None:
        values = values[np.asarray(mask, bool)[inner]]
    if values.size == 0:
        raise InputError("The mask touches no complete SSIM window, so the image quality cannot be scored.")
    return float(values.mean())


def _check_window(shape: Sequence[int]) -> None:
    if min(shape[-2:]) < WINDOW:
        raise InputError(
            f"SSIM needs slices of at least {WINDOW} x {WINDOW} pixels, and these have {shape[-2]} x {shape[-1]}; "
            "score a larger image."
        )


def _windows_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The part of an image that holds every window centred in a mask: a brain's is a third of a head's."""
    box = []
    for axis, length in enumerate(mask.shape):
        touched = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        margin, least = (WINDOW // 2, WINDOW) if axis >= mask.ndim - 2 else (0, 1)
        first, end = int(touched[0]) - margin, int(touched[-1]) + 1 + margin
        box.append(slice(max(min(first, length - least), 0), min(max(end, least), length)))
    return tuple(box)


def _window_mean(array: np.ndarray) -> np.ndarray:
    """Mean over every complete WINDOW x WINDOW window of the last two axes, by cumulative sums."""
    for axis in (-2, -1):
        sums = np.cumsum(array, axis=axis)
        zero = np.zeros_like(np.take(sums, [0], axis=axis))
        sums = np.concatenate([zero, sums], axis=axis)
        length = sums.shape[axis]
        array = (np.take(sums, range(WINDOW, length), axis) - np.take(sums, range(length - WINDOW), axis)) / WINDOW
    return array


def _inside(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    values = np.asarray(array, np.float64)
    values = values.ravel() if mask is None else values[np.asarray(mask, bool)]
    if values.size == 0:
        raise InputError("The mask is empty, so the image quality cannot be scored.")
    return values


def _check_shapes(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None) -> None:
    shapes = {np.shape(prediction), np.shape(target)} | (set() if mask is None else {np.shape(mask)})
    if len(shapes) > 1:
        raise InputError(f"Images to compare must lie on one grid, but their shapes are {sorted(shapes)}.")


def match_histogram(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``image`` with the intensity distribution of ``target`` inside the mask (1000 quantiles); 0 outside.

    Intensities are matched in reverse order where that fits better, since T1 and T2 have opposite contrast. Voxels of
    one intensity take the quantile in the middle of theirs: the lowest made whatever is alike (a clipped or empty
    background) too dark, or too bright in reverse order. The figures of such copies in training/benchmarks/results
    were made with the lowest; on a phantom without a plateau that is at most 0.03 dB of PSNR.
    """
    if np.corrcoef(image[mask], target[mask])[0, 1] < 0:
        image = -image
    steps = np.linspace(0.0, 1.0, 1001)
    source, wanted = np.quantile(image[mask], steps), np.quantile(target[mask], steps)
    source, first, count = np.unique(source, return_index=True, return_counts=True)
    middle = np.interp(first + (count - 1) / 2, np.arange(len(wanted)), wanted)
    result = np.zeros(image.shape, np.float32)
    result[mask] = np.interp(image[mask], source, middle)
    return result
