"""TC-MGAN's U-Net128 with a modality code (method-spec 3a, backbone A of UCD; also Pix2Pix and TC-MGAN itself).

Generalised from 128 x 128 to any multiple of ``2 ** levels``: 7 levels as published, fewer for smaller images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .blocks import InstanceNorm, output_activation, scaled
from .conditioning import append_code
from .histogram import HistogramContext
from .multiscale import initialise_normal

CODE_PLACES = ("input", "bottleneck", "all")
"""Where a code enters: as planes beside the image (TC-MGAN) or at the bottleneck (UCD as published), or as a scale and
a shift of what every step up reads."""
_PACKED_LEVEL = 3


class UNet128Encoder(nn.Module):
    """The way down: convolutions 4/2/1, LeakyReLU(0.2), instance norm in all but the first and the last.

    Args:
        in_channels: of the image, code planes included.
        width: multiplier of the channel counts 64-128-256-512-512-...
        levels: halvings of the image, 7 as published.
        norm_deepest: also normalise the second deepest map, 2 x 2 for an image of ``2 ** levels`` pixels; off unless
            the published net is wanted, because four values make a poor variance (method-spec 3a).
    """

    def __init__(self, in_channels: int = 1, width: float = 1.0, levels: int = 7, norm_deepest: bool = False) -> None:
        super().__init__()
        self.channels = level_channels(width, levels)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 4, 2, 1) for i, o in itertools.pairwise([in_channels, *self.channels])
        )
        normed = range(1, levels - 1 if norm_deepest else levels - 2)
        self.norms = nn.ModuleList(
            InstanceNorm(c) if n in normed else nn.Identity() for n, c in enumerate(self.channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of 1/2, 1/4 ... of an image (B, C, H, W); all but the deepest are activated."""
        found = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x))
            if len(found) < len(self.convs) - 1:
                x = F.leaky_relu(x, 0.2)
            found.append(x)
        return found


class UNet128Decoder(nn.Module):
    """The way up: ReLU, transposed convolution 4/2/1, instance norm, concatenation with the map of that size.

    Args:
        out_channels: adjacent slices S per image.
        code_dim: length Z of the code, 0 = none.
        code_at: "bottleneck": planes beside the deepest map, of which the instance norm behind the convolution leaves
            only what differs between the kernel's taps; "all" (method-spec 3a recommends to tell every step): the code
            scales and shifts every channel that a step reads, skips included. Planes at every step were tried first:
            behind the norms they are as good as gone, and after 600 steps on digital brains every target was still a
            copy of the source (13.7 dB; copying gives 13.2).
        output: "tanh" (published: images in [-1, 1]) or "linear" (z-scored images).
        width, levels, norm_deepest: as of :class:`UNet128Encoder`.
    """

    def __init__(
        self,
        out_channels: int = 1,
        code_dim: int = 0,
        code_at: str = "all",
        output: str = "tanh",
        width: float = 1.0,
        levels: int = 7,
        norm_deepest: bool = False,
    ) -> None:
        super().__init__()
        down = level_channels(width, levels)
        out = [out_channels, *down[:-1]][::-1]
        sources = [down[-1], *(2 * c for c in out[:-1])]
        scaling = code_dim and code_at == "all"
        self.scales = nn.ModuleList(nn.Linear(code_dim, 2 * c) for c in sources) if scaling else None
        self.planes = code_dim > 0 and not scaling
        planes = [code_dim if self.planes and n == 0 else 0 for n in range(levels)]
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(i + z, o, 4, 2, 1) for i, z, o in zip(sources, planes, out, strict=True)
        )
        first = 0 if norm_deepest else 1
        self.norms = nn.ModuleList(
            InstanceNorm(c) if first <= n < levels - 1 else nn.Identity() for n, c in enumerate(out)
        )
        self.output = output_activation(output)

    def forward(self, maps: Sequence[Tensor], code: Tensor | None = None) -> Tensor:
        """Image (B, S, H, W) of the encoder's maps and a code (B, Z)."""
        *skips, x = maps
        for n, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if self.scales is not None:
                scale, shift = self.scales[n](code)[:, :, None, None].chunk(2, dim=1)
                x = torch.addcmul(shift, x, 1 + scale)
            x = F.relu(x)
            x = norm(conv(append_code(x, code) if self.planes and n == 0 else x))
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
        return self.output(x)


class UNet128(nn.Module):
    """Image to image, with or without a code; 41.82 million parameters as published (3 code planes at the input).

    Args:
        in_channels, out_channels: adjacent slices of the images.
        code_dim: length Z of the code, 0 = none.
        code_at: one of :data:`CODE_PLACES`.
        context: the histogram of the image scales and shifts all maps that reach the decoder
            (:class:`.histogram.HistogramContext`; not published). For z-scored images.
        output, width, levels, norm_deepest: as of encoder and decoder.

    Raises:
        InputError: an unknown ``code_at``, or fewer than three levels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        code_dim: int = 0,
        code_at: str = "input",
        output: str = "tanh",
        width: float = 1.0,
        levels: int = 7,
        norm_deepest: bool = False,
        context: bool = False,
    ) -> None:
        super().__init__()
        if code_at not in CODE_PLACES:
            raise InputError(f'Unknown place of the code "{code_at}"; use one of: {", ".join(CODE_PLACES)}.')
        at_input = code_dim > 0 and code_at == "input"
        self.at_input = at_input
        shape = {"width": width, "levels": levels, "norm_deepest": norm_deepest}
        self.encoder = UNet128Encoder(in_channels + (code_dim if at_input else 0), **shape)
        self.decoder = UNet128Decoder(out_channels, 0 if at_input else code_dim, code_at, output, **shape)
        self.context = HistogramContext(self.encoder.channels) if context else None
        self.size_multiple = 2**levels
        initialise_normal_all(self)

    @property
    def packed_channels(self) -> int:
        """Channels of :meth:`pack`."""
        return sum(self._packed(n, c)[0] for n, c in enumerate(self.encoder.channels))

    def encode(self, image: Tensor) -> list[Tensor]:
        """All maps that reach the decoder, finest first; images (B, C, H, W), H and W multiples of 2 ** levels."""
        maps = self.encoder(image)
        return maps if self.context is None else self.context(maps, image)

    def decode(self, maps: Sequence[Tensor], code: Tensor | None = None) -> Tensor:
        """Image (B, S, H, W) of the maps."""
        return self.decoder(maps, code)

    def forward(self, image: Tensor, code: Tensor | None = None) -> Tensor:
        """Image (B, S, H, W) of an image and a code (B, Z)."""
        if self.at_input:
            return self.decoder(self.encode(append_code(image, code)))
        return self.decoder(self.encode(image), code)

    def pack(self, maps: Sequence[Tensor]) -> Tensor:
        """All maps as one (B, :attr:`packed_channels`, H/8, W/8): finer ones by space-to-depth, coarser ones repeated.

        Nothing is lost, and means of packed maps are packed means: an anatomy factor of several levels behaves as
        one tensor.
        """
        parts = []
        for n, x in enumerate(maps):
            _, factor = self._packed(n, 0)
            fine = n < _PACKED_LEVEL
            parts.append(
                F.pixel_unshuffle(x, factor) if fine else F.interpolate(x, scale_factor=factor, mode="nearest")
            )
        return torch.cat(parts, dim=1)

    def unpack(self, packed: Tensor) -> list[Tensor]:
        """The maps of a :meth:`pack`."""
        shapes = [self._packed(n, c) for n, c in enumerate(self.encoder.channels)]
        parts = packed.split([channels for channels, _ in shapes], dim=1)
        return [
            F.pixel_shuffle(x, factor) if n < _PACKED_LEVEL else x[..., ::factor, ::factor]
            for n, (x, (_, factor)) in enumerate(zip(parts, shapes, strict=True))
        ]

    @staticmethod
    def _packed(level: int, channels: int) -> tuple[int, int]:
        """Channels that a map takes in a pack, and the factor between its size and the pack's."""
        factor = 2 ** abs(_PACKED_LEVEL - 1 - level)
        return (channels * factor**2 if level < _PACKED_LEVEL else channels), factor


def level_channels(width: float, levels: int) -> list[int]:
    """Channels of the maps of 1/2, 1/4 ...

    Raises:
        InputError: fewer than three levels.
    """
    if levels < _PACKED_LEVEL:
        raise InputError(f"A U-Net128 needs at least {_PACKED_LEVEL} levels, not {levels}; raise system.levels.")
    return [scaled(min(64 * 2**n, 512), width) for n in range(levels)]


def initialise_normal_all(network: nn.Module) -> None:
    """N(0, 0.02) weights and zero biases, transposed convolutions included."""
    initialise_normal(network)
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            nn.init.zeros_(module.bias)
