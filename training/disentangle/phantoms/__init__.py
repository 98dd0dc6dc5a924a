"""Digital subjects with known truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from .brain import BRAIN_CLASSES, BrainPhantomConfig, brain_phantom
from .phantom import Phantom, write_phantom

_KINDS: dict[str, Callable[..., Phantom]] = {"brain": brain_phantom}


def phantom_kinds() -> tuple[str, ...]:
    """The kinds that :func:`create_phantom` makes."""
    return tuple(_KINDS)


def create_phantom(kind: str, seed: int, **config: Any) -> Phantom:
    """A digital subject of a kind ("brain"); ``config`` are the fields of that kind's configuration.

    Raises:
        InputError: unknown kind or option, or an impossible configuration.
    """
    if kind not in _KINDS:
        raise InputError(f"There are no phantoms of kind '{kind}'; choose one of {', '.join(_KINDS)}.")
    try:
        return _KINDS[kind](seed, **config)
    except TypeError as error:
        raise InputError(f"A {kind} phantom cannot be made: {error}; check the names of its options.") from error


__all__ = [
    "BRAIN_CLASSES",
    "BrainPhantomConfig",
    "Phantom",
    "brain_phantom",
    "create_phantom",
    "phantom_kinds",
    "write_phantom",
]
