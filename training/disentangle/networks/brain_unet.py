"""A small 3-D U-Net that tells the brain from the rest of a head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BrainUNet(nn.Module):
    """Logits of "brain" for a head of any contrast.

    Args:
        channels: per level, each half the size of the one before.
    """

    def __init__(self, channels: Sequence[int] = (8, 16, 32, 48)) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(channels))
        self.first = nn.Sequential(_block(1, channels[0]), _block(channels[0], channels[0]))
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(_block(b + a, a) for a, b in reversed(pairs))
        self.out = nn.Conv3d(channels[0], 1, 1)
        self.multiple = 2 ** len(pairs)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 1, K, J, I) of images (B, 1, K, J, I) in [0, 1]; sizes are multiples of :attr:`multiple`."""
        x, skips = self.first(image), []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        for stage in self.up:
            fine = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = stage(torch.cat([fine, skips.pop()], dim=1))
        return self.out(x)


def _block(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv3d(c_in, c_out, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.InstanceNorm3d(c_out, affine=True), nn.LeakyReLU(0.01))
