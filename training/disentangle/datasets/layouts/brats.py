"""BraTS 2018, 2020, 2021 and the file names of 2023: four registered, skull-stripped sequences per subject."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ...study.reading import stem_of
from ..cases import ALIGNED, Case, ImageFile, Layout, folders_named, images_in
from . import with_masks_expected

SEQUENCES = ("T1", "T1Gd", "T2", "FLAIR")
_NAMES = {"t1": "T1", "t1ce": "T1Gd", "t2": "T2", "flair": "FLAIR"}
_NAMES_2023 = {"t1n": "T1", "t1c": "T1Gd", "t2w": "T2", "t2f": "FLAIR"}
_PARTS = {1: "necrotic or non-enhancing core", 2: "peritumoral edema", 4: "enhancing tumour"}
_PARTS_2023 = {1: "necrotic or non-enhancing core", 2: "peritumoral edema", 3: "enhancing tumour"}


def find(folder: Path, pattern: str) -> list[Case]:
    """A case per folder whose name fits the pattern."""
    cases, expected = [], {}
    for place in folders_named(folder, pattern):
        case = _case(place)
        cases.append(case)
        expected[case.subject] = place / f"{_prefix(place)}seg.nii.gz"
    return with_masks_expected(cases, expected)


def _case(place: Path) -> Case:
    newer = place.name.lower().startswith("brats-")
    names = _NAMES_2023 if newer else _NAMES
    files = images_in(place)
    images, missing = _sequences(place, files, names)
    grade = place.parent.name.upper()
    # BraTS-GLI-00005-100 is the second examination of the person BraTS-GLI-00005.
    return Case(
        subject=place.name,
        group=place.name.rpartition("-")[0] if newer else place.name,
        images=images,
        labels=_mask(files, {s.path for s in images.values()}),
        label_names=_PARTS_2023 if newer else _PARTS,
        missing=missing,
        about={"grade": grade} if grade in ("HGG", "LGG") else {},
    )


def _prefix(place: Path) -> str:
    return f"{place.name}-" if place.name.lower().startswith("brats-") else f"{place.name}_"


def _sequences(
    place: Path, files: list[Path], names: Mapping[str, str]
) -> tuple[dict[str, ImageFile], tuple[Path, ...]]:
    """Sequence -> file, and those that are not there."""
    prefix = _prefix(place)
    images, missing = {}, []
    for key, sequence in names.items():
        wanted = f"{prefix}{key}".lower()
        path = next((p for p in files if stem_of(p).lower() == wanted), None)
        if path is None:
            missing.append(place / f"{prefix}{key}.nii.gz")
        else:
            images[sequence] = ImageFile(path)
    return {s: images[s] for s in SEQUENCES if s in images}, tuple(missing)


def _mask(files: list[Path], taken: set[Path]) -> ImageFile | None:
    """The mask: "..._seg" before any other file with "seg" in its name (subject 355 of 2020 has
    W39_1998.09.19_Segm.nii)."""
    named = [p for p in files if p not in taken and "seg" in stem_of(p).lower()]
    named.sort(key=lambda p: not stem_of(p).lower().endswith(("_seg", "-seg")))
    return ImageFile(named[0]) if named else None


_CITATION = (
    "Menze BH et al., The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS), IEEE TMI 34(10), 2015; "
    "Bakas S et al., Advancing The Cancer Genome Atlas glioma MRI collections, Scientific Data 4:170117, 2017; "
)


def _layout(name: str, year: str, pattern: str, citation: str, url: str) -> Layout:
    return Layout(
        name=name,
        title=f"BraTS {year}",
        sequences=SEQUENCES,
        find=partial(find, pattern=pattern),
        registered=True,
        license="BraTS data usage agreement (research, with citation)",
        citation=_CITATION + citation,
        url=url,
        preprocessing=ALIGNED,
    )


_REVIEW = "Bakas S et al., Identifying the best machine learning algorithms (BraTS), arXiv:1811.02629, 2018."
LAYOUTS = {
    "brats2018": _layout(
        "brats2018", "2018", r"Brats18_.+", _REVIEW, "https://www.med.upenn.edu/sbia/brats2018/data.html"
    ),
    "brats2020": _layout(
        "brats2020",
        "2020",
        r"BraTS20_(Training|Validation)_\d+",
        _REVIEW,
        "https://www.med.upenn.edu/cbica/brats2020/data.html",
    ),
    "brats2021": _layout(
        "brats2021",
        "2021/2023",
        r"BraTS2021_\d+|BraTS-[A-Za-z]+-\d+-\d+",
        "Baid U et al., The RSNA-ASNR-MICCAI BraTS 2021 benchmark, arXiv:2107.02314, 2021.",
        "https://www.synapse.org/brats",
    ),
}
