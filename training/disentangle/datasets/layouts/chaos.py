"""CHAOS: one folder of DICOM slices and one of PNG masks per sequence; the slices of T1 and T2 are not registered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ...study import Image, quiet_itk
from ...study.dicom import series_of
from ...study.reading import itk_path
from ..cases import Case, Layout, natural
from . import with_masks_expected
from .chaos_pairs import expert_pairs, published_splits

BANDS = {1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}
"""Label -> grey values of the MR masks (nominally 63, 126, 189, 252; some are off by the rounding of other tools)."""
CT_BANDS = {1: (128, 255)}
_ORGANS = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
_FOLDERS = {"T1in": ("T1DUAL", "InPhase"), "T1out": ("T1DUAL", "OutPhase"), "T2SPIR": ("T2SPIR", "")}


def slice_number(path: Path) -> int:
    """The number of a slice in its file name: IMG-0004-00042.dcm is 42, i0007,0000b.dcm and liver_GT_007.png are 7.

    Raises:
        InputError: there is no number.
    """
    tail = path.stem.rpartition("-")[2] if "-" in path.stem else path.stem.partition(",")[0]
    digits = re.findall(r"\d+", tail)
    if not digits:
        raise InputError(f"{path} has no slice number in its name; take it away.")
    return int(digits[-1])


@dataclass(frozen=True)
class DicomSlices:
    """DICOM files, one slice each, in descending order of their numbers."""

    paths: tuple[Path, ...]

    def files(self) -> tuple[Path, ...]:
        return self.paths

    def order(self) -> list[int]:
        """For each file, its slice in the volume, whose slices are in the order of their places in space."""
        series = series_of(self.paths)
        if len(series.volumes) != 1:
            raise InputError(f"{self.paths[0].parent} holds several images of one slice; take the doubles away.")
        return [series.volumes[0].index(path) for path in self.paths]

    def read(self, sequence: str | None = None) -> Image:
        volume = series_of(self.paths).read()
        return Image.from_volume(volume, sequence, str(self.paths[0].parent))


@dataclass(frozen=True)
class PngMasks:
    """One PNG per DICOM file, in the same descending order; grey values stand for labels."""

    paths: tuple[Path, ...]
    slices: DicomSlices
    bands: tuple[tuple[int, tuple[int, int]], ...]

    def files(self) -> tuple[Path, ...]:
        return self.paths

    def read(self, sequence: str | None = None) -> Image:
        image = self.slices.read(sequence)
        labels = np.zeros(image.array.shape, np.uint8)
        if len(self.paths) != len(self.slices.paths):
            raise InputError(
                f"{self.paths[0].parent} holds {len(self.paths)} masks for {len(self.slices.paths)} DICOM files; "
                "complete the download."
            )
        for path, place in zip(self.paths, self.slices.order(), strict=True):
            grey = self._read_png(path)
            if grey.shape != labels.shape[1:]:
                raise InputError(f"{path} has another size than its DICOM slice; download it again.")
            for value, (low, high) in self.bands:
                labels[place][(grey >= low) & (grey <= high)] = value
        return Image(labels, image.affine, sequence, str(self.paths[0].parent))

    @staticmethod
    def _read_png(path: Path) -> np.ndarray:
        try:
            with quiet_itk():
                array = sitk.GetArrayFromImage(sitk.ReadImage(itk_path(path), imageIO="PNGImageIO"))
        except RuntimeError as error:
            raise InputError(f"{path} is no PNG image that can be read; download it again.") from error
        return array[..., 0] if array.ndim == 3 else array


def find(folder: Path) -> list[Case]:
    """The MR subjects of Train_Sets (or Test_Sets, without masks)."""
    cases, expected = [], {}
    for place in _subjects(folder, "MR"):
        images, masks, missing = {}, {}, []
        for sequence, (series, phase) in _FOLDERS.items():
            source = place / series / "DICOM_anon" / phase
            paths = _slices(source, ".dcm")
            if not paths:
                missing.append(source)
                continue
            images[sequence] = DicomSlices(paths)
            masks |= _masks(place / series / "Ground", sequence, images[sequence], BANDS)
            expected[place.name] = place / series / "Ground"
        pairs, reason = (None, "") if missing else _pairs(place.name, images)
        partly = [place / _FOLDERS[s][0] / "Ground" for s in images if masks and s not in masks]
        missing += dict.fromkeys(partly)
        cases.append(
            Case(
                subject=place.name,
                group=place.name,
                images=images,
                sequence_labels=masks,
                label_names=_ORGANS,
                pairs=pairs,
                missing=tuple(missing),
                **({"unpaired": reason} if reason else {}),
            )
        )
    return with_masks_expected(cases, expected)


def find_ct(folder: Path) -> list[Case]:
    """The CT subjects. They are other people than the MR subjects of the same number."""
    cases, expected = [], {}
    for place in _subjects(folder, "CT"):
        paths = _slices(place / "DICOM_anon", ".dcm")
        images = {"CT": DicomSlices(paths)} if paths else {}
        masks = _masks(place / "Ground", "CT", images["CT"], CT_BANDS) if paths else {}
        expected[place.name] = place / "Ground"
        cases.append(
            Case(
                subject=f"CT-{place.name}",
                group=f"CT-{place.name}",
                images=images,
                sequence_labels=masks,
                label_names={1: "liver"},
                missing=() if paths else (place / "DICOM_anon",),
            )
        )
    return with_masks_expected(cases, {f"CT-{name}": path for name, path in expected.items()})


def _subjects(folder: Path, kind: str) -> list[Path]:
    """Folders named by a number in MR or CT, below the folder given or above it in Train_Sets or Test_Sets."""
    places = [folder / kind, folder / "Train_Sets" / kind, folder / "Test_Sets" / kind]
    if folder.name == kind:
        places.insert(0, folder)
    place = next((p for p in places if p.is_dir()), None)
    if place is None:
        return []
    return sorted((p for p in place.iterdir() if p.is_dir() and p.name.isdigit()), key=lambda p: int(p.name))


def _slices(folder: Path, suffix: str) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    files = [p for p in folder.iterdir() if p.suffix.lower() == suffix and not p.name.startswith(".")]
    return tuple(sorted(files, key=lambda p: (slice_number(p), natural(p.name)), reverse=True))


def _masks(folder: Path, sequence: str, slices: DicomSlices, bands: dict[int, tuple[int, int]]) -> dict[str, PngMasks]:
    paths = _slices(folder, ".png")
    return {sequence: PngMasks(paths, slices, tuple(bands.items()))} if paths else {}


def _pairs(name: str, images: dict[str, DicomSlices]) -> tuple[dict[str, list[int]] | None, str]:
    """The expert's pairs, or why there are none: nothing, or a sentence."""
    counts = {s: len(source.paths) for s, source in images.items()}
    if counts["T1in"] != counts["T1out"]:
        raise InputError(
            f"CHAOS subject {name} has {counts['T1in']} slices in phase and {counts['T1out']} out of phase; "
            "complete the download."
        )
    try:
        pairs = expert_pairs(int(name), counts["T1in"], counts["T2SPIR"])
    except InputError as error:
        return None, str(error)  # for those who want them; other pairings go without
    return None if pairs is None else {"T1in": pairs[0], "T1out": pairs[0], "T2SPIR": pairs[1]}, ""


_COMMON = {
    "registered": False,
    "license": "CC BY-NC-SA 4.0",
    "citation": "Kavur AE et al., CHAOS Challenge - combined (CT-MR) healthy abdominal organ segmentation, Medical "
    "Image Analysis 69:101950, 2021; data: doi:10.5281/zenodo.3362844.",
    "url": "https://chaos.grand-challenge.org",
}
LAYOUTS = {
    "chaos": Layout(
        name="chaos",
        title="CHAOS MR",
        sequences=("T1in", "T1out", "T2SPIR"),
        find=find,
        preprocessing={"normalization": "slice", "spacing": [1.89, 1.89, 1.89]},
        pairs="expert",
        published=published_splits(),
        **_COMMON,
    ),
    "chaos_ct": Layout(
        name="chaos_ct",
        title="CHAOS CT",
        sequences=("CT",),
        find=find_ct,
        preprocessing={"normalization": "window", "spacing": [1.5, 1.5, 1.5]},
        **_COMMON,
    ),
}
