"""Slices of any size in the frame that a network reads, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn.functional import pad


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
        # As torch pads: left, right, top, bottom; below 0 it cuts.
        self._pads = tuple(v for n in (1, 0) for v in (-starts[n], ends[n] - self.shape[n]))
        self.size = tuple(lengths)

    def into(self, slices: Tensor, value: float) -> Tensor:
        """Slices (..., J, I) as (..., H, W), padded with a value."""
        return pad(slices, self._pads, value=value) if any(self._pads) else slices

    def back(self, slices: Tensor, value: float) -> Tensor:
        """Slices (..., H, W) as (..., J, I); what lay outside the frame has the value."""
        pads = tuple(-p for p in self._pads)
        return pad(slices, pads, value=value) if any(pads) else slices

    def lost(self, mask: np.ndarray) -> float:
        """The fraction of a mask (K, J, I) that lies outside the frame."""
        left, right, top, bottom = (max(-p, 0) for p in self._pads)
        seen = mask[:, top : self.shape[0] - bottom, left : self.shape[1] - right]
        return 1.0 - float(seen.sum()) / max(float(mask.sum()), 1.0)
