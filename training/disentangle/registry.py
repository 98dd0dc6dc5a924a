"""Systems and baselines by name: what a training or a bundle may hold."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from . import baselines, systems

if TYPE_CHECKING:
    from .systems.base import System


def create(name: str, **config: Any) -> System:
    """The system or baseline called ``name``, built from its configuration.

    Raises:
        InputError: no such system, or a setting that it does not have.
    """
    return systems.build(name, config, _tables())


def settings_of(name: str) -> tuple[str, ...]:
    """The settings that a system or baseline takes.

    Raises:
        InputError: no such system.
    """
    return tuple(inspect.signature(systems.find(name, _tables())).parameters)


def default_of(name: str, setting: str) -> Any:
    """What a setting of a system or baseline is unless it is given; None where it has no such setting, or no default.

    Raises:
        InputError: no such system.
    """
    parameter = inspect.signature(systems.find(name, _tables())).parameters.get(setting)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _tables() -> dict[str, dict[str, tuple[str, str]]]:
    return {systems.__name__: systems.SYSTEMS, baselines.__name__: baselines.BASELINES}
