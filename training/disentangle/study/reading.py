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
from . import metaimage, nifti
from .geometry import Grid, affine_of

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
WHICH_VOLUME = "say which one to use"
"""What every sentence about several volumes in one file asks for; whoever offers a way to say it can name it there."""
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


def itk_path(path: str | os.PathLike[str]) -> str:
    """The path as SimpleITK takes it.

    Raises:
        InputError: it is no UTF-8.
    """
    text = os.fspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        # SimpleITK would end the whole process. The message itself must be fit to be printed and stored.
        shown = text.encode("utf-8", "replace").decode("utf-8")
        raise InputError(
            f"The path {shown} has characters that are not valid (no UTF-8); rename the file or its folder."
        ) from error
    return text


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
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        volume = _read_nifti(path, time_point)
    elif name.endswith((".mha", ".mhd")):
        volume = _read_meta_image(path, time_point)
    else:
        volume = _read_nrrd(path, time_point)
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
            f"{path} holds {count} time points (a 4-D series); {WHICH_VOLUME}, from 0 to {count - 1}, "
            "or give a 3-D volume."
        )
    if not 0 <= time_point < count:
        raise InputError(f"{path} has no time point {time_point}; choose one from 0 to {count - 1}.")
    return time_point


def _colours(path: Path) -> InputError:
    return InputError(f"{path} does not hold one grey value per voxel (but colours or vectors); export grey values.")


def _sheared(path: Path) -> InputError:
    return InputError(
        f"{path} has sheared or missing axes in its header, which viewers show differently; "
        "resample it to a regular grid or export it again."
    )


def _refuse_shear(path: Path, affine: np.ndarray) -> None:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise _sheared(path)


def _information(path: Path, image_io: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(itk_path(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise _sheared(path) from error
        raise InputError(f"{path} cannot be read as an image; check the file, or export it again.") from error
    return reader


def _texts(reader: sitk.ImageFileReader | sitk.Image) -> dict[str, str]:
    texts = {}
    for key in reader.GetMetaDataKeys():
        # Bytes that are no UTF-8 come as lone surrogates, which SimpleITK does not take back.
        if key.isprintable() and key.encode("utf-8", "replace") == key.encode("utf-8", "surrogateescape"):
            value = reader.GetMetaData(key).strip()
            if value and "UNKNOWN_PRINT" not in value:
                texts[key] = value
    return texts


def _read_nifti(path: Path, time_point: int | None) -> Volume:
    header = nifti.read_header(path)
    if max(header.sizes[4:], default=1) > 1:  # the fourth size is time, the fifth the numbers of one voxel
        raise _colours(path)
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


def _read_meta_image(path: Path, time_point: int | None) -> Volume:
    header = metaimage.read_header(path)
    if header.channels > 1:
        raise _colours(path)
    index = choose_time_point(path, header.volumes, time_point)
    _refuse_shear(path, header.affine)
    return Volume(metaimage.read_voxels(path, header, index), header.affine, dict(header.fields))


def _read_nrrd(path: Path, time_point: int | None) -> Volume:
    reader = _information(path, "NrrdImageIO")
    sizes = reader.GetSize()
    components = reader.GetNumberOfComponents()
    pixel = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    # Slicer stores sequences of volumes and multi-volumes as NRRD files with a "list" axis: one component each.
    listed = reader.HasMetaDataKey("NRRD_kinds[pixel]") and reader.GetMetaData("NRRD_kinds[pixel]") == "list"
    if "complex" in pixel or (components > 1 and not listed):
        raise _colours(path)
    index = choose_time_point(path, math.prod(sizes[3:]) * components, time_point)
    _refuse_cut_gzip(path)
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


def _refuse_cut_gzip(path: Path) -> None:
    """Refuse a NRRD whose compressed voxels lack their end: ITK reads some of those, and some not."""
    with path.open("rb") as file:
        header = b""
        for line in file:
            if not line.strip():
                break
            header += line.lower()
        if b"encoding: gz" not in header or b"data file:" in header or b"datafile:" in header:
            return
        stream = zlib.decompressobj(wbits=31)
        try:
            while not stream.eof:
                packed = stream.unconsumed_tail or file.read(1 << 20)
                if not packed:
                    break
                stream.decompress(packed, 1 << 24)
        except zlib.error as error:
            raise InputError(f"{path} is truncated or damaged; download or export it again.") from error
    if not stream.eof:
        raise InputError(f"{path} is truncated or damaged; download or export it again.")
