"""The ways of using a system on sequences that are not registered to each other (method-spec 2d)."""

from __future__ import annotations

from torch import Tensor

from ..errors import InputError
from .base import System

MODES = ("single", "deformed", "fused", "fused_unaligned")


def predict(
    system: System, images: dict[str, Tensor], reference: str, mode: str = "fused", mask: Tensor | None = None
) -> Tensor:
    """Class probabilities (B, L, H, W) on the slice of ``reference``.

    Args:
        system: one that segments.
        images: sequence -> (B, S, H, W).
        reference: one of them.
        mode: "single" uses the reference alone; "deformed" the other sequences alone, moved onto it; "fused" all of
            them; "fused_unaligned" all of them without alignment (ablation).
        mask: (B, 1, H, W) brain mask, for systems that use one.

    Raises:
        InputError: an unknown mode, no such image, or "deformed" without another sequence.
    """
    if mode not in MODES:
        raise InputError(f'Unknown mode "{mode}"; use one of: {", ".join(MODES)}.')
    if reference not in images or (mode == "deformed" and len(images) < 2):
        raise InputError(f'The mode "{mode}" needs an image of {reference} and, if deformed, of another sequence.')
    if mode == "single":
        images = {reference: images[reference]}
    factors = system.encode(images, mask)
    if mode != "fused_unaligned":
        factors = system.align(factors, reference)
    if mode == "deformed":
        factors = factors.subset(s for s in images if s != reference)
    return system.segment(system.fuse(factors)).softmax(dim=1)


def transfer(system: System, images: dict[str, Tensor], anatomy: str, style: str) -> Tensor:
    """Image (B, S, H, W): the anatomy of one sequence in the appearance of another, g(s_i, mu_j).

    Where ``style`` is not among the images, its default style takes the place of mu_j.
    """
    factors = system.encode({s: images[s] for s in dict.fromkeys((anatomy, style)) if s in images})
    return system.decode(factors.anatomy[anatomy], factors.modality.get(style, style))
