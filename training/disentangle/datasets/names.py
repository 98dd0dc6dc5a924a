"""Studies chosen by the patterns of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import InputError


def chosen(names: Sequence[str], include: Iterable[str], exclude: Iterable[str], folder: Path) -> list[str]:
    """The names that fit a pattern of ``include`` and none of ``exclude``, in their order.

    Args:
        names: of the studies of a folder.
        include, exclude: shell patterns.
        folder: for the message.

    Raises:
        InputError: a pattern fits nothing (a misspelt exclusion would leak a test study into training).
    """
    include, exclude = list(include), list(exclude)
    for pattern in include + exclude:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f'No study in {folder} is named "{pattern}"; check data.studies.include and exclude.')
    wanted = [name for name in names if any(fnmatchcase(name, i) for i in include)]
    return [name for name in wanted if not any(fnmatchcase(name, e) for e in exclude)]
