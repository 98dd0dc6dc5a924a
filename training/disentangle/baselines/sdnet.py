"""SDNet: anatomy and modality factors of one image (Chartsias et al., Medical Image Analysis 2019; method-spec 2e).

One path of DAFNet: no transformer, no fusion, one anatomy encoder for all sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .. import losses
from ..errors import InputError
from ..networks.blocks import scaled
from ..networks.categorical import categorical
from ..networks.film import FiLMDecoder
from ..networks.fusion import maximum
from ..networks.heads import SegmentationHead
from ..networks.style import AnatomyStyleEncoder, sample_style
from ..networks.unet import UNet
from ..systems.adversaries import Adversaries
from ..systems.base import Batch, Capabilities, Factors, System, TrainingStep
from ..systems.settings import arguments, loss_weights
from ..systems.views import View, total
from .slicewise import CROSS_ENTROPY, check_names, supervision

WEIGHTS = {
    "segmentation": 10.0,
    "mask_adversarial": 10.0,
    "reconstruction": 1.0,
    "kl": 0.01,
    "style_regression": 1.0,
}
"""Published weights of the loss terms. A term of weight 0 is not computed."""


class SDNet(System):
    """SDNet-single with one sequence in ``sequences``, SDNet-multi with all of them mixed.

    Images without labels train everything but the segmentation.

    Args:
        sequences: canonical names.
        classes: names of the labels, index 0 the background.
        healthy: class indices that HEALTHY pixels may carry.
        size: (H, W) of the slices, multiples of 16, at least 48.
        width: multiplier of the channel counts (not of the FiLM decoder, whose width is C).
        anatomy_channels: C. style_dim: Z.
        output: "tanh" for images in [-1, 1], "linear" for z-scored ones.
        binarise: "argmax", "round" (published), "gumbel" or "softmax".
        norm: of the anatomy encoder, "instance" or "batch" (published).
        pooled_discriminator: independent of the image size.
        weights: changes to :data:`WEIGHTS`.
        learning_rate: of Adam, with beta_1 = 0.5.
        cross_entropy: weight beta of the cross-entropy within L_sup.
    """

    name = "sdnet"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int] = (0,),
        size: Sequence[int] = (192, 192),
        width: float = 1.0,
        anatomy_channels: int = 8,
        style_dim: int = 8,
        output: str = "tanh",
        binarise: str = "argmax",
        norm: str = "instance",
        pooled_discriminator: bool = False,
        weights: dict[str, float] | None = None,
        learning_rate: float = 1e-4,
        cross_entropy: float = CROSS_ENTROPY,
    ) -> None:
        super().__init__()
        self.config, self.diagnostics = arguments(locals()), {}
        check_names(sequences, classes)
        if len(size) != 2 or any(n % 16 for n in size):
            raise InputError(f"system.size must be two multiples of 16, not {list(size)}.")
        self.weights = loss_weights(WEIGHTS, weights)
        self.capabilities = Capabilities(
            sequences=tuple(sequences),
            targets=tuple(sequences),
            classes=tuple(classes),
            healthy=tuple(healthy),
            slices=1,
            size_multiple=16,
            anatomy_channels=anatomy_channels,
            style_dim=style_dim,
            needs_registered_input=False,
            size=tuple(size),
        )
        self.anatomy_encoder = UNet(1, anatomy_channels, width, norm)
        self.style_encoder = AnatomyStyleEncoder(anatomy_channels, 1, style_dim, width, size, (16,) * 4, "batch")
        self.decoder = FiLMDecoder(anatomy_channels, style_dim, 1, output, hidden=anatomy_channels)
        self.segmentor = SegmentationHead(anatomy_channels, len(classes), "conv", (scaled(64, width),))
        filters = scaled(64, width)
        self.adversaries = None
        if self.weights["mask_adversarial"]:
            foreground = len(classes) - 1
            self.adversaries = Adversaries(sequences, foreground, filters, 0, size, pooled_discriminator, "lsgan")
        self.register_buffer("default_styles", torch.zeros(len(sequences), style_dim))

    # -- the System interface --------------------------------------------------------------------------------------

    def anatomy(self, image: Tensor) -> Tensor:
        """Anatomy (B, C, H, W) of an image (B, 1, H, W) of any sequence."""
        return categorical(self.anatomy_encoder(image), self.config["binarise"], self.training)

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        anatomy = {s: self.anatomy(x) for s, x in images.items()}
        return Factors(anatomy, {s: self.style_encoder(anatomy[s], x)[0] for s, x in images.items()}, mask)

    def fuse(self, factors: Factors) -> Tensor:
        """The anatomy itself; of several sequences, which only makes sense where they are registered, the maximum."""
        return maximum(list(factors.anatomy.values()))

    def segment(self, fused: Tensor) -> Tensor:
        return self.segmentor(fused)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        if isinstance(style, str):
            style = self.default_style(style).expand(len(anatomy), -1)
        return self.decoder(anatomy, style)

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        return self.fuse(factors)

    def training_steps(self) -> Sequence[TrainingStep]:
        adam = {"lr": self.config["learning_rate"], "betas": (0.5, 0.999)}
        makers = [p for name, p in self.named_parameters() if not name.startswith("adversaries.")]
        steps = [TrainingStep("generator", makers, self.generator_loss, adam, clip_norm=None)]
        if self.adversaries is not None:
            judges = list(self.adversaries.parameters())
            steps.append(TrainingStep("discriminator", judges, self.discriminator_loss, adam, clip_norm=None))
        return steps

    # -- training --------------------------------------------------------------------------------------------------

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms, each a mean over the samples that have the sequence, summed over the sequences."""
        views = self._views(batch)
        if not views:
            raise InputError("A training batch holds none of the sequences of this system.")
        logits = {v.target: self.segment(v.anatomy) for v in views}
        posteriors = [self.style_encoder(v.anatomy, batch.images[v.target]) for v in views]
        images = [self.decode(v.anatomy, sample_style(*p)) for v, p in zip(views, posteriors, strict=True)]
        differences = [(y - batch.images[v.target]).abs().mean((1, 2, 3)) for v, y in zip(views, images, strict=True)]
        terms = {"reconstruction": total(views, differences)}
        if batch.labels is not None or batch.sequence_labels:
            terms["segmentation"] = self._supervision(logits, batch)
        if self.weights["kl"]:
            terms["kl"] = total(views, [losses.kl_standard_normal(*p) for p in posteriors])
        if self.weights["style_regression"]:
            terms["style_regression"] = total(views, [self._regression(v.anatomy) for v in views])
        if self.adversaries is not None:
            masks = [logits[v.target].softmax(1)[:, 1:] for v in views]
            terms["mask_adversarial"] = self.adversaries.masks_pass(views, masks)
        return {name: self.weights[name] * value for name, value in terms.items()}

    def _supervision(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """L_sup of every sequence that has labels, summed as all other terms are: as a mean of two sequences it was
        outweighed by the adversarial term (SDNet-multi with all labels: .71 of cine, as a sum .86; seed 1)."""
        taught = {s: x for s, x in logits.items() if batch.labels_of(s) is not None} or logits  # refused there
        settings = batch, self.capabilities.healthy, self.config["cross_entropy"]
        return torch.stack([supervision({s: x}, *settings) for s, x in taught.items()]).sum()

    def discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """D_M on the masks of annotated images and on what is segmented now."""
        with torch.no_grad():
            views = self._views(batch)
            fake = [(self.segment(v.anatomy).softmax(1)[:, 1:], v.share) for v in views]
        real = []
        for view in views:
            labels = batch.labels_of(view.target)
            if labels is not None:
                mask = torch.stack([labels == c for c in range(1, len(self.capabilities.classes))], dim=1)
                real.append((mask.to(view.anatomy.dtype), losses.annotated(labels) * view.share))
        return {"mask_discriminator": self.adversaries.mask_loss(real, fake)}

    def _views(self, batch: Batch) -> list[View]:
        present = [s for s in self.capabilities.sequences if s in batch.images and bool(batch.available[s].any())]
        shares = {s: batch.available[s].to(batch.images[s].dtype) for s in present}
        return [View(s, "own", self.anatomy(batch.images[s]), shares[s]) for s in present]

    def _regression(self, anatomy: Tensor) -> Tensor:
        """A style drawn from the prior is found again in the image that it makes: (B,)."""
        style = torch.randn(len(anatomy), self.config["style_dim"], device=anatomy.device)
        return (style - self.style_encoder(anatomy, self.decode(anatomy, style))[0]).abs().mean(1)
