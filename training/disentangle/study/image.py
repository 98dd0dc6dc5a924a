"""One sequence of a subject: voxels, their place in space, and what is known about them."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import Guess, guess_sequence
from . import metaimage, nifti
from .dicom import find_series
from .files import write_atomically
from .geometry import Grid, affine_of, set_geometry
from .reading import IMAGE_SUFFIXES, Volume, is_image_name, itk_path, quiet_itk, read_file

MINIMUM_SLICES = 3
"""A volume has at least this many voxels along every axis."""
_LARGEST = 1e19
"""Intensities are computed with in float32, which cannot hold the squares of larger ones: one such voxel, a float64
file's filling value for example, would make every number of the volume infinite."""


@dataclass(frozen=True, eq=False)
class Image:
    """A volume.

    Attributes:
        array: (K, J, I), indexed [slice, row, column]; booleans and half precision are stored as given, numbers in the
            byte order of another machine are copied into that of this one.
        affine: (4, 4) float64, maps (i, j, k, 1) to LPS mm. Read-only.
        sequence: canonical sequence name; None where unknown (labels, masks).
        source: where it came from (a path, a node's name), for messages and reports.
        guess: what its name and header say about its sequence, independent of ``sequence``.
        header: texts of the file's header, and DICOM attributes by keyword.
        notes: sentences about it that the user should see.
    """

    array: np.ndarray
    affine: np.ndarray
    sequence: str | None = None
    source: str = ""
    guess: Guess | None = None
    header: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise InputError(f"{self.source or 'An image'} has {self.array.ndim} dimensions; give a 3-D volume.")
        if not self.array.dtype.isnative:
            object.__setattr__(self, "array", self.array.astype(self.array.dtype.newbyteorder("=")))
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def grid(self) -> Grid:
        """The grid of its voxels."""
        return Grid(self.array.shape, self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel size along (i, j, k) in mm."""
        return self.grid.spacing

    def with_array(self, array: np.ndarray) -> Image:
        """Other voxels on the same grid, everything else the same."""
        if array.shape != self.array.shape:
            raise ValueError(f"array of shape {array.shape} does not fit the grid {self.array.shape}")
        return replace(self, array=array)

    def cropped(self, box: tuple[slice, slice, slice]) -> Image:
        """A part (k, j, i) of the volume, where it lies; the voxels are shared."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
        return replace(self, array=self.array[box], affine=affine)

    def to_sitk(self) -> sitk.Image:
        """The same volume for SimpleITK (copied); booleans become bytes, half precision becomes float32."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(_storable(self.array)))
        set_geometry(image, self.affine)
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, sequence: str | None = None, source: str = "", **fields: Any) -> Image:
        """From a 3-D SimpleITK image (copied)."""
        return cls(sitk.GetArrayFromImage(image), affine_of(image), sequence=sequence, source=source, **fields)

    @classmethod
    def from_volume(cls, volume: Volume, sequence: str | None, source: str, guess: Guess | None = None) -> Image:
        """From what was read of a file."""
        return cls(volume.array, volume.affine, sequence, source, guess, volume.header, tuple(volume.notes))

    @classmethod
    def read(cls, path: str | os.PathLike[str], time_point: int | None = None, sequence: str | None = None) -> Image:
        """Read NIfTI, NRRD, MetaImage, or a folder with the DICOM files of one series.

        Args:
            time_point: which volume of a 4-D file, from 0.
            sequence: canonical name to give to it; of several DICOM series the one that is surely this is taken.

        Raises:
            InputError: no such file, empty, truncated, not an image, 4-D without ``time_point``, several series.
        """
        path = Path(path)
        if path.is_dir():
            return _read_dicom_folder(path, time_point, sequence)
        volume = read_file(path, time_point)
        return cls.from_volume(volume, sequence, str(path), guess_sequence(str(path.name), volume.header))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write NIfTI, NRRD or MetaImage, by the suffix; the file is there completely or not at all.

        Raises:
            InputError: unknown suffix, read-only place, or no space left.
        """
        path = Path(path)
        if not is_image_name(path) or path.suffix.lower() in (".nhdr", ".mhd"):
            raise InputError(f"{path} has no suffix of one image file; end the name in .nii.gz, .nii, .nrrd or .mha.")
        array = _storable(self.array)
        nrrd = path.suffix.lower() == ".nrrd"
        codec = metaimage if path.suffix.lower() == ".mha" else nifti
        if not nrrd and not codec.can_hold(array):
            raise InputError(f"{path} cannot hold voxels of type {array.dtype} in this size; write .nrrd instead.")
        with write_atomically(path) as temporary:
            if nrrd:
                self._write_nrrd(temporary)
            else:
                codec.write(temporary, array, self.affine)
        return path

    def _write_nrrd(self, path: Path) -> None:
        name = itk_path(path)
        with path.open("wb"):
            pass  # a place that cannot be written says so here, with the system's own reason
        image = self.to_sitk()
        try:
            with quiet_itk():
                sitk.WriteImage(image, name, useCompression=True)
                again = sitk.GetArrayFromImage(sitk.ReadImage(name))
            complete = np.array_equal(again, sitk.GetArrayViewFromImage(image), equal_nan=True)
        except RuntimeError:
            complete = False
        if not complete:
            raise OSError(errno.ENOSPC, "ITK could not complete the file")


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _read_dicom_folder(folder: Path, time_point: int | None, sequence: str | None) -> Image:
    series = find_series(folder)
    if not series:
        raise InputError(f"{folder} holds no DICOM images; give the folder of one series, or an image file.")
    notes = []
    if len(series) > 1:
        fitting = [s for s in series if sequence is not None and s.guess().sure and s.guess().sequence == sequence]
        titles = ", ".join(f"{s.title} ({s.slices} slices)" for s in series)
        if len(fitting) != 1:
            together = len({s.volumes[0][0] for s in series}) == 1
            advice = "export the one to use by itself" if together else "put the one to use into a folder of its own"
            raise InputError(f"{folder} holds {len(series)} DICOM series: {titles}; {advice}.")
        notes = [f"Of the {len(series)} series in {folder}, {fitting[0].title} was taken as {sequence}."]
        series = fitting
    volume = series[0].read(time_point)
    volume.notes.extend(notes)
    return Image.from_volume(volume, sequence, str(folder), guess_sequence(folder.name, dicom=series[0].attributes))


def check_image(image: Image) -> None:
    """Refuse a volume that no computation should see.

    Raises:
        InputError: single slice, voxels that are not numbers, or the same value everywhere.
    """
    name = image.source or image.sequence or "The image"
    shape = image.array.shape
    if min(shape) < MINIMUM_SLICES:
        raise InputError(
            f"{name} is no volume but {min(shape)} slice{'s' if min(shape) > 1 else ''} "
            f"({' x '.join(str(n) for n in shape[::-1])} voxels); give a series of at least {MINIMUM_SLICES} slices."
        )
    low, high = image.array.min(), image.array.max()  # NaN where any voxel is
    if image.array.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        wrong = int(np.size(image.array) - np.count_nonzero(np.isfinite(image.array)))
        raise InputError(f"{name} holds {wrong} voxels that are not numbers (NaN or infinite); set them to 0 first.")
    if max(abs(float(low)), abs(float(high))) > _LARGEST:
        raise InputError(
            f"{name} holds values up to {max(float(low), float(high), key=abs):.3g}, which are no intensities; set "
            "these voxels to 0 first."
        )
    if low == high:
        raise InputError(f"{name} is blank: every voxel has the value {image.array.flat[0]}; choose another volume.")


def looks_like_ct(image: Image) -> bool:
    """Whether this is a CT, whatever it is called: by its DICOM modality, else by Hounsfield units.

    Air (-1000) and soft tissue (-200 to 300) both fill a part of any CT; no MR intensity lies near -1000, and
    normalised MR (z-scores) does not reach it.
    """
    modality = image.header.get("Modality", image.header.get("0008|0060", "")).strip().upper()
    if modality:
        return modality == "CT"
    sample = image.array[tuple(slice(None, None, max(1, n // 64)) for n in image.array.shape)]
    air = np.mean((sample >= -1100) & (sample <= -850))
    padding = np.mean((sample < -1100) & (sample >= -4096))
    tissue = np.mean((sample >= -200) & (sample <= 300) & (sample != 0))
    return bool((air + padding) > 0.05 and air > 0.005 and tissue > 0.02 and sample.max() > 150)


__all__ = ["IMAGE_SUFFIXES", "MINIMUM_SLICES", "Image", "check_image", "looks_like_ct"]
