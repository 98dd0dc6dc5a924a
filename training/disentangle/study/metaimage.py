"""MetaImage (.mha, .mhd) decoded here: ITK's library writes about damaged files straight to the terminal.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .geometry import Grid

_LEVEL = 3  # of compression: a third of the time of level 6 at a few percent more bytes
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items() if "LONG" not in name or "LONG_LONG" in name}


@dataclass(frozen=True)
class Header:
    """Sizes (fastest axis first), channels per voxel, voxel type, LPS affine (4, 4), all fields, where the data lie."""

    sizes: tuple[int, ...]
    channels: int
    dtype: np.dtype
    affine: np.ndarray
    fields: dict[str, str]
    data: Path
    offset: int

    @property
    def volumes(self) -> int:
        """Number of 3-D volumes (time points) in the file."""
        return math.prod(self.sizes[3:])


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is truncated, damaged or no MetaImage; download or export it again.")


def read_header(path: Path) -> Header:
    """Read and check the header.

    Raises:
        InputError: no MetaImage, or one whose voxels are text or lie in several files.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(4096)
            key, separator, value = line.partition(b"=")
            if not separator:
                raise _damaged(path)
            fields[key.strip().decode("latin-1")] = value.strip().decode("utf-8", "replace")
        offset = file.tell()
    try:
        return _understand(path, fields, offset)
    except (KeyError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(path) from error


def _understand(path: Path, fields: dict[str, str], offset: int) -> Header:
    sizes = tuple(int(n) for n in fields["DimSize"].split())
    dimension = int(fields.get("NDims", len(sizes)))
    if dimension != len(sizes) or not 1 < dimension <= 7 or min(sizes) < 1:
        raise ValueError("sizes")
    most_significant_first = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    dtype = np.dtype((">" if most_significant_first.lower() == "true" else "<") + _TYPES[fields["ElementType"]])
    name = fields["ElementDataFile"]
    if "%" in name or name.upper().startswith("LIST") or fields.get("BinaryData", "True").lower() != "true":
        raise InputError(f"{path} keeps its voxels as text or in several files; save it again as .nii.gz or .nrrd.")
    data = path
    if name.upper() != "LOCAL":
        data, offset = path.with_name(Path(name.replace("\\", "/")).name), int(fields.get("HeaderSize", "0"))
        if not data.is_file():
            raise InputError(f"{path} names its voxels' file {data.name}, which is not beside it; copy both.")
    axes, origin, spacing = np.eye(dimension), np.zeros(dimension), np.ones(dimension)
    for key in ("TransformMatrix", "Rotation", "Orientation"):
        if key in fields:
            # Each row of the field is the direction of one axis.
            axes = np.array([float(v) for v in fields[key].split()]).reshape(dimension, dimension).T
    for key in ("Offset", "Position", "Origin"):
        if key in fields:
            origin = np.array([float(v) for v in fields[key].split()]).reshape(dimension)
    for key in ("ElementSize", "ElementSpacing"):
        if key in fields:
            spacing = np.array([float(v) for v in fields[key].split()]).reshape(dimension)
    space = min(dimension, 3)
    affine = np.eye(4)
    affine[:space, :space] = (axes * spacing)[:space, :space]
    affine[:space, 3] = origin[:space]
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError("geometry")
    sizes += (1,) * (3 - dimension)
    return Header(sizes, int(fields.get("ElementNumberOfChannels", "1")), dtype, affine, fields, data, offset)


def read_voxels(path: Path, header: Header, volume: int = 0) -> np.ndarray:
    """(K, J, I) voxels of one volume.

    Raises:
        InputError: the file ends before the volume does, or is damaged.
    """
    count = math.prod(header.sizes[:3])
    wanted = count * header.dtype.itemsize
    with header.data.open("rb") as file:
        if header.fields.get("CompressedData", "False").lower() == "true":
            file.seek(header.offset)
            packed = zlib.decompressobj(wbits=47)
            try:
                raw = packed.decompress(file.read(), wanted * header.volumes + 1)
            except (zlib.error, OverflowError, MemoryError) as error:
                raise _damaged(path) from error
            if not packed.eof:
                raise _damaged(path)
            raw = raw[volume * wanted : (volume + 1) * wanted]
        else:
            # HeaderSize -1 means that the voxels are the last bytes of the file.
            start = header.offset if header.offset >= 0 else header.data.stat().st_size - wanted * header.volumes
            file.seek(max(start, 0) + volume * wanted)
            raw = file.read(wanted) if wanted <= header.data.stat().st_size else b""
    if len(raw) != wanted:
        raise _damaged(path)
    array = np.frombuffer(raw, header.dtype).reshape(header.sizes[:3][::-1])
    return array.astype(header.dtype.newbyteorder("="))


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (K, J, I) voxels with an LPS affine (4, 4), compressed, in one file."""
    grid = Grid(array.shape, affine)
    packed = zlib.compress(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data, _LEVEL)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(packed)),
        "TransformMatrix": _numbers(grid.direction.T.ravel()),
        "Offset": _numbers(grid.origin),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(grid.spacing),
        "DimSize": _numbers(grid.size),
        "ElementType": _NAMES[array.dtype.newbyteorder("=")],
        "ElementDataFile": "LOCAL",
    }
    with path.open("wb") as file:
        file.write("".join(f"{key} = {value}\n" for key, value in fields.items()).encode("ascii"))
        file.write(packed)


def _numbers(values: np.ndarray | tuple[int, ...]) -> str:
    return " ".join(repr(v) for v in np.asarray(values).tolist())


def can_hold(array: np.ndarray) -> bool:
    """Whether MetaImage can hold this array's voxel type."""
    return array.dtype.newbyteorder("=") in _NAMES
