"""How much arithmetic a job is, as PyTorch counts convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from disentangle.systems.base import System


def flops_of(job: Callable[[], Any]) -> int:
    """Floating-point operations of one call, a multiplication and an addition being two."""
    counter = FlopCounterMode(display=False)
    with counter:
        job()
    return counter.get_total_flops()


def gflop_per_slice(system: System, height: int, width: int) -> float:
    """GFLOP of encoding every sequence of a slice, fusing and segmenting; the system is on the CPU."""
    abilities = system.capabilities
    images = {s: torch.zeros(1, abilities.slices, height, width) for s in abilities.sequences}
    with torch.no_grad():
        mask = torch.ones(1, 1, height, width)
        return flops_of(lambda: system.segment(system.fuse(system.anatomies(images, mask)))) / 1e9
