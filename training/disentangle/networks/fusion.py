"""Fusion of the anatomies of whatever sequences are present."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError

FUSIONS = ("max_mean_min", "max", "attention")
"""Maximum, mean and minimum side by side (Ouyang et al.); the maximum (Chartsias et al.); learned weights."""


def _stack(anatomies: Sequence[Tensor] | Tensor, available: Sequence[Tensor] | None) -> tuple[Tensor, Tensor]:
    """(n, B, C, H, W) and its availability (n, B, 1, 1, 1)."""
    stacked = anatomies if isinstance(anatomies, Tensor) else torch.stack(list(anatomies))
    if available is None:
        present = torch.ones(stacked.shape[:2], dtype=torch.bool, device=stacked.device)
    else:
        present = torch.stack(list(available)).bool()
    return stacked, present[:, :, None, None, None]


def max_mean_min(anatomies: Sequence[Tensor] | Tensor, available: Sequence[Tensor] | None = None) -> Tensor:
    """Channel-wise concatenation of maximum, mean and minimum over the sequences (Ouyang et al., section 3.2).

    Args:
        anatomies: one (B, C, H, W) per sequence, in any order, or all of them as (n, B, C, H, W).
        available: one (B,) bool per sequence; absent samples take no part. None = all present.

    Returns:
        (B, 3C, H, W); zeros for a sample without any sequence.
    """
    stacked, present = _stack(anatomies, available)
    if available is None:
        return torch.cat([stacked.amax(0), stacked.mean(0), stacked.amin(0)], dim=1)
    some = present.any(0)
    count = present.sum(0).clamp_min(1)
    highest = stacked.masked_fill(~present, -torch.inf).amax(0)
    lowest = stacked.masked_fill(~present, torch.inf).amin(0)
    mean = (stacked * present).sum(0) / count
    zero = torch.zeros_like(mean)
    return torch.cat([torch.where(some, highest, zero), mean, torch.where(some, lowest, zero)], dim=1)


def maximum(anatomies: Sequence[Tensor] | Tensor, available: Sequence[Tensor] | None = None) -> Tensor:
    """Channel-wise maximum over the sequences, the union of what they show (Chartsias et al., section III-B).

    Arguments as of :func:`max_mean_min`.

    Returns:
        (B, C, H, W); zeros for a sample without any sequence.
    """
    stacked, present = _stack(anatomies, available)
    highest = stacked.masked_fill(~present, -torch.inf).amax(0)
    return torch.where(present.any(0), highest, torch.zeros_like(highest))


def consensus(
    anatomies: Sequence[Tensor], available: Sequence[Tensor] | None = None, mask: Tensor | None = None
) -> Tensor:
    """Mean anatomy (B, C, H, W) of the sequences present, its channels summing to 1 inside the mask, 0 outside."""
    stacked, present = _stack(anatomies, available)
    total = (stacked * present).sum(0)
    mean = total / total.sum(1, keepdim=True).clamp_min(1e-6)
    return mean if mask is None else mean * mask


class AttentionFusion(nn.Module):
    """Mean over the sequences, weighted voxel by voxel by how much each anatomy tells there: a small network scores
    every anatomy by itself, and the softmax over the sequences present gives the weights.

    Args:
        channels: C of an anatomy.
        hidden: channels of the scoring network.
    """

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        layers = nn.Conv2d(channels, hidden, 3, padding=1), nn.LeakyReLU(0.01), nn.Conv2d(hidden, 1, 1)
        self.score = nn.Sequential(*layers)

    def forward(self, anatomies: Sequence[Tensor] | Tensor, available: Sequence[Tensor] | None = None) -> Tensor:
        """(B, C, H, W) of arguments as of :func:`max_mean_min`; zeros for a sample without any sequence."""
        stacked, present = _stack(anatomies, available)
        scores = self.score(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
        # A sample without any sequence has no softmax; its anatomies are all zero, whatever weights they get.
        weights = scores.masked_fill(~present & present.any(0), -torch.inf).softmax(dim=0)
        return (stacked * present * weights).sum(0)


class Fusion(nn.Module):
    """One way of :data:`FUSIONS` to fuse anatomies of C channels; ``channels`` are those of the result.

    Raises:
        InputError: another name.
    """

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        if kind not in FUSIONS:
            raise InputError(f'Unknown fusion "{kind}"; use one of: {", ".join(FUSIONS)}.')
        if kind == "attention":
            self.way, self.channels = AttentionFusion(channels), channels
        elif kind == "max":
            self.way, self.channels = maximum, channels
        else:
            self.way, self.channels = max_mean_min, 3 * channels

    def forward(self, anatomies: Sequence[Tensor] | Tensor, available: Sequence[Tensor] | None = None) -> Tensor:
        """(B, F, H, W) of arguments as of :func:`max_mean_min`."""
        return self.way(anatomies, available)
