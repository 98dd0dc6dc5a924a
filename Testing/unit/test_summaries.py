"""Means over subjects and reports: what a method missed stands beside the distances of what it found."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from disentangle.datasets.volumes import Subject
from disentangle.learning.protocols.e004 import CrossDomainSegmentation
from disentangle.learning.protocols.protocol import Picture, Protocol, TableSpec, lower_is_better
from disentangle.learning.protocols.report import Report, Score
from disentangle.learning.protocols.settings import load_protocol
from disentangle.learning.summaries import summary, table

SPEC = TableSpec("hd95", "Distances", 1, quantity="HD95")


def result(dice: float, distance: float) -> dict:
    """Scores of a subject with T1 alone."""
    return {"sequences": ["T1"], "dice": {"T1": {"tumour": dice}}, "hd95": {"T1": {"tumour": distance}}}


def line_of(text: str, title: str) -> list[str]:
    """The words of the first line after a heading."""
    lines = text.splitlines()
    return lines[next(n for n, line in enumerate(lines) if line.startswith(title)) + 1].split()


def test_a_complete_miss_is_counted_beside_the_mean_distance_of_the_others():
    mean = summary([result(0.9, 2.0), result(0.0, math.nan)])
    assert mean["dice"]["all"]["tumour"] == pytest.approx(0.45)
    assert mean["hd95"] == {"all": {"tumour": 2.0}}
    assert mean["missed"] == {"all": {"tumour": 1}}
    assert line_of(table(mean), "HD95") == ["tumour", "2.0", "(1", "missed)"]
    assert line_of(table(mean), "Dice") == ["tumour", "0.450"]


def test_what_was_always_missed_has_a_line_and_what_never_was_no_count():
    assert line_of(table(summary([result(0.0, math.nan)] * 2)), "HD95") == ["tumour", "-", "(2", "missed)"]
    mean = summary([result(0.9, 2.0)])
    assert mean["missed"] == {}
    assert "missed" not in table(mean)


def test_what_other_odds_of_lesions_would_give_is_told_with_what_is_best_for_each():
    small = {"sensitivity": {"1/2": {"tumour": 0.8}, "1": {"tumour": 0.6}, "2": {"tumour": 0.1}}}
    large = {"sensitivity": {"1/2": {"tumour": 0.2}, "1": {"tumour": 0.4}, "2": {"tumour": 0.7}}}
    mean = summary([{**result(0.6, 2.0), **small}, {**result(0.4, 2.0), **large}, result(0.9, 2.0)])
    assert {odds: round(v["tumour"], 3) for odds, v in mean["sensitivity"].items()} == {
        "1/2": 0.5, "1": 0.5, "2": 0.4, "best": 0.75,
    }  # fmt: skip
    assert line_of(table(mean), "Dice, odds") == ["tumour", "0.500", "0.500", "0.400", "0.750"]
    assert "sensitivity" not in summary([result(0.9, 2.0)])


ALL = ("T1", "T1Gd", "T2", "FLAIR")


def made(name: str, sequences: tuple[str, ...], psnr: float, copied: float, **more) -> dict:
    """Scores of a subject whose every sequence was made of its others."""
    images = {
        kind: {s: {"psnr": value, "ssim": value / 100, "mae": 1.0} for s in sequences}
        for kind, value in (("imputation", psnr), ("nearest", copied), ("copy", copied - 1))
    }
    return {"name": name, "sequences": list(sequences), **images, **more}


def test_synthesis_is_told_beside_its_copies_for_subjects_with_all_sequences_alone():
    whole, pair = made("whole", ALL, 18.0, 19.0), made("pair", ("T1Gd", "FLAIR"), 20.0, 12.0)
    mean = summary([whole, pair], ALL)
    # Of FLAIR alone no copy of T1Gd is worth much: with that subject the system seems the better one.
    assert mean["imputation"]["T1Gd"]["psnr"] == 19.0 > mean["nearest"]["T1Gd"]["psnr"] == 15.5
    complete = mean["complete"]
    assert (complete["studies"], complete["persons"], mean["studies"]) == (1, 1, 2)
    assert complete["imputation"]["T1Gd"]["psnr"] == 18.0 < complete["nearest"]["T1Gd"]["psnr"] == 19.0
    assert complete["copy"]["T1Gd"]["ssim"] == pytest.approx(0.18)
    text = table(mean)
    assert "With all sequences (studies: 1, persons: 1)" in text
    first = line_of(text[text.index("With all") :], "PSNR")
    assert " ".join(first) == "T1 18.00 / 0.180 19.00 / 0.190 18.00 / 0.180"


def test_a_person_of_two_studies_counts_once():
    two = [made(name, ALL, psnr, 16.0, person="she") for name, psnr in (("registered", 19.0), ("native", 17.0))]
    complete = summary([*two, made("he", ALL, 12.0, 16.0)], ALL)["complete"]
    assert (complete["studies"], complete["persons"]) == (3, 2)
    assert complete["imputation"]["T2"]["psnr"] == pytest.approx((18.0 + 12.0) / 2)


def test_what_one_missing_sequence_costs_is_a_mean_over_subjects_with_all_sequences():
    scores = {"+".join(ALL): {"tumour": 0.8}, "T1+T1Gd+T2": {"tumour": 0.5}, "T1+T1Gd+FLAIR": {"tumour": 0.7}}
    whole = made("whole", ALL, 18.0, 19.0, dice={**scores, "T1+T2": {"tumour": 0.0}})
    pair = made("pair", ("T1Gd", "FLAIR"), 20.0, 12.0, dice={"T1Gd+FLAIR": {"tumour": 0.9}, "T1Gd": {"tumour": 0.1}})
    mean = summary([whole, pair], ALL)
    assert mean["complete"]["lost"] == {"tumour": pytest.approx(0.8 - 0.6)}
    assert "Dice lost with one missing: tumour 0.200" in table(mean)


def test_where_nobody_has_all_sequences_nothing_is_told_of_it():
    assert "complete" not in summary([made("pair", ("T1Gd", "FLAIR"), 20.0, 12.0)], ALL)
    mean = summary([made("whole", ALL, 18.0, 19.0)], ALL)
    assert mean["complete"]["imputation"]["T1"] == mean["imputation"]["T1"]
    assert "With all sequences" not in table(mean)  # the means above are those


class Distances(Protocol):
    """A protocol of one table whose columns are named by structure, and one of Dice."""

    tables = (SPEC, TableSpec("dice", "Overlap", 3, quantity="Dice"))


def reported(distances: dict[str, list[float]]) -> Report:
    """Method -> distances of its subjects, of one repetition."""
    method = {"changes": {"system": {"name": "margindis"}}}
    protocol = Distances(
        load_protocol({"protocol": "peers", "name": "few", "methods": dict.fromkeys(distances, method)})
    )
    scores = [
        Score("hd95", m, "whole tumour", 0, None, f"s{n}", v) for m, vs in distances.items() for n, v in enumerate(vs)
    ]
    return Report(protocol, {"command": "test", "seconds": 3}, scores)


def test_a_column_holds_what_its_name_tells_else_what_its_table_does():
    assert lower_is_better("whole tumour", "HD95")
    assert lower_is_better("T1 MAE", "value")
    assert not lower_is_better("T1 PSNR", "HD95")
    assert not lower_is_better("whole tumour", "Dice")


def test_the_smallest_distance_is_the_best_of_a_table_of_distances():
    report = reported({"near": [5.0, 6.0], "far": [50.0, 70.0]})
    assert "| near | **5.5** |" in report.table_lines(SPEC)
    assert "| far | 60.0 |" in report.table_lines(SPEC)


def test_a_method_that_misses_is_not_marked_the_best_and_the_table_says_how_many():
    report = reported({"finds all": [2.5, 8.0, 9.0], "misses two": [2.0, math.nan, math.nan]})
    assert report.table_lines(SPEC)[2:] == ["| finds all | **6.5** |", "| misses two | 2.0 (2 of 3 missed) |"]
    (line,) = (line for line in report.markdown().splitlines() if line.startswith("- whole tumour"))
    assert "finds all before misses two, which missed more (2 against 0)" in line
    assert "where both have a score, worse by 0.5, p = - (paired permutation test, 1 subjects)" in line
    report = reported({"finds all": [2.5, 8.0], "finds nothing": [math.nan, math.nan]})
    assert "| finds nothing | - (2 of 2 missed) |" in report.table_lines(SPEC)
    assert "no subject has a finite score of both" in report.markdown()


def test_a_repetition_that_missed_a_subject_is_no_pair_with_the_same_one_of_another_method():
    report = reported({"near": [4.0, 4.0], "far": [5.0, 5.0]})
    second = {"near": [math.nan, 6.0], "far": [60.0, 8.0]}
    report.scores += [
        Score("hd95", m, "whole tumour", 1, None, f"s{n}", v) for m, vs in second.items() for n, v in enumerate(vs)
    ]
    found = report.comparisons(SPEC)["whole tumour"]
    assert (found.best, found.n, found.missed) == ("far", 2, (0, 1))
    assert found.difference == pytest.approx((-1.0 - 1.5) / 2)
    assert "| near | 5.0 ± 1.4 (1 of 4 missed) |" in report.table_lines(SPEC)


def test_an_unknown_dice_is_no_miss():
    report = reported({"a": [1.0], "b": [2.0]})
    report.scores += [Score("dice", m, "tumour", 0, None, "s0", math.nan) for m in ("a", "b")]
    assert report.missed(report.protocol.tables[1]) == {}


def test_a_report_is_written_anew_from_its_own_scores(tmp_path):
    report = reported({"finds all": [2.5, 8.0], "misses one": [2.0, math.nan]})
    report.models = {"finds all": {"": {"models": 1, "weights_m": 0.5, "steps": 10, "minutes": 1.0}}}
    report.pictures = [Picture("some.png", "Something.")]
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["tables"]["hd95"]["missed"] == {"misses one": {"whole tumour": [1, 2]}}
    again = Report.read(report.protocol, tmp_path)
    assert again.markdown() == text
    again.write(tmp_path / "again", draw=False)
    assert not list((tmp_path / "again").glob("*.png"))
    assert json.loads((tmp_path / "again" / "report.json").read_text(encoding="utf-8")) == content


def test_what_a_subject_does_not_have_cannot_be_missed():
    class Nothing(CrossDomainSegmentation):
        """Finds nothing."""

        def __init__(self) -> None:
            pass

        def domains(self, models):
            return {"MR": ["T1", "T2"]}

        def value(self, models, sequence):
            return 1

        def predicted(self, models, subject, sequence):
            return np.zeros((2, 8, 8), bool)

    healthy, ill = np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8)
    ill[0, 2:4, 2:4] = 1
    images = {s: np.zeros(ill.shape, np.float16) for s in ("T1", "T2")}
    labels = {"T1": healthy, "T2": ill}
    subject = Subject("a", "a", images, np.ones(ill.shape, bool), ill, (1.0,) * 3, "study", {}, labels)
    distances = Nothing().score(None, subject)["hd95"]
    assert list(distances) == ["T2 HD95"] and math.isnan(distances["T2 HD95"])
