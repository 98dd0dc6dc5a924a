"""Weights of candidate partners by how well their anatomies agree with the anchor's (method-spec 2a; 2g, g5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PairWeighting(nn.Module):
    """A shared perceptron scores every candidate, a softmax over the candidates makes weights.

    Permuting the candidates permutes the weights, and any number of them will do; the published network, fully
    connected over three candidates in a fixed order, could learn "the first" without looking.

    Args:
        hidden: units of the hidden layer, 5 as published.
    """

    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, overlap: Tensor) -> Tensor:
        """Weights (B, k), summing to 1, of the Dice (B, k) between anchor and deformed candidates."""
        return torch.softmax(self.score(overlap[..., None])[..., 0], dim=-1)
