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
from .dicom_header import (
    FRAME_B_VALUE,
    FRAME_ECHO,
    FRAME_TIME,
    FRAME_TYPE,
    INTERCEPT,
    ORIENTATION,
    POSITION,
    SLOPE,
    SPACING,
    frame_tags,
    holds_no_image,
)
from .geometry import affine_of
from .reading import Volume, choose_time_point, is_image_name, itk_path, quiet_itk

_SERIES, _NUMBER, _DESCRIPTION, _INSTANCE = "0020|000e", "0020|0011", "0008|103e", "0020|0013"
_ECHO_TIME, _IMAGE_TYPE, _TIME = "0018|0081", "0008|0008", "0008|0032"
_SCALE = (SLOPE, INTERCEPT, "0028|0100", "0028|0101", "0028|0103")
"""What the type of the voxels depends on: rescaling, bits allocated and stored, sign."""
_SAME_PLACE_MM = 0.01


@dataclass
class _Slice:
    """A file, or one frame of a multi-frame file with the attributes of that frame."""

    path: Path
    tags: dict[str, str]
    size: tuple[int, ...]
    frame: int | None = None

    def numbers(self, tag: str) -> np.ndarray | None:
        try:
            values = np.array([float(v) for v in self.tags[tag].split("\\")])
        except (KeyError, ValueError):
            return None
        return values if np.isfinite(values).all() else None

    def number(self, tag: str, otherwise: float) -> float:
        """The first number of an attribute."""
        numbers = self.numbers(tag)
        return otherwise if numbers is None or numbers.size == 0 else float(numbers[0])


@dataclass
class Series:
    """One DICOM series: slices in space and time.

    Attributes:
        volumes: per time point, the files in the order of their position along the slice normal; one multi-frame file.
        attributes: DICOM attributes by keyword, of the first file.
        affine: (4, 4) LPS affine of the volume; None for a file whose geometry ITK works out.
        mixed: the files store their voxels in different ways: rescaled differently, or of different types.
        frames: of a multi-frame file, per time point, its frames in the order of their position; None: all of them.
        scales: of a multi-frame file, slope and intercept per frame where they differ, (frames, 2).
        echoes: the echo times (ms) of a multi-frame file that holds several.
        defect: why it cannot be read, though its attributes can.
    """

    volumes: list[list[Path]]
    attributes: dict[str, str]
    affine: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    mixed: bool = False
    frames: list[list[int]] | None = None
    scales: np.ndarray | None = None
    echoes: tuple[float, ...] = ()
    defect: str = ""

    @property
    def folder(self) -> Path:
        return self.volumes[0][0].parent

    @property
    def slices(self) -> int:
        return len(self.volumes[0] if self.frames is None else self.frames[0])

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
            InputError: several time points and none chosen, a damaged file, or a defect.
        """
        if self.defect:
            raise InputError(self.defect)
        echoes = f", echo times {', '.join(f'{e:g}' for e in self.echoes)} ms" if self.echoes else ""
        index = choose_time_point(f"{self.folder} ({self.title}{echoes})", len(self.volumes), time_point)
        image = self._image(self.volumes[index])
        array = sitk.GetArrayFromImage(image)
        if self.scales is not None:
            array = self._rescaled(array)
        if self.frames is not None:
            array = array[self.frames[index]]
        affine = affine_of(image) if self.affine is None else self.affine
        return Volume(array, affine, dict(self.attributes), list(self.notes))

    def _image(self, paths: list[Path]) -> sitk.Image:
        files = [itk_path(p) for p in paths]
        # ITK takes the type of the first file for all of them, and cuts the values of the others to it.
        pixel = sitk.sitkFloat32 if self.mixed else sitk.sitkFloat64 if self.scales is not None else sitk.sitkUnknown
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames(files)
        reader.SetOutputPixelType(pixel)
        try:
            with quiet_itk():
                image = reader.Execute() if len(files) > 1 else sitk.ReadImage(files[0], pixel, imageIO="GDCMImageIO")
        except RuntimeError as error:
            raise InputError(f"A file of {self.title} in {self.folder} is damaged; export the series again.") from error
        if image.GetNumberOfComponentsPerPixel() > 1:
            raise InputError(f"{self.title} in {self.folder} holds colours; choose a series of grey values.")
        return image

    def _rescaled(self, array: np.ndarray) -> np.ndarray:
        """The voxels with every frame's own scale: GDCM applies that of the first frame to all."""
        (slope, intercept), scales = self.scales[0], self.scales[:, :, np.newaxis, np.newaxis]
        return (np.rint((array - intercept) / slope) * scales[:, 0] + scales[:, 1]).astype(np.float32)


def is_dicom(path: Path) -> bool:
    """Whether the file bears the DICOM mark, or a DICOM suffix (old files have no mark)."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            return file.read(4) == b"DICM" or path.suffix.lower() in (".dcm", ".ima")
    except OSError:
        return False


def find_series(folder: Path) -> list[Series]:
    """Every series of images below a folder, in the order of their numbers; reports, plans and the like are left out.

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
    series = [part for slices in groups.values() for part in _split(slices)]
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
    parts = _split(slices)
    if len(parts) > 1:
        raise InputError(f"{paths[0]} holds {len(parts)} stacks of different orientation; export one of them.")
    return parts[0]


def _read_tags(path: Path) -> _Slice | None:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(itk_path(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if holds_no_image(path):
            return None
        raise InputError(f"{path} is a damaged DICOM file; copy or export it again, or take it away.") from error
    tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
    return _Slice(path, tags, tuple(reader.GetSize())) if min(reader.GetSize()[:2]) > 1 else None


def _group_of(item: _Slice) -> tuple:
    """Slices of one volume share these; one series may hold several echoes, orientations or derived images."""
    orientation = item.numbers(ORIENTATION)
    rounded = () if orientation is None else tuple(np.round(orientation, 3) + 0.0)
    many = item.path if len(item.size) > 2 and item.size[2] > 1 else None
    echo = item.tags.get(_ECHO_TIME, "")
    return item.tags.get(_SERIES, str(item.path.parent)), rounded, item.size[:2], echo, item.tags.get(_IMAGE_TYPE), many


def _split(slices: list[_Slice]) -> list[Series]:
    """The series that files of one group make: of a multi-frame file, one per orientation of its frames."""
    first = slices[0]
    frames = _frames_of(first) if len(slices) == 1 and len(first.size) > 2 and first.size[2] > 1 else []
    if not frames:
        return [_assemble(slices)]
    stacks: dict[tuple, list[_Slice]] = defaultdict(list)
    for frame in frames:
        stacks[tuple(np.round(frame.numbers(ORIENTATION), 3) + 0.0)].append(frame)
    scales = np.array([[f.number(SLOPE, 1.0), f.number(INTERCEPT, 0.0)] for f in frames])
    # A slope of 0 is nonsense, and cannot be taken back; what GDCM makes of it stays.
    uneven = bool(np.ptp(scales, axis=0).any() and scales.all(axis=0)[0])
    series = [_assemble_frames(stack) for stack in stacks.values()]
    for part in series:
        part.scales = scales if uneven else None
    return series


def _assemble_frames(frames: list[_Slice]) -> Series:
    try:
        series = _assemble(frames)
    except InputError as error:
        # A file with an odd set of frames (a segmentation, a scout) does not matter until someone wants to read it.
        return Series([[frames[0].path]], dicom_attributes(frames[0].tags), defect=str(error))
    echoes = sorted({f.number(FRAME_ECHO, 0.0) for f in frames})
    series.echoes = tuple(echoes) if len(echoes) > 1 else ()
    return series


def _assemble(slices: list[_Slice]) -> Series:
    first = slices[0]
    attributes = dicom_attributes(first.tags)
    orientation, spacing = first.numbers(ORIENTATION), first.numbers(SPACING)
    positions = [s.numbers(POSITION) for s in slices]
    located = orientation is not None and spacing is not None and all(p is not None and p.size == 3 for p in positions)
    if len(slices) == 1 or not located:
        if len(slices) > 1:
            raise InputError(
                f"{first.path.parent} holds slices without a position in space; export the series again with geometry."
            )
        return Series([[first.path]], attributes, frames=None if first.frame is None else [[first.frame]])
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
    series = Series([], attributes, mixed=len({tuple(s.tags.get(tag) for tag in _SCALE) for s in slices}) > 1)
    counts = {len(place) for place in places}
    where = f"{series_title(attributes)} in {first.path.parent}"
    if len(counts) > 1:
        raise InputError(
            f"{where} has {min(counts)} to {max(counts)} images per slice position; export it again complete."
        )
    volumes = [[slices[place[t]] for place in places] for t in range(counts.pop())]
    if first.frame is not None:
        series.volumes, series.mixed = [[first.path] for _ in volumes], False
        series.frames = [[item.frame for item in volume] for volume in volumes]
    else:
        series.volumes = [[item.path for item in volume] for volume in volumes]
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


def _moment(item: _Slice) -> tuple:
    """When a slice was taken, as far as it is recorded: orders the time points, of frames also echoes and types."""
    kind = (item.number(FRAME_ECHO, 0.0), item.tags.get(FRAME_TYPE, ""), item.number(FRAME_B_VALUE, 0.0))
    return *kind, item.number(FRAME_TIME, 0.0), item.number(_TIME, 0.0), item.number(_INSTANCE, 0.0)


def _frames_of(item: _Slice) -> list[_Slice]:
    """The frames of a multi-frame file with the attributes of each; none where it does not place every one of them."""
    found = enumerate(frame_tags(item.path))
    frames = [_Slice(item.path, item.tags | tags, item.size[:2], n) for n, tags in found]
    sizes = {POSITION: 3, ORIENTATION: 6, SPACING: 2}
    placed = all((v := f.numbers(tag)) is not None and v.size == size for f in frames for tag, size in sizes.items())
    return frames if placed and len(frames) == item.size[2] else []
