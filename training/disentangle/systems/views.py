"""Anatomies on the slices of a batch, as the losses of DAFNet and MMSDNet look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import losses


@dataclass(frozen=True)
class View:
    """An anatomy on the slice of a sequence.

    Attributes:
        target: the sequence.
        branch: "own" (of the slice itself), "deformed" (of another sequence, moved there) or "fused".
        anatomy: (B, C, H, W).
        share: (B,) weight in a mean over the views of one target and branch; 0 where a sequence is not available.
        judged: the adversarial terms see it (of several candidates, the first).
        displacement: (B,) mean square by which its control points were moved, in units of the extent; None where
            nothing moved.
    """

    target: str
    branch: str
    anatomy: Tensor
    share: Tensor
    judged: bool = True
    displacement: Tensor | None = None


def total(views: Sequence[View], values: Sequence[Tensor], shares: Sequence[Tensor] | None = None) -> Tensor:
    """Sum over targets and branches of the mean over samples.

    Within one target and branch the views, from several sequences or of several candidates, are averaged by share.

    Args:
        views: at least one.
        values: (B,) of each.
        shares: (B,) of each in place of its own.
    """
    groups: dict[tuple[str, str], tuple[list[Tensor], list[Tensor]]] = {}
    for view, value, share in zip(views, values, shares or [v.share for v in views], strict=True):
        found = groups.setdefault((view.target, view.branch), ([], []))
        found[0].append(value)
        found[1].append(share)
    return torch.stack([losses.weighted_mean(*group) for group in groups.values()]).sum()


def draw(views: Sequence[View]) -> Tensor:
    """Per sample the number (B,) of one of the views that it has, at random; 0 where it has none."""
    possible = torch.stack([v.share > 0 for v in views])
    return torch.rand(possible.shape, device=possible.device).masked_fill(~possible, -1.0).argmax(0)


def select(items: Sequence[Tensor], pick: Tensor) -> Tensor:
    """Sample b of item ``pick[b]``, of tensors (B, ...)."""
    return torch.stack(list(items))[pick, torch.arange(len(pick), device=pick.device)]


def together(network: Callable[..., Tensor | tuple[Tensor, ...]], *parts: Sequence[Tensor]) -> list:
    """``[network(*inputs) for inputs in zip(*parts)]`` in one call: on few small slices, most of a call is overhead.

    Only for networks that treat the samples of a batch one by one (no batch normalisation).
    """
    sizes = [len(x) for x in parts[0]]
    found = network(*(torch.cat(list(inputs)) for inputs in parts))
    if isinstance(found, tuple):
        return list(zip(*(x.split(sizes) for x in found), strict=True))
    return list(found.split(sizes))
