"""Batches of random registered images, for tests of systems and baselines."""

from __future__ import annotations

import torch

from disentangle.losses import HEALTHY, UNLABELLED
from disentangle.systems.base import Batch

SEQUENCES = ("T1", "T2", "FLAIR")


def make_batch(
    samples: int = 3,
    size: int = 64,
    missing: dict[str, list[int]] | None = None,
    sequences: tuple[str, ...] = SEQUENCES,
    slices: int = 3,
) -> Batch:
    """Random images with a frame of background; ``missing`` names the samples that lack a sequence."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(samples, 1, size, size)
    mask[..., size // 8 : -size // 8, size // 8 : -size // 8] = 1
    available = {s: torch.ones(samples, dtype=torch.bool) for s in sequences}
    for sequence, absent in (missing or {}).items():
        available[sequence][absent] = False
    images = {
        s: torch.randn(samples, slices, size, size, generator=generator) * mask * available[s].view(-1, 1, 1, 1)
        for s in sequences
    }
    labels = torch.randint(0, 3, (samples, size, size), generator=generator)
    labels[:, :16], labels[:, 16:24] = HEALTHY, UNLABELLED
    return Batch(images, available, mask, labels, torch.arange(samples))
