"""Sensitivity: how readily a voxel is taken for a lesion, for the user to say.

A model ranks voxels well where its threshold does not fit: on persons of scanners that it never saw, lesions are drawn
too large or too small as a whole. Whole tumours of four BraTS studies have a Dice of .78 on average, .85 with what is
best for each; white-matter lesions of ms-19, .10 as the model has it, reach .53 with the odds 64 times as high
(training/benchmarks/results/quality-brats.json and quality-folds.json).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from ..systems.factors import Capabilities

LARGEST = 1024.0
"""Larger ones, or smaller ones than its inverse, would only say "everything" and "nothing"."""


@dataclass(frozen=True)
class Sensitivity:
    """Lesions are made more or less probable before anything is decided.

    Attributes:
        classes: class indices of the lesions; which lesion it is does not change.
        odds: those of a lesion against all else are so many times what the model says.
    """

    classes: tuple[int, ...]
    odds: float

    @classmethod
    def of(cls, capabilities: Capabilities, odds: float) -> Sensitivity | None:
        """For the findings of a model; None where nothing changes."""
        return None if odds == 1 or not capabilities.findings else cls(capabilities.findings, odds)

    def apply(self, probabilities: np.ndarray) -> None:
        """Change class probabilities (L, K, J, I), which add up to 1, in place."""
        share = probabilities[list(self.classes)].sum(axis=0)
        total = 1 + (self.odds - 1) * share
        for value in range(len(probabilities)):
            probabilities[value] *= (self.odds if value in self.classes else 1) / total


def checked(odds: Any) -> float:
    """A sensitivity that can be meant.

    Raises:
        InputError: it is no number from 1/1024 to 1024.
    """
    try:
        value = float(odds)
    except (TypeError, ValueError):
        value = math.nan
    if not 1 / LARGEST <= value <= LARGEST:
        raise InputError(
            f"The sensitivity cannot be {odds!r}; give a number from 1/1024 to 1024: above 1 for more lesions, below 1 "
            "for fewer."
        )
    return value
