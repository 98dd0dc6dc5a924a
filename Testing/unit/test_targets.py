"""The table of targets tells what reports measured, and says so when they did not."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def targets():
    return runpy.run_path(str(ROOT / "training" / "benchmarks" / "targets.py"))


def report(rows: dict[str, dict[int, list[float]]], table: str = "dice", column: str = "LGE 0 %") -> dict:
    """A report of one column: method -> seed -> values of the test subjects."""
    return {
        "scores": [
            {"table": table, "column": column, "method": method, "seed": seed, "subject": f"p{n}", "value": value}
            for method, seeds in rows.items()
            for seed, values in seeds.items()
            for n, value in enumerate(values)
        ]
    }


def test_a_target_is_the_difference_of_two_rows_seed_by_seed(targets):
    reports = {"e001-table1": report({"DAFNet, multi input": {1: [70, 80], 2: [65]}, "copy": {1: [60, 70], 2: [62]}})}
    row = next(r for r in targets["judged"](reports) if "minus copy" in r["target"])
    assert row["mean"] == pytest.approx((10 + 3) / 2) and row["seeds"] == 2
    assert row["met"]


def test_learned_pairs_are_measured_by_the_share_of_the_gap_that_they_close(targets):
    rows = {"expert pairs": {1: [80]}, "learned pairs": {1: [76]}, "random pairs": {1: [60]}}
    assert targets["recovered"]({"e001-table3": report(rows)}) == {1: pytest.approx(0.8)}


def test_the_loss_without_one_sequence_is_the_mean_over_the_missing_one(targets):
    parts = [
        report({"Standard+Zero": {1: [score]}}, column=column)
        for column, score in (("all Dice", 0.8), ("-T1 Dice", 0.7), ("-FLAIR Dice", 0.3), ("-T1-FLAIR Dice", 0.0))
    ]
    reports = {"e000-missing": {"scores": [s for part in parts for s in part["scores"]]}}
    assert targets["loss_without_one"]("Standard+Zero")(reports) == {1: pytest.approx(30)}


def test_an_upper_limit_is_kept_by_staying_below(targets):
    target = targets["Target"]("p", "t", lambda r: {}, 6, at_least=False)
    assert target.met(5.9) and not target.met(6.1)


def test_what_no_report_measured_is_named(targets, tmp_path, capsys):
    folder = tmp_path / "e001-table1"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report({"copy": {1: [60]}})), encoding="utf-8")
    assert targets["main"](["--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "not measured: e001-table1: dice, DAFNet, multi input" in shown
    written = json.loads((tmp_path / "targets.json").read_text(encoding="utf-8"))
    assert all("missing" in row for row in written)


def test_a_folder_without_reports_is_refused(targets, tmp_path, capsys):
    assert targets["main"](["--results", str(tmp_path)]) == 2
    assert "There are no reports" in capsys.readouterr().err
