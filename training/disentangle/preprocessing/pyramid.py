"""An image at the levels of a pyramid whose voxel sizes are millimetres, not powers of two."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..study import Image
from .masks import head_mask, is_skull_stripped, stripped_mask


class Pyramid:
    """An image at the levels of the pyramid, with its foreground."""

    def __init__(self, image: Image, mask: np.ndarray | None) -> None:
        self.name = image.sequence or image.source or "the image"
        self.volume = sitk.Cast(image.to_sitk(), sitk.sitkFloat32)
        if mask is None:
            mask = stripped_mask(image) if is_skull_stripped(image) else head_mask(image)
        self.mask = image.with_array(mask.astype(np.uint8)).to_sitk()
        if not mask.any():
            raise InputError(f"{self.name} shows nothing but background; check the file or leave it out.")
        self.spacing = image.spacing
        points = self.points(8.0)
        self.centre = points.mean(axis=0)

    def factors(self, mm: float) -> list[int]:
        """Shrink factors per axis that bring voxels to at most about ``mm``; thick slices stay as they are."""
        sizes = self.volume.GetSize()
        return [max(1, min(int(mm / s + 0.25), n // 6)) for s, n in zip(self.spacing, sizes, strict=True)]

    def level(self, mm: float) -> sitk.Image:
        return sitk.BinShrink(self.volume, self.factors(mm))

    def mask_level(self, mm: float, dilate_mm: float = 0.0) -> sitk.Image:
        share = sitk.BinShrink(sitk.Cast(self.mask, sitk.sitkFloat32), self.factors(mm))
        mask = sitk.Cast(share > 0.5, sitk.sitkUInt8)
        if dilate_mm:
            mask = sitk.BinaryDilate(mask, [max(1, round(dilate_mm / s)) for s in mask.GetSpacing()])
        return mask

    def points(self, mm: float) -> np.ndarray:
        """(N, 3) foreground points, LPS mm."""
        mask = self.mask_level(mm)
        index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)[:, ::-1]
        if not len(index):
            raise InputError(f"{self.name} shows too little to be registered; check the file or leave it out.")
        axes = np.array(mask.GetDirection()).reshape(3, 3) * np.array(mask.GetSpacing())
        return index @ axes.T + np.array(mask.GetOrigin())
