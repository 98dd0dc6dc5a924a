"""The user's sensitivity makes lesions more probable, or less, and leaves everything else as the model says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disentangle.errors import InputError
from disentangle.inference.coherence import Coherence
from disentangle.inference.rules import Rules
from disentangle.inference.sensitivity import Sensitivity, checked
from disentangle.systems.base import Capabilities

BRAIN = Capabilities(("T1",), (), ("background", "grey matter", "lesion", "tumour"), healthy=(1,))
ORGANS = Capabilities(("T1",), (), ("background", "liver", "spleen"))


def drawn(seed: int = 0) -> np.ndarray:
    """Probabilities of four classes (4, 3, 5, 6)."""
    values = np.random.default_rng(seed).exponential(size=(4, 3, 5, 6)).astype(np.float32)
    return values / values.sum(axis=0)


@given(st.integers(0, 99), st.floats(1 / 1024, 1024))
def test_odds_of_a_lesion_are_multiplied_and_the_shares_within_each_side_stay(seed, odds):
    before, after = drawn(seed), drawn(seed)
    Sensitivity.of(BRAIN, 1.0001 * odds).apply(after)
    assert np.allclose(after.sum(axis=0), 1, atol=1e-4)
    found, told = ((p[2] + p[3]) / (p[0] + p[1]) for p in (after, before))
    assert np.allclose(found, 1.0001 * odds * told, rtol=2e-3)
    assert np.allclose(after[2] * before[3], before[2] * after[3], atol=1e-4)
    assert np.allclose(after[0] * before[1], before[0] * after[1], atol=1e-4)


def test_a_certain_answer_stays_certain():
    certain = np.zeros((4, 1, 1, 2), np.float32)
    certain[0, 0, 0, 0] = certain[2, 0, 0, 1] = 1
    for odds in (1 / 1024, 1024):
        changed = certain.copy()
        Sensitivity.of(BRAIN, odds).apply(changed)
        assert np.array_equal(changed, certain)


def test_nothing_changes_at_1_or_where_a_model_tells_no_lesions_from_healthy_tissue():
    assert Sensitivity.of(BRAIN, 1.0) is None
    assert Sensitivity.of(ORGANS, 8.0) is None and ORGANS.findings == ()
    assert BRAIN.findings == (2, 3)


def test_it_comes_before_what_the_model_decides_as_one():
    probabilities = np.full((4, 1, 1, 1), 0.1, np.float32)
    probabilities[1] = 0.7
    rules = Rules(Coherence((2, 3), 1.0), sensitivity=Sensitivity.of(BRAIN, 8.0))
    rules.follow(probabilities, np.ones((1, 1, 1), bool), (1.0, 1.0, 1.0))
    assert probabilities[:, 0, 0, 0].argmax() == 2


@pytest.mark.parametrize("odds", [0, -1, 2000, float("nan"), float("inf"), "much", None])
def test_what_cannot_be_meant_is_refused_in_one_sentence(odds):
    with pytest.raises(InputError, match=r"give a number from 1/1024 to 1024: above 1 for more lesions"):
        checked(odds)
    assert checked("0.5") == 0.5 and checked(4) == 4.0
