"""Compiled programs of systems that align anatomies themselves: DAFNet and MMSDNet (``systems.dafnet_programs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...systems.factors import Factors
from .compiled import CompiledNetwork


class AligningNetwork(CompiledNetwork):
    """A converted system of slices that are not registered; they have the one size that it was made for."""

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        names, slices = list(images), range(len(mask))
        found = self._by_slice([(f"anatomy-{name}", (images[name],)) for name in names], slices)
        anatomy = dict(zip(names, found, strict=True))
        asked = names if styles else []
        vectors = self._by_slice([("style", (anatomy[name], images[name])) for name in asked], slices)
        return Factors(anatomy, dict(zip(asked, vectors, strict=True)), mask)

    def align(self, factors: Factors, reference: str) -> Factors:
        fixed = factors.anatomy[reference]
        others = [name for name in factors.anatomy if name != reference]
        if not others or not self.has("move"):
            return factors
        found = self._by_slice([("move", (factors.anatomy[name], fixed)) for name in others], range(len(fixed)))
        moved = dict(zip(others, found, strict=True))
        anatomy = {name: moved.get(name, own) for name, own in factors.anatomy.items()}
        return Factors(anatomy, factors.modality, factors.mask)

    def probabilities(self, factors: Factors) -> np.ndarray:
        fused = self.synthesis_anatomy(factors)
        return self._by_slice([("segment", (fused,))], range(len(fused)))[0]

    def synthesis_anatomy(self, factors: Factors) -> np.ndarray:
        """The union of the anatomies (``networks.fusion.maximum``)."""
        return np.max(list(factors.anatomy.values()), axis=0)

    def decode(self, anatomy: np.ndarray, styles: Sequence[np.ndarray | str]) -> list[np.ndarray]:
        vectors = self._vectors(styles, len(anatomy))
        return self._by_slice([("decode", (anatomy, z)) for z in vectors], range(len(anatomy)))

    def _first_programs(
        self, sequences: Sequence[str], segment: bool, size: Sequence[int]
    ) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
        anatomy = (1, self.capabilities.anatomy_channels, *size)
        first = [(f"anatomy-{name}", ((1, 1, *size),)) for name in sequences]
        if segment and len(sequences) > 1 and self.has("move"):
            first.append(("move", (anatomy, anatomy)))
        return [*first, ("segment", (anatomy,))] if segment else first

    def _decoding_programs(self, size: Sequence[int]) -> Iterator[tuple[str, tuple[tuple[int, ...], ...]]]:
        abilities = self.capabilities
        yield "decode", ((1, abilities.anatomy_channels, *size), (1, abilities.style_dim))

    def _by_slice(self, jobs: Sequence[tuple[str, tuple[np.ndarray, ...]]], slices: range) -> list[np.ndarray]:
        """The outputs of programs with one output, whose inputs (B, ...) go through slice by slice."""
        found = self._run([(name, tuple(a[b : b + 1] for a in inputs)) for name, inputs in jobs for b in slices])
        count = len(slices)
        return [np.concatenate([f[0] for f in found[n * count : (n + 1) * count]]) for n in range(len(jobs))]
