"""An image at the levels of a pyramid whose voxel sizes are millimetres, not powers of two."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..study import Image
from .masks import head_mask, is_skull_stripped, stripped_mask

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
            mask = stripped_mask(image) if is_skull_stripped(image) else head_mask(image)
        if not mask.any():
            raise InputError(f"{self.name} shows nothing but background; check the file or leave it out.")
        volume = sitk.Cast(image.to_sitk(), sitk.sitkFloat32)
        share = image.with_array(mask.astype(np.float32)).to_sitk()
        self._volumes, self._masks = {}, {}
        for mm in levels:
            factors = _factors(volume, mm)
            self._volumes[mm] = sitk.BinShrink(volume, factors)
            self._masks[mm] = sitk.Cast(sitk.BinShrink(share, factors) > 0.5, sitk.sitkUInt8)
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


def _factors(volume: sitk.Image, mm: float) -> list[int]:
    """Shrink factors per axis that bring voxels to at most about ``mm``; thick slices stay as they are."""
    spacings, sizes = volume.GetSpacing(), volume.GetSize()
    return [max(1, min(int(mm / s + 0.25), n // 6)) for s, n in zip(spacings, sizes, strict=True)]
