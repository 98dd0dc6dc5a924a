"""Discriminators that give one score per image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..errors import InputError
from .judge import Judge


class DenseDiscriminator(Judge, nn.Module):
    """D_M and D_I of DAFNet: four 4x4 convolutions without padding, then one unit (method-spec 2a).

    Args:
        in_channels: foreground classes of a mask, or channels of an image.
        size: (H, W) of the images that it will see, at least 46 by 46.
        filters: of the first convolution; 64, 128, 256, 512 as published, 4 for the masks of MMSDNet.
        spectral: spectral normalisation of all five layers (a re-parametrisation, not the code's penalty: 2g, g8).
        pooled: average over positions before the last layer. Then any size above 46 by 46 will do.
    """

    smallest = 46

    def __init__(
        self,
        in_channels: int,
        size: Sequence[int] = (192, 192),
        filters: int = 64,
        spectral: bool = True,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        if min(size) < self.smallest:
            raise InputError(f"A discriminator needs images of at least {self.smallest} pixels; raise system.size.")
        self.size, self.pooled = tuple(size), pooled
        channels = [in_channels, *(filters * 2**n for n in range(4))]
        rows, columns = (_remaining(n) for n in size)
        wrap = spectral_norm if spectral else (lambda layer: layer)
        self.convs = nn.ModuleList()
        for n, (i, o) in enumerate(itertools.pairwise(channels)):
            conv = nn.Conv2d(i, o, 4, stride=1 if n == 3 else 2)
            nn.init.kaiming_normal_(conv.weight, a=0.2, nonlinearity="leaky_relu")
            self.convs.append(wrap(conv))
        self.last = wrap(nn.Linear(channels[-1] * (1 if pooled else rows * columns), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B,) of images or soft masks (B, C, H, W).

        Raises:
            InputError: another size than ``size``, unless ``pooled``.
        """
        if not self.pooled and tuple(x.shape[-2:]) != self.size:
            raise InputError(
                f"The discriminators expect images of {self.size[0]} x {self.size[1]} pixels, not {x.shape[-2]} x "
                f"{x.shape[-1]}; set system.size to the size of the slices, or system.pooled_discriminators."
            )
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        x = x.mean((2, 3)) if self.pooled else torch.flatten(x, 1)
        return self.last(x)[:, 0]


def _remaining(pixels: int) -> int:
    """Extent of the last feature map of an image."""
    for stride in (2, 2, 2, 1):
        pixels = (pixels - 4) // stride + 1
    return pixels
