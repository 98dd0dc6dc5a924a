"""Content (anatomy) encoders: image -> spatial map of soft categories."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import normalization, scaled
from .categorical import categorical
from .condconv import CondConv2d


class StridedUNetEncoder(nn.Module):
    """Anatomy encoder E_A of Ouyang et al. (method-spec 1a): five stride-2 stages down, five bilinear stages up.

    Every convolution is conditional on the sequence. The output is a softmax over ``out_channels`` inside the mask
    and 0 outside: the explicit background of method-spec 1g, g4.

    Args:
        in_channels: adjacent slices per image.
        out_channels: anatomy channels C.
        conditions: number of sequences.
        experts: kernels per convolution, 0 = ordinary convolutions.
        width: multiplier of all channel counts, 1.0 = published.
        norm: "instance" (default: batches are small and every call holds one sequence only, so that batch
            statistics would mix sequences in their running mean) or "batch" (published).
        hard: one-hot output with straight-through gradient (1g, g5); soft as published otherwise.
    """

    down_widths = (32, 64, 128, 256, 256)
    up_widths = (256, 128, 64, 32)

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 4,
        conditions: int = 1,
        experts: int = 3,
        width: float = 1.0,
        norm: str = "instance",
        hard: bool = False,
    ) -> None:
        super().__init__()
        self.hard = hard
        down = [scaled(c, width) for c in self.down_widths]
        up = [scaled(c, width) for c in self.up_widths]
        mix = {"conditions": conditions, "experts": experts}

        sources = [in_channels, *down[:-1]]
        self.down = nn.ModuleList(CondConv2d(i, o, 4, 2, 1, **mix) for i, o in zip(sources, down, strict=True))
        self.down_norms = nn.ModuleList(normalization(norm if n else "none", c) for n, c in enumerate(down))
        skips = down[-2::-1]
        sources = [down[-1], *(u + s for u, s in zip(up[:-1], skips[:-1], strict=True))]
        self.up = nn.ModuleList(CondConv2d(i, o, 3, 1, 1, **mix) for i, o in zip(sources, up, strict=True))
        self.up_norms = nn.ModuleList(normalization(norm, c) for c in up)
        self.out = CondConv2d(up[-1] + skips[-1], out_channels, 3, 1, 1, **mix)

    def logits(self, x: Tensor, condition: int = 0) -> Tensor:
        """Channel logits (B, C, H, W) of images (B, S, H, W) of one sequence; H and W multiples of 32."""
        skips = []
        for n, (conv, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            x = norm(conv(x, condition))
            if n < len(self.down) - 1:  # the deepest map starts the way up, where a ReLU comes first
                x = F.leaky_relu(x, 0.2)
                skips.append(x)
        for conv, norm in zip(self.up, self.up_norms, strict=True):
            x = torch.cat([norm(conv(_double(F.relu(x)), condition)), skips.pop()], dim=1)
        return self.out(_double(F.relu(x)), condition)

    def forward(self, x: Tensor, condition: int = 0, mask: Tensor | None = None) -> Tensor:
        """Anatomy (B, C, H, W): sums to 1 over the channels where ``mask`` (B, 1, H, W) is 1, and is 0 elsewhere."""
        anatomy = categorical(self.logits(x, condition), "argmax" if self.hard else "softmax")
        return anatomy if mask is None else anatomy * mask


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
