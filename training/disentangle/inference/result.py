"""What a prediction gives, and how it is written to disk. Needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..bundles import ClassInfo
from ..errors import InputError
from ..study import Image, nifti, quiet_itk
from ..study.reading import itk_path
from .output import Staging, check_writable, staged_outputs
from .png import write_png
from .result_files import ResultFiles

SYNTHETIC = "synthetic image made by Disentangle, not acquired"
"""The description that synthetic images carry in their headers (NIfTI: descrip, at most 79 characters)."""
OUTPUT_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Formats of images in one file each: only these appear completely or not at all."""


@dataclass(frozen=True, eq=False)
class SequenceFactors:
    """The factors of one sequence, on the working grid.

    All images lie in the space of the first input, as the segmentation does: a sequence between whose scan and that of
    the first input the head moved is shown where the first input shows the head, not where its own file does.

    Attributes:
        anatomy: C images, 0 outside the mask; in [0, 1] where the channels share each pixel, else of any range.
            Systems whose factor is a feature map of many channels show the root mean square of groups of them.
        argmax: uint8, 1 to C where that channel is the strongest, 0 outside the mask.
        modality: (Z,) float32, the mean over the slices.
        input: the sequence itself on the working grid, in its own intensities.
        reconstruction: the sequence decoded from its own factors, in the input's intensities; None where the system
            cannot draw it.
        agnostic: the anatomy decoded without style, normalised; None where the system has no such image.
    """

    anatomy: list[Image]
    argmax: Image
    modality: np.ndarray
    input: Image
    reconstruction: Image | None = None
    agnostic: Image | None = None


@dataclass(eq=False)
class Result:
    """Everything asked for, in the physical space of the first input.

    Attributes:
        segmentation: uint8 class values on the grid of the first input; None when not asked for.
        classes: of the segmentation.
        probabilities: class name -> float32 image on the grid of the first input; empty when not asked for.
        synthesized: sequence -> float32 image on the grid of the first input.
        factors: sequence -> its factors, on the working grid.
        cross: (anatomy's sequence, appearance's sequence) -> image on the working grid, in the intensities of the
            appearance's sequence. The working grid of factors and these lies in the space of the first input, too
            (after an affine registration as nearly as a geometry without shear can, see
            ``PreparedStudy.working_affine``).
        uncertainty: entropy of the class probabilities in [0, 1] on the grid of the first input; None when not asked
            for.
        lesion_uncertainty: entropy of whether a voxel is of any lesion, likewise; None also where the model tells no
            lesions from healthy tissue. It finds the errors of lesions far better than the former, and about as well
            as ensembles that take twice to ten times as long (training/benchmarks/uncertainty.py).
        differences: sequence -> synthesised, scaled to the reference, minus reference, on the grid of the first input,
            where there was a reference.
        report: the JSON report of the command line.
        overview: (height, width, 3) uint8 picture of everything; None when there is nothing to show.
        cross_overview: the grid of cross-reconstructions, likewise.
    """

    segmentation: Image | None = None
    classes: list[ClassInfo] = field(default_factory=list)
    probabilities: dict[str, Image] = field(default_factory=dict)
    synthesized: dict[str, Image] = field(default_factory=dict)
    factors: dict[str, SequenceFactors] = field(default_factory=dict)
    cross: dict[tuple[str, str], Image] = field(default_factory=dict)
    uncertainty: Image | None = None
    lesion_uncertainty: Image | None = None
    differences: dict[str, Image] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    overview: np.ndarray | None = None
    cross_overview: np.ndarray | None = None

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write everything: segmentation.nii.gz, probabilities/, uncertainties, synthetic_<SEQ>.nii.gz, factors/<SEQ>/,
        cross/, modality.json, report.json, overview.png, cross.png. Other files in the folder stay.

        Raises:
            InputError: the folder cannot be written or no space is left; then nothing of it is there, and a result
                that was there before is unchanged.
        """
        folder = Path(folder)
        check_writable(folder, folder=True)
        with staged_outputs(folder) as staging:
            self.stage(staging, folder)
        return folder

    def stage(self, staging: Staging, folder: Path) -> None:
        """Write everything into a staging area, to appear in ``folder``."""
        files = ResultFiles(folder)
        if self.segmentation is not None:
            self.stage_segmentation(staging, files.segmentation)
        self.stage_probabilities(staging, files.probabilities)
        self.stage_uncertainty(staging, folder)
        for sequence, image in self.synthesized.items():
            write_image(image, staging.path(files.synthetic(sequence)), SYNTHETIC)
        for sequence, image in self.differences.items():
            write_image(image, staging.path(files.difference(sequence)), "synthetic minus reference")
        for sequence, factors in self.factors.items():
            write_image(factors.input, staging.path(files.factor(sequence, "input")), "input on the working grid")
            for number, channel in enumerate(factors.anatomy, 1):
                write_image(channel, staging.path(files.channel(sequence, number)), f"anatomy channel {number}")
            write_image(factors.argmax, staging.path(files.factor(sequence, "argmax")), "strongest anatomy channel")
            for name, image in (("reconstruction", factors.reconstruction), ("agnostic", factors.agnostic)):
                if image is not None:
                    write_image(image, staging.path(files.factor(sequence, name)), SYNTHETIC)
        for (source, look), image in self.cross.items():
            write_image(image, staging.path(files.cross(source, look)), SYNTHETIC)
        if self.factors:
            vectors = {name: [round(float(v), 6) for v in f.modality] for name, f in self.factors.items()}
            write_json(vectors, staging.path(files.modality))
        self.stage_report(staging, files.report)
        if self.overview is not None:
            write_png(staging.path(files.overview), self.overview)
        if self.cross_overview is not None:
            write_png(staging.path(files.cross_overview), self.cross_overview)

    def stage_segmentation(self, staging: Staging, path: Path) -> None:
        """Write the segmentation, as NRRD with the names and colours of its segments, into a staging area."""
        if self.segmentation is None:
            raise InputError("This result holds no segmentation; run it with segment=True.")
        names = "; ".join(f"{c.value} {c.name}" for c in self.classes)
        write_image(self.segmentation, staging.path(path), names, self.classes)

    def stage_probabilities(self, staging: Staging, folder: Path) -> None:
        """Write one image per class into a staging area."""
        for name, image in self.probabilities.items():
            write_image(image, staging.path(ResultFiles(folder).probability(name)), f"probability of {name}")

    def stage_uncertainty(self, staging: Staging, folder: Path) -> None:
        """Write what there is of the two uncertainties into a staging area."""
        files = ResultFiles(folder)
        if self.uncertainty is not None:
            write_image(self.uncertainty, staging.path(files.uncertainty), "entropy of the probabilities")
        if self.lesion_uncertainty is not None:
            write_image(self.lesion_uncertainty, staging.path(files.lesion_uncertainty), "entropy of lesion or not")

    def stage_report(self, staging: Staging, path: Path) -> None:
        """Write the report as JSON into a staging area."""
        write_json(self.report, staging.path(path))


def write_json(content: Any, path: Path) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def check_image_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name that no image can be written to.

    Raises:
        InputError: the suffix is not one of an image, or ITK cannot take the path.
    """
    name = Path(path).name.lower()
    if not name.endswith(OUTPUT_SUFFIXES):
        raise InputError(f"The output {path} has no image suffix; end its name in {', '.join(OUTPUT_SUFFIXES)}.")
    if not name.endswith((".nii", ".nii.gz")):
        itk_path(Path(path).absolute())


def write_image(image: Image, path: Path, description: str, classes: Sequence[ClassInfo] = ()) -> None:
    """Write an image with a description in its header; NRRD also takes the segments' names, as Slicer reads them.

    Raises:
        OSError: it could not be written (no space left, most likely).
        InputError: ITK cannot take the path.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")):
        nifti.write(path, image.array, image.affine, description)  # ITK takes no notice of a full disk
        return
    target, picture = itk_path(path), image.to_sitk()
    picture.SetMetaData("Description", description)
    if path.name.lower().endswith(".nrrd"):
        for key, value in segment_fields(image, classes).items():
            picture.SetMetaData(key, value)
    try:
        with quiet_itk():
            sitk.WriteImage(picture, target, useCompression=True)
    except RuntimeError as error:
        # SimpleITK hides the reason; writing a little more brings the system's own to light.
        path.write_bytes(bytes(1 << 16))
        raise OSError(f"{path.name} could not be written") from error


def segment_fields(image: Image, classes: Sequence[ClassInfo]) -> dict[str, str]:
    """Header fields by which Slicer opens a NRRD label volume as a segmentation with names, colours, terminology."""
    fields: dict[str, str] = {}
    foreground = [c for c in classes if c.value > 0]
    extent = " ".join(f"0 {n - 1}" for n in image.grid.size)
    for number, info in enumerate(foreground):
        prefix = f"Segment{number}_"
        fields[prefix + "ID"] = f"Segment_{info.value}"
        fields[prefix + "Name"] = info.name
        fields[prefix + "Color"] = " ".join(f"{c / 255:.6g}" for c in info.color)
        fields[prefix + "LabelValue"] = str(info.value)
        fields[prefix + "Layer"] = "0"
        fields[prefix + "Extent"] = extent
        if info.terminology:
            nothing = {"scheme": "", "value": "", "meaning": ""}
            category, kind, modifier = (
                "^".join((code["scheme"], code["value"], code["meaning"]))
                for code in (info.terminology.get(key, nothing) for key in ("category", "type", "modifier"))
            )
            fields[prefix + "Tags"] = (
                "TerminologyEntry:Segmentation category and type - DICOM master list"
                f"~{category}~{kind}~{modifier}~~^^~^^|"
            )
    if foreground:
        fields["Segmentation_MasterRepresentation"] = "Binary labelmap"
        fields["Segmentation_ContainedRepresentationNames"] = "Binary labelmap|"
    return fields
