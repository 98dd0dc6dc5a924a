"""Compiled programs of systems that translate images: UCD (``systems.translation_programs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...systems.factors import Factors
from .compiled import CompiledNetwork, Shapes


class TranslatingNetwork(CompiledNetwork):
    """A converted system whose encoder is not told the sequence, and which segments completed stacks."""

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        self.foresee(mask.shape[-2:])
        names, slices = list(images), range(len(mask))
        found = self.by_slice([("anatomy", (images[name], mask)) for name in names], slices)
        codes = self._vectors(names, len(mask))
        return Factors(dict(zip(names, found, strict=True)), dict(zip(names, codes, strict=True)), mask, dict(images))

    def probabilities(self, factors: Factors) -> np.ndarray:
        missing = [name for name in self.capabilities.sequences if name not in factors.anatomy]
        made = self.decode(self.synthesis_anatomy(factors), missing) if missing else []
        images = {**factors.images, **dict(zip(missing, made, strict=True))}
        stack = np.concatenate([images[name] * factors.mask for name in self.capabilities.sequences], axis=1)
        return self.by_slice([("segment", (stack,))], range(len(stack)))[0]

    def _first_programs(self, sequences: Sequence[str], segment: bool, size: Sequence[int]) -> list[Shapes]:
        abilities = self.capabilities
        first: list[Shapes] = [("anatomy", self._encoder_shapes(size))]
        stack = (1, len(abilities.sequences) * abilities.slices, *size)
        return [*first, ("segment", (stack,))] if segment else first

    def _decoding_programs(self, size: Sequence[int]) -> Iterator[Shapes]:
        anatomy = self.output_shapes("anatomy", self._encoder_shapes(size))[0]
        yield "decode", (anatomy, (1, self.capabilities.style_dim))

    def _encoder_shapes(self, size: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return (1, self.capabilities.slices, *size), (1, 1, *size)
