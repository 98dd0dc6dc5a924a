"""DADR: domain adaptation via disentangled representations (Yang et al., MICCAI 2019; method-spec 2e and 5e)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..systems.base import Batch, TrainingStep
from .munit import Munit


class Dadr(Munit):
    """MUNIT, and a U-Net on the content-only images of the annotated domains.

    The paper trains the U-Net afterwards: ``training.stages: {discriminator: [0, n], generator: [0, n], segmentation:
    [n, N]}``. Without stages it learns along, from content-only images that it does not influence, and sees the final
    ones while the learning rate falls; ``training.ramps`` of "segmentation" make it start late.
    (The DADR of the tables of DALACE has DALACE's own losses: ``dalace`` without "pair_adversarial" and with
    ``ce_updates="segmentor"``.)
    """

    name = "dadr"
    segments = True
    WEIGHTS: Mapping[str, float] = {**Munit.WEIGHTS, "segmentation": 1.0, "dice": 0.0}

    def training_steps(self) -> Sequence[TrainingStep]:
        parameters, adam = list(self.segmentor.parameters()), {"lr": self.config["segmentor_rate"]}
        return [*super().training_steps(), TrainingStep("segmentation", parameters, self.segmentation_loss, adam)]

    def segmentation_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on content-only images, through which no gradient goes."""
        parts = self.annotated_samples(batch)
        with torch.no_grad():
            images = [self.agnostic(self.autoencoders[d].content(part.images), d) for d, part in parts.items()]
        labels = torch.cat([part.labels for part in parts.values()])
        return self.segmentation_terms(self.segment(torch.cat(images)), labels)
