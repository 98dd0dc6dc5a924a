"""Categorical anatomy maps from logits: soft, or binary with a gradient (method-spec 2a; 2g, g1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

KINDS = ("softmax", "argmax", "round", "gumbel")


def categorical(logits: Tensor, kind: str = "argmax", training: bool = False) -> Tensor:
    """Anatomy (B, C, H, W) from logits (B, C, H, W).

    Args:
        kind: "softmax" is soft. The others are binary, with the gradient of the softmax ("straight through"):
            "argmax" is one-hot everywhere, the definition of DAFNet's text; "round" is the code's, all-zero where no
            channel exceeds 1/2; "gumbel" draws the channel while training (Gumbel-softmax, tau = 1) and takes the
            arg-max otherwise.
        training: whether "gumbel" draws.

    Raises:
        InputError: another kind.
    """
    if kind not in KINDS:
        raise InputError(f'Unknown binarisation "{kind}"; use one of: {", ".join(KINDS)}.')
    if kind == "gumbel" and training:
        return F.gumbel_softmax(logits, tau=1.0, hard=True, dim=1)
    soft = torch.softmax(logits, dim=1)
    if kind == "softmax":
        return soft
    if kind == "round":
        hard = (soft > 0.5).to(soft.dtype)
    else:
        hard = torch.zeros_like(soft).scatter_(1, soft.max(1, keepdim=True).indices, 1.0)
    # The difference is exactly 0 in the forward pass, so the result is binary to the last bit.
    return hard + (soft - soft.detach())
