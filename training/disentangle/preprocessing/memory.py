"""What was found out about images before, by their content: a second run on the same study need not search again.

No image is kept, only what was found: poses, figures, and masks (as bits). Nothing in an entry tells whose it is: its
name is a digest of voxels, geometry and settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..parallel import in_parallel
from ..resources import cache_folder
from ..study import Image, Study

METHOD = 3
"""Raised whenever registration, pose or masks find something else in the same images."""
_ENTRIES = 400
"""On disk, 2 kB each without a mask and up to 100 kB with one; the oldest go first."""
_IN_MEMORY = 64
_UNFINISHED_S = 3600.0
"""A file of an entry that is this old and still has no name was left by a process that ended while it wrote."""

Finding = dict[str, np.ndarray]


def content_key(*parts: Any) -> str:
    """A digest of images (voxels and geometry), arrays, texts, numbers and None."""
    digest = hashlib.sha256(f"{__version__} {METHOD}".encode())
    for part in parts:
        arrays = (part.array, part.affine) if isinstance(part, Image) else (part,)
        for value in arrays:
            if isinstance(value, np.ndarray):
                digest.update(f"array {value.dtype.str} {value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data.cast("B"))
            else:
                digest.update(f"{type(value).__name__} {value!r};".encode())
    return digest.hexdigest()


def study_key(study: Study) -> str:
    """A digest of everything in a study that preparing it depends on."""
    keys = in_parallel(lambda part, progress: content_key(*part), _parts(study))
    return content_key(*_texts(study), *keys)


def surely_same(study: Study, other: Study) -> bool:
    """Whether two studies have the same :func:`study_key`, as far as it can be told without reading a voxel: they share
    their arrays, to which nobody can have written since."""
    parts, others = _parts(study), _parts(other)
    if _texts(study) != _texts(other) or [part[:2] for part in parts] != [part[:2] for part in others]:
        return False
    return all(_share_voxels(part[2], other[2]) for part, other in zip(parts, others, strict=True))


def _parts(study: Study) -> list[tuple[int, str, Image]]:
    """Every image of a study, with its kind and its name."""
    labels = {} if study.labels is None else {"": study.labels}
    kinds = (study.images, labels, study.masks, study.sequence_labels)
    return [(kind, name, image) for kind, images in enumerate(kinds) for name, image in images.items()]


def _texts(study: Study) -> tuple[str, list[tuple[int, str]], list[str]]:
    return study.name, sorted(study.label_names.items()), list(study.warnings)


def _share_voxels(one: Image, two: Image) -> bool:
    own = one.array.flags.owndata and not one.array.flags.writeable
    return one.array is two.array and own and np.array_equal(one.affine, two.affine)


class Memory:
    """Findings by key, the latest in memory and, where there is a folder, more of them on disk.

    A disk that is full, read-only or damaged costs time and nothing else. Threads and processes may share it.

    Args:
        folder: on disk; None keeps findings in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._found: OrderedDict[str, Finding] = OrderedDict()
        self._lock = threading.Lock()  # of _found; never held while something is computed, read or written

    @classmethod
    def of_user(cls) -> Memory:
        """The memory in the user's cache folder."""
        return cls(cache_folder() / "findings")

    def recall(self, key: str) -> Finding | None:
        """What was found under a key; None where nothing was."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        if self.folder is None:
            return None
        path = self.folder / f"{key}.npz"
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                finding = {name: _unpacked(stored, name) for name in stored.files if not name.endswith(_SHAPE)}
        except Exception:  # damaged bytes may be anything: zlib.error, BadZipFile, NotImplementedError, ...
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        self._keep(key, finding)
        return finding

    def remember(self, key: str, finding: Mapping[str, Any]) -> None:
        """Store a finding: numbers, short texts and arrays by name."""
        plain = {name: np.asarray(value) for name, value in finding.items() if value is not None}
        self._keep(key, plain)
        if self.folder is None:
            return
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **_packed(plain))
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            _store(self.folder / f"{key}.npz", buffer.getvalue())
            _evict(self.folder)

    def _keep(self, key: str, finding: Finding) -> None:
        with self._lock:
            self._found[key] = finding
            if len(self._found) > _IN_MEMORY:
                self._found.popitem(last=False)


def _store(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp")  # another process may write the same entry
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _evict(folder: Path) -> None:
    """Delete the oldest entries that are too many, and what was never finished."""
    entries = sorted((path.stat().st_mtime, path) for path in folder.glob("*.npz"))
    now = max((written for written, _ in entries), default=0.0)  # by the clock of the disk: a server has its own
    unfinished = [path for path in folder.glob(".*.tmp") if now - path.stat().st_mtime > _UNFINISHED_S]
    for path in [*(path for _, path in entries[:-_ENTRIES]), *unfinished]:
        path.unlink(missing_ok=True)


_SHAPE = ".shape"


def _packed(finding: Finding) -> Finding:
    """Masks as bits, with their shapes beside them."""
    packed = {}
    for name, array in finding.items():
        if array.dtype == bool and array.ndim:
            packed[name], packed[name + _SHAPE] = np.packbits(array), np.array(array.shape)
        else:
            packed[name] = array
    return packed


def _unpacked(stored: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name + _SHAPE not in stored:
        return stored[name]
    shape = tuple(stored[name + _SHAPE])
    return np.unpackbits(stored[name], count=int(np.prod(shape))).reshape(shape).astype(bool)
