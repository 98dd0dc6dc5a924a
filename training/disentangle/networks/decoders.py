"""Decoders: anatomy map and style vector -> image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import InstanceNorm, output_activation, scaled

Modulation = tuple[Tensor, Tensor]
"""Scale and shift maps (B, C, H, W) that an anatomy imposes on normalised features."""


class SPADE(nn.Module):
    """Scale and shift maps from an anatomy: conv3(ReLU(conv3(s))) (Park et al. 2019; method-spec 2a)."""

    def __init__(self, channels: int, anatomy_channels: int, hidden: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(anatomy_channels, hidden, 3, padding=1)
        self.maps = nn.Conv2d(hidden, 2 * channels, 3, padding=1)

    def forward(self, anatomy: Tensor) -> Modulation:
        hidden = F.relu(self.shared(anatomy))
        if torch.jit.is_tracing():
            # For a compiler: OpenVINO copies the halves of a map, which took a third of the time of all modulations.
            weights, biases = self.maps.weight.chunk(2), self.maps.bias.chunk(2)
            scale, shift = (F.conv2d(hidden, w, b, padding=1) for w, b in zip(weights, biases, strict=True))
        else:
            scale, shift = self.maps(hidden).chunk(2, dim=1)
        return 1 + scale, shift


class SPADEResBlock(nn.Module):
    """Residual block of the SPADE decoder of DAFNet (method-spec 2a), c_in -> c_out channels.

    The modulation depends on the anatomy alone and costs about ten times the rest of the block, so it is a step of
    its own: one anatomy shown in many styles pays for it once.
    """

    def __init__(self, c_in: int, c_out: int, anatomy_channels: int, hidden: int) -> None:
        super().__init__()
        c_mid = min(c_in, c_out)
        self.norm_in, self.norm_mid = InstanceNorm(c_in), InstanceNorm(c_mid)
        self.spade_in = SPADE(c_in, anatomy_channels, hidden)
        self.spade_mid = SPADE(c_mid, anatomy_channels, hidden)
        self.conv_in = nn.Conv2d(c_in, c_mid, 3, padding=1)
        self.conv_mid = nn.Conv2d(c_mid, c_out, 3, padding=1)
        self.spade_shortcut = SPADE(c_in, anatomy_channels, hidden) if c_in != c_out else None
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False) if c_in != c_out else None

    def modulations(self, anatomy: Tensor) -> list[Modulation]:
        """The maps of this block for an anatomy of the block's size."""
        spades = [self.spade_in, self.spade_mid, *([self.spade_shortcut] if self.spade_shortcut else [])]
        return [spade(anatomy) for spade in spades]

    def forward(self, x: Tensor, modulations: list[Modulation], shift: Tensor | None = None) -> Tensor:
        """x (B, c_in, H, W) to (B, c_out, H, W); ``shift`` (B, c_in, 1, 1) is added to the modulated features."""
        normed = self.norm_in(x)
        h = _modulate(normed, modulations[0])
        h = self.conv_in(F.leaky_relu(h if shift is None else h + shift, 0.2))
        h = self.conv_mid(F.leaky_relu(_modulate(self.norm_mid(h), modulations[1]), 0.2))
        return h + (x if self.shortcut is None else self.shortcut(_modulate(normed, modulations[2])))


class SPADEDecoder(nn.Module):
    """Style vector -> coarse features -> six SPADE residual blocks, five doublings -> 1x1 convolution, linear.

    The decoder of Ouyang et al. as their text states it, i.e. that of DAFNet (method-spec 1a, 2a), shared by all
    sequences. The anatomy is brought to the size of each block by averaging, which keeps the proportions of soft
    maps.

    Args:
        anatomy_channels: C of the anatomy.
        style_dim: Z of the style vector.
        out_channels: adjacent slices S of the image.
        width: multiplier of the block widths and of ``hidden``.
        base: size (rows, columns) of the first map, resized to (H/32, W/32) of the anatomy at hand.
        hidden: channels between anatomy and modulation maps: one number (128 as published), or one per block. The
            finest block costs as much as all others together; (128, 128, 128, 64, 32, 16) makes it cheap.
        style_shift: every block also receives the style as a shift of its normalised features. As published, the
            style enters only as the coarsest map, of which instance norm leaves the spatial pattern: little at
            64x64 (2x2 cells), and nothing at 32x32 (one cell), where the published decoder ignores the style.
        output: "linear" (z-scored images) or "tanh" (images in [-1, 1], DAFNet).
    """

    widths = (128, 128, 128, 128, 64, 32, 16)

    def __init__(
        self,
        anatomy_channels: int = 4,
        style_dim: int = 16,
        out_channels: int = 3,
        width: float = 1.0,
        base: Sequence[int] = (5, 6),
        hidden: int | Sequence[int] = 128,
        style_shift: bool = False,
        output: str = "linear",
    ) -> None:
        super().__init__()
        self.finish = output_activation(output)
        channels = [scaled(c, width) for c in self.widths]
        self.base = (channels[0], *base)
        self.fc = nn.Linear(style_dim, channels[0] * base[0] * base[1])
        per_block = [hidden] * (len(channels) - 1) if isinstance(hidden, int) else list(hidden)
        self.blocks = nn.ModuleList(
            SPADEResBlock(i, o, anatomy_channels, scaled(h, width))
            for (i, o), h in zip(itertools.pairwise(channels), per_block, strict=True)
        )
        self.shifts = nn.ModuleList(nn.Linear(style_dim, c) for c in channels[:-1]) if style_shift else None
        self.out = nn.Conv2d(channels[-1], out_channels, 1)

    def modulations(self, anatomy: Tensor) -> list[list[Modulation]]:
        """All modulation maps of an anatomy (B, C, H, W), coarsest block first; H and W multiples of 32."""
        pyramid = [anatomy]
        for _ in self.blocks[1:]:
            pyramid.append(F.avg_pool2d(pyramid[-1], 2))
        return [block.modulations(s) for block, s in zip(self.blocks, reversed(pyramid), strict=True)]

    def render(self, modulations: list[list[Modulation]], style: Tensor) -> Tensor:
        """Image (B, S, H, W) of an anatomy, given by its :meth:`modulations`, in a style (B, Z)."""
        x = self.fc(style).view(-1, *self.base)
        size = modulations[0][0][0].shape[-2:]
        if size != x.shape[-2:]:
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        for n, (block, maps) in enumerate(zip(self.blocks, modulations, strict=True)):
            shift = None if self.shifts is None else self.shifts[n](style)[:, :, None, None]
            x = block(x if n == 0 else F.interpolate(x, scale_factor=2, mode="nearest"), maps, shift)
        return self.finish(self.out(x))

    def forward(self, anatomy: Tensor, style: Tensor) -> Tensor:
        """Image (B, S, H, W) of an anatomy (B, C, H, W) in a style (B, Z)."""
        return self.render(self.modulations(anatomy), style)


def _modulate(x: Tensor, modulation: Modulation) -> Tensor:
    return torch.addcmul(modulation[1], x, modulation[0])
