"""DAFNet, and MMSDNet with it, in parts that can be compiled: encoders, moving, segmentation, decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Program

if TYPE_CHECKING:
    from .dafnet import DAFNet


class _Part(nn.Module):
    def __init__(self, system: DAFNet, sequence: str = "") -> None:
        super().__init__()
        self.system = system
        self.sequence = sequence


class _Anatomy(_Part):
    def forward(self, image: Tensor) -> Tensor:
        """Anatomy (B, C, H, W) of an image (B, 1, H, W) of one sequence."""
        return self.system.anatomy(image, self.sequence)


class _Style(_Part):
    def forward(self, anatomy: Tensor, image: Tensor) -> Tensor:
        """Modality factor (B, Z) of an image of any sequence."""
        return self.system.style_encoder(anatomy, image)[0]


class _Move(_Part):
    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """An anatomy on the slice of another one."""
        return self.system.move(moving, fixed)


class _Segment(_Part):
    def forward(self, fused: Tensor) -> Tensor:
        """Class probabilities (B, L, H, W) of a fused anatomy (B, C, H, W)."""
        return self.system.segment(fused).softmax(dim=1)


class _Decode(_Part):
    def forward(self, anatomy: Tensor, style: Tensor) -> Tensor:
        """Image (B, 1, H, W) of an anatomy in a style (B, Z)."""
        return self.system.decode(anatomy, style)


def programs_of(system: DAFNet) -> dict[str, Program]:
    """See :meth:`System.programs`. Heights and widths are those that the system was made for."""
    abilities = system.capabilities
    height, width = abilities.size
    image = torch.linspace(-1, 1, height * width).view(1, 1, height, width)
    with torch.no_grad():
        anatomy = system.anatomy(image, abilities.sequences[0])
    style = torch.zeros(1, abilities.style_dim)
    programs = {f"anatomy-{s}": Program(_Anatomy(system, s), (image,)) for s in abilities.sequences}
    programs["style"] = Program(_Style(system), (anatomy, image))
    if system.transformer is not None:
        programs["move"] = Program(_Move(system), (anatomy, anatomy.flip(-1)))
    if system.segmentor is not None:
        programs["segment"] = Program(_Segment(system), (anatomy,))
    programs["decode"] = Program(_Decode(system), (anatomy, style))
    return programs
