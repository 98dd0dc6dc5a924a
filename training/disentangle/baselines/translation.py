"""Translation: MUNIT from source to target, and a U-Net on real target and translated source (method-spec 2e)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..systems.base import TrainingStep
from ..systems.settings import arguments
from .munit import Munit
from .translated import TranslateAndSegment


class Translation(TranslateAndSegment):
    """A U-Net for the target domain that learns from source images translated by MUNIT, with the source's masks, and
    from target images where these are annotated too.

    The U-Net learns along with MUNIT or, by ``training.stages``, after it (see :class:`.dadr.Dadr`), from translations
    in drawn styles.

    Args:
        sequences: canonical names, in training order.
        classes: names of the labels, index 0 the background.
        healthy: class indices that HEALTHY voxels may carry.
        domains: name -> its sequences, the source first; None = every sequence is a domain of its own.
        annotated: domains whose labels are used; None = the source alone.
        slices: adjacent slices per image.
        width: multiplier of the published channel counts of MUNIT.
        segmentor_width: the same of the U-Net; None = ``width``.
        munit: further arguments of :class:`.munit.Munit` ("weights", "scales", "learning_rate", ...).
        class_weights: of the cross-entropy, one per class.
        weights: of "segmentation" and "dice".
        segmentor_rate: learning rate of the U-Net.
    """

    name = "translation"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int] = (0,),
        domains: Mapping[str, Sequence[str]] | None = None,
        annotated: Sequence[str] | None = None,
        slices: int = 1,
        width: float = 1.0,
        segmentor_width: float | None = None,
        munit: Mapping[str, object] | None = None,
        class_weights: Sequence[float] | None = None,
        weights: Mapping[str, float] | None = None,
        segmentor_rate: float = 1e-3,
    ) -> None:
        super().__init__(arguments(locals()), home="target")
        self.translator = Munit(sequences, domains=domains, slices=slices, width=width, **(munit or {}))

    def translate(self, image: Tensor, source: str, target: str) -> Tensor:
        return self.translator.translate(image, source, target)

    def training_image(self, image: Tensor, domain: str) -> Tensor:
        if domain == self.home:
            return image
        code = torch.randn(len(image), self.translator.code, device=image.device)
        return self.translator.translate(image, domain, self.home, code)

    def training_steps(self) -> Sequence[TrainingStep]:
        return [*self.translator.training_steps(), self.segmentation_step()]
