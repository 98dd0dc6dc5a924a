"""Published data sets as they lie on disk. The module of a layout is imported when it is asked for, not before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from ...errors import InputError
from ..cases import Case, Layout, natural

LAYOUTS = {
    "brats2018": ("brats", "BraTS 2018: HGG and LGG folders, T1, T1Gd, T2, FLAIR, tumour parts"),
    "brats2020": ("brats", "BraTS 2020: one folder per subject, T1, T1Gd, T2, FLAIR, tumour parts"),
    "brats2021": ("brats", "BraTS 2021 and the layout of 2023 (BraTS-GLI), T1, T1Gd, T2, FLAIR, tumour parts"),
    "task01": ("decathlon", "Medical Segmentation Decathlon, Task01_BrainTumour: 4-D files"),
    "task03": ("decathlon", "Medical Segmentation Decathlon, Task03_Liver: CT, liver and tumours"),
    "chaos": ("chaos", "CHAOS MR: T1 in and out of phase, T2 SPIR; liver, kidneys, spleen; DICOM and PNG"),
    "chaos_ct": ("chaos", "CHAOS CT: liver; DICOM and PNG"),
    "lits": ("lits", "LiTS 2017: CT, liver and tumours"),
    "mscmrseg": ("mscmrseg", "MS-CMRSeg 2019: cine, T2, LGE of the heart, not registered"),
    "ixi": ("ixi", "IXI: healthy brains, T1, T2, PD, neither registered nor skull-stripped"),
    "ncanda": ("brain_folders", "NCANDA and the like: a folder T1 and a folder T2, one file per subject in both"),
    "zerodose": ("brain_folders", "Zero-dose PET and the like: tpm_T1, tpm_r2T1_T2_FLAIR, tpm_r2T1_PET per case"),
    "studies": ("studies", "a folder of studies in the study layout (study.json)"),
}
"""Layout name -> (module in this folder, description)."""


def layout(name: str) -> Layout:
    """The layout called ``name``.

    Raises:
        InputError: no such layout.
    """
    if name not in LAYOUTS:
        raise InputError(f'There is no data set layout "{name}"; use one of {", ".join(LAYOUTS)}.')
    return import_module(f".{LAYOUTS[name][0]}", __name__).LAYOUTS[name]


def layout_module(name: str) -> str:
    """Where a layout is read: "datasets.layouts.brats"."""
    return f"datasets.layouts.{LAYOUTS[name][0]}"


def find_cases(
    name: str,
    folder: str | Path,
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
    same_subject: Sequence[Sequence[str]] = (),
) -> list[Case]:
    """The cases of a data set, complete and in the order of their numbers; no voxel is read.

    Args:
        name: of the layout.
        folder: the data set as it was unpacked, or the folder in it that holds the subjects.
        include, exclude: shell patterns of subjects; ``exclude`` wins.
        same_subject: lists of patterns of subjects that are one person.

    Raises:
        InputError: no such folder, nothing of this layout in it, a pattern that fits nothing (a misspelt exclusion
            would leak), a file missing of a subject that is not excluded, or a mask missing where others have one.
    """
    found, folder = layout(name), Path(folder)
    if not folder.is_dir():
        raise InputError(f"The folder {folder} of {found.title} does not exist; set data.dataset.folder.")
    cases = sorted(found.find(folder), key=lambda c: natural(c.subject))
    if not cases:
        raise InputError(
            f"{folder} holds nothing in the layout of {found.title}; check data.dataset.folder, or set "
            f"data.dataset.layout to one of {', '.join(LAYOUTS)}."
        )
    include, exclude = list(include), list(exclude)
    for pattern in include + exclude:
        if not any(fnmatchcase(c.subject, pattern) for c in cases):
            raise InputError(f'No subject of {found.title} in {folder} is named "{pattern}"; check include, exclude.')
    cases = [c for c in cases if any(fnmatchcase(c.subject, p) for p in include)]
    cases = [c for c in cases if not any(fnmatchcase(c.subject, p) for p in exclude)]
    for case in cases:
        if case.missing:
            others = f" and {len(case.missing) - 1} more" if len(case.missing) > 1 else ""
            raise InputError(
                f"Subject {case.subject} of {found.title} lacks the file {case.missing[0]}{others}; "
                "complete the download or add the subject to data.dataset.exclude."
            )
    twice = next((b for a, b in pairwise(cases) if a.subject == b.subject), None)
    if twice is not None:
        raise InputError(f"Subject {twice.subject} is twice below {folder}; give a folder that holds it once.")
    persons = {p: group[0] for group in same_subject for p in group}
    return [
        replace(c, group=next((g for p, g in persons.items() if fnmatchcase(c.subject, p)), c.group)) for c in cases
    ]


def with_masks_expected(cases: Sequence[Case], expected: dict[str, Path]) -> list[Case]:
    """Cases without a mask miss it where others of the set have one; a set without any mask (a validation set) is
    complete.

    Args:
        expected: subject -> where its mask should be.
    """
    if not any(case.annotated for case in cases):
        return list(cases)
    return [c if c.annotated else replace(c, missing=(*c.missing, expected[c.subject])) for c in cases]
