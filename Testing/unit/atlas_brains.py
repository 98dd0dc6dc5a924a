"""Small skull-stripped brains of any contrast and pose, made from the atlas, for the tests of the preprocessing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from disentangle.preprocessing.atlas import load_atlas
from disentangle.preprocessing.resampling import resample
from disentangle.study import Image

MM = 3.0
T1 = (40.0, 110.0, 160.0)
T2 = (200.0, 120.0, 90.0)


def brain(levels: tuple[float, float, float] = T1, matrix: np.ndarray | None = None, seed: int = 0) -> Image:
    """The atlas at 3 mm with grey levels (CSF, GM, WM), its points moved by ``matrix`` (4, 4), with some noise."""
    atlas = load_atlas(MM)
    values = sum(w * t for w, t in zip(levels, (atlas.csf, atlas.gm, atlas.wm), strict=True)).astype(np.float32)
    if matrix is not None:
        values = resample(Image(values, atlas.grid.affine).to_sitk(), atlas.grid, np.linalg.inv(matrix))
    noise = np.random.default_rng(seed).normal(0, 2, values.shape)
    return Image(np.where(values > 1, values + noise, 0).astype(np.float32), atlas.grid.affine)


def named(image: Image, sequence: str) -> Image:
    """The same image as a sequence."""
    return replace(image, sequence=sequence)


def brain_points() -> np.ndarray:
    """(N, 3) LPS points all over the atlas's brain."""
    atlas = load_atlas(8.0)
    index = np.argwhere(atlas.brain)[:, ::-1]
    return index @ atlas.grid.affine[:3, :3].T + atlas.grid.affine[:3, 3]


def reoriented(image: Image, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Image:
    """The same content with its array axes permuted and flipped; the affine follows."""
    array, affine = np.transpose(image.array, order), np.eye(4)
    columns = image.affine[:3, :3][:, ::-1][:, list(order)]
    origin = image.affine[:3, 3].copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            origin += columns[:, axis] * (array.shape[axis] - 1)
            columns[:, axis] *= -1
    affine[:3, :3], affine[:3, 3] = columns[:, ::-1], origin
    return replace(image, array=np.ascontiguousarray(array), affine=affine)
