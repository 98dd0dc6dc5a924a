"""Slices of sequences that are not registered to each other, as subjects: the cardiac and abdominal sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..losses import UNLABELLED
from ..preprocessing import PreprocessingConfig
from ..preprocessing.bias import bias_field
from ..preprocessing.normalization import apply, measure
from ..preprocessing.planes import plane_grid_of
from ..preprocessing.resampling import coverage, resample
from ..study import Grid, Image
from .volumes import Subject

STACKED: dict[str, Any] = {
    "registration": "none",
    "pose": "reference",
    "own_slices": True,
    "mask": "none",
    "margin_mm": 0.0,
    "window": [-150.0, 250.0],
    "clip": [-1.0, 1.0],
    "background": -1.0,
}
"""Fields of :class:`PreprocessingConfig` that make a study a stack of its own slices, in training and in inference."""


def stack_subject(
    name: str,
    group: str,
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    spacing: Sequence[float] | Mapping[str, Sequence[float]],
    config: PreprocessingConfig,
    size: tuple[int, int] | None = None,
    centres: Mapping[str, tuple[float, float]] | None = None,
    source: str = "study",
    about: Mapping[str, Any] | None = None,
) -> Subject:
    """A subject whose sequences lie on one grid of slices, slice k of one beside slice k of another, but unregistered.

    Every sequence is resampled in its own plane, normalised and then cropped or padded, as :func:`.prepare` (on the
    same grid, :mod:`.preprocessing.planes`) and the frame of a network do in inference; slices stay slices, none is
    interpolated. The mask is everything, padding included: a network reads whole slices.

    Args:
        name: study name.
        group: the person.
        images: sequence -> (K, J, I) intensities; J and I may differ between sequences, K not.
        labels: sequence -> (K, J, I) class indices on that sequence's slices, 0 being the background. A sequence that
            is not here was not annotated: it becomes UNLABELLED throughout.
        spacing: (i, j, k) in mm, one for all or by sequence.
        config: ``spacing`` in the plane, ``bias_field``, the normalisation, ``clip`` and ``background``.
        size: (H, W) to crop or pad to; None is the largest of any sequence.
        centres: sequence -> (row, column) that comes to pixel (H // 2, W // 2); None or left out: the image's middle.
        source, about: as in :class:`Subject`.

    Returns:
        ``sequence_labels`` has every sequence; ``labels`` repeats those of the first annotated one.

    Raises:
        InputError: no sequence, a constant one, or numbers of slices that do not agree.
    """
    if not images:
        raise InputError(f"{name} has no sequence; give at least one.")
    if len({len(array) for array in images.values()}) > 1:
        listed = ", ".join(f"{s} {' x '.join(str(n) for n in a.shape)}" for s, a in images.items())
        raise InputError(f"The slices of {name} do not agree ({listed}); pair the slices.")
    found: dict[str, np.ndarray] = {}
    own: dict[str, np.ndarray] = {}
    middles: dict[str, tuple[int, int]] = {}
    spacings: dict[str, tuple[float, ...]] = {}
    for sequence, array in images.items():
        mine = tuple(float(v) for v in (spacing[sequence] if isinstance(spacing, Mapping) else spacing))
        image = Image(np.asarray(array), np.diag([*mine, 1.0]), sequence)
        grid = plane_grid_of(image.grid, config.spacing[:2])
        found[sequence] = _normalised(image, grid, config)
        if sequence in labels:
            truth = Image(np.asarray(labels[sequence], np.uint8), image.affine)
            own[sequence] = resample(truth.to_sitk(), grid, interpolation="nearest").astype(np.uint8)
        else:
            own[sequence] = np.full(grid.shape, UNLABELLED, np.uint8)
        middles[sequence] = _middle(image.grid, grid, (centres or {}).get(sequence))
        spacings[sequence] = tuple(float(v) for v in grid.spacing)
    size = size or tuple(max(a.shape[axis] for a in found.values()) for axis in (1, 2))
    found = {s: framed(a, size, middles[s], config.background).astype(np.float16) for s, a in found.items()}
    own = {s: framed(a, size, middles[s], 0 if s in labels else UNLABELLED) for s, a in own.items()}
    shared = next((own[s] for s in own if s in labels), next(iter(own.values())))
    first = spacings[next(iter(images))]
    return Subject(name, group, found, np.ones(shared.shape, bool), shared, first, source, dict(about or {}), own)


def framed(volume: np.ndarray, size: tuple[int, int], middle: tuple[int, int], value: float) -> np.ndarray:
    """Slices (K, J, I) cropped and padded to (K, H, W), pixel ``middle`` (row, column) at (H // 2, W // 2)."""
    result = np.full((len(volume), *size), value, volume.dtype)
    here, there = [slice(None)], [slice(None)]
    for axis in range(2):
        start = middle[axis] - size[axis] // 2
        first, last = max(start, 0), min(start + size[axis], volume.shape[axis + 1])
        here.append(slice(first, max(last, first)))
        there.append(slice(first - start, max(last, first) - start))
    result[tuple(there)] = volume[tuple(here)]
    return result


def _normalised(image: Image, grid: Grid, config: PreprocessingConfig) -> np.ndarray:
    """Intensities on a grid of the same slices, float32."""
    inside = coverage(image.grid, grid, np.eye(4))
    values = image.array.astype(np.float32) if grid.same_as(image.grid) else resample(image.to_sitk(), grid)
    if config.bias_field and image.sequence != "CT":
        values = values / bias_field(values, inside, tuple(float(v) for v in grid.spacing), config.mask == "none")
    levels = measure(values, inside, config, image.sequence or "")
    return np.where(inside, apply(values, *levels, config.clip), np.float32(config.background))


def _middle(old: Grid, new: Grid, centre: tuple[float, float] | None) -> tuple[int, int]:
    """The pixel of ``new`` nearest to (row, column) of ``old``; its middle without one."""
    rows, columns = new.shape[1:]
    if centre is None:
        return rows // 2, columns // 2
    ratios = old.spacing[1] / new.spacing[1], old.spacing[0] / new.spacing[0]
    moved = ((c - n // 2) * r for c, n, r in zip(centre, old.shape[1:], ratios, strict=True))
    row, column = moved
    return round(row) + rows // 2, round(column) + columns // 2
