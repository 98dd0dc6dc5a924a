"""Digital studies of the size that benchmarks speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from disentangle.phantoms import create_phantom
from disentangle.preprocessing.registration import rotation_about
from disentangle.preprocessing.resampling import resample
from disentangle.study import Grid, Image, Study


def write_digital_studies(folder: Path) -> tuple[Path, Path]:
    """A registered, skull-stripped study of 240 x 240 x 155 voxels, and whole heads that are not registered."""
    study = create_phantom("brain", 1, spacing=1.0, lesions="both").study
    first = study.first
    centre = first.affine[:3, :3] @ ((np.array(first.grid.size) - 1) / 2) + first.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, 3] = centre - (np.array([240, 240, 155]) - 1) / 2
    grid = Grid((155, 240, 240), affine)
    brain = resample(study.masks[""].with_array(study.masks[""].array.astype(np.uint8)).to_sitk(), grid) > 0.5
    stripped, heads = {}, {}
    for n, (name, image) in enumerate(study.images.items()):
        values = resample(image.to_sitk(), grid)
        stripped[name] = Image(np.where(brain, values, 0).astype(np.float32), affine, sequence=name)
        moved = rotation_about((4.0 * n, -3.0 * n, 5.0 * n), centre, centre + 4.0 * n)
        thick = Grid((52, 240, 240), affine @ np.diag([1.0, 1.0, 3.0, 1.0]))
        values = resample(image.to_sitk(), Grid(thick.shape, np.linalg.inv(moved) @ thick.affine))
        heads[name] = Image(values, thick.affine, sequence=name)
    Study(stripped, "registered").write(folder / "registered")
    Study(heads, "native").write(folder / "native")
    return folder / "registered", folder / "native"
