"""What the networks said about the study that was run last, for the next run that asks the same about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .engine import Volumes, Wanted
from .inside import Inside

if TYPE_CHECKING:
    from .backends import Network

_MOST_MIB = 256
"""Volumes that are kept, at most: what does not fit is computed again."""
_SEGMENT = "segment"
"""Key of the probabilities, which a run changes in place."""


class Answers:
    """The volumes of one prepared study and one network, as far as they fit.

    Args:
        network: that computed them; :meth:`of` tells whether it still is the one.
        mask: of the study, bool (K, J, I).

    Attributes:
        notes: what was to be said about them, one sentence each.
    """

    def __init__(self, network: Network, mask: np.ndarray) -> None:
        self.notes: list[str] = []
        self._network, self._mask = network, mask
        self._parts: dict[Any, Volumes | Inside] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the volumes that are kept."""
        return sum(map(_bytes, self._parts.values()))

    def of(self, network: Network) -> bool:
        """Whether these are the answers of a network."""
        return self._network is network

    def known(self, wanted: Wanted, without: str | None = None) -> tuple[Volumes, Wanted]:
        """What is known of what is wanted, and the rest of it.

        Args:
            without: the sequence of the study that was not read; None where all were.
        """
        found = Volumes()
        rest = wanted
        if wanted.segment and _SEGMENT in self._parts:
            found.probabilities = self._parts[_SEGMENT][_SEGMENT]
            rest = replace(rest, segment=False)
        for target in wanted.targets:
            part = self._parts.get(_target_key(target, wanted.styles, without))
            if part is not None and (target in part.tissues or target not in wanted.tissues):
                join(found, part)
                rest = replace(rest, targets=tuple(t for t in rest.targets if t != target))
        factors = self._parts.get("cross", self._parts.get("factors"))
        if factors is not None and (wanted.factors or wanted.cross) and (not wanted.cross or "cross" in self._parts):
            join(found, replace(factors, rebuilt=factors.rebuilt.only(lambda p: wanted.cross or p[0] == p[1])))
            rest = replace(rest, factors=False, cross=False)
        return found, rest

    def keep(self, wanted: Wanted, volumes: Volumes, without: str | None = None) -> None:
        """Keep what was computed; ``without`` as in :meth:`known`, where it is targets only."""
        parts: dict[Any, Volumes | Inside] = {}
        if wanted.segment:
            parts[_SEGMENT] = Inside(self._mask, np.eye(len(volumes.probabilities))[0])
            parts[_SEGMENT][_SEGMENT] = volumes.probabilities
        for target in wanted.targets:
            alone = volumes.synthesized.only(lambda name, target=target: name == target)
            tissues = volumes.tissues.only(lambda name, target=target: name == target)
            parts[_target_key(target, wanted.styles, without)] = Volumes(synthesized=alone, tissues=tissues)
        if wanted.factors or wanted.cross:
            rest = replace(volumes, probabilities=None, synthesized={}, tissues={})
            parts["cross" if wanted.cross else "factors"] = rest
        for key, part in parts.items():
            if self.nbytes + _bytes(part) <= _MOST_MIB << 20:
                self._parts[key] = part


def join(volumes: Volumes, more: Volumes) -> None:
    """Put further answers about the same study to those that are there."""
    if more.probabilities is not None:
        volumes.probabilities = more.probabilities
    volumes.features = more.features or volumes.features
    volumes.modality.update(more.modality)
    for name in ("anatomy", "rebuilt", "agnostic", "synthesized", "tissues"):
        known, new = getattr(volumes, name), getattr(more, name)
        if new:
            setattr(volumes, name, known.joined(new) if known else new)


def _target_key(target: str, styles: Mapping[str, np.ndarray], without: str | None) -> tuple[str, bytes, str | None]:
    return target, styles[target].tobytes() if target in styles else b"", without


def _bytes(kept: Volumes | Inside) -> int:
    if isinstance(kept, Inside):
        return kept.nbytes
    return sum(volumes.nbytes for volumes in vars(kept).values() if isinstance(volumes, Inside))
