"""The U-Net of DAFNet in its two halves, so that sequences may share the second one (method-spec 2a)."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import normalization, scaled


class SequenceNorm(nn.Module):
    """Normalisation (B, C, H, W) that may keep statistics for each sequence of its own.

    Args:
        kind: "instance", "batch", "none", or "batch_per_sequence" (one batch norm per condition).
        channels: C.
        conditions: number of sequences.
    """

    def __init__(self, kind: str, channels: int, conditions: int = 1) -> None:
        super().__init__()
        own = kind == "batch_per_sequence"
        self.norms = nn.ModuleList(
            normalization("batch" if own else kind, channels) for _ in range(conditions if own else 1)
        )

    def forward(self, x: Tensor, condition: int = 0) -> Tensor:
        return self.norms[condition if len(self.norms) > 1 else 0](x)


class DoubleConv(nn.Module):
    """Two times 3x3 convolution, normalisation, ReLU; He initialisation."""

    def __init__(self, c_in: int, c_out: int, norm: str, conditions: int = 1) -> None:
        super().__init__()
        self.convs = nn.ModuleList([_conv(c_in, c_out), _conv(c_out, c_out)])
        self.norms = nn.ModuleList(SequenceNorm(norm, c_out, conditions) for _ in range(2))

    def forward(self, x: Tensor, condition: int = 0) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x), condition))
        return x


class UNetEncoder(nn.Module):
    """The contracting half (phi of DAFNet, one per sequence): four double convolutions, each followed by a pooling.

    Args:
        in_channels: of the image.
        width: multiplier of the channel counts (64, 128, 256, 512).
        norm: as of :class:`SequenceNorm`; "instance" by default, since batches are small (method-spec 2g, g7).
        conditions: number of sequences that go through it.
    """

    widths = (64, 128, 256, 512)

    def __init__(self, in_channels: int = 1, width: float = 1.0, norm: str = "instance", conditions: int = 1) -> None:
        super().__init__()
        channels = [in_channels, *(scaled(c, width) for c in self.widths)]
        self.blocks = nn.ModuleList(DoubleConv(i, o, norm, conditions) for i, o in itertools.pairwise(channels))

    def forward(self, x: Tensor, condition: int = 0) -> list[Tensor]:
        """Features of an image (B, S, H, W), finest first: 64 channels at full size to 512 at an eighth; H and W are
        multiples of 16."""
        features = []
        for block in self.blocks:
            x = block(x if not features else F.max_pool2d(x, 2), condition)
            features.append(x)
        return features


class UNetDecoder(nn.Module):
    """The expanding half (rho of DAFNet) with the bottleneck: features of :class:`UNetEncoder` to output logits.

    Args:
        out_channels: of the logits.
        width, norm, conditions: as of :class:`UNetEncoder`.
    """

    widths = (1024, 512, 256, 128, 64)

    def __init__(self, out_channels: int = 8, width: float = 1.0, norm: str = "instance", conditions: int = 1) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in self.widths]
        levels = list(itertools.pairwise(channels))
        self.bottleneck = DoubleConv(channels[1], channels[0], norm, conditions)
        self.ups = nn.ModuleList(_conv(coarse, fine) for coarse, fine in levels)
        self.up_norms = nn.ModuleList(SequenceNorm(norm, fine, conditions) for _, fine in levels)
        self.blocks = nn.ModuleList(DoubleConv(2 * fine, fine, norm, conditions) for _, fine in levels)
        self.out = nn.Conv2d(channels[-1], out_channels, 1)

    def forward(self, features: list[Tensor], condition: int = 0) -> Tensor:
        """Logits (B, C, H, W) of the features of an image."""
        x = self.bottleneck(F.max_pool2d(features[-1], 2), condition)
        for up, norm, block, skip in zip(self.ups, self.up_norms, self.blocks, reversed(features), strict=True):
            x = norm(up(F.interpolate(x, scale_factor=2, mode="nearest")), condition)
            x = block(torch.cat([x, skip], dim=1), condition)
        return self.out(x)


class UNet(nn.Module):
    """Both halves: images (B, S, H, W) to logits (B, C, H, W), H and W multiples of 16. Arguments as of the halves."""

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 8,
        width: float = 1.0,
        norm: str = "instance",
        conditions: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = UNetEncoder(in_channels, width, norm, conditions)
        self.decoder = UNetDecoder(out_channels, width, norm, conditions)

    def forward(self, x: Tensor, condition: int = 0) -> Tensor:
        return self.decoder(self.encoder(x, condition), condition)


def _conv(c_in: int, c_out: int) -> nn.Conv2d:
    conv = nn.Conv2d(c_in, c_out, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    return conv
