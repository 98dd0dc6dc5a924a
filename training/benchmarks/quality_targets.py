"""What reports of ``quality.py`` say about the project's targets for the shipped bundles, met and missed.

A target is measured on studies that a model never saw, a person of several studies counting once (else two studies of
one person outvote the others); nothing is computed anew but means.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from disentangle.learning.summaries import by_person, complete_means, complete_of

Entry = dict[str, Any]
"""``what``, ``wanted`` ("> 17.6 dB ..."), ``measured`` (a number), ``on`` (which studies, by what), ``met``."""
Persons = Callable[[str], str]
"""Name of a study -> the person that it shows."""

_REACHED = {">=": operator.ge, ">": operator.gt, "<=": operator.le}
_IMAGES = {"psnr": ("PSNR in dB", 25.0), "ssim": ("SSIM", 0.88)}
"""Figure of an image -> its title, its target."""
_TUMOURS = {"T1Gd+FLAIR": 0.80, "T1Gd": 0.70, "FLAIR": 0.70}
_SYSTEM, _PAIRS, _FILLED = "MarginDis", "12 x Pix2Pix", "U-Net, zero-filled"
"""Rows of the report on peers."""


@dataclass(frozen=True)
class Part:
    """Scores of real studies that a model never saw.

    Attributes:
        by: which model, to follow a list of studies.
        sequences: all that the model knows.
        results: of :func:`disentangle.learning.evaluation.evaluate_subjects`.
    """

    by: str
    sequences: Sequence[str]
    results: Sequence[Mapping[str, Any]]


def targets(
    reports: Sequence[Mapping[str, Any]], peers: Mapping[str, Any] | None = None, persons: Persons = str
) -> list[Entry]:
    """Every target that can be told, in the order in which the project names them.

    Args:
        reports: of ``quality.py``; a target that the first cannot tell is looked for in the next.
        peers: ``report.json`` of ``brain-mr-peers.yaml``: pix2pix and a zero-filled U-Net beside the system of the
            bundles, all with the same budget.
        persons: of the subjects of ``peers``.
    """
    parts = [part for report in reports for part in parts_of(report)]
    found = [*_synthesis(parts), *_tumours(parts), *_lesions(parts), *_lost(parts)]
    return found if peers is None else [*found, *_beside_peers(peers["scores"], persons)]


def parts_of(report: Mapping[str, Any]) -> list[Part]:
    """Those of real studies, the strictest first."""
    name = " ".join(report[key] for key in ("bundle", "version") if key in report) or "the bundle"
    # Folds that were trained elsewhere tell under "models" how: it need not be the recipe of the bundle.
    like = "architecture" if "models" in report.get("leave_one_person_out", {}) else "recipe"
    by = {
        "leave_one_person_out": f"models of the {like} of {name} that never saw the person",
        "unseen_studies": f"{name}, which never saw them",
    }
    return [Part(who, report[p]["sequences"], report[p]["subjects"]) for p, who in by.items() if p in report]


def lines(entries: Sequence[Entry]) -> list[str]:
    """A table of targets as text."""
    width = max((len(entry["what"]) for entry in entries), default=0)
    rows = [f"{e['what']:<{width}}  {e['measured']:>7.3f}  {_word(e['met'])}  {e['wanted']}" for e in entries]
    return [f"Targets: {sum(e['met'] for e in entries)} of {len(entries)} met", *rows]


def _word(met: bool) -> str:
    return "met   " if met else "MISSED"


def _entry(what: str, sign: str, limit: float, measured: float, on: str, note: str = "") -> Entry:
    wanted = f"{sign} {limit:.4g}{note}"
    met = bool(_REACHED[sign](measured, limit))
    return {"what": what, "wanted": wanted, "measured": round(measured, 3), "on": on, "met": met}


def _on(results: Sequence[Mapping[str, Any]], by: str) -> str:
    names, persons = [r["name"] for r in results], len(by_person(results))
    several = f" ({persons} persons, each counted once)" if persons < len(names) else ""
    return f"{', '.join(names)}{several}; {by}"


def _synthesis(parts: Sequence[Part]) -> list[Entry]:
    """Each sequence from all others, on the studies that have all: by itself, and against the copy."""
    for part in parts:
        complete = complete_of(part.results, part.sequences)
        if complete:
            return _of_complete(complete_means(complete), _on(complete, part.by))
    return []


def _of_complete(mean: Mapping[str, Any], on: str) -> list[Entry]:
    found = []
    for target, made in mean["imputation"].items():
        for figure, (title, limit) in _IMAGES.items():
            copied, what = mean["nearest"][target][figure], f"{target} from the others"
            note = ", that of the best histogram-matched input"
            found.append(_entry(f"{what}, {title}", ">=", limit, made[figure], on))
            found.append(_entry(f"{what} beside the matched copy, {title}", ">", copied, made[figure], on, note))
    return found


def _tumours(parts: Sequence[Part]) -> list[Entry]:
    """Whole tumour of BraTS 2013, from both sequences and from either alone."""
    found = ((subset, _dice(parts, "brats13-*", subset, "whole tumour")) for subset in _TUMOURS)
    return [
        _entry(f"whole tumour of brats13-* from {subset}, Dice", ">=", _TUMOURS[subset], *measured)
        for subset, measured in found
        if measured
    ]


def _lesions(parts: Sequence[Part]) -> list[Entry]:
    """White-matter lesions of ms-19."""
    measured = _dice(parts, "ms-19", None, "white-matter lesion")
    return [_entry("white-matter lesions of ms-19, Dice", ">=", 0.55, *measured)] if measured else []


def _dice(parts: Sequence[Part], pattern: str, subset: str | None, name: str) -> tuple[float, str] | None:
    """Mean Dice of a class over the persons of some studies, and which they are.

    Args:
        parts: the first that tells.
        pattern: of the names of studies.
        subset: used sequences; None = all that the study has.
        name: of the class.
    """
    for part in parts:
        chosen = [r for r in part.results if fnmatchcase(r["name"], pattern)]
        scores = {r["name"]: r["dice"].get(subset or "+".join(r["sequences"]), {}).get(name) for r in chosen}
        scored = [r for r in chosen if scores[r["name"]] is not None]
        if scored:
            persons = by_person(scored).values()
            mean = statistics.fmean(statistics.fmean(scores[r["name"]] for r in rs) for rs in persons)
            return mean, _on(scored, part.by)
    return None


def _lost(parts: Sequence[Part]) -> list[Entry]:
    """What one missing sequence costs, on the studies that have all."""
    for part in parts:
        complete = complete_of(part.results, part.sequences)
        lost = complete_means(complete)["lost"] if complete else {}
        names = [name for name in ("whole tumour", "any lesion") if name in lost]
        if names:
            return [
                _entry(
                    f"{name}, Dice lost with one sequence missing", "<=", 0.06, lost[name],
                    _on([r for r in complete if any(name in scores for scores in r["dice"].values())], part.by),
                )
                for name in names
            ]  # fmt: skip
    return []


def _beside_peers(scores: Sequence[Mapping[str, Any]], persons: Persons) -> list[Entry]:
    """Against pix2pix and zero-filling, each trained with the budget of the system beside it."""

    def both(table: str, other: str, column: str) -> tuple[float, float, str] | None:
        """Means of the system and of another method, and on what."""
        own, theirs = ([s for s in scores if _is_cell(s, table, m, column)] for m in (_SYSTEM, other))
        if not own or not theirs:
            return None
        studies = [{"name": n, "person": persons(n)} for n in dict.fromkeys(s["subject"] for s in own)]
        on = _on(studies, "brain-mr-peers: models of the same short training that never saw the person")
        return _mean(own, persons), _mean(theirs, persons), on

    found = []
    for column in dict.fromkeys(s["column"] for s in scores if s["table"] == "synthesis"):
        target, _, figure = column.rpartition(" ")
        measured = both("synthesis", _PAIRS, column)
        if target != "mean" and figure.lower() in _IMAGES and measured:
            own, theirs, on = measured
            what = f"{target} from the others beside pix2pix, {_IMAGES[figure.lower()][0]}"
            found.append(_entry(what, ">", theirs, own, on, ", that of a pix2pix per pair"))
    for name in ("whole tumour", "any lesion"):
        measured = both("loss", _FILLED, name)
        if measured and measured[0] > 0:
            own, theirs, on = measured
            what = f"{name}, Dice lost with one missing by a zero-filled U-Net over that lost by the system"
            found.append(_entry(what, ">=", 3.0, theirs / own, on))
    return found


def _is_cell(score: Mapping[str, Any], table: str, method: str, column: str) -> bool:
    place = score["table"], score["method"], score["column"]
    return place == (table, method, column) and score["value"] is not None


def _mean(scores: Sequence[Mapping[str, Any]], persons: Persons) -> float:
    """Mean over persons of the means of their studies."""
    own: dict[str, list[float]] = {}
    for score in scores:
        own.setdefault(persons(score["subject"]), []).append(score["value"])
    return statistics.fmean(map(statistics.fmean, own.values()))
