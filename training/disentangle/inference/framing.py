"""Slices of any size in the frame that a network reads, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Frame:
    """Where the slices of a volume lie in the frame of a network.

    Args:
        mask: (K, J, I) bool; the middle of its bounding box comes to pixel (H // 2, W // 2) of a frame of fixed size.
        multiple: H and W are the next multiples of this, the slice in their middle, where there is no
        size: (H, W) that the network was made for. Larger slices lose their border, smaller ones are padded.
    """

    def __init__(self, mask: np.ndarray, multiple: int, size: Sequence[int] | None = None) -> None:
        self.shape = mask.shape[1:]
        starts, lengths = [], []
        for n, axes in enumerate(((0, 2), (0, 1))):
            length = size[n] if size else self.shape[n] + -self.shape[n] % multiple
            centre = self.shape[n] // 2
            if size and mask.any():
                inside = np.flatnonzero(mask.any(axis=axes))
                centre = int(inside[0] + inside[-1] + 1) // 2
            starts.append(centre - length // 2 if size else -((length - self.shape[n]) // 2))
            lengths.append(length)
        ends = [a + n for a, n in zip(starts, lengths, strict=True)]
        # Before and after, of rows and of columns; below 0 it cuts.
        self._pads = tuple((-starts[n], ends[n] - self.shape[n]) for n in (0, 1))
        self.size = tuple(lengths)

    def into(self, slices: np.ndarray, value: float) -> np.ndarray:
        """Slices (..., J, I) as (..., H, W), padded with a value."""
        return _padded(slices, self._pads, value)

    def back(self, slices: np.ndarray, value: float) -> np.ndarray:
        """Slices (..., H, W) as (..., J, I); what lay outside the frame has the value."""
        return _padded(slices, tuple((-before, -after) for before, after in self._pads), value)

    def lost(self, mask: np.ndarray) -> float:
        """The fraction of a mask (K, J, I) that lies outside the frame."""
        (top, bottom), (left, right) = ((max(-before, 0), max(-after, 0)) for before, after in self._pads)
        seen = mask[:, top : self.shape[0] - bottom, left : self.shape[1] - right]
        return 1.0 - float(seen.sum()) / max(float(mask.sum()), 1.0)


def _padded(slices: np.ndarray, pads: Sequence[tuple[int, int]], value: float) -> np.ndarray:
    """Rows and columns added with a value, or cut off where the number is below 0."""
    cuts = [slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, slices.shape[-2:], strict=True)]
    slices = slices[(..., *cuts)]
    widths = [(0, 0)] * (slices.ndim - 2) + [(max(a, 0), max(b, 0)) for a, b in pads]
    return np.pad(slices, widths, constant_values=value) if any(map(any, widths)) else slices
