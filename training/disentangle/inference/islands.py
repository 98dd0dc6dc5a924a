"""Islands: small pieces of a finding that lie apart from its main part, and that a network tends to invent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from .labels import most_probable


@dataclass(frozen=True)
class Islands:
    """Which pieces go.

    Attributes:
        classes: class indices that together are one finding, such as the parts of a tumour.
        share: pieces smaller than this share of the largest one go.
        ml: pieces smaller than this go, the largest one too.
    """

    classes: tuple[int, ...]
    share: float
    ml: float

    @classmethod
    def of_card(cls, card: dict[str, Any]) -> Islands | None:
        """The rule that a bundle states, or None."""
        rule = card.get("islands")
        return None if rule is None else cls(tuple(rule["classes"]), float(rule["share"]), float(rule["ml"]))

    def suppress(self, probabilities: np.ndarray, voxel_mm3: float, slab: bool = False) -> float:
        """Take the islands' classes away: their voxels go to the most probable other class. In place.

        Args:
            probabilities: float (L, K, J, I); where the classes of the finding had all, the background gets it.
            voxel_mm3: volume of a voxel.
            slab: these are some adjacent slices of a volume: only what is an island for certain goes.

        Returns:
            What was taken away, in ml.
        """
        gone = self.among(most_probable(probabilities), voxel_mm3, slab)
        if not gone.any():
            return 0.0
        values = probabilities[:, gone]
        values[list(self.classes)] = 0.0
        total = values.sum(axis=0)
        values[0, total <= 0] = 1.0
        probabilities[:, gone] = values / np.where(total > 0, total, 1.0)
        return float(gone.sum()) * voxel_mm3 / 1000.0

    def among(self, labels: np.ndarray, voxel_mm3: float, slab: bool = False) -> np.ndarray:
        """(K, J, I) bool: the islands among class indices (K, J, I). Pieces are joined by faces, edges and corners.

        Those of a slab are islands of the volume, too: pieces that reach its first or last slice may go on beyond, and
        the volume's largest piece is at least as large as the slab's.
        """
        found = np.isin(labels, self.classes)
        joined = sitk.ConnectedComponent(sitk.GetImageFromArray(found.astype(np.uint8)), True)
        pieces = sitk.GetArrayViewFromImage(joined)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        small = sizes < max(self.share * sizes.max(), 1000.0 * self.ml / voxel_mm3)
        if slab:
            small[np.unique(pieces[[0, -1]])] = False
        return small[pieces] & found
