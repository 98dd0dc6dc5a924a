"""TD-GAN: task-driven generative adversarial network (Zhang et al., MICCAI 2018; method-spec 5e)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adversarial_losses import generator_loss
from ..errors import InputError
from ..losses import UNLABELLED
from ..networks.multiscale import PatchGAN
from ..systems.base import Batch
from .cyclegan import CycleGAN


class TDGAN(CycleGAN):
    """CycleGAN whose translations must also be segmented well by the U-Net of the source.

    Two terms join those of the generators: the cross-entropy of the U-Net's answer to the source images after the
    way there and back, and a conditional discriminator that is to take (translated target, predicted mask) for (real
    source, mask). Neither changes the U-Net. The paper trains that beforehand: ``training.stages:
    {segmentation: [0, n], generator: [n, N], discriminator: [n, N]}``. Without stages it learns along, on the source's
    real images alone, so ``training.ramps`` should bring "task" and "pair_adversarial" in once it has learned.
    """

    name = "tdgan"
    WEIGHTS: Mapping[str, float] = {**CycleGAN.WEIGHTS, "task": 1.0, "pair_adversarial": 1.0}

    def add_networks(self) -> None:
        if self.home != self.source or self.source not in self.annotated:
            raise InputError("TD-GAN segments in the appearance of an annotated source; leave system.home alone.")
        channels = self.config["slices"] + len(self.config["classes"]) - 1
        self.pair_discriminator = PatchGAN(channels, self.judge_width)

    def judges(self) -> list[nn.Parameter]:
        return [*super().judges(), *self.pair_discriminator.parameters()]

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of CycleGAN, the task and the pair; with an annotated target, the task on its translations too."""
        real, fake = self.images(batch), self.translations(batch)
        terms, back = self.generator_terms(real, fake)
        seen = {self.source: back[self.source], self.target: fake[self.source]}
        parts = self.annotated_samples(batch)
        logits = self.segment(torch.cat([seen[d] for d in parts]))
        task = self.segmentation_terms(logits, torch.cat([part.labels for part in parts.values()]))
        terms["task"] = self.weights["task"] * torch.stack(list(task.values())).sum()
        pair = self.pair_discriminator(self._with_predicted(fake[self.source]))
        terms["pair_adversarial"] = self.weights["pair_adversarial"] * generator_loss(pair, self.adversarial).mean()
        return terms

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        source = self.samples(batch)[self.source]
        with torch.no_grad():
            fake = self._with_predicted(self.translations(batch)[self.source])
        real = torch.cat([source.images, self._one_hot(source.labels)], dim=1)
        return super().discriminator_loss(batch) | {
            "pair_discriminator": 0.5 * self.judged(self.pair_discriminator, real, fake)
        }

    def _with_predicted(self, image: Tensor) -> Tensor:
        return torch.cat([image, self.segment(image).softmax(1)[:, 1:]], dim=1)

    def _one_hot(self, labels: Tensor) -> Tensor:
        """Masks (B, L - 1, H, W) of the foreground classes; what is healthy or unknown is in none."""
        classes = len(self.config["classes"])
        labels = torch.where((labels < classes) & (labels != UNLABELLED), labels, 0)
        return F.one_hot(labels, classes).permute(0, 3, 1, 2)[:, 1:].float()
