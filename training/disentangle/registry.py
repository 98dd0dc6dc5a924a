"""Systems and baselines by name: what a training or a bundle may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import baselines, systems

if TYPE_CHECKING:
    from .systems.base import System


def create(name: str, **config: Any) -> System:
    """The system or baseline called ``name``, built from its configuration.

    Raises:
        InputError: no such system, or a setting that it does not have.
    """
    tables = {systems.__name__: systems.SYSTEMS, baselines.__name__: baselines.BASELINES}
    return systems.build(name, config, tables)
