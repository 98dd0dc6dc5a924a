"""Systems that translate images, in parts that can be compiled: one encoder, one decoder, the segmentor of stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Program

if TYPE_CHECKING:
    from .translation import TranslationSystem


class _Part(nn.Module):
    def __init__(self, system: TranslationSystem) -> None:
        super().__init__()
        self.system = system


class _Anatomy(_Part):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Anatomy (B, C, h, w) of an image (B, S, H, W) of any sequence."""
        return self.system.anatomy_of(image, 0, mask)


class _Decode(_Part):
    def forward(self, anatomy: Tensor, code: Tensor) -> Tensor:
        """Image (B, S, H, W) of an anatomy in the code (B, Z) of a sequence."""
        return self.system.decode(anatomy, code)


class _Segment(_Part):
    def forward(self, stack: Tensor) -> Tensor:
        """Class probabilities (B, L, H, W) of a completed stack (B, n * S, H, W)."""
        return self.system.segment(stack).softmax(dim=1)


def programs_of(system: TranslationSystem) -> dict[str, Program]:
    """See :meth:`System.programs`; of systems whose encoder is not told the sequence."""
    abilities = system.capabilities
    height, width = 2 * abilities.size_multiple, 3 * abilities.size_multiple
    mask = torch.ones(1, 1, height, width)
    image = torch.linspace(-1, 1, abilities.slices * height * width).view(1, abilities.slices, height, width)
    with torch.no_grad():
        anatomy = system.anatomy_of(image, 0, mask)
    programs = {"anatomy": Program(_Anatomy(system), (image, mask))}
    programs["decode"] = Program(_Decode(system), (anatomy, system.default_styles[:1]))
    if abilities.segments:
        programs["segment"] = Program(_Segment(system), (image.repeat(1, len(abilities.sequences), 1, 1),))
    return programs
