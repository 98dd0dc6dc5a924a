"""Baselines that segment the images of each sequence on their own, with class probabilities in place of an anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .. import losses
from ..errors import InputError
from ..systems.base import Batch, Capabilities, Factors, System, TrainingStep
from ..systems.settings import check_sequences

CROSS_ENTROPY = 0.01
"""Published weight beta of the cross-entropy within L_sup (method-spec 2b)."""


class SlicewiseSegmenter(System):
    """Base of U-Net and DualStream: image (B, S, H, W) of a sequence -> logits (B, L, H, W).

    Several sequences are fused by the mean of their probabilities, which only makes sense where they are registered.

    Args:
        config: of the subclass; "sequences", "classes", "healthy", "slices", "learning_rate"
            and "cross_entropy" (weight of it within L_sup) are used here.

    Raises:
        InputError: sequences that are not distinct, or no classes.
    """

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.config, self.diagnostics = config, {}
        check_names(config["sequences"], config["classes"])
        self.capabilities = Capabilities(
            sequences=tuple(config["sequences"]),
            targets=(),
            classes=tuple(config["classes"]),
            healthy=tuple(config["healthy"]),
            slices=config["slices"],
            size_multiple=16,
            anatomy_channels=len(config["classes"]),
            style_dim=1,
            needs_registered_input=False,
        )

    def logits(self, image: Tensor, sequence: str) -> Tensor:
        """Class logits (B, L, H, W) of an image (B, S, H, W) of a sequence."""
        raise NotImplementedError

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        anatomy = {s: self.logits(x, s).softmax(1) for s, x in images.items()}
        return Factors(anatomy, {s: x.new_zeros(len(x), 1) for s, x in images.items()}, mask)

    def fuse(self, factors: Factors) -> Tensor:
        return torch.stack(list(factors.anatomy.values())).mean(0)

    def segment(self, fused: Tensor) -> Tensor:
        return fused.clamp_min(1e-6).log()

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        raise InputError("This model segments only; choose one whose card lists sequences to synthesise.")

    def training_steps(self) -> Sequence[TrainingStep]:
        adam = {"lr": self.config["learning_rate"]}
        return [TrainingStep("segmentation", list(self.parameters()), self.training_loss, adam, clip_norm=None)]

    def training_loss(self, batch: Batch, sequences: Sequence[str] | None = None) -> dict[str, Tensor]:
        """L_sup of the annotated samples of all sequences, or of some."""
        names = [s for s in sequences or self.capabilities.sequences if s in batch.images]
        logits = {s: self.logits(batch.images[s], s) for s in names}
        beta = self.config["cross_entropy"]
        return {"segmentation": supervision(logits, batch, self.capabilities.healthy, beta)}


def supervision(
    logits: Mapping[str, Tensor], batch: Batch, healthy: Sequence[int], beta: float = CROSS_ENTROPY
) -> Tensor:
    """L_sup (method-spec 2b): joint Dice and a little balanced cross-entropy, over the samples that are annotated.

    Args:
        logits: sequence -> (B, L, H, W).
        batch: its labels may be those of each sequence or common to all; a sample that lacks a sequence does not
            count for it.
        healthy: class indices that HEALTHY pixels may carry.
        beta: weight of the cross-entropy.

    Raises:
        InputError: the batch has no labels for these sequences, annotated or not.
    """
    values, weights = [], []
    for sequence, x in logits.items():
        labels = batch.labels_of(sequence)
        if labels is not None:
            cross_entropy = losses.balanced_cross_entropy(x, labels)
            values.append(losses.joint_dice(x, labels, healthy) + beta * cross_entropy)
            weights.append(losses.annotated(labels) & batch.available[sequence])
    if not values:
        raise InputError("A training batch has neither an image nor labels of a sequence of this system.")
    return losses.weighted_mean(values, weights)


def check_names(sequences: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse sequences that are not distinct and an empty list of classes.

    Raises:
        InputError: as said.
    """
    check_sequences(sequences)
    if len(classes) < 2:
        raise InputError("A segmentation needs at least two classes, the background first; set system.classes.")
