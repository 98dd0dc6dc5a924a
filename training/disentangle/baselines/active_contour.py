"""Active contour: the copied contours moved by the target image (Chartsias et al., section IV-B; method-spec 2e).

The paper names three parameters (length, smoothness, step) but neither equations nor software. Here: Chan and Vese's
contours without edges (2001) as level sets, each structure on its own ("non-coupled"), with regions that are compared
in a band around the copied contour, since the whole image holds more than two intensities. An approximation.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

PARAMETERS = {"ERI": (0.5, 0.15, 0.7), "BOLD": (0.01, 0.15, 0.7), "CHAOS": (0.5, 0.15, 0.7)}
"""Length, smoothness and step that the paper found by grid search."""
_ITERATIONS = 60
_REDISTANCE_EVERY = 5


def refined(
    source: np.ndarray,
    labels: np.ndarray,
    target: np.ndarray,
    length: float = 0.5,
    smoothness: float = 0.15,
    step: float = 0.7,
    band: float = 8.0,
) -> np.ndarray:
    """Labels (H, W) of the target: those of the source, their contours moved to where its regions part.

    Args:
        source: image (H, W) of the source; the method does not look at it.
        labels: (H, W) of the source, 0 the background.
        target: image (H, W).
        length: weight of the contour's length against the regions.
        smoothness: share of its Laplacian that the level-set function takes up in every iteration.
        step: pixels per iteration at full force.
        band: contours move at most this many pixels.

    Returns:
        Labels of the same type; where structures meet, a pixel goes to the one that it lies deepest in.
    """
    image = ndimage.gaussian_filter(np.asarray(target, np.float64), 1.0)
    values = [v for v in np.unique(labels) if v]
    if not values or np.ptp(image) == 0:
        return labels.copy()
    depth = np.stack([_evolved(image, labels == v, length, smoothness, step, band) for v in values])
    best = depth.argmax(axis=0)
    return np.where(depth.max(axis=0) > 0, np.asarray(values, labels.dtype)[best], 0).astype(labels.dtype)


def _evolved(
    image: np.ndarray, start: np.ndarray, length: float, smoothness: float, step: float, band: float
) -> np.ndarray:
    """Signed distance (H, W), positive inside, of a structure after the evolution."""
    depth = _signed_distance(start)
    near = np.abs(depth) <= band
    if not (near & (depth <= 0)).any():
        return depth
    scale = max(float(image[near].var()), 1e-12)
    for iteration in range(1, _ITERATIONS + 1):
        inside, outside = near & (depth > 0), near & (depth <= 0)
        if not inside.any() or not outside.any():
            break
        regions = (image - image[outside].mean()) ** 2 - (image - image[inside].mean()) ** 2
        force = np.clip(regions / scale + length * _curvature(depth), -1, 1)
        front = 1 / (1 + depth**2)
        depth = depth + np.where(near, step * front * force + smoothness * front * ndimage.laplace(depth), 0)
        if iteration % _REDISTANCE_EVERY == 0 and (depth > 0).any():
            depth = _signed_distance(depth > 0)
    return depth


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Distance of pixel centres to the contour in pixels, positive inside."""
    within, beyond = ndimage.distance_transform_edt(inside), ndimage.distance_transform_edt(~inside)
    return np.where(inside, within - 0.5, 0.5 - beyond)


def _curvature(depth: np.ndarray) -> np.ndarray:
    """Divergence of the unit gradient: negative where the contour bulges outwards."""
    rows, columns = np.gradient(depth)
    size = np.hypot(rows, columns) + 1e-6
    return np.gradient(rows / size, axis=0) + np.gradient(columns / size, axis=1)
