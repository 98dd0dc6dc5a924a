"""Brain sets in their published layouts, odd files included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from set_trees import RANDOM, brain, write_brats

from disentangle.datasets.labels import training_labels
from disentangle.datasets.layouts import find_cases, layout
from disentangle.datasets.loading import Loading, load_cases, read_case
from disentangle.errors import InputError
from disentangle.phantoms.brain import BRAIN_CLASSES
from disentangle.preprocessing import PreprocessingConfig
from disentangle.study import Image, Study


def test_brats_2020_with_the_misnamed_mask(tmp_path: Path):
    root = tmp_path / "MICCAI_BraTS2020_TrainingData"
    keys = ("flair", "t1", "t1ce", "t2")
    write_brats(root / "BraTS20_Training_001", keys)
    write_brats(root / "BraTS20_Training_355", keys, mask="W39_1998.09.19_Segm.nii")
    cases = find_cases("brats2020", tmp_path)
    assert cases[1].labels.path.name == "W39_1998.09.19_Segm.nii"
    config = PreprocessingConfig(spacing=(1, 1, 1), size_multiple=8, margin_mm=2)
    sequences = ("T1", "T1Gd", "T2", "FLAIR")
    loading = Loading(sequences, BRAIN_CLASSES, config)
    subjects = load_cases(cases, layout("brats2020"), loading, tmp_path / "cache")
    assert {5, 7} <= set(np.unique(subjects[1].labels)) and set(subjects[0].images) == set(sequences)
    (root / "BraTS20_Training_001" / "BraTS20_Training_001_t2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"Subject BraTS20_Training_001 of BraTS 2020 lacks the file .*_t2\.nii\.gz"):
        find_cases("brats2020", root)


def test_brats_2018_and_the_names_of_2021_and_2023(tmp_path: Path):
    keys = ("flair", "t1", "t1ce", "t2")
    write_brats(tmp_path / "a" / "HGG" / "Brats18_2013_2_1", keys)
    write_brats(tmp_path / "b" / "BraTS2021_00000", keys)
    for visit in ("000", "001"):
        write_brats(tmp_path / "c" / f"BraTS-GLI-00005-{visit}", ("t1n", "t1c", "t2w", "t2f"), "-", top=3)
    assert find_cases("brats2018", tmp_path / "a")[0].about == {"grade": "HGG"}
    assert find_cases("brats2021", tmp_path / "b")[0].subject == "BraTS2021_00000"
    cases = find_cases("brats2021", tmp_path / "c")
    assert len(cases) == 2 and {c.group for c in cases} == {"BraTS-GLI-00005"}
    study, _ = read_case(cases[0], ("T1", "T1Gd"))
    assert study.available == ("T1", "T1Gd") and study.label_names[3] == "enhancing tumour"


def test_decathlon_reads_the_time_points_that_its_card_names(tmp_path: Path):
    sitk = pytest.importorskip("SimpleITK")
    place = tmp_path / "Task01_BrainTumour"
    volumes = [RANDOM.integers(1, 99, (6, 8, 8)).astype(np.int16) + 100 * n for n in range(4)]
    (place / "imagesTr").mkdir(parents=True)
    image = sitk.JoinSeries([sitk.GetImageFromArray(v) for v in volumes])
    sitk.WriteImage(image, str(place / "imagesTr" / "BRATS_001.nii.gz"))
    parts = np.arange(6 * 8 * 8).reshape(6, 8, 8) % 4
    mask = Image(parts.astype(np.uint8), np.diag([-1.0, -1, 1, 1]))
    mask.write(place / "labelsTr" / "BRATS_001.nii.gz")
    card = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "training": [{"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}],
    }
    (place / "dataset.json").write_text(json.dumps(card))
    (case,) = find_cases("task01", tmp_path)
    study, _ = read_case(case, ("T1Gd", "FLAIR"))
    assert np.array_equal(study["T1Gd"].array, volumes[2]) and np.array_equal(study["FLAIR"].array, volumes[0])
    taught = training_labels(parts, case.label_names, np.ones(parts.shape, bool))
    names = {1: "peritumoral edema", 2: "necrotic or non-enhancing core", 3: "enhancing tumour"}
    assert all((taught[parts == value] == BRAIN_CLASSES.index(name)).all() for value, name in names.items())


def test_ixi_ncanda_zerodose_and_studies(tmp_path: Path):
    for name in ("IXI002-Guys-0828-T1", "IXI002-Guys-0828-PD", "IXI012-HH-1211-T2"):
        brain(tmp_path / "ixi" / f"{name}.nii.gz")
    cases = find_cases("ixi", tmp_path / "ixi")
    assert [c.about["site"] for c in cases] == ["Guys", "HH"] and set(cases[0].images) == {"T1", "PD"}
    for sequence in ("T1", "T2"):
        brain(tmp_path / "ncanda" / sequence / "S1.nii.gz")
    brain(tmp_path / "ncanda" / "T1" / "S2.nii.gz")
    with pytest.raises(InputError, match="Subject S2 of NCANDA lacks the file"):
        find_cases("ncanda", tmp_path / "ncanda")
    for name in ("tpm_T1", "tpm_r2T1_T2_FLAIR", "tpm_r2T1_PET", "tpm_mask"):
        brain(tmp_path / "zero" / "case1" / f"{name}.nii")
    study, _ = read_case(find_cases("zerodose", tmp_path / "zero")[0], ("T1", "FLAIR", "PET"))
    assert study.available == ("T1", "FLAIR", "PET") and "" in study.masks
    Study({"T1": Image.read(tmp_path / "zero" / "case1" / "tpm_T1.nii")}, "x").write(tmp_path / "own" / "ms-1")
    assert find_cases("studies", tmp_path / "own")[0].folder == tmp_path / "own" / "ms-1"
