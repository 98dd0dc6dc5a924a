"""DICOM folders: files are sorted into series, series into volumes, each volume exactly where its slices lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import Guess, dicom_attributes, guess_from_dicom
from .geometry import affine_of
from .reading import Volume, choose_time_point, is_image_name, quiet_itk

_POSITION, _ORIENTATION, _SPACING = "0020|0032", "0020|0037", "0028|0030"
_SERIES, _NUMBER, _DESCRIPTION, _INSTANCE = "0020|000e", "0020|0011", "0008|103e", "0020|0013"
_ECHO_TIME, _IMAGE_TYPE, _TIME = "0018|0081", "0008|0008", "0008|0032"
_SAME_PLACE_MM = 0.01


@dataclass
class _Slice:
    path: Path
    tags: dict[str, str]
    size: tuple[int, ...]

    def numbers(self, tag: str) -> np.ndarray | None:
        try:
            return np.array([float(v) for v in self.tags[tag].split("\\")])
        except (KeyError, ValueError):
            return None


@dataclass
class Series:
    """One DICOM series: slices in space and time.

    Attributes:
        volumes: per time point, the files in the order of their position along the slice normal.
        attributes: DICOM attributes by keyword, of the first file.
        affine: (4, 4) LPS affine of the volume; None for a multi-frame file, whose geometry ITK works out.
    """

    volumes: list[list[Path]]
    attributes: dict[str, str]
    affine: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.volumes[0][0].parent

    @property
    def slices(self) -> int:
        return len(self.volumes[0])

    @property
    def title(self) -> str:
        """How a user knows it: number and description."""
        number = self.attributes.get("SeriesNumber", "")
        return f"series {number} '{self.attributes.get('SeriesDescription', 'without description')}'".replace("  ", " ")

    def guess(self) -> Guess:
        """The sequence that its attributes tell."""
        return guess_from_dicom(self.attributes)

    def read(self, time_point: int | None = None) -> Volume:
        """Read the voxels.

        Raises:
            InputError: several time points and none chosen, or a damaged file.
        """
        index = choose_time_point(f"{self.folder} ({self.title})", len(self.volumes), time_point)
        files = [str(p) for p in self.volumes[index]]
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames(files)
        try:
            with quiet_itk():
                image = reader.Execute() if len(files) > 1 else sitk.ReadImage(files[0], imageIO="GDCMImageIO")
        except RuntimeError as error:
            raise InputError(f"A file of {self.title} in {self.folder} is damaged; export the series again.") from error
        if image.GetNumberOfComponentsPerPixel() > 1:
            raise InputError(f"{self.title} in {self.folder} holds colours; choose a series of grey values.")
        array = sitk.GetArrayFromImage(image)
        if self.affine is None:
            return Volume(array, affine_of(image), dict(self.attributes), list(self.notes))
        return Volume(array, self.affine, dict(self.attributes), list(self.notes))


def is_dicom(path: Path) -> bool:
    """Whether the file bears the DICOM mark, or a DICOM suffix (old files have no mark)."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            return file.read(4) == b"DICM" or path.suffix.lower() in (".dcm", ".ima")
    except OSError:
        return False


def find_series(folder: Path) -> list[Series]:
    """Every series of images below a folder, in the order of their numbers.

    Raises:
        InputError: a damaged DICOM file, missing slices, or a tilted gantry.
    """
    groups: dict[tuple, list[_Slice]] = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        if path.name.upper() == "DICOMDIR" or is_image_name(path) or not is_dicom(path):
            continue
        found = _read_tags(path)
        if found is not None:
            groups[_group_of(found)].append(found)
    series = [_assemble(slices) for slices in groups.values()]
    return sorted(series, key=lambda s: (int(s.attributes.get("SeriesNumber", "0") or 0), str(s.folder)))


def series_of(paths: Sequence[Path]) -> Series:
    """The given files as one series, whatever their UIDs say: anonymisation may have given every file its own.

    Raises:
        InputError: a file that is damaged or no slice, missing slices, or a tilted gantry.
    """
    slices = [_read_tags(path) for path in paths]
    without = next((p for p, s in zip(paths, slices, strict=True) if s is None), None)
    if without is not None or not paths:
        raise InputError(f"{without or 'An empty list of files'} is no DICOM slice; take it away.")
    return _assemble(slices)


def _read_tags(path: Path) -> _Slice | None:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path} is a damaged DICOM file; copy or export it again, or take it away.") from error
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    return _Slice(path, tags, tuple(reader.GetSize())) if min(reader.GetSize()[:2]) > 1 else None


def _group_of(item: _Slice) -> tuple:
    """Slices of one volume share these; one series may hold several echoes, orientations or derived images."""
    orientation = item.numbers(_ORIENTATION)
    rounded = () if orientation is None else tuple(np.round(orientation, 3) + 0.0)
    many = item.path if len(item.size) > 2 and item.size[2] > 1 else None
    echo = item.tags.get(_ECHO_TIME, "")
    return item.tags.get(_SERIES, str(item.path.parent)), rounded, item.size[:2], echo, item.tags.get(_IMAGE_TYPE), many


def _assemble(slices: list[_Slice]) -> Series:
    first = slices[0]
    attributes = dicom_attributes(first.tags)
    orientation, spacing = first.numbers(_ORIENTATION), first.numbers(_SPACING)
    positions = [s.numbers(_POSITION) for s in slices]
    located = orientation is not None and spacing is not None and all(p is not None and p.size == 3 for p in positions)
    if len(slices) == 1 or not located:
        if len(slices) > 1:
            raise InputError(
                f"{first.path.parent} holds slices without a position in space; export the series again with geometry."
            )
        return Series([[first.path]], attributes)
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    heights = np.array([p @ normal for p in positions])
    order = sorted(range(len(slices)), key=lambda n: (round(heights[n] / _SAME_PLACE_MM), _moment(slices[n]), n))
    places: list[list[int]] = []
    for n in order:
        if places and abs(heights[n] - heights[places[-1][0]]) < _SAME_PLACE_MM:
            places[-1].append(n)
        else:
            places.append([n])
    series = Series([], attributes)
    counts = {len(place) for place in places}
    where = f"{series_title(attributes)} in {first.path.parent}"
    if len(counts) > 1:
        raise InputError(
            f"{where} has {min(counts)} to {max(counts)} files per slice position; export it again complete."
        )
    series.volumes = [[slices[place[t]].path for place in places] for t in range(counts.pop())]
    if len(places) == 1:
        return series
    start, stop = positions[places[0][0]], positions[places[-1][0]]
    step = (stop - start) / (len(places) - 1)
    gaps = np.diff([heights[place[0]] for place in places])
    if gaps.max() > 1.5 * np.median(gaps):
        raise InputError(
            f"{where} lacks slices: neighbours are {np.median(gaps):.3g} mm apart, but once {gaps.max():.3g} mm; "
            "export the series again complete."
        )
    if gaps.max() - gaps.min() > 0.05 * np.median(gaps):
        series.notes.append(
            f"The slices of {where} are {gaps.min():.3g} to {gaps.max():.3g} mm apart; the mean was used."
        )
    tilt = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
    if tilt > 0.5:
        raise InputError(
            f"{where} was taken with a tilted gantry ({tilt:.1f} degrees); resample it to a straight grid."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * spacing[1], column * spacing[0], normal * np.linalg.norm(step)])
    affine[:3, 3] = start
    series.affine = affine
    return series


def series_title(attributes: dict[str, str]) -> str:
    """How a user knows a series: its number and description."""
    return Series([], attributes).title


def _moment(item: _Slice) -> tuple[float, float]:
    """When a slice was taken, as far as it is recorded: orders the time points."""
    values = []
    for tag in (_TIME, _INSTANCE):
        number = item.numbers(tag)
        values.append(0.0 if number is None or number.size == 0 else float(number[0]))
    return values[0], values[1]
