"""Safe writing: a result is there completely or not at all, and a full disk is one clear sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import unfinished
from ..errors import InputError

_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_TEMPORARY = re.compile(r"^\.[0-9a-f]{8}-(?=.)")
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain_write_error(path: Path, error: OSError) -> InputError:
    """The sentence for an operating-system error met while writing ``path``, under the name that it was to have."""
    path = _final(path)
    if error.errno in _NO_SPACE:
        return InputError(
            f"There is no space left to write {path}; free some disk space or choose another output folder."
        )
    if error.errno in _READ_ONLY:
        return InputError(f"{path} cannot be written (no permission); choose an output folder that you may write to.")
    if error.errno == errno.EISDIR:
        place = _final(Path(error.filename or path))
        return InputError(f"{place} is a folder and no file can replace it; rename it or choose another output folder.")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return InputError(f"{path} cannot be written: a part of its path is a file; choose another output folder.")
    return InputError(f"{path} cannot be written ({error.strerror or error}); choose another output folder.")


def _final(path: Path) -> Path:
    return Path(*(_TEMPORARY.sub("", part) for part in path.parts))


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


def move_together(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files, and folders to where nothing is, to their destinations: all of them, or none whatever happens.

    A file that is replaced stays beside its successor, under a hidden name, until all have arrived, and comes back
    when one cannot. So not even a disk that fails in between takes it away.

    Args:
        moves: from where to where, on one file system; the destination's folder exists.

    Raises:
        OSError: one cannot be moved; a destination is a folder, or a file where a folder is to be.
    """
    begun: list[_Move] = []
    try:
        for source, target in moves:
            begun.append(_Move(source, target))
            begun[-1].do(alone=len(moves) == 1)
    except BaseException:  # Ctrl-C, too
        for move in reversed(begun):
            move.undo()
        raise
    for move in begun:
        move.forget()


class _Move:
    """One file or folder on its way; what happened to it is read from the disk, since Ctrl-C may come at any moment."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self._aside = target.with_name(f".{uuid.uuid4().hex[:8]}-disentangle")
        self._new = not os.path.lexists(target)

    def do(self, alone: bool) -> None:
        """Move it; ``alone``: no other move can fail, and the system itself replaces one file completely or not."""
        if self.target.is_dir() and not self.target.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.target))
        if self.source.is_dir() and not self._new:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.target))
        if not self._new and not alone:
            self.target.replace(self._aside)
        self.source.replace(self.target)

    def undo(self) -> None:
        """Put everything back to where it was."""
        with contextlib.suppress(OSError):
            if os.path.lexists(self._aside):
                self._aside.replace(self.target)
            elif self._new and not os.path.lexists(self.source):
                self.target.replace(self.source)

    def forget(self) -> None:
        """Delete what was replaced."""
        with contextlib.suppress(OSError):
            self._aside.unlink(missing_ok=True)


def _files_to_move(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """A folder goes into one that is there file by file, anything else as a whole."""
    if source.is_dir() and target.is_dir():
        return [move for entry in sorted(source.iterdir()) for move in _files_to_move(entry, target / entry.name)]
    return [(source, target)]


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary sibling of ``path`` to write to; it takes the name ``path`` when the block ends well.

    The sibling has the suffixes of ``path``, so that writers that go by the suffix work. It may be made a file or
    a folder; the files of a folder then move into an existing folder together, replacing their namesakes and leaving
    everything else there alone. When the block raises, or one of them cannot be moved, ``path`` is as it was before
    and nothing else stays behind. Missing parent folders are created.

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
            move_together(_files_to_move(temporary, path))
    except OSError as error:
        raise explain_write_error(path, error) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        unfinished.end(temporary)
