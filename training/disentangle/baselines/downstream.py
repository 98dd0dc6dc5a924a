"""The task network on fused anatomies of a frozen MarginDis (Ouyang et al., sections 3.2 and 4.3; method-spec 1a)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import systems
from ..errors import InputError
from ..systems.base import Batch, Capabilities, Factors, System
from ..systems.margindis import MarginDis
from ..systems.settings import arguments
from .tasks import TaskSystem


class Downstream(TaskSystem):
    """T on the maximum, mean and minimum of the anatomies at hand; a missing sequence just takes no part.

    The representation is learned first and frozen. Its reconstructions stay available in any appearance.

    Args:
        sequences: canonical names, all known to the representation.
        classes: names of the labels, index 0 the background; empty = synthesis.
        healthy: class indices that HEALTHY voxels may carry.
        target: the sequence to synthesise (PET, say); None = segmentation.
        representation: name and settings of the MarginDis; a training takes them, with the weights, from
            ``training.init_from``.
        network: "attention-unet", "unet" or "stack".
        width: multiplier of its channel counts.
        class_weights: of the cross-entropy, one per class; None = 5 for lesions, 1 for the rest.
        learning_rate, weight_decay: of Adam.
    """

    name = "downstream"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        target: str | None = None,
        representation: Mapping[str, Any] | None = None,
        network: str = "attention-unet",
        width: float = 1.0,
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 2e-4,
        weight_decay: float = 1e-5,
    ) -> None:
        super().__init__(arguments(locals()))
        self.representation = frozen(representation, sequences)
        self.capabilities = self.describe(self.representation.capabilities.slices)
        self.make_task(self.representation.fused_channels)

    def describe(self, slices: int) -> Capabilities:
        """Capabilities, of images with so many adjacent slices."""
        config, inner = self.config, self.representation.capabilities
        return Capabilities(
            sequences=tuple(config["sequences"]),
            targets=(config["target"],) if config["target"] else (),
            classes=tuple(config["classes"]),
            healthy=tuple(config["healthy"]),
            slices=slices,
            size_multiple=inner.size_multiple,
            anatomy_channels=inner.anatomy_channels,
            style_dim=inner.style_dim,
        )

    def train(self, mode: bool = True) -> Downstream:
        """T alone is ever in training mode."""
        super().train(mode)
        self.representation.eval()
        return self

    def fold(self) -> Downstream:
        self.eval()
        self.representation.fold()
        return self

    def adopt(self, other: System) -> None:
        """A representation's weights, or those of a system of this kind."""
        holder = self if other.name == self.name else self.representation
        holder.load_state_dict(other.state_dict())

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        return self.representation.encode(images, mask)

    def fuse(self, factors: Factors, available: dict[str, Tensor] | None = None) -> Tensor:
        return self.representation.fuse(factors, available)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        """See :meth:`TaskSystem.decode`; an anatomy (B, C, H, W) in a style (B, Z) is the representation's to show."""
        if isinstance(style, Tensor):
            return self.representation.decode(anatomy, style)
        return super().decode(anatomy, style)

    def task_input(self, batch: Batch) -> Tensor:
        known = [s for s in self.capabilities.sequences if s in batch.images and bool(batch.available[s].any())]
        if not known:
            raise InputError("A training batch holds none of the sequences of this system.")
        with torch.no_grad():
            factors = self.encode({s: batch.images[s] for s in known}, batch.mask)
            return self.fuse(factors, {s: batch.available[s] for s in known})


def frozen(representation: Mapping[str, Any] | None, sequences: Sequence[str]) -> MarginDis:
    """The representation of a downstream task, its parameters frozen.

    Raises:
        InputError: none, of another kind, or one that does not know the sequences.
    """
    if not representation or representation.get("name") != MarginDis.name:
        raise InputError("A downstream task needs a trained margindis; set training.init_from to its checkpoint.")
    settings = dict(representation)
    system = systems.create(settings.pop("name"), **settings)
    for sequence in sequences:
        system.index(sequence)
    return system.requires_grad_(False).eval()
