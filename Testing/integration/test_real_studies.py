"""The shipped bundle on real clinical studies, from the command line as a user would."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from disentangle import Predictor, Study
from disentangle.cli import main
from disentangle.inference.confidence import doubts, recognise_study, taken_for_stripped
from disentangle.preprocessing import Memory, prepare

TUMOUR = (5, 6, 7)


def test_the_label_lies_on_the_tumour_of_four_unregistered_series(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "tcga-fg-6692-native"
    output, report = tmp_path / "seg.nii.gz", tmp_path / "report.json"
    assert main(["segment", "--study", str(study), "--output", str(output), "--json", str(report), "--quiet"]) == 0

    told = json.loads(report.read_text(encoding="utf-8"))
    first = next(iter(told["inputs"]))
    image = sitk.ReadImage(str(study / f"{first}.nii.gz"))
    labels = sitk.ReadImage(str(output))
    assert labels.GetSize() == image.GetSize()
    assert np.allclose(labels.GetOrigin(), image.GetOrigin(), atol=1e-3)
    assert np.allclose(labels.GetDirection(), image.GetDirection(), atol=1e-4)

    # The truth of this patient is drawn on the registered copy of the study: about 30 ml in the right frontal lobe,
    # bright in FLAIR. The FLAIR of this one is rotated by 40 degrees, so it must be hit through the registration.
    flair = sitk.ReadImage(str(study / "FLAIR.nii.gz"), sitk.sitkFloat32)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(study / "brainmask_FLAIR.nii.gz"))) > 0
    main(["segment", "--input", *(f"{s}={study / s}.nii.gz" for s in ("FLAIR", "T1", "T1Gd", "T2")),
          "--output", str(output), "--quiet"])  # fmt: skip
    tumour = np.isin(sitk.GetArrayFromImage(sitk.ReadImage(str(output))), TUMOUR)
    brain = sitk.GetArrayFromImage(flair)[mask]
    inside = sitk.GetArrayFromImage(flair)[tumour]
    volume_ml = tumour.sum() * np.prod(flair.GetSpacing()) / 1000
    assert 10 < volume_ml < 80
    assert np.median(inside) > np.percentile(brain, 90)


def test_flair_of_ms_19_is_closer_to_the_real_one_than_any_input(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "ms-19"
    report = tmp_path / "report.json"
    inputs = [f"{s}={study / s}.nii.gz" for s in ("T1", "T1Gd", "T2")]
    code = main(["synthesize", "--input", *inputs, "--target", "FLAIR", "--reference",
                 f"FLAIR={study / 'FLAIR.nii.gz'}", "--output", str(tmp_path / "out"), "--json", str(report),
                 "--quiet"])  # fmt: skip
    assert code == 0
    quality = json.loads(report.read_text(encoding="utf-8"))["quality"]["synthesis"]["FLAIR"]
    assert quality["psnr"] > quality["nearest_input"]["psnr"]
    assert quality["ssim"] > quality["nearest_input"]["ssim"]


def doubts_of(study: Study) -> list[str]:
    prepared = prepare(study, memory=Memory())
    return list(doubts(recognise_study(prepared), stripped=taken_for_stripped(prepared)))


@pytest.mark.parametrize(
    ("axis", "told"),
    [
        (None, None),
        (0, "FLAIR seems to lie upside down, unlike other sequences"),
        (1, "FLAIR does not lie as the other sequences do"),
        (2, "FLAIR seems to be mirrored left to right against T1Gd"),
    ],
)
def test_a_sequence_whose_header_lies_is_told_and_no_other(shared_data: Path, axis: int | None, told: str) -> None:
    study = Study.from_folder(shared_data / "brats13-02")
    half = np.diag((2.0, 2.0, 2.0, 1.0))
    images = {
        name: replace(image, array=image.array[::2, ::2, ::2], affine=image.affine @ half)
        for name, image in study.images.items()
    }
    if axis is not None:
        images["FLAIR"] = images["FLAIR"].with_array(np.flip(images["FLAIR"].array, axis).copy())
    found = doubts_of(Study(images))
    assert len(found) == (told is not None)
    assert not found or found[0].startswith(told)


ALL_STUDIES = os.environ.get("DISENTANGLE_ALL_STUDIES")
"""Set, every subset of every study is tried (half an hour of one core); else each sequence alone, and all, of two."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["*"] if ALL_STUDIES else ["tcga-du-7294", "brats13-01"])
def test_any_subset_of_the_sequences_runs(shared_data: Path, name: str) -> None:
    for folder in sorted(shared_data.glob(name)):
        if folder.is_dir():
            subsets_run(Study.from_folder(folder))


def subsets_run(study: Study) -> None:
    predictor = Predictor("brain-mr", device="cpu")
    sizes = range(1, len(study.available) + 1) if ALL_STUDIES else (1, len(study.available))
    for size in sizes:
        for subset in combinations(study.available, size):
            result = predictor.run(study.subset(subset), segment=True)
            assert result.segmentation.grid.same_as(study[subset[0]].grid), subset
            assert (result.segmentation.array > 0).any(), subset
    print(f"{study.name}: subsets of {', '.join(study.available)}")
