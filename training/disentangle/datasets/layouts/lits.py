"""LiTS 2017: volume-<n>.nii and segmentation-<n>.nii, in one folder or two batches, in several orientations."""

from __future__ import annotations

from pathlib import Path

from ..cases import Case, ImageFile, Layout, files_named
from . import with_masks_expected

_LABELS = {1: "liver", 2: "liver tumour"}


def find(folder: Path) -> list[Case]:
    """A case per volume; its segmentation may lie in another folder."""
    masks = {match[1]: path for path, match in files_named(folder, r"segmentation-(\d+)")}
    cases, expected = [], {}
    for path, match in files_named(folder, r"volume-(\d+)"):
        number = match[1]
        mask = {"CT": ImageFile(masks[number])} if number in masks else {}
        subject = f"volume-{number}"
        cases.append(Case(subject, subject, {"CT": ImageFile(path)}, sequence_labels=mask, label_names=_LABELS))
        expected[subject] = path.with_name(path.name.replace("volume", "segmentation"))
    return with_masks_expected(cases, expected)


LAYOUTS = {
    "lits": Layout(
        name="lits",
        title="LiTS 2017",
        sequences=("CT",),
        find=find,
        registered=False,
        license="CC BY-NC-ND 4.0",
        citation="Bilic P et al., The Liver Tumor Segmentation Benchmark (LiTS), Medical Image Analysis 84, 2023.",
        url="https://competitions.codalab.org/competitions/17094",
        preprocessing={"normalization": "window", "spacing": [1.5, 1.5, 1.5]},
    )
}
