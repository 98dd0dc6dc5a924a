"""UCD: unified conditional disentanglement, any sequence from any other (Liu et al., ISBI 2021; method-spec 3).

One encoder that is not told the sequence, one decoder told which sequence to make by a one-hot code, one discriminator
that also names the sequence. Registered sequences give the truth of every translation; the translation is translated
back by the same networks (cycle), and what the encoder finds must be the same in an image and its translation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..adversarial_losses import KINDS, discriminator_loss, generator_loss, gradient_penalty
from ..errors import InputError
from ..networks.ac_discriminator import ACDiscriminator
from ..networks.translation import ResNetTranslator
from ..networks.unet128 import UNet128
from .base import Batch, Factors, Program, TrainingStep
from .draws import Translation, draw_translations
from .settings import arguments, check_choice, loss_weights
from .translation import TranslationSystem
from .translation_programs import programs_of

WEIGHTS = {
    "paired": 1.0,
    "cycle": 1.0,
    "adversarial": 0.5,
    "classification": 1.0,
    "disentanglement": 1.0,
    "real_classification": 1.0,
    "gradient_penalty": 10.0,
}
"""Weights of the terms: 1, alpha, beta, lambda_1, lambda_d (method-spec 3b; not published) of encoder and decoder;
lambda_2 and that of WGAN-GP of the discriminator. The two L1 terms are also multiplied by ``l1_scale``. A term of
weight 0 is not computed."""

PRESETS = {
    "recommended": {
        "backbone": "resnet",
        "code_at": "all",
        "disen_on": "both",
        "dis_cls_on_fake": False,
        "l1_scale": 10.0,
    },
    "paper": {
        "backbone": "unet128",
        "code_at": "bottleneck",
        "disen_on": "fake",
        "dis_cls_on_fake": True,
        "l1_scale": 100.0,
    },
}
"""Where method-spec 3g leaves a choice. ``l1_scale`` brings the L1 terms to the size of the others (g9): 100 for
images of [-1, 1] averaged over all pixels, a tenth of it for z-scores averaged inside the mask, which are as much
larger."""


class UCD(TranslationSystem):
    """The system of Liu et al.; the anatomy factor is the encoder's feature map, the modality factor a one-hot code.

    With ``backbone="resnet"`` the anatomy is 256 channels at a quarter of the size. With ``"unet128"`` everything that
    reaches the decoder counts, so that the anatomy is all maps packed into one tensor at an eighth of the size
    (:meth:`.UNet128.pack`). Several inputs: the mean of their anatomies, which the disentanglement term makes alike.

    Args:
        sequences: canonical names, in training order (the order of the completed stack, too).
        classes: names of the labels, index 0 the background; empty = no segmentor is trained along.
        healthy: class indices that HEALTHY voxels may carry.
        fidelity: "recommended", or "paper": images of [-1, 1], tanh, norms on all maps, and :data:`PRESETS`.
        backbone: "resnet" (no skips) or "unet128"; None = by ``fidelity``, as for all that follow with None.
        code_at: where the code enters: "bottleneck" (as printed), or "all" steps of the decoder.
        context: unet128 also shows its maps the histogram of the image (:class:`.HistogramContext`), which tells the
            contrast without being told the sequence; not with ``fidelity="paper"``.
        levels: halvings of unet128; images are multiples of ``2 ** levels``.
        width: multiplier of all published channel counts.
        slices: adjacent slices per image.
        disen_on: which pair of encodings must agree: "fake" (translation and source, Eq. 5), "real" (true target and
            source) or "both" (their mean).
        normalize_disen: divide features by their root mean square per channel before they are compared; for when
            ``diagnostics["feature_size"]`` shrinks.
        dis_cls_on_fake: the discriminator also learns to name the sequence of translations.
        l1_scale: factor of the two L1 terms.
        gan: "bce" (published), "lsgan", "hinge", or "wasserstein" with gradient penalty.
        conditional: the discriminator also sees the source image.
        discriminator_levels: halvings in the discriminator; 4 for images of 64 pixels.
        weights: changes to :data:`WEIGHTS`.
        sources: source slices per sample and step, as often of one sequence as of another.
        value_range: normalised intensities that become -1 and 1 with ``fidelity="paper"``.
        completion: stacks on which the segmentor learns, see :class:`TranslationSystem`.
        frozen: the segmentor alone learns, see there.
        class_weights: of the segmentor's cross-entropy.
        learning_rate, discriminator_rate, segmentor_rate: of Adam.
        segmentor_width: multiplier of the segmentor's channel counts, None = ``width``.
    """

    name = "ucd"
    citation = (
        "Liu X, Xing F, El Fakhri G, Woo J. A Unified Conditional Disentanglement Framework for Multimodal Brain MR "
        "Image Translation. ISBI 2021, arXiv:2101.05434."
    )

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        fidelity: str = "recommended",
        backbone: str | None = None,
        code_at: str | None = None,
        context: bool = False,
        levels: int = 7,
        width: float = 1.0,
        slices: int = 1,
        disen_on: str | None = None,
        normalize_disen: bool = False,
        dis_cls_on_fake: bool | None = None,
        l1_scale: float | None = None,
        gan: str = "bce",
        conditional: bool = False,
        discriminator_levels: int = 5,
        weights: dict[str, float] | None = None,
        sources: int = 1,
        value_range: Sequence[float] = (-4.0, 6.0),
        completion: str = "subset",
        frozen: bool = False,
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 1e-3,
        discriminator_rate: float = 1e-4,
        segmentor_rate: float = 1e-3,
        segmentor_width: float | None = None,
    ) -> None:
        config = arguments(locals())
        check_choice("gan", gan, tuple(KINDS))
        check_choice("fidelity", fidelity, tuple(PRESETS))
        chosen = {k: preset if config[k] is None else config[k] for k, preset in PRESETS[fidelity].items()}
        check_choice("backbone", chosen["backbone"], ("resnet", "unet128"))
        check_choice("code_at", chosen["code_at"], ("bottleneck", "all"))
        check_choice("disen_on", chosen["disen_on"], ("fake", "real", "both"))
        if context and (fidelity == "paper" or chosen["backbone"] != "unet128"):
            raise InputError("system.context needs system.backbone=unet128 and z-scored images; leave it out.")

        paper = fidelity == "paper"
        shape = {"width": width, "output": "tanh" if paper else "linear"}
        if chosen["backbone"] == "resnet":
            translator = ResNetTranslator(slices, len(sequences), chosen["code_at"], **shape)
        else:
            place = {
                "code_dim": len(sequences),
                "code_at": chosen["code_at"],
                "norm_deepest": paper,
                "context": context,
            }
            translator = UNet128(slices, slices, levels=levels, **place, **shape)
        super().__init__(config, translator.size_multiple, translator.packed_channels)
        self.chosen = chosen
        self.weights = loss_weights(WEIGHTS, weights)
        self.translator = translator
        self.discriminator = None
        if self.weights["adversarial"] or self.weights["classification"]:
            seen = slices * (2 if conditional else 1)
            self.discriminator = ACDiscriminator(seen, len(self.sequences), width, discriminator_levels)
        self._drawn: Translation | None = None

    # -- the System interface --------------------------------------------------------------------------------------

    def anatomy_of(self, image: Tensor, sequence: int, mask: Tensor) -> Tensor:
        return self.translator.pack(self.translator.encode(self.to_network(image, mask)))

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        return torch.stack(list(factors.anatomy.values())).mean(0)

    def merged(self, images: Tensor, keep: Tensor, mask: Tensor) -> Tensor:
        # One call for all images that count, however they are spread over sequences and samples.
        sequence, sample = keep.nonzero(as_tuple=True)
        found = self.translator.pack(self.translator.encode(self.to_network(images[sequence, sample], mask[sample])))
        total = found.new_zeros(len(mask), *found.shape[1:]).index_add(0, sample, found)
        return total / keep.sum(0)[:, None, None, None]

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        """See :meth:`System.decode`. A style is a sequence's name, its one-hot code (B, n), or a blend of codes."""
        maps = self.translator.unpack(anatomy)
        return self.from_network(self.translator.decode(maps, self.code(style, len(anatomy))))

    def programs(self) -> dict[str, Program]:
        return programs_of(self)

    def translator_steps(self) -> list[TrainingStep]:
        rates = {"generator": self.config["learning_rate"], "discriminator": self.config["discriminator_rate"]}
        adam = {name: {"lr": rate, "betas": (0.5, 0.999)} for name, rate in rates.items()}
        networks = list(self.translator.parameters())
        steps = [TrainingStep("generator", networks, self.generator_loss, adam["generator"], None)]
        if self.discriminator is not None:
            judge = list(self.discriminator.parameters())
            steps.append(TrainingStep("discriminator", judge, self.discriminator_loss, adam["discriminator"], None))
        return steps

    # -- training --------------------------------------------------------------------------------------------------

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of encoder and decoder; keeps the translation for the discriminator's step, which follows."""
        drawn = self._draw(batch)
        weights, scale, on = self.weights, self.chosen["l1_scale"], self.chosen["disen_on"]
        found = self.translator.encode(drawn.x)
        fake = self._translate(found, drawn.target, drawn.mask)
        self._drawn = Translation(**{**vars(drawn), "fake": fake.detach()})
        terms = {"paired": scale * self.image_l1(fake, drawn.y, drawn.mask).mean()}
        disentangled = bool(weights["disentanglement"])
        if weights["cycle"] or (disentangled and on != "real"):
            again = self.translator.encode(fake)
        if weights["cycle"]:
            back = self._translate(again, drawn.source, drawn.mask)
            terms["cycle"] = scale * self.image_l1(back, drawn.x, drawn.mask).mean()
        if self.discriminator is not None:
            scores, logits = self._judge(fake, drawn.x)
            if weights["adversarial"]:
                terms["adversarial"] = generator_loss(scores, self.config["gan"]).mean()
            if weights["classification"]:
                terms["classification"] = F.cross_entropy(logits, drawn.target)
        if disentangled:
            others = [again] if on != "real" else []
            others += [self.translator.encode(drawn.y)] if on != "fake" else []
            terms["disentanglement"] = torch.stack([self.feature_distance(o, found) for o in others]).mean()
        self.diagnostics["feature_size"] = torch.stack([f.detach().abs().mean() for f in found]).mean()
        return {name: weights[name] * value for name, value in terms.items()}

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the discriminator on the true targets and on the translations of the generator's step.

        The classes are learned on the true targets: they are drawn like the sources, which the paper prints.
        """
        drawn, self._drawn = self._drawn, None
        if drawn is None:
            drawn = self._draw(batch)
            with torch.no_grad():
                drawn.fake = self._translate(self.translator.encode(drawn.x), drawn.target, drawn.mask)
        kind = self.config["gan"]
        real_scores, real_logits = self._judge(drawn.y, drawn.x)
        terms, classify = {}, self.weights["classification"]
        fake_scores = fake_logits = None
        if self.weights["adversarial"] or (classify and self.chosen["dis_cls_on_fake"]):
            fake_scores, fake_logits = self._judge(drawn.fake, drawn.x)
        if self.weights["adversarial"]:
            values = [discriminator_loss(real_scores, True, kind), discriminator_loss(fake_scores, False, kind)]
            terms["adversarial"] = torch.stack(values).sum(0).mean()
            if kind == "wasserstein":
                penalty = gradient_penalty(lambda x: self._judge(x, drawn.x)[0], drawn.y, drawn.fake).mean()
                terms["gradient_penalty"] = self.weights["gradient_penalty"] * penalty
        if classify:
            value = F.cross_entropy(real_logits, drawn.target)
            if self.chosen["dis_cls_on_fake"]:
                value = value + F.cross_entropy(fake_logits, drawn.target)
            terms["classification"] = self.weights["real_classification"] * value
        return terms

    def feature_distance(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """L_disen: mean absolute difference of two encodings, averaged over the maps that reach the decoder."""
        distances = []
        for a, b in zip(one, other, strict=True):
            difference = (a - b).abs()
            if self.config["normalize_disen"]:
                size = (a.square() + b.square()).mean((0, 2, 3), keepdim=True) / 2
                difference = difference / (size + 1e-8).sqrt()
            distances.append(difference.mean())
        return torch.stack(distances).mean()

    def _draw(self, batch: Batch) -> Translation:
        """Translations of a batch, images in the networks' range."""
        drawn = draw_translations(batch, self.sequences, self.config["sources"])
        drawn.x, drawn.y = self.to_network(drawn.x, drawn.mask), self.to_network(drawn.y, drawn.mask)
        return drawn

    def _translate(self, maps: list[Tensor], target: Tensor, mask: Tensor) -> Tensor:
        return self.shown(self.translator.decode(maps, self.one_hot(target)), mask)

    def _judge(self, image: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        return self.discriminator(image, source if self.config["conditional"] else None)
