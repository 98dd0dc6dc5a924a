"""Miniature trees of published data sets, in the layouts that they are published in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.uid import generate_uid

from dicom_files import dicom_slice
from disentangle.study import Image

RANDOM = np.random.default_rng(0)


def brain(path: Path, mask: bool = False, top: int = 4) -> None:
    array = np.zeros((16, 24, 20), np.int16)
    array[2:14, 4:20, 4:16] = 0 if mask else RANDOM.integers(100, 900, (12, 16, 12))
    if mask:
        array[6, 8:12, 8:12], array[7, 8:12, 8:12] = top, 2
    Image(array, np.diag([1.0, 1, 1, 1])).write(path)


def write_brats(place: Path, keys, separator="_", mask="seg.nii.gz", top=4) -> None:
    for key in keys:
        brain(place / f"{place.name}{separator}{key}.nii.gz")
    if mask:
        brain(place / (mask if mask[0].isupper() else f"{place.name}{separator}{mask}"), True, top)


def write_slices(folder: Path, numbers: list[int], name: str = "IMG-0004-{:05d}.dcm", base: int = 100) -> None:
    """Slices of which the one numbered n lies at -4 n mm and holds the intensity n somewhere; every file has a series
    UID of its own, as anonymisation leaves them."""
    folder.mkdir(parents=True)
    for place, n in enumerate(numbers):
        pixels = np.zeros((16, 16), np.uint16)
        pixels[4:8, 4:8] = base + n
        item = dicom_slice(
            pixels,
            SeriesInstanceUID=generate_uid(),
            StudyInstanceUID="1.2.3",
            PixelSpacing=[1.0, 1.0],
            SliceThickness=4,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, -4.0 * place],
        )
        item.save_as(folder / name.format(n), enforce_file_format=True)


def write_masks(folder: Path, numbers: list[int], name: str = "IMG-0004-{:05d}.png") -> None:
    folder.mkdir(parents=True)
    for n in numbers:
        grey = np.zeros((16, 16), np.uint8)
        grey[4:8, 4:8], grey[0, :4], grey[15, 15] = 63, (60, 126, 190, 251), 90
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(folder / name.format(n)))


def write_chaos(root: Path, number: int, slices: int = 24, masks: bool = True) -> Path:
    place = root / "Train_Sets" / "MR" / str(number)
    even, odd = [2 * n + 2 for n in range(slices)], [2 * n + 1 for n in range(slices)]
    write_slices(place / "T1DUAL" / "DICOM_anon" / "InPhase", even)
    write_slices(place / "T1DUAL" / "DICOM_anon" / "OutPhase", odd)
    write_slices(place / "T2SPIR" / "DICOM_anon", [n + 1 for n in range(slices)])
    if masks:
        write_masks(place / "T1DUAL" / "Ground", even)
        write_masks(place / "T2SPIR" / "Ground", [n + 1 for n in range(slices)])
    return place


def write_lits(root: Path, count: int) -> None:
    """Volumes of air with a liver in the second and the third of four slices."""
    for n in range(count):
        volume = np.full((4, 16, 16), -1000, np.int16)
        volume[1:3, 3:11, 4 : 10 + n % 3] = RANDOM.integers(40, 80)
        Image(volume, np.diag([1.0, 1, 5, 1])).write(root / f"volume-{n}.nii")
        Image((volume > 0).astype(np.uint8), np.diag([1.0, 1, 5, 1])).write(root / f"segmentation-{n}.nii")
