"""Digital studies of the size that benchmarks speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from disentangle.phantoms import create_phantom
from disentangle.preprocessing.registration import rotation_about
from disentangle.preprocessing.resampling import resample
from disentangle.study import Grid, Image, Study


def registered_study(study: Study, shape: tuple[int, int, int] = (155, 240, 240), spacing: float = 1.0) -> Study:
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


def write_digital_studies(folder: Path) -> tuple[Path, Path]:
    """A registered, skull-stripped study of 240 x 240 x 155 voxels, and whole heads that are not registered."""
    study = create_phantom("brain", 1, spacing=1.0, lesions="both").study
    centre, registered = _centre(study), registered_study(study)
    affine, heads = registered.first.affine, {}
    for n, (name, image) in enumerate(study.images.items()):
        moved = rotation_about((4.0 * n, -3.0 * n, 5.0 * n), centre, centre + 4.0 * n)
        thick = Grid((52, 240, 240), affine @ np.diag([1.0, 1.0, 3.0, 1.0]))
        values = resample(image.to_sitk(), Grid(thick.shape, np.linalg.inv(moved) @ thick.affine))
        heads[name] = Image(values, thick.affine, sequence=name)
    registered.write(folder / "registered")
    Study(heads, "native").write(folder / "native")
    return folder / "registered", folder / "native"


def _centre(study: Study) -> np.ndarray:
    """The middle of the first image, in mm."""
    first = study.first
    return first.affine[:3, :3] @ ((np.array(first.grid.size) - 1) / 2) + first.affine[:3, 3]
