"""Residual encoders and decoder of MUNIT (Huang et al. 2018; method-spec 5a), written from the paper and the table.

Used by DALACE, DADR, image translation, and as the backbone without skips of UCD (method-spec 3a, backbone B).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .blocks import InstanceNorm, output_activation, scaled

BASE = 64
"""Published channels of the first convolution; every stride-2 convolution doubles them."""
Modulation = tuple[Tensor, Tensor]
"""Scale and shift (B, C, 1, 1) that a style imposes on normalised features."""


def plain_norm(kind: str, channels: int) -> nn.Module:
    """Normalisation of the residual networks: "instance" without affine part (as MUNIT), "batch", or "none".

    Raises:
        InputError: another kind.
    """
    if kind not in ("instance", "batch", "none"):
        raise InputError(f'Unknown normalisation "{kind}"; use "instance", "batch" or "none".')
    return {"instance": InstanceNorm, "batch": nn.BatchNorm2d}.get(kind, lambda _: nn.Identity())(channels)


def layer_norm(channels: int) -> nn.GroupNorm:
    """Layer normalisation of (B, C, H, W) over C, H and W together, with a scale and shift per channel (MUNIT)."""
    return nn.GroupNorm(1, channels)


def reflect_conv(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    """Convolution with reflected borders; ``padding`` keeps the size for odd kernels where it is not given."""
    padding = kernel // 2 if padding is None else padding
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, padding_mode="reflect")


class ResBlock(nn.Module):
    """x + norm(conv3(ReLU(norm(conv3(x))))), ``channels`` in and out."""

    def __init__(self, channels: int, norm: str = "instance") -> None:
        super().__init__()
        self.body = nn.Sequential(
            reflect_conv(channels, channels, 3),
            plain_norm(norm, channels),
            nn.ReLU(),
            reflect_conv(channels, channels, 3),
            plain_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResNetContentEncoder(nn.Module):
    """Content encoder of MUNIT: conv 7 -> stride-2 convs 4 -> residual blocks; 64-128-256 channels as published.

    Args:
        in_channels: adjacent slices per image.
        width: multiplier of all channel counts, 1.0 = published.
        downsamplings: stride-2 convolutions n; the map is 1 / 2**n of the image (2 as published).
        blocks: residual blocks (4 as published).
        norm: "instance" (MUNIT; default: batches mix domains and are small, method-spec 5g, g1), "batch" (text of
            DALACE) or "none".

    Attributes:
        out_channels: channels of the content map.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: float = 1.0,
        downsamplings: int = 2,
        blocks: int = 4,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        channels = content_channels(width, downsamplings)
        layers: list[nn.Module] = [reflect_conv(in_channels, channels[0], 7), plain_norm(norm, channels[0]), nn.ReLU()]
        for fine, coarse in itertools.pairwise(channels):
            layers += [reflect_conv(fine, coarse, 4, 2, 1), plain_norm(norm, coarse), nn.ReLU()]
        layers += [ResBlock(channels[-1], norm) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)
        self.out_channels = channels[-1]
        initialise_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Content map (B, ``out_channels``, H / 2**n, W / 2**n) of images (B, S, H, W)."""
        return self.layers(x)


class PooledStyleEncoder(nn.Module):
    """Style encoder of MUNIT: conv 7, four stride-2 convs, ReLU, no norm; global average pooling; linear to Z.

    Args:
        in_channels: adjacent slices per image.
        style_dim: Z, 8 as published.
        width: multiplier of the channel counts 64-128-256-256-256.
    """

    widths = (64, 128, 256, 256, 256)

    def __init__(self, in_channels: int = 1, style_dim: int = 8, width: float = 1.0) -> None:
        super().__init__()
        channels = [scaled(c, width) for c in self.widths]
        layers: list[nn.Module] = [reflect_conv(in_channels, channels[0], 7), nn.ReLU()]
        for i, o in itertools.pairwise(channels):
            layers += [reflect_conv(i, o, 4, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(channels[-1], style_dim)
        initialise_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Style (B, Z) of images (B, S, H, W); H and W at least 32."""
        return self.out(self.layers(x).mean(dim=(2, 3)))


class AdaINResBlock(nn.Module):
    """Residual block whose two instance normalisations are scaled and shifted by the style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = reflect_conv(channels, channels, 3)
        self.conv_out = reflect_conv(channels, channels, 3)
        self.norm = InstanceNorm(channels)

    def forward(self, x: Tensor, first: Modulation, second: Modulation) -> Tensor:
        h = F.relu(_modulate(self.norm(self.conv_in(x)), first))
        return x + _modulate(self.norm(self.conv_out(h)), second)


class ResNetUpsampler(nn.Sequential):
    """Content map to image: per doubling nearest x2, conv 5, layer norm, ReLU; then conv 7 (MUNIT).

    Args:
        out_channels: adjacent slices S per image.
        width, downsamplings: as of the content encoder that it undoes.
        output: "tanh" (published: images in [-1, 1]) or "linear" (images that are z-scored).
    """

    def __init__(self, out_channels: int = 1, width: float = 1.0, downsamplings: int = 2, output: str = "tanh") -> None:
        channels = content_channels(width, downsamplings)[::-1]
        layers: list[nn.Module] = []
        for coarse, fine in itertools.pairwise(channels):
            layers += [nn.Upsample(scale_factor=2), reflect_conv(coarse, fine, 5), layer_norm(fine), nn.ReLU()]
        super().__init__(*layers, reflect_conv(channels[-1], out_channels, 7), output_activation(output))


class AdaINDecoder(nn.Module):
    """Style-based generator of MUNIT: AdaIN residual blocks on the content map, then :class:`ResNetUpsampler`.

    Args:
        out_channels: adjacent slices S per image.
        style_dim: Z, 8 as published.
        width, downsamplings, output: as of :class:`ResNetUpsampler`.
        blocks: residual blocks (4 as published), two modulated normalisations each.
        empty: what the normalisations get when there is no style: "zero" (the MLP's answer to the zero vector, a
            neutral style that is learned) or "identity" (scale 1, shift 0); method-spec 5g, g2.
    """

    def __init__(
        self,
        out_channels: int = 1,
        style_dim: int = 8,
        width: float = 1.0,
        downsamplings: int = 2,
        blocks: int = 4,
        output: str = "tanh",
        empty: str = "zero",
    ) -> None:
        super().__init__()
        if empty not in ("zero", "identity"):
            raise InputError(f'Unknown empty style "{empty}"; use "zero" or "identity".')
        self.style_dim, self.empty = style_dim, empty
        self.channels = content_channels(width, downsamplings)[-1]
        hidden = scaled(256, width)
        self.mlp = nn.Sequential(
            nn.Linear(style_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 4 * blocks * self.channels),
        )
        self.blocks = nn.ModuleList(AdaINResBlock(self.channels) for _ in range(blocks))
        self.up = ResNetUpsampler(out_channels, width, downsamplings, output)
        initialise_kaiming(self)

    def modulations(self, style: Tensor) -> list[Modulation]:
        """Scale and shift of every normalisation for a style (B, Z), used as the MLP gives them (no 1 + scale)."""
        values = self.mlp(style).view(len(style), 2 * len(self.blocks), 2, self.channels, 1, 1)
        return [(values[:, n, 0], values[:, n, 1]) for n in range(values.shape[1])]

    def forward(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """Image (B, S, H, W) of a content map (B, C, H / 2**n, W / 2**n) in a style (B, Z); None: without style."""
        if style is None and self.empty == "identity":
            maps: list[Modulation] = [(content.new_ones(()), content.new_zeros(()))] * (2 * len(self.blocks))
        else:
            maps = self.modulations(content.new_zeros(len(content), self.style_dim) if style is None else style)
        for n, block in enumerate(self.blocks):
            content = block(content, maps[2 * n], maps[2 * n + 1])
        return self.up(content)


class ResNetGenerator(nn.Sequential):
    """Image-to-image generator of CycleGAN (Zhu et al. 2017): conv 7, two stride-2 convs 3, residual blocks, two
    transposed convs 3, conv 7; instance norm; N(0, 0.02) weights.

    Args:
        channels: S of the images in and out.
        width: multiplier of the channel counts 64-128-256.
        blocks: 9 as published for 256 x 256.
        output: "tanh" or "linear".
        downsamplings: stride-2 convolutions, 2 as published.
    """

    def __init__(
        self, channels: int = 1, width: float = 1.0, blocks: int = 9, output: str = "tanh", downsamplings: int = 2
    ) -> None:
        sizes = content_channels(width, downsamplings)
        layers: list[nn.Module] = [reflect_conv(channels, sizes[0], 7), InstanceNorm(sizes[0]), nn.ReLU()]
        for i, o in itertools.pairwise(sizes):
            layers += [nn.Conv2d(i, o, 3, 2, 1), InstanceNorm(o), nn.ReLU()]
        layers += [ResBlock(sizes[-1]) for _ in range(blocks)]
        for i, o in itertools.pairwise(sizes[::-1]):
            layers += [nn.ConvTranspose2d(i, o, 3, 2, 1, output_padding=1), InstanceNorm(o), nn.ReLU()]
        super().__init__(*layers, reflect_conv(sizes[0], channels, 7), output_activation(output))
        initialise_normal(self)


class DomainAutoencoder(nn.Module):
    """What a domain has of its own in MUNIT and DALACE: content encoder, style encoder and generator.

    Args:
        slices: adjacent slices per image.
        style_dim, width, norm, output, empty: of the three networks.
        downsamplings, blocks: of content encoder and generator.
    """

    def __init__(
        self,
        slices: int = 1,
        style_dim: int = 8,
        width: float = 1.0,
        norm: str = "instance",
        output: str = "tanh",
        empty: str = "zero",
        downsamplings: int = 2,
        blocks: int = 4,
    ) -> None:
        super().__init__()
        self.content = ResNetContentEncoder(slices, width, downsamplings, blocks, norm)
        self.style = PooledStyleEncoder(slices, style_dim, width)
        self.decoder = AdaINDecoder(slices, style_dim, width, downsamplings, blocks, output, empty)


def content_channels(width: float, downsamplings: int) -> list[int]:
    """Channels at full, half, quarter ... size."""
    return [scaled(BASE * 2**n, width) for n in range(downsamplings + 1)]


def initialise_kaiming(network: nn.Module) -> None:
    """He-normal weights and zero biases in all convolutions and linear layers (MUNIT's generators)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_normal(network: nn.Module, deviation: float = 0.02) -> None:
    """N(0, 0.02) weights and zero biases in all convolutions (discriminators, CycleGAN)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _modulate(x: Tensor, modulation: Modulation) -> Tensor:
    return torch.addcmul(modulation[1], x, modulation[0])
