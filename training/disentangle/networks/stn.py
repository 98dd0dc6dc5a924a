"""Spatial transformer with thin-plate splines: moves one anatomy onto another (method-spec 2a, appendix C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .blocks import scaled
from .devices import pool_to, without_autocast

_SLOPE = 0.3


def control_points(grid: Sequence[int] = (5, 5)) -> Tensor:
    """(K, 2) float64 points (row, column) of a regular grid over [0, 1] x [0, 1]."""
    axes = [torch.linspace(0, 1, n, dtype=torch.float64) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 2)


def tps_basis(height: int, width: int, grid: Sequence[int] = (5, 5)) -> Tensor:
    """The matrix (H * W, K) float64 that turns displaced control points into reading positions.

    The control points are fixed, so the spline is linear in the displaced ones and no system has to be solved at
    run time. The radial basis is 1/2 r^2 log r^2 with an affine part (order 2, interpolating).
    """
    points = control_points(grid)
    pixels = control_points((height, width))
    count = len(points)
    homogeneous = torch.cat([points, torch.ones(count, 1, dtype=torch.float64)], dim=1)
    system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
    system[:count, :count] = _radial(points, points)
    system[:count, count:], system[count:, :count] = homogeneous, homogeneous.T
    columns = torch.linalg.solve(system, torch.eye(count + 3, count, dtype=torch.float64))
    return torch.cat([_radial(pixels, points), pixels, torch.ones(len(pixels), 1, dtype=torch.float64)], 1) @ columns


def _radial(first: Tensor, second: Tensor) -> Tensor:
    squared = (first[:, None] - second[None]).square().sum(-1)
    return 0.5 * squared * squared.clamp_min(1e-10).log()


class ThinPlateSpline(nn.Module):
    """Backward warp of maps (B, C, H, W) by the displacements of control points; bilinear, 0 outside.

    Args:
        size: (H, W) whose matrix is kept with the module; that of another size is computed when it is met.
        grid: control points (rows, columns).
    """

    def __init__(self, size: Sequence[int] = (192, 192), grid: Sequence[int] = (5, 5)) -> None:
        super().__init__()
        self.grid, self.size = tuple(grid), tuple(size)
        # Constants: not part of the weights.
        self.register_buffer("points", control_points(grid).float(), persistent=False)
        self.register_buffer("basis", tps_basis(*size, grid).float(), persistent=False)

    def positions(self, offsets: Tensor, size: Sequence[int]) -> Tensor:
        """Where to read each output pixel, (B, H, W, 2) normalised (x, y), ``align_corners=True``.

        Args:
            offsets: (B, K, 2) displacements (row, column) of the control points, in units of the image's extent. A
                displacement is where to read: what is shown moves the other way.
            size: (H, W).
        """
        if tuple(size) != self.size:
            self.size, self.basis = tuple(size), tps_basis(*size, self.grid).float().to(self.basis)
        where = self.basis @ (self.points + offsets)
        return (2 * where - 1).flip(-1).view(len(offsets), *size, 2)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Maps (B, C, H, W) moved by ``offsets`` (B, K, 2)."""
        # Bilinear reading positions need all 24 bits: half a pixel of 192 is lost in half precision.
        with without_autocast(x.device):
            where = self.positions(offsets.float(), x.shape[-2:])
            moved = F.grid_sample(x.float(), where, mode="bilinear", padding_mode="zeros", align_corners=True)
        return moved.to(x.dtype)


class SpatialTransformer(nn.Module):
    """stn(moving, fixed): the moving anatomy on the grid of the fixed one.

    The localisation network sees both and predicts the displacements of the control points. Its last layer starts at
    zero, i.e. with the identity. One network serves both directions and all pairs of sequences.

    Args:
        channels: C of an anatomy.
        size: (H, W), at least 32; the fixed extents of the published network follow from it. Other sizes are pooled
            to these extents.
        grid: control points (rows, columns), 5 x 5 as published.
        width: multiplier of the channel counts.
        scale: of the displacements, 1 as published. An update changes them in proportion to it and to the learning
            rate, which is thus adapted to this network alone.
    """

    smallest = 32

    def __init__(
        self,
        channels: int = 8,
        size: Sequence[int] = (192, 192),
        grid: Sequence[int] = (5, 5),
        width: float = 1.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        if min(size) < self.smallest:
            raise InputError(f"The spatial transformer needs at least {self.smallest} pixels; raise system.size.")
        features = scaled(20, width)
        self.extent = tuple(((n - 4) // 2 - 4) // 2 - 4 for n in size)
        self.convs = nn.ModuleList(nn.Conv2d(i, features, 5) for i in (2 * channels, features, features))
        self.hidden = nn.Linear(self.extent[0] * self.extent[1] * features, scaled(100, width))
        self.offsets = nn.Linear(scaled(100, width), 2 * grid[0] * grid[1])
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)
        self.spline = ThinPlateSpline(size, grid)

    def displacements(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Displacements (B, K, 2) of the control points that bring ``moving`` onto ``fixed``, both (B, C, H, W)."""
        x = torch.cat([moving, fixed], dim=1)
        for n, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x if n == 0 else F.max_pool2d(x, 2)), _SLOPE)
        x = torch.tanh(self.hidden(pool_to(x, self.extent).flatten(1)))
        return self.scale * self.offsets(x).view(len(x), -1, 2)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        return self.spline(moving, self.displacements(moving, fixed))
