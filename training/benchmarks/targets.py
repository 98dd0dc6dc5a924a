"""What the protocols' reports say about the project's targets: ``python training/benchmarks/targets.py``.

Reads ``results/<protocol>/report.json``, prints a table and writes ``results/targets.json``. A target is a difference
or a ratio of two rows of one report, taken seed by seed over the same test subjects; nothing is computed anew.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disentangle.study import write_atomically

HERE = Path(__file__).resolve().parent
BySeed = dict[int, float]
Reports = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Target:
    """One thing to be shown.

    Attributes:
        part: of the project: "heart", "brain", ...
        text: what is measured, with its unit.
        measure: reports by name -> value by seed; a ``KeyError`` says that a report lacks a row or column.
        limit: to be reached by the mean over the seeds.
        at_least: the limit is a lower one, else an upper one.
    """

    part: str
    text: str
    measure: Callable[[Reports], BySeed]
    limit: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether a mean reaches the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


def cell(reports: Reports, report: str, table: str, method: str, column: str) -> BySeed:
    """Seed -> mean over the test subjects.

    Raises:
        KeyError: the report is not there, or has no such number.
    """
    found: dict[int, list[float]] = {}
    for score in reports[report]["scores"]:
        if (score["table"], score["method"], score["column"]) == (table, method, column) and score["value"] is not None:
            found.setdefault(score["seed"], []).append(score["value"])
    if not found:
        raise KeyError(f"{report}: {table}, {method}, {column}")
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def minus(first: BySeed, second: BySeed) -> BySeed:
    """First minus second, for the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def over(first: BySeed, second: BySeed) -> BySeed:
    """First over second, for the seeds that both have."""
    return {seed: first[seed] / second[seed] for seed in first if seed in second}


def gap(report: str, table: str, column: str, first: str, second: str) -> Callable[[Reports], BySeed]:
    """Row ``first`` minus row ``second``."""
    return lambda reports: minus(
        cell(reports, report, table, first, column), cell(reports, report, table, second, column)
    )


def value(report: str, table: str, column: str, method: str) -> Callable[[Reports], BySeed]:
    """A row itself."""
    return lambda reports: cell(reports, report, table, method, column)


def ratio(report: str, table: str, column: str, first: str, second: str) -> Callable[[Reports], BySeed]:
    """Row ``first`` over row ``second``."""
    return lambda reports: over(
        cell(reports, report, table, first, column), cell(reports, report, table, second, column)
    )


def recovered(reports: Reports) -> BySeed:
    """Share of the gap between random and expert pairs that learned pairs close, from the means over the seeds: the gap
    of a single seed may be near 0."""
    rows = [
        cell(reports, "e001-table3", "dice", m, "LGE 0 %") for m in ("expert pairs", "learned pairs", "random pairs")
    ]
    expert, learned, chance = (statistics.fmean(row.values()) for row in rows)
    share = (learned - chance) / (expert - chance) if expert > chance else math.nan
    return dict.fromkeys(rows[1], share)


def loss_without_one(method: str, report: str = "e000-missing") -> Callable[[Reports], BySeed]:
    """Dice points lost on average when one of the sequences is missing."""

    def measure(reports: Reports) -> BySeed:
        columns = {s["column"] for s in reports[report]["scores"] if s["table"] == "dice"}
        single = [c for c in columns if c.startswith("-") and c.count("-") == 1]
        if not single:
            raise KeyError(f"{report}: dice, one sequence missing")
        whole = cell(reports, report, "dice", method, "all Dice")
        lost = [minus(whole, cell(reports, report, "dice", method, column)) for column in single]
        return {seed: 100 * statistics.fmean(one[seed] for one in lost) for seed in whole}

    return measure


def mixed_phase_loss(one: tuple[str, str], three: tuple[str, str]) -> Callable[[Reports], BySeed]:
    """Dice points that DALACE loses when three phases are mixed, against one phase: a report and a column each."""

    def measure(reports: Reports) -> BySeed:
        single, mixed = (cell(reports, report, "dice", "DALACE", column) for report, column in (one, three))
        return {seed: 100 * v for seed, v in minus(single, mixed).items()}

    return measure


_HEART = ("e001-table1", "dice")
_FACTORS = ("e000-analyses", "factors")
_CROSS = ("e000-crossreconstruction", "cross", "mean SSIM")
_BOTH = "DAFNet, multi input"
TARGETS = (
    Target("heart", "0 % LGE: DAFNet minus U-Net multi, Dice points", gap(*_HEART, "LGE 0 %", _BOTH, "UNet-multi"), 20),
    Target("heart", "0 % LGE: DAFNet minus copy, Dice points", gap(*_HEART, "LGE 0 %", _BOTH, "copy"), 5),
    Target(
        "heart", "100 %: DAFNet minus U-Net single, Dice points", gap(*_HEART, "LGE 100 %", _BOTH, "UNet-single"), -1
    ),
    Target(
        "heart",
        "0 % LGE: DAFNet minus that without transformer, Dice points",
        gap("e001-table4", "dice", "LGE 0 %", "all", "without STN"),
        3,
    ),
    Target("heart", "0 % LGE: share of the pairing gap that learned pairs recover", recovered, 0.7),
    Target(
        "heart",
        "0 % LGE: DAFNet minus its single-input self, Dice points",
        gap(*_HEART, "LGE 0 %", _BOTH, "DAFNet, single input"),
        0,
    ),
    Target(
        "heart",
        "0 % LGE: MMSDNet minus its single-input self, Dice points",
        gap("e003-table1", "dice", "LGE avg 0 %", "MMSDNet, multi input", "MMSDNet, single input"),
        0,
    ),
    *(
        target
        for method in ("Conv+Sim", "CondConv+Sim")
        for target in (
            Target("brain", f"cross-reconstruction SSIM: {method} minus Conv+NA", gap(*_CROSS, method, "Conv+NA"), 0),
            Target("brain", f"{method}: sequence from z, accuracy", value(*_FACTORS, "sequence from z", method), 0.97),
            Target(
                "brain",
                f"sequence from f(s): Conv+NA minus {method}, accuracy",
                gap(*_FACTORS, "sequence from f(s)", "Conv+NA", method),
                0.2,
            ),
        )
    ),
    Target("brain", "one missing: loss of fused anatomies, Dice points", loss_without_one("Fused anatomies"), 6, False),
    Target(
        "brain",
        "one missing: loss of NVNet on fused anatomies, Dice points",
        loss_without_one("NVNet on fused anatomies", "e000-missing-nvnet"),
        6,
        False,
    ),
    Target("brain", "one missing: loss of Standard+Zero, Dice points", loss_without_one("Standard+Zero"), 20),
    *(
        Target(
            "translation",
            f"UCD minus 12 x Pix2Pix, {what}",
            gap("e002-table1", "quality", what, "UCD", "12 x Pix2Pix"),
            0,
        )
        for what in ("PSNR", "SSIM")
    ),
    Target(
        "translation",
        "whole tumour Dice of one real and three synthesised sequences over four real ones",
        ratio("e002-table2", "dice", "Dice", "UCD completed", "four real sequences"),
        0.95,
    ),
    Target(
        "abdomen",
        "CT labels only: DALACE over the supervised upper bound, Dice",
        lambda reports: over(
            cell(reports, "e004-table1", "dice", "DALACE", "MR Dice"),
            cell(reports, "e004-table1-bounds", "dice", "upper bound", "MR Dice"),
        ),
        0.9,
    ),
    *(
        Target(
            "abdomen",
            f"CT labels only: DALACE minus {other}, Dice",
            gap("e004-table1", "dice", "MR Dice", "DALACE", other),
            0,
        )
        for other in ("TD-GAN", "CycleGAN")
    ),
    Target(
        "abdomen",
        "DALACE on three kinds of MR against one (those of CHAOS): loss, Dice points",
        mixed_phase_loss(("e004-table1", "MR Dice"), ("e004-table2", "MR Dice")),
        6,
        False,
    ),
    Target(
        "abdomen",
        "DALACE on three mixed phases against one phase (those of the paper): loss, Dice points",
        mixed_phase_loss(("e004-phases", "MR Dice DA"), ("e004-phases", "MR Dice DAL")),
        6,
        False,
    ),
)


def judged(reports: Reports) -> list[dict[str, Any]]:
    """The targets with what was measured; a target without numbers says what is missing."""
    rows = []
    for target in TARGETS:
        row: dict[str, Any] = {"part": target.part, "target": target.text, "limit": target.limit}
        row["limit_is"] = "lower" if target.at_least else "upper"
        try:
            values = list(target.measure(reports).values())
        except KeyError as missing:
            rows.append(row | {"missing": str(missing.args[0])})
            continue
        mean = statistics.fmean(values)
        deviation = statistics.stdev(values) if len(values) > 1 else None
        rows.append(row | {"mean": mean, "sd": deviation, "seeds": len(values), "met": target.met(mean)})
    return rows


def _line(row: Mapping[str, Any]) -> str:
    limit = f"{'>=' if row['limit_is'] == 'lower' else '<='} {row['limit']:g}"
    if "missing" in row:
        return f"{row['part']:<12} {row['target']:<84} {limit:>8}  not measured: {row['missing']}"
    spread = "" if row["sd"] is None else f" ± {row['sd']:.3f}"
    verdict = "met" if row["met"] else "missed"
    return f"{row['part']:<12} {row['target']:<84} {limit:>8} {row['mean']:9.3f}{spread}  n={row['seeds']}  {verdict}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="The project's targets beside what the committed reports measured.")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the reports")
    options = parser.parse_args(arguments)
    found = sorted(options.results.glob("*/report.json"))
    if not found:
        print(f"There are no reports in {options.results}; run disentangle evaluate first.", file=sys.stderr)
        return 2
    rows = judged({path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found})
    print("\n".join(_line(row) for row in rows))
    output = options.results / "targets.json"
    with write_atomically(output) as temporary:
        temporary.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"Written: {output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
