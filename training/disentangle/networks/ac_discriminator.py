"""Discriminator with an auxiliary classifier: real or not, patch by patch, and of which sequence."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .blocks import scaled
from .judge import Judge
from .resnet import initialise_kaiming


class ACDiscriminator(Judge, nn.Module):
    """Dis and Dis_mc of UCD, the discriminator of TC-MGAN (method-spec 3a; StarGAN's, Choi et al. 2018).

    Convolutions 4/2/1 with LeakyReLU(0.01) and no norm, then two linear heads without bias: patch scores by a
    convolution 3/1/1, class logits by a convolution 4/1/0, whose positions are averaged where the last map is larger
    than 4 x 4.

    Args:
        in_channels: 1 image, or 2: the image and the one that it was made of.
        classes: sequences to tell apart; 0 leaves that head out (Pix2Pix).
        width: multiplier of the channel counts 64-128-256-512-1024.
        levels: stride-2 convolutions, 5 as published for 128 x 128; 4 for 64 x 64.
    """

    def __init__(self, in_channels: int = 1, classes: int = 4, width: float = 1.0, levels: int = 5) -> None:
        super().__init__()
        channels = [in_channels, *(scaled(64 * 2**n, width) for n in range(levels))]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in itertools.pairwise(channels))
        self.patches = nn.Conv2d(channels[-1], 1, 3, 1, 1, bias=False)
        self.classes = nn.Conv2d(channels[-1], classes, 4, bias=False) if classes else None
        initialise_kaiming(self)

    def forward(self, image: Tensor, source: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Patch scores (B, 1, h, w) and class logits (B, L), None without that head.

        Args:
            image: (B, S, H, W), real or not.
            source: (B, S, H, W) that it was made of, for a conditional discriminator.

        Raises:
            InputError: images too small for the class head.
        """
        x = image if source is None else torch.cat([image, source], dim=1)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.01)
        if self.classes is None:
            return self.patches(x), None
        if min(x.shape[-2:]) < 4:
            raise InputError(
                f"The discriminator needs images of at least {4 * 2 ** len(self.convs)} pixels with "
                f"{len(self.convs)} levels; lower system.discriminator_levels or raise sampling.sizes."
            )
        return self.patches(x), self.classes(x).mean((2, 3))
