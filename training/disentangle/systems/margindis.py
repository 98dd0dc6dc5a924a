"""MarginDis: similarity-regularised disentanglement with conditional convolution (Ouyang et al., IPMI 2021).

One anatomy encoder E_A and one modality encoder E_M, conditioned on the sequence; one SPADE decoder; self- and
cross-reconstruction, latent consistency, and a margin on the similarity of both factors. The anatomies at hand are
fused by max, mean and min and segmented. Added to the paper (method-spec, section 7): a segmentation head trained
along on random subsets of the sequences, and reconstruction of every sequence from the consensus anatomy of that
subset, which is how missing sequences are synthesised.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import losses
from ..adversarial_losses import confusion_loss
from ..errors import InputError
from ..networks.condconv import fold
from ..networks.content import StridedUNetEncoder
from ..networks.decoders import SPADEDecoder
from ..networks.fusion import Fusion, consensus
from ..networks.heads import SegmentationHead
from ..networks.per_sequence import conditioned
from ..networks.sequence_classifier import SequenceClassifier
from ..networks.style import StyleEncoder, sample_style
from .base import Batch, Capabilities, Factors, Program, System, TrainingStep
from .draws import random_subset
from .margindis_growth import grow
from .margindis_programs import programs_of
from .settings import arguments, check_choice, check_sequences, loss_weights

WEIGHTS = {
    "self": 1.0,
    "cross": 2.0,
    "latent": 0.1,
    "anatomy_margin": 10.0,
    "style_margin": 2.0,
    "imputation": 2.0,
    "segmentation": 1.0,
    "kl": 0.0,
    "adversarial": 0.0,
}
"""Weights of the loss terms; the first five are the published lambdas. A term of weight 0 is not computed."""

FIDELITY = {
    "recommended": {"norm": "instance", "variational": False, "imputation": WEIGHTS["imputation"]},
    "paper": {"norm": "batch", "variational": False, "imputation": 0.0},
    "reference": {"norm": "batch", "variational": True, "imputation": 0.0},
}
"""What the settings that are left out stand for (method-spec 1a and 1g, g6). The imputation term is this project's."""


class MarginDis(System):
    """The system of Ouyang et al. in the recommended reading of method-spec, section 1.

    Images are normalised and 0 outside the mask; anatomies are 0 there; so is whatever is decoded: the decoder's
    output is multiplied by the mask, which the anatomy itself tells (its channels sum to 1 inside, 0 outside).
    Hence no capacity and no loss weight go into producing background, the background is exact, and E_M sees
    synthetic images with the same background as real ones.

    Args:
        sequences: canonical names, in training order.
        classes: names of the labels, index 0 the background; empty = no segmentation.
        healthy: class indices that HEALTHY voxels may carry.
        width: multiplier of all published channel counts.
        slices: adjacent slices per image.
        anatomy_channels: C, 4 as published.
        style_dim: Z, 16 as published.
        conditioning: of the encoders on the sequence: "condconv"; "separate" is the Conv of the paper's comparison,
            encoders of their own for every sequence; "shared" are encoders that are not told the sequence.
        experts: kernels per conditional convolution.
        norm: of E_A, "instance" or "batch". variational: E_M samples around its mean in training. None = as
            ``fidelity`` says.
        fidelity: "recommended", "paper" or "reference", see :data:`FIDELITY`.
        hard: one-hot anatomies with straight-through gradient.
        decoder_hidden: channels between anatomy and modulation maps of the decoder, before ``width``: one number, or
            one per block. Tapered to (128, 128, 128, 64, 32, 16), a training step takes half the time.
        style_shift: the style also shifts the features of every decoder block; as published it only enters at the
            coarsest map, which carries nothing at 32x32.
        fusion: of the anatomies that are segmented, see :data:`.networks.fusion.FUSIONS`.
        head, head_channels: kind and channels of the segmentation head.
        detach_anatomy: the segmentation does not change the encoder (the paper's order: representation first).
        weights: changes to :data:`WEIGHTS`. With "adversarial" above 0 (Conv+Adv: 0.1 or 1), a classifier learns in
            a step of its own to tell the sequence of an anatomy, and the encoders to make it unsure.
        margins: alpha_s and alpha_z.
        sources: anatomies decoded per step for the self and cross terms, drawn at random; None = all. The cheapest
            saving: an anatomy costs ten times as much to prepare for decoding as to show in one more style.
        cross_pairs: ordered pairs (i, j), i != j, of the cross term per step; None = all.
        latent_pairs: reconstructions re-encoded per step for the latent term; None = all.
        imputation_style: style of the imputation term: "own" (of the target image, detached), "default" (running
            mean of the sequence, what the product uses), or "mixed" (either, per sample at random).
        pooling, pool_size: of f(s) in the anatomy margin.
        class_weights: of the cross-entropy, one per class.
        learning_rate, weight_decay: of Adam.
    """

    name = "margindis"
    citation = (
        "Ouyang J, Adeli E, Pohl KM, Zhao Q, Zaharchuk G. Representation Disentanglement for Multi-modal Brain MRI "
        "Analysis. IPMI 2021, LNCS 12729, 321-333, doi:10.1007/978-3-030-78191-0_25."
    )

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        width: float = 1.0,
        slices: int = 3,
        anatomy_channels: int = 4,
        style_dim: int = 16,
        conditioning: str = "condconv",
        experts: int = 3,
        norm: str | None = None,
        hard: bool = False,
        variational: bool | None = None,
        decoder_hidden: int | Sequence[int] = 128,
        style_shift: bool = False,
        fusion: str = "max_mean_min",
        head: str = "unet",
        head_channels: Sequence[int] = (16, 32, 64, 128),
        detach_anatomy: bool = False,
        weights: dict[str, float] | None = None,
        margins: Sequence[float] = (0.1, 0.1),
        sources: int | None = None,
        cross_pairs: int | None = None,
        latent_pairs: int | None = None,
        imputation_style: str = "mixed",
        pooling: str = "max",
        pool_size: int = 16,
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 2e-4,
        weight_decay: float = 1e-5,
        fidelity: str = "recommended",
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        check_choice("fidelity", fidelity, tuple(FIDELITY))
        chosen = FIDELITY[fidelity]
        norm = chosen["norm"] if norm is None else norm
        self.variational = chosen["variational"] if variational is None else variational
        check_sequences(sequences)
        check_choice("imputation_style", imputation_style, ("own", "default", "mixed"))
        self.capabilities = Capabilities(
            sequences=tuple(sequences),
            targets=tuple(sequences),
            classes=tuple(classes),
            healthy=tuple(healthy),
            slices=slices,
            size_multiple=32,
            anatomy_channels=anatomy_channels,
            style_dim=style_dim,
        )
        self.sequences = tuple(sequences)
        self.weights = loss_weights({**WEIGHTS, "imputation": chosen["imputation"]}, weights)
        self.diagnostics = {}

        anatomy_encoder = partial(StridedUNetEncoder, slices, anatomy_channels, width=width, norm=norm, hard=hard)
        style_encoder = partial(StyleEncoder, slices, style_dim, width=width, variational=self.variational)
        self.anatomy_encoder = conditioned(anatomy_encoder, conditioning, len(self.sequences), experts)
        self.style_encoder = conditioned(style_encoder, conditioning, len(self.sequences), experts)
        self.decoder = SPADEDecoder(
            anatomy_channels, style_dim, slices, width, hidden=decoder_hidden, style_shift=style_shift
        )
        self.fusion = Fusion(fusion, anatomy_channels)
        self.head = SegmentationHead(self.fused_channels, len(classes), head, head_channels) if classes else None
        self.register_buffer("default_styles", torch.zeros(len(self.sequences), style_dim))
        self.class_weights = None if class_weights is None else torch.tensor([float(w) for w in class_weights])
        adversarial = self.weights["adversarial"] > 0
        self.classifier = SequenceClassifier(anatomy_channels, len(self.sequences), width) if adversarial else None

    # -- the System interface --------------------------------------------------------------------------------------

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """See :meth:`System.encode`. Without a mask, every pixel that is not 0 in some sequence counts as inside."""
        factors = self.anatomies(images, mask)
        factors.modality = {s: self.style_encoder(x, self.index(s))[0] for s, x in images.items()}
        return factors

    def anatomies(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        if mask is None:
            mask = torch.stack([(x != 0).any(1, keepdim=True) for x in images.values()]).any(0)
            mask = mask.to(next(iter(images.values())).dtype)
        return Factors({s: self.anatomy_encoder(x, self.index(s), mask) for s, x in images.items()}, {}, mask)

    def fuse(self, factors: Factors, available: dict[str, Tensor] | None = None) -> Tensor:
        """See :meth:`System.fuse`; ``available`` (B,) by sequence says which samples have it, None = all."""
        present = None if available is None else [available[s] for s in factors.anatomy]
        return self.fusion(list(factors.anatomy.values()), present)

    @property
    def fused_channels(self) -> int:
        """Channels of a fused anatomy."""
        return self.fusion.channels

    def segment(self, fused: Tensor) -> Tensor:
        """See :meth:`System.segment`. Outside the mask, where the anatomies are 0, the answer is background."""
        if self.head is None:
            raise InputError("This model does not segment; choose one whose card lists classes.")
        # The first channels are the anatomies' maximum or their weighted mean: both sum to 1 or more inside.
        inside = _inside(fused[:, : self.capabilities.anatomy_channels])
        outside_logits = fused.new_zeros(1, len(self.capabilities.classes), 1, 1)
        outside_logits[:, 0] = 10.0
        return self.head(fused) * inside + outside_logits * (1 - inside)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        return self.decode_styles(anatomy, [style])[0]

    def decode_styles(self, anatomy: Tensor, styles: Sequence[Tensor | str]) -> list[Tensor]:
        """See :meth:`System.decode_styles`; each further style costs about a tenth of the first."""
        modulations, inside = self.decoder.modulations(anatomy), _inside(anatomy)
        vectors = [self.default_style(z).expand(len(anatomy), -1) if isinstance(z, str) else z for z in styles]
        return [self.decoder.render(modulations, z) * inside for z in vectors]

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        return consensus(list(factors.anatomy.values()), mask=factors.mask)

    def training_steps(self) -> Sequence[TrainingStep]:
        optimizer = {
            "lr": self.config["learning_rate"],
            "weight_decay": self.config["weight_decay"],
            "amsgrad": True,
        }
        if self.classifier is None:
            return [TrainingStep("generator", list(self.parameters()), self.training_loss, optimizer, clip_norm=1.0)]
        own = list(self.classifier.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("classifier.")]
        return [
            TrainingStep("generator", others, self.training_loss, optimizer, clip_norm=1.0),
            TrainingStep("discriminator", own, self.classifier_loss, {"lr": self.config["learning_rate"]}, None),
        ]

    def adopt(self, other: System) -> None:
        """See :meth:`System.adopt`; this one may be larger in the ways of :func:`.margindis_growth.grow`."""
        if isinstance(other, MarginDis):
            grow(other, self)
        else:
            super().adopt(other)

    def fold(self) -> MarginDis:
        """Eval mode with every sequence's kernels mixed once and for all (inference)."""
        fold(self)
        return self

    def programs(self) -> dict[str, Program]:
        return programs_of(self)

    # -- training --------------------------------------------------------------------------------------------------

    def training_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms of a batch (method-spec 1b); also fills :attr:`diagnostics`.

        Every term is averaged over the samples that have all sequences it needs, and is 0 where none has.
        """
        present = [s for s in self.sequences if s in batch.images and bool(batch.available[s].any())]
        if not present:
            raise InputError("A training batch holds none of the sequences of this system.")
        available = {s: batch.available[s] for s in present}
        anatomy = {s: self.anatomy_encoder(batch.images[s], self.index(s), batch.mask) for s in present}
        encoded = {s: self.style_encoder(batch.images[s], self.index(s)) for s in present}
        style = {s: mean for s, (mean, _) in encoded.items()}
        if self.training:
            self._follow_styles(style, available)

        terms = self._reconstruction(batch, available, anatomy, encoded)
        terms.update(self._similarity(batch, available, anatomy, style))
        if self.weights["kl"] and self.variational:
            values = [losses.kl_standard_normal(*encoded[s]) for s in present]
            terms["kl"] = losses.weighted_mean(values, list(available.values()))

        kept = random_subset(torch.stack([available[s] for s in present]))
        if self.weights["imputation"]:
            terms["imputation"] = self._imputation(batch, available, anatomy, style, kept)
        if self.weights["segmentation"] and self.head is not None and batch.labels is not None:
            maps = [a.detach() if self.config["detach_anatomy"] else a for a in anatomy.values()]
            terms["segmentation"] = losses.marginal_segmentation(
                self.segment(self.fusion(maps, list(kept))),
                batch.labels,
                self.capabilities.healthy,
                self.class_weights,
                batch.mask,
            )
        if self.classifier is not None:
            terms["adversarial"] = confusion_loss(self._told_apart(anatomy, available)[0]).mean()
        return {name: self.weights[name] * value for name, value in terms.items()}

    def classifier_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the sequence that each anatomy was made of (Conv+Adv, method-spec 1e)."""
        available = {s: batch.available[s] for s in self.sequences if s in batch.images and batch.available[s].any()}
        with torch.no_grad():
            anatomy = {s: self.anatomy_encoder(batch.images[s], self.index(s), batch.mask) for s in available}
        logits, sequence = self._told_apart(anatomy, available)
        self.diagnostics["classifier_accuracy"] = (logits.argmax(1) == sequence).float().mean().detach()
        return {"classification": F.cross_entropy(logits, sequence)}

    def _told_apart(self, anatomy: dict[str, Tensor], available: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (N, m) of the classifier on the N anatomies at hand, and the sequences (N,) they were made of."""
        given = torch.cat([anatomy[s][available[s]] for s in available])
        counts = torch.stack([a.sum() for a in available.values()])
        indices = torch.tensor([self.index(s) for s in available], device=given.device)
        return self.classifier(given), indices.repeat_interleave(counts)

    def _reconstruction(
        self,
        batch: Batch,
        available: dict[str, Tensor],
        anatomy: dict[str, Tensor],
        encoded: dict[str, tuple[Tensor, Tensor | None]],
    ) -> dict[str, Tensor]:
        """Self, cross and latent terms; each drawn anatomy is prepared once and shown in all its styles."""
        sources = _draw(list(available), self.config["sources"])
        cross = _draw([(i, j) for i in sources for j in available if i != j], self.config["cross_pairs"])
        pairs = [(i, i) for i in sources if self.weights["self"]] + (cross if self.weights["cross"] else [])
        latent = set(_draw(pairs, self.config["latent_pairs"])) if self.weights["latent"] else set()

        found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

        def add(term: str, value: Tensor, weight: Tensor) -> None:
            values, weights = found.setdefault(term, ([], []))
            values.append(value)
            weights.append(weight)

        for i in sources:
            targets = [j for source, j in pairs if source == i]
            if not targets:
                continue
            shown = self.decode_styles(anatomy[i], [sample_style(*encoded[j]) for j in targets])
            for j, image in zip(targets, shown, strict=True):
                both = available[i] & available[j]
                add("self" if i == j else "cross", losses.masked_l1(image, batch.images[j], batch.mask), both)
                if (i, j) in latent:
                    again = self.style_encoder(image, self.index(j))[0]
                    add("latent", losses.latent_consistency(again, encoded[j][0]), both)
        return {term: losses.weighted_mean(*lists) for term, lists in found.items()}

    def _similarity(
        self,
        batch: Batch,
        available: dict[str, Tensor],
        anatomy: dict[str, Tensor],
        style: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """The two margin terms; the fraction of active hinges goes to the diagnostics."""
        present = torch.stack(list(available.values()))
        subject = batch.subject
        if subject is None:
            subject = torch.arange(present.shape[1], device=present.device)
        margin_s, margin_z = self.config["margins"]
        terms = {}
        if self.weights["anatomy_margin"]:
            pooled = [
                losses.pooled_anatomy(s, self.config["pool_size"], self.config["pooling"]) for s in anatomy.values()
            ]
            terms["anatomy_margin"], active = losses.similarity_margin(
                torch.stack(pooled), present, subject, "subject", margin_s
            )
            self.diagnostics["active_anatomy_hinges"] = active
        if self.weights["style_margin"]:
            terms["style_margin"], active = losses.similarity_margin(
                torch.stack(list(style.values())), present, subject, "sequence", margin_z
            )
            self.diagnostics["active_style_hinges"] = active
        return terms

    def _imputation(
        self,
        batch: Batch,
        available: dict[str, Tensor],
        anatomy: dict[str, Tensor],
        style: dict[str, Tensor],
        kept: Tensor,
    ) -> Tensor:
        """Every sequence, given and withheld, from the consensus anatomy of the sequences kept (n, B)."""
        shared = consensus(list(anatomy.values()), list(kept), batch.mask)
        own_share = {"own": 1.0, "mixed": 0.5, "default": 0.0}[self.config["imputation_style"]]
        styles = []
        for target in available:
            own = style[target].detach()
            pick_own = torch.rand(len(own), 1, device=own.device) < own_share
            styles.append(torch.where(pick_own, own, self.default_style(target).clone()))
        shown = self.decode_styles(shared, styles)
        values = [
            losses.masked_l1(image, batch.images[s], batch.mask) for s, image in zip(available, shown, strict=True)
        ]
        return losses.weighted_mean(values, list(available.values()))

    @torch.no_grad()
    def _follow_styles(self, style: dict[str, Tensor], available: dict[str, Tensor], momentum: float = 0.02) -> None:
        """Let the default styles follow the styles seen (running mean), until training sets the exact means."""
        for sequence, z in style.items():
            mean = z[available[sequence]].mean(0)
            current = self.default_styles[self.index(sequence)]
            current += mean - current if not current.any() else momentum * (mean - current)


def _inside(anatomy: Tensor) -> Tensor:
    """The mask (B, 1, H, W) that an anatomy tells: its channels sum to 1 inside and 0 outside."""
    return anatomy.sum(1, keepdim=True).clamp(0, 1).detach()


def _draw(items: list, count: int | None) -> list:
    """All items, or ``count`` of them at random, in their order."""
    if count is None or count >= len(items):
        return items
    chosen = set(random.sample(range(len(items)), count))
    return [item for n, item in enumerate(items) if n in chosen]
