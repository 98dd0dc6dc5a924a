"""What patients and scanners do to an acquisition, simulated by TorchIO: motion, ghosting, spikes in k-space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ArtefactAugmentation:
    """Random artefacts of single sequences; the same in their adjacent slices.

    Attributes:
        motion, ghosting, spike: probability of each, per sequence.
        degrees, translation: largest turn and shift (pixels) of a moving head.
        ghosts: (low, high) number of ghosts; strength: (low, high) of their k-space lines.
    """

    motion: float = 0.04
    ghosting: float = 0.04
    spike: float = 0.02
    degrees: float = 4.0
    translation: float = 3.0
    ghosts: tuple[int, int] = (2, 6)
    strength: tuple[float, float] = (0.2, 0.7)

    def __call__(self, planes: Tensor, mask: Tensor, random: np.random.Generator) -> Tensor:
        """Planes (n, S, H, W) of n sequences with artefacts; ``mask`` is (S, H, W). Absent sequences stay 0."""
        chances = random.random((len(planes), 3)) < (self.motion, self.ghosting, self.spike)
        if not chances.any():
            return planes
        result = planes.clone()
        for n, chosen in enumerate(chances):
            if chosen.any() and bool(planes[n].any()):
                result[n] = self._spoilt(planes[n], mask, chosen, random)
        return result

    def _spoilt(self, plane: Tensor, mask: Tensor, chosen: np.ndarray, random: np.random.Generator) -> Tensor:
        # Importing TorchIO takes seconds, and only training has it.
        import torchio

        kinds = (
            torchio.RandomMotion(degrees=self.degrees, translation=self.translation, num_transforms=1),
            torchio.RandomGhosting(num_ghosts=self.ghosts, axes=(0, 1), intensity=self.strength),
            torchio.RandomSpike(num_spikes=1, intensity=(0.1, 0.4)),
        )
        # Air is darker than any tissue: ghosts of a brain on a background of 0, its mean, would be invisible.
        black = float(plane[mask > 0].min()) if bool((mask > 0).any()) else 0.0
        image = torch.where(mask > 0, plane - black, 0.0).permute(1, 2, 0)[None]
        with torch.random.fork_rng(devices=[]):
            # TorchIO draws from torch's generator: seeded, so that a batch stays a function of its number.
            torch.manual_seed(int(random.integers(2**31)))
            for kind, wanted in zip(kinds, chosen, strict=True):
                image = kind(image) if wanted else image
        return (image[0].permute(2, 0, 1) + black) * mask
