"""What the histogram of an image tells an encoder: which contrast it looks at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EDGES = tuple(-2.5 + 0.5 * n for n in range(13))
"""Borders of the bins, in standard deviations: z-scored images."""
SHARPNESS = 8.0
"""Of the borders, per standard deviation; soft borders pass gradients on to an image that was itself synthesised."""


class HistogramContext(nn.Module):
    """The histogram of the whole image scales and shifts every channel of an encoder's maps.

    The first maps of a U-Net are one or two convolutions deep and go almost straight to the output: they cannot tell
    by themselves whether they see a T1 or a T2 image, whose contrasts are opposite, and norms keep from the deeper maps
    what would tell them. Measured on digital brains, PSNR of all 12 translations after 500 updates of a U-Net of width
    1/8 that is not told the source: 15.7 dB without, 15.7 with the deepest map or the means of all maps in place of
    the histogram, 16.6 with it, and 16.6 for an encoder that is told the source.

    Args:
        channels: of the maps.
        hidden: units between histogram and channels.
    """

    def __init__(self, channels: Sequence[int], hidden: int = 64) -> None:
        super().__init__()
        self.channels = list(channels)
        self.register_buffer("edges", torch.tensor(EDGES), persistent=False)
        self.hidden = nn.Linear(len(EDGES) - 1, hidden)
        self.out = nn.Linear(hidden, 2 * sum(self.channels))

    def histogram(self, image: Tensor) -> Tensor:
        """Density (B, bins) per bin, 1 if all bins held the same; pixels that are exactly 0 are outside the mask."""
        values, inside = image.flatten(1), (image != 0).flatten(1)
        above = [(torch.sigmoid(SHARPNESS * (values - edge)) * inside).sum(1) for edge in self.edges]
        share = torch.stack(above, dim=1) / inside.sum(1, keepdim=True).clamp_min(1)
        return (share[:, :-1] - share[:, 1:]) * (len(EDGES) - 1)

    def forward(self, maps: Sequence[Tensor], image: Tensor) -> list[Tensor]:
        """The maps (B, C, h, w) in the context of the image (B, S, H, W) that they were made of."""
        values = self.out(F.relu(self.hidden(self.histogram(image))))[:, :, None, None]
        scales, shifts = (part.split(self.channels, dim=1) for part in values.chunk(2, dim=1))
        return [torch.addcmul(b, x, 1 + a) for x, a, b in zip(maps, scales, shifts, strict=True)]
