"""Random changes of slices: where things lie (one for all sequences) and how bright they are (one per sequence)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def plane_grid(
    shape: tuple[int, int],
    centre: tuple[float, float],
    size: tuple[int, int],
    angle: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> Tensor:
    """Sampling positions of an output slice in an input slice, for :func:`sample_plane`.

    Args:
        shape: (J, I) of the input.
        centre: (row, column) in the input that comes to pixel (H // 2, W // 2) before the shift.
        size: (H, W) of the output.
        angle: rotation in radians; scale: above 1 enlarges; shift: (rows, columns) in pixels; flip: left-right.

    Returns:
        (1, H, W, 2) normalised (x, y) coordinates, ``align_corners=True``. Without rotation, scale and a fractional
        shift they hit input pixels exactly.
    """
    height, width = size
    rows = torch.arange(height, dtype=torch.float32) - height // 2 - shift[0]
    columns = torch.arange(width, dtype=torch.float32) - width // 2 - shift[1]
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    if flip:
        x = -x
    cosine, sine = float(np.cos(angle)) / scale, float(np.sin(angle)) / scale
    row = centre[0] + cosine * y - sine * x
    column = centre[1] + sine * y + cosine * x
    return torch.stack([2 * column / max(shape[1] - 1, 1) - 1, 2 * row / max(shape[0] - 1, 1) - 1], dim=-1)[None]


def sample_plane(planes: Tensor, grid: Tensor, mode: str, padding: str = "zeros") -> Tensor:
    """Planes (C, J, I) at the positions of a :func:`plane_grid`: (C, H, W); outside the input 0, or its nearest pixel
    where ``padding`` is "border"."""
    return F.grid_sample(planes[None], grid, mode=mode, padding_mode=padding, align_corners=True)[0]


@dataclass(frozen=True)
class IntensityAugmentation:
    """Random contrast of each sequence, the same in its adjacent slices; all at once for all sequences of a subject.

    Normalised intensities come in and go out: mean and spread inside the mask are restored after gamma and bias, so
    that what is left of their change is ``gain`` and ``offset``.

    Attributes:
        probability: of each kind of change, per sequence.
        gamma: half-range of the logarithm of the exponent.
        gain: half-range of the logarithm of the factor; offset: half-range, in standard deviations.
        bias: standard deviation of the logarithm of a smooth field.
        noise: largest standard deviation of white noise.
        blur: largest weight that a pixel gives to its neighbours.
    """

    probability: float = 0.5
    gamma: float = 0.3
    gain: float = 0.1
    offset: float = 0.1
    bias: float = 0.15
    noise: float = 0.1
    blur: float = 0.25

    def __call__(self, planes: Tensor, mask: Tensor, random: np.random.Generator) -> Tensor:
        """Augment planes (n, S, H, W) of n sequences; ``mask`` is (S, H, W). Absent sequences stay 0."""
        n = len(planes)

        def draw(low: float, high: float) -> Tensor:
            """A value per sequence, 0 where this kind of change is not applied."""
            value = random.uniform(low, high, n) * (random.random(n) < self.probability)
            return torch.from_numpy(value.astype(np.float32))[:, None, None, None]

        noise = draw(0, self.noise) * torch.from_numpy(random.standard_normal(planes.shape, np.float32))
        field = F.interpolate(
            torch.from_numpy(random.standard_normal((n, 1, 4, 4), np.float32)),
            planes.shape[-2:],
            mode="bicubic",
            align_corners=True,
        )
        gamma, bias = torch.exp(draw(-self.gamma, self.gamma)), torch.exp(draw(0, self.bias) * field)
        gain, offset, blur = torch.exp(draw(-self.gain, self.gain)), draw(-self.offset, self.offset), draw(0, self.blur)

        count = mask.sum().clamp_min(1)
        mean, spread = _moments(planes, mask, count)
        # Gamma and bias act on positive intensities: four standard deviations below the mean count as black.
        black, white = mean - 4 * spread, mean + 6 * spread
        unit = ((planes - black) / (white - black).clamp_min(1e-6)).clamp(0, 1)
        changed = (unit**gamma) * bias
        new_mean, new_spread = _moments(changed, mask, count)
        changed = (changed - new_mean) / new_spread.clamp_min(1e-6) * spread + mean
        changed = _blur(changed * mask + mean * (1 - mask), blur) * gain + offset + noise
        present = (spread > 0).float()
        return changed * mask * present


def _moments(planes: Tensor, mask: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation inside the mask over slices and pixels, (n, 1, 1, 1) each."""
    mean = (planes * mask).sum((1, 2, 3), keepdim=True) / count
    variance = (((planes - mean) * mask) ** 2).sum((1, 2, 3), keepdim=True) / count
    return mean, variance.sqrt()


def _blur(planes: Tensor, weight: Tensor) -> Tensor:
    """Each pixel mixed with its two neighbours along both axes; ``weight`` (n, 1, 1, 1) goes to each neighbour."""
    for axis in (-1, -2):
        planes = planes + weight * (torch.roll(planes, 1, axis) + torch.roll(planes, -1, axis) - 2 * planes)
    return planes
