"""Compiled programs of systems that align anatomies themselves: DAFNet and MMSDNet (``systems.dafnet_programs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...systems.factors import Factors
from .compiled import CompiledNetwork, Shapes


class AligningNetwork(CompiledNetwork):
    """A converted system of slices that are not registered; they have the one size that it was made for."""

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        names, slices = list(images), range(len(mask))
        found = self.by_slice([(f"anatomy-{name}", (images[name],)) for name in names], slices)
        anatomy = dict(zip(names, found, strict=True))
        asked = names if styles else []
        vectors = self.by_slice([("style", (anatomy[name], images[name])) for name in asked], slices)
        return Factors(anatomy, dict(zip(asked, vectors, strict=True)), mask)

    def align(self, factors: Factors, reference: str) -> Factors:
        fixed = factors.anatomy[reference]
        others = [name for name in factors.anatomy if name != reference]
        if not others or not self.has("move"):
            return factors
        found = self.by_slice([("move", (factors.anatomy[name], fixed)) for name in others], range(len(fixed)))
        moved = dict(zip(others, found, strict=True))
        anatomy = {name: moved.get(name, own) for name, own in factors.anatomy.items()}
        return Factors(anatomy, factors.modality, factors.mask)

    def probabilities(self, factors: Factors) -> np.ndarray:
        fused = self.synthesis_anatomy(factors)
        return self.by_slice([("segment", (fused,))], range(len(fused)))[0]

    def synthesis_anatomy(self, factors: Factors) -> np.ndarray:
        """The union of the anatomies (``networks.fusion.maximum``)."""
        return np.max(list(factors.anatomy.values()), axis=0)

    def _first_programs(self, sequences: Sequence[str], segment: bool, size: Sequence[int]) -> list[Shapes]:
        anatomy = (1, self.capabilities.anatomy_channels, *size)
        first: list[Shapes] = [(f"anatomy-{name}", ((1, 1, *size),)) for name in sequences]
        if segment and len(sequences) > 1 and self.has("move"):
            first.append(("move", (anatomy, anatomy)))
        return [*first, ("segment", (anatomy,))] if segment else first

    def _decoding_programs(self, size: Sequence[int]) -> Iterator[Shapes]:
        abilities = self.capabilities
        yield "decode", ((1, abilities.anatomy_channels, *size), (1, abilities.style_dim))
