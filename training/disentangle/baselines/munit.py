"""MUNIT: unsupervised image translation with content and style codes (Huang et al., ECCV 2018; method-spec 5e).

Written from the paper. The base of DADR and of the baseline "translation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..systems.base import Batch, TrainingStep
from ..systems.settings import arguments
from ..systems.unpaired import DisentangledDomains, partners


class Munit(DisentangledDomains):
    """Two or more domains, a content and a style code each; styles of translations are drawn from N(0, I).

    Args:
        sequences: canonical names, in training order.
        classes: none: MUNIT does not segment (DADR does).
        healthy: class indices that HEALTHY voxels may carry.
        domains: name -> its sequences, the source first; None = every sequence is a domain of its own.
        annotated: domains whose labels are used; None = the source alone.
        slices: adjacent slices per image.
        width: multiplier of the published channel counts.
        segmentor_width, discriminator_width: the same of the U-Net and of the discriminators; None = ``width``.
        style_dim, norm, empty, agnostic_by, output, scales, layers, adversarial, downsamplings, blocks,
            discriminator_norm: as of :class:`DisentangledDomains`.
        class_weights: of the cross-entropy, one per class.
        weights: changes to :attr:`WEIGHTS`; "cycle" is 10 where it is used at all.
        learning_rate, betas, weight_decay: of Adam. (The published halving every 100 000 iterations is left to
            ``training.schedule``.)
        segmentor_rate: learning rate of the U-Net.
    """

    name = "munit"
    segments = False
    WEIGHTS: Mapping[str, float] = {"adversarial": 1.0, "image": 10.0, "content": 1.0, "style": 1.0, "cycle": 0.0}

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        domains: Mapping[str, Sequence[str]] | None = None,
        annotated: Sequence[str] | None = None,
        slices: int = 1,
        width: float = 1.0,
        segmentor_width: float | None = None,
        discriminator_width: float | None = None,
        discriminator_norm: str = "none",
        style_dim: int = 8,
        norm: str = "instance",
        empty: str = "zero",
        agnostic_by: str = "own",
        output: str = "tanh",
        scales: int = 3,
        layers: int = 4,
        downsamplings: int = 2,
        blocks: int = 4,
        adversarial: str = "lsgan",
        class_weights: Sequence[float] | None = None,
        weights: Mapping[str, float] | None = None,
        learning_rate: float = 1e-4,
        betas: Sequence[float] = (0.5, 0.999),
        weight_decay: float = 1e-4,
        segmentor_rate: float = 1e-3,
    ) -> None:
        config = arguments(locals())
        if bool(classes) != self.segments:
            raise InputError(
                "DADR learns from labels; name them in system.classes."
                if self.segments
                else "MUNIT does not segment; take dadr or translation, or leave system.classes out."
            )
        super().__init__(
            sequences,
            classes,
            healthy,
            domains,
            annotated,
            slices,
            width if segmentor_width is None else segmentor_width,
            class_weights,
            weights,
            width,
            style_dim,
            norm,
            output,
            empty,
            agnostic_by,
            scales,
            layers,
            adversarial,
            downsamplings,
            blocks,
            discriminator_width,
            discriminator_norm,
        )
        self.config = config

    def translate(self, image: Tensor, source: str, target: str, code: Tensor | None = None) -> Tensor:
        """An image of the domain ``source`` as one of ``target``; without a style code (B, Z), in the mean style 0."""
        code = image.new_zeros(len(image), self.code) if code is None else code
        return self.autoencoders[target].decoder(self.autoencoders[source].content(image), code)

    # -- training --------------------------------------------------------------------------------------------------

    def training_steps(self) -> Sequence[TrainingStep]:
        """Discriminators, then encoders and generators (the order of the published training)."""
        adam = self.adam()
        judges, makers = list(self.discriminators.parameters()), list(self.autoencoders.parameters())
        return [
            TrainingStep("discriminator", judges, self.discriminator_loss, adam),
            TrainingStep("generator", makers, self.generator_loss, adam),
        ]

    def adam(self) -> dict[str, float | tuple[float, ...]]:
        """Settings of the optimisers."""
        config = self.config
        return {"lr": config["learning_rate"], "betas": tuple(config["betas"]), "weight_decay": config["weight_decay"]}

    def drawn_codes(self, real: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Style codes (n, Z) from N(0, I), one per image of every domain."""
        return {d: torch.randn(len(x), self.code, device=x.device) for d, x in real.items()}

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Real images of every domain against translations into it in drawn styles."""
        real = self.images(batch)
        with torch.no_grad():
            fake = self.swapped(self.contents(real), self.drawn_codes(real))
        return {"discriminator": self.discriminator_terms(real, fake)}

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Own images rebuilt; content and drawn style of every translation found again; translations that pass."""
        real, weights, nets = self.images(batch), self.weights, self.autoencoders
        content, own, drawn = self.contents(real), self.codes(real), self.drawn_codes(real)
        fake = self.swapped(content, drawn)
        image = [(nets[d].decoder(content[d], own[d]) - x).abs().mean() for d, x in real.items()]
        again = {(i, j): nets[j].content(x) for (i, j), x in fake.items()}
        found: dict[str, list[Tensor]] = {"image": image, "content": [], "style": [], "cycle": []}
        for (i, j), x in fake.items():
            found["content"].append((again[i, j] - content[i]).abs().mean())
            found["style"].append((nets[j].style(x) - partners(drawn[j], len(x))).abs().mean())
            if weights["cycle"]:
                found["cycle"].append((nets[i].decoder(again[i, j], own[i]) - real[i]).abs().mean())
        terms = {name: weights[name] * torch.stack(values).sum() for name, values in found.items() if values}
        return {"adversarial": weights["adversarial"] * self.adversarial_term(fake), **terms}
