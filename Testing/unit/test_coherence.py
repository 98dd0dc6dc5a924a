"""Classes of one finding are decided together, over the neighbourhood of a voxel in three dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from disentangle.inference.coherence import Coherence
from disentangle.inference.islands import Islands
from disentangle.inference.rules import Rules

# Classes: background, tissue, edema, core. Edema and core are one finding.
LESION = Coherence((2, 3), sigma_mm=1.0)
SPACING = (1.0, 1.0, 1.0)
SHAPE = (9, 10, 11)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return mask


def everywhere(*values: float) -> np.ndarray:
    return np.broadcast_to(np.array(values, np.float32)[:, None, None, None], (4, *SHAPE)).copy()


def test_a_finding_whose_classes_share_the_probability_is_found(mask: np.ndarray):
    probabilities = everywhere(0.0, 0.4, 0.35, 0.25)
    LESION.apply(probabilities, mask, SPACING)
    assert (probabilities.argmax(axis=0)[mask] == 2).all()
    assert (probabilities.argmax(axis=0)[~mask] == 1).all()  # outside nothing changes
    assert np.allclose(probabilities.sum(axis=0), 1.0)
    assert np.allclose((probabilities[2] / probabilities[3])[mask], 0.35 / 0.25, rtol=1e-4)


def test_a_finding_less_probable_than_not_is_left_out_though_its_class_is_the_most_probable(mask: np.ndarray):
    probabilities = everywhere(0.3, 0.3, 0.4, 0.0)
    LESION.apply(probabilities, mask, SPACING)
    assert np.isin(probabilities.argmax(axis=0)[mask], (0, 1)).all()


def test_one_slice_against_its_neighbours_gives_way_and_a_gap_is_filled(mask: np.ndarray):
    alone, gap = everywhere(0.0, 0.9, 0.1, 0.0), everywhere(0.0, 0.1, 0.9, 0.0)
    alone[:, 4], gap[:, 4] = gap[:, 4].copy(), alone[:, 4].copy()
    for probabilities, expected in ((alone, 1), (gap, 2)):
        LESION.apply(probabilities, mask, SPACING)
        assert (probabilities.argmax(axis=0)[mask] == expected).all()


def test_neighbourhoods_are_measured_in_millimetres(mask: np.ndarray):
    probabilities = everywhere(0.0, 0.9, 0.1, 0.0)
    probabilities[:, 4] = everywhere(0.0, 0.1, 0.9, 0.0)[:, 4]
    LESION.apply(probabilities, mask, (1.0, 1.0, 8.0))  # the next slice is eight standard deviations away
    assert (probabilities.argmax(axis=0)[4][mask[4]] == 2).all()


def test_the_edge_of_the_mask_is_no_reason_against_a_finding(mask: np.ndarray):
    probabilities = everywhere(0.0, 0.45, 0.55, 0.0)
    LESION.apply(probabilities, mask, SPACING)
    assert (probabilities.argmax(axis=0)[mask] == 2).all()


def test_where_nothing_is_found_nothing_changes(mask: np.ndarray):
    probabilities = everywhere(0.1, 0.885, 0.01, 0.005)
    before = probabilities.copy()
    LESION.apply(probabilities, mask, SPACING)
    assert np.array_equal(probabilities, before)


def test_the_choice_is_that_of_the_averaged_probability_whatever_the_network_says(mask: np.ndarray):
    noise = np.random.default_rng(0).gamma(0.3, size=(4, *SHAPE)).astype(np.float32)
    probabilities = noise / noise.sum(axis=0)
    mass = probabilities[2:].sum(axis=0)
    LESION.apply(probabilities, mask, SPACING)
    found = np.isin(probabilities.argmax(axis=0), (2, 3))
    assert np.allclose(probabilities.sum(axis=0), 1.0, atol=1e-5)
    f = gaussian_filter(np.where(mask, mass, 0.0), 1.0) / gaussian_filter(mask.astype(np.float32), 1.0)
    sure = mask & (np.abs(f - 0.5) > 0.05)  # scipy samples the continuous Gaussian
    assert {True, False} == set((f > 0.5)[sure])
    assert np.array_equal(found[sure], (f > 0.5)[sure])


def test_small_pieces_are_judged_after_coherence(mask: np.ndarray):
    probabilities = everywhere(0.0, 0.9, 0.1, 0.0)
    probabilities[:, 3:6, 4:7, 4:7] = everywhere(0.0, 0.02, 0.49, 0.49)[:, 3:6, 4:7, 4:7]
    rules = Rules(LESION, Islands((2, 3), share=0.0, ml=0.001))
    few = probabilities.copy()
    assert rules.follow(few, mask, SPACING) == 0.0
    assert np.isin(few.argmax(axis=0)[4, 5, 5], (2, 3))
    strict = Rules(LESION, Islands((2, 3), share=0.0, ml=0.05))
    assert strict.follow(probabilities, mask, SPACING) > 0.0
    assert (probabilities.argmax(axis=0) == 1).all()


def test_a_card_without_rules_has_none():
    assert Rules.of_card({}) == Rules(None, None)
    card = {"coherence": {"classes": [2, 3], "sigma_mm": 1}, "islands": {"classes": [3], "share": 0.1, "ml": 0.2}}
    assert Rules.of_card(card) == Rules(LESION, Islands((3,), 0.1, 0.2))
