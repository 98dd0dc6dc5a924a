"""FDG PET of digital brains: uptake, point spread, counts, and nothing changed in MR."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from disentangle.datasets.phantoms import load_phantoms
from disentangle.errors import InputError
from disentangle.phantoms import BRAIN_CLASSES, brain_pet_phantom, brain_phantom, create_phantom
from disentangle.phantoms.pet import BrainPetConfig, pet_image, uptake
from disentangle.preprocessing import PreprocessingConfig
from disentangle.study import Grid

COARSE = 4.0


@pytest.fixture(scope="module")
def healthy():
    return brain_pet_phantom(2, spacing=COARSE, lesions="none", counts=0.0)


def test_mr_labels_and_tissues_are_those_of_the_brain_phantom(healthy):
    brain = brain_phantom(2, spacing=COARSE, lesions="none", sequences=("T1", "FLAIR"))
    assert healthy.study.available == ("T1", "FLAIR", "PET") and healthy.kind == "brain-pet"
    for sequence in brain.study.available:
        assert np.array_equal(healthy.study[sequence].array, brain.study[sequence].array)
    assert np.array_equal(healthy.labels, brain.labels)
    assert healthy.study.label_names == dict(enumerate(BRAIN_CLASSES[1:], start=1))


def test_the_same_seed_gives_the_same_counts():
    one, again = (create_phantom("brain-pet", 5, spacing=COARSE) for _ in range(2))
    assert np.array_equal(one.study["PET"].array, again.study["PET"].array)


def test_grey_matter_takes_up_most_and_fluid_least(healthy):
    image, tissues = healthy.study["PET"].array, healthy.tissues
    mean = {n: np.average(image, weights=tissues[n] ** 4) for n in ("gm", "wm", "csf", "deep_gm")}
    # Partial volume brings the ratio of 4 between cortex and white matter down to that of real scans.
    assert 1.3 < mean["gm"] / mean["wm"] < 3.5
    assert mean["csf"] < mean["gm"] and mean["deep_gm"] > 1.3 * mean["wm"]
    assert image[healthy.study.masks[""].array == 0].max() == 0


def test_tumours_are_hot_or_cold():
    names = ["enhancing", "wm", "gm"]
    hot, cold = (uptake(np.random.default_rng(3), names, BrainPetConfig(hypermetabolic=p)) for p in (1.0, 0.0))
    assert hot["enhancing"] > 3 and cold["enhancing"] < hot["wm"]
    images = []
    for chance in (1.0, 0.0):
        phantom = brain_pet_phantom(11, spacing=3.0, lesions="glioma", hypermetabolic=chance, counts=0.0)
        share = phantom.tissues["enhancing"]
        images.append(np.average(phantom.study["PET"].array, weights=share + 1e-9))
    assert share.max() > 0.5 and images[0] > 1.5 * images[1]


def test_a_focus_lowers_the_uptake_of_cortex_and_leaves_mr_alone():
    plain, sick = (brain_pet_phantom(6, spacing=COARSE, lesions="none", counts=0.0, focus=f) for f in (0.0, 1.0))
    focus = sick.parameters["protocols"]["PET"]["focus"]
    index = np.round((np.array(focus["centre"]) - plain.grid.origin) / plain.grid.spacing).astype(int)[::-1]
    before, after = (p.study["PET"].array[tuple(index)] for p in (plain, sick))
    assert after < (focus["left"] + 0.2) * before
    assert np.array_equal(plain.study["T1"].array, sick.study["T1"].array)


def test_the_point_spread_has_the_width_asked_for():
    grid = Grid((41, 41, 41), np.diag([1.0, 1.0, 1.0, 1.0]))
    point = np.zeros(grid.shape, np.float32)
    point[20, 20, 20] = 1
    image = pet_image(np.random.default_rng(0), point, grid, 5.5, 0.0)
    offset = np.arange(41) - 20
    sigma = np.sqrt((image.sum(axis=(0, 1)) * offset**2).sum() / image.sum())
    assert sigma * 2.355 == pytest.approx(5.5, rel=0.05)
    assert image.sum() == pytest.approx(1, rel=0.02)


def test_noise_is_that_of_counts():
    grid = Grid((40, 40, 40), np.diag([2.0, 2.0, 2.0, 1.0]))
    flat = np.ones(grid.shape, np.float32)
    few, many = (pet_image(np.random.default_rng(1), flat, grid, 5.5, counts) for counts in (2e3, 8e3))
    inner = (slice(8, -8),) * 3
    assert few[inner].mean() == pytest.approx(1, rel=0.02)
    assert few[inner].std() == pytest.approx(2 * many[inner].std(), rel=0.1)
    # The filter after the counts shares noise between neighbours.
    noise = few[inner] - few[inner].mean()
    assert (noise * ndimage.shift(noise, (0, 0, 1), order=0, mode="wrap")).mean() > 0.3 * noise.var()


def test_sequences_may_be_missing_on_either_side():
    assert brain_pet_phantom(2, spacing=COARSE, missing=("PET",)).study.available == ("T1", "FLAIR")
    assert brain_pet_phantom(2, spacing=COARSE, missing=("T1", "FLAIR")).study.available == ("PET",)
    assert brain_pet_phantom(2, spacing=COARSE, sequences=("PET",)).study.available == ("PET",)
    with pytest.raises(InputError, match="PET once"):
        create_phantom("brain-pet", 0, sequences=("T1",))


def test_moved_pet_comes_back_by_its_transform():
    phantom = brain_pet_phantom(2, spacing=COARSE, misregistration_mm=8.0, lesions="none", counts=0.0)
    centre = phantom.grid.corners().mean(axis=0)
    moved = np.array(phantom.transforms["PET"].TransformPoint(centre)) - centre
    assert np.linalg.norm(moved) == pytest.approx(8.0, abs=1e-6)
    still = brain_pet_phantom(2, spacing=COARSE, lesions="none", counts=0.0)
    assert np.abs(phantom.study["PET"].array - still.study["PET"].array).mean() > 0.02


def test_brains_with_pet_become_registered_subjects(tmp_path):
    config = PreprocessingConfig(spacing=COARSE, registration="none", pose="reference")
    subject = load_phantoms([2], {"spacing": COARSE}, [], config, tmp_path, kind="brain-pet")[0]
    assert set(subject.images) == {"T1", "FLAIR", "PET"} and not subject.sequence_labels
    assert not subject.mask.all() and subject.labels[subject.mask].min() > 0
