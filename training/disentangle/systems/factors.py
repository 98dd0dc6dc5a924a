"""What a system says of itself, and what it makes of images. Needs no torch: compiled systems answer with arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Capabilities:
    """What a system can do, for the panel to offer and the predictor to plan.

    Attributes:
        sequences: sequences that it encodes, canonical names in training order.
        targets: sequences that it can synthesise.
        classes: label names; index 0 is the background. Empty where it does not segment.
        healthy: indices into ``classes`` that :data:`.losses.HEALTHY` voxels may carry (marginal loss).
        slices: adjacent slices per input (1 = 2-D, 3 = 2.5-D).
        size_multiple: H and W must be multiples of this.
        size: (H, W) of the slices that the networks are made for; None = any.
        anatomy_channels: maps that :meth:`System.anatomy_maps` shows of an anatomy factor; its channels, unless
            it is a feature map with very many.
        style_dim: length of the modality factor.
        aligns: has an alignment step (spatial transformer) of its own.
        needs_registered_input: sequences must lie on one grid, registered.
        agnostic: has domain-agnostic images (:meth:`System.agnostic_image`).
    """

    sequences: tuple[str, ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...] = ()
    healthy: tuple[int, ...] = (0,)
    slices: int = 1
    size_multiple: int = 32
    anatomy_channels: int = 4
    style_dim: int = 16
    aligns: bool = False
    needs_registered_input: bool = True
    size: tuple[int, int] | None = None
    agnostic: bool = False

    @property
    def known(self) -> tuple[str, ...]:
        """Sequences that a training needs: those encoded, then targets that are never an input (PET, say)."""
        return tuple(dict.fromkeys((*self.sequences, *self.targets)))

    @property
    def lesions(self) -> tuple[int, ...]:
        """Class indices that are neither background nor healthy tissue; of a model of organs, all of them."""
        return tuple(v for v in range(1, len(self.classes)) if v not in self.healthy)

    @property
    def findings(self) -> tuple[int, ...]:
        """The lesions of a model that tells them from healthy tissue; () of one of organs alone, say."""
        return self.lesions if len(self.lesions) < len(self.classes) - 1 else ()

    @property
    def tissues(self) -> tuple[int, ...]:
        """Class indices that are no lesions: the background and the healthy tissues."""
        return tuple(v for v in range(len(self.classes)) if v not in self.lesions)

    @property
    def segments(self) -> bool:
        return bool(self.classes)

    @property
    def synthesises(self) -> bool:
        return bool(self.targets)


@dataclass
class Factors:
    """Anatomy factors (B, C, H, W) and modality factors (B, Z) by sequence, and the brain mask (B, 1, H, W).

    ``images`` are the images (B, S, H, W) themselves, kept by systems that segment images rather than anatomies.
    """

    anatomy: dict[str, Tensor]
    modality: dict[str, Tensor]
    mask: Tensor | None = None
    images: dict[str, Tensor] | None = None

    def subset(self, sequences: Iterable[str]) -> Factors:
        """The factors of some of the sequences."""
        names = list(sequences)
        images = None if self.images is None else {n: self.images[n] for n in names}
        return Factors({n: self.anatomy[n] for n in names}, {n: self.modality[n] for n in names}, self.mask, images)

    def each(self, change: Callable[[Tensor], Tensor]) -> Factors:
        """The factors with every map and vector changed in the same way."""

        def changed(maps: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
            return None if maps is None else {name: change(x) for name, x in maps.items()}

        mask = None if self.mask is None else change(self.mask)
        return Factors(changed(self.anatomy), changed(self.modality), mask, changed(self.images))

    @staticmethod
    def joined(parts: Iterable[Factors]) -> Factors:
        """The factors of several calls of :meth:`System.encode` with one mask and different sequences."""
        parts = list(parts)
        images = None if parts[0].images is None else {n: x for p in parts for n, x in p.images.items()}
        return Factors(
            {n: x for p in parts for n, x in p.anatomy.items()},
            {n: x for p in parts for n, x in p.modality.items()},
            parts[0].mask,
            images,
        )
