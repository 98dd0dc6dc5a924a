"""Means of figures over subjects, and their table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Quality = dict[str, float]
"""Figures of one image by name: "psnr", "ssim", "mae"."""


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over subjects: image quality by target; Dice by class with all sequences that a subject has ("all"),
    and with each one missing ("-T1", over the subjects that have it); "all on LGE" is that on the slices of LGE."""
    mean: dict[str, Any] = {}
    for kind in ("self", "cross", "imputation", "nearest", "copy"):
        found = [r.get(kind, {}) for r in results]
        mean[kind] = {
            t: mean_quality([f[t] for f in found if t in f]) for t in dict.fromkeys(t for f in found for t in f)
        }
    for kind in ("dice", "hd95"):
        mean[kind] = _by_missing(results, kind)
    made: dict[str, dict[str, list[Quality]]] = {}
    for target, subset, scores in (
        (t, k, v) for r in results for t, c in r.get("from", {}).items() for k, v in c.items()
    ):
        made.setdefault(target, {}).setdefault(subset, []).append(scores)
    if made:
        mean["from"] = {t: {k: mean_quality(v) for k, v in c.items()} for t, c in made.items()}
    return mean


def _by_missing(results: Sequence[Mapping[str, Any]], kind: str) -> dict[str, dict[str, float]]:
    """Means of the scores of a kind by the sequences missing ("all", "-T1") and class; NaN left out."""
    collected: dict[str, dict[str, list[float]]] = {}
    for r in results:
        for subset, scores in r.get(kind, {}).items():
            names, on, reference = subset.partition(" on ")
            missing = [s for s in r["sequences"] if s not in names.split("+")]
            key = ("-" + "-".join(missing) if missing else "all") + on + reference
            for name, value in scores.items():
                if not math.isnan(value):
                    collected.setdefault(key, {}).setdefault(name, []).append(value)
    return {k: {n: float(np.mean(v)) for n, v in c.items()} for k, c in collected.items()}


def table(mean: Mapping[str, Any]) -> str:
    """The means of :func:`summary` as text."""
    kinds = {"self": "self", "cross": "cross", "imputation": "imputed", "nearest": "nearest input"}
    lines = ["PSNR dB / SSIM   " + "".join(f"{title:>18}" for title in kinds.values())]
    for target in dict.fromkeys((*mean["self"], *mean["imputation"])):
        cells = [mean[kind].get(target) for kind in kinds]
        texts = [f"{c['psnr']:.2f} / {c['ssim']:.3f}" if c else "-" for c in cells]
        lines.append(f"{target:<17}" + "".join(f"{text:>18}" for text in texts))
    if mean["dice"]:
        columns = sorted(mean["dice"], key=lambda k: (not k.startswith("all"), k.count("-"), k))[:12]
        classes = dict.fromkeys(name for scores in mean["dice"].values() for name in scores)
        width = max(9, 2 + max(len(c) for c in columns))
        lines += ["", "Dice" + " " * 28 + "".join(f"{c:>{width}}" for c in columns)]
        for name in classes:
            values = [mean["dice"][c].get(name, math.nan) for c in columns]
            texts = ["-" if math.isnan(v) else f"{v:.3f}" for v in values]
            lines.append(f"{name:<32}" + "".join(f"{text:>{width}}" for text in texts))
    return "\n".join(lines)


def mean_quality(scores: Sequence[Quality]) -> Quality:
    """The mean of each figure."""
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}
