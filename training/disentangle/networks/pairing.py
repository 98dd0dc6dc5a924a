"""Weights of candidate partners by how well their anatomies agree with the anchor's (method-spec 2a; 2g, g5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PairWeighting(nn.Module):
    """A shared perceptron scores every candidate, a softmax over the candidates makes weights.

    Permuting the candidates permutes the weights, and any number of them will do; the published network, fully
    connected over three candidates in a fixed order, could learn "the first" without looking.

    It starts with a score that rises with the overlap, the more the better the overlap is. Anatomies that were moved
    onto the anchor's differ by a few hundredths of Dice only: from random weights all candidates still weighed a third
    each after 500 steps.

    Args:
        hidden: units of the hidden layer, 5 as published.
        sharpness: slope of the score at an overlap of 1 when training starts.
    """

    def __init__(self, hidden: int = 5, sharpness: float = 20.0) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        first, last = self.score[0], self.score[2]
        with torch.no_grad():
            # Hinges at 0, 1 / hidden, 2 / hidden, ...: each adds its share of the slope to the overlaps above it.
            first.weight.fill_(1.0)
            first.bias.copy_(-torch.arange(hidden) / hidden)
            last.weight.fill_(sharpness / hidden)
            last.bias.zero_()

    def forward(self, overlap: Tensor) -> Tensor:
        """Weights (B, k), summing to 1, of the Dice (B, k) between anchor and deformed candidates."""
        return torch.softmax(self.score(overlap[..., None])[..., 0], dim=-1)
