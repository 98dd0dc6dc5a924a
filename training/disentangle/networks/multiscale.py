"""Patch discriminators at one or several scales (MUNIT, Huang et al. 2018; method-spec 5a)."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import InstanceNorm, scaled
from .judge import Judge
from .resnet import initialise_normal, plain_norm, reflect_conv


class PatchDiscriminator(Judge, nn.Sequential):
    """Stride-2 convolutions 4 with LeakyReLU(0.2), then a 1x1 convolution: one score per patch, linear.

    Args:
        in_channels: of the image, or of the image and what it is paired with.
        width: multiplier of the channel counts 64-128-256-512.
        layers: stride-2 convolutions, each doubling the channels (up to 512).
        norm: of all but the first, "none" (MUNIT) or "instance" (as :class:`PatchGAN`).

    Without norms the scores keep the published spread only if that of the weights, 0.02 as published, grows as the
    channels get fewer: at an eighth of the width they were all but constant, and DALACE's domain discriminators still
    at chance after 400 steps. With fewer channels "instance" learns sooner too.
    """

    def __init__(self, in_channels: int = 1, width: float = 1.0, layers: int = 4, norm: str = "none") -> None:
        channels = [in_channels, *(scaled(min(64 * 2**n, 512), width) for n in range(layers))]
        modules: list[nn.Module] = []
        for n, (i, o) in enumerate(itertools.pairwise(channels)):
            modules.append(reflect_conv(i, o, 4, 2, 1))
            modules += [plain_norm(norm, o)] if n and norm != "none" else []
            modules.append(nn.LeakyReLU(0.2))
        super().__init__(*modules, nn.Conv2d(channels[-1], 1, 1))
        initialise_normal(self, 0.02 / width**0.5)


class PatchGAN(Judge, nn.Sequential):
    """Discriminator of 70 x 70 patches (Isola et al. 2017; CycleGAN): three convolutions 4 of stride 2, two of stride
    1; 64-128-256-512-1 channels, instance norm in between, LeakyReLU(0.2), linear scores.

    Args:
        in_channels: of the image, or of the image and what it is paired with.
        width: multiplier of the channel counts.
    """

    def __init__(self, in_channels: int = 1, width: float = 1.0) -> None:
        channels = [in_channels, *(scaled(c, width) for c in (64, 128, 256, 512))]
        modules: list[nn.Module] = []
        for n, (i, o) in enumerate(itertools.pairwise(channels)):
            modules.append(nn.Conv2d(i, o, 4, 2 if n < 3 else 1, 1))
            modules += [InstanceNorm(o)] if n else []
            modules.append(nn.LeakyReLU(0.2))
        super().__init__(*modules, nn.Conv2d(channels[-1], 1, 4, 1, 1))
        initialise_normal(self)


class MultiScaleDiscriminator(Judge, nn.Module):
    """The same patch discriminator, with weights of its own, on the image and on ever coarser versions of it.

    Between scales the image is averaged by 3x3 windows with stride 2.

    Args:
        in_channels, width, layers, norm: of each :class:`PatchDiscriminator`.
        scales: 3 as published; the coarsest map must keep at least ``2 ** layers`` pixels.
    """

    def __init__(
        self, in_channels: int = 1, width: float = 1.0, scales: int = 3, layers: int = 4, norm: str = "none"
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(in_channels, width, layers, norm) for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Patch scores (B, 1, h, w) per scale of images (B, C, H, W), finest first."""
        scores = []
        for n, discriminator in enumerate(self.scales):
            if n:
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            scores.append(discriminator(x))
        return scores
