"""Fusion of the anatomies of whatever sequences are present."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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


def maximum(anatomies: Sequence[Tensor], available: Sequence[Tensor] | None = None) -> Tensor:
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
