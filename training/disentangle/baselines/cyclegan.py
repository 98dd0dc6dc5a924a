"""CycleGAN (Zhu et al., ICCV 2017) between two domains, and a U-Net of the source (method-spec 5e)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..adversarial_losses import discriminator_loss, generator_loss
from ..networks.multiscale import PatchGAN
from ..networks.resnet import ResNetGenerator
from ..systems.base import Batch, TrainingStep
from ..systems.settings import arguments
from .translated import TranslateAndSegment


class CycleGAN(TranslateAndSegment):
    """Translation both ways with cycle consistency; images of the target are segmented as images of the source.

    Discriminators see the current translations: a buffer of past ones, as published, would have to be part of every
    checkpoint.

    Args:
        sequences: canonical names, in training order.
        classes: names of the labels, index 0 the background.
        healthy: class indices that HEALTHY voxels may carry.
        domains: name -> its sequences, the source first; None = every sequence is a domain of its own.
        annotated: domains whose labels are used; None = the source alone.
        slices: adjacent slices per image.
        width: multiplier of the published channel counts.
        segmentor_width, discriminator_width: the same of the U-Net and of all discriminators; None = ``width``.
        blocks: residual blocks of the generators, 9 as published for 256 x 256.
        downsamplings: stride-2 convolutions of the generators, 2 as published.
        output: "tanh" (images in [-1, 1]) or "linear" (z-scored images).
        home: the U-Net segments in the appearance of the "source" (DALACE does not say; recommended) or of the
            "target".
        adversarial: "lsgan", "bce" or "hinge".
        class_weights: of the cross-entropy, one per class.
        weights: changes to :attr:`WEIGHTS`; "identity" is 5 where it is used at all.
        learning_rate, betas: of Adam.
        segmentor_rate: learning rate of the U-Net.
    """

    name = "cyclegan"
    WEIGHTS: Mapping[str, float] = {**TranslateAndSegment.WEIGHTS, "adversarial": 1.0, "cycle": 10.0, "identity": 0.0}

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
        discriminator_width: float | None = None,
        blocks: int = 9,
        downsamplings: int = 2,
        output: str = "tanh",
        home: str = "source",
        adversarial: str = "lsgan",
        class_weights: Sequence[float] | None = None,
        weights: Mapping[str, float] | None = None,
        learning_rate: float = 2e-4,
        betas: Sequence[float] = (0.5, 0.999),
        segmentor_rate: float = 1e-3,
    ) -> None:
        super().__init__(arguments(locals()), home)
        self.adversarial = adversarial
        # Both by the domain that comes out, or is judged.
        shape = (slices, width, blocks, output, downsamplings)
        self.generators = nn.ModuleDict({d: ResNetGenerator(*shape) for d in self.domains})
        self.judge_width = width if discriminator_width is None else discriminator_width
        self.discriminators = nn.ModuleDict({d: PatchGAN(slices, self.judge_width) for d in self.domains})
        self.add_networks()

    def add_networks(self) -> None:
        """Further networks of a subclass."""

    def translate(self, image: Tensor, source: str, target: str) -> Tensor:
        return self.generators[target](image)

    def training_steps(self) -> Sequence[TrainingStep]:
        """Generators, then discriminators (the published order), then the U-Net."""
        adam = {"lr": self.config["learning_rate"], "betas": tuple(self.config["betas"])}
        makers, judges = list(self.generators.parameters()), self.judges()
        return [
            TrainingStep("generator", makers, self.generator_loss, adam),
            TrainingStep("discriminator", judges, self.discriminator_loss, adam),
            self.segmentation_step(),
        ]

    def judges(self) -> list[nn.Parameter]:
        """What the update of the discriminators changes."""
        return list(self.discriminators.parameters())

    def translations(self, batch: Batch) -> dict[str, Tensor]:
        """Translations by the domain that they are translated *into*."""
        real = self.images(batch)
        return {
            self.target: self.translate(real[self.source], self.source, self.target),
            self.source: self.translate(real[self.target], self.target, self.source),
        }

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Translations pass for real and lead back to where they came from."""
        return self.generator_terms(self.images(batch), self.translations(batch))[0]

    def generator_terms(
        self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weighted terms, and the images by domain after the way there and back."""
        other = {self.source: self.target, self.target: self.source}
        back = {d: self.translate(fake[other[d]], other[d], d) for d in real}
        passes = [generator_loss(self.discriminators[d](x), self.adversarial).mean() for d, x in fake.items()]
        cycle = [(back[d] - x).abs().mean() for d, x in real.items()]
        terms = {
            "adversarial": self.weights["adversarial"] * torch.stack(passes).sum(),
            "cycle": self.weights["cycle"] * torch.stack(cycle).sum(),
        }
        if self.weights["identity"]:
            same = [(self.generators[d](x) - x).abs().mean() for d, x in real.items()]
            terms["identity"] = self.weights["identity"] * torch.stack(same).sum()
        return terms, back

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Half the sum of both kinds of images, as published."""
        real = self.images(batch)
        with torch.no_grad():
            fake = self.translations(batch)
        return {f"discriminator_{d}": 0.5 * self.judged(self.discriminators[d], real[d], fake[d]) for d in self.domains}

    def judged(self, judge: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """What a discriminator minimises."""
        return (
            discriminator_loss(judge(real), True, self.adversarial).mean()
            + discriminator_loss(judge(fake), False, self.adversarial).mean()
        )
