"""What a training step works on: which sequence of a sample is translated into which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .base import Batch


@dataclass
class Translation:
    """Sources and targets drawn from a batch.

    Attributes:
        source, target: (B,) indices into the system's sequences.
        x, y: (B, S, H, W) images of them, y the truth of the translation.
        mask: (B, 1, H, W).
        fake: (B, S, H, W), the translation; None until it is made.
        labels: (B, H, W), where a loss needs them.
    """

    source: Tensor
    target: Tensor
    x: Tensor
    y: Tensor
    mask: Tensor
    fake: Tensor | None = None
    labels: Tensor | None = None


def draw_translations(batch: Batch, sequences: Sequence[str], count: int = 1, own: bool = True) -> Translation:
    """Sources as often of one sequence as of another, targets uniform over what the sample has (method-spec 3b).

    Args:
        batch: at least one sequence per sample.
        sequences: the system's, in order.
        count: source slices per sample.
        own: the target may be the source itself (self-reconstruction).

    Returns:
        ``count * B`` translations; with ``own`` off, a sample with one sequence is still translated into itself.
    """
    images, available = stacked(batch, sequences)
    number, samples = available.shape
    device = available.device
    sources, targets = [], []
    place = torch.randperm(samples, device=device)
    relabel = torch.randperm(number, device=device)
    for n in range(count):
        balanced = relabel[(place + n) % number]
        source = torch.where(available.gather(0, balanced[None])[0], balanced, _any_of(available))
        others = available & (torch.arange(number, device=device)[:, None] != source)
        allowed = available if own else torch.where(others.any(0), others, available)
        sources.append(source)
        targets.append(_any_of(allowed))
    source, target = torch.cat(sources), torch.cat(targets)
    rows = torch.arange(samples, device=device).repeat(count)
    return Translation(source, target, images[source, rows], images[target, rows], batch.mask[rows])


def random_subset(available: Tensor) -> Tensor:
    """Per sample, a random non-empty subset of the sequences available (n, B): each kept with probability 1/2."""
    chance = torch.rand(available.shape, device=available.device).masked_fill(~available, 2.0)
    lowest = chance == chance.amin(0, keepdim=True)
    return ((chance < 0.5) | lowest) & available


def random_one(available: Tensor) -> Tensor:
    """Per sample, one of the sequences available (n, B), as a mask like that of :func:`random_subset`."""
    numbers = torch.arange(len(available), device=available.device)[:, None]
    return (numbers == _any_of(available)) & available


def stacked(batch: Batch, sequences: Sequence[str]) -> tuple[Tensor, Tensor]:
    """All images (n, B, S, H, W) of a batch and their availability (n, B); what is absent is 0.

    Raises:
        InputError: a sample has none of the sequences.
    """
    present = [s for s in sequences if s in batch.images]
    if not present:
        raise InputError("A training batch holds none of the sequences of this system.")
    like = batch.images[present[0]]
    images = torch.stack([batch.images[s] if s in present else torch.zeros_like(like) for s in sequences])
    nowhere = torch.zeros_like(batch.available[present[0]])
    available = torch.stack([batch.available[s] if s in present else nowhere for s in sequences])
    if not bool(available.any(0).all()):
        raise InputError("A sample of a training batch has none of the sequences of this system.")
    return images, available


def _any_of(allowed: Tensor) -> Tensor:
    """Per sample, the index of one of the allowed entries (n, B), all equally likely."""
    return torch.rand(allowed.shape, device=allowed.device).masked_fill(~allowed, -1.0).argmax(0)
