"""What is being written right now: it goes away when the process must end at once. The standard library alone is needed
here, since a worker that has read nothing yet can lose its parent, too."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

_PASSES = 5
"""Another thread may go on writing into a folder that is being deleted, until its next file has no place left."""

finishing = threading.RLock()
"""Held while files move to their destination, and while everything else is deleted."""
_paths: set[Path] = set()


def begin(path: Path) -> None:
    """A file or folder will be written that is of no use until :func:`end`."""
    with finishing:
        _paths.add(path)


def end(path: Path) -> None:
    """It is where it belongs, or gone."""
    with finishing:
        _paths.discard(path)


def discard() -> None:
    """Delete all that is unfinished: the process ends at once."""
    with finishing:
        for path in sorted(_paths):
            for _ in range(_PASSES):
                if not path.exists():
                    break
                _delete(path)
        _paths.clear()


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
