"""Digital abdomens: organs where they belong, contrast of every sequence, breath-holds, CT, subjects."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.datasets.phantoms import load_phantoms, preprocessing_of
from disentangle.errors import InputError
from disentangle.metrics.overlap import slice_dice
from disentangle.phantoms import ABDOMEN_CLASSES, abdomen_phantom, create_phantom
from disentangle.preprocessing import PreprocessingConfig
from disentangle.sequences import canonical, guess_from_name

SMALL = {"size": (56, 56), "spacing": (6.4, 6.4, 10.0), "slices": 20}
FINE = {"size": (88, 88), "spacing": (4.0, 4.0, 10.0), "slices": 18}
STILL = {"breathing_mm": 0.0, "breathing_slice_mm": 0.0, "shift_mm": 0.0}
PERFECT = {"bias": 0.0, "noise": 0.0, "ct_noise": 0.0, "blur_mm": 0.0, "contrast_jitter": 0.0, "texture": 0.0}
MR = ("T1in", "T1out", "T2SPIR", "T1", "T1arterial", "T1portal", "T1delayed")


@pytest.fixture(scope="module")
def abdomen():
    """A still person in every MR sequence, under a perfect scanner."""
    return abdomen_phantom(3, sequences=MR, **FINE, **STILL, **PERFECT)


def level(phantom, sequence: str, tissue: str) -> float:
    """Median intensity where a tissue fills the voxel as far as it ever does."""
    share = phantom.tissues[tissue]
    return float(np.median(phantom.study[sequence].array[share >= min(0.9, share.max())]))


def test_the_same_seed_gives_the_same_voxels_and_another_seed_does_not():
    first, again, other = (abdomen_phantom(seed, **SMALL) for seed in (5, 5, 6))
    for sequence, image in first.study.images.items():
        assert np.array_equal(image.array, again.study[sequence].array)
    assert first.parameters == again.parameters
    assert (first.labels != other.labels).any()


def test_organs_lie_on_their_side_and_have_adult_sizes():
    litres = []
    for seed in range(4):
        phantom = abdomen_phantom(seed, sequences=("T1in",), **SMALL)
        centre, volume = [], []
        for value in range(1, len(ABDOMEN_CLASSES)):
            k, j, i = np.nonzero(phantom.labels == value)
            centre.append((phantom.grid.affine @ np.stack([i, j, k, np.ones_like(k)])).mean(axis=1)[:3])
            volume.append(len(k) * np.prod(SMALL["spacing"]) / 1e6)
        liver, right, left, spleen = centre
        # LPS: x grows to the person's left, y to the back, z upwards.
        assert liver[0] < -20 and right[0] < -25 and left[0] > 25 and spleen[0] > 60
        assert min(right[1], left[1]) > liver[1] and liver[2] > right[2] and left[2] > right[2] - 15
        litres.append(volume)
    low, high = np.min(litres, axis=0), np.max(litres, axis=0)
    assert (low > [0.9, 0.05, 0.05, 0.06]).all() and (high < [2.2, 0.3, 0.3, 0.5]).all()


def test_tissue_fractions_fill_every_voxel_and_labels_name_the_largest(abdomen):
    assert np.abs(sum(abdomen.tissues.values()) - 1).max() < 1e-4
    assert min(fraction.min() for fraction in abdomen.tissues.values()) > -1e-5
    kidney = abdomen.tissues["right kidney cortex"] + abdomen.tissues["right kidney medulla"]
    assert np.array_equal(abdomen.labels == 2, kidney > 0.5) or (abdomen.labels[kidney > 0.52] == 2).all()
    assert (abdomen.labels[abdomen.tissues["liver"] > 0.52] == 1).all()
    assert abdomen.study.label_names == dict(enumerate(ABDOMEN_CLASSES[1:], start=1))


def test_contrast_is_that_of_the_sequences(abdomen):
    assert level(abdomen, "T1in", "liver") > level(abdomen, "T1in", "spleen")
    assert level(abdomen, "T2SPIR", "liver") < level(abdomen, "T2SPIR", "spleen")
    assert level(abdomen, "T2SPIR", "fat") < 0.5 * level(abdomen, "T2SPIR", "spleen")
    assert level(abdomen, "T1in", "fat") > level(abdomen, "T1in", "liver")
    cortex = {s: level(abdomen, s, "right kidney cortex") / level(abdomen, s, "muscle") for s in MR}
    assert cortex["T1arterial"] > 1.5 * cortex["T1"] and cortex["T1arterial"] > cortex["T1delayed"]
    liver = {s: level(abdomen, s, "liver") / level(abdomen, s, "muscle") for s in MR}
    assert liver["T1portal"] > 1.15 * liver["T1arterial"] and liver["T1arterial"] < 1.25 * liver["T1"]


def test_fat_and_water_cancel_at_their_border_out_of_phase(abdomen):
    fat = abdomen.tissues["fat"]
    water = sum(f for n, f in abdomen.tissues.items() if n in ("muscle", "spleen", "right kidney cortex"))
    border = (np.abs(fat - 0.5) < 0.12) & (fat + water > 0.97)
    inside, out = (abdomen.study[s].array for s in ("T1in", "T1out"))
    ratio = {s: np.median(abdomen.study[s].array[border]) / level(abdomen, s, "muscle") for s in ("T1in", "T1out")}
    assert border.sum() > 10 and ratio["T1out"] < 0.75 * ratio["T1in"]
    assert not np.array_equal(inside, out)


def test_ct_is_in_hounsfield_units_and_has_its_own_field_of_view():
    phantom = abdomen_phantom(3, sequences=("T1in", "CT"), **SMALL, **STILL, **PERFECT, ct_scale=0.9)
    ct = phantom.study["CT"]
    assert ct.spacing == pytest.approx([0.9 * 6.4, 0.9 * 6.4, 10.0])
    only = abdomen_phantom(3, sequences=("CT",), **SMALL, **STILL, **PERFECT, ct_scale=0.9)
    assert np.array_equal(only.study["CT"].array, ct.array) and np.array_equal(
        only.labels, phantom.sequence_labels["CT"]
    )
    assert level(only, "CT", "air") < -950 and -130 < level(only, "CT", "fat") < -80
    assert 40 < level(only, "CT", "liver") < 140 and level(only, "CT", "bone") > 150


def test_both_echoes_share_a_breath_hold_and_other_sequences_do_not():
    own = abdomen_phantom(1, **SMALL).sequence_labels
    assert np.array_equal(own["T1in"], own["T1out"])
    assert not np.array_equal(own["T1in"], own["T2SPIR"])
    still = abdomen_phantom(1, **SMALL, **STILL).sequence_labels
    assert np.array_equal(still["T1in"], still["T2SPIR"]) and np.array_equal(own["T1in"], still["T1in"])


def test_copying_the_t1_masks_scores_as_in_chaos():
    scores = []
    for seed in range(20):
        tiny = {"size": (40, 40), "spacing": (9.0, 9.0, 10.0), "slices": 20}
        own = abdomen_phantom(seed, sequences=("T1in", "T2SPIR"), **tiny).sequence_labels
        scores.append(slice_dice(own["T1in"], own["T2SPIR"]))
    assert np.mean(scores) == pytest.approx(0.71, abs=0.03)


def test_lesions_belong_to_the_liver():
    seed = next(s for s in range(20) if abdomen_phantom(s, sequences=("CT",), lesions=9, **SMALL).parameters["lesions"])
    sick = abdomen_phantom(seed, sequences=("CT",), lesions=9, **SMALL)
    share = sum(sick.tissues[n] for n in ("lesion", "cyst") if n in sick.tissues)
    assert (sick.labels[share > 0.6] == 1).all()
    healthy = abdomen_phantom(seed, sequences=("CT",), **SMALL)
    # A lesion at the surface may push the border of the liver out by a part of a voxel.
    assert (healthy.labels != sick.labels).mean() < 2e-3 and not healthy.parameters["lesions"]


def test_phases_are_in_the_vocabulary():
    assert canonical("t1 portal venous") == "T1portal"
    for name, sequence in (("VIBE_arterial.nii.gz", "T1arterial"), ("t1_delayed_tra", "T1delayed"), ("T1", "T1")):
        guess = guess_from_name(name)
        assert guess.sure and guess.sequence == sequence


def test_one_person_may_be_ct_and_another_mr(tmp_path):
    arguments = SMALL | {"sequences": ("CT", "T1portal")}
    variants = [{"missing": ("CT",)}, {"missing": ("T1portal",)}, {}]
    config = PreprocessingConfig.from_dict(preprocessing_of("abdomen", arguments))
    mr, ct, both = load_phantoms([3, 4, 5], arguments, variants, config, tmp_path, kind="abdomen")
    assert set(mr.images) == {"T1portal"} and set(ct.images) == {"CT"} and set(both.images) == {"CT", "T1portal"}
    assert mr.group != ct.group
    for subject in (mr, ct, both):
        assert set(subject.sequence_labels) == set(subject.images) and subject.mask.all()
        assert {a.shape for a in subject.images.values()} == {subject.mask.shape}
    # The window -150 to 250 HU: air black, liver in the upper half.
    assert np.median(ct.images["CT"][ct.labels == 1]) == pytest.approx(0.2, abs=0.25)
    assert (ct.images["CT"] == -1).mean() > 0.3


def test_impossible_abdomens_are_refused():
    with pytest.raises(InputError, match="T2SPIR"):
        create_phantom("abdomen", 0, sequences=("FLAIR",))
    with pytest.raises(InputError, match="lesions"):
        create_phantom("abdomen", 0, lesions=-1)
