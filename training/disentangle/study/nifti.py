"""NIfTI-1 voxels, decoded and encoded here.

ITK reads a truncated NIfTI file as if the rest were zeros, loads every time point of a 4-D file for one of them, and
writes to a full disk without noticing; none of that is acceptable for patients' images. Geometry is left to ITK (see
``reading.py``), so that a file lies where 3D Slicer shows it.

Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError

_HEADER_BYTES = 348
_DATATYPES = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
    1024: np.int64,
    1280: np.uint64,
}
_CODES = {np.dtype(kind): code for code, kind in _DATATYPES.items()}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_GZIP_LEVEL = 3  # a third of the time of level 6 at a few percent more bytes


@dataclass(frozen=True)
class Header:
    """What is needed of a NIfTI header: sizes (fastest axis first), voxel type, scaling, and both transforms (RAS)."""

    sizes: tuple[int, ...]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    qform: np.ndarray | None
    sform: np.ndarray | None

    @property
    def volumes(self) -> int:
        """Number of 3-D volumes (time points) in the file."""
        return math.prod(self.sizes[3:])


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _rotation(b: float, c: float, d: float) -> np.ndarray:
    """(3, 3) rotation of the unit quaternion whose imaginary part is (b, c, d)."""
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """Imaginary part (b, c, d) of the unit quaternion, real part not negative, of a (3, 3) rotation.

    The quaternion is the dominant eigenvector of Bar-Itzhack's symmetric matrix, well defined for any rotation.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, yx + xy, zx + xz],
            [xz - zx, yx + xy, yy - xx - zz, zy + yz],
            [yx - xy, zx + xz, zy + yz, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(matrix)[1][:, -1]
    return (quaternion if quaternion[0] >= 0 else -quaternion)[1:]


def read_header(path: Path) -> Header:
    """Read and check the header.

    Raises:
        InputError: it is not a NIfTI-1 file, or holds colours or complex numbers.
    """
    try:
        with _open(path) as file:
            raw = file.read(_HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a NIfTI image or is damaged; export or download it again.") from error
    sizes_of_header = {o: struct.unpack(f"{o}i", raw[:4])[0] for o in "<>"} if len(raw) >= 4 else {}
    order = next((o for o, n in sizes_of_header.items() if n in (_HEADER_BYTES, 540)), None)
    if order is None or len(raw) < _HEADER_BYTES:
        raise InputError(
            f"{path} is not a NIfTI image although its name says so (or its beginning is missing); "
            "check the file, or export it again."
        )
    if struct.unpack(f"{order}i", raw[:4])[0] == 540 or raw[344:348] != b"n+1\0":
        raise InputError(f"{path} is of a NIfTI variant that is not supported; convert it to a NIfTI-1 .nii.gz file.")
    dimensions = struct.unpack(f"{order}8h", raw[40:56])
    sizes = dimensions[1 : 1 + dimensions[0]] if 1 <= dimensions[0] <= 7 else ()
    while len(sizes) > 3 and sizes[-1] <= 1:
        sizes = sizes[:-1]
    sizes = sizes + (1,) * (3 - len(sizes))
    if min(sizes) < 1 or not 1 <= dimensions[0] <= 7:
        raise InputError(f"{path} has a damaged NIfTI header (impossible sizes); export or download it again.")
    code = struct.unpack(f"{order}h", raw[70:72])[0]
    if code not in _DATATYPES:
        raise InputError(f"{path} does not hold one grey value per voxel (NIfTI type {code}); export grey values.")
    pixdim = struct.unpack(f"{order}8f", raw[76:108])
    vox_offset, slope, intercept = struct.unpack(f"{order}3f", raw[108:120])
    qform_code, sform_code = struct.unpack(f"{order}2h", raw[252:256])
    b, c, d, x, y, z = struct.unpack(f"{order}6f", raw[256:280])
    qform = sform = None
    if qform_code > 0:
        qform = np.eye(4)
        qform[:3, :3] = _rotation(b, c, d) * np.array([pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1)])
        qform[:3, 3] = x, y, z
    if sform_code > 0:
        sform = np.vstack([np.array(struct.unpack(f"{order}12f", raw[280:328])).reshape(3, 4), [0, 0, 0, 1]])
    scaled = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    return Header(
        tuple(sizes),
        np.dtype(_DATATYPES[code]).newbyteorder(order),
        max(int(vox_offset), _HEADER_BYTES + 4) if math.isfinite(vox_offset) else _HEADER_BYTES + 4,
        slope if scaled else 1.0,
        intercept if scaled else 0.0,
        qform,
        sform,
    )


def read_voxels(path: Path, header: Header, volume: int = 0) -> np.ndarray:
    """(K, J, I) voxels of one volume, scaled as the header says (then float32, or float64 for float64 files).

    Raises:
        InputError: the file ends before the volume does, or is damaged.
    """
    count = math.prod(header.sizes[:3])
    wanted = count * header.dtype.itemsize
    try:
        with _open(path) as file:
            file.seek(header.offset + volume * wanted)
            raw = file.read(wanted)
            if isinstance(file, gzip.GzipFile) and len(raw) == wanted and volume == header.volumes - 1:
                file.read(1)  # reaching the end checks the checksum
    except (OSError, EOFError, zlib.error, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{path} is truncated or damaged; download or export it again.") from error
    if len(raw) < wanted:
        raise InputError(
            f"{path} is truncated: {len(raw)} of {wanted} bytes of its voxels are there; download or export it again."
        )
    array = np.frombuffer(raw, header.dtype).reshape(header.sizes[:3][::-1])
    array = array.astype(header.dtype.newbyteorder("="))
    if header.slope != 1.0 or header.intercept != 0.0:
        kind = np.float64 if array.dtype == np.float64 else np.float32
        with np.errstate(over="ignore", invalid="ignore"):  # infinite voxels are refused where volumes are checked
            array = (array.astype(np.float64) * header.slope + header.intercept).astype(kind)
    return array


def write(path: Path, array: np.ndarray, affine: np.ndarray, description: str = "") -> None:
    """Write (K, J, I) voxels with an LPS affine (4, 4), as sform and qform; compressed where the name ends in .gz.

    ``description`` goes into the header's field of 80 bytes, in ASCII, cut where it is longer.
    """
    ras = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(ras[:3, :3], axis=0)
    rotation = ras[:3, :3] / spacing
    handedness = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    quaternion = _quaternion(rotation * np.array([1.0, 1.0, handedness]))
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    header = bytearray(_HEADER_BYTES + 4)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _CODES[array.dtype.newbyteorder("=")], array.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, handedness, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _HEADER_BYTES + 4, 1.0, 0.0)
    header[123] = 2  # millimetres
    text = description.encode("ascii", "replace")[:79]
    header[148 : 148 + len(text)] = text
    struct.pack_into("<2h", header, 252, 1, 1)  # both in scanner coordinates
    struct.pack_into("<6f", header, 256, *quaternion, *ras[:3, 3])
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    header[344:348] = b"n+1\0"
    with path.open("wb") as plain:
        if path.name.lower().endswith(".gz"):
            # No time stamp and no name inside: the same volume gives the same bytes.
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, plain, mtime=0) as packed:
                packed.write(header)
                packed.write(np.ascontiguousarray(array).data)
        else:
            plain.write(header)
            plain.write(np.ascontiguousarray(array).data)


def can_hold(array: np.ndarray) -> bool:
    """Whether NIfTI-1 can hold this array: voxel type and at most 32767 voxels along each axis."""
    return array.dtype.newbyteorder("=") in _CODES and max(array.shape) <= 32767
