"""What systems that translate images have in common: one-hot codes, completed stacks, a segmentor on top of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import losses
from ..errors import InputError
from ..networks.stack_segmentor import StackSegmentor
from .base import SHOWN, Batch, Capabilities, Factors, System, TrainingStep
from .draws import random_one, random_subset, stacked
from .settings import check_choice

FIDELITIES = ("recommended", "paper")
COMPLETIONS = ("subset", "one", "none")


class TranslationSystem(System):
    """Base of UCD, Pix2Pix and TC-MGAN. The modality factor of a sequence is its one-hot code.

    Networks see z-scored images as they come, 0 outside the mask, or (``fidelity="paper"``) images of [-1, 1], -1
    outside. They answer in the same range. A decoded image means something inside the mask only.

    Segmentation (method-spec 3d): the sequences at hand are completed by translations of them, the stack, in the
    order of ``sequences``, goes through :class:`StackSegmentor`. Its step trains nothing else. As published, a
    translator and its segmentor learn on different subjects (method-spec 3c): train without classes first, then, on
    others, with classes, ``frozen`` and ``training.init_from`` the translator's checkpoint.

    Args:
        config: of the subclass; "sequences", "classes", "healthy", "fidelity", "slices", "width", "value_range",
            "completion", "frozen", "class_weights", "segmentor_rate" and "segmentor_width" are used here.
        size_multiple: of the networks that translate.
        anatomy_channels: of the subclass's anatomy; no more than :data:`SHOWN` maps of it are shown.

    Raises:
        InputError: sequences that are not distinct, an unknown choice, or nothing that would learn.
    """

    constant_styles = True

    def __init__(self, config: dict[str, Any], size_multiple: int, anatomy_channels: int) -> None:
        super().__init__()
        self.config, self.diagnostics = config, {}
        names, classes = tuple(config["sequences"]), tuple(config["classes"])
        if len(set(names)) != len(names) or len(names) < 2:
            raise InputError("A translation needs at least two sequences, each named once.")
        check_choice("fidelity", config["fidelity"], FIDELITIES)
        check_choice("completion", config["completion"], COMPLETIONS)
        if config["frozen"] and not classes:
            raise InputError("A frozen translator without a segmentor has nothing to learn; set system.classes.")
        self.sequences, self.paper = names, config["fidelity"] == "paper"
        self.low, self.high = (float(v) for v in config["value_range"])
        self.capabilities = Capabilities(
            sequences=names,
            targets=names,
            classes=classes,
            healthy=tuple(config["healthy"]),
            slices=config["slices"],
            size_multiple=max(size_multiple, StackSegmentor.size_multiple) if classes else size_multiple,
            anatomy_channels=min(anatomy_channels, SHOWN),
            style_dim=len(names),
        )
        self.register_buffer("default_styles", torch.eye(len(names)))
        channels = len(names) * config["slices"]
        width = config["width"] if config["segmentor_width"] is None else config["segmentor_width"]
        self.segmentor = StackSegmentor(channels, len(classes), width=width) if classes else None
        weights = config["class_weights"]
        self.class_weights = None if weights is None else torch.tensor([float(w) for w in weights])

    # -- ranges and codes ------------------------------------------------------------------------------------------

    def to_network(self, image: Tensor, mask: Tensor) -> Tensor:
        """A normalised image (B, S, H, W) in the networks' range."""
        if not self.paper:
            return image * mask
        scaled = 2 * (image - self.low) / (self.high - self.low) - 1
        return torch.where(mask > 0, scaled.clamp(-1, 1), -1.0)

    def from_network(self, image: Tensor) -> Tensor:
        """The inverse of :meth:`to_network` inside the mask (except where it clipped)."""
        return (image + 1) / 2 * (self.high - self.low) + self.low if self.paper else image

    def shown(self, image: Tensor, mask: Tensor) -> Tensor:
        """A network's answer as losses and networks see it: 0 outside the mask, or (paper) as it is."""
        return image if self.paper else image * mask

    def image_l1(self, image: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        """Mean absolute difference per sample (B,): inside the mask, or (paper) over all pixels."""
        return losses.masked_l1(image, truth, torch.ones_like(mask) if self.paper else mask)

    def code(self, style: Tensor | str, samples: int) -> Tensor:
        """The code (B, n) of a sequence's name, or the vectors themselves (one-hot or blends)."""
        return self.default_style(style).expand(samples, -1) if isinstance(style, str) else style

    def one_hot(self, index: Tensor) -> Tensor:
        """Codes (B, n) of sequences given by their indices (B,)."""
        return F.one_hot(index, len(self.sequences)).to(self.default_styles.dtype)

    # -- the System interface --------------------------------------------------------------------------------------

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """See :meth:`System.encode`. Without a mask, every pixel that is not 0 in some sequence counts as inside."""
        if mask is None:
            mask = torch.stack([(x != 0).any(1, keepdim=True) for x in images.values()]).any(0)
            mask = mask.to(next(iter(images.values())).dtype)
        anatomy = {s: self.anatomy_of(x, self.index(s), mask) for s, x in images.items()}
        modality = {s: self.code(s, len(x)) for s, x in images.items()}
        return Factors(anatomy, modality, mask, dict(images))

    def anatomy_of(self, image: Tensor, sequence: int, mask: Tensor) -> Tensor:
        """Anatomy (B, C, h, w) of an image (B, S, H, W) of the sequence with that index."""
        raise NotImplementedError

    def fuse(self, factors: Factors) -> Tensor:
        """The completed stack (B, n * S, H, W): the sequences at hand as they are, the others translated from them."""
        missing = [s for s in self.sequences if s not in factors.anatomy]
        made = self.decode_styles(self.synthesis_anatomy(factors), missing) if missing else []
        images = {**factors.images, **dict(zip(missing, made, strict=True))}
        return torch.cat([images[s] * factors.mask for s in self.sequences], dim=1)

    def segment(self, fused: Tensor) -> Tensor:
        """Logits (B, L, H, W) of a completed stack; outside the mask, where it is 0, the answer is background."""
        if self.segmentor is None:
            raise InputError("This model does not segment; choose one whose card lists classes.")
        inside = (fused != 0).any(1, keepdim=True).to(fused.dtype)
        outside = fused.new_zeros(1, len(self.capabilities.classes), 1, 1)
        outside[:, 0] = 10.0
        return self.segmentor(fused) * inside + outside * (1 - inside)

    def adopt(self, other: System) -> None:
        """See :meth:`System.adopt`; a translator without a segmentor leaves this one's as it is."""
        weights = other.state_dict()
        if self.segmentor is not None and not other.capabilities.segments:
            weights |= {name: value for name, value in self.state_dict().items() if name.startswith("segmentor.")}
        self.load_state_dict(weights)

    # -- the segmentor's step --------------------------------------------------------------------------------------

    def training_steps(self) -> Sequence[TrainingStep]:
        return [*([] if self.config["frozen"] else self.translator_steps()), *self.segmentor_steps()]

    def translator_steps(self) -> list[TrainingStep]:
        """The updates of the networks that translate, in order."""
        raise NotImplementedError

    def segmentor_steps(self) -> list[TrainingStep]:
        """The update of the segmentor, none without classes."""
        if self.segmentor is None:
            return []
        optimizer = {"lr": self.config["segmentor_rate"]}
        return [TrainingStep("segmentor", list(self.segmentor.parameters()), self.segmentor_loss, optimizer, None)]

    def segmentor_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Dice and cross-entropy on stacks completed from a random part of what each sample has.

        ``completion`` says from which: any "subset" (what inference may meet), "one" sequence (the paper's protocol),
        or "none": only what is absent is completed (method-spec 3e, "trained on real").
        """
        if batch.labels is None:
            return {"segmentation": sum(p.sum() for p in self.segmentor.parameters()) * 0.0}
        stack = self.completed(batch)
        value = losses.marginal_segmentation(
            self.segment(stack),
            batch.labels,
            self.capabilities.healthy,
            None if self.class_weights is None else self.class_weights.to(stack),
            batch.mask,
        )
        return {"segmentation": value}

    @torch.no_grad()
    def completed(self, batch: Batch) -> Tensor:
        """Stack (B, n * S, H, W) of a batch, completed from a random part of each sample's sequences."""
        images, available = stacked(batch, self.sequences)
        keep = {"subset": random_subset, "one": random_one, "none": lambda a: a}[self.config["completion"]](available)
        if keep.all():
            return torch.cat(list(images * batch.mask), dim=1)
        total = self.merged(images, keep, batch.mask)
        made = torch.stack(self.decode_styles(total, self.sequences))
        stack = torch.where(keep[:, :, None, None, None], images, made)
        return torch.cat(list(stack * batch.mask), dim=1)

    def merged(self, images: Tensor, keep: Tensor, mask: Tensor) -> Tensor:
        """Anatomy (B, C, h, w) of the images (n, B, S, H, W) that ``keep`` (n, B) picks for each sample."""
        raise NotImplementedError
