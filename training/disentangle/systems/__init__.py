"""The disentanglement systems by name. A system's module is imported when it is asked for, not before."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from .base import System

SYSTEMS = {"margindis": ("margindis", "MarginDis")}
"""System name -> (module in this folder, class)."""


def create(name: str, **config: Any) -> System:
    """The system called ``name``, built from its configuration (as recorded in ``system.config`` and in a bundle).

    Raises:
        InputError: no such system, or a setting that it does not have.
    """
    if name not in SYSTEMS:
        raise InputError(f'Unknown system "{name}"; use one of: {", ".join(SYSTEMS)}.')
    module, cls = SYSTEMS[name]
    system = getattr(import_module(f".{module}", __name__), cls)
    settings = inspect.signature(system).parameters
    unknown = sorted(set(config) - set(settings))
    if unknown:
        raise InputError(
            f'System "{name}" has no setting {", ".join(unknown)}; its settings are: {", ".join(settings)}.'
        )
    return system(**config)
