"""DAFNet: disentangle, align and fuse sequences that are not registered (Chartsias et al., IEEE TMI 2020).

An anatomy encoder per sequence with a common second half makes categorical anatomies; a spatial transformer moves one
anatomy onto another; the maximum fuses them; one segmentor and one decoder serve all. Images are reconstructed from
their own anatomy and from those of the other sequences, moved onto theirs: that trains the transformer, and makes
the labels of one sequence teach the others. Two sequences are published; here there may be more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import losses
from ..errors import InputError
from ..networks.blocks import scaled
from ..networks.categorical import categorical
from ..networks.decoders import SPADEDecoder
from ..networks.film import FiLMDecoder
from ..networks.fusion import maximum
from ..networks.heads import SegmentationHead
from ..networks.pairing import PairWeighting
from ..networks.stn import SpatialTransformer
from ..networks.style import AnatomyStyleEncoder
from ..networks.unet import UNetDecoder, UNetEncoder
from .adversaries import Adversaries
from .base import Batch, Capabilities, Factors, Program, TrainingStep
from .dafnet_objective import Objective
from .dafnet_programs import programs_of
from .settings import arguments, check_choice, check_sequences, loss_weights
from .views import View

FIDELITY = {
    "recommended": {"binarise": "argmax", "norm": "instance", "regression_anatomy": "same"},
    "paper": {"binarise": "round", "norm": "batch", "regression_anatomy": "encoded"},
    "reference": {"binarise": "round", "norm": "batch", "regression_anatomy": "same"},
}
"""What the settings that are left out stand for (method-spec 2g: g1, g7, g4)."""


class DAFNet(Objective):
    """The system of Chartsias et al. in the recommended reading of method-spec, section 2.

    Args:
        sequences: canonical names; with labels for the first alone (0 % annotations), it is the source.
        classes: names of the labels, index 0 the background; empty = no segmentation.
        healthy: class indices that HEALTHY pixels may carry.
        size: (H, W) of the slices, multiples of 16 (of 32 with the SPADE decoder), at least 48: the networks with
            fully connected layers are made for it. Other sizes work where no discriminator is asked.
        width: multiplier of all published channel counts (not of the FiLM decoder, whose width is C).
        anatomy_channels: C. style_dim: Z.
        decoder: "film" or "spade". output: "tanh" for images in [-1, 1], "linear" for z-scored ones.
        spatial_transformer: False leaves anatomies where they are (ablation).
        displacement_scale: of the displacements of its control points, 1 as published; a learning rate above the
            published one asks for a lower scale.
        transformer_rate: the transformer's learning rate over ``learning_rate``.
        segmentor_norm: of the segmentor, "instance", "batch" (published) or "none": a short training gets on
            faster without.
        cross_entropy: weight beta of the cross-entropy within L_sup, None as published. In a short training with the
            joint Dice alone, a class may never appear.
        pair_weighting: weigh the candidates of ``Batch.candidates`` instead of taking the partner for granted.
        binarise: "argmax", "round", "gumbel" or "softmax"; norm: "instance", "batch" or "batch_per_sequence", of the
            anatomy encoders; regression_anatomy: whether L_rec^z re-encodes the style with the "same" anatomy or with
            that "encoded" from the synthetic image. None = as ``fidelity`` says.
        fidelity: "recommended", "paper" or "reference", see :data:`FIDELITY`.
        adversarial: "lsgan", "bce" or "hinge". pooled_discriminators: they average over positions, and take any size.
        weights: changes to :attr:`.Objective.WEIGHTS`. A term of weight 0 is not computed, and needs no discriminator.
        learning_rate: of Adam. clip_norm: of the generator's gradient; None as published.
    """

    name = "dafnet"
    citation = (
        "Chartsias A, Papanastasiou G, Wang C, Semple S, Newby DE, Dharmakumar R, Tsaftaris SA. Disentangle, Align and "
        "Fuse for Multimodal and Semi-Supervised Image Segmentation. IEEE Transactions on Medical Imaging 40 (2021), "
        "doi:10.1109/TMI.2020.3036584."
    )
    BRANCHES = ("own", "deformed")
    """Branches that the losses see; the fused one is left out for the sake of the transformer (method-spec g11)."""
    SHARED_DECODER = True
    """The second half of the anatomy encoders is common to all sequences."""
    MASK_FILTERS = 64
    """Filters of D_M's first convolution."""

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        size: Sequence[int] = (192, 192),
        width: float = 1.0,
        anatomy_channels: int = 8,
        style_dim: int = 8,
        decoder: str = "film",
        output: str = "tanh",
        spatial_transformer: bool = True,
        displacement_scale: float = 1.0,
        transformer_rate: float = 1.0,
        segmentor_norm: str = "instance",
        cross_entropy: float | None = None,
        pair_weighting: bool = False,
        binarise: str | None = None,
        norm: str | None = None,
        regression_anatomy: str | None = None,
        fidelity: str = "recommended",
        adversarial: str = "lsgan",
        pooled_discriminators: bool = False,
        weights: dict[str, float] | None = None,
        learning_rate: float = 1e-4,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__()
        self.config = arguments(locals())
        multiple = 32 if decoder == "spade" else 16
        self._check(multiple)
        chosen = FIDELITY[fidelity]
        self.binarise = binarise or chosen["binarise"]
        self.regression_anatomy = regression_anatomy or chosen["regression_anatomy"]
        norm = norm or chosen["norm"]
        self.weights = loss_weights(self.WEIGHTS, weights)
        self.cross_entropy = self.CROSS_ENTROPY if cross_entropy is None else cross_entropy
        self.diagnostics = {}
        self.capabilities = Capabilities(
            sequences=tuple(sequences),
            targets=tuple(sequences),
            classes=tuple(classes),
            healthy=tuple(healthy),
            slices=1,
            size_multiple=multiple,
            anatomy_channels=anatomy_channels,
            style_dim=style_dim,
            aligns=True,
            needs_registered_input=False,
            size=tuple(size),
        )
        count, shared = len(self.capabilities.sequences), self.SHARED_DECODER
        self.encoders = nn.ModuleList(UNetEncoder(1, width, norm) for _ in range(count))
        self.anatomy_decoders = nn.ModuleList(
            UNetDecoder(anatomy_channels, width, norm, conditions=count if shared else 1)
            for _ in range(1 if shared else count)
        )
        self.style_encoder = AnatomyStyleEncoder(anatomy_channels, 1, style_dim, width, size)
        self.decoder = self._decoder(multiple)
        self.transformer = None
        if spatial_transformer:
            self.transformer = SpatialTransformer(anatomy_channels, size, width=width, scale=displacement_scale)
        self.pairing = PairWeighting() if pair_weighting else None
        self.segmentor = None
        if classes:
            widths = (scaled(64, width),)
            self.segmentor = SegmentationHead(anatomy_channels, len(classes), "conv", widths, segmentor_norm)
        self.adversaries = Adversaries(
            sequences,
            len(classes) - 1 if classes and self.weights["mask_adversarial"] else 0,
            scaled(self.MASK_FILTERS, width),
            scaled(64, width) if self.weights["image_adversarial"] else 0,
            size,
            pooled_discriminators,
            adversarial,
        )
        self.register_buffer("default_styles", torch.zeros(count, style_dim))

    def _check(self, multiple: int) -> None:
        """Refuse settings that make no system."""
        config = self.config
        check_sequences(config["sequences"])
        choices = {"decoder": ("film", "spade"), "fidelity": tuple(FIDELITY), "regression_anatomy": ("same", "encoded")}
        for key, allowed in choices.items():
            if config[key] is not None:
                check_choice(key, config[key], allowed)
        if len(config["size"]) != 2 or any(n % multiple for n in config["size"]):
            raise InputError(f"system.size must be two multiples of {multiple}, not {config['size']}.")

    def _decoder(self, multiple: int) -> nn.Module:
        c = self.config
        if c["decoder"] == "film":
            return FiLMDecoder(c["anatomy_channels"], c["style_dim"], 1, c["output"])
        base = [n // multiple for n in c["size"]]
        return SPADEDecoder(c["anatomy_channels"], c["style_dim"], 1, c["width"], base, output=c["output"])

    # -- the System interface --------------------------------------------------------------------------------------

    def anatomy(self, image: Tensor, sequence: str) -> Tensor:
        """Anatomy (B, C, H, W) of an image (B, 1, H, W) of a sequence."""
        number = self.index(sequence)
        decoder = self.anatomy_decoders[0 if self.SHARED_DECODER else number]
        logits = decoder(self.encoders[number](image), number if self.SHARED_DECODER else 0)
        return categorical(logits, self.binarise, self.training)

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        anatomy = {s: self.anatomy(x, s) for s, x in images.items()}
        return Factors(anatomy, {s: self.style_encoder(anatomy[s], x)[0] for s, x in images.items()}, mask)

    def align(self, factors: Factors, reference: str) -> Factors:
        """The anatomies of all sequences on the slice of ``reference``: stn(s_j, s_reference)."""
        fixed = factors.anatomy[reference]
        moved = {s: a if s == reference else self.move(a, fixed) for s, a in factors.anatomy.items()}
        return Factors(moved, factors.modality, factors.mask)

    def move(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """An anatomy on the slice of another one, both (B, C, H, W)."""
        return self.moved(moving, fixed)[0]

    def moved(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor | None]:
        """:meth:`move`, and the mean square (B,) of the displacements."""
        if self.transformer is None:
            return moving, None
        offsets = self.transformer.displacements(moving, fixed)
        return self.transformer.spline(moving, offsets), offsets.square().sum(2).mean(1)

    def fuse(self, factors: Factors) -> Tensor:
        return maximum(list(factors.anatomy.values()))

    def segment(self, fused: Tensor) -> Tensor:
        if self.segmentor is None:
            raise InputError("This model does not segment; choose one whose card lists classes.")
        return self.segmentor(fused)

    def decode(self, anatomy: Tensor, style: Tensor | str) -> Tensor:
        return self.decode_styles(anatomy, [style])[0]

    def decode_styles(self, anatomy: Tensor, styles: Sequence[Tensor | str]) -> list[Tensor]:
        """:meth:`decode` of one anatomy in several styles; with SPADE, its costly part is done once."""
        vectors = [self.default_style(z).expand(len(anatomy), -1) if isinstance(z, str) else z for z in styles]
        if isinstance(self.decoder, FiLMDecoder):
            return [self.decoder(anatomy, z) for z in vectors]
        modulations = self.decoder.modulations(anatomy)
        return [self.decoder.render(modulations, z) for z in vectors]

    def synthesis_anatomy(self, factors: Factors) -> Tensor:
        """The fused anatomy: the only one that all sequences contribute to."""
        return self.fuse(factors)

    def programs(self) -> dict[str, Program]:
        return programs_of(self)

    def training_steps(self) -> Sequence[TrainingStep]:
        adam, judges = {"lr": self.config["learning_rate"]}, list(self.adversaries.parameters())
        makers = [p for name, p in self.named_parameters() if not name.startswith("adversaries.")]
        factor = self.config["transformer_rate"]
        slower = [] if self.transformer is None or factor == 1 else [(list(self.transformer.parameters()), factor)]
        steps = [TrainingStep("generator", makers, self.generator_loss, adam, self.config["clip_norm"], slower)]
        return (
            [*steps, TrainingStep("discriminators", judges, self.discriminator_loss, adam, None)] if judges else steps
        )

    # -- views -----------------------------------------------------------------------------------------------------

    def views(self, batch: Batch) -> list[View]:
        """Every anatomy that the losses look at: own, deformed and (MMSDNet) fused, by target."""
        present = [s for s in self.capabilities.sequences if s in batch.images and bool(batch.available[s].any())]
        if not present:
            raise InputError("A training batch holds none of the sequences of this system.")
        own = {s: self.anatomy(batch.images[s], s) for s in present}
        partners = {s: own[s][:, None] for s in present}
        if self.pairing is not None and batch.candidates is not None:
            partners = {s: self._anatomies(batch.candidates[s], s) for s in present}
        views = []
        for target in present:
            there = batch.available[target].to(own[target].dtype)
            views.append(View(target, "own", own[target], there))
            moved, shares, weights = [], [], []
            for source in (s for s in present if s != target):
                anatomies, weight, lengths = self.deformed(partners[source], own[target])
                if self.pairing is not None and batch.candidates is not None:
                    # How soon the right partner, which the batch holds beside the candidates, is found (Fig. 6).
                    right = (batch.candidates[source] == batch.images[source][:, None]).flatten(2).all(2)
                    if bool(right.any()):
                        self.diagnostics["right_pair_weight"] = weight.detach()[right].mean()
                both = there * batch.available[source]
                for n, (anatomy, length) in enumerate(zip(anatomies, lengths, strict=True)):
                    views.append(View(target, "deformed", anatomy, both * weight[:, n], n == 0, length))
                moved.append(anatomies)
                shares.append(both)
                weights.append(both[:, None] * weight)
            if "fused" in self.BRANCHES and moved:
                share = torch.stack(weights).sum(0) / torch.stack(shares).sum(0).clamp_min(1.0)[:, None]
                for n, anatomies in enumerate(zip(*moved, strict=True)):
                    anatomy = maximum([own[target], *anatomies], [there > 0, *(s > 0 for s in shares)])
                    views.append(View(target, "fused", anatomy, share[:, n], judged=n == 0))
        return views

    def deformed(self, candidates: Tensor, fixed: Tensor) -> tuple[list[Tensor], Tensor, list[Tensor | None]]:
        """Candidates (B, k, C, H, W) moved onto ``fixed`` (B, C, H, W), k anatomies; their weights (B, k), and the mean
        squares (B,) of their displacements."""
        count = candidates.shape[1]
        moved, lengths = self.moved(candidates.flatten(0, 1), fixed.repeat_interleave(count, 0))
        moved = moved.unflatten(0, (-1, count))
        if self.pairing is None:
            weight = torch.full(moved.shape[:2], 1 / count, device=moved.device, dtype=moved.dtype)
        else:
            overlap = [losses.soft_dice(moved[:, n], fixed) for n in range(count)]
            weight = self.pairing(torch.stack(overlap, dim=1))
            self.diagnostics["largest_pair_weight"] = weight.detach().amax(1).mean()
        each = [None] * count if lengths is None else list(lengths.unflatten(0, (-1, count)).unbind(1))
        return list(moved.unbind(1)), weight, each

    def segment_candidates(self, images: dict[str, Tensor], reference: str, candidates: dict[str, Tensor]) -> Tensor:
        """Probabilities (B, L, H, W) on the slice of ``reference``: the mean over k fusions, weighted by how well the
        candidates fit (Chartsias et al., section III-F).

        Args:
            images: at least that of ``reference``, (B, 1, H, W).
            candidates: other sequence -> (B, k, 1, H, W), the same k of each.
        """
        fixed = self.anatomy(images[reference], reference)
        moved = [self.deformed(self._anatomies(x, s), fixed) for s, x in candidates.items() if s != reference]
        weight = torch.stack([w for _, w, _ in moved]).mean(0)
        fused = [maximum([fixed, *anatomies]) for anatomies in zip(*(a for a, _, _ in moved), strict=True)]
        found = [self.segment(f).softmax(1) * weight[:, n, None, None, None] for n, f in enumerate(fused)]
        return torch.stack(found).sum(0)

    def _anatomies(self, images: Tensor, sequence: str) -> Tensor:
        """Anatomies (B, k, C, H, W) of images (B, k, 1, H, W)."""
        return self.anatomy(images.flatten(0, 1), sequence).unflatten(0, images.shape[:2])
