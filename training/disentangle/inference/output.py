"""Writing results: checked before the computation, complete or not there after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from .. import unfinished
from ..errors import InputError
from ..study.files import explain_write_error, move_together


def _existing_ancestor(path: Path) -> Path:
    """The nearest folder or file at or above ``path`` that exists."""
    for candidate in (path, *path.parents):
        if candidate.exists():
            return candidate
    return path  # an absent drive: the attempt to write there says so


def check_writable(path: str | os.PathLike[str], folder: bool = False) -> None:
    """Find out, before anything is computed, whether an output can be written.

    Args:
        path: an output file, or with ``folder`` an output folder; it need not exist.

    Raises:
        InputError: a part of the path is a file, the output is a folder where a file is wanted or the reverse, or
            the place cannot be written to.
    """
    path = Path(path).absolute()
    if not folder and path.is_dir():
        raise InputError(f"The output {path} is a folder; name a file.")
    if folder and path.is_file():
        raise InputError(f"The output {path} is a file; name a folder.")
    place = _existing_ancestor(path if folder else path.parent)
    if not place.is_dir():
        raise InputError(f"{path} cannot be written because {place} is a file; choose another output folder.")
    if not os.access(place, os.W_OK):
        raise InputError(f"{place} is read-only and cannot be written to; choose another output folder.")
    probe = place / f".{uuid.uuid4().hex[:8]}-disentangle"
    try:  # os.access says yes on some read-only mounts and network shares
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise explain_write_error(path, error) from error


class Staging:
    """Files written beside their destination and moved there together."""

    def __init__(self) -> None:
        self._scratch: dict[Path, Path] = {}  # the folder that exists -> the temporary folder in it
        self._files: list[tuple[Path, Path]] = []

    def path(self, final: str | os.PathLike[str]) -> Path:
        """The temporary path, with the same name, to write what shall become ``final``."""
        final = Path(final).absolute()
        place = _existing_ancestor(final.parent)
        if place not in self._scratch:
            scratch = place / f".{uuid.uuid4().hex[:8]}-disentangle"
            unfinished.begin(scratch)
            scratch.mkdir()
            self._scratch[place] = scratch
        # One folder per file: two outputs may have the same name in different folders.
        holder = self._scratch[place] / str(len(self._files))
        holder.mkdir()
        self._files.append((holder / final.name, final))
        return holder / final.name

    def commit(self) -> None:
        """Move everything to its destination; when a move fails, everything there is as it was before."""
        with unfinished.finishing:
            self._move()

    def _move(self) -> None:
        new: list[Path] = []
        try:
            for _, final in self._files:
                new += reversed([folder for folder in final.parents if not folder.exists()])
                final.parent.mkdir(parents=True, exist_ok=True)
            move_together(self._files)
        except BaseException:  # Ctrl-C, too
            for folder in reversed(new):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise

    def clean(self) -> None:
        """Remove the temporary folders."""
        for scratch in self._scratch.values():
            shutil.rmtree(scratch, ignore_errors=True)
            unfinished.end(scratch)


@contextlib.contextmanager
def staged_outputs(what: str | os.PathLike[str]) -> Iterator[Staging]:
    """Several output files that appear together when the block ends well, and leave no trace when it does not: files
    that they were to replace are as they were before.

    Args:
        what: the output as the user named it, for messages.

    Raises:
        InputError: no space left, a read-only place, or any other ``OSError`` while writing.
    """
    staging = Staging()
    try:
        yield staging
        staging.commit()
    except OSError as error:
        raise explain_write_error(Path(what), error) from error
    finally:
        staging.clean()
