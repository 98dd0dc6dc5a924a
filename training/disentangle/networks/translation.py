"""Image translation without skip connections (method-spec 3a, backbone B of UCD): residual encoder, coded decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .conditioning import append_code
from .resnet import AdaINDecoder, ResBlock, ResNetContentEncoder, ResNetUpsampler, initialise_kaiming, reflect_conv


class CodedResNetDecoder(nn.Module):
    """Content map and code -> convolution 3, ReLU -> residual blocks -> nearest x2 and convolution 5, twice -> image.

    The convolution that reads the code has no instance norm, unlike the table of method-spec 3a: behind it, a norm
    without affine part takes a constant plane's contribution away to the last bit, and the target with it.

    Args:
        in_channels: channels of the content map.
        code_dim: length Z of the code.
        out_channels: adjacent slices S per image.
        width, downsamplings, blocks: as of the encoder.
        output: "tanh" (published: images in [-1, 1]) or "linear" (z-scored images).
    """

    def __init__(
        self,
        in_channels: int,
        code_dim: int,
        out_channels: int = 1,
        width: float = 1.0,
        downsamplings: int = 2,
        blocks: int = 4,
        output: str = "tanh",
    ) -> None:
        super().__init__()
        self.first = reflect_conv(in_channels + code_dim, in_channels, 3)
        self.blocks = nn.Sequential(*(ResBlock(in_channels) for _ in range(blocks)))
        self.up = ResNetUpsampler(out_channels, width, downsamplings, output)
        initialise_kaiming(self)

    def forward(self, content: Tensor, code: Tensor) -> Tensor:
        """Image (B, S, H, W) of a content map (B, C, H/4, W/4) and a code (B, Z)."""
        return self.up(self.blocks(F.relu(self.first(append_code(content, code)))))


class ResNetTranslator(nn.Module):
    """MUNIT's content encoder and a decoder that takes a code; the counterpart of ``UNet128`` without skips.

    Args:
        channels: adjacent slices S per image.
        code_dim: length Z of the code.
        code_at: "bottleneck": :class:`CodedResNetDecoder`; "all": the code scales and shifts every normalisation
            (MUNIT's :class:`AdaINDecoder` with the code for a style). On three contrasts of 32 x 32 random blocks,
            120 updates of a net of width 1/8 left a mean error of 0.50 that way; at the bottleneck it was 1.0, every
            target came out alike, with or without norms in the residual blocks.
        width, downsamplings, blocks, output: as of encoder and decoder.
    """

    def __init__(
        self,
        channels: int,
        code_dim: int,
        code_at: str = "all",
        width: float = 1.0,
        downsamplings: int = 2,
        blocks: int = 4,
        output: str = "tanh",
    ) -> None:
        super().__init__()
        self.encoder = ResNetContentEncoder(channels, width, downsamplings, blocks)
        self.packed_channels = self.encoder.out_channels
        shape = (width, downsamplings, blocks, output)
        if code_at == "all":
            self.decoder: nn.Module = AdaINDecoder(channels, code_dim, *shape)
        else:
            self.decoder = CodedResNetDecoder(self.packed_channels, code_dim, channels, *shape)
        self.size_multiple = 2**downsamplings

    def encode(self, image: Tensor) -> list[Tensor]:
        """The one map (B, C, H/4, W/4) that reaches the decoder; images (B, S, H, W)."""
        return [self.encoder(image)]

    def decode(self, maps: Sequence[Tensor], code: Tensor) -> Tensor:
        """Image (B, S, H, W) of the map in a code (B, Z)."""
        return self.decoder(maps[0], code)

    def pack(self, maps: Sequence[Tensor]) -> Tensor:
        """The one map."""
        return maps[0]

    def unpack(self, packed: Tensor) -> list[Tensor]:
        """The one map, in a list."""
        return [packed]
