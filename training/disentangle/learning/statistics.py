"""Means over repetitions, and whether one method is better than another."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
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
        difference: mean difference over the pairs, positive where the best is better; NaN without a pair. It may be
            negative where the second missed more.
        p: of the paired permutation test, two-sided; NaN without at least two pairs.
        n: pairs: subjects with a finite score of both.
        missed: errors that are not finite, of the best and of the second.
    """

    best: str
    second: str
    difference: float
    p: float
    n: int
    missed: tuple[int, int] = (0, 0)


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


def best_against_second(
    scores: Mapping[str, Mapping[Hashable, float]],
    higher_is_better: bool = True,
    subject_of: Callable[[Hashable], Hashable] = lambda sample: sample,
) -> Comparison | None:
    """Compare the two best methods.

    A distance that does not exist because a method found nothing is no unknown number but its worst: whoever missed
    fewer comes first, whatever the mean of the rest. Scores of which more is better (a Dice of two empty masks, say)
    are merely unknown where they are not finite, and left out.

    Args:
        scores: method -> sample -> score. A sample is a subject, or a repetition of one.
        higher_is_better: False for errors.
        subject_of: sample -> its subject; the samples of a subject are averaged, since they do not vary independently.

    Returns:
        None with fewer than two methods that have scores. The ranking is by misses, then by the mean over subjects.
    """
    sign = 1.0 if higher_is_better else -1.0
    missed = dict.fromkeys(scores, 0)
    if not higher_is_better:
        missed = {m: sum(not math.isfinite(v) for v in s.values()) for m, s in scores.items()}
    means = {m: mean_std(_by_subject(s, subject_of)).mean for m, s in scores.items()}
    order = {m: (missed[m], -sign * means[m] if math.isfinite(means[m]) else math.inf) for m in scores}
    ranked = sorted((m for m in scores if missed[m] or math.isfinite(means[m])), key=order.__getitem__)
    if len(ranked) < 2:
        return None
    best, second = ranked[:2]
    differences = {s: v - scores[second][s] for s, v in scores[best].items() if s in scores[second]}
    found = _by_subject(differences, subject_of)
    p = permutation_test(found, [0.0] * len(found))
    return Comparison(best, second, sign * mean_std(found).mean, p, len(found), (missed[best], missed[second]))


def _by_subject(scores: Mapping[Hashable, float], subject_of: Callable[[Hashable], Hashable]) -> list[float]:
    """The mean of each subject's finite samples, where it has any."""
    found: dict[Hashable, list[float]] = {}
    for sample, value in scores.items():
        if math.isfinite(value):
            found.setdefault(subject_of(sample), []).append(value)
    return [float(np.mean(values)) for values in found.values()]
