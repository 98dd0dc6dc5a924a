"""Digital studies of the sizes that benchmarks speak of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from disentangle.phantoms import create_phantom
from disentangle.preprocessing.registration import rotation_about
from disentangle.preprocessing.resampling import resample
from disentangle.study import Grid, Image, Study

FULL_SIZE = (155, 240, 240)
"""(K, J, I) of a BraTS study, whose voxels are of 1 mm."""
SIZES: Mapping[str, tuple[tuple[int, int, int], float]] = {
    "160 x 160 x 100": ((100, 160, 160), 1.5),
    "200 x 200 x 130": ((130, 200, 200), 1.2),
    "240 x 240 x 155": (FULL_SIZE, 1.0),
}
"""Name -> (K, J, I) and voxel size in mm: the same field of view, ever finer."""


def digital_head(spacing: float = 1.0) -> Study:
    """The digital brain that the benchmarks use, a whole head with lesions; voxel size in mm."""
    return create_phantom("brain", 1, spacing=spacing, lesions="both").study


def registered_study(study: Study, shape: tuple[int, int, int] = FULL_SIZE, spacing: float = 1.0) -> Study:
    """A digital brain, skull-stripped, on a grid (K, J, I) around its middle."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = _centre(study) - spacing * (np.array(shape[::-1]) - 1) / 2
    grid = Grid(shape, affine)
    brain = resample(study.masks[""].with_array(study.masks[""].array.astype(np.uint8)).to_sitk(), grid) > 0.5
    stripped = {}
    for name, image in study.images.items():
        values = resample(image.to_sitk(), grid)
        stripped[name] = Image(np.where(brain, values, 0).astype(np.float32), affine, sequence=name)
    return Study(stripped, "registered")


def native_poses(study: Study) -> dict[str, np.ndarray]:
    """How the head lies in each image of :func:`native_study`: (4, 4) points of the digital head to points there."""
    centre = _centre(study)
    return {
        name: rotation_about((4.0 * n, -3.0 * n, 5.0 * n), centre, centre + 4.0 * n)
        for n, name in enumerate(study.images)
    }


def native_study(study: Study, coarser: float = 1.0) -> Study:
    """Whole heads in a pose each, of 240 x 240 x 52 voxels of 1 x 1 x 3 mm.

    Args:
        study: a digital head.
        coarser: makes voxels so much larger and fewer, for tests.
    """
    shape = tuple(round(n / coarser) for n in FULL_SIZE)
    affine, heads = np.diag([coarser, coarser, coarser, 1.0]), {}
    affine[:3, 3] = _centre(study) - coarser * (np.array(shape[::-1]) - 1) / 2
    thick = Grid((-(-shape[0] // 3), *shape[1:]), affine @ np.diag([1.0, 1.0, 3.0, 1.0]))
    for name, pose in native_poses(study).items():
        values = resample(study[name].to_sitk(), Grid(thick.shape, np.linalg.inv(pose) @ thick.affine))
        heads[name] = Image(values, thick.affine, sequence=name)
    return Study(heads, "native")


def write_digital_studies(folder: Path) -> tuple[Path, Path]:
    """A registered, skull-stripped study of 240 x 240 x 155 voxels, and whole heads that are not registered."""
    study = digital_head()
    registered_study(study).write(folder / "registered")
    native_study(study).write(folder / "native")
    return folder / "registered", folder / "native"


def _centre(study: Study) -> np.ndarray:
    """The middle of the first image, in mm."""
    first = study.first
    return first.affine[:3, :3] @ ((np.array(first.grid.size) - 1) / 2) + first.affine[:3, 3]
