"""Small pieces shared by the networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InputError


class InstanceNorm(nn.Module):
    """Instance normalisation (B, C, H, W), as group normalisation with one channel per group.

    The same numbers as ``nn.InstanceNorm2d``, but it keeps the channels_last layout and accepts 1x1 maps (which
    become zero), so that every multiple of 32 is a valid image size. Traced for a compiler, it is spelled out: OpenVINO
    turns a group normalisation into one of flattened maps, and reorders every map before and after it (a quarter of the
    time of brain-mr's segmentation head). Means are of columns, then of rows: what it recognises as a normalisation of
    channels-last maps, it computes four times less exactly.
    """

    def __init__(self, channels: int, affine: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_tracing():
            return torch.group_norm(x, self.channels, self.weight, self.bias, self.eps)
        centred = x - _mean(x)
        normed = centred / torch.sqrt(_mean(centred.square()) + self.eps)
        if self.weight is None:
            return normed
        return normed * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def _mean(x: Tensor) -> Tensor:
    return x.mean(3, keepdim=True).mean(2, keepdim=True)


def normalization(kind: str, channels: int) -> nn.Module:
    """Affine normalisation layer: "instance", "batch" or "none".

    Raises:
        InputError: another kind.
    """
    if kind == "instance":
        return InstanceNorm(channels, affine=True)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "none":
        return nn.Identity()
    raise InputError(f'Unknown normalisation "{kind}"; use "instance", "batch" or "none".')


def scaled(channels: int, width: float) -> int:
    """A published channel count times the width multiplier, at least 4."""
    return max(4, round(channels * width))


def output_activation(kind: str) -> nn.Module:
    """What ends a decoder: "tanh" for images in [-1, 1], "linear" for z-scored ones.

    Raises:
        InputError: another kind.
    """
    if kind not in ("tanh", "linear"):
        raise InputError(f'Unknown decoder output "{kind}"; use "tanh" or "linear".')
    return nn.Tanh() if kind == "tanh" else nn.Identity()
