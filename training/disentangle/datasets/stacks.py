"""Slices of sequences that are not registered to each other, as subjects: the cardiac and abdominal sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..losses import UNLABELLED
from ..preprocessing.resampling import coverage, resample
from ..study import Grid, Image
from .volumes import Subject

Normalisation = Literal["slice", "slice_percentile", "percentile", "window", "none"]
NORMALISATIONS: tuple[Normalisation, ...] = ("slice", "slice_percentile", "percentile", "window", "none")
BLACK = -1.0
"""Value of pixels that an image does not cover."""


def stack_subject(
    name: str,
    group: str,
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    spacing: Sequence[float] | Mapping[str, Sequence[float]],
    normalisation: Normalisation | Mapping[str, Normalisation] = "slice",
    size: tuple[int, int] | None = None,
    pixel: float | None = None,
    centres: Mapping[str, tuple[float, float]] | None = None,
    window: tuple[float, float] | None = None,
    source: str = "study",
    about: Mapping[str, Any] | None = None,
) -> Subject:
    """A subject whose sequences lie on one grid of slices, slice k of one beside slice k of another, but unregistered.

    Every sequence is resampled in its own plane, cropped or padded, and brought to [-1, 1]; slices stay slices, none
    is interpolated. The mask is everything, padding included: a network reads whole slices.

    Args:
        name: study name.
        group: the person.
        images: sequence -> (K, J, I) intensities; J and I may differ between sequences, K not.
        labels: sequence -> (K, J, I) class indices on that sequence's slices, 0 being the background. A sequence that
            is not here was not annotated: it becomes UNLABELLED throughout.
        spacing: (i, j, k) in mm, one for all or by sequence.
        normalisation: one for all or by sequence. "slice": each slice from its minimum to its maximum (DAFNet);
            "slice_percentile": each slice from its 1st to its 99th percentile; "percentile": the same of the volume;
            "window": the ends of ``window``; "none": the images are in [-1, 1] already.
        size: (H, W) to crop or pad to; None leaves it.
        pixel: in-plane spacing in mm to resample to; None leaves it.
        centres: sequence -> (row, column) that comes to pixel (H // 2, W // 2); None or left out: the image's middle.
        window: see ``normalisation``.
        source, about: as in :class:`Subject`.

    Returns:
        ``sequence_labels`` has every sequence; ``labels`` repeats those of the first annotated one.

    Raises:
        InputError: numbers of slices, or planes without ``size`` and ``pixel``, that do not agree.
    """
    if not images:
        raise InputError(f"{name} has no sequence; give at least one.")
    found: dict[str, np.ndarray] = {}
    own: dict[str, np.ndarray] = {}
    spacings: dict[str, tuple[float, ...]] = {}
    for sequence, array in images.items():
        mine = tuple(float(v) for v in (spacing[sequence] if isinstance(spacing, Mapping) else spacing))
        kind = normalisation[sequence] if isinstance(normalisation, Mapping) else normalisation
        image = Image(np.asarray(array), np.diag([*mine, 1.0]), sequence)
        grid = plane_grid_of(image.grid, size, pixel, (centres or {}).get(sequence))
        inside = coverage(image.grid, grid, np.eye(4))
        values = array.astype(np.float32) if grid.same_as(image.grid) else resample(image.to_sitk(), grid)
        found[sequence] = np.where(inside, normalised(values, inside, kind, window), BLACK).astype(np.float16)
        if sequence in labels:
            truth = Image(np.asarray(labels[sequence], np.uint8), image.affine)
            own[sequence] = resample(truth.to_sitk(), grid, interpolation="nearest").astype(np.uint8)
        else:
            own[sequence] = np.full(grid.shape, UNLABELLED, np.uint8)
        spacings[sequence] = tuple(float(v) for v in grid.spacing)
    shapes = {s: a.shape for s, a in found.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{s} {' x '.join(str(n) for n in shape)}" for s, shape in shapes.items())
        raise InputError(f"The slices of {name} do not agree ({listed}); pair the slices and set a size.")
    shared = next((own[s] for s in own if s in labels), next(iter(own.values())))
    first = next(iter(images))
    return Subject(
        name,
        group,
        found,
        np.ones(shared.shape, bool),
        shared,
        spacings[first],
        source,
        dict(about or {}),
        own,
    )


def plane_grid_of(
    grid: Grid,
    size: tuple[int, int] | None = None,
    pixel: float | None = None,
    centre: tuple[float, float] | None = None,
) -> Grid:
    """The same slices with other pixels.

    Args:
        grid: of a stack of slices.
        size: (H, W); None covers the extent of ``grid``.
        pixel: spacing of rows and columns in mm; None keeps it.
        centre: (row, column) of ``grid`` that comes to pixel (H // 2, W // 2); None is (J // 2, I // 2). Where the
            spacing is kept, pixels fall on pixels.
    """
    old = grid.spacing
    new = np.array([pixel or old[0], pixel or old[1], old[2]])
    depth, rows, columns = grid.shape
    height, width = size or (round(rows * old[1] / new[1]), round(columns * old[0] / new[0]))
    row, column = centre or (rows // 2, columns // 2)
    affine = grid.affine.copy()
    affine[:3, :3] = grid.direction * new
    corner = np.array([column, row, 0.0]) * old - np.array([width // 2, height // 2, 0.0]) * new
    affine[:3, 3] = grid.origin + grid.direction @ corner
    return Grid((depth, height, width), affine)


def normalised(
    values: np.ndarray, inside: np.ndarray, kind: Normalisation, window: tuple[float, float] | None = None
) -> np.ndarray:
    """Intensities (K, J, I) brought to [-1, 1] and clipped, measured where ``inside``; a constant slice is black.

    Raises:
        InputError: an unknown kind, or "window" without ``window``.
    """
    values = values.astype(np.float32)
    if kind == "none":
        return values
    if kind == "window":
        if window is None or window[1] <= window[0]:
            raise InputError("The normalisation 'window' needs the setting window: [lower, upper] intensity.")
        low, high = (np.full((1, 1, 1), v, np.float32) for v in window)
    elif kind == "percentile":
        low, high = (v.reshape(1, 1, 1) for v in np.percentile(values[inside], [1, 99]).astype(np.float32))
    elif kind in ("slice", "slice_percentile"):
        ends = (0, 100) if kind == "slice" else (1, 99)
        limits = [np.percentile(v[m], ends) if m.any() else (0, 0) for v, m in zip(values, inside, strict=True)]
        low, high = np.array(limits, np.float32).T[..., None, None]
    else:
        raise InputError(f'The normalisation "{kind}" is not known; use one of {", ".join(NORMALISATIONS)}.')
    scale = np.where(high > low, high - low, 1)
    return np.where(high > low, np.clip(2 * (values - low) / scale - 1, -1, 1), BLACK)
