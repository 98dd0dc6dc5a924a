"""What the sequences of a study show against their background, each found once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import product

import numpy as np

from ..parallel import in_parallel
from ..progress import Progress
from ..study import Image, Study
from .masks import head_mask, largest_filled, stripped_foreground

_WHOLE = 0.8
"""A sequence that reaches less than this share of what another one does shows a part of the head. The shortest stack of
the ordinary studies in shared/data reaches 0.81."""
_HEAD_MM = 150.0
"""A field of view that is longer than this along an axis shows no more of a brain."""
_BRAIN_ML = 2000.0
"""What is larger is no brain that another one could be measured by."""
_CUT_MM2 = 7000.0
"""A brain of which more than this lies in one outer face of a volume is cut by it noticeably: of a ball of 1.4 litres a
twentieth lies beyond. The T1 of ms-long-01a cuts 5900 at the top and 2900 at the bottom, and 1.5 % of the brain."""
_BEYOND_MM = 10.0


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

    def partial(self) -> frozenset[str]:
        """Sequences that show noticeably less of the head than another one: the fields of view of whole heads are
        compared among each other, and so are the volumes of skull-stripped brains, whose images may be cut closely."""
        brains, views = {}, {}
        for name, image in self.study.images.items():
            stripped, voxel = self.stripped[name], np.prod(image.spacing)
            if stripped is None:
                extent = np.array(image.grid.size) * image.spacing
                views[name] = float(np.minimum(extent, _HEAD_MM).prod())
            elif (brain := float(stripped.sum() * voxel / 1000.0)) <= _BRAIN_ML:
                brains[name] = brain
        return frozenset(
            name for reach in (brains, views) for name in reach if reach[name] < _WHOLE * max(reach.values())
        )

    def beyond(self, mask: Image, sequence: str, matrices: Mapping[str, np.ndarray]) -> list[str]:
        """The sequences that go on where a mask is cut off by the border of its own volume.

        Args:
            mask: bool (K, J, I), in the space of ``sequence``.
            sequence: it is not among those returned.
            matrices: sequence -> (4, 4) points of the reference to its points, LPS mm.
        """
        cuts = _cuts(mask)
        if not len(cuts):
            return []
        back = np.linalg.inv(matrices[sequence])
        found = []
        for name in sorted(set(matrices) - {sequence}):
            there = self.study[name]
            moved = np.linalg.inv(there.affine) @ matrices[name] @ back
            for points in cuts:
                index = np.rint(points @ moved[:3, :3].T + moved[:3, 3]).astype(int)[:, ::-1]
                inside = ((index >= 0) & (index < there.array.shape)).all(axis=1)
                if inside.mean() > 0.5 and self.of(name)[tuple(index[inside].T)].sum() > 0.5 * len(points):
                    found.append(name)
                    break
        return found


def _cuts(mask: Image) -> list[np.ndarray]:
    """Points (N, 3), LPS mm, beyond each outer face of a volume (K, J, I) that cuts the mask, see :data:`_CUT_MM2`."""
    cuts, spacing = [], mask.spacing[::-1]
    for axis, end in product(range(3), (0, -1)):
        face = np.take(mask.array, end, axis=axis) > 0
        if face.sum() * np.prod(np.delete(spacing, axis)) > _CUT_MM2:
            outside = _BEYOND_MM / spacing[axis]
            at = -outside if end == 0 else mask.array.shape[axis] - 1 + outside
            index = np.insert(np.argwhere(face).astype(float), axis, at, axis=1)[:, ::-1]
            cuts.append(index @ mask.affine[:3, :3].T + mask.affine[:3, 3])
    return cuts


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

    def fill(foreground: np.ndarray, progress: Progress) -> np.ndarray:
        progress("mask", 0.0, "filling what was found")
        return largest_filled(foreground)

    filled = in_parallel(fill, distinct, progress)
    return {name: filled[place[name]] if name in place else None for name in names}
