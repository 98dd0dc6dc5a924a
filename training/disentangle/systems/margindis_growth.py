"""Weights of a MarginDis for a larger one that begins by computing the same (Net2Net; Chen et al., ICLR 2016)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..networks.condconv import CondConv2d
from ..networks.per_sequence import PerSequence

if TYPE_CHECKING:
    from .margindis import MarginDis

SPREAD = 0.5
"""How far the readers of the copies of a channel begin apart, in standard deviations of their weights. Equal readers
would give equal gradients, and the copies would remain copies."""


@torch.no_grad()
def grow(small: MarginDis, large: MarginDis) -> None:
    """Give ``large`` the weights of ``small``, whose anatomies, labels and images it then makes as well.

    Two ways to be larger, alone or together: encoders of their own for every sequence (``conditioning`` "separate",
    from "condconv"), each with the kernels that were mixed for it; and k times the anatomy channels, each the k-th
    part of the channel that it continues. What reads them weighs them differently, by amounts that cancel out while
    they are equal.

    Raises:
        RuntimeError: they differ in something else, or one-hot anatomies, which cannot be shared out, are to have more
            channels.
    """
    factor = max(large.capabilities.anatomy_channels // small.capabilities.anatomy_channels, 1)
    if factor > 1 and large.config["hard"]:
        raise RuntimeError("one-hot anatomies cannot be shared out among more channels")
    weights = _unmixed(small, large)
    if factor > 1:
        own = large.state_dict()
        resized = [name for name, value in weights.items() if name in own and own[name].shape != value.shape]
        weights |= {name: _shared_out(name, weights[name], factor) for name in resized}
    large.load_state_dict(weights)


def _shared_out(name: str, weight: Tensor, factor: int) -> Tensor:
    """A weight that makes or reads anatomy channels, for ``factor`` times as many; others as they are."""
    if name.startswith("anatomy_encoder.") and ".out." in name:
        # A softmax of k equal logits, each lower by log k, shares what the one had among them.
        axis, shift = (0, math.log(factor)) if name.endswith("bias") else (1, 0.0)
        return weight.repeat_interleave(factor, axis) - shift
    return _read_apart(weight, factor) if weight.dim() > 1 else weight


def _read_apart(weight: Tensor, factor: int) -> Tensor:
    """Weights (out, in, ...) for ``factor`` copies of every input, the differences of which sum to 0."""
    copies = weight.repeat_interleave(factor, 1)
    noise = torch.randn_like(copies).unflatten(1, (-1, factor))
    noise = (noise - noise.mean(2, keepdim=True)).flatten(1, 2)
    return copies + SPREAD * weight.std() * noise


def _unmixed(small: MarginDis, large: MarginDis) -> dict[str, Tensor]:
    """The weights of ``small``, its encoders' once for each sequence where ``large`` has an encoder for each."""
    weights = dict(small.state_dict())
    for part in ("anatomy_encoder", "style_encoder"):
        encoder, new = getattr(small, part), getattr(large, part)
        if isinstance(new, PerSequence) and not isinstance(encoder, PerSequence):
            weights = {name: value for name, value in weights.items() if not name.startswith(f"{part}.")}
            for condition in range(len(new.networks)):
                prefix = f"{part}.networks.{condition}."
                weights |= {prefix + name: value for name, value in _of_condition(encoder, condition).items()}
    return weights


def _of_condition(encoder: nn.Module, condition: int) -> dict[str, Tensor]:
    """Weights of an encoder with ordinary convolutions that does what ``encoder`` does for one condition."""
    mixed = {name: layer for name, layer in encoder.named_modules() if isinstance(layer, CondConv2d)}
    weights = {n: v for n, v in encoder.state_dict().items() if ".routing." not in n}
    for name, layer in mixed.items():
        weights[f"{name}.weight"] = layer.kernel(condition).flatten(2)[None]
    return weights
