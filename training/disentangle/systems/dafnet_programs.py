"""DAFNet, and MMSDNet with it, in parts that can be compiled: encoders, moving, segmentation, decoding."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import Part, Program

if TYPE_CHECKING:
    from .dafnet import DAFNet


def programs_of(system: DAFNet) -> dict[str, Program]:
    """See :meth:`System.programs`. Heights and widths are those that the system was made for.

    "anatomy-" by sequence: image (B, 1, H, W) -> anatomy (B, C, H, W); "style": anatomy, image -> modality factor
    (B, Z); "move": anatomy, that of another slice -> the first one there; "segment": fused anatomy -> class
    probabilities (B, L, H, W); "decode": anatomy, modality factor -> image.
    """

    def style_of(anatomy: Tensor, image: Tensor) -> Tensor:
        return system.style_encoder(anatomy, image)[0]

    def segment(fused: Tensor) -> Tensor:
        return system.segment(fused).softmax(dim=1)

    abilities = system.capabilities
    height, width = abilities.size
    image = torch.linspace(-1, 1, height * width).view(1, 1, height, width)
    with torch.no_grad():
        anatomy = system.anatomy(image, abilities.sequences[0])
    programs = {
        f"anatomy-{s}": Program(Part(system, partial(system.anatomy, sequence=s)), (image,))
        for s in abilities.sequences
    }
    programs["style"] = Program(Part(system, style_of), (anatomy, image))
    if system.transformer is not None:
        programs["move"] = Program(Part(system, system.move), (anatomy, anatomy.flip(-1)))
    if system.segmentor is not None:
        programs["segment"] = Program(Part(system, segment), (anatomy,))
    programs["decode"] = Program(Part(system, system.decode), (anatomy, torch.zeros(1, abilities.style_dim)))
    return programs
