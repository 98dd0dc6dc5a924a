"""What the networks said about the study that was run last, for the next run that asks the same about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import Volumes, Wanted

if TYPE_CHECKING:
    from .backends import Network

_MOST_MIB = 256
"""Volumes that are kept, at most: what does not fit is computed again."""


class Answers:
    """The volumes of one prepared study and one network, as far as they fit.

    Args:
        network: that computed them; :meth:`of` tells whether it still is the one.

    Attributes:
        notes: what was to be said about them, one sentence each.
    """

    def __init__(self, network: Network) -> None:
        self.notes: list[str] = []
        self._network = network
        self._parts: dict[Any, Volumes] = {}

    def of(self, network: Network) -> bool:
        """Whether these are the answers of a network."""
        return self._network is network

    def known(self, wanted: Wanted) -> tuple[Volumes, Wanted]:
        """What is known of what is wanted, and the rest of it."""
        found = Volumes()
        rest = wanted
        if wanted.segment and "segment" in self._parts:
            join(found, _own(self._parts["segment"]))
            rest = replace(rest, segment=False)
        for target in wanted.targets:
            part = self._parts.get(_target_key(target, wanted.styles))
            if part is not None:
                join(found, part)
                rest = replace(rest, targets=tuple(t for t in rest.targets if t != target))
        factors = self._parts.get("cross", self._parts.get("factors"))
        if factors is not None and (wanted.factors or wanted.cross) and (not wanted.cross or "cross" in self._parts):
            pairs = {p: v for p, v in factors.rebuilt.items() if wanted.cross or p[0] == p[1]}
            join(found, _own(replace(factors, rebuilt=pairs)))
            rest = replace(rest, factors=False, cross=False)
        return found, rest

    def keep(self, wanted: Wanted, volumes: Volumes) -> None:
        """Keep what was computed."""
        parts: dict[Any, Volumes] = {}
        if wanted.segment:
            parts["segment"] = _own(Volumes(probabilities=volumes.probabilities))
        for target in wanted.targets:
            parts[_target_key(target, wanted.styles)] = Volumes(synthesized={target: volumes.synthesized[target]})
        if wanted.factors or wanted.cross:
            of_factors = replace(volumes, probabilities=None, synthesized={})
            parts["cross" if wanted.cross else "factors"] = _own(of_factors)
        for key, part in parts.items():
            if sum(map(_bytes, self._parts.values())) + _bytes(part) <= _MOST_MIB << 20:
                self._parts[key] = part


def join(volumes: Volumes, more: Volumes) -> None:
    """Put further answers about the same study to those that are there."""
    if more.probabilities is not None:
        volumes.probabilities = more.probabilities
    volumes.features = more.features or volumes.features
    for name in ("anatomy", "modality", "rebuilt", "agnostic", "synthesized"):
        getattr(volumes, name).update(getattr(more, name))


def _target_key(target: str, styles: Mapping[str, np.ndarray]) -> tuple[str, bytes]:
    return target, styles[target].tobytes() if target in styles else b""


def _own(volumes: Volumes) -> Volumes:
    """With copies of the arrays that a run changes, or that become images of a result as they are."""
    probabilities = None if volumes.probabilities is None else volumes.probabilities.copy()
    anatomy = {name: array.copy() for name, array in volumes.anatomy.items()}
    agnostic = {name: array.copy() for name, array in volumes.agnostic.items()}
    return replace(volumes, probabilities=probabilities, anatomy=anatomy, agnostic=agnostic)


def _bytes(volumes: Volumes) -> int:
    arrays = [volumes.probabilities] if volumes.probabilities is not None else []
    for name in ("anatomy", "rebuilt", "agnostic", "synthesized"):
        arrays += getattr(volumes, name).values()
    return sum(array.nbytes for array in arrays)
