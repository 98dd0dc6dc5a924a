"""MarginDis in parts that can be compiled: an encoder per sequence, fusion and segmentation, decoding in two steps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import Part, Program

if TYPE_CHECKING:
    from .margindis import MarginDis

_SIZE = (96, 128)
"""Of the example inputs; any multiples of 32 will do."""


def programs_of(system: MarginDis) -> dict[str, Program]:
    """See :meth:`System.programs`.

    By sequence, "anatomy-": image (B, S, H, W), mask -> anatomy (B, C, H, W), "style-": image -> modality factor
    (B, Z); "segment": the anatomies (n, B, C, H, W) at hand -> class probabilities (B, L, H, W); "modulate": anatomy ->
    all scale and shift maps, coarsest block first; "render": modality factor, these maps -> image, not masked.
    """
    decoder = system.decoder

    def anatomy_of(image: Tensor, mask: Tensor, condition: int) -> Tensor:
        return system.anatomy_encoder(image, condition, mask)

    def style_of(image: Tensor, condition: int) -> Tensor:
        return system.style_encoder(image, condition)[0]

    def segment(anatomies: Tensor) -> Tensor:
        return system.segment(system.fusion(anatomies)).softmax(dim=1)

    def modulate(anatomy: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor for block in decoder.modulations(anatomy) for pair in block for tensor in pair)

    def render(style: Tensor, *maps: Tensor) -> Tensor:
        pairs = iter(zip(maps[::2], maps[1::2], strict=True))
        blocks = [[next(pairs) for _ in range(3 if block.shortcut else 2)] for block in decoder.blocks]
        return decoder.render(blocks, style)

    abilities = system.capabilities
    mask = torch.ones(1, 1, *_SIZE)
    image = torch.linspace(-1, 1, abilities.slices * _SIZE[0] * _SIZE[1]).view(1, abilities.slices, *_SIZE)
    with torch.no_grad():
        anatomy = anatomy_of(image, mask, 0)
        maps = modulate(anatomy)
    programs = {}
    for sequence in abilities.sequences:
        condition = system.index(sequence)
        encoder = Part(system, partial(anatomy_of, condition=condition))
        programs[f"anatomy-{sequence}"] = Program(encoder, (image, mask))
        programs[f"style-{sequence}"] = Program(Part(system, partial(style_of, condition=condition)), (image,))
    if system.head is not None:
        programs["segment"] = Program(Part(system, segment), (torch.stack([anatomy, anatomy]),))
    programs["modulate"] = Program(Part(system, modulate), (anatomy,))
    programs["render"] = Program(Part(system, render), (torch.zeros(1, abilities.style_dim), *maps))
    return programs
