"""Batches of unregistered slices for the tests of DAFNet and MMSDNet, and what a training step moves."""

from __future__ import annotations

import random

import torch

from disentangle.losses import UNLABELLED
from disentangle.systems.base import Batch, System, TrainingStep

SIZE = 48
CLASSES = ("background", "wall", "pool")


def pair_batch(
    samples: int = 2,
    sequences: tuple[str, ...] = ("cine", "LGE"),
    unannotated: dict[str, list[int]] | None = None,
    missing: dict[str, list[int]] | None = None,
    candidates: int = 0,
) -> Batch:
    """A ring in another place and contrast per sequence, with its labels; some of them, and some images, may miss."""
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images, labels, available = {}, {}, {}
    for n, sequence in enumerate(sequences):
        centre = 22 + 2 * n + torch.randint(0, 4, (samples, 1, 1), generator=generator)
        distance = ((rows - centre) ** 2 + (columns - centre) ** 2).sqrt()
        labels[sequence] = (distance < 14).long() + (distance < 8).long()
        grey = torch.tensor([-0.8, 0.6, 0.0]) if n == 0 else torch.tensor([-0.5, -0.9 + 0.3 * n, 0.8])
        noise = 0.02 * torch.randn(samples, 1, SIZE, SIZE, generator=generator)
        images[sequence] = grey[labels[sequence]][:, None] + noise
        available[sequence] = torch.ones(samples, dtype=torch.bool)
    for sequence, absent in (missing or {}).items():
        images[sequence][absent], labels[sequence][absent], available[sequence][absent] = 0.0, UNLABELLED, False
    for sequence, without in (unannotated or {}).items():
        labels[sequence][without] = UNLABELLED
    choices = None
    if candidates:
        choices = {s: torch.stack([x.roll(3 * n, 2) for n in range(candidates)], dim=1) for s, x in images.items()}
    mask = torch.ones(samples, 1, SIZE, SIZE)
    return Batch(images, available, mask, None, torch.arange(samples), labels, choices)


def terms_of(step: TrainingStep, batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    """Loss terms, random numbers seeded as the training loop does."""
    torch.manual_seed(seed)
    random.seed(seed)
    return step.loss(batch)


def moved(system: System, step: TrainingStep, batch: Batch, *terms: str, depth: int = 1) -> set[str]:
    """Names of the networks that the terms (all of them where none is named) give a gradient, others frozen as the
    training loop does."""
    theirs = {id(p) for p in step.parameters}
    for parameter in system.parameters():
        parameter.grad = None
        parameter.requires_grad_(id(parameter) in theirs)
    found = terms_of(step, batch)
    torch.stack([found[t] for t in terms or found]).sum().backward()
    touched = {n for n, p in system.named_parameters() if p.grad is not None and bool(p.grad.any())}
    system.requires_grad_(True)
    return {".".join(name.split(".")[:depth]) for name in touched}
