"""Safe writing: a result is there completely or not at all, and a full disk is one clear sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from .. import unfinished
from ..errors import InputError

_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_TEMPORARY = re.compile(r"^\.[0-9a-f]{8}-(?=.)")
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain_write_error(path: Path, error: OSError) -> InputError:
    """The sentence for an operating-system error met while writing ``path``, under the name that it was to have."""
    path = Path(*(_TEMPORARY.sub("", part) for part in path.parts))
    if error.errno in _NO_SPACE:
        return InputError(
            f"There is no space left to write {path}; free some disk space or choose another output folder."
        )
    if error.errno in _READ_ONLY:
        return InputError(f"{path} cannot be written (no permission); choose an output folder that you may write to.")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return InputError(f"{path} cannot be written: a part of its path is a file; choose another output folder.")
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another output folder.")


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Create a folder for output, with its parents.

    Raises:
        InputError: it cannot be created.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(folder, error) from error
    return folder


def _move(source: Path, target: Path) -> None:
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _move(entry, target / entry.name)
    else:
        source.replace(target)


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write to; it takes the name ``path`` when the block ends well.

    The sibling has the suffixes of ``path``, so that writers that go by the suffix work. It may be made a file or
    a folder; the files of a folder then move into an existing folder one by one, replacing their namesakes and
    leaving everything else there alone. When the block raises, ``path`` is as it was before and nothing else stays
    behind. Missing parent folders are created.

    Raises:
        InputError: the place is read-only, or no space is left (any ``OSError`` of the block).
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    unfinished.begin(temporary)
    try:
        yield temporary
        with unfinished.finishing:
            _move(temporary, path)
    except OSError as error:
        raise explain_write_error(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        unfinished.end(temporary)
