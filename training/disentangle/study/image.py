"""One sequence of a subject: voxels, their place in space, and what is known about them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import Guess
from .files import write_atomically
from .geometry import Grid, affine_of, set_geometry

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True, eq=False)
class Image:
    """A volume.

    Attributes:
        array: (K, J, I), indexed [slice, row, column].
        affine: (4, 4) float64, maps (i, j, k, 1) to LPS mm.
        sequence: canonical sequence name; None where unknown (labels, masks).
        source: where it came from, for messages and reports.
        guess: how the sequence was assigned when nobody stated it.
        header: texts of the file's header or DICOM attributes.
    """

    array: np.ndarray
    affine: np.ndarray
    sequence: str | None = None
    source: str = ""
    guess: Guess | None = None
    header: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise InputError(f"{self.source or 'An image'} has {self.array.ndim} dimensions; give a 3-D volume.")
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def grid(self) -> Grid:
        return Grid(self.array.shape, self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel size along (i, j, k) in mm."""
        return self.grid.spacing

    def with_array(self, array: np.ndarray) -> Image:
        """Other voxels on the same grid."""
        if array.shape != self.array.shape:
            raise ValueError(f"array of shape {array.shape} does not fit the grid {self.array.shape}")
        return replace(self, array=array)

    def to_sitk(self) -> sitk.Image:
        """The same volume for SimpleITK; booleans become bytes, half precision becomes float32."""
        array = self.array
        if array.dtype == bool:
            array = array.astype(np.uint8)
        elif array.dtype == np.float16:
            array = array.astype(np.float32)
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        set_geometry(image, self.affine)
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, sequence: str | None = None, source: str = "", **fields) -> Image:
        """From a 3-D SimpleITK image (the voxels are copied)."""
        return cls(sitk.GetArrayFromImage(image), affine_of(image), sequence=sequence, source=source, **fields)

    @classmethod
    def read(cls, path: str | os.PathLike[str], time_point: int | None = None, sequence: str | None = None) -> Image:
        """Read NIfTI, NRRD, MetaImage, or a folder of DICOM files of one series.

        Args:
            time_point: which volume of a 4-D file, from 0.
            sequence: canonical name to give to it.

        Raises:
            InputError: no such file, empty, truncated, not an image, or 4-D without ``time_point``.
        """
        path = Path(path)
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise InputError(f"{path} cannot be read as an image; check the file.") from error
        if image.GetDimension() == 4:
            if time_point is None:
                raise InputError(f"{path} holds {image.GetSize()[3]} time points; say which one to use (from 0).")
            image = image[:, :, :, time_point]
        header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
        return cls.from_sitk(image, sequence=sequence, source=str(path), header=header)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write NIfTI, NRRD or MetaImage, by the suffix; the file is there completely or not at all.

        Raises:
            InputError: unknown suffix, read-only place, or no space left.
        """
        path = Path(path)
        if not path.name.lower().endswith(IMAGE_SUFFIXES):
            raise InputError(f"{path} has no image suffix; end the name in one of {', '.join(IMAGE_SUFFIXES)}.")
        with write_atomically(path) as temporary:
            sitk.WriteImage(self.to_sitk(), str(temporary), useCompression=True)
        return path
