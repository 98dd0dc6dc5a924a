"""Register: labels of the paired slice carried over by registration (Chartsias et al., section IV-B; method-spec 2e).

Affine by mutual information, then a dense field by cross-correlation, as in the paper. Its second stage is the
symmetric diffeomorphic one of ANTs; SimpleITK has that stage's metric (neighbourhood correlation) and its smoothing of
update and total field, but moves one image only: the documented fallback.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

_RADIUS = 4
"""Of the neighbourhood whose correlation is taken, in pixels."""
_SMOOTHING = {"varianceForUpdateField": 3.0, "varianceForTotalField": 0.0}
"""As of ANTs' SyN: updates are smoothed, the field is not."""


def registered(source: np.ndarray, labels: np.ndarray, target: np.ndarray, deformable: bool = True) -> np.ndarray:
    """Labels (H, W) of the target: those of the source, moved as its image must be to fit.

    Args:
        source, target: images (H, W) on pixels of one size, any contrast.
        labels: (H, W) of the source, 0 the background.
        deformable: whether the dense stage follows the affine one.

    Returns:
        Labels of the same type; the copy where an image shows nothing to register.
    """
    if min(np.ptp(source), np.ptp(target)) == 0:
        return labels.copy()
    fixed, moving = (sitk.GetImageFromArray(_scaled(image)) for image in (target, source))
    transform = _affine(fixed, moving)
    if deformable:
        transform = _dense(fixed, moving, transform)
    found = sitk.Resample(sitk.GetImageFromArray(labels), fixed, transform, sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(found)


def _affine(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """From points of the fixed image to those of the moving one."""
    centre = [(n - 1) / 2 for n in fixed.GetSize()]
    method = _pyramid([4, 2, 1])
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInitialTransform(sitk.AffineTransform([1, 0, 0, 1], [0, 0], centre), inPlace=False)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 80, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    return method.Execute(fixed, moving)


def _dense(fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform) -> sitk.Transform:
    """The affine transform followed by a field of displacements."""
    size = fixed.GetSize()
    field = sitk.DisplacementFieldTransform(sitk.Image(size, sitk.sitkVectorFloat64, 2))
    field.SetSmoothingGaussianOnUpdate(**_SMOOTHING)
    method = _pyramid([2, 1])
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(field, inPlace=True)
    method.SetMetricAsANTSNeighborhoodCorrelation(_RADIUS)
    method.SetOptimizerAsGradientDescent(learningRate=1.0, numberOfIterations=20, convergenceMinimumValue=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.Execute(fixed, moving)
    return sitk.CompositeTransform([affine, field])


def _pyramid(shrink: list[int]) -> sitk.ImageRegistrationMethod:
    """A method with these levels, single-threaded: sums in one order, hence equal results in every run."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([factor // 2 for factor in shrink])
    return method


def _scaled(image: np.ndarray) -> np.ndarray:
    """Intensities in [0, 1], the tails of 1 % cut."""
    low, high = np.percentile(image, [1, 99])
    return ((image - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)
