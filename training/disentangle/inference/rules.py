"""The rules that a bundle states for its findings and its images, and the user's own, followed after the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .coherence import Coherence
from .detail import Detail
from .islands import Islands
from .sensitivity import Sensitivity


@dataclass(frozen=True)
class Rules:
    """Of findings: the sensitivity that the user wants first, then coherence between slices, then small pieces. Of
    synthesised images: their detail. Each may be None."""

    coherence: Coherence | None = None
    islands: Islands | None = None
    detail: Detail | None = None
    sensitivity: Sensitivity | None = None

    @classmethod
    def of_card(cls, card: dict[str, Any]) -> Rules:
        """Those that a bundle states."""
        return cls(Coherence.of_card(card), Islands.of_card(card), Detail.of_card(card))

    def follow(
        self,
        probabilities: np.ndarray,
        mask: np.ndarray,
        spacing: tuple[float, float, float],
        slab: bool = False,
    ) -> float:
        """Change class probabilities (L, K, J, I) in place; ml of small pieces that were taken away.

        Args:
            mask: bool (K, J, I). spacing: (i, j, k) in mm.
            slab: these are some adjacent slices of a volume.
        """
        if self.sensitivity is not None:
            self.sensitivity.apply(probabilities)
        if self.coherence is not None:
            self.coherence.apply(probabilities, mask, spacing)
        if self.islands is None:
            return 0.0
        return self.islands.suppress(probabilities, float(np.prod(spacing)), slab)
