"""Style (modality) encoders: image -> appearance vector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import normalization, scaled
from .condconv import CondConv2d
from .devices import pool_to


class StyleEncoder(nn.Module):
    """Modality encoder E_M of Ouyang et al. (method-spec 1a).

    Five conditional convolutions of stride 2 with LeakyReLU(0.2), average pooling to 5x6 (the published size at
    160x192, so that any size works), FC 32, FC ``style_dim``.

    Args:
        in_channels: adjacent slices per image.
        style_dim: length Z of the vector.
        conditions, experts, width: as of :class:`~disentangle.networks.content.StridedUNetEncoder`.
        variational: also predict a log-variance.
    """

    widths = (16, 32, 64, 128, 128)
    pooled = (5, 6)

    def __init__(
        self,
        in_channels: int = 3,
        style_dim: int = 16,
        conditions: int = 1,
        experts: int = 3,
        width: float = 1.0,
        variational: bool = False,
    ) -> None:
        super().__init__()
        channels = [in_channels, *(scaled(c, width) for c in self.widths)]
        mix = {"conditions": conditions, "experts": experts}
        # A style must tell the sequence, an anatomy must hide it: so only here do the kernels begin apart.
        self.convs = nn.ModuleList(
            CondConv2d(i, o, 3, 2, 1, **mix).tell_apart() for i, o in itertools.pairwise(channels)
        )
        self.hidden = nn.Linear(channels[-1] * self.pooled[0] * self.pooled[1], 32)
        self.mean = nn.Linear(32, style_dim)
        self.log_variance = nn.Linear(32, style_dim) if variational else None

    def forward(self, x: Tensor, condition: int = 0) -> tuple[Tensor, Tensor | None]:
        """Mean (B, Z) and log-variance (B, Z; None unless variational) of images (B, S, H, W) of one sequence."""
        for conv in self.convs:
            x = F.leaky_relu(conv(x, condition), 0.2)
        x = pool_to(x, self.pooled).flatten(1)
        x = F.leaky_relu(self.hidden(x), 0.2)
        return self.mean(x), None if self.log_variance is None else self.log_variance(x)


class AnatomyStyleEncoder(nn.Module):
    """Modality encoder E_M of DAFNet (method-spec 2a): image and anatomy to a Gaussian over styles.

    Four 3x3 convolutions of stride 2 without padding (16, 32, 64, 128 channels, LeakyReLU 0.3), FC 32, and FC
    ``style_dim`` each for mean and log-variance. One for all sequences.

    Args:
        anatomy_channels: C.
        image_channels: S.
        style_dim: Z.
        width: multiplier of the channel counts.
        size: (H, W), at least 31, for which the first FC is made; maps of other sizes are pooled to that extent.
        widths: of the convolutions.
        norm: after each of them: "none" (DAFNet), "instance" or "batch" (SDNet).
    """

    def __init__(
        self,
        anatomy_channels: int = 8,
        image_channels: int = 1,
        style_dim: int = 8,
        width: float = 1.0,
        size: Sequence[int] = (192, 192),
        widths: Sequence[int] = (16, 32, 64, 128),
        norm: str = "none",
    ) -> None:
        super().__init__()
        channels = [anatomy_channels + image_channels, *(scaled(c, width) for c in widths)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2) for i, o in itertools.pairwise(channels))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, a=0.3, nonlinearity="leaky_relu")
        self.norms = nn.ModuleList(normalization(norm, c) for c in channels[1:])
        self.extent = tuple(size)
        for _ in self.convs:
            self.extent = tuple((n - 1) // 2 for n in self.extent)
        self.hidden = nn.Linear(channels[-1] * self.extent[0] * self.extent[1], 32)
        self.mean = nn.Linear(32, style_dim)
        self.log_variance = nn.Linear(32, style_dim)

    def forward(self, anatomy: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, Z) of images (B, S, H, W) with their anatomies (B, C, H, W)."""
        x = torch.cat([anatomy, image], dim=1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.3)
        x = F.leaky_relu(self.hidden(pool_to(x, self.extent).flatten(1)), 0.3)
        return self.mean(x), self.log_variance(x)


def sample_style(mean: Tensor, log_variance: Tensor | None) -> Tensor:
    """A draw from N(mean, exp(log_variance)), or the mean itself without a variance."""
    if log_variance is None:
        return mean
    return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
