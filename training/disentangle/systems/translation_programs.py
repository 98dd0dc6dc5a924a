"""Systems that translate images, in parts that can be compiled: one encoder, one decoder, the segmentor of stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import Part, Program

if TYPE_CHECKING:
    from .translation import TranslationSystem


def programs_of(system: TranslationSystem) -> dict[str, Program]:
    """See :meth:`System.programs`; of systems whose encoder is not told the sequence.

    "anatomy": image (B, S, H, W) of any sequence, mask -> anatomy (B, C, h, w); "decode": anatomy, code (B, Z) of a
    sequence -> image; "segment": completed stack (B, n * S, H, W) -> class probabilities.
    """

    def anatomy_of(image: Tensor, mask: Tensor) -> Tensor:
        return system.anatomy_of(image, 0, mask)

    def segment(stack: Tensor) -> Tensor:
        return system.segment(stack).softmax(dim=1)

    abilities = system.capabilities
    height, width = 2 * abilities.size_multiple, 3 * abilities.size_multiple
    mask = torch.ones(1, 1, height, width)
    image = torch.linspace(-1, 1, abilities.slices * height * width).view(1, abilities.slices, height, width)
    with torch.no_grad():
        anatomy = anatomy_of(image, mask)
    programs = {
        "anatomy": Program(Part(system, anatomy_of), (image, mask)),
        "decode": Program(Part(system, system.decode), (anatomy, system.default_styles[:1])),
    }
    if abilities.segments:
        stack = image.repeat(1, len(abilities.sequences), 1, 1)
        programs["segment"] = Program(Part(system, segment), (stack,))
    return programs
