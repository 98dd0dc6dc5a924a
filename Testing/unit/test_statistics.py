"""Means over repetitions and the paired permutation test."""

from __future__ import annotations

import math

import numpy as np
import pytest

from disentangle.errors import InputError
from disentangle.learning.statistics import best_against_second, mean_std, permutation_test


def test_mean_and_deviation_leave_out_what_is_not_known():
    found = mean_std([1.0, math.nan, 3.0])
    assert (found.mean, found.n) == (2.0, 2)
    assert found.std == pytest.approx(math.sqrt(2))
    assert math.isnan(mean_std([4.0]).std)
    assert math.isnan(mean_std([]).mean)


def test_the_exact_test_enumerates_all_sign_patterns():
    # All differences are positive: only this pattern and its mirror image are as extreme, 2 of 2^5.
    assert permutation_test([2, 3, 4, 5, 6], [1, 1, 1, 1, 1]) == pytest.approx(2 / 32)
    assert permutation_test([1, 2, 3], [1, 2, 3]) == 1.0
    # By hand: |1 - 2 + 4| = 3 is reached or exceeded by +++, +-+ , -++ and their mirrors: 7, 3, 5.
    assert permutation_test([1, 0, 4], [0, 2, 0]) == pytest.approx(6 / 8)


def test_random_patterns_agree_with_a_clear_and_with_no_difference():
    random = np.random.default_rng(0)
    noise = random.normal(size=40)
    assert permutation_test(noise + 1.0, noise * 0) < 0.001
    assert permutation_test(noise, random.normal(size=40)) > 0.05
    ps = [permutation_test(random.normal(size=14), random.normal(size=14), draws=400) for _ in range(200)]
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.04)


def test_pairs_must_match_and_be_at_least_two():
    assert math.isnan(permutation_test([1.0], [2.0]))
    with pytest.raises(InputError, match="paired"):
        permutation_test([1.0, 2.0], [1.0])


def test_the_best_is_compared_with_the_second_over_their_common_subjects():
    scores = {
        "a": {f"s{n}": 0.9 + 0.01 * n for n in range(6)},
        "b": {f"s{n}": 0.8 + 0.01 * n for n in range(5)},
        "c": {f"s{n}": 0.1 for n in range(6)},
    }
    found = best_against_second(scores)
    assert (found.best, found.second, found.n) == ("a", "b", 5)
    assert found.difference == pytest.approx(0.1)
    assert found.p == pytest.approx(2 / 32)
    errors = best_against_second(scores, higher_is_better=False)
    assert (errors.best, errors.second) == ("c", "b")
    assert errors.difference > 0
    assert best_against_second({"a": scores["a"]}) is None
