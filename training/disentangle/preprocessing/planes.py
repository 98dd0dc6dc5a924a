"""Grids of stacks of slices: the same for what a network learns from and for what it reads later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from ..study import Grid, Image, Study


def order_along(direction: np.ndarray, axes: np.ndarray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """How to permute and flip the axes of a grid so that they run nearest to others.

    Args:
        direction: (3, 3) columns, those of the grid.
        axes: (3, 3) columns, where they are to run.

    Returns:
        for each of ``axes`` the axis of the grid that takes its place, and whether it is flipped.
    """
    nearness = axes.T @ direction
    order = max(permutations(range(3)), key=lambda p: sum(abs(nearness[t, s]) for t, s in enumerate(p)))
    return order, tuple(bool(nearness[target, source] < 0) for target, source in enumerate(order))


def turned_grid(grid: Grid, axes: np.ndarray) -> Grid:
    """The same voxels, counted along the axes that run nearest to the columns of ``axes``."""
    order, flipped = order_along(grid.direction, axes)
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, list(order)]
    size = [grid.size[source] for source in order]
    for axis in range(3):
        if flipped[axis]:
            affine[:3, 3] += affine[:3, axis] * (size[axis] - 1)
            affine[:3, axis] *= -1
    return Grid(tuple(size[::-1]), affine)


def turned(image: Image, axes: np.ndarray) -> Image:
    """An image whose array axes (permuted and flipped, not resampled) run nearest to the columns of ``axes``.

    Its voxels are a view.
    """
    order, flipped = order_along(image.grid.direction, axes)
    array = image.array.transpose([2 - order[2 - n] for n in range(3)])
    array = np.flip(array, [2 - axis for axis in range(3) if flipped[axis]])
    return replace(image, array=array, affine=turned_grid(image.grid, axes).affine)


def upright(study: Study) -> Study:
    """The same study with voxels counted towards the patient's left, back and head, as far as flipping leads there.

    How a file stores its voxels must not matter: blocks of a pyramid and the phase of the working grid begin at the
    first voxel. A brain stored mirrored (with its affine) got other classes in 2.9-3.8 % of its voxels. Images that are
    upright are the same objects; voxels are views, none is copied.
    """
    parts = (study.images, study.masks, study.sequence_labels)
    images, masks, own = ({name: _upright(image) for name, image in part.items()} for part in parts)
    labels = None if study.labels is None else _upright(study.labels)
    return Study(images, study.name, labels, masks, study.label_names, study.warnings, own)


def _upright(image: Image) -> Image:
    direction = image.grid.direction
    order, _ = order_along(direction, np.eye(3))
    # The patient's axes in the order of the image's own: nothing is permuted.
    axes = np.eye(3)[:, np.argsort(order)]
    return turned(image, axes) if any(order_along(direction, axes)[1]) else image


def plane_grid_of(grid: Grid, pixel: Sequence[float]) -> Grid:
    """The extent of the same slices with other pixels, the middle pixel on the middle pixel.

    Args:
        grid: of a stack of slices.
        pixel: spacing of columns and rows in mm.
    """
    old = grid.spacing
    new = np.array([*pixel, old[2]])
    depth, rows, columns = grid.shape
    height, width = round(rows * old[1] / new[1]), round(columns * old[0] / new[0])
    affine = grid.affine.copy()
    affine[:3, :3] = grid.direction * new
    corner = np.array([columns // 2, rows // 2, 0.0]) * old - np.array([width // 2, height // 2, 0.0]) * new
    affine[:3, 3] = grid.origin + grid.direction @ corner
    return Grid((depth, height, width), affine)
