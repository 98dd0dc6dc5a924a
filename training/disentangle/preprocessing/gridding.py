"""The working grid, and the sequences of a study on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..parallel import in_parallel
from ..progress import Progress
from ..study import Grid, Image, Study
from .config import PreprocessingConfig
from .prepared import Step
from .resampling import coverage, resample_part

_LITTLE = 0.05
"""Voxels with less brain than this show none."""
_ENOUGH = 0.5
"""A sequence whose slice shows less than this share of what its slices usually show of the mask is not read there:
more of what a network would say about it came from black than from anatomy. Measured by what is usual, since the whole
stack may have a smaller field of view than the mask and still show all that matters."""
_RIM = 0.02
"""Share of the mask that may be missing without notice: the rims of brains that were stripped each by itself."""


def grid_around(
    mask: Image, axes: np.ndarray, matrix: np.ndarray, stack: Grid, config: PreprocessingConfig
) -> tuple[Grid, np.ndarray]:
    """The grid around a mask, and how much of each of its voxels the mask covers.

    Args:
        mask: bool (K, J, I).
        axes: (3, 3) columns, those of the grid, in the space of the reference.
        matrix: (4, 4) points of the reference to points of the mask's space, LPS mm.
        stack: of the reference; with ``config.own_slices`` it sets the distance of the slices.

    Raises:
        InputError: the mask fills no voxel.
    """
    spacing, margin = np.array(config.spacing), np.full(3, config.margin_mm)
    if config.own_slices:
        spacing[2], margin[2] = stack.spacing[np.abs(axes[:, 2] @ stack.direction).argmax()], 0.0
    index = _ends_of_rows(mask.array)
    points = index @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    inverse = np.linalg.inv(matrix)
    along = (points @ inverse[:3, :3].T + inverse[:3, 3]) @ axes
    low, high = along.min(axis=0) - margin, along.max(axis=0) + margin
    # Where the extent is a whole number of voxels, rounding errors must not add one.
    size = np.ceil((high - low) / spacing - 1e-6).astype(int) + 1
    size[:2] = -(-size[:2] // config.size_multiple) * config.size_multiple
    origin = (low + high) / 2 - (size - 1) * spacing / 2
    # In step with the input's voxels: where spacing and axes agree, resampling then changes nothing.
    phase = (inverse[:3, :3] @ mask.affine[:3, 3] + inverse[:3, 3]) @ axes
    origin = phase + np.round((origin - phase) / spacing) * spacing
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ origin
    grid = Grid(tuple(int(n) for n in size[::-1]), affine)
    share = resample_part(mask, grid, matrix, mask.array)
    if not (share >= 0.5).any():
        raise InputError("The brain is thinner than the working grid; check that the image shows a whole brain.")
    return grid, share


def _ends_of_rows(mask: np.ndarray) -> np.ndarray:
    """(N, 3) indices (i, j, k) of the first and last voxel of every row: enough to bound a mask along any axes."""
    k, j = np.nonzero(mask.any(axis=2))
    rows = mask[k, j]
    first, last = rows.argmax(axis=1), mask.shape[2] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([i, j, k], axis=1) for i in (first, last)])


@dataclass(frozen=True, eq=False)
class OnGrid:
    """Sequences on the working grid.

    Attributes:
        values: sequence -> intensities, float32 (K, J, I).
        seen: sequence -> where it has some inside the mask, bool (K, J, I).
        shown: see :attr:`.prepared.PreparedStudy.shown`.
        partial: sequences that cover noticeably less than the mask.
        steps, warnings: for the record.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    seen: dict[str, np.ndarray] = field(default_factory=dict)
    shown: dict[str, np.ndarray] = field(default_factory=dict)
    partial: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Gridding:
    """Resamples the sequences of a study, each once.

    Args:
        study: one subject.
        matrices: sequence -> (4, 4) points of the reference to its points, LPS mm; the reference comes first.
        stripped: see :attr:`.foregrounds.Foregrounds.stripped`.
        grid: the working grid.
        mask: bool (K, J, I) on it.
        part: what the mask covers, for messages.
    """

    def __init__(
        self,
        study: Study,
        matrices: Mapping[str, np.ndarray],
        stripped: Mapping[str, np.ndarray | None],
        grid: Grid,
        mask: np.ndarray,
        part: str,
    ) -> None:
        self.study, self.matrices, self.stripped = study, matrices, stripped
        self.grid, self.mask, self.part = grid, mask, part

    def resample(self, known: Mapping[str, np.ndarray], progress: Progress) -> OnGrid:
        """All sequences on the grid.

        Args:
            known: how much of each voxel is brain, of skull-stripped sequences of which that is known already.
            progress: reports and cancels.

        Raises:
            InputError: a sequence shows nothing of the mask.
            Cancelled: the user asked to stop.
        """
        names, result = list(self.study.images), OnGrid()
        shares = self._shares(known, progress.part(0.0, 0.4))

        def one(sequence: str, progress: Progress) -> tuple[np.ndarray, np.ndarray, float]:
            started = time.perf_counter()
            progress("resample", 0.0, sequence)
            values, seen = self._on_grid(sequence, shares.get(sequence))
            return values, seen, time.perf_counter() - started

        found = in_parallel(one, names, progress.part(0.4, 1.0))
        for sequence, (values, seen, seconds) in zip(names, found, strict=True):
            result.values[sequence], result.seen[sequence] = values, seen
            covered = float(seen.sum() / self.mask.sum())
            if covered < 0.01:
                raise InputError(
                    f"{sequence} does not show {self.part} that {next(iter(self.matrices))} shows; check that both are "
                    "of the same subject and part of the body, or leave one out."
                )
            if covered < 1.0:
                self._note_what_lacks(sequence, covered, result)
            result.steps.append(Step("resample", sequence, {"covered": round(covered, 4)}, round(seconds, 3)))
        return result

    def _note_what_lacks(self, sequence: str, covered: float, result: OnGrid) -> None:
        """Record, and warn of, what one sequence does not show of the mask."""
        shown, told = slices_shown(result.seen[sequence], self.mask), ""
        if shown is not None and len(self.study.images) > 1:
            result.shown[sequence] = shown
            there = self.mask.any(axis=(1, 2))
            if self.mask[~shown].sum() > _RIM * self.mask.sum():
                told = f"it is left out of {(there & ~shown).sum()} of {there.sum()} slices"
        elif covered < 0.8:
            told = "the rest is read as background"
        if covered < 1.0 - _RIM:
            result.partial.append(sequence)
        if told:
            result.warnings.append(f"{sequence} covers only {covered:.0%} of {self.part}; {told}.")

    def _on_grid(self, sequence: str, share: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Intensities of one sequence, and where there are some inside the mask."""
        image, matrix = self.study[sequence], self.matrices[sequence]
        seen = self.mask & coverage(image.grid, self.grid, matrix)
        if share is None:
            return resample_part(image, self.grid, matrix), seen
        # Weighted by the brain: its rim must not blend into a background of 0 or, after a z-score, of -4.
        values = resample_part(image, self.grid, matrix, self.stripped[sequence])
        values /= np.maximum(share, _LITTLE)
        return values, seen & (share > _LITTLE)

    def _shares(self, known: Mapping[str, np.ndarray], progress: Progress) -> dict[str, np.ndarray]:
        """Sequence -> how much of each voxel is brain, of those that are skull-stripped; equal ones are resampled
        once."""
        stripped = [name for name in (*known, *self.study.images) if self.stripped[name] is not None]
        owners = {name: next(other for other in stripped if self._same_brain(other, name)) for name in stripped}
        distinct = [name for name in dict.fromkeys(owners.values()) if name not in known]

        def one(sequence: str, progress: Progress) -> np.ndarray:
            progress("resample", 0.0, sequence)
            brain = self.stripped[sequence]
            return resample_part(self.study[sequence].with_array(brain), self.grid, self.matrices[sequence], brain)

        found = {**known, **dict(zip(distinct, in_parallel(one, distinct, progress), strict=True))}
        return {name: found[owner] for name, owner in owners.items()}

    def _same_brain(self, a: str, b: str) -> bool:
        """Whether two skull-stripped sequences have one mask at one place."""
        return (
            self.study[a].grid.same_as(self.study[b].grid)
            and np.array_equal(self.matrices[a], self.matrices[b])
            and self.stripped[a] is self.stripped[b]
        )


def slices_shown(seen: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The slices of a mask of which a sequence shows enough to be read, see :data:`_ENOUGH`.

    Args:
        seen: bool (K, J, I), where it has intensities inside the mask, which is somewhere.
        mask: bool (K, J, I).

    Returns:
        bool (K,), True also of slices without mask; None where no slice lacks.
    """
    area = mask.sum(axis=(1, 2))
    share = seen.sum(axis=(1, 2)) / np.maximum(area, 1)
    shown = (share >= _ENOUGH * np.median(share[share > 0])) | (area == 0)
    return None if shown.all() else shown
