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


MISSING = {"s1": 2.0, "s2": math.nan, "s3": math.nan}
FINDING = {"s1": 2.5, "s2": 8.0, "s3": 9.0}


def test_who_misses_fewer_comes_first_whatever_the_mean_distance_of_what_was_found():
    found = best_against_second({"misses two": MISSING, "finds all": FINDING}, higher_is_better=False)
    assert (found.best, found.second, found.missed) == ("finds all", "misses two", (0, 2))
    # One subject has both distances: the finder is farther there, and a single pair tests nothing.
    assert found.n == 1 and found.difference == pytest.approx(-0.5) and math.isnan(found.p)
    # Among those that miss as many, the mean decides.
    other = {**MISSING, "s1": 3.0}
    assert best_against_second({"far": other, "near": MISSING}, higher_is_better=False).best == "near"


def test_a_score_of_which_more_is_better_is_merely_unknown_where_it_is_not_finite():
    found = best_against_second({"a": {"s1": 0.9, "s2": math.nan, "s3": 0.8}, "b": {"s1": 0.5, "s2": 0.5, "s3": 0.6}})
    assert (found.best, found.n, found.missed) == ("a", 2, (0, 0))
    assert found.difference == pytest.approx(0.3)


def test_methods_without_a_common_finite_subject_make_no_pair():
    found = best_against_second({"a": {"s1": 2.0, "s2": math.nan}, "b": {"s1": math.nan, "s2": 1.0}}, False)
    assert (found.best, found.n) == ("b", 0)
    assert math.isnan(found.difference) and math.isnan(found.p)
    # What finds nothing at all has no mean, but is second to what finds something.
    found = best_against_second({"nothing": {"s1": math.nan}, "something": {"s1": 50.0}}, False)
    assert (found.best, found.second, found.n) == ("something", "nothing", 0)


def test_repetitions_of_a_subject_are_one_pair_of_those_that_both_have():
    near = {("s1", 1): 4.0, ("s1", 2): math.nan, ("s2", 1): 4.0, ("s2", 2): 6.0}
    far = {("s1", 1): 5.0, ("s1", 2): 60.0, ("s2", 1): 5.0, ("s2", 2): 8.0}
    found = best_against_second({"near": near, "far": far}, False, subject_of=lambda sample: sample[0])
    assert (found.best, found.n, found.missed) == ("far", 2, (0, 1))
    # s1: 4 - 5, since its second repetition has no pair; s2: the mean of 4 - 5 and 6 - 8.
    assert found.difference == pytest.approx((-1.0 - 1.5) / 2)
    assert found.p == pytest.approx(0.5)
