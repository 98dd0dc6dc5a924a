"""Settings of systems: how a constructor records them, and one sentence for those that make no system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError

SIZES = (
    "width",
    "slices",
    "anatomy_channels",
    "style_dim",
    "experts",
    "pool_size",
    "levels",
    "discriminator_levels",
    "scales",
    "layers",
    "depth",
    "filters",
    "latent",
    "learning_rate",
)
"""Settings of systems and baselines that must be above 0: with none of it, networks are of width 1, empty, or learn
nothing, and no error says so."""


def arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    """A constructor's ``locals()`` as the configuration that a system records."""
    return {
        key: list(value) if isinstance(value, (tuple, list)) else value
        for key, value in values.items()
        if key not in ("self", "__class__")
    }


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a setting that is not one of the choices.

    Raises:
        InputError: it is not.
    """
    if value not in choices:
        raise InputError(f'Unknown {name} "{value}"; use one of: {", ".join(choices)}.')


def check_sizes(settings: Mapping[str, Any]) -> None:
    """Refuse sizes of networks that are no numbers above 0, see :data:`SIZES`; None stands for a default.

    Raises:
        InputError: as said.
    """
    for name in SIZES:
        value = settings.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InputError(f"The setting {name} of a system is {value!r}; give a number above 0.")


def check_sequences(sequences: Sequence[str]) -> None:
    """Refuse a system without sequences, or with one of them twice.

    Raises:
        InputError: as said.
    """
    if not sequences or len(set(sequences)) != len(sequences):
        raise InputError("The sequences of a system must be named, each once.")


def loss_weights(weights: Mapping[str, float], changes: Mapping[str, float] | None) -> dict[str, float]:
    """The weights of a system's loss terms with the changes that a configuration makes.

    Raises:
        InputError: a change of a term that the system does not have.
    """
    if unknown := sorted(set(changes or {}) - set(weights)):
        raise InputError(f"Unknown loss weight {', '.join(unknown)}; use {', '.join(weights)}.")
    return {**weights, **(changes or {})}
