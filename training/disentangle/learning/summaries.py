"""Means of figures over subjects, and their table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Quality = dict[str, float]
"""Figures of one image by name: "psnr", "ssim", "mae"."""


_SYNTHESIS = ("imputation", "nearest", "copy")
"""Kinds of images that are made of the sequences that a study has: by the system, and its two copies."""


def summary(results: Sequence[Mapping[str, Any]], sequences: Sequence[str] = ()) -> dict[str, Any]:
    """Means over subjects: image quality by target; Dice by class with all sequences that a subject has ("all"),
    and with each one missing ("-T1", over the subjects that have it); "all on LGE" is that on the slices of LGE.
    "hd95" is the mean of the distances that exist, "missed" how many do not since nothing of a class was found: they
    are no part of that mean, which is the better for them, and must be read beside it. "sensitivity" is the Dice of
    lesions from all sequences by what their odds were multiplied with; "best" takes what was best for each subject.

    Subjects with few sequences make both a target and its copies of little, each to its own disadvantage: what the
    system is worth beside a copy is told by "complete" alone (:func:`complete_means`), of the subjects with all
    ``sequences`` of the system; it is left out where there are none.
    """
    mean: dict[str, Any] = {"studies": len(results)}
    for kind in ("self", "cross", "imputation", "nearest", "copy"):
        found = [r.get(kind, {}) for r in results]
        mean[kind] = {
            t: mean_quality([f[t] for f in found if t in f]) for t in dict.fromkeys(t for f in found for t in f)
        }
    for kind in ("dice", "hd95"):
        mean[kind] = {k: _finite_means(c) for k, c in _by_missing(results, kind).items()}
    missed = {k: _misses(c) for k, c in _by_missing(results, "hd95").items()}
    mean["missed"] = {k: c for k, c in missed.items() if c}
    by_odds = _by_odds(results)
    if by_odds:
        mean["sensitivity"] = by_odds
    made: dict[str, dict[str, list[Quality]]] = {}
    for target, subset, scores in (
        (t, k, v) for r in results for t, c in r.get("from", {}).items() for k, v in c.items()
    ):
        made.setdefault(target, {}).setdefault(subset, []).append(scores)
    if made:
        mean["from"] = {t: {k: mean_quality(v) for k, v in c.items()} for t, c in made.items()}
    complete = complete_of(results, sequences)
    if complete:
        mean["complete"] = complete_means(complete)
    return mean


def complete_of(results: Sequence[Mapping[str, Any]], sequences: Sequence[str]) -> list[Mapping[str, Any]]:
    """Those of the subjects that have all of the sequences; none where no sequences are named."""
    return [r for r in results if sequences and set(sequences) <= set(r["sequences"])]


def complete_means(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over persons: those of several studies would count several times otherwise, so theirs are averaged first.

    Returns:
        "studies" and "persons", how many; "imputation", "nearest", "copy": target -> figures of making it from all
        other sequences; "lost": class -> Dice with all sequences minus the mean over those with one missing.
    """
    persons = by_person(results)
    mean: dict[str, Any] = {"studies": len(results), "persons": len(persons)}
    for kind in _SYNTHESIS:
        targets = dict.fromkeys(t for r in results for t in r.get(kind, {}))
        own = {t: [[r[kind][t] for r in rs if t in r.get(kind, {})] for rs in persons.values()] for t in targets}
        mean[kind] = {t: mean_quality([mean_quality(q) for q in found if q]) for t, found in own.items()}
    lost = {person: [dice_lost(r) for r in rs] for person, rs in persons.items()}
    classes = dict.fromkeys(name for losses in lost.values() for loss in losses for name in loss)
    values = {name: [[x[name] for x in losses if name in x] for losses in lost.values()] for name in classes}
    mean["lost"] = {name: float(np.mean([np.mean(v) for v in found if v])) for name, found in values.items()}
    return mean


def by_person(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Results by the person, who is a study's name where no person is named."""
    persons: dict[str, list[Mapping[str, Any]]] = {}
    for r in results:
        persons.setdefault(r.get("person", r.get("name", f"subject {len(persons)}")), []).append(r)
    return persons


def dice_lost(result: Mapping[str, Any]) -> dict[str, float]:
    """Class -> Dice with all sequences of a subject minus the mean over those with one missing, on the same slices; of
    the classes that have a score in each case."""
    whole: dict[str, dict[str, float]] = {}
    without: dict[str, list[Mapping[str, float]]] = {}
    for subset, scores in result.get("dice", {}).items():
        names, on, reference = subset.partition(" on ")
        missing = len(result["sequences"]) - len(names.split("+"))
        if missing == 0:
            whole[on + reference] = scores
        elif missing == 1:
            without.setdefault(on + reference, []).append(scores)
    lost: dict[str, list[float]] = {}
    for on, scores in whole.items():
        for name, value in scores.items():
            others = [s[name] for s in without.get(on, ()) if name in s]
            if others:
                lost.setdefault(name, []).append(value - float(np.mean(others)))
    return {name: float(np.mean(values)) for name, values in lost.items()}


def _by_odds(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Odds, and "best" -> lesion -> mean Dice over the subjects that show it."""
    found: dict[str, dict[str, list[float]]] = {}
    for r in results:
        best: dict[str, float] = {}
        for odds, scores in r.get("sensitivity", {}).items():
            for name, value in scores.items():
                found.setdefault(odds, {}).setdefault(name, []).append(value)
                best[name] = max(value, best.get(name, value))
        for name, value in best.items():
            found.setdefault("best", {}).setdefault(name, []).append(value)
    return {odds: _finite_means(scores) for odds, scores in found.items()}


def _by_missing(results: Sequence[Mapping[str, Any]], kind: str) -> dict[str, dict[str, list[float]]]:
    """The scores of a kind by the sequences missing ("all", "-T1") and class."""
    collected: dict[str, dict[str, list[float]]] = {}
    for r in results:
        for subset, scores in r.get(kind, {}).items():
            names, on, reference = subset.partition(" on ")
            missing = [s for s in r["sequences"] if s not in names.split("+")]
            key = ("-" + "-".join(missing) if missing else "all") + on + reference
            for name, value in scores.items():
                collected.setdefault(key, {}).setdefault(name, []).append(value)
    return collected


def _finite_means(scores: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Class -> mean; NaN left out, and so is a class without any other score."""
    known = {name: [v for v in values if not math.isnan(v)] for name, values in scores.items()}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def _misses(scores: Mapping[str, Sequence[float]]) -> dict[str, int]:
    """Class -> number of distances that do not exist, where there are any."""
    counts = {name: sum(map(math.isnan, values)) for name, values in scores.items()}
    return {name: count for name, count in counts.items() if count}


def table(mean: Mapping[str, Any]) -> str:
    """The means of :func:`summary` as text."""
    kinds = {"self": "self", "cross": "cross", "imputation": "imputed", "nearest": "nearest input"}
    lines = ["PSNR dB / SSIM   " + "".join(f"{title:>18}" for title in kinds.values())]
    for target in dict.fromkeys((*mean["self"], *mean["imputation"])):
        cells = [mean[kind].get(target) for kind in kinds]
        lines.append(f"{target:<17}" + "".join(f"{_pair(c):>18}" for c in cells))
    complete = mean.get("complete", {})
    if 0 < complete.get("studies", 0) < mean.get("studies", 0):  # else it is what stands above
        lines += ["", *_complete_lines(complete)]
    for title, kind, decimals in (("Dice", "dice", 3), ("HD95 mm", "hd95", 1)):
        if mean.get(kind):
            missed = mean.get("missed", {}) if kind == "hd95" else {}
            lines += ["", *_class_lines(title, mean[kind], missed, decimals)]
    if mean.get("sensitivity"):
        lines += ["", *_odds_lines(mean["sensitivity"])]
    return "\n".join(lines)


def _pair(quality: Quality | None) -> str:
    return f"{quality['psnr']:.2f} / {quality['ssim']:.3f}" if quality else "-"


def _complete_lines(complete: Mapping[str, Any]) -> list[str]:
    """Every target from all others beside its copies, and what one missing sequence costs (:func:`complete_means`)."""
    titles = {"imputation": "imputed", "nearest": "nearest input", "copy": "copy"}
    lines = [
        f"With all sequences (studies: {complete['studies']}, persons: {complete['persons']}), a person counts once",
        "PSNR dB / SSIM   " + "".join(f"{title:>18}" for title in titles.values()),
    ]
    for target in complete["imputation"]:
        cells = [complete[kind].get(target) for kind in titles]
        lines.append(f"{target:<17}" + "".join(f"{_pair(c):>18}" for c in cells))
    lost = ", ".join(f"{name} {value:.3f}" for name, value in complete["lost"].items())
    return [*lines, *([f"Dice lost with one missing: {lost}"] if lost else [])]


def _class_lines(
    title: str, means: Mapping[str, Mapping[str, float]], missed: Mapping[str, Mapping[str, int]], decimals: int
) -> list[str]:
    """Means by the sequences missing (columns) and class (lines), and how many were missed: "2.0 (1 missed)"."""
    columns = sorted(means, key=lambda k: (not k.startswith("all"), k.count("-"), k))[:12]
    classes = dict.fromkeys(name for scores in (*means.values(), *missed.values()) for name in scores)
    rows = {}
    for name in classes:
        cells = [means[c].get(name, math.nan) for c in columns]
        counts = [missed.get(c, {}).get(name, 0) for c in columns]
        texts = ["-" if math.isnan(v) else f"{v:.{decimals}f}" for v in cells]
        rows[name] = [text + (f" ({n} missed)" if n else "") for text, n in zip(texts, counts, strict=True)]
    width = max(9, 2 + max(len(text) for text in (*columns, *(t for row in rows.values() for t in row))))
    lines = [f"{title:<32}" + "".join(f"{c:>{width}}" for c in columns)]
    return lines + [f"{name:<32}" + "".join(f"{text:>{width}}" for text in texts) for name, texts in rows.items()]


def _odds_lines(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Dice of the lesions by their odds."""
    lines = [f"{'Dice, odds of lesions times':<32}" + "".join(f"{odds:>7}" for odds in means)]
    for name in dict.fromkeys(name for scores in means.values() for name in scores):
        cells = [scores.get(name, math.nan) for scores in means.values()]
        lines.append(f"{name:<32}" + "".join(f"{value:>7.3f}" for value in cells))
    return lines


def mean_quality(scores: Sequence[Quality]) -> Quality:
    """The mean of each figure."""
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
