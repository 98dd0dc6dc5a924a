"""What ITK does not give of a DICOM header: whether a file is an image at all, and the frames of multi-frame files.

Reads explicit and implicit VR little endian, with the sequences that place and tell apart the frames of the enhanced
image classes (DICOM PS3.3, C.7.6.16); nothing else is kept.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

POSITION, ORIENTATION, SPACING = "0020|0032", "0020|0037", "0028|0030"
SLOPE, INTERCEPT = "0028|1053", "0028|1052"
FRAME_ECHO, FRAME_TYPE, FRAME_B_VALUE, FRAME_TIME = "0018|9082", "0008|9007", "0018|9087", "0020|9128"
_FRAME_NUMBERS = {FRAME_ECHO: "<d", FRAME_B_VALUE: "<d", FRAME_TIME: "<I"}
"""Attributes of frames that are stored as numbers; all others are texts."""
_FRAME_TEXTS = (POSITION, ORIENTATION, SPACING, SLOPE, INTERCEPT, FRAME_TYPE)
_SYNTAX, _CLASS, _MODALITY, _PIXELS = "0002|0010", "0008|0016", "0008|0060", "7fe0|0010"
_MEDIA_CLASS, _SHARED, _PER_FRAME = "0002|0002", "5200|9229", "5200|9230"
# Plane position, orientation and measures, rescaling, echo, diffusion, frame content; frame types of MR, CT, PET.
_GROUPS = ("0020|9113", "0020|9116", "0028|9110", "0028|9145", "0018|9114", "0018|9117", "0020|9111")
_TYPES = ("0018|9226", "0018|9329", "0018|9751")
_NESTED = {_SHARED, _PER_FRAME, *_GROUPS, *_TYPES}
_VALUES = {_SYNTAX, _MEDIA_CLASS, _CLASS, _MODALITY, *_FRAME_NUMBERS, *_FRAME_TEXTS}
_ITEM, _ITEM_END, _SEQUENCE_END = "fffe|e000", "fffe|e00d", "fffe|e0dd"
_LONG_FORMS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNDEFINED = 0xFFFFFFFF
_IMPLICIT, _UNREADABLE = "1.2.840.10008.1.2", ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_IMAGE_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(?!4\.2$)([1-7]|12|13|20|77|128|130|481\.[12])(\.\d+)*")
_NO_IMAGE = {"SR", "PR", "KO", "DOC", "SEG", "REG", "FID", "RTSTRUCT", "RTPLAN", "RTRECORD", "PLAN", "ECG"}
"""Modalities of objects that are no images to be read here."""


def holds_no_image(path: Path) -> bool:
    """Whether a file that ITK cannot read is of a kind without pixels: a report, a plan, a presentation, a document."""
    header, whole = read_header(path)
    if header.get(_MODALITY) in _NO_IMAGE:
        return True
    kind = header.get(_CLASS) or header.get(_MEDIA_CLASS) or ""
    if not kind or _IMAGE_CLASS.fullmatch(kind):
        return False
    return kind.startswith("1.2.840.10008.") or (whole and _PIXELS not in header)


def frame_tags(path: Path) -> list[dict[str, str]]:
    """The attributes of every frame of a multi-frame file, those that all share among them; none where it has none."""
    header, _ = read_header(path)
    shared = _flat(header.get(_SHARED, [{}])[:1])
    return [shared | _flat([group]) for group in header.get(_PER_FRAME, [])]


def _flat(items: list[dict[str, Any]]) -> dict[str, str]:
    """The values of items and of the items within them."""
    values: dict[str, str] = {}
    for item in items:
        for tag, value in item.items():
            values.update(_flat(value) if isinstance(value, list) else {tag: value})
    return values


def read_header(path: Path) -> tuple[dict[str, Any], bool]:
    """The values and sequences of ``_VALUES`` and ``_NESTED`` before the pixels, and whether all could be read."""
    header: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            file.seek(128)
            if file.read(4) != b"DICM":
                return header, False
            while file.read(2) == b"\x02\0":
                file.seek(-2, os.SEEK_CUR)
                _read_element(file, end, True, header)
            file.seek(-2, os.SEEK_CUR)
            if header.get(_SYNTAX) in _UNREADABLE:
                return header, False
            while file.tell() < end and _PIXELS not in header:
                _read_element(file, end, header.get(_SYNTAX) != _IMPLICIT, header)
    except (OSError, ValueError, struct.error, RecursionError):
        return header, False
    return header, True


def _read_element(file: BinaryIO, end: int, explicit: bool, found: dict[str, Any]) -> str:
    """Read one element, little endian, put what is wanted of it into ``found``, and return its tag."""
    group, element, form, length = struct.unpack("<HH2sH", file.read(8))
    tag = f"{group:04x}|{element:04x}"
    if not explicit or group == 0xFFFE:
        (length,) = struct.unpack("<I", form + struct.pack("<H", length))
    elif form in _LONG_FORMS:
        (length,) = struct.unpack("<I", file.read(4))
    elif not (form.isalpha() and form.isupper()):
        raise ValueError("no DICOM element")
    stop = file.tell() + length
    if length != _UNDEFINED and stop > end:
        raise ValueError("cut off")
    if tag == _PIXELS:
        found[tag] = ""
    if length == _UNDEFINED or tag in _NESTED:
        # A sequence whose form was unknown to the writer is stored without forms, whatever the rest of the file does.
        items = _read_items(file, min(stop, end), explicit and form != b"UN", raw=tag == _PIXELS)
        if tag in _NESTED:
            found[tag] = items
    elif tag in _VALUES:
        found[tag] = _value(tag, file.read(length))
    else:
        file.seek(stop)
    return tag


def _read_items(file: BinaryIO, end: int, explicit: bool, raw: bool) -> list[dict[str, Any]]:
    """The items of a sequence; those of packed pixels are ``raw`` and hold no elements."""
    items: list[dict[str, Any]] = []
    while file.tell() < end:
        group, element, length = struct.unpack("<HHI", file.read(8))
        tag = f"{group:04x}|{element:04x}"
        if tag == _SEQUENCE_END:
            break
        stop = end if length == _UNDEFINED else file.tell() + length
        if tag != _ITEM or stop > end:
            raise ValueError("no item of a sequence")
        if raw:
            file.seek(stop)
            continue
        items.append({})
        while file.tell() < stop and _read_element(file, stop, explicit, items[-1]) != _ITEM_END:
            pass
    return items


def _value(tag: str, value: bytes) -> str:
    if tag in _FRAME_NUMBERS:
        return f"{struct.unpack_from(_FRAME_NUMBERS[tag], value)[0]:.9g}"
    return value.decode("ascii", "replace").strip(" \0")
