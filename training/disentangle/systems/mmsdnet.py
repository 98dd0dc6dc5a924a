"""MMSDNet: multimodal spatial decomposition (Chartsias et al., STACOM 2019), the predecessor of DAFNet.

Everything that it shares with DAFNet is DAFNet's; the table of method-spec, section 4, is this file. Its U-Nets are
separate throughout; the fused anatomies are trained on; deformed and fused anatomies get modality factors of their
own; there is one, small, discriminator of masks; styles are regressed in an update of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from .base import Batch, TrainingStep
from .dafnet import DAFNet


class MMSDNet(DAFNet):
    """The system of the workshop paper. Arguments as of :class:`.DAFNet`; published are the FiLM decoder, no pair
    weighting, and slices of 208 x 208."""

    name = "mmsdnet"
    citation = (
        "Chartsias A, et al. Multimodal Cardiac Segmentation Using Disentangled Representation Learning. STACOM 2019, "
        "LNCS 12009, 128-137, doi:10.1007/978-3-030-39074-7_14."
    )
    WEIGHTS: ClassVar[dict[str, float]] = {**DAFNet.WEIGHTS, "reconstruction": 10.0, "image_adversarial": 0.0}
    CROSS_ENTROPY = 0.0
    BRANCHES = ("own", "deformed", "fused")
    STYLED = ("own", "deformed", "fused")
    JOINT_REGRESSION = False
    SHARED_DECODER = False
    MASK_FILTERS = 4

    def training_steps(self) -> Sequence[TrainingStep]:
        """Generator, style regression (decoder and E_M only), discriminator."""
        generator, *rest = super().training_steps()
        if not self.weights["style_regression"]:
            return [generator, *rest]
        parameters = [*self.decoder.parameters(), *self.style_encoder.parameters()]
        regression = replace(generator, name="regression", parameters=parameters, loss=self.regression_loss)
        return [generator, regression, *rest]

    def regression_loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_rec^z over all views, whose anatomies are constants here."""
        with torch.no_grad():
            views = self.views(batch)
        return {"style_regression": self.weights["style_regression"] * self.regression(views)}
