"""Studies and results as folders of uncompressed ``.npy`` files and one ``index.json``, quick to write and to read.

This is the wire format between client and worker, of one protocol version; it is no storage format (that is the
study layout and ``Result.write``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..bundles import ClassInfo
from ..errors import InputError
from ..inference import Result, SequenceFactors
from ..inference.scores import FactorScores
from ..sequences import Guess
from ..study import Image, Study, write_atomically
from . import PROTOCOL
from .workspace import fits, spare_of

_INDEX = "index.json"
_TYPE = "$type"
_RECORDS: dict[str, type] = {t.__name__: t for t in (Image, Guess, ClassInfo, SequenceFactors, Result, FactorScores)}
_load = partial(np.load, allow_pickle=False)
_mapped = partial(np.load, mmap_mode="r", allow_pickle=False)
_STUDY = ("images", "name", "labels", "masks", "label_names", "warnings", "sequence_labels")


def write_study(study: Study, folder: str | os.PathLike[str]) -> Path:
    """Write a study for the worker.

    Raises:
        InputError: read-only place, or no space left; then the folder is not there.
    """
    return write({name: getattr(study, name) for name in _STUDY}, folder)


def read_study(folder: str | os.PathLike[str]) -> Study:
    """Read what :func:`write_study` wrote.

    Raises:
        InputError: the folder is incomplete or of another protocol version.
    """
    return Study(**read(folder))


class StudyReader:
    """Reads studies one after the other; where one has the voxels of the one before, those are taken instead.

    Every voxel is compared: what is alike in name, date and size is not yet the same. Nobody can write to the arrays,
    so that who keeps a study knows without another look that it is the same.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def read(self, folder: str | os.PathLike[str]) -> Study:
        """As :func:`read_study`."""
        before, self._arrays = self._arrays, []

        def load(path: Path) -> np.ndarray:
            array = next((known for known in before if _holds(path, known)), None)
            if array is None:
                array = np.array(_mapped(path))
                array.setflags(write=False)
            self._arrays.append(array)
            return array

        return Study(**read(folder, load))


def _holds(path: Path, known: np.ndarray) -> bool:
    """Whether a file holds an array bit by bit. Comparing it where it lies costs a third of reading it into new memory
    and a digest."""
    found = _mapped(path)
    if (found.dtype, found.shape) != (known.dtype, known.shape):
        return False
    bits = f"u{known.itemsize}"  # NaN is equal to itself
    return all(np.array_equal(a.view(bits), b.view(bits)) for a, b in zip(found, known, strict=True))


def write_result(result: Result, folder: str | os.PathLike[str]) -> Path:
    """Write a result for the client.

    Raises:
        InputError: read-only place, or no space left; then the folder is not there.
    """
    return write(result, folder)


def read_result(folder: str | os.PathLike[str]) -> Result:
    """Read what :func:`write_result` wrote.

    Raises:
        InputError: the folder is incomplete or of another protocol version.
    """
    return read(folder)


def write(value: Any, folder: str | os.PathLike[str]) -> Path:
    """Write an image, arrays, or a dictionary of such.

    What does not fit into shared memory goes to the workspace's spare folder on disk, and ``folder`` becomes a link.

    Raises:
        InputError: read-only place, or no space left; then the folder is not there.
    """
    folder = Path(folder)
    spare = spare_of(folder)
    if folder.is_symlink():  # what was there before did not fit
        folder.unlink()
    if spare is None or fits(folder, _size(value)):
        try:
            return _write(value, folder)
        except InputError as error:  # others have taken the room meanwhile
            if spare is None:
                raise _no_room(folder, error) from error
    try:
        _write(value, spare)
        shutil.rmtree(folder, ignore_errors=True)  # what was there before fitted
        folder.symlink_to(spare, target_is_directory=True)
    except (InputError, OSError) as error:
        raise _no_room(spare, error) from error
    return folder


def _size(value: Any) -> int:
    """Bytes of the arrays in what is to be written."""
    total = 0

    def count(array: np.ndarray) -> str:
        nonlocal total
        total += array.nbytes
        return ""

    _encode(value, count)
    return total


def _no_room(folder: Path, error: BaseException) -> InputError:
    """The sentence for a folder that the user has not chosen and cannot choose."""
    reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
    reason = getattr(reason, "strerror", None) or reason
    return InputError(
        f"The images cannot be handed over to the computation, since {folder.parent} cannot be written ({reason}); "
        "free some space there and run again."
    )


def _write(value: Any, folder: Path) -> Path:
    with write_atomically(folder) as temporary:
        temporary.mkdir()
        count = 0

        def store(array: np.ndarray) -> str:
            nonlocal count
            count += 1
            name = f"{count}.npy"
            np.save(temporary / name, array, allow_pickle=False)
            return name

        index = {"protocol": PROTOCOL, "content": _encode(value, store)}
        (temporary / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    return folder


def read(folder: str | os.PathLike[str], load: Callable[[Path], np.ndarray] = _load) -> Any:
    """Read what :func:`write` wrote.

    Args:
        load: reads an array from a file.

    Raises:
        InputError: the folder is incomplete or of another protocol version.
    """
    folder = Path(folder)
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        if index["protocol"] != PROTOCOL:
            raise InputError(
                f"{folder} is of protocol {index['protocol']}, not {PROTOCOL}; panel and worker are of different "
                "versions of Disentangle: let both use one."
            )
        return _decode(index["content"], lambda name: load(folder / name))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} is incomplete or damaged ({error}); run again.") from error


def _encode(value: Any, store: Callable[[np.ndarray], str]) -> Any:
    if isinstance(value, np.ndarray):
        return {_TYPE: "array", "file": store(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple(_RECORDS.values())):
        fields = {f.name: _encode(getattr(value, f.name), store) for f in dataclasses.fields(value)}
        return {_TYPE: type(value).__name__, "fields": fields}
    if isinstance(value, tuple):
        return {_TYPE: "tuple", "items": [_encode(v, store) for v in value]}
    if isinstance(value, list):
        return [_encode(v, store) for v in value]
    if isinstance(value, dict):
        if all(isinstance(k, str) and k != _TYPE for k in value):
            return {k: _encode(v, store) for k, v in value.items()}
        return {_TYPE: "dict", "items": [[_encode(k, store), _encode(v, store)] for k, v in value.items()]}
    if isinstance(value, Path):
        return str(value)
    return value


def _decode(value: Any, load: Callable[[str], np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(v, load) for v in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_TYPE)
    if kind is None:
        return {k: _decode(v, load) for k, v in value.items()}
    if kind == "array":
        return load(value["file"])
    if kind == "tuple":
        return tuple(_decode(v, load) for v in value["items"])
    if kind == "dict":
        return {_decode(k, load): _decode(v, load) for k, v in value["items"]}
    return _RECORDS[kind](**{k: _decode(v, load) for k, v in value["fields"].items()})
