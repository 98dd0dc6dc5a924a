"""Means over repetitions, and whether one method is better than another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..errors import InputError

EXACT = 12
"""Up to this many pairs, all sign patterns are enumerated."""


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation (NaN for a single value) of n finite values."""

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """The best method against the second best.

    Attributes:
        best, second: their names.
        difference: mean difference, best minus second, positive when higher is better.
        p: of the paired permutation test, two-sided; NaN without at least two common samples.
        n: pairs.
    """

    best: str
    second: str
    difference: float
    p: float
    n: int


def mean_std(values: Sequence[float]) -> MeanStd:
    """Mean and standard deviation of the finite values; NaN where there are none."""
    finite = np.array([v for v in values if math.isfinite(v)], np.float64)
    mean = float(finite.mean()) if finite.size else math.nan
    std = float(finite.std(ddof=1)) if finite.size > 1 else math.nan
    return MeanStd(mean, std, int(finite.size))


def permutation_test(first: Sequence[float], second: Sequence[float], draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of a paired permutation test on the mean difference (signs flipped within pairs).

    Exact up to :data:`EXACT` pairs, else from ``draws`` random sign patterns, the observed one counted in.

    Raises:
        InputError: the sequences do not pair up.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"A paired test needs as many values of both, not {first.shape} and {second.shape}.")
    differences = (first - second)[np.isfinite(first - second)]
    n = len(differences)
    if n < 2:
        return math.nan
    if n <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        signs = np.random.default_rng(seed).choice((1.0, -1.0), (draws, n))
        signs[0] = 1.0
    # A little tolerance: patterns that give the same mean must count, whatever the order of summation.
    observed = abs(differences.mean()) * (1 - 1e-9)
    return float((np.abs(signs @ differences / n) >= observed).mean())


def best_against_second(scores: Mapping[str, Mapping[str, float]], higher_is_better: bool = True) -> Comparison | None:
    """Compare the two best methods.

    Args:
        scores: method -> sample (subject, the same names for all methods) -> score, averaged over repetitions.
        higher_is_better: False for errors.

    Returns:
        None with fewer than two methods that have scores. The ranking is by each method's mean over its samples.
    """
    means = {m: mean_std(list(s.values())).mean for m, s in scores.items()}
    ranked = sorted((m for m in means if math.isfinite(means[m])), key=lambda m: means[m], reverse=higher_is_better)
    if len(ranked) < 2:
        return None
    best, second = ranked[:2]
    common = [s for s in scores[best] if s in scores[second]]
    pairs = [(scores[best][s], scores[second][s]) for s in common]
    sign = 1.0 if higher_is_better else -1.0
    difference = sign * float(np.nanmean([a - b for a, b in pairs])) if pairs else math.nan
    p = permutation_test([a for a, _ in pairs], [b for _, b in pairs]) if pairs else math.nan
    return Comparison(best, second, difference, p, len(pairs))
