"""Adapting a segmentation head to a few corrected slices, in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..progress import Progress
from .engine import STAGE

_STEPS, _LEARNING_RATE, _SECONDS = 60, 1e-3, 25.0


def train_head(
    head: nn.Module, answer: Callable[[], Tensor], target: Tensor, weight: Tensor, marked: Tensor, progress: Progress
) -> dict[str, Any]:
    """Minimise the weighted cross-entropy of a head's answers; at most 60 steps of Adam, or 25 seconds.

    Args:
        head: its parameters are changed, and frozen again afterwards.
        answer: logits (B, L, H, W) of the slices to learn from, as the head now gives them.
        target: (B, H, W) int64 class values.
        weight: (B, H, W).
        marked: (M, H, W) bool: the corrected pixels of the first M slices, at which the agreement is measured.

    Returns:
        ``loss`` and ``agreement`` (before, after), ``steps``.

    Raises:
        Cancelled: asked to stop; the head is then half adapted.
    """

    def loss() -> Tensor:
        return (F.cross_entropy(answer(), target, reduction="none") * weight).sum() / weight.sum()

    @torch.no_grad()
    def agreement() -> float:
        found = answer().argmax(1)[: len(marked)]
        return round(float((found == target[: len(marked)])[marked].float().mean()), 4)

    for parameter in head.parameters():
        parameter.requires_grad_(True)
    try:
        optimizer = torch.optim.Adam(head.parameters(), lr=_LEARNING_RATE)
        first, before, end = None, agreement(), time.monotonic() + _SECONDS
        for step in range(_STEPS):
            progress(STAGE, step / _STEPS, f"learning from {len(marked)} corrected slices, step {step + 1}")
            value = loss()
            first = float(value.detach()) if first is None else first
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            if time.monotonic() > end:
                break
        with torch.no_grad():
            last = float(loss())
    finally:
        for parameter in head.parameters():
            parameter.requires_grad_(False)
    return {"loss": [round(first, 4), round(last, 4)], "agreement": [before, agreement()], "steps": step + 1}
