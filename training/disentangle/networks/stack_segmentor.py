"""The segmentor of TC-MGAN and UCD: all sequences as channels, or one image and a code (method-spec 3a)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from .blocks import scaled
from .conditioning import append_code
from .resnet import initialise_kaiming


class StackSegmentor(nn.Module):
    """Four convolutions 3/2/1 down, four transposed ones up, batch norm and ReLU, one convolution per level.

    Args:
        in_channels: all slices of a stack of sequences, in a fixed order.
        out_channels: label logits; 1 for a tumour mask.
        code_dim: length Z of a code beside the image (tumour-consistency network of TC-MGAN: 1 + 3 channels).
        width: multiplier of the channel counts 64-128-256-512.
    """

    widths = (64, 128, 256, 512)
    size_multiple = 16

    def __init__(self, in_channels: int = 4, out_channels: int = 1, code_dim: int = 0, width: float = 1.0) -> None:
        super().__init__()
        down = [scaled(c, width) for c in self.widths]
        pairs = itertools.pairwise([in_channels + code_dim, *down])
        self.down = nn.ModuleList(_step(nn.Conv2d(i, o, 3, 2, 1)) for i, o in pairs)
        up = [down[-1], *down[-2:0:-1]]
        sources = [down[-1], *(c + s for c, s in zip(up, down[-2::-1], strict=True))]
        self.up = nn.ModuleList(_step(_transposed(i, o)) for i, o in zip(sources[:-1], up, strict=True))
        self.out = _transposed(sources[-1], out_channels)
        initialise_kaiming(self)
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Logits (B, L, H, W) of images (B, C, H, W), H and W multiples of 16, and a code (B, Z)."""
        x = x if code is None else append_code(x, code)
        skips = []
        for step in self.down:
            x = step(x)
            skips.append(x)
        skips.pop()
        for step in self.up:
            x = torch.cat([step(x), skips.pop()], dim=1)
        return self.out(x)


def _transposed(c_in: int, c_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(c_in, c_out, 3, 2, 1, output_padding=1)


def _step(conv: nn.Module) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())
