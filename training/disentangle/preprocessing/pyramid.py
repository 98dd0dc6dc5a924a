"""An image at the levels of a pyramid whose voxel sizes are millimetres, not powers of two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..study import Image
from .masks import head_mask, stripped_mask

LEVELS_MM = (8.0, 4.0, 2.0)
"""Voxel size of the levels. There is no full-resolution level: it triples the time of a registration and leaves the
metric as it is."""


class Pyramid:
    """An image at the levels of the pyramid, with its foreground. Only the levels are kept, not the image.

    Args:
        image: a volume.
        mask: bool (K, J, I), its foreground; None finds it.
        levels: the voxel sizes that will be asked for, in mm, of :data:`LEVELS_MM`.

    Raises:
        InputError: the image shows nothing.
    """

    def __init__(self, image: Image, mask: np.ndarray | None, levels: tuple[float, ...] = LEVELS_MM) -> None:
        self.name = image.sequence or image.source or "the image"
        if mask is None:
            stripped = stripped_mask(image)
            mask = head_mask(image) if stripped is None else stripped
        if not mask.any():
            raise InputError(f"{self.name} shows nothing but background; check the file or leave it out.")
        self._volumes, self._masks = {}, {}
        for mm in levels:
            factors = _factors(image, mm)
            self._volumes[mm] = _shrunk(image, image.array, factors).to_sitk()
            share = _shrunk(image, mask, factors)
            self._masks[mm] = share.with_array(share.array > 0.5).to_sitk()
        self._dilated: dict[tuple[float, float], sitk.Image] = {}
        self.centre = self.points(8.0).mean(axis=0)

    def level(self, mm: float) -> sitk.Image:
        """The image at about that voxel size, float32; thick slices stay as they are."""
        return self._volumes[mm]

    def mask_level(self, mm: float, dilate_mm: float = 0.0) -> sitk.Image:
        """The foreground on the grid of :meth:`level`, uint8, grown by ``dilate_mm``."""
        mask = self._masks[mm]
        if not dilate_mm:
            return mask
        if (mm, dilate_mm) not in self._dilated:
            radius = [max(1, round(dilate_mm / s)) for s in mask.GetSpacing()]
            self._dilated[mm, dilate_mm] = sitk.BinaryDilate(mask, radius)
        return self._dilated[mm, dilate_mm]

    def points(self, mm: float) -> np.ndarray:
        """(N, 3) foreground points, LPS mm."""
        mask = self.mask_level(mm)
        index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
        if not len(index):
            raise InputError(f"{self.name} shows too little to be registered; check the file or leave it out.")
        axes = np.array(mask.GetDirection()).reshape(3, 3) * np.array(mask.GetSpacing())
        return index @ axes.T + np.array(mask.GetOrigin())


def _factors(image: Image, mm: float) -> list[int]:
    """Shrink factors (k, j, i) that bring voxels to at most about ``mm``; thick slices stay as they are."""
    spacings, sizes = image.spacing[::-1], image.array.shape
    return [max(1, min(int(mm / s + 0.25), n // 6)) for s, n in zip(spacings, sizes, strict=True)]


def _shrunk(image: Image, array: np.ndarray, factors: Sequence[int]) -> Image:
    """Means over blocks of voxels, float32, as ``SimpleITK.BinShrink`` makes them; what fills no block is left out.

    SimpleITK would need copies of the whole volume first, which took two thirds of the time of a pyramid.

    Args:
        image: whose geometry ``array`` (K, J, I) has.
        factors: voxels of a block along (k, j, i).
    """
    affine = image.affine.copy()
    for axis, factor in enumerate(factors):
        whole = array.shape[axis] // factor * factor
        parts = [
            array[tuple(slice(start, whole, factor) if a == axis else slice(None) for a in range(3))]
            for start in range(factor)
        ]
        total = parts[0].astype(np.float32)
        for part in parts[1:]:
            total += part
        array = total
        affine[:3, 3] += image.affine[:3, 2 - axis] * (factor - 1) / 2
        affine[:3, 2 - axis] *= factor
    array /= np.float32(np.prod(factors))
    return Image(array, affine)
