"""Bringing a reference, an image or labels, onto the grid of the first input, and scoring results with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..preprocessing import PreparedStudy, register
from ..preprocessing.resampling import matrix_of, resample
from ..progress import Progress
from ..study import Image, Study, check_image
from .quality import fit_scale, segmentation_quality, synthesis_quality
from .result import Result


def score_synthesis(
    synthetic: Image, reference: Image, prepared: PreparedStudy, first: str, progress: Progress
) -> tuple[dict[str, Any], Image]:
    """PSNR, SSIM and MAE of a synthetic image on the grid of the first input, and the difference image there.

    A reference on another grid is registered rigidly to the first input; one on the same grid is taken as it is, and
    so is an input of the study, whose place is known.

    Raises:
        InputError: the reference cannot be registered or scored, see :func:`.quality.synthesis_quality`.
    """
    target = prepared.study[first]
    own = next((name for name in prepared.images if prepared.study[name] is reference), None)
    registered = own is None and not reference.grid.same_as(target.grid)
    if own is not None:
        values = prepared.input_on(own, first)
    elif registered:
        check_image(reference)  # one voxel that is no number would spoil the registration
        found = register(reference, target, progress=progress)
        values = resample(reference.to_sitk(), target.grid, matrix_of(found.transform))
    else:
        values = reference.array.astype(np.float32)
    mask = prepared.to_input(prepared.mask.astype(np.uint8), first, "nearest").array > 0
    inputs = {name: prepared.input_on(name, first) for name in prepared.images if name != synthetic.sequence}
    report = synthesis_quality(synthetic.array, values, inputs, mask, target.grid.spacing)
    report["reference"] = reference.source
    report["reference_registered"] = registered
    difference = np.where(mask, fit_scale(synthetic.array, values, mask) - values, 0.0).astype(np.float32)
    return report, Image(difference, target.affine, sequence=synthetic.sequence, source="synthetic minus reference")


def score_segmentation(result: Result, study: Study, prepared: PreparedStudy, first: str) -> dict[str, float]:
    """Dice of the classes that the study's own labels share by name: those of the first input where every sequence has
    its own. Empty where there are none of it."""
    labels, working, target = study.labels, prepared.labels, prepared.study[first]
    if study.sequence_labels:
        labels, working = study.sequence_labels.get(first), prepared.sequence_labels.get(first)
    if labels is None or working is None:
        return {}
    same = labels.grid.same_as(target.grid)
    values = labels.array if same else prepared.to_input(working, first, "nearest").array
    return segmentation_quality(result.segmentation.array, values, study.label_names, result.classes)
