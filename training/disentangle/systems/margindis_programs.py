"""MarginDis in parts that can be compiled: an encoder per sequence, fusion and segmentation, decoding in two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Program

if TYPE_CHECKING:
    from .margindis import MarginDis

_SIZE = (96, 128)
"""Of the example inputs; any multiples of 32 will do."""


class _Part(nn.Module):
    def __init__(self, system: MarginDis, sequence: str = "") -> None:
        super().__init__()
        self.system = system
        self.condition = system.index(sequence) if sequence else 0


class _Anatomy(_Part):
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Anatomy (B, C, H, W) of an image (B, S, H, W) of one sequence."""
        return self.system.anatomy_encoder(image, self.condition, mask)


class _Style(_Part):
    def forward(self, image: Tensor) -> Tensor:
        """Modality factor (B, Z) of an image of one sequence."""
        return self.system.style_encoder(image, self.condition)[0]


class _Segment(_Part):
    def forward(self, anatomies: Tensor) -> Tensor:
        """Class probabilities (B, L, H, W) of the anatomies (n, B, C, H, W) at hand."""
        return self.system.segment(self.system.fusion(anatomies)).softmax(dim=1)


class _Modulate(_Part):
    def forward(self, anatomy: Tensor) -> tuple[Tensor, ...]:
        """All scale and shift maps of an anatomy, coarsest block first."""
        blocks = self.system.decoder.modulations(anatomy)
        return tuple(tensor for block in blocks for pair in block for tensor in pair)


class _Render(_Part):
    def forward(self, style: Tensor, *maps: Tensor) -> Tensor:
        """Image (B, S, H, W), not masked, in a style (B, Z)."""
        pairs = iter(zip(maps[::2], maps[1::2], strict=True))
        decoder = self.system.decoder
        blocks = [[next(pairs) for _ in range(3 if block.shortcut else 2)] for block in decoder.blocks]
        return decoder.render(blocks, style)


def programs_of(system: MarginDis) -> dict[str, Program]:
    """See :meth:`System.programs`."""
    abilities = system.capabilities
    mask = torch.ones(1, 1, *_SIZE)
    image = torch.linspace(-1, 1, abilities.slices * _SIZE[0] * _SIZE[1]).view(1, abilities.slices, *_SIZE)
    with torch.no_grad():
        anatomy = system.anatomy_encoder(image, 0, mask)
        maps = _Modulate(system)(anatomy)
    style = torch.zeros(1, abilities.style_dim)
    programs = {}
    for sequence in abilities.sequences:
        programs[f"anatomy-{sequence}"] = Program(_Anatomy(system, sequence), (image, mask))
        programs[f"style-{sequence}"] = Program(_Style(system, sequence), (image,))
    if system.head is not None:
        programs["segment"] = Program(_Segment(system), (torch.stack([anatomy, anatomy]),))
    programs["modulate"] = Program(_Modulate(system), (anatomy,))
    programs["render"] = Program(_Render(system), (style, *maps))
    return programs
