"""Baselines that bring every image into the appearance of one domain and segment it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..systems.base import Batch, Factors, TrainingStep
from ..systems.unpaired import UnpairedSystem


class TranslateAndSegment(UnpairedSystem):
    """Base of CycleGAN, TD-GAN and image translation with MUNIT, for two domains.

    There are no factors as such. In their place stand the image in the appearance of the domain ``home`` (anatomy,
    B x S x H x W) and the domain it came from, one-hot (modality): decoding one with the other translates back.

    Args:
        config: of the subclass; the arguments of :class:`UnpairedSystem`, "segmentor_width" (None = "width") and
            "segmentor_rate" are used here.
        home: "source" or "target", the domain on whose appearance the U-Net works.

    Raises:
        InputError: more than two domains, or no classes.
    """

    constant_styles = True
    WEIGHTS: Mapping[str, float] = {"segmentation": 1.0, "dice": 0.0}

    def __init__(self, config: dict, home: str) -> None:
        width = config["width"] if config["segmentor_width"] is None else config["segmentor_width"]
        shared = ("sequences", "classes", "healthy", "domains", "annotated", "slices", "class_weights", "weights")
        super().__init__(
            **{key: config[key] for key in shared},
            segmentor_width=width,
            style_dim=2,
            anatomy_channels=config["slices"],
        )
        if len(self.domains) != 2 or len(config["classes"]) < 2:
            raise InputError("This baseline translates between two domains and segments; correct system.domains.")
        if home not in ("source", "target"):
            raise InputError(f'Unknown domain "{home}" to segment in; use "source" or "target".')
        self.config = config
        (self.target,) = self.others
        self.home = self.source if home == "source" else self.target
        marks = torch.eye(2)[[list(self.domains).index(self.domain_of(s)) for s in config["sequences"]]]
        self.register_buffer("default_styles", marks)

    def translate(self, image: Tensor, source: str, target: str) -> Tensor:
        """An image (B, S, H, W) of one domain in the appearance of the other."""
        raise NotImplementedError

    def at_home(self, image: Tensor, domain: str) -> Tensor:
        """An image of a domain in the appearance that is segmented."""
        return image if domain == self.home else self.translate(image, domain, self.home)

    # -- the System interface --------------------------------------------------------------------------------------

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        anatomy = {s: self.at_home(x, self.domain_of(s)) for s, x in images.items()}
        modality = {s: self.default_style(s).to(x).expand(len(x), -1) for s, x in images.items()}
        return Factors(anatomy, modality, mask)

    def fuse(self, factors: Factors) -> Tensor:
        """Mean of the images; of several, that makes sense where they lie on one grid."""
        return torch.stack(list(factors.anatomy.values())).mean(0)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        if isinstance(style, str):
            style = self.default_style(style).expand(len(anatomy), -1)
        away = self.target if self.home == self.source else self.source
        stays = style.argmax(1) == list(self.domains).index(self.home)
        translated = anatomy if bool(stays.all()) else self.translate(anatomy, self.home, away)
        return torch.where(stays[:, None, None, None], anatomy, translated)

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        return self.fuse(factors)

    # -- training --------------------------------------------------------------------------------------------------

    def segmentation_step(self) -> TrainingStep:
        """The update of the U-Net, which changes nothing else."""
        adam = {"lr": self.config["segmentor_rate"]}
        return TrainingStep("segmentation", list(self.segmentor.parameters()), self.segmentation_loss, adam)

    def segmentation_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy on the images of the annotated domains as they are segmented, translations included."""
        parts = self.annotated_samples(batch)
        with torch.no_grad():
            images = [self.training_image(part.images, domain) for domain, part in parts.items()]
        labels = torch.cat([part.labels for part in parts.values()])
        return self.segmentation_terms(self.segment(torch.cat(images)), labels)

    def training_image(self, image: Tensor, domain: str) -> Tensor:
        """What the U-Net learns from; :meth:`at_home` unless translations are drawn at random."""
        return self.at_home(image, domain)

    def training_steps(self) -> Sequence[TrainingStep]:
        raise NotImplementedError
