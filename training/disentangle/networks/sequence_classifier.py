"""Which sequence an anatomy was made of: the discriminator of Conv+Adv."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import normalization, scaled
from .devices import pool_to
from .judge import Judge


class SequenceClassifier(Judge, nn.Module):
    """Discriminator of Conv+Adv on anatomies (method-spec 1a), with one logit per sequence (1e).

    Five 4x4 convolutions of stride 2 (LeakyReLU 0.2, normalised but for the first), average pooling to 5x6 (the
    published size at 160x192, so that any size works), FC 256, FC ``classes``.

    Args:
        in_channels: anatomy channels C.
        classes: number m of sequences.
        width: multiplier of the channel counts.
        norm: "batch" (published) or "instance".
    """

    widths = (16, 32, 64, 128, 64)
    pooled = (5, 6)
    hidden_width = 256

    def __init__(self, in_channels: int = 4, classes: int = 2, width: float = 1.0, norm: str = "batch") -> None:
        super().__init__()
        channels = [in_channels, *(scaled(c, width) for c in self.widths)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in itertools.pairwise(channels))
        self.norms = nn.ModuleList(normalization(norm if n else "none", c) for n, c in enumerate(channels[1:]))
        hidden = scaled(self.hidden_width, width)
        self.hidden = nn.Linear(channels[-1] * self.pooled[0] * self.pooled[1], hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, anatomy: Tensor) -> Tensor:
        """Logits (B, m) of anatomies (B, C, H, W); H and W at least 32."""
        x = anatomy
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        x = pool_to(x, self.pooled).flatten(1)
        return self.out(F.leaky_relu(self.hidden(x), 0.2))
