"""The discriminators of DAFNet and MMSDNet: one for masks, one for the images of each sequence (method-spec 2b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .. import losses
from ..adversarial_losses import discriminator_loss, generator_loss
from ..networks.discriminators import DenseDiscriminator
from .views import View, together, total


class Adversaries(nn.Module):
    """D_M, which sees foreground masks, and D_I,i, each of which sees images of one sequence.

    Args:
        sequences: canonical names.
        foreground: classes of a mask without the background; 0 = no D_M.
        mask_filters: of D_M's first convolution. image_filters: of each D_I,i; 0 = none.
        size: (H, W) of the slices. pooled: any size.
        kind: "lsgan", "bce" or "hinge".
    """

    def __init__(
        self,
        sequences: Sequence[str],
        foreground: int,
        mask_filters: int,
        image_filters: int,
        size: Sequence[int],
        pooled: bool,
        kind: str,
    ) -> None:
        super().__init__()
        self.sequences, self.kind = tuple(sequences), kind
        self.masks = DenseDiscriminator(foreground, size, mask_filters, pooled=pooled) if foreground else None
        self.images = None
        if image_filters:
            self.images = nn.ModuleList(DenseDiscriminator(1, size, image_filters, pooled=pooled) for _ in sequences)

    def of_images(self, sequence: str) -> nn.Module:
        """D_I,i of a sequence."""
        return self.images[self.sequences.index(sequence)]

    def masks_pass(self, views: Sequence[View], masks: Sequence[Tensor]) -> Tensor:
        """L_adv^M of the generator: soft masks (B, L, H, W), one per view, should pass for real ones."""
        return self._pass(views, together(self.masks, [m for v, m in zip(views, masks, strict=True) if v.judged]))

    def images_pass(self, views: Sequence[View], images: Sequence[Tensor]) -> Tensor:
        """L_adv^I of the generator: reconstructions (B, 1, H, W), one per view, each judged by its target's D_I."""
        judged = [(v.target, x) for v, x in zip(views, images, strict=True) if v.judged]
        scores = {t: together(self.of_images(t), [x for to, x in judged if to == t]) for t in dict(judged)}
        return self._pass(views, [scores[target].pop(0) for target, _ in judged])

    def mask_loss(self, real: Sequence[tuple[Tensor, Tensor]], fake: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Objective of D_M: mean over all real masks plus mean over all fake ones.

        Args:
            real, fake: per sequence, masks (B, L, H, W) and which samples count (B,).
        """
        sides = torch.zeros((), device=fake[0][0].device)
        scores = together(self.masks, [m for m, _ in (*real, *fake)])
        for pairs, found, is_real in ((real, scores[: len(real)], True), (fake, scores[len(real) :], False)):
            if pairs:
                values = [discriminator_loss(score, is_real, self.kind) for score in found]
                sides = sides + losses.weighted_mean(values, [share for _, share in pairs])
        return sides

    def image_loss(self, real: Mapping[str, Tensor], fake: Mapping[str, Tensor], available: Mapping) -> Tensor:
        """Objective of all D_I,i: the sum over sequences; ``available`` says which samples count (B,)."""
        values = []
        for sequence, images in fake.items():
            true, false = together(self.of_images(sequence), [real[sequence], images])
            value = discriminator_loss(true, True, self.kind) + discriminator_loss(false, False, self.kind)
            values.append(losses.weighted_mean([value], [available[sequence]]))
        return torch.stack(values).sum()

    def _pass(self, views: Sequence[View], scores: Sequence[Tensor]) -> Tensor:
        judged = [v for v in views if v.judged]
        values = [generator_loss(score, self.kind) for score in scores]
        return total(judged, values, [(v.share > 0).to(v.share.dtype) for v in judged])
