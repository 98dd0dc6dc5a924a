"""Frechet distance between two sets of images: how alike their distributions look, pair by pair or not.

Published FIDs take features of Inception-v3 or, better for grey images, of RadImageNet; both are downloads of weights
under licences of their own, so the default here is a network with fixed random weights. Such features tell textures,
edges and contrast at several scales (Naeem et al., ICML 2020, "Reliable fidelity and diversity metrics", take a random
VGG16 where ImageNet does not fit), but the numbers can be compared with each other only, never with a printed FID.
:func:`frechet_distance` takes features of any network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

CHANNELS = (8, 16, 24)
"""Maps of the levels of the random network."""
FEATURES = 2 * sum(CHANNELS)
_SEED = 20


def frechet_distance(one: np.ndarray, two: np.ndarray) -> float:
    """Squared Frechet distance of two normal distributions fitted to features (Heusel et al. 2017).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); biased upwards where there are not many more samples than features.

    Args:
        one, two: (n, D) and (m, D), two samples or more each.
    """
    one, two = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (one, two))
    if min(len(one), len(two)) < 2 or one.shape[1] != two.shape[1]:
        raise ValueError(f"features of shapes {one.shape} and {two.shape} cannot be compared")
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (one, two))
    # tr((C1 C2)^(1/2)) by a symmetric matrix of the same eigenvalues, which needs no complex root.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    gap = float(((one.mean(axis=0) - two.mean(axis=0)) ** 2).sum())
    return max(gap + float(np.trace(first) + np.trace(second) - 2 * mixed), 0.0)


def random_features(slices: np.ndarray) -> np.ndarray:
    """Features (n, :data:`FEATURES`) of grey slices (n, H, W) in [-1, 1], by a network that is the same everywhere.

    Three levels of a 3 x 3 convolution with random filters of unit length, rectification and pooling to half the size;
    of every map its mean and its standard deviation over the slice. Filters of the first level sum to 0, but for one
    that keeps the intensity, so that contrast and edges do not drown in brightness.
    """
    with torch.inference_mode():
        maps = torch.from_numpy(np.ascontiguousarray(slices, np.float32))[:, None]
        found = []
        for weights in _filters():
            maps = F.relu(F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), weights))
            found += [maps.mean((2, 3)), maps.std((2, 3))]
            maps = F.avg_pool2d(maps, 2) if min(maps.shape[-2:]) >= 4 else maps
        return torch.cat(found, dim=1).numpy()


def fid(real: Sequence[np.ndarray], made: Sequence[np.ndarray]) -> float:
    """Frechet distance of :func:`random_features` of real and made slices, lists of (n, H, W) in [-1, 1]."""
    return frechet_distance(*(np.concatenate([random_features(x) for x in images]) for images in (real, made)))


def _filters() -> list[torch.Tensor]:
    """Weights (out, in, 3, 3) of each level."""
    random = np.random.RandomState(_SEED)  # the stream of a RandomState never changes between versions of numpy
    filters, inputs = [], 1
    for level, outputs in enumerate(CHANNELS):
        weights = random.standard_normal((outputs, inputs * 9))
        if not level:
            weights -= weights.mean(axis=1, keepdims=True)
            weights[0] = 1.0
        size = np.linalg.norm(weights, axis=1, keepdims=True)
        filters.append(torch.from_numpy((weights / size).reshape(outputs, inputs, 3, 3).astype(np.float32)))
        inputs = outputs
    return filters
