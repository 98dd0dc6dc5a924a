"""Subjects for tests of training and evaluation: balls of three tissues with opposite contrast in T1 and T2."""

from __future__ import annotations

import numpy as np

from disentangle.datasets.volumes import Subject
from disentangle.learning.data import Data

SMALLEST = {"sequences": ["T1", "T2"], "width": 0.05, "decoder_hidden": 16, "head_channels": [4, 4], "pool_size": 8}
"""The section system of a MarginDis that learns balls in a moment."""


def ball(seed: int, source: str = "phantom") -> Subject:
    """A ball of three tissues with opposite contrast in T1 and T2, in (8, 30, 28) voxels."""
    k, j, i = np.mgrid[:8, :30, :28]
    radius = ((k - 3.5) / 5) ** 2 + ((j - 15) / 14) ** 2 + ((i - 14 - 0.2 * seed) / 12) ** 2
    mask = radius < 1
    labels = np.where(mask, 1 + (radius < 0.6) + (radius < 0.2), 0).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(0, 0.05, mask.shape)
    images = {
        "T1": np.array([0, -1, 0, 1.5])[labels] + noise,
        "T2": np.array([0, 1.5, 0.3, -1])[labels] - noise,
    }
    images = {s: np.where(mask, a, 0).astype(np.float16) for s, a in images.items()}
    return Subject(f"s{seed}", f"s{seed}", images, mask, labels, (1.5,) * 3, source, {"seed": seed})


def load_balls(config, progress) -> Data:
    return Data([ball(n) for n in range(4)], [ball(n) for n in (8, 9)])
