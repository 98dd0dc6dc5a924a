"""What the sequences of a study show against their background, each found once."""

from __future__ import annotations

import threading

import numpy as np

from ..parallel import in_parallel
from ..progress import Progress
from ..study import Study
from .masks import head_mask, largest_filled, stripped_foreground


class Foregrounds:
    """Foregrounds by sequence, found when they are first asked for; several threads may ask.

    Args:
        study: one subject.
        own_slices: its images are stacks of slices: no brains, however black their background is.
        progress: reports and cancels.

    Attributes:
        stripped: the brains of skull-stripped sequences, bool (K, J, I), one array where brains are equal; None of
            other sequences.
    """

    def __init__(self, study: Study, own_slices: bool, progress: Progress) -> None:
        self.study = study
        self.stripped = dict.fromkeys(study.images) if own_slices else _stripped_brains(study, progress)
        self._found: dict[str, np.ndarray] = {}
        self._locks = {name: threading.Lock() for name in study.images}

    def of(self, sequence: str) -> np.ndarray:
        """The brain of a skull-stripped sequence, of others everything but air: bool (K, J, I)."""
        with self._locks[sequence]:
            if sequence not in self._found:
                stripped = self.stripped[sequence]
                self._found[sequence] = head_mask(self.study[sequence]) if stripped is None else stripped
            return self._found[sequence]


def _stripped_brains(study: Study, progress: Progress) -> dict[str, np.ndarray | None]:
    """See :attr:`Foregrounds.stripped`; equal brains are filled once."""

    def look(sequence: str, progress: Progress) -> np.ndarray | None:
        progress("mask", 0.0, f"looking at {sequence}")
        return stripped_foreground(study[sequence])

    names = list(study.images)
    found = in_parallel(look, names, progress)
    distinct: list[np.ndarray] = []
    place: dict[str, int] = {}
    for name, foreground in zip(names, found, strict=True):
        if foreground is not None:
            equal = (n for n, other in enumerate(distinct) if np.array_equal(foreground, other))
            place[name] = next(equal, len(distinct))
            distinct += [foreground] if place[name] == len(distinct) else []
    filled = in_parallel(lambda foreground, progress: largest_filled(foreground), distinct)
    return {name: filled[place[name]] if name in place else None for name in names}
