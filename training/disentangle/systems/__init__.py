"""The disentanglement systems by name. A system's module is imported when it is asked for, not before."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .settings import check_sizes

if TYPE_CHECKING:
    from .base import System

SYSTEMS = {
    "margindis": ("margindis", "MarginDis"),
    "dafnet": ("dafnet", "DAFNet"),
    "mmsdnet": ("mmsdnet", "MMSDNet"),
    "dalace": ("dalace", "Dalace"),
    "ucd": ("ucd", "UCD"),
}
"""System name -> (module in this folder, class)."""


def create(name: str, **config: Any) -> System:
    """The system called ``name``, built from its configuration (as recorded in ``system.config`` and in a bundle).

    Raises:
        InputError: no such system, or a setting that it does not have.
    """
    return build(name, config, {__name__: SYSTEMS})


def build(name: str, config: Mapping[str, Any], tables: Mapping[str, Mapping[str, tuple[str, str]]]) -> System:
    """A system out of one or more tables shaped like :data:`SYSTEMS`.

    Args:
        name: of the system.
        config: its settings.
        tables: package -> its table.

    Raises:
        InputError: no such system, a setting that it does not have, or a size that no network has.
    """
    system = find(name, tables)
    settings = inspect.signature(system).parameters
    unknown = sorted(set(config) - set(settings))
    if unknown:
        raise InputError(
            f'System "{name}" has no setting {", ".join(unknown)}; its settings are: {", ".join(settings)}.'
        )
    check_sizes(config)
    return system(**config)


def find(name: str, tables: Mapping[str, Mapping[str, tuple[str, str]]]) -> type[System]:
    """The class of a system, its module imported.

    Raises:
        InputError: no such system.
    """
    found = {key: (package, *place) for package, table in tables.items() for key, place in table.items()}
    if name not in found:
        raise InputError(f'Unknown system "{name}"; use one of: {", ".join(found)}.')
    package, module, cls = found[name]
    return getattr(import_module(f"{package}.{module}"), cls)
