"""Task heads on the fused anatomy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .blocks import normalization


class _Double(nn.Sequential):
    """Two 3x3 convolutions with normalisation and LeakyReLU(0.01); the first may have stride 2."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, norm: str = "instance") -> None:
        layers: list[nn.Module] = []
        for i, s in ((c_in, stride), (c_out, 1)):
            conv = nn.Conv2d(i, c_out, 3, s, 1, bias=norm == "none")
            layers += [conv, normalization(norm, c_out), nn.LeakyReLU(0.01)]
        super().__init__(*layers)


class SegmentationHead(nn.Module):
    """Class logits from a fused anatomy.

    Args:
        in_channels: channels of the fused anatomy.
        classes: number L of classes.
        kind: "conv": two 3x3 convolutions and a 1x1 (method-spec 6a); "unet": a compact U-Net, since lesions need
            context and the published downstream network T is a whole network on the fused anatomy (method-spec 1a).
        channels: per level of the U-Net, each half the size of the one before; "conv" uses the first.
        norm: "instance", "batch" or "none".
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        kind: str = "unet",
        channels: Sequence[int] = (16, 32, 64, 128),
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if kind not in ("unet", "conv"):
            raise InputError(f'Unknown segmentation head "{kind}"; use "unet" or "conv".')
        if kind == "conv":
            channels = channels[:1]
        self.first = _Double(in_channels, channels[0], norm=norm)
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(_Double(fine, coarse, 2, norm) for fine, coarse in pairs)
        self.up = nn.ModuleList(_Double(coarse + fine, fine, norm=norm) for fine, coarse in reversed(pairs))
        self.out = nn.Conv2d(channels[0], classes, 1)

    def forward(self, fused: Tensor) -> Tensor:
        """Logits (B, L, H, W) of a fused anatomy (B, F, H, W); H and W multiples of 2 ** (levels - 1)."""
        x = self.first(fused)
        skips = []
        for stage in self.down:
            skips.append(x)
            x = stage(x)
        for stage in self.up:
            x = stage(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1))
        return self.out(x)
