"""Digital subjects with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from ..errors import InputError
from .abdomen import ABDOMEN_CLASSES, AbdomenPhantomConfig, abdomen_phantom
from .brain import BRAIN_CLASSES, BrainPhantomConfig, brain_phantom
from .heart import HEART_CLASSES, HEART_CLASSES_RV, HeartPhantomConfig, heart_phantom
from .pet import BrainPetConfig, brain_pet_phantom
from .phantom import Phantom, leftovers, write_phantom

_KINDS: dict[str, tuple[Callable[..., Phantom], type]] = {
    "brain": (brain_phantom, BrainPhantomConfig),
    "brain-pet": (brain_pet_phantom, BrainPetConfig),
    "heart": (heart_phantom, HeartPhantomConfig),
    "abdomen": (abdomen_phantom, AbdomenPhantomConfig),
}
"""Kind -> function (seed, configuration) and class of its configuration."""


def phantom_kinds() -> tuple[str, ...]:
    """The kinds that :func:`create_phantom` makes."""
    return tuple(_KINDS)


def phantom_module(kind: str) -> str:
    """Where phantoms of a kind are made: "phantoms.heart"."""
    return ".".join(_KINDS[kind][0].__module__.split(".")[1:])


def create_phantom(kind: str, seed: int, /, **config: Any) -> Phantom:
    """A digital subject of one of :func:`phantom_kinds`; ``config`` are the fields of that kind's configuration.

    Raises:
        InputError: unknown kind or option, or an impossible configuration.
    """
    if kind not in _KINDS:
        raise InputError(f"There are no phantoms of kind '{kind}'; choose one of {', '.join(_KINDS)}.")
    make, config_class = _KINDS[kind]
    known = [field.name for field in fields(config_class)]
    for name in config:
        if name not in known:
            raise InputError(f"A {kind} phantom has no option '{name}'; choose among {', '.join(known)}.")
    return make(seed, config_class(**config))


__all__ = [
    "ABDOMEN_CLASSES",
    "BRAIN_CLASSES",
    "HEART_CLASSES",
    "HEART_CLASSES_RV",
    "AbdomenPhantomConfig",
    "BrainPetConfig",
    "BrainPhantomConfig",
    "HeartPhantomConfig",
    "Phantom",
    "abdomen_phantom",
    "brain_pet_phantom",
    "brain_phantom",
    "create_phantom",
    "heart_phantom",
    "leftovers",
    "phantom_kinds",
    "phantom_module",
    "write_phantom",
]
