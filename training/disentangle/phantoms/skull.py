"""A simple head around the brain: fluid, dura, bone with marrow, muscle and scalp in shells."""

from __future__ import annotations

import numpy as np

from .anatomy import Anatomy
from .randomness import grid_noise, sigmoid

HEAD_MM = 18.0
"""Room that the head needs around the brain."""


def add_head(rng: np.random.Generator, anatomy: Anatomy) -> dict[str, np.ndarray]:
    """The anatomy's tissues with those of the head added; fractions sum to at most 1, the rest is air."""
    grid = anatomy.grid
    outside = -anatomy.depth + 0.8 * grid_noise(rng, grid, 25.0)
    fluid_mm = rng.uniform(0.5, 1.5)
    bone_mm = rng.uniform(4.0, 7.5) * np.exp(0.2 * grid_noise(rng, grid, 30.0))
    scalp_mm = rng.uniform(3.0, 6.0) * np.exp(0.25 * grid_noise(rng, grid, 25.0))
    bone_start = fluid_mm + 1.0

    def between(low, high):
        return sigmoid((outside - low) / 0.3) * sigmoid((high - outside) / 0.3)

    z = anatomy.position[2]
    temporal = sigmoid((np.abs(anatomy.position[0]) - 45) / 4) * sigmoid((25 - z) / 6)
    marrow = between(bone_start + 0.3 * bone_mm, bone_start + 0.7 * bone_mm) * rng.uniform(0.5, 1.0)
    flesh = between(bone_start + bone_mm, bone_start + bone_mm + scalp_mm)
    head = {
        "csf": between(-99.0, fluid_mm),
        "dura": between(fluid_mm, bone_start) * 0.8,
        "bone": between(bone_start, bone_start + bone_mm) * (1 - marrow),
        "marrow": between(bone_start, bone_start + bone_mm) * marrow,
        "scalp": flesh * (1 - 0.8 * temporal),
        "muscle": flesh * 0.8 * temporal,
    }
    total = np.maximum(sum(head.values()), 1)
    tissues = dict(anatomy.tissues)
    for name, fraction in head.items():
        added = np.where(anatomy.inside, 0, fraction / total).astype(np.float32)
        tissues[name] = tissues[name] + added if name in tissues else added
    return tissues
