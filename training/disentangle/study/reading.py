"""Reading one volume from one file, whatever the format; every defect is one sentence that names the file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..sequences import sidecar_attributes
from . import nifti
from .geometry import Grid, affine_of

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Volume:
    """A volume as it was read: voxels (K, J, I), LPS affine (4, 4), header texts, remarks for the user."""

    array: np.ndarray
    affine: np.ndarray
    header: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters of them is said in sentences of ours."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def is_image_name(path: str | os.PathLike[str]) -> bool:
    """Whether the name ends as those of the image formats that are read here."""
    return Path(path).name.lower().endswith(IMAGE_SUFFIXES)


def stem_of(path: str | os.PathLike[str]) -> str:
    """The file name without its image suffix."""
    name = Path(path).name
    suffix = next((s for s in IMAGE_SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def read_file(path: Path, time_point: int | None = None) -> Volume:
    """Read one volume of a NIfTI, NRRD or MetaImage file, with the texts of its header and of a JSON beside it.

    Raises:
        InputError: no such file, empty, truncated, not an image, colours, sheared axes, or 4-D without ``time_point``.
    """
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path and its permissions.") from error
    if not is_image_name(path):
        raise InputError(
            f"{path} is not an image that can be read; give {', '.join(IMAGE_SUFFIXES)} or a folder of DICOM files."
        )
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes); download or export it again.")
    volume = _read_nifti(path, time_point) if ".nii" in path.name.lower()[-7:] else _read_with_itk(path, time_point)
    volume.header.update(_read_sidecar(path))
    return volume


def _read_sidecar(path: Path) -> dict[str, str]:
    sidecar = path.with_name(stem_of(path) + ".json")
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: str(v) for k, v in sidecar_attributes(content).items()} if isinstance(content, dict) else {}


def choose_time_point(path: str | os.PathLike[str], count: int, time_point: int | None) -> int:
    """The time point to read out of ``count``.

    Raises:
        InputError: several and none chosen, or out of range.
    """
    if count == 1:
        return 0
    if time_point is None:
        raise InputError(
            f"{path} holds {count} time points (a 4-D series); say which one to use, from 0 to {count - 1}, "
            "or give a 3-D volume."
        )
    if not 0 <= time_point < count:
        raise InputError(f"{path} has no time point {time_point}; choose one from 0 to {count - 1}.")
    return time_point


def _information(path: Path, image_io: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"{path} has sheared or missing axes in its header, which no viewer shows correctly; "
                "resample it to a regular grid or export it again."
            ) from error
        raise InputError(f"{path} cannot be read as an image; check the file, or export it again.") from error
    return reader


def _texts(reader: sitk.ImageFileReader | sitk.Image) -> dict[str, str]:
    texts = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    return {k: v.strip() for k, v in texts.items() if v.strip() and "UNKNOWN_PRINT" not in v}


def _read_nifti(path: Path, time_point: int | None) -> Volume:
    header = nifti.read_header(path)
    index = choose_time_point(path, header.volumes, time_point)
    reader = _information(path, "NiftiImageIO")
    array = nifti.read_voxels(path, header, index)
    affine = _affine_of_information(reader)
    notes = []
    if header.qform is not None and header.sform is not None:
        used = Grid(array.shape, _LPS_TO_RAS @ affine)
        named = {"qform": Grid(array.shape, header.qform), "sform": Grid(array.shape, header.sform)}
        if not named["qform"].same_as(named["sform"], 0.5):
            which = next((name for name, grid in named.items() if grid.same_as(used, 0.5)), "qform")
            notes.append(f"{path} places its voxels in two different ways (qform and sform); the {which} was used.")
    return Volume(array, affine, _texts(reader), notes)


def _affine_of_information(reader: sitk.ImageFileReader) -> np.ndarray:
    dimension = reader.GetDimension()
    if dimension >= 3:
        return affine_of(reader)
    affine = np.eye(4)
    affine[:2, :2] = np.array(reader.GetDirection()).reshape(2, 2) * np.array(reader.GetSpacing())
    affine[:2, 3] = reader.GetOrigin()
    return affine


def _read_with_itk(path: Path, time_point: int | None) -> Volume:
    meta = path.suffix.lower() in (".mha", ".mhd")
    if meta:
        _check_meta_image(path)
    reader = _information(path, "MetaImageIO" if meta else "NrrdImageIO")
    sizes = reader.GetSize()
    components = reader.GetNumberOfComponents()
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    # Slicer stores sequences of volumes and multi-volumes as NRRD files with a "list" axis: one component each.
    listed = reader.HasMetaDataKey("NRRD_kinds[pixel]") and reader.GetMetaData("NRRD_kinds[pixel]") == "list"
    if "complex" in pixel or (components > 1 and not listed):
        raise InputError(f"{path} does not hold one grey value per voxel (but colours or vectors); export grey values.")
    index = choose_time_point(path, math.prod(sizes[3:]) * components, time_point)
    try:
        with quiet_itk():
            image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path} is truncated or damaged; download or export it again.") from error
    array = sitk.GetArrayFromImage(image)
    if components > 1:
        array = array[..., index]
    elif array.ndim > 3:
        array = array.reshape(-1, *array.shape[-3:])[index]
    elif array.ndim == 2:
        array = array[np.newaxis]
    return Volume(np.ascontiguousarray(array), _affine_of_information(reader), _texts(reader))


_META_BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4}
_META_BYTES.update({"LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8})


def _check_meta_image(path: Path) -> None:
    """Find a damaged MetaImage before ITK does, whose library writes about it straight to the terminal."""
    damaged = InputError(f"{path} is truncated, damaged or no MetaImage; download or export it again.")
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(4096)
            key, separator, value = line.partition(b"=")
            if not separator:
                raise damaged
            fields[key.strip().decode("latin-1")] = value.strip().decode("utf-8", "replace")
        local = fields["ElementDataFile"].upper() == "LOCAL"
        kind = fields.get("ElementType", "").removeprefix("MET_")
        try:
            expected = math.prod(int(n) for n in fields["DimSize"].split()) * _META_BYTES[kind]
        except (KeyError, ValueError) as error:
            raise damaged from error
        expected *= int(fields.get("ElementNumberOfChannels", "1"))
        if not local:
            data = path.with_name(fields["ElementDataFile"])
            if "%" in data.name or data.name.upper().startswith("LIST"):
                return
            if not data.is_file():
                raise InputError(f"{path} names its voxels' file {data.name}, which is not beside it; copy both.")
            raw = data.read_bytes()
        else:
            raw = file.read()
    if fields.get("CompressedData", "False").lower() == "true":
        try:
            raw = zlib.decompressobj(wbits=47).decompress(raw)
        except zlib.error as error:
            raise damaged from error
    if len(raw) < expected:
        raise damaged
