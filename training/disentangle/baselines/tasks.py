"""Downstream tasks of Ouyang et al.: a task network T on one map made of all sequences at hand (method-spec 1a, 1e)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import losses
from ..errors import InputError
from ..networks.blocks import scaled
from ..networks.stack_segmentor import StackSegmentor
from ..networks.unet import UNet
from ..systems.base import Batch, Factors, System, TrainingStep
from ..systems.settings import check_choice

NETWORKS = ("attention-unet", "unet", "stack")
LESION_WEIGHT = 5.0
"""Of a class that is neither background nor healthy tissue, in the cross-entropy (method-spec 1a)."""


class TaskSystem(System):
    """Base of the ways to feed T: it segments, or it synthesises one sequence that it never sees.

    A subclass sets ``capabilities``, makes the input by :meth:`System.fuse`, and calls :meth:`make_task`.

    Args:
        config: of the subclass; "classes", "target", "class_weights", "learning_rate" and "weight_decay" are used.

    Raises:
        InputError: both or neither of classes and target.
    """

    constant_styles = True

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.diagnostics = config, {}
        self.target: str | None = config["target"]
        if bool(self.target) == bool(config["classes"]):
            raise InputError("A task is either segmentation or synthesis: set system.classes or system.target.")
        if self.target in config["sequences"]:
            raise InputError(f"{self.target} is to be synthesised and cannot be among system.sequences.")

    def make_task(self, in_channels: int) -> None:
        """Make T for an input of so many channels."""
        c, classes = self.config, self.config["classes"]
        self.task = task_network(c["network"], in_channels, len(classes) or self.capabilities.slices, c["width"])
        weights = c["class_weights"]
        if weights is None:
            weights = [1.0 if n in self.capabilities.healthy or n == 0 else LESION_WEIGHT for n in range(len(classes))]
        self.class_weights = torch.tensor([float(w) for w in weights])

    def segment(self, fused: Tensor) -> Tensor:
        if self.target:
            raise InputError("This model does not segment; choose one whose card lists classes.")
        return self.task(fused)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        """The target (B, S, H, W) of a :meth:`synthesis_anatomy`."""
        if style != self.target or not self.target:
            made = f"synthesises {self.target} only" if self.target else "segments only"
            raise InputError(f"This model {made}; choose one whose card lists the sequence.")
        return self.task(anatomy)

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        """What T reads: the fused map."""
        return self.fuse(factors)

    def default_style(self, sequence: str) -> Tensor:
        """Zeros (Z,): T knows one appearance."""
        return torch.zeros(self.capabilities.style_dim)

    def set_default_styles(self, styles: dict[str, Tensor]) -> None:
        """T has none."""

    def task_input(self, batch: Batch) -> Tensor:
        """Input (B, F, H, W) of T in training."""
        raise NotImplementedError

    def training_steps(self) -> Sequence[TrainingStep]:
        c = self.config
        adam = {"lr": c["learning_rate"], "weight_decay": c["weight_decay"], "amsgrad": True}
        return [TrainingStep("task", list(self.task.parameters()), self.training_loss, adam, clip_norm=1.0)]

    def training_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Masked L1 to the target, or squared Dice and weighted cross-entropy (method-spec 1a).

        Raises:
            InputError: the batch has neither the target nor labels.
        """
        given = batch.images.get(self.target) if self.target else batch.labels
        if given is None:
            what = f"images of {self.target}" if self.target else "labels"
            raise InputError(f"A training batch has no {what}; use data that have them.")
        found = self.task(self.task_input(batch))
        if self.target:
            difference = losses.masked_l1(found, given, batch.mask)
            return {"synthesis": losses.weighted_mean([difference], [batch.available[self.target]])}
        return {"segmentation": self.segmentation_loss(found, given, batch.mask)}

    def segmentation_loss(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Squared Dice and weighted cross-entropy of logits (B, L, H, W) on labels (B, H, W), inside the mask."""
        healthy = self.capabilities.healthy
        overlap = losses.marginal_dice(logits, labels, healthy, mask, squared=True)
        return overlap + losses.marginal_cross_entropy(logits, labels, healthy, self.class_weights, mask)


def task_network(kind: str, in_channels: int, out_channels: int, width: float = 1.0) -> nn.Module:
    """T in 2-D: (B, in, H, W) -> (B, out, H, W), H and W multiples of 16.

    Args:
        kind: "attention-unet" (MONAI's, with the paper's channels 64 to 512; method-spec 1a), "unet" (DAFNet's), or
            "stack" (the segmentor of UCD and TC-MGAN: their bounds "T2 only" and "four real sequences", 3e).
        width: multiplier of the channel counts.

    Raises:
        InputError: another kind.
    """
    check_choice("network", kind, NETWORKS)
    if kind == "unet":
        return UNet(in_channels, out_channels, width)
    if kind == "stack":
        return StackSegmentor(in_channels, out_channels, width=width)
    # Imported here: MONAI takes seconds to import, and only this network needs it.
    from monai.networks.nets import AttentionUnet

    channels = [scaled(c, width) for c in (64, 128, 256, 512, 512)]
    return AttentionUnet(2, in_channels, out_channels, channels, strides=(2, 2, 2, 2))
