"""What systems for unpaired domains have in common (method-spec 5): domains, their samples, domain-agnostic images.

A domain is a group of sequences that the system does not tell apart: CT, say, and MR of any contrast phase. Only some
domains are annotated; labels of the others are never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .. import losses
from ..adversarial_losses import discriminator_loss, generator_loss
from ..errors import InputError
from ..networks.multiscale import MultiScaleDiscriminator
from ..networks.resnet import DomainAutoencoder
from ..networks.unet import UNet
from .base import SHOWN, Batch, Capabilities, Factors, Program, System
from .settings import check_choice, check_sequences, loss_weights
from .unpaired_programs import programs_of


@dataclass(frozen=True)
class Samples:
    """What a batch holds of one domain: images (n, S, H, W); labels (n, H, W), None unless the domain is annotated."""

    images: Tensor
    labels: Tensor | None


class UnpairedSystem(System):
    """A system that learns from domains of different subjects.

    The first domain is the source. A sample of a batch is of the domain whose sequence it has; one that has several
    counts for each (see ``datasets.unpaired``).

    Args:
        sequences: canonical names, in training order.
        classes: names of the labels, index 0 the background; empty = no segmentation.
        healthy: class indices that HEALTHY voxels may carry.
        domains: name -> its sequences; None = every sequence is a domain of its own.
        annotated: domains whose labels may be used; None = the source alone.
        slices: adjacent slices per image.
        segmentor_width: multiplier of the channels of the U-Net that segments.
        class_weights: of the cross-entropy, one per class.
        weights: changes to the class's own ``WEIGHTS`` of the loss terms.
        style_dim, anatomy_channels: sizes of the factors, for :class:`Capabilities`.
    """

    WEIGHTS: Mapping[str, float] = {}

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int],
        domains: Mapping[str, Sequence[str]] | None,
        annotated: Sequence[str] | None,
        slices: int,
        segmentor_width: float,
        class_weights: Sequence[float] | None,
        weights: Mapping[str, float] | None,
        style_dim: int,
        anatomy_channels: int,
    ) -> None:
        super().__init__()
        check_sequences(sequences)
        self.domains = check_domains(sequences, domains)
        names = tuple(self.domains)
        if len(names) < 2:
            raise InputError("Unpaired learning needs at least two domains; add one to system.domains.")
        self.source, self.others = names[0], names[1:]
        self.annotated = (self.source,) if annotated is None else tuple(annotated)
        if unknown := sorted(set(self.annotated) - set(names)):
            raise InputError(f"system.annotated names {', '.join(unknown)}, not one of {', '.join(names)}.")
        self.weights = loss_weights(self.WEIGHTS, weights)
        self.diagnostics = {}
        self.capabilities = Capabilities(
            sequences=tuple(sequences),
            targets=tuple(sequences),
            classes=tuple(classes),
            healthy=tuple(healthy),
            slices=slices,
            size_multiple=16,
            anatomy_channels=min(anatomy_channels, SHOWN),
            style_dim=style_dim,
            needs_registered_input=False,
        )
        self.class_weights = None if class_weights is None else torch.tensor([float(w) for w in class_weights])
        self.segmentor = UNet(slices, len(classes), segmentor_width) if classes else None

    def domain_of(self, sequence: str) -> str:
        """The domain of a sequence.

        Raises:
            InputError: the model does not know the sequence.
        """
        self.index(sequence)
        return next(name for name, members in self.domains.items() if sequence in members)

    def segment(self, fused: Tensor) -> Tensor:
        """See :meth:`System.segment`; ``fused`` is the image (B, S, H, W) that the U-Net reads."""
        if self.segmentor is None:
            raise InputError("This model does not segment; choose one whose card lists classes.")
        return self.segmentor(fused)

    # -- training --------------------------------------------------------------------------------------------------

    def samples(self, batch: Batch) -> dict[str, Samples]:
        """The samples of every domain, sequence by sequence.

        Raises:
            InputError: a domain without samples, or an annotated one without labels although the system segments.
        """
        result = {}
        for name, members in self.domains.items():
            images, labels = [], []
            for sequence in members:
                rows = batch.available[sequence] if sequence in batch.images else None
                if rows is None or not bool(rows.any()):
                    continue
                images.append(batch.images[sequence][rows])
                own = batch.labels_of(sequence) if name in self.annotated else None
                labels += [] if own is None else [own[rows]]
            if not images:
                raise InputError(f"A training batch holds nothing of {name}; use sampling.kind=unpaired.")
            if name in self.annotated and self.segmentor is not None and len(labels) < len(images):
                raise InputError(f"{name} has no labels; give it some, or take it out of system.annotated.")
            result[name] = Samples(torch.cat(images), torch.cat(labels) if labels else None)
        return result

    def segmentation_terms(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy ("segmentation", published) and, where it has a weight, 1 - Dice ("dice"); weighted."""
        healthy = self.capabilities.healthy
        ce = losses.marginal_cross_entropy(logits, labels, healthy, self.class_weights)
        terms = {"segmentation": self.weights["segmentation"] * ce}
        if self.weights["dice"]:
            terms["dice"] = self.weights["dice"] * losses.marginal_dice(logits, labels, healthy)
        return terms

    def images(self, batch: Batch) -> dict[str, Tensor]:
        """The images of every domain."""
        return {name: part.images for name, part in self.samples(batch).items()}

    def annotated_samples(self, batch: Batch) -> dict[str, Samples]:
        return {name: part for name, part in self.samples(batch).items() if name in self.annotated}


class DisentangledDomains(UnpairedSystem):
    """Base of MUNIT and DALACE: per domain a content encoder, a style encoder, a generator and a discriminator.

    The anatomy factor is the content map, a quarter of the image's size as published. The modality factor (B, Z +
    number of domains) is the style code followed by the domain, one-hot: a code means something to its domain's
    generator only. What is segmented is the *domain-agnostic image*: the anatomy decoded without style.

    Args:
        width: multiplier of all channel counts of encoders and generators.
        style_dim: Z of the code, 8 as published.
        norm: of the content encoders, "instance" or "batch" (method-spec 5g, g1).
        output: "tanh" (images in [-1, 1]) or "linear" (z-scored images).
        agnostic_by: domain-agnostic images are decoded by the generator of the anatomy's "own" domain or by that of the
            "source" (5g, g5). A generator of its own draws a domain as it looks on average, which a U-Net of the source
            may not read: DADR's liver in MR, MUNIT's losses, .29; by the source's generator .74 (seed 1).
        empty: what stands for the missing style (5g, g2): "zero" or "identity", see
            :class:`~disentangle.networks.resnet.AdaINDecoder`, or "mean", the running mean code of the generator's
            domain: domain-agnostic images are then within what the discriminators of swapped images see to.
        scales, layers: of the multi-scale discriminators.
        discriminator_width: multiplier of the discriminators' channel counts; None = ``width``.
        discriminator_norm: theirs, "none" (MUNIT) or "instance".
        adversarial: kind of the adversarial losses, see :mod:`disentangle.adversarial_losses`.
        downsamplings, blocks: stride-2 convolutions (2 as published, for 256 x 256 pixels) and residual blocks (4) of
            content encoders and generators.
        The others: as of :class:`UnpairedSystem`.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str],
        healthy: Sequence[int],
        domains: Mapping[str, Sequence[str]] | None,
        annotated: Sequence[str] | None,
        slices: int,
        segmentor_width: float,
        class_weights: Sequence[float] | None,
        weights: Mapping[str, float] | None,
        width: float,
        style_dim: int,
        norm: str,
        output: str,
        empty: str,
        agnostic_by: str,
        scales: int,
        layers: int,
        adversarial: str,
        downsamplings: int,
        blocks: int,
        discriminator_width: float | None,
        discriminator_norm: str,
    ) -> None:
        check_choice("agnostic_by", agnostic_by, ("own", "source"))
        count = len(check_domains(sequences, domains))
        shape = (slices, style_dim, width, norm, output, "zero" if empty == "mean" else empty, downsamplings, blocks)
        auto = [DomainAutoencoder(*shape) for _ in range(count)]
        super().__init__(
            sequences,
            classes,
            healthy,
            domains,
            annotated,
            slices,
            segmentor_width,
            class_weights,
            weights,
            style_dim + count,
            auto[0].content.out_channels,
        )
        self.capabilities = replace(self.capabilities, agnostic=True)
        self.adversarial, self.code, self.agnostic_by = adversarial, style_dim, agnostic_by
        self.autoencoders = nn.ModuleDict(zip(self.domains, auto, strict=True))
        judge = (width if discriminator_width is None else discriminator_width, scales, layers, discriminator_norm)
        self.discriminators = nn.ModuleDict({name: MultiScaleDiscriminator(slices, *judge) for name in self.domains})
        self.register_buffer("mean_codes", torch.zeros(count, style_dim) if empty == "mean" else None)
        marks = torch.stack([self._mark(self.domain_of(s)) for s in sequences])
        self.register_buffer("default_styles", torch.cat([torch.zeros(len(sequences), style_dim), marks], dim=1))

    # -- the System interface --------------------------------------------------------------------------------------

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """See :meth:`System.encode`; anatomies are (B, C, H / 4, W / 4) as published."""
        anatomy, modality = {}, {}
        for sequence, image in images.items():
            name = self.domain_of(sequence)
            code = self.autoencoders[name].style(image)
            anatomy[sequence] = self.autoencoders[name].content(image)
            modality[sequence] = torch.cat([code, self._mark(name).to(code).expand(len(code), -1)], dim=1)
        return Factors(anatomy, modality, mask)

    def contents(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Anatomies of images by domain."""
        return {d: self.autoencoders[d].content(x) for d, x in images.items()}

    def codes(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Style codes (n, Z) of images by domain."""
        return {d: self.autoencoders[d].style(x) for d, x in images.items()}

    def agnostic_image(self, anatomy: Tensor, sequence: str) -> Tensor:
        """Domain-agnostic image (B, S, H, W) of an anatomy that was encoded from ``sequence``."""
        return self.agnostic(anatomy, self.domain_of(sequence))

    def agnostic(self, anatomy: Tensor, domain: str) -> Tensor:
        """G(a, no style) of an anatomy that was encoded in ``domain``."""
        by = self.agnostic_generator(domain)
        return self.autoencoders[by].decoder(anatomy, self.empty_code(anatomy, by))

    def agnostic_generator(self, domain: str) -> str:
        """The domain whose generator makes the domain-agnostic images of ``domain``."""
        return domain if self.agnostic_by == "own" else self.source

    def empty_code(self, anatomy: Tensor, domain: str) -> Tensor | None:
        """What the generator of a domain gets in place of a style: codes (B, Z), or None where it has its own."""
        if self.mean_codes is None:
            return None
        return self.mean_codes[list(self.domains).index(domain)].to(anatomy).expand(len(anatomy), -1)

    @torch.no_grad()
    def follow_codes(self, codes: Mapping[str, Tensor]) -> None:
        """Let the mean codes follow those of a batch, by a tenth."""
        if self.mean_codes is not None:
            means = torch.stack([codes[d].mean(0) for d in self.domains])
            self.mean_codes = torch.where(self.mean_codes.any(), self.mean_codes.lerp(means, 0.1), means)

    def fuse(self, factors: Factors) -> Tensor:
        """Mean domain-agnostic image (B, S, H, W) of the sequences present.

        The method reads one image; of several, the mean makes sense where they lie on one grid.
        """
        images = [self.agnostic_image(a, s) for s, a in factors.anatomy.items()]
        return torch.stack(images).mean(0)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        """See :meth:`System.decode`: by the generator of the domain that the style (B, Z + domains) names."""
        if isinstance(style, str):
            style = self.default_style(style).expand(len(anatomy), -1)
        code, which = style[:, : self.code], style[:, self.code :].argmax(1)
        image: Tensor | None = None
        for n, auto in enumerate(self.autoencoders.values()):
            rows = which == n
            if bool(rows.any()):
                part = auto.decoder(anatomy[rows], code[rows])
                image = part.new_zeros(len(anatomy), *part.shape[1:]) if image is None else image
                image[rows] = part
        return image

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        """Mean of the anatomies: those of all domains are trained to agree."""
        return torch.stack(list(factors.anatomy.values())).mean(0)

    def programs(self) -> dict[str, Program]:
        return programs_of(self)

    # -- training --------------------------------------------------------------------------------------------------

    def pairs(self) -> list[tuple[str, str]]:
        """All ordered pairs (anatomy's domain, style's domain) of different domains."""
        return [(i, j) for i in self.domains for j in self.domains if i != j]

    def swapped(self, anatomy: Mapping[str, Tensor], codes: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """x_{i->j} = G^j(a_i, m_j) for every ordered pair of domains."""
        return {
            (i, j): self.autoencoders[j].decoder(anatomy[i], partners(codes[j], len(anatomy[i])))
            for i, j in self.pairs()
        }

    def discriminator_terms(self, real: Mapping[str, Tensor], fake: Mapping[tuple[str, str], Tensor]) -> Tensor:
        """What the domains' discriminators minimise: every fake against the real images of its style's domain."""
        values = []
        for (_, j), image in fake.items():
            for scores in self.discriminators[j](real[j]):
                values.append(discriminator_loss(scores, True, self.adversarial).mean())
            for scores in self.discriminators[j](image.detach()):
                values.append(discriminator_loss(scores, False, self.adversarial).mean())
        return torch.stack(values).sum()

    def adversarial_term(self, fake: Mapping[tuple[str, str], Tensor]) -> Tensor:
        """What encoders and generators minimise: every swapped image passes for one of its style's domain."""
        values = []
        for (_, j), image in fake.items():
            for scores in self.discriminators[j](image):
                values.append(generator_loss(scores, self.adversarial).mean())
        return torch.stack(values).sum()

    def _mark(self, domain: str) -> Tensor:
        """One-hot domain."""
        return torch.eye(len(self.domains))[list(self.domains).index(domain)]


def check_domains(sequences: Sequence[str], domains: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[str, ...]]:
    """The domains by name, in order; every sequence belongs to exactly one.

    Raises:
        InputError: it does not.
    """
    if domains is None:
        return {s: (s,) for s in sequences}
    members = [s for names in domains.values() for s in names]
    if sorted(members) != sorted(sequences) or not all(domains.values()):
        raise InputError(f"Every one of {', '.join(sequences)} must be in exactly one domain; correct system.domains.")
    return {str(name): tuple(names) for name, names in domains.items()}


def partners(codes: Tensor, count: int) -> Tensor:
    """``count`` rows of codes (n, Z) in turn: the real style that each swapped image takes."""
    return codes[torch.arange(count, device=codes.device) % len(codes)]
