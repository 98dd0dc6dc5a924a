"""Systems of disentangled domains in parts that can be compiled: their encoders and generators, and the U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Program

if TYPE_CHECKING:
    from .unpaired import DisentangledDomains

_SIZE = (64, 96)
"""Of the example inputs; any multiples of 16 will do."""


class _Part(nn.Module):
    def __init__(self, system: DisentangledDomains, name: str = "") -> None:
        super().__init__()
        self.system = system
        self.name = name


class _Anatomy(_Part):
    def forward(self, image: Tensor) -> Tensor:
        """Anatomy (B, C, h, w) of an image (B, S, H, W) of one sequence."""
        return self.system.autoencoders[self.system.domain_of(self.name)].content(image)


class _Style(_Part):
    def forward(self, image: Tensor) -> Tensor:
        """Modality factor (B, Z + domains) of an image of one sequence."""
        return self.system.encode({self.name: image}).modality[self.name]


class _Agnostic(_Part):
    def forward(self, anatomy: Tensor) -> Tensor:
        """Domain-agnostic image (B, S, H, W) of an anatomy of one sequence."""
        return self.system.agnostic_image(anatomy, self.name)


class _Decode(_Part):
    def forward(self, anatomy: Tensor, code: Tensor) -> Tensor:
        """Image (B, S, H, W) of an anatomy in a code (B, Z) of one domain."""
        return self.system.autoencoders[self.name].decoder(anatomy, code)


class _Segment(_Part):
    def forward(self, image: Tensor) -> Tensor:
        """Class probabilities (B, L, H, W) of a domain-agnostic image."""
        return self.system.segment(image).softmax(dim=1)


def programs_of(system: DisentangledDomains) -> dict[str, Program]:
    """See :meth:`System.programs`."""
    abilities = system.capabilities
    image = torch.linspace(-1, 1, abilities.slices * _SIZE[0] * _SIZE[1]).view(1, abilities.slices, *_SIZE)
    with torch.no_grad():
        anatomy = _Anatomy(system, abilities.sequences[0])(image)
    programs = {}
    for sequence in abilities.sequences:
        programs[f"anatomy-{sequence}"] = Program(_Anatomy(system, sequence), (image,))
        programs[f"style-{sequence}"] = Program(_Style(system, sequence), (image,))
        programs[f"agnostic-{sequence}"] = Program(_Agnostic(system, sequence), (anatomy,))
    for number, domain in enumerate(system.domains):
        programs[f"decode-{number}"] = Program(_Decode(system, domain), (anatomy, torch.zeros(1, system.code)))
    if abilities.segments:
        programs["segment"] = Program(_Segment(system), (image,))
    return programs
