"""A digital subject with its truth, of whatever kind, and its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..study import Grid, Image, Study, write_atomically
from ..study.folders import LABELS, MASK
from ..study.reading import is_image_name, itk_path


@dataclass(frozen=True, eq=False)
class Phantom:
    """A digital subject.

    Attributes:
        kind: as in :func:`disentangle.phantoms.create_phantom`.
        seed: that made it.
        study: the sequences as they come from the scanner, with labels and mask.
        tissues: name -> fraction of the voxel, float32 (K, J, I) on ``grid``; exact.
        labels: int16 (K, J, I) on ``grid``, the class with the largest fraction; 0 outside.
        sequence_labels: sequence -> the same for what that sequence shows, on its grid; empty where ``labels`` holds
            for all, up to ``transforms``.
        grid: of the truth, in the space of the first sequence.
        transforms: sequence -> rigid transform from points of ``grid`` to points of that sequence (LPS mm).
        parameters: everything drawn, ready for JSON.
    """

    kind: str
    seed: int
    study: Study
    tissues: dict[str, np.ndarray]
    labels: np.ndarray
    grid: Grid
    transforms: dict[str, sitk.Transform]
    parameters: dict[str, Any]
    sequence_labels: dict[str, np.ndarray] = field(default_factory=dict)


def files_of_phantom(phantom: Phantom, folder: str | os.PathLike[str], tissues: bool = False) -> set[Path]:
    """What :func:`write_phantom` writes."""
    folder, study = Path(folder), phantom.study
    names = [*study.images, *([LABELS] if study.labels is not None else [])]
    names += [f"{LABELS}-{sequence}" for sequence in study.sequence_labels]
    names += [f"{MASK}_{sequence}" if sequence else MASK for sequence in study.masks]
    names += [f"tissues/{_tissue_name(name)}" for name in phantom.tissues] if tissues else []
    moved = [_transform_name(phantom, s) for s, transform in phantom.transforms.items() if not _is_identity(transform)]
    return {folder / name for name in [*(f"{n}.nii.gz" for n in names), *moved, "study.json", "parameters.json"]}


def leftovers(phantom: Phantom, folder: str | os.PathLike[str], tissues: bool = False) -> list[Path]:
    """Images and transforms of a folder that a phantom written there would not replace: whoever reads the folder would
    take them for its own."""
    folder = Path(folder)
    there = [p for place in (folder, folder / "tissues") if place.is_dir() for p in sorted(place.iterdir())]
    own = files_of_phantom(phantom, folder, tissues)
    return [p for p in there if (is_image_name(p) or p.suffix == ".tfm") and p not in own]


def write_phantom(phantom: Phantom, folder: str | os.PathLike[str], tissues: bool = False) -> Path:
    """Write a phantom in the study layout, with ``parameters.json`` and one ``.tfm`` per moved sequence.

    Args:
        tissues: also write the fractions, as ``tissues/<name>.nii.gz`` (uint8, 255 = the whole voxel); spaces in
            names become "-".

    Returns:
        The folder.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = phantom.study.write(folder)
    for sequence, transform in phantom.transforms.items():
        if not _is_identity(transform):
            with write_atomically(folder / _transform_name(phantom, sequence)) as temporary:
                sitk.WriteTransform(transform, itk_path(temporary))
    if tissues:
        for name, fraction in phantom.tissues.items():
            quantised = np.round(255 * np.clip(fraction, 0, 1)).astype(np.uint8)
            Image(quantised, phantom.grid.affine).write(folder / "tissues" / f"{_tissue_name(name)}.nii.gz")
    record = {"kind": phantom.kind, "seed": phantom.seed, **phantom.parameters}
    with write_atomically(folder / "parameters.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def _transform_name(phantom: Phantom, sequence: str) -> str:
    return f"{phantom.study.first.sequence}_to_{sequence}.tfm"


def _tissue_name(name: str) -> str:
    return name.replace(" ", "-")


def _is_identity(transform: sitk.Transform) -> bool:
    points = [(0.0, 0.0, 0.0), (100.0, 0.0, 0.0), (0.0, 100.0, 0.0), (0.0, 0.0, 100.0)]
    return all(np.allclose(transform.TransformPoint(p), p, atol=1e-6) for p in points)
