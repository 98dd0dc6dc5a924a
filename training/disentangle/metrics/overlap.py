"""Agreement of segmentations: Dice, Hausdorff distance, surface distance (in 3-D, with the voxel spacing)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import InputError


def dice(prediction: np.ndarray, truth: np.ndarray, empty: float = float("nan")) -> float:
    """Dice coefficient of two bool arrays; ``empty`` where both are empty (DAFNet counts 1, MONAI NaN)."""
    prediction, truth = _pair(prediction, truth)
    total = int(prediction.sum()) + int(truth.sum())
    return 2.0 * int((prediction & truth).sum()) / total if total else empty


def dice_per_class(
    prediction: np.ndarray, truth: np.ndarray, classes: dict[int, str], valid: np.ndarray | None = None
) -> dict[str, float]:
    """Dice of each label value in ``classes`` (value -> name), NaN where neither array has it.

    Args:
        prediction, truth: integer label arrays of one shape.
        valid: bool array: voxels that count; None counts all.
    """
    if valid is not None:
        prediction, truth = prediction[valid], truth[valid]
    return {name: dice(prediction == value, truth == value) for value, name in classes.items()}


def joint_dice(prediction: np.ndarray, truth: np.ndarray, empty: float = 1.0) -> float:
    """Dice over all foreground classes jointly, 2 Σ h m / (Σ h + Σ m) of the one-hot masks (method-spec 2f).

    Args:
        prediction, truth: integer labels of one shape, 0 the background.
        empty: where neither has any foreground; the papers' code counts 1.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise InputError(f"Segmentations to compare must lie on one grid, not {prediction.shape} and {truth.shape}.")
    total = int((prediction != 0).sum()) + int((truth != 0).sum())
    return 2.0 * int(((prediction == truth) & (truth != 0)).sum()) / total if total else empty


def slice_dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """The measure of DAFNet and MMSDNet: :func:`joint_dice` per slice, mean over the slices (K, J, I) of a volume.

    It flatters volumes with empty slices, each of which counts 1; read it beside :func:`dice_per_class`.
    """
    return float(np.mean([joint_dice(p, t) for p, t in zip(prediction, truth, strict=True)]))


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm: from each border voxel of the prediction to the truth's border, and the other way round.

    Args:
        prediction, truth: bool arrays [k, j, i] of one shape.
        spacing: voxel size in mm in the order (i, j, k), as ``Grid.spacing``.

    Raises:
        InputError: one of them is empty, so that there is no distance.
    """
    prediction, truth = _pair(prediction, truth)
    if not prediction.any() or not truth.any():
        raise InputError("A surface distance needs two non-empty segmentations.")
    borders = [_border(array, spacing) for array in (prediction, truth)]
    from_prediction = _distance_to(borders[1])[sitk.GetArrayFromImage(borders[0]) > 0]
    from_truth = _distance_to(borders[0])[sitk.GetArrayFromImage(borders[1]) > 0]
    return from_prediction, from_truth


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> float:
    """95th percentile Hausdorff distance in mm (larger of both directions); NaN where one of them is empty."""
    try:
        distances = surface_distances(prediction, truth, spacing)
    except InputError:
        return float("nan")
    return float(max(np.percentile(d, 95) for d in distances))


def average_surface_distance(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Mean of all border distances of both directions in mm; NaN where one of them is empty."""
    try:
        distances = surface_distances(prediction, truth, spacing)
    except InputError:
        return float("nan")
    return float(np.concatenate(distances).mean())


def _pair(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if prediction.shape != truth.shape:
        raise InputError(f"Segmentations to compare must lie on one grid, not {prediction.shape} and {truth.shape}.")
    return prediction, truth


def _border(array: np.ndarray, spacing: tuple[float, ...]) -> sitk.Image:
    # One voxel of padding, or an object that touches the array's edge would have no border there.
    image = sitk.GetImageFromArray(np.pad(array, 1).astype(np.uint8))
    image.SetSpacing(tuple(float(s) for s in spacing[: array.ndim]))
    return sitk.BinaryContour(image, fullyConnected=False)


def _distance_to(border: sitk.Image) -> np.ndarray:
    distance = sitk.SignedMaurerDistanceMap(border, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.abs(sitk.GetArrayFromImage(distance))
