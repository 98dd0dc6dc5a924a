"""FiLM decoder: the anatomy gives the structure, the style scales and shifts its features (method-spec 2a)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import output_activation

_SLOPE = 0.3


class FiLMBlock(nn.Module):
    """``a + LReLU(gamma * b + beta)``, where a and b are two convolutions in a row and gamma, beta come from z by one
    fully connected layer, or by two with ``hidden`` units between them."""

    def __init__(self, channels: int, style_dim: int, hidden: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = _predictor(style_dim, channels, hidden)
        self.shift = _predictor(style_dim, channels, hidden)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        a = F.leaky_relu(self.first(x), _SLOPE)
        scale, shift = (F.leaky_relu(fc(style), _SLOPE)[:, :, None, None] for fc in (self.scale, self.shift))
        return a + F.leaky_relu(scale * self.second(a) + shift, _SLOPE)


class FiLMDecoder(nn.Module):
    """Anatomy (B, C, H, W) and style (B, Z) to an image (B, S, H, W), any H and W (Chartsias et al., Fig. 3e).

    Args:
        anatomy_channels: C, also the width of all features.
        style_dim: Z.
        out_channels: S.
        output: "tanh" (published, images in [-1, 1]) or "linear" (for z-scored images).
        hidden: units of a further layer between z and gamma, beta (SDNet); 0 = none (DAFNet).
    """

    blocks_count = 4

    def __init__(
        self,
        anatomy_channels: int = 8,
        style_dim: int = 8,
        out_channels: int = 1,
        output: str = "tanh",
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.finish = output_activation(output)
        self.first = nn.Conv2d(anatomy_channels, anatomy_channels, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(anatomy_channels, style_dim, hidden) for _ in range(self.blocks_count))
        self.last = nn.Conv2d(anatomy_channels, out_channels, 1)
        nn.init.xavier_normal_(self.last.weight)

    def forward(self, anatomy: Tensor, style: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(anatomy), _SLOPE)
        for block in self.blocks:
            x = block(x, style)
        return self.finish(self.last(x))


def _predictor(style_dim: int, channels: int, hidden: int) -> nn.Module:
    if not hidden:
        return nn.Linear(style_dim, channels)
    return nn.Sequential(nn.Linear(style_dim, hidden), nn.LeakyReLU(_SLOPE), nn.Linear(hidden, channels))
