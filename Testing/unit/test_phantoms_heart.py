"""Digital hearts: anatomy where it belongs, contrast, motion between the sequences, labels of each, subjects."""

from __future__ import annotations

import json

import numpy as np
import pytest

from disentangle.datasets.phantoms import load_phantoms, preprocessing_of
from disentangle.errors import InputError
from disentangle.learning.config import load_config
from disentangle.metrics.overlap import dice, slice_dice
from disentangle.phantoms import (
    HEART_CLASSES,
    HEART_CLASSES_RV,
    create_phantom,
    heart_phantom,
    phantom_kinds,
    write_phantom,
)
from disentangle.phantoms.body_signal import after_contrast, balanced, draw_tissues, nulling_time
from disentangle.phantoms.heart import AXES
from disentangle.preprocessing import PreprocessingConfig, normalization
from disentangle.study import Study

SMALL = {"size": (48, 48), "spacing": (2.6, 2.6, 9.0)}
STILL = {"breathing_mm": 0.0, "breathing_slice_mm": 0.0, "shift_mm": 0.0, "contraction": 0.0}
PERFECT = {"bias": 0.0, "noise": 0.0, "blur_mm": 0.0, "contrast_jitter": 0.0, "texture": 0.0}


@pytest.fixture(scope="module")
def heart():
    """A still person with an infarct, under a perfect scanner."""
    sequences = ("cine", "LGE", "BOLD")
    return heart_phantom(4, sequences=sequences, infarct=1.0, right_ventricle=True, **SMALL, **STILL, **PERFECT)


def test_the_same_seed_gives_the_same_voxels_and_another_seed_does_not():
    first, again, other = (heart_phantom(seed, **SMALL) for seed in (5, 5, 6))
    for sequence, image in first.study.images.items():
        assert np.array_equal(image.array, again.study[sequence].array)
        assert not np.array_equal(image.array, other.study[sequence].array)
    assert first.parameters == again.parameters
    assert (first.labels != other.labels).any()


def test_sequences_and_noise_do_not_change_the_person():
    plain, other = heart_phantom(5, **SMALL), heart_phantom(5, sequences=("LGE", "BOLD"), noise=0.2, **SMALL)
    assert np.array_equal(plain.sequence_labels["LGE"], other.sequence_labels["LGE"])


def test_tissue_fractions_fill_every_voxel_and_labels_name_the_largest(heart):
    total = sum(heart.tissues.values())
    assert np.abs(total - 1).max() < 1e-4
    assert min(fraction.min() for fraction in heart.tissues.values()) > -1e-5
    wall = heart.tissues["myocardium"] + heart.tissues["infarct"]
    assert (heart.labels[wall > 0.55] == 1).all()
    assert (heart.labels[heart.tissues["left ventricle"] + heart.tissues["papillary"] > 0.55] == 2).all()
    assert (heart.labels[heart.tissues["right ventricle"] > 0.55] == 3).all()
    assert heart.study.label_names == dict(enumerate(HEART_CLASSES_RV[1:], start=1))


def test_sizes_are_those_of_adults():
    for seed in range(4):
        phantom = heart_phantom(seed, sequences=("cine",), **SMALL)
        ml = [(phantom.labels == value).sum() * np.prod(SMALL["spacing"]) / 1000 for value in (1, 2)]
        assert 50 < ml[0] < 260 and 60 < ml[1] < 260
        assert set(np.unique(phantom.labels)) == {0, 1, 2}


def test_the_wall_encloses_the_cavity_and_the_right_ventricle_lies_to_the_left(heart):
    middle = heart.labels[5]
    cavity, wall = middle == 2, middle == 1
    grown = np.zeros_like(cavity)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        grown |= np.roll(cavity, step, axis)
    assert not (grown & ~cavity & ~wall).any()
    assert np.argwhere(middle == 3)[:, 1].mean() < np.argwhere(cavity)[:, 1].mean() - 5


def test_the_axes_are_a_short_axis_frame(heart):
    assert np.abs(AXES.T @ AXES - np.eye(3)).max() < 1e-12 and np.linalg.det(AXES) == pytest.approx(1)
    assert heart.grid.direction == pytest.approx(AXES)
    # From the apex to the base is backwards, upwards and to the right; the first slice is the smallest.
    assert AXES[0, 2] < 0 and AXES[1, 2] > 0 and AXES[2, 2] > 0
    assert (heart.labels[0] == 2).sum() < (heart.labels[6] == 2).sum()


def test_contrast_is_that_of_the_sequences(heart):
    def level(sequence: str, tissue: str) -> float:
        share = heart.tissues[tissue]
        return float(np.median(heart.study[sequence].array[share >= min(0.85, share.max())]))

    for sequence in ("cine", "BOLD"):
        assert level(sequence, "left ventricle") > 1.5 * level(sequence, "myocardium")
    assert level("LGE", "myocardium") < 0.35 * level("LGE", "left ventricle")
    assert level("LGE", "infarct") > 2.5 * level("LGE", "myocardium")
    assert level("cine", "infarct") < 1.5 * level("cine", "myocardium")
    assert level("cine", "lung") < 0.3 * level("cine", "myocardium")


@pytest.mark.parametrize("seed", [3, 4])
def test_dark_blood_reverses_blood_and_wall_in_lge_alone(seed):
    usual, dark = (
        heart_phantom(seed, infarct=0.0, dark_blood=share, **SMALL, **STILL, **PERFECT) for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(usual.sequence_labels["LGE"], dark.sequence_labels["LGE"])
    np.testing.assert_array_equal(usual.study["cine"].array, dark.study["cine"].array)

    def level(phantom, sequence: str, tissue: str) -> float:
        share = phantom.tissues[tissue]
        return float(np.median(phantom.study[sequence].array[share >= min(0.85, share.max())]))

    assert level(usual, "LGE", "left ventricle") > 2 * level(usual, "LGE", "myocardium")
    assert level(dark, "LGE", "left ventricle") < 0.6 * level(dark, "LGE", "myocardium")
    assert dark.parameters["protocols"]["LGE"]["nulled"] == "blood"
    # Fat is suppressed in LGE, not in cine.
    assert level(dark, "cine", "fat") > level(dark, "cine", "myocardium")
    assert level(usual, "LGE", "fat") < level(usual, "LGE", "left ventricle")


def test_infarcts_are_wall_and_papillary_muscles_are_cavity(heart):
    infarct, papillary = heart.tissues["infarct"] > 0.6, heart.tissues["papillary"] > 0.6
    assert infarct.sum() > 5 and (heart.labels[infarct] == 1).all()
    assert papillary.any() and (heart.labels[papillary] == 2).all()
    assert "infarct" not in heart_phantom(4, infarct=0.0, sequences=("cine",), **SMALL).tissues


def test_still_sequences_agree_and_contraction_shrinks_the_cavity(heart):
    assert np.array_equal(heart.sequence_labels["cine"], heart.sequence_labels["LGE"])
    moved = heart_phantom(4, **{**STILL, "contraction": 0.8}, **SMALL)
    diastole, systole = (moved.sequence_labels[s] for s in ("cine", "LGE"))
    assert (systole == 2).sum() < 0.75 * (diastole == 2).sum()


def test_breathing_moves_the_heart_along_the_body():
    deep = heart_phantom(4, **{**STILL, "breathing_mm": 10.0}, **SMALL)
    down = deep.parameters["protocols"]["LGE"]["motion"]["breathing_mm"][0]
    assert abs(down) == pytest.approx(10)
    positions = []
    for sequence in ("cine", "LGE"):
        k, j, i = np.nonzero(deep.sequence_labels[sequence][2:7] == 2)
        positions.append((deep.grid.affine @ np.stack([i, j, k, np.ones_like(k)])).mean(axis=1))
    inferior = AXES[:, 1] * (AXES[2, 1] < 0)
    assert np.sign((positions[1] - positions[0])[:3] @ inferior) == np.sign(down)


def copied(sequence: str, seeds: int) -> float:
    """Mean joint Dice of the cine masks copied to another sequence."""
    scores = []
    for seed in range(seeds):
        own = heart_phantom(seed, size=(40, 40), spacing=(3.0, 3.0, 9.0), sequences=("cine", sequence)).sequence_labels
        scores.append(slice_dice(own["cine"], own[sequence]))
        assert dice(own["cine"] == 1, own[sequence] == 1) < dice(own["cine"] == 2, own[sequence] == 2)
    return float(np.mean(scores))


def test_copying_the_cine_masks_scores_as_in_the_paper():
    assert copied("LGE", 20) == pytest.approx(0.67, abs=0.02)
    assert copied("BOLD", 8) == pytest.approx(0.80, abs=0.03)


def test_signal_equations_have_their_known_limits():
    assert balanced(1000.0, 1000.0, 1.0, 90.0) == pytest.approx(0.5)
    for t1, tr in ((450.0, 1500.0), (300.0, 1e9)):
        ti = nulling_time(t1, tr)
        assert 1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1) == pytest.approx(0, abs=1e-12)
    assert after_contrast(1000.0, 0.0) == pytest.approx(1000.0)
    assert after_contrast(1000.0, 1.0) == pytest.approx(1000 / 5.5)
    tissues = draw_tissues(np.random.default_rng(0))
    assert tissues["papillary"] == tissues["myocardium"]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"sequences": ("T1",)}, "cine"),
        ({"sequences": ("cine", "cine")}, "each once"),
        ({"missing": ("cine", "LGE")}, "missing"),
        ({"size": (4, 4)}, "16 to 1024"),
        ({"spacing": (1.0, 1.0)}, "give three numbers"),
    ],
)
def test_impossible_hearts_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        create_phantom("heart", 0, **changes)


def test_the_folder_keeps_the_labels_of_every_sequence(tmp_path):
    phantom = heart_phantom(3, **SMALL)
    write_phantom(phantom, tmp_path / "heart", tissues=True)
    assert (tmp_path / "heart" / "tissues" / "left-ventricle.nii.gz").is_file()
    card = json.loads((tmp_path / "heart" / "study.json").read_text())
    assert card["sequence_labels"] == ["cine", "LGE"]
    study = Study.from_folder(tmp_path / "heart")
    assert study.available == ("cine", "LGE") and not study.warnings
    assert np.array_equal(study.labels.array, phantom.labels)
    for sequence, labels in phantom.sequence_labels.items():
        assert np.array_equal(study.sequence_labels[sequence].array, labels)
    assert set(study.subset(["LGE"]).sequence_labels) == {"LGE"}


def test_hearts_become_subjects_as_the_configuration_says(tmp_path):
    config = load_config(
        {
            "system": {"classes": "heart"},
            "data": {"phantoms": {"kind": "heart", "arguments": SMALL}, "studies": None},
        }
    )
    assert config["system"]["classes"] == list(HEART_CLASSES) and "healthy" not in config["system"]
    preprocessing = PreprocessingConfig.from_dict(config["preprocessing"])
    assert preprocessing.spacing == SMALL["spacing"]
    arguments, variants = config["data"]["phantoms"]["arguments"], [{}, {"missing": ("cine",)}]
    both, single = load_phantoms([2, 3], arguments, variants, preprocessing, tmp_path, kind="heart")
    phantom = heart_phantom(2, **SMALL)
    assert set(both.images) == {"cine", "LGE"} and set(single.images) == set(single.sequence_labels) == {"LGE"}
    assert both.mask.all() and both.mask.shape == phantom.labels.shape
    for sequence, image in both.images.items():
        assert image.dtype == np.float16 and image.min() == -1 and image.max() == 1
        truth = phantom.study[sequence].array
        expected = [np.clip(np.interp(s, np.percentile(s, [1, 99]), [-1, 1]), -1, 1) for s in truth]
        assert np.abs(image - np.stack(expected)).max() < 2e-3
        assert np.array_equal(both.sequence_labels[sequence], phantom.sequence_labels[sequence])
    again = load_phantoms([2], arguments, variants, preprocessing, tmp_path, kind="heart")[0]
    assert np.array_equal(again.images["LGE"], both.images["LGE"])
    assert np.array_equal(again.sequence_labels["LGE"], both.sequence_labels["LGE"])
    with pytest.raises(InputError, match="brain, brain-pet, heart, abdomen"):
        load_phantoms([0], {}, [], preprocessing, tmp_path, kind="foot")
    assert set(phantom_kinds()) >= {"brain", "brain-pet", "heart", "abdomen"}
    assert preprocessing_of("brain", {}) == {}


def test_slices_are_normalised_on_their_own_and_back():
    config = PreprocessingConfig(normalization="slice_percentile", clip=None)
    array = np.random.default_rng(0).uniform(0, 50, (4, 20, 20)).astype(np.float32) * np.arange(4)[:, None, None]
    offset, scale = normalization.measure(array, np.ones(array.shape, bool), config)
    result = normalization.apply(array, offset, scale)
    assert (result[0] == -1).all()
    for plane in result[1:]:
        assert np.percentile(plane, [1, 99]) == pytest.approx([-1, 1], abs=1e-4)
    assert normalization.invert(result, offset, scale) == pytest.approx(array, abs=1e-3)


def test_unknown_classes_are_refused():
    with pytest.raises(InputError, match="heart"):
        load_config({"system": {"classes": "foot"}})
