"""What not every device computes as the others do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Average pooling of maps (B, C, H, W) to (B, C, \\*size), whatever their extent.

    On Apple's GPUs PyTorch refuses extents of which neither divides the other (pytorch#96056), as 128 x 96 to 8 x 6 to
    the 5 x 6 of a style encoder; there the same means are taken by :func:`pool_by_matrices`.
    """
    return pool_by_matrices(x, size) if _must_divide(x.device) else F.adaptive_avg_pool2d(x, tuple(size))


def _must_divide(device: torch.device) -> bool:
    return device.type == "mps"


def pool_by_matrices(x: Tensor, size: Sequence[int]) -> Tensor:
    """:func:`torch.nn.functional.adaptive_avg_pool2d` as a product with a matrix for each axis."""
    rows, columns = (_means(extent, cells).to(x) for extent, cells in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.T


def _means(extent: int, cells: int) -> Tensor:
    """(cells, extent): each row averages the pixels of one cell."""
    matrix = torch.zeros(cells, extent)
    for cell in range(cells):
        first, end = cell * extent // cells, -(-(cell + 1) * extent // cells)
        matrix[cell, first:end] = 1.0 / (end - first)
    return matrix


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A region in which nothing is cast to half precision.

    Up to version 2.4 PyTorch knows no autocast on Apple's GPUs and refuses even to switch it off; there is nothing to
    switch off then.
    """
    try:
        return torch.autocast(device.type, enabled=False)
    except RuntimeError:
        return contextlib.nullcontext()
