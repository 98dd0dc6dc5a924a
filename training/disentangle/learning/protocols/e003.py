"""Chartsias et al. (MMSDNet): table 1 (method-spec, section 4)."""

from __future__ import annotations

import numpy as np

from ...metrics.overlap import slice_dice
from .e001 import UnregisteredSegmentation


class MultimodalDecomposition(UnregisteredSegmentation):
    """Table 1: Dice per structure and of all jointly ("avg"), by the fraction of the target's annotations."""

    paper = "E003"

    def slice_scores(self, found: np.ndarray, truth: np.ndarray, target: str) -> dict[str, float]:
        names = {v: self.chosen["short"].get(n, n) for v, n in enumerate(self.class_names()) if v}
        scores = {f"{target} {n}": 100 * slice_dice((found == v) * 1, (truth == v) * 1) for v, n in names.items()}
        return scores | {f"{target} avg": 100 * slice_dice(found, truth)}
