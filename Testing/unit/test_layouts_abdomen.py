"""CHAOS and other unregistered sets, written as they are published, read back as subjects and a batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from set_trees import write_chaos, write_masks, write_slices

from disentangle.datasets.layouts import find_cases, layout
from disentangle.datasets.layouts.chaos import slice_number
from disentangle.datasets.loading import Loading, load_cases
from disentangle.datasets.pairs import PairSampler, PairSamplingConfig
from disentangle.datasets.published import DataSet, load_sets
from disentangle.datasets.stacks import STACKED
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.preprocessing import PreprocessingConfig
from disentangle.study import Image

ABDOMEN = ("background", "liver", "right kidney", "left kidney", "spleen")


def load(name: str, cases, tmp_path: Path, sequences, classes, pairs="expert", centre=(), size=(16, 16), pixel=1.0):
    settings = STACKED | dict(layout(name).preprocessing) | {"spacing": [pixel] * 3}
    preprocessing = PreprocessingConfig.from_dict(settings)
    loading = Loading(tuple(sequences), tuple(classes), preprocessing, pairs, size, centre)
    return load_cases(cases, layout(name), loading, tmp_path / "c")


def test_chaos_pairs_slices_as_the_expert_did(tmp_path: Path):
    for number in (15, 39):
        write_chaos(tmp_path, number)
    cases = find_cases("chaos", tmp_path)
    assert [c.subject for c in cases] == ["15", "39"]
    subjects = load("chaos", cases, tmp_path, ("T1in", "T2SPIR"), ABDOMEN)
    assert subjects[1].images["T1in"].shape == (19, 16, 16)
    labels = subjects[0].sequence_labels["T2SPIR"][0]
    assert labels[0, :4].tolist() == [1, 2, 3, 4] and labels[15, 15] == 0 and (labels[4:8, 4:8] == 1).all()
    assert subjects[0].images["T1in"].min() == -1 and subjects[0].images["T1in"].max() == 1
    config = PairSamplingConfig(batch=2, sizes=((16, 16),))
    batch = PairSampler(subjects, ("T1in", "T2SPIR"), (), config, 0).batch(0)
    assert batch["images"]["T1in"].shape == (2, 1, 16, 16)


def test_chaos_slices_are_numbered_after_the_last_dash():
    assert slice_number(Path("IMG-0004-00042.dcm")) == 42
    assert slice_number(Path("i0007,0000b.dcm")) == 7
    assert slice_number(Path("liver_GT_007.png")) == 7


def test_chaos_without_masks_of_one_subject_is_refused(tmp_path: Path):
    write_chaos(tmp_path, 15)
    write_chaos(tmp_path, 20, masks=False)
    with pytest.raises(InputError, match=r"Subject 20 of CHAOS MR lacks the file .*Ground"):
        find_cases("chaos", tmp_path)
    assert [c.subject for c in find_cases("chaos", tmp_path, exclude=["20"])] == ["15"]


def test_lits_in_any_orientation(tmp_path: Path):
    volume = np.full((4, 16, 16), -1000, np.int16)
    volume[:, 2:6, 9:12] = 50
    labels = np.where(volume == 50, 1, 0).astype(np.uint8)
    labels[:, 3, 10] = 2
    for n, affine in enumerate((np.diag([1.0, 1, 5, 1]), np.diag([-1.0, -1, 5, 1]))):
        flip = (slice(None), slice(None, None, -1), slice(None, None, -1)) if n else slice(None)
        Image(volume[flip].copy(), affine).write(tmp_path / "Training Batch 1" / f"volume-{n}.nii")
        Image(labels[flip].copy(), affine).write(tmp_path / "Training Batch 2" / f"segmentation-{n}.nii")
    subjects = load(
        "lits", find_cases("lits", tmp_path), tmp_path, ("CT",), ("background", "liver"), size=(16, 16), pixel=1.0
    )
    a, b = (s.sequence_labels["CT"] for s in subjects)
    assert a.sum() == 48 and a.max() == 1
    assert np.allclose([np.argwhere(a).mean(0)], [np.argwhere(b).mean(0)], atol=1.01)


def test_mscmrseg_masks_of_some_patients(tmp_path: Path):
    place = tmp_path / "C0LET2_nii45_for_challenge19"
    random = np.random.default_rng(0)
    for patient in (1, 10):
        for key, depth in (("C0", 5), ("T2", 3), ("LGE", 5)):
            spacing = 10.0 if key != "T2" else 20.0
            image = random.integers(0, 500, (depth, 16, 16)).astype(np.int16)
            affine = np.diag([1.0, 1, spacing, 1])
            Image(image, affine).write(place / "c0t2lge" / f"patient{patient}_{key}.nii.gz")
            if patient == 1 or key != "LGE":
                mask = np.zeros(image.shape, np.int16)
                mask[:, 2:9, 2:9], mask[:, 4:6, 4:6], mask[:, 12:, 12:] = 200, 500, 600
                Image(mask, affine).write(place / f"{key.lower()}gt" / f"patient{patient}_{key}_manual.nii.gz")
    cases = find_cases("mscmrseg", tmp_path)
    assert [c.subject for c in cases] == ["patient1", "patient10"]
    heart = ("background", "myocardium", "left ventricle")
    one, ten = load("mscmrseg", cases, tmp_path, ("cine", "LGE"), heart, "position")
    assert sorted(np.unique(one.sequence_labels["LGE"])) == [0, 1, 2]
    assert (ten.sequence_labels["LGE"] == 255).all() and ten.sequence_labels["cine"].max() == 2
    alone = load("mscmrseg", cases, tmp_path, ("cine", "T2"), heart, "none")
    assert [s.name for s in alone] == ["patient1-cine", "patient1-T2", "patient10-cine", "patient10-T2"]
    with pytest.raises(InputError, match="Subject patient1 of MS-CMRSeg 2019: nobody has paired"):
        load("mscmrseg", cases, tmp_path, ("cine", "T2"), heart, "expert")
    centred = load("mscmrseg", cases, tmp_path, ("cine", "LGE"), heart, "position", ("cine", "LGE"), (12, 12))
    places = [np.argwhere(s.sequence_labels["cine"] == 2).mean(0)[1:] for s in centred]
    assert np.allclose(places, 6, atol=0.51)
    # Both sequences are cut around the ventricle of cine, LGE of patient 10 without a mask as that with one.
    whole = load("mscmrseg", cases, tmp_path, ("cine", "LGE"), heart, "position")[1]
    places = [np.argwhere(s.sequence_labels["cine"] == 2).min(0)[1:] for s in (centred[1], whole)]
    row, column = places[0] - places[1]
    cut = centred[1].images["LGE"][:, row:, column:]
    assert np.array_equal(cut, whole.images["LGE"][:, : cut.shape[1], : cut.shape[2]])


def test_all_sequences_of_a_subject_are_cut_around_one_place_that_no_withheld_mask_tells(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 500, (3, 16, 16)).astype(np.int16)

    def loaded(name: str, top: int, annotated: dict | float, cine: int = 4) -> Subject:
        place = tmp_path / name / "C0LET2_nii45_for_challenge19"
        for key, start in (("C0", cine), ("T2", 4), ("LGE", top)):
            mask = np.zeros(image.shape, np.int16)
            mask[:, start : start + 4, 5:9] = 500
            mask[:, start, 5:9] = 200
            for patient in range(1, 5):
                Image(image, np.eye(4)).write(place / "c0t2lge" / f"patient{patient}_{key}.nii.gz")
                Image(mask, np.eye(4)).write(place / f"{key.lower()}gt" / f"patient{patient}_{key}_manual.nii.gz")
        chosen = DataSet("mscmrseg", str(tmp_path / name), annotated=annotated, folds=2)
        settings = STACKED | dict(layout("mscmrseg").preprocessing) | {"spacing": [1.0] * 3}
        preprocessing = PreprocessingConfig.from_dict(settings)
        loading = Loading(("cine", "LGE"), ("background", "left ventricle"), preprocessing, size=(12, 12))
        subjects, _ = load_sets([chosen], ["training"], loading, tmp_path / "c", tmp_path / name)
        return subjects["training"][0]

    near, far = loaded("near", 4, {"LGE": 0.0}), loaded("far", 8, {"LGE": 0.0})
    assert np.array_equal(near.images["LGE"], far.images["LGE"])
    nobody = [loaded(f"nobody-{cine}", 4, 0.0, cine) for cine in (4, 8)]
    assert np.array_equal(*(subject.images["cine"] for subject in nobody))
    # Where both are annotated they stay as far from each other as they were scanned.
    both = loaded("both", 6, {}).sequence_labels
    rows = [np.argwhere(both[s] == 1).mean(0)[1] for s in ("cine", "LGE")]
    assert rows[1] - rows[0] == 2


def test_chaos_ct_and_decathlon_liver_are_stacks_of_one_sequence(tmp_path: Path):
    for n in (1, 2):
        place = tmp_path / "chaos" / "Train_Sets" / "CT" / str(n)
        write_slices(place / "DICOM_anon", [0, 1, 2, 3], "i{:04d},0000b.dcm", 900)
        write_masks(place / "Ground", [0, 1, 2, 3], "liver_GT_{:03d}.png")
    cases = find_cases("chaos_ct", tmp_path / "chaos")
    assert [c.group for c in cases] == ["CT-1", "CT-2"]
    subject = load("chaos_ct", cases, tmp_path, ("CT",), ("background", "liver"), "none")[0]
    # Grey 63 to 126 of an MR mask is nothing here; 190 and 251 are liver.
    assert subject.sequence_labels["CT"].sum() == 4 * 2 and subject.images["CT"].max() == 1
    place = tmp_path / "Task03_Liver"
    volume = np.full((3, 16, 16), -1000, np.int16)
    volume[:, 4:12, 4:12] = 50
    Image(volume, np.eye(4)).write(place / "imagesTr" / "liver_0.nii.gz")
    organ = (volume == 50).astype(np.uint8)
    organ[1, 6:8, 6:8] = 2
    Image(organ, np.eye(4)).write(place / "labelsTr" / "liver_0.nii.gz")
    entry = {"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"}
    labels = {"0": "background", "1": "liver", "2": "cancer"}
    card = {"modality": {"0": "CT"}, "labels": labels, "training": [entry]}
    (place / "dataset.json").write_text(json.dumps(card))
    (found,) = load("task03", find_cases("task03", tmp_path), tmp_path, ("CT",), ("background", "liver"), "none")
    assert found.source == "task03" and set(np.unique(found.images["CT"])) == {-1, 0}
    # A tumour of the liver is no hole in it, and is told apart by a system that has a class for it.
    assert np.array_equal(found.sequence_labels["CT"], organ > 0)
    parts = ("background", "liver", "liver tumour")
    (found,) = load("task03", find_cases("task03", tmp_path), tmp_path, ("CT",), parts, "none")
    assert np.array_equal(found.sequence_labels["CT"], organ)
    with pytest.raises(InputError, match="nobody has drawn right kidney"):
        load("task03", find_cases("task03", tmp_path), tmp_path, ("CT",), ABDOMEN, "none")


def test_random_partners_lie_near_the_right_ones_and_stay(tmp_path: Path):
    write_chaos(tmp_path, 15)
    cases = find_cases("chaos", tmp_path)
    right, moved, again = (
        load("chaos", cases, tmp_path / place, ("T1in", "T2SPIR"), ABDOMEN, pairs)[0].about["slices"]
        for place, pairs in (("a", "expert"), ("a", "random"), ("b", "random"))
    )
    assert moved == again and moved["T1in"] == right["T1in"] and moved["T2SPIR"] != right["T2SPIR"]
    assert max(abs(a - b) for a, b in zip(moved["T2SPIR"], right["T2SPIR"], strict=True)) == 2
