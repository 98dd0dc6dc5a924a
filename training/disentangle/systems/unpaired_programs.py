"""Systems of disentangled domains in parts that can be compiled: their encoders and generators, and the U-Net."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import Part, Program

if TYPE_CHECKING:
    from .unpaired import DisentangledDomains

_SIZE = (64, 96)
"""Of the example inputs; any multiples of 16 will do."""


def programs_of(system: DisentangledDomains) -> dict[str, Program]:
    """See :meth:`System.programs`.

    By sequence, "anatomy-": image (B, S, H, W) -> anatomy (B, C, h, w), "style-": image -> modality factor (B, Z +
    domains), "agnostic-": anatomy -> domain-agnostic image; by number of the domain, "decode-": anatomy, code (B, Z)
    -> image; "segment": domain-agnostic image -> class probabilities.
    """

    def style_of(image: Tensor, sequence: str) -> Tensor:
        return system.encode({sequence: image}).modality[sequence]

    def segment(image: Tensor) -> Tensor:
        return system.segment(image).softmax(dim=1)

    abilities = system.capabilities
    image = torch.linspace(-1, 1, abilities.slices * _SIZE[0] * _SIZE[1]).view(1, abilities.slices, *_SIZE)
    with torch.no_grad():
        anatomy = system.autoencoders[system.source].content(image)
    programs = {}
    for sequence in abilities.sequences:
        content = system.autoencoders[system.domain_of(sequence)].content
        agnostic = partial(system.agnostic_image, sequence=sequence)
        programs[f"anatomy-{sequence}"] = Program(content, (image,))
        programs[f"style-{sequence}"] = Program(Part(system, partial(style_of, sequence=sequence)), (image,))
        programs[f"agnostic-{sequence}"] = Program(Part(system, agnostic), (anatomy,))
    for number, domain in enumerate(system.domains):
        code = torch.zeros(1, system.code)
        programs[f"decode-{number}"] = Program(system.autoencoders[domain].decoder, (anatomy, code))
    if abilities.segments:
        programs["segment"] = Program(Part(system, segment), (image,))
    return programs
