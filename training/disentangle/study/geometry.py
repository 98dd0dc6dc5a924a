"""Where voxels lie in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

_DUST = 1e-12
"""Entries of a matrix below this mean 0 (a picometre over a metre). Denormal ones, which rotations by next to
nothing leave behind, make the singular values fail that ITK inverts directions and transforms with."""


def cleaned(matrix: np.ndarray) -> np.ndarray:
    """A copy of a matrix, float64, with 0 for entries that mean 0."""
    matrix = np.array(matrix, dtype=np.float64)
    matrix[np.abs(matrix) < _DUST] = 0.0
    return matrix


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels.

    Attributes:
        shape: (K, J, I), the shape of arrays on this grid.
        affine: (4, 4) float64, maps voxel indices (i, j, k, 1) to LPS millimetres.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        affine = cleaned(self.affine)
        if affine.shape != (4, 4):
            raise ValueError(f"affine must be 4x4, not {affine.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing(self) -> np.ndarray:
        """(3,) voxel size along (i, j, k) in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def origin(self) -> np.ndarray:
        """(3,) LPS position of the centre of voxel (0, 0, 0) in mm."""
        return self.affine[:3, 3].copy()

    @property
    def direction(self) -> np.ndarray:
        """(3, 3) unit vectors of the i, j, k axes in LPS, as columns."""
        return self.affine[:3, :3] / self.spacing

    @property
    def size(self) -> tuple[int, int, int]:
        """(I, J, K), ITK's order."""
        return self.shape[::-1]

    def same_as(self, other: Grid, tolerance_mm: float = 0.01) -> bool:
        """Whether both grids have the same shape and every corner voxel at the same place within the tolerance."""
        if self.shape != other.shape:
            return False
        return float(np.abs(self.corners() - other.corners()).max()) <= tolerance_mm

    def corners(self) -> np.ndarray:
        """(8, 3) LPS positions of the centres of the corner voxels in mm."""
        last = np.array(self.size) - 1
        index = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)]) * last
        return index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_sitk_reference(self) -> sitk.Image:
        """An image without content on this grid, as the reference of resampling.

        Only its geometry counts; the voxels are one byte each.
        """
        image = sitk.Image([int(n) for n in self.size], sitk.sitkUInt8)
        set_geometry(image, self.affine)
        return image


def set_geometry(image: sitk.Image, affine: np.ndarray) -> None:
    """Give a 3-D SimpleITK image the spacing, origin and direction of an LPS affine (4, 4)."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing([float(v) for v in spacing])
    image.SetOrigin([float(v) for v in affine[:3, 3]])
    image.SetDirection([float(v) for v in cleaned(affine[:3, :3] / spacing).ravel()])


def affine_of(image: sitk.Image) -> np.ndarray:
    """(4, 4) LPS affine of the first three dimensions of a SimpleITK image."""
    dimension = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return affine
