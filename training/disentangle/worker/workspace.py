"""The folders through which panel and worker hand over data: in memory where they fit, else on disk, and never left
behind for ever, since patients' images lie in them.

A workspace in shared memory has a spare one on disk, for what does not fit: there is a link to it in the former. Both
hold a file that its owner keeps locked as long as it lives, which no system forgets to undo, whatever ends a process.
So the next session knows whose folders are whose, without process ids, which are given anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PREFIX = "disentangle-"
_SHARED_MEMORY = Path("/dev/shm")
_OWNER = "owner"
_SPARE = "spare"
_ROOM = 2 << 30
"""Shared memory with less room is of a container (64 MB in Docker), or nearly full."""
_RESERVE = 256 << 20
"""Shared memory that is left to others, and to slices and answers of a few megabytes."""


class Workspace:
    """Folders for the data of requests, in shared memory where there is such a place with room, else for temporary
    files; what dead sessions of this user left behind is deleted first.

    Attributes:
        path: the folder that holds them.
    """

    def __init__(self) -> None:
        memory, disk = _shared_memory(), Path(tempfile.gettempdir())
        sweep([disk, _SHARED_MEMORY])
        self._locks = contextlib.ExitStack()
        self.path = self._make(memory or disk)
        if memory is not None:
            with contextlib.suppress(OSError):  # without a spare one, what does not fit is an error
                (self.path / _SPARE).symlink_to(self._make(disk), target_is_directory=True)

    def folder(self) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(dir=self.path))

    def discard(self, folder: Path) -> None:
        """Delete a folder that :meth:`folder` gave."""
        if folder.parent == self.path:
            for place in (spare_of(folder), folder):
                if place is not None:
                    shutil.rmtree(place, ignore_errors=True)

    def close(self) -> None:
        """Delete everything."""
        self._locks.close()  # Windows deletes no file that is open
        delete(self.path)

    def _make(self, place: Path) -> Path:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        with contextlib.suppress(OSError):  # a place without locks: nobody will take the folder for abandoned
            self._locks.enter_context(_own(path / _OWNER))
        return path


def delete(workspace: Path) -> None:
    """Delete a workspace with its spare one."""
    spare = workspace / _SPARE
    if spare.is_symlink():
        shutil.rmtree(spare.resolve(), ignore_errors=True)
    shutil.rmtree(workspace, ignore_errors=True)


def spare_of(path: Path) -> Path | None:
    """Where something that lies in a workspace in shared memory goes if it does not fit there.

    Args:
        path: a folder that :meth:`Workspace.folder` gave, or something in it.
    """
    for workspace in path.parents:
        if workspace.name.startswith(PREFIX) and (workspace / _SPARE).is_symlink():
            return (workspace / _SPARE).resolve() / path.relative_to(workspace)
    return None


def fits(path: Path, size: int) -> bool:
    """Whether so many bytes may be written into shared memory, to ``path``'s folder, and others still find room."""
    try:
        return shutil.disk_usage(path.parent).free >= size + _RESERVE
    except OSError:
        return True  # then writing tells


def sweep(places: list[Path]) -> None:
    """Delete workspaces whose owner, a process of this user, is dead."""
    for path in [path for place in places for path in place.glob(f"{PREFIX}*")]:
        with contextlib.suppress(OSError):
            if _abandoned(path):
                shutil.rmtree(path, ignore_errors=True)


def _shared_memory() -> Path | None:
    """Where arrays are handed over without a disk, if there is such a place with room."""
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        return None
    return _SHARED_MEMORY if free >= _ROOM and os.access(_SHARED_MEMORY, os.W_OK) else None


def _abandoned(path: Path) -> bool:
    found = path.lstat()
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    if not (mine and stat.S_ISDIR(found.st_mode) and (path / _OWNER).is_file()):
        return False
    with (path / _OWNER).open("r+b") as file:
        # An owner that has not got its lock yet has not written its name either.
        return _lock(file, wait=False) and bool(file.read())


@contextlib.contextmanager
def _own(path: Path) -> Iterator[None]:
    """Keep a new file locked, with this process's number in it for whoever looks."""
    with path.open("w+b") as file:
        _lock(file, wait=True)
        file.write(str(os.getpid()).encode("ascii"))
        file.flush()
        yield


def _lock(file: BinaryIO, wait: bool) -> bool:
    """Lock a file until it is closed, or its process ends; False where another one has it.

    Raises:
        OSError: a lock was waited for and there is none to be had.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if wait:
            raise
        return False
    return True
