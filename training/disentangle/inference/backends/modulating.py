"""Compiled programs of MarginDis, whose anatomies modulate what its styles begin (``systems.margindis_programs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...systems.factors import Factors
from .compiled import CompiledNetwork, Shapes


class ModulatingNetwork(CompiledNetwork):
    """A converted system of registered slices, which decodes in two steps."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._modulated: tuple[np.ndarray, list[list[np.ndarray]]] | None = None

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        self.foresee(mask.shape[-2:])
        names, slices = list(images), range(len(mask))
        found = self.by_slice([(f"anatomy-{name}", (images[name], mask)) for name in names], slices)
        asked = names if styles else []
        vectors = self.by_slice([(f"style-{name}", (images[name],)) for name in asked], slices)
        return Factors(dict(zip(names, found, strict=True)), dict(zip(asked, vectors, strict=True)), mask)

    def probabilities(self, factors: Factors) -> np.ndarray:
        anatomies = np.stack(list(factors.anatomy.values()))
        slices = range(anatomies.shape[1])
        return np.concatenate([p[0] for p in self._run([("segment", (anatomies[:, b : b + 1],)) for b in slices])])

    def synthesis_anatomy(self, factors: Factors) -> np.ndarray:
        """The mean anatomy, its channels summing to 1 inside the mask (``networks.fusion.consensus``)."""
        total = np.sum(list(factors.anatomy.values()), axis=0)
        return total / np.maximum(total.sum(axis=1, keepdims=True), np.float32(1e-6)) * factors.mask

    def decode(self, anatomy: np.ndarray, styles: Sequence[np.ndarray | str]) -> list[np.ndarray]:
        count = len(anatomy)
        vectors = self._vectors(styles, count)
        # The maps that an anatomy imposes cost ten times what showing it in one more style does: a slider's next
        # position, which brings the same anatomy again, finds them here.
        if self._modulated is None or self._modulated[0] is not anatomy:
            self._modulated = anatomy, self._run([("modulate", (anatomy[b : b + 1],)) for b in range(count)])
        maps = self._modulated[1]
        inside = np.clip(anatomy.sum(axis=1, keepdims=True), 0, 1)
        shown = self._run([("render", (z[b : b + 1], *maps[b])) for z in vectors for b in range(count)])
        images = [image for (image,) in shown]
        return [np.concatenate(images[n : n + count]) * inside for n in range(0, len(images), count)]

    def _first_programs(self, sequences: Sequence[str], segment: bool, size: Sequence[int]) -> list[Shapes]:
        abilities = self.capabilities
        image, mask = (1, abilities.slices, *size), (1, 1, *size)
        first = [(f"anatomy-{name}", (image, mask)) for name in sequences]
        anatomies = (len(sequences), 1, abilities.anatomy_channels, *size)
        return [*first, ("segment", (anatomies,))] if segment else first

    def _decoding_programs(self, size: Sequence[int]) -> Iterator[Shapes]:
        abilities = self.capabilities
        anatomy = (1, abilities.anatomy_channels, *size)
        yield "modulate", (anatomy,)
        yield "render", ((1, abilities.style_dim), *self.output_shapes("modulate", (anatomy,)))
