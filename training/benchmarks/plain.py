"""The plain settings of preprocessing, as it was before anything of it was made fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk

from disentangle import parallel
from disentangle.preprocessing import registration, resampling, similarity


class Share(float):
    """A share of the points that there are, where a number of them is asked for."""

    def __truediv__(self, number: float) -> float:
        return float(self)


SAMPLES: Mapping[float, Share] = {8.0: Share(1.0), 4.0: Share(0.5), 2.0: Share(0.15)}
"""Level of the pyramid in mm -> how many of its points the metric takes: some 10,000 to 70,000 of a head."""
POINTS = 4000
"""Of the metric of the search for a start."""
SETTINGS = {
    "share of points of the metric": {f"{mm:g} mm": float(share) for mm, share in SAMPLES.items()},
    "points of the search for a start": POINTS,
    "sequences at once": 1,
    "registration beside the search for the mask": False,
    "smoothing before resampling": "SimpleITK.DiscreteGaussian",
    "brain": "surface and atlas, no network",
    "bias field": "as the bundle asks (brain-mr: none), shrunk to 6 mm in both",
    "as today": "pyramids of block means, each made once; full resolution in neither",
}
"""What :func:`plain_settings` is, for reports; what is as today makes the plain settings faster than they were."""


def discrete_gaussian(array: np.ndarray, variance: tuple[float, float, float]) -> np.ndarray:
    """As :func:`disentangle.preprocessing.smoothing.smooth`: (K, J, I), variances along (k, j, i) in voxels squared."""
    image = sitk.GetImageFromArray(array)
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, [float(v) for v in variance[::-1]], 32, 0.01, False))


@contextmanager
def plain_settings() -> Iterator[None]:
    """Everything that is prepared or registered inside is so with the plain settings."""
    with ExitStack() as stack:
        for where, name, value in (
            (registration, "_SAMPLES", SAMPLES),
            (similarity, "_POINTS", POINTS),
            (resampling, "smooth", discrete_gaussian),
            (parallel, "cores", lambda: 1),
        ):
            stack.enter_context(patch.object(where, name, value))
        yield
