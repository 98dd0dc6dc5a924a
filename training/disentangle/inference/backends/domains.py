"""Compiled programs of disentangled domains: DALACE (``systems.unpaired_programs``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from ...systems.factors import Factors
from .compiled import CompiledNetwork, Shapes


class DomainsNetwork(CompiledNetwork):
    """A converted system with encoders and a generator for each domain, which segments domain-agnostic images."""

    def encode(self, images: Mapping[str, np.ndarray], mask: np.ndarray, styles: bool = True) -> Factors:
        self.foresee(mask.shape[-2:])
        names, slices = list(images), range(len(mask))
        found = self.by_slice([(f"anatomy-{name}", (images[name],)) for name in names], slices)
        asked = names if styles else []
        vectors = self.by_slice([(f"style-{name}", (images[name],)) for name in asked], slices)
        return Factors(dict(zip(names, found, strict=True)), dict(zip(asked, vectors, strict=True)), mask)

    def agnostic_image(self, anatomy: np.ndarray, sequence: str) -> np.ndarray:
        return self.by_slice([(f"agnostic-{sequence}", (anatomy,))], range(len(anatomy)))[0]

    def probabilities(self, factors: Factors) -> np.ndarray:
        """Of the mean domain-agnostic image."""
        fused = np.mean([self.agnostic_image(anatomy, name) for name, anatomy in factors.anatomy.items()], axis=0)
        return self.by_slice([("segment", (fused,))], range(len(fused)))[0]

    def decode(self, anatomy: np.ndarray, styles: Sequence[np.ndarray | str]) -> list[np.ndarray]:
        found = []
        for style in self._vectors(styles, len(anatomy)):
            code, domains = np.split(style, [self._code], axis=1)
            which = domains.argmax(axis=1)
            jobs = [(f"decode-{which[b]}", (anatomy[b : b + 1], code[b : b + 1])) for b in range(len(anatomy))]
            found.append(np.concatenate([image for (image,) in self._run(jobs)]))
        return found

    @cached_property
    def _code(self) -> int:
        """Z, the length of a style code without its domain."""
        return self.capabilities.style_dim - len(list(self._folder.glob("decode-*.xml")))

    def _first_programs(self, sequences: Sequence[str], segment: bool, size: Sequence[int]) -> list[Shapes]:
        image = (1, self.capabilities.slices, *size)
        first: list[Shapes] = [(f"anatomy-{name}", (image,)) for name in sequences]
        if not segment:
            return first
        anatomy = self._anatomy_shape(size)
        return [*first, *((f"agnostic-{name}", (anatomy,)) for name in sequences), ("segment", (image,))]

    def _decoding_programs(self, size: Sequence[int]) -> Iterator[Shapes]:
        for number in range(self.capabilities.style_dim - self._code):
            yield f"decode-{number}", (self._anatomy_shape(size), (1, self._code))

    def _anatomy_shape(self, size: Sequence[int]) -> tuple[int, ...]:
        program = f"anatomy-{self.capabilities.sequences[0]}"
        return self.output_shapes(program, ((1, self.capabilities.slices, *size),))[0]
