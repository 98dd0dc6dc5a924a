"""From the sequences of a study, each in its own geometry, to normalised volumes on one working grid."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import numpy as np

from ..errors import InputError
from ..parallel import in_parallel
from ..progress import Progress
from ..study import Grid, Study
from . import normalization
from .bias import bias_field
from .config import PreprocessingConfig
from .finding import BrainFinder, FoundMask, MaskSearch
from .foregrounds import Foregrounds
from .gridding import Gridding, OnGrid, grid_around
from .laying import Overlay
from .memory import Memory
from .planes import plane_grid_of, turned_grid, upright
from .prepared import PreparedStudy, Step
from .registration import nearest_rotation
from .resampling import canonical_axes, slice_axes, transform_of

PREFERRED = ("T1", "T1Gd", "FLAIR", "T2", "PD")
"""References in this order, between images of equal resolution."""


def prepare(
    study: Study,
    config: PreprocessingConfig | None = None,
    reference: str | None = None,
    progress: Progress | None = None,
    memory: Memory | None = None,
    find_brain: BrainFinder | None = None,
) -> PreparedStudy:
    """Register, mask, turn, crop, resample and normalise a study.

    Every sequence is resampled once, from its own geometry to the working grid, through the composed transform. The
    result depends neither on the order of the inputs nor on the order in which their voxels are stored.

    Args:
        study: one subject.
        config: what the bundle asks for; None takes the defaults.
        reference: the sequence that the others are registered to; None chooses.
        progress: reports and cancels.
        memory: what earlier runs found about the same images (registrations, poses, masks) is taken from it, and what
            this one finds is put there; None searches anew.
        find_brain: finds the brain in whole heads without a mask, bool (K, J, I), or None where it cannot; this room
            knows no networks. Without it, or without an answer, the surface of :mod:`.surface` is taken.

    Raises:
        InputError: no overlap, no brain, a constant image, an unknown reference.
        Cancelled: the user asked to stop.
    """
    if reference is not None and reference not in study:
        raise InputError(f"The reference {reference} is not in the study; it has {', '.join(study.available)}.")
    memory = Memory() if memory is None else memory
    config, progress = config or PreprocessingConfig(), progress or Progress()
    given, study = study, upright(study)
    foregrounds = Foregrounds(study, config.own_slices, progress.part(0.0, 0.0))
    brains = config.mask == "auto" and not config.own_slices
    reference = reference or choose_reference(study, foregrounds.partial() if brains else ())
    overlay = Overlay(study, reference, config, foregrounds.of, memory)
    search = MaskSearch(study, config, reference, foregrounds, memory, find_brain)
    # Neither needs the other, and the search for the pose keeps one core busy only.
    laid, found = in_parallel(
        lambda step, progress: step(progress), (overlay.lay_all, search.find), progress.part(0.0, 0.8)
    )
    matrices = {reference: np.eye(4), **{sequence: one.matrix for sequence, one in laid.items()}}
    grid, share = _working_grid(study[reference].grid, config, found, matrices[found.sequence])
    mask, part = share >= 0.5, "the brain" if config.mask == "auto" else "the part"
    cut = _cut_warning(found, foregrounds, matrices) if brains and not found.given else None
    known = {found.sequence: share} if found.mask.array is foregrounds.stripped[found.sequence] else {}
    gridding = Gridding(study, matrices, foregrounds.stripped, grid, mask, part)
    on_grid = gridding.resample(known, progress.part(0.8, 0.95))
    prepared = PreparedStudy(
        study=given,
        config=config,
        reference=reference,
        grid=grid,
        images={},
        mask=mask,
        labels=None,
        transforms={s: transform_of(matrices[s]) for s in study.available},
        normalization={},
        bias={},
        steps=[*(one.step for one in laid.values()), *found.steps, *on_grid.steps],
        warnings=[*study.warnings, *filter(None, (*(one.warning for one in laid.values()), cut)), *on_grid.warnings],
        shown=on_grid.shown,
        seen={sequence: on_grid.seen[sequence] for sequence in on_grid.partial},
    )
    _normalize(prepared, on_grid, progress.part(0.95, 1.0))
    if study.labels is not None:
        prepared.labels = prepared.to_grid(study.labels, "nearest").astype(np.int16)
    for sequence, labels in study.sequence_labels.items():
        if sequence in study:
            own = prepared.to_grid(labels, "nearest", sequence)
            prepared.sequence_labels[sequence] = own.astype(np.int16)
    progress("normalize", 1.0, "the study is prepared")
    return prepared


def choose_reference(study: Study, partial: Collection[str] = ()) -> str:
    """The sequence with the finest worst axis; between equals one with a mask of its own, then :data:`PREFERRED`.

    Args:
        study: one subject.
        partial: sequences that show a part of the head only: what they lack would be missing from all results. They
            come last.
    """

    def key(sequence: str) -> tuple:
        image = study[sequence]
        rank = PREFERRED.index(sequence) if sequence in PREFERRED else len(PREFERRED)
        return sequence in partial, round(float(image.spacing.max()) * 2), sequence not in study.masks, rank, sequence

    return min(study.available, key=key)


def _cut_warning(found: FoundMask, foregrounds: Foregrounds, matrices: Mapping[str, np.ndarray]) -> str | None:
    """A sentence where the brain ends with the volume that it was found in, though another sequence shows more."""
    others = foregrounds.beyond(found.mask, found.sequence, matrices)
    if not others:
        return None
    return (
        f"The brain is cut off where {found.sequence} ends, though {others[0]} goes on there: the rest is missing from "
        f"all results; leave {found.sequence} out, or give one that shows the whole brain."
    )


def _working_grid(
    stack: Grid, config: PreprocessingConfig, found: FoundMask, matrix: np.ndarray
) -> tuple[Grid, np.ndarray]:
    """The working grid, and how much of each of its voxels the mask covers.

    Args:
        stack: the grid of the reference.
        matrix: (4, 4) points of the reference to points of the mask's space, LPS mm.
    """
    if config.own_slices:
        axes = slice_axes(stack.direction, stack.spacing)
        if config.mask == "none":
            # As training has them, to the pixel, see datasets/stacks.py.
            grid = plane_grid_of(turned_grid(stack, axes), config.spacing[:2])
            return grid, np.ones(grid.shape, dtype=np.float32)
    elif found.turn is None:
        axes = canonical_axes(stack.direction)
    else:
        axes = nearest_rotation(np.linalg.inv(matrix)[:3, :3]) @ found.turn
    return grid_around(found.mask, axes, matrix, stack, config)


def _normalize(prepared: PreparedStudy, on_grid: OnGrid, progress: Progress) -> None:
    """Divide by the bias field where the bundle asks for it, and normalise: the images of a prepared study."""
    config, spacing = prepared.config, tuple(float(v) for v in prepared.grid.spacing)
    names = list(on_grid.values)

    def one(sequence: str, progress: Progress) -> tuple[np.ndarray, tuple, np.ndarray | None, list[Step]]:
        started, array, seen = time.perf_counter(), on_grid.values[sequence], on_grid.seen[sequence]
        bias, steps = None, []
        progress("normalize", 0.0, sequence)
        if config.bias_field and sequence != "CT":
            bias = bias_field(array, seen, spacing, config.mask == "none")
            array = array / bias
            steps.append(Step.since(started, "bias field", sequence, method="N4"))
            started = time.perf_counter()
        offset, scale = normalization.measure(array, seen, config, sequence)
        normalised = normalization.apply(array, offset, scale, config.clip)
        image = np.where(seen, normalised, np.float32(config.background))
        # JSON-able: one number, or one for each slice.
        levels = {"offset": np.asarray(offset).squeeze().tolist(), "scale": np.asarray(scale).squeeze().tolist()}
        steps.append(Step.since(started, "normalize", sequence, kind=config.normalization, **levels))
        return image, (offset, scale), bias, steps

    for sequence, (image, level, bias, steps) in zip(names, in_parallel(one, names, progress), strict=True):
        prepared.images[sequence], prepared.normalization[sequence] = image, level
        prepared.steps += steps
        if bias is not None:
            prepared.bias[sequence] = bias
