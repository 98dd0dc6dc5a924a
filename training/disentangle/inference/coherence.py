"""Coherence: a finding is decided as one, in three dimensions, although a network sees a few slices at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..preprocessing.smoothing import smooth

_LEAST = 0.02
"""Voxels where a finding is less probable than this stay as they are: most of a brain, and most of the time."""


@dataclass(frozen=True)
class Coherence:
    """Which classes are decided together.

    Where one finding has several classes, its probability is split among them, and the most probable class may be
    healthy although a finding is more probable than not; and what a network says of a slice does not know the slices
    beyond its slab. So the probability of all classes together is averaged over the neighbourhood; where it is above
    one half, the most probable class of the finding is chosen, elsewhere that of the others.

    Attributes:
        classes: class indices that together are one finding, such as all lesions.
        sigma_mm: standard deviation of the Gaussian neighbourhood, in mm.
    """

    classes: tuple[int, ...]
    sigma_mm: float

    @classmethod
    def of_card(cls, card: dict[str, Any]) -> Coherence | None:
        """The rule that a bundle states, or None."""
        rule = card.get("coherence")
        return None if rule is None else cls(tuple(rule["classes"]), float(rule["sigma_mm"]))

    def apply(self, probabilities: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float]) -> None:
        """Change probabilities in place so that the most probable class is the one that the rule chooses.

        With f the averaged probability of the finding, a class of the finding gets f times its probability over that
        of the finding's best class, another class likewise (1 - f) times; then they are made to add up to 1.

        Args:
            probabilities: float (L, K, J, I).
            mask: bool (K, J, I); voxels outside have no say, and stay as they are.
            spacing: of the voxels (i, j, k), in mm.
        """
        finding = list(self.classes)
        others = [n for n in range(len(probabilities)) if n not in finding]
        mass = np.where(mask, probabilities[finding].sum(axis=0), 0.0).astype(np.float32)
        if mass.max(initial=0.0) < _LEAST:
            return
        variance = [(self.sigma_mm / size) ** 2 for size in spacing[::-1]]
        averaged = smooth(mass, variance) / np.maximum(smooth(mask.astype(np.float32), variance), _LEAST)
        changed = mask & (np.maximum(averaged, mass) >= _LEAST)
        share, values = np.clip(averaged[changed], 0.0, 1.0), probabilities[:, changed]
        for group, part in ((finding, share), (others, 1.0 - share)):
            values[group] *= part / np.maximum(values[group].max(axis=0), 1e-12)
        probabilities[:, changed] = values / values.sum(axis=0)
