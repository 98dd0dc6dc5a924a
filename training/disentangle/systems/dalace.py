"""DALACE: domain-agnostic learning with anatomy-consistent embedding (Yang et al., ICCV Workshops 2019; method-spec 5).

Every domain has an anatomy encoder, a modality encoder and a style-based generator (MUNIT). An anatomy decoded without
style is a domain-agnostic image; a U-Net trained on those of the annotated domain segments those of every domain. The
domain-agnostic module (DAM) judges images whose styles were swapped; the anatomy-preserving module (APM) judges
domain-agnostic images together with their predicted masks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..adversarial_losses import discriminator_loss, generator_loss
from ..errors import InputError
from ..networks.multiscale import PatchDiscriminator
from .base import Batch, TrainingStep
from .settings import arguments, check_choice
from .unpaired import DisentangledDomains, partners

FIDELITY = {
    "recommended": {"norm": "instance", "adversarial": "lsgan", "ce_updates": "all", "betas": (0.5, 0.999)},
    "paper": {"norm": "batch", "adversarial": "bce", "ce_updates": "segmentor", "betas": (0.9, 0.999)},
}
"""What the paper's text says and what is taken instead (method-spec 5b and 5g, g1 and g3)."""


class Dalace(DisentangledDomains):
    """The system of Yang et al. for two or more unpaired domains, the first of them annotated.

    Args:
        sequences: canonical names, in training order.
        classes: names of the labels, index 0 the background.
        healthy: class indices that HEALTHY voxels may carry.
        domains: name -> its sequences, the source first; None = every sequence is a domain of its own. Several
            sequences in one domain are the domain-agnostic task: nothing tells them apart.
        annotated: domains whose labels are used; None = the source alone. All of them = joint learning.
        slices: adjacent slices per image.
        width: multiplier of the published channel counts of encoders and generators.
        segmentor_width, discriminator_width: the same of the U-Net and of all discriminators; None = ``width``.
        discriminator_norm: of all discriminators, as of :class:`.unpaired.DisentangledDomains`.
        style_dim: length of the modality code.
        fidelity: "recommended" or "paper"; decides where ``norm``, ``adversarial``, ``ce_updates`` or ``betas`` is
            None, see :data:`FIDELITY`.
        norm: of the anatomy encoders, "instance" or "batch".
        adversarial: "lsgan", "bce" or "hinge".
        ce_updates: the cross-entropy changes "all" of U-Net, anatomy encoder and generator of the annotated domains,
            as the text says, or the "segmentor" alone, as the equation says.
        empty: what AdaIN gets without a style: "zero" vector through the MLP, "identity", or the "mean" code.
        agnostic_by: as of :class:`DisentangledDomains`.
        output: "tanh" (images in [-1, 1]) or "linear" (z-scored images).
        scales, layers: of the discriminators D_d; the pair discriminator has one scale.
        downsamplings, blocks: as of :class:`.unpaired.DisentangledDomains`.
        updates: "sequential", the paper's, every loss an update of its own; or "joint", as of MUNIT: one update of all
            that generates and segments, one of all that judges. Joint updates share encodings and images and take
            about half the time; ``pair_learning_rate`` is then that of no generator.
        segment_swapped: annotated images are segmented a second time after a swap into each other domain, as the
            domain-agnostic images that its encoder makes of them (an addition; TD-GAN's task on images after the way
            there and back).
        class_weights: of the cross-entropy, one per class.
        weights: changes to :attr:`WEIGHTS`. A term of weight 0 is not computed: without "pair_adversarial" and with
            ``ce_updates`` "segmentor" this is DADR, without "domain_adversarial" the ablation of DAM.
        learning_rate, discriminator_rate, segmentor_rate, pair_learning_rate, betas: of Adam; the second rate is that
            of the D_d, the third that of the U-Net in joint updates (None = the first), the fourth that of both pair
            updates.
    """

    name = "dalace"
    citation = (
        "Yang J, Dvornek NC, Zhang F, Zhuang J, Chapiro J, Lin M, Duncan JS. Domain-Agnostic Learning With "
        "Anatomy-Consistent Embedding for Cross-Modality Liver Segmentation. ICCV Workshops 2019, arXiv:1908.10489."
    )
    WEIGHTS: Mapping[str, float] = {
        "image": 2.5,
        "latent": 0.01,
        "domain_adversarial": 1.0,
        "segmentation": 1.0,
        "dice": 0.0,
        "pair_adversarial": 1.0,
        "agnostic_adversarial": 0.0,
        "cycle": 0.0,
    }
    """Published: image (alpha), latent (beta). "dice" (1 - Dice beside the cross-entropy) and "agnostic_adversarial"
    (a discriminator on domain-agnostic images alone, method-spec 5g, g6) are additions, off by default; so is "cycle",
    MUNIT's optional term: a swapped image, given its own style back, is the image it came from."""

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
        discriminator_norm: str = "none",
        style_dim: int = 8,
        fidelity: str = "recommended",
        norm: str | None = None,
        adversarial: str | None = None,
        ce_updates: str | None = None,
        empty: str = "zero",
        agnostic_by: str = "own",
        output: str = "tanh",
        scales: int = 3,
        layers: int = 4,
        downsamplings: int = 2,
        blocks: int = 4,
        updates: str = "sequential",
        segment_swapped: bool = False,
        class_weights: Sequence[float] | None = None,
        weights: Mapping[str, float] | None = None,
        learning_rate: float = 1e-3,
        discriminator_rate: float | None = None,
        segmentor_rate: float | None = None,
        pair_learning_rate: float = 1e-4,
        betas: Sequence[float] | None = None,
    ) -> None:
        config = arguments(locals())
        check_choice("fidelity", fidelity, tuple(FIDELITY))
        choice = FIDELITY[fidelity]
        ce_updates = ce_updates or choice["ce_updates"]
        check_choice("ce_updates", ce_updates, ("all", "segmentor"))
        check_choice("updates", updates, ("sequential", "joint"))
        if segment_swapped and updates != "joint":
            raise InputError("system.segment_swapped needs system.updates=joint.")
        if len(classes) < 2:
            raise InputError("DALACE learns from labels; name at least two classes in system.classes.")
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
            norm or choice["norm"],
            output,
            empty,
            agnostic_by,
            scales,
            layers,
            adversarial or choice["adversarial"],
            downsamplings,
            blocks,
            discriminator_width,
            discriminator_norm,
        )
        self.config = config
        self.ce_updates = ce_updates
        self.betas = tuple(betas or choice["betas"])
        self._seen: tuple[Batch, dict, dict, dict] | None = None
        if self.source not in self.annotated:
            raise InputError(f"The source domain {self.source} must be annotated; put an annotated domain first.")
        judge = (width if discriminator_width is None else discriminator_width, layers, discriminator_norm)
        self.pair_discriminator = PatchDiscriminator(slices + len(classes) - 1, *judge)
        self.agnostic_discriminator = (
            PatchDiscriminator(slices, *judge) if self.weights["agnostic_adversarial"] else None
        )

    # -- training --------------------------------------------------------------------------------------------------

    def training_steps(self) -> Sequence[TrainingStep]:
        """The paper's order: reconstruction; D_d, then E and G; cross-entropy; the pair discriminator, then E_a and G
        of the domains other than the source. Updates without a weight are left out; the paper's 600 of 2600 epochs
        without pair terms are ``training.ramps`` of "pair_discriminator" and "pair_adversarial"."""
        adam = {"lr": self.config["learning_rate"], "betas": self.betas}
        pair_adam = {**adam, "lr": self.config["pair_learning_rate"]}
        judge_adam = {**adam, "lr": self.config["discriminator_rate"] or adam["lr"]}
        domains, domain_judges = list(self.autoencoders.parameters()), list(self.discriminators.parameters())
        pair_judges = [self.pair_discriminator] if self.weights["pair_adversarial"] else []
        pair_judges += [self.agnostic_discriminator] if self.agnostic_discriminator is not None else []
        if self.config["updates"] == "joint":
            unet_adam = {**adam, "lr": self.config["segmentor_rate"] or adam["lr"]}
            steps = [
                TrainingStep("generator", domains, self.generator_loss, adam),
                TrainingStep("segmentor", list(self.segmentor.parameters()), self.segmentor_loss, unet_adam),
            ]
            if self.weights["domain_adversarial"]:
                steps.append(
                    TrainingStep("domain_discriminator", domain_judges, self.domain_discriminator_loss, judge_adam)
                )
            if pair_judges:
                judges = _parameters(pair_judges)
                steps.append(TrainingStep("pair_discriminator", judges, self.pair_discriminator_loss, pair_adam))
            return steps
        steps = [TrainingStep("reconstruction", domains, self.reconstruction_loss, adam)]
        if self.weights["domain_adversarial"]:
            steps += [
                TrainingStep("domain_discriminator", domain_judges, self.domain_discriminator_loss, judge_adam),
                TrainingStep("domain_adversarial", domains, self.domain_adversarial_loss, adam),
            ]
        learners = [self.segmentor, *(self._anatomy_path(self.annotated) if self.ce_updates == "all" else ())]
        steps.append(TrainingStep("segmentation", _parameters(learners), self.segmentation_loss, adam))
        if pair_judges:
            judges, pushed = _parameters(pair_judges), _parameters(self._anatomy_path(self.others))
            steps += [
                TrainingStep("pair_discriminator", judges, self.pair_discriminator_loss, pair_adam),
                TrainingStep("pair_adversarial", pushed, self.pair_adversarial_loss, pair_adam),
            ]
        return steps

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """All that encoders and generators minimise, from one encoding of the batch: the terms of the single updates.
        The U-Net stands still."""
        real = self.images(batch)
        anatomy, codes = self.contents(real), self.codes(real)
        self.follow_codes(codes)
        own, swapped, agnostic = self._decoded(anatomy, codes)
        again = {(i, j): self.autoencoders[j].content(x) for (i, j), x in swapped.items()}
        terms = self._reconstruction_terms(real, own, anatomy, codes, swapped, again)
        learned = {(d, d): x for d, x in agnostic.items() if d in self.annotated}
        if self.config["segment_swapped"]:
            learned |= {(i, j): self.agnostic(a, j) for (i, j), a in again.items() if i in self.annotated}
        if self.weights["domain_adversarial"]:
            terms["domain_adversarial"] = self.weights["domain_adversarial"] * self.adversarial_term(swapped)
        with _still(self.segmentor):
            if self.ce_updates == "all":
                terms |= self._segmented(batch, learned)
            terms |= self._pair_terms({d: agnostic[d] for d in self.others})
        # U-Net and judges learn from these very images in this iteration, as in the published code of CycleGAN.
        made = (swapped, agnostic, learned)
        self._seen = batch, *({key: x.detach() for key, x in images.items()} for images in made)
        return terms

    def segmentor_loss(self, batch: Batch) -> dict[str, Tensor]:
        """APM, first part, the side of the U-Net alone."""
        return self._segmented(batch, self._images_made(batch)[2])

    def reconstruction_loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_recon (Eq. 1): every domain's own images, and both factors of every swapped image."""
        real = self.images(batch)
        anatomy, codes = self.contents(real), self.codes(real)
        self.follow_codes(codes)
        own = {d: self.autoencoders[d].decoder(anatomy[d], codes[d]) for d in real}
        swapped = self.swapped(anatomy, codes) if self.weights["latent"] or self.weights["cycle"] else {}
        again = {(i, j): self.autoencoders[j].content(x) for (i, j), x in swapped.items()}
        return self._reconstruction_terms(real, own, anatomy, codes, swapped, again)

    def domain_discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """DAM, the discriminators' side: real images of a domain against those swapped into it."""
        return {"domain_discriminator": self.discriminator_terms(self.images(batch), self._images_made(batch)[0])}

    def domain_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        """DAM, the side of encoders and generators."""
        real = self.images(batch)
        fake = self.swapped(self.contents(real), self.codes(real))
        return {"domain_adversarial": self.weights["domain_adversarial"] * self.adversarial_term(fake)}

    def segmentation_loss(self, batch: Batch) -> dict[str, Tensor]:
        """APM, first part (Eq. 7): cross-entropy on the domain-agnostic images of the annotated domains."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.ce_updates == "all"):
            parts = self.annotated_samples(batch)
            images = {(d, d): self._agnostic_of(d, part.images) for d, part in parts.items()}
        return self._segmented(batch, images)

    def pair_discriminator_loss(self, batch: Batch) -> dict[str, Tensor]:
        """APM, second part (Eq. 8), the discriminators' side: the source's pairs are real, all others fake."""
        images, terms = self._images_made(batch)[1], {}
        if self.weights["pair_adversarial"]:
            with torch.no_grad():
                pairs = {d: self._with_mask(x) for d, x in images.items()}
            terms["pair_discriminator"] = self._judged(self.pair_discriminator, pairs)
        if self.agnostic_discriminator is not None:
            terms["agnostic_discriminator"] = self._judged(self.agnostic_discriminator, images)
        return terms

    def pair_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        """APM, second part, the side of E_a and G of the domains other than the source; the U-Net stands still."""
        real = self.images(batch)
        return self._pair_terms({d: self._agnostic_of(d, real[d]) for d in self.others})

    def _reconstruction_terms(
        self,
        real: Mapping[str, Tensor],
        own: Mapping[str, Tensor],
        anatomy: Mapping[str, Tensor],
        codes: Mapping[str, Tensor],
        swapped: Mapping[tuple[str, str], Tensor],
        again: Mapping[tuple[str, str], Tensor],
    ) -> dict[str, Tensor]:
        """L_recon of what was made of the images; ``again`` are the anatomies of the swapped ones."""
        image = [(own[d] - x).abs().mean() for d, x in real.items()]
        terms = {"image": self.weights["image"] * torch.stack(image).sum()}
        if self.weights["latent"]:
            latent = [(again[i, j] - anatomy[i]).abs().mean() for i, j in swapped]
            latent += [
                (self.autoencoders[j].style(x) - partners(codes[j], len(x))).abs().mean()
                for (_, j), x in swapped.items()
            ]
            terms["latent"] = self.weights["latent"] * torch.stack(latent).sum()
        if self.weights["cycle"]:
            cycle = [(self.autoencoders[i].decoder(again[i, j], codes[i]) - real[i]).abs().mean() for i, j in swapped]
            terms["cycle"] = self.weights["cycle"] * torch.stack(cycle).sum()
        return terms

    def _decoded(
        self, anatomy: Mapping[str, Tensor], codes: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[tuple[str, str], Tensor], dict[str, Tensor]]:
        """Rebuilt, swapped and domain-agnostic images; one call per generator, which takes three quarters of the time
        of three."""
        jobs: dict[str, list[tuple[object, Tensor, Tensor]]] = {d: [(d, anatomy[d], codes[d])] for d in anatomy}
        for i, j in self.pairs():
            jobs[j].append(((i, j), anatomy[i], partners(codes[j], len(anatomy[i]))))
        agnostic = {}
        for d, a in anatomy.items():
            by = self.agnostic_generator(d)
            code = a.new_zeros(len(a), self.code) if self.config["empty"] == "zero" else self.empty_code(a, by)
            if code is None:
                agnostic[d] = self.agnostic(a, d)
            else:
                jobs[by].append((("agnostic", d), a, code))
        made: dict[object, Tensor] = {}
        for d, parts in jobs.items():
            keys, maps, styles = zip(*parts, strict=True)
            images = self.autoencoders[d].decoder(torch.cat(maps), torch.cat(styles))
            made |= zip(keys, images.split([len(x) for x in maps]), strict=True)
        agnostic |= {d: made["agnostic", d] for d in anatomy if d not in agnostic}
        return {d: made[d] for d in anatomy}, {pair: made[pair] for pair in self.pairs()}, agnostic

    def _segmented(self, batch: Batch, images: Mapping[tuple[str, str], Tensor]) -> dict[str, Tensor]:
        """Cross-entropy (and overlap) of domain-agnostic images by (domain of the labels, domain of the encoder)."""
        parts = self.annotated_samples(batch)
        logits = self.segment(torch.cat(list(images.values())))
        return self.segmentation_terms(logits, torch.cat([parts[d].labels for d, _ in images]))

    def _pair_terms(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The adversarial terms of domain-agnostic images by domain."""
        terms = {}
        if self.weights["pair_adversarial"]:
            with _still(self.segmentor):
                values = [self._passes(self.pair_discriminator, self._with_mask(x)) for x in images.values()]
            terms["pair_adversarial"] = self.weights["pair_adversarial"] * torch.stack(values).sum()
        if self.agnostic_discriminator is not None:
            values = [self._passes(self.agnostic_discriminator, x) for x in images.values()]
            terms["agnostic_adversarial"] = self.weights["agnostic_adversarial"] * torch.stack(values).sum()
        return terms

    def _images_made(self, batch: Batch) -> tuple[dict, dict, dict]:
        """Swapped images by pair, domain-agnostic ones by domain and those that the U-Net learns from, all without
        gradients: those that :meth:`generator_loss` has just made of the batch, or new ones."""
        if self._seen is not None and self._seen[0] is batch:
            return self._seen[1:]
        with torch.no_grad():
            real = self.images(batch)
            anatomy = self.contents(real)
            agnostic = {d: self.agnostic(a, d) for d, a in anatomy.items()}
            learned = {(d, d): x for d, x in agnostic.items() if d in self.annotated}
            return self.swapped(anatomy, self.codes(real)), agnostic, learned

    def _agnostic_of(self, domain: str, images: Tensor) -> Tensor:
        return self.agnostic(self.autoencoders[domain].content(images), domain)

    def _with_mask(self, image: Tensor) -> Tensor:
        """Domain-agnostic image and its predicted soft mask of the foreground classes, (B, S + L - 1, H, W)."""
        return torch.cat([image, self.segment(image).softmax(1)[:, 1:]], dim=1)

    def _judged(self, judge: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        values = [discriminator_loss(judge(inputs[self.source]), True, self.adversarial).mean()]
        values += [discriminator_loss(judge(inputs[d]), False, self.adversarial).mean() for d in self.others]
        return torch.stack(values).sum()

    def _passes(self, judge: nn.Module, inputs: Tensor) -> Tensor:
        return generator_loss(judge(inputs), self.adversarial).mean()

    def _anatomy_path(self, domains: Iterable[str]) -> list[nn.Module]:
        """What the domain-agnostic images of some domains come from: anatomy encoders and generators, each once."""
        names = list(domains)
        generators = dict.fromkeys(map(self.agnostic_generator, names))
        return [*(self.autoencoders[d].content for d in names), *(self.autoencoders[d].decoder for d in generators)]


def _parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


@contextlib.contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """What is computed inside sends no gradients to the network's weights."""
    learning = [p for p in network.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
