"""The report of quality.py: what it says about the targets, and how an older one is made anew."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

from disentangle.bundles.card import check_card
from disentangle.errors import InputError
from disentangle.learning.summaries import summary

BENCHMARKS = Path(__file__).resolve().parents[2] / "training" / "benchmarks"
ALL = ("T1", "T1Gd", "T2", "FLAIR")


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, which draws nothing but tells in ``drawn`` what it would."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("quality")
    monkeypatch.setattr(module, "drawn", {}, raising=False)
    monkeypatch.setattr(module, "box_plot", lambda path, groups, *_: module.drawn.update({path.name: groups}))
    return module


def study(name: str, sequences: tuple[str, ...], psnr: float, copied: float, dice: dict) -> dict:
    """Scores of a study, as older reports hold them: without its person."""
    images = {
        kind: {s: {"psnr": value, "ssim": value / 30, "mae": 1.0} for s in sequences}
        for kind, value in (("self", 40.0), ("imputation", psnr), ("nearest", copied), ("copy", copied - 1))
    }
    return {"name": name, "sequences": list(sequences), **images, "dice": dice, "hd95": {"T1": {"tumour": None}}}


def report(*studies: dict, part: str = "leave_one_person_out", bundle: str = "brain-mr-research") -> dict:
    """A report without what older ones do not name."""
    command = f"python training/benchmarks/quality.py --bundle {bundle}"
    return {"command": command, part: {"subjects": list(studies), "mean": {}}}


def whole(name: str, psnr: float, copied: float, with_all: float = 0.8, without: float = 0.7) -> dict:
    """A study of four sequences with a tumour."""
    subsets = ["+".join(s for s in ALL if s != missing) for missing in ALL]
    dice = {"+".join(ALL): {"whole tumour": with_all}, **{s: {"whole tumour": without} for s in subsets}}
    return study(name, ALL, psnr, copied, dice)


def pair(name: str, both: float, t1gd: float, flair: float) -> dict:
    """A study of BraTS 2013."""
    found = {"T1Gd+FLAIR": both, "T1Gd": t1gd, "FLAIR": flair}
    return study(name, ("T1Gd", "FLAIR"), 30.0, 5.0, {k: {"whole tumour": v} for k, v in found.items()})


def written(path: Path, content: dict) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def told(quality: ModuleType, *reports: Path, peers: dict | None = None) -> dict[str, dict]:
    """What -> entry of the targets of the first report, the others beside it."""
    found = quality.targets([quality.read(path) for path in reports], peers, quality.persons(CONFIG))
    return {entry["what"]: entry for entry in found}


CONFIG = BENCHMARKS.parent / "configs" / "margindis-brain.yaml"


def test_targets_are_told_met_and_missed_on_the_studies_that_they_name(quality, tmp_path):
    studies = [
        whole("tcga-du-7294", 26.0, 24.0, 0.8, 0.79),
        whole("ms-07", 26.0, 27.0, 0.8, 0.71),
        study("ms-19", ("T1", "FLAIR"), 1.0, 2.0, {"T1+FLAIR": {"white-matter lesion": 0.3}}),
        pair("brats13-01", 0.9, 0.6, 0.8),
        pair("brats13-02", 0.8, 0.7, 0.6),
    ]
    found = told(quality, written(tmp_path / "a.json", report(*studies)))
    by = "; models of the recipe of brain-mr-research that never saw the person"
    assert found["whole tumour of brats13-* from T1Gd+FLAIR, Dice"] == {
        "what": "whole tumour of brats13-* from T1Gd+FLAIR, Dice",
        "wanted": ">= 0.8",
        "measured": 0.85,
        "on": "brats13-01, brats13-02" + by,
        "met": True,
    }
    met = {what: (entry["measured"], entry["met"]) for what, entry in found.items()}
    assert met["whole tumour of brats13-* from T1Gd, Dice"] == (0.65, False)
    assert met["whole tumour of brats13-* from FLAIR, Dice"] == (pytest.approx(0.7), True)
    assert met["white-matter lesions of ms-19, Dice"] == (0.3, False)
    assert met["T2 from the others, PSNR in dB"] == (26.0, True)
    assert met["T2 from the others, SSIM"] == (pytest.approx(26 / 30, abs=1e-3), False)
    beside = found["T2 from the others beside the matched copy, PSNR in dB"]
    assert (beside["wanted"], beside["met"]) == ("> 25.5, that of the best histogram-matched input", True)
    assert beside["on"] == "tcga-du-7294, ms-07" + by  # neither the pairs nor ms-19, which has two here
    assert met["whole tumour, Dice lost with one sequence missing"] == (0.05, True)
    assert "any lesion, Dice lost with one sequence missing" not in found


def test_a_person_of_two_studies_does_not_outvote_another(quality, tmp_path):
    fg = [whole(name, 20.0, 15.0) for name in ("tcga-fg-6692", "tcga-fg-6692-native")]
    path = written(tmp_path / "a.json", report(*fg, whole("ms-07", 14.0, 20.0)))
    found = told(quality, path)["T1 from the others beside the matched copy, PSNR in dB"]
    assert (found["measured"], found["met"]) == (17.0, False)  # (20 + 20 + 14) / 3 would beat (15 + 15 + 20) / 3
    assert "tcga-fg-6692-native, ms-07 (2 persons, each counted once); " in found["on"]


def test_what_a_report_cannot_tell_is_taken_from_those_beside_it(quality, tmp_path):
    own = report(
        pair("brats13-01", 0.7, 0.7, 0.7), whole("phantom", 9.0, 8.0), part="unseen_studies", bundle="brain-mr"
    )
    own["unseen_studies"]["subjects"].pop()
    own["unseen_phantoms"] = report(whole("phantom-1", 30.0, 10.0))["leave_one_person_out"]
    other = report(pair("brats13-01", 0.9, 0.9, 0.9), whole("ms-07", 20.0, 10.0))
    found = told(quality, written(tmp_path / "own.json", own), written(tmp_path / "other.json", other))
    tumour, made = found["whole tumour of brats13-* from FLAIR, Dice"], found["T1 from the others, PSNR in dB"]
    assert (tumour["measured"], tumour["on"]) == (0.7, "brats13-01; brain-mr, which never saw them")
    assert made["measured"] == 20.0  # of a real study, not of the phantom
    assert made["on"].endswith("recipe of brain-mr-research that never saw the person")
    alone = told(quality, written(tmp_path / "own.json", own))
    assert "T1 from the others, PSNR in dB" not in alone and len(alone) == 3


def test_peers_stand_beside_the_system_of_their_own_short_training(quality, tmp_path):
    rows = [
        ("synthesis", "MarginDis", "T1 PSNR", 17.0),
        ("synthesis", "12 x Pix2Pix", "T1 PSNR", 16.0),
        ("synthesis", "MarginDis", "mean PSNR", 99.0),
        ("synthesis", "12 x Pix2Pix", "mean PSNR", 1.0),
        ("loss", "MarginDis", "whole tumour", 0.1),
        ("loss", "U-Net, zero-filled", "whole tumour", 0.2),
    ]
    peers = {"scores": [{"table": t, "method": m, "column": c, "subject": "ms-07", "value": v} for t, m, c, v in rows]}
    found = told(quality, written(tmp_path / "a.json", report(pair("brats13-01", 0.9, 0.9, 0.9))), peers=peers)
    beside = found["T1 from the others beside pix2pix, PSNR in dB"]
    assert (beside["measured"], beside["wanted"], beside["met"]) == (17.0, "> 16, that of a pix2pix per pair", True)
    lost = next(entry for what, entry in found.items() if "zero-filled" in what)
    assert (lost["measured"], lost["wanted"], lost["met"]) == (2.0, ">= 3", False)
    assert len(found) == 5


def test_a_report_is_made_anew_without_measuring(quality, tmp_path, capsys):
    fg = [whole(name, psnr, 16.0) for name, psnr in (("tcga-fg-6692", 20.0), ("tcga-fg-6692-native", 18.0))]
    path = written(tmp_path / "old.json", report(*fg, pair("brats13-01", 0.7, 0.7, 0.7)))
    card = tmp_path / "card.json"
    assert quality.main(["--from", str(path), "--card", str(card), "--peers", str(tmp_path / "none.json")]) == 0
    assert "MISSED  >= 0.8" in capsys.readouterr().out
    new = json.loads(path.read_text(encoding="utf-8"))
    part = new["leave_one_person_out"]
    assert part["mean"]["complete"]["imputation"]["T1"]["psnr"] == 19.0 < part["mean"]["imputation"]["T1Gd"]["psnr"]
    assert [s["person"] for s in part["subjects"]] == ["tcga-fg-6692", "tcga-fg-6692", "brats13-01"]
    assert part["subjects"][0]["hd95"] == {"T1": {"tumour": None}} and part["mean"]["missed"]  # still strict JSON
    entry = json.loads(card.read_text(encoding="utf-8"))
    assert entry["quality"]["targets"] == new["targets"]
    assert entry["quality"]["leave_one_person_out"]["complete"]["persons"] == 1
    assert not [defect for defect in check_card({"format": 1, **entry}) if "quality" in defect]
    before = path.read_text(encoding="utf-8")
    quality.main(["--from", str(path), "--peers", str(tmp_path / "none.json")])
    assert path.read_text(encoding="utf-8") == before
    drawn = {name: groups["T1Gd"]["synthesised"] for name, groups in quality.drawn.items() if "synthesis" in name}
    assert drawn == {
        "leave-one-person-out-synthesis.png": [20.0, 18.0, 30.0],
        "leave-one-person-out-synthesis-complete.png": [20.0, 18.0],
    }


def test_a_part_may_be_measured_anew_and_says_by_what(quality, tmp_path, monkeypatch):
    path = written(tmp_path / "old.json", report(pair("brats13-01", 0.7, 0.7, 0.7)))
    scores = {"unseen_phantoms": {"subjects": 4, "sequence from z": 1.0, "dCor² corrected": math.nan}}
    measures = dict.fromkeys(quality.MEASURES, pytest.fail) | {"disentanglement": lambda options: scores}
    monkeypatch.setattr(quality, "MEASURES", measures)
    card = tmp_path / "card.json"
    asked = ["--from", str(path), "--again", "disentanglement", "--card", str(card), "--peers", str(tmp_path / "none")]
    assert quality.main(asked) == 0
    found = json.loads(card.read_text(encoding="utf-8"))["quality"]
    assert found["measured_by"] == report()["command"]
    assert found["disentanglement"]["measured_by"].endswith(f"--again disentanglement --peers {tmp_path / 'none'}")
    assert found["disentanglement"]["unseen_phantoms"] == {"subjects": 4, "sequence from z": 1.0}


def test_studies_that_a_bundle_was_trained_on_are_not_called_unseen(quality, monkeypatch):
    class Seen:
        card = {"training": {"data": [{"name": "brats13-01"}, {"name": "ms-07"}]}}  # noqa: RUF012

    monkeypatch.setattr(quality, "find_bundle", lambda name: Seen())
    options = quality.parser().parse_args(["--bundle", "some"])
    with pytest.raises(InputError, match="some was trained on brats13-01; name others with --unseen"):
        quality.unseen_studies(options)
    options.unseen = ["tcga-*"]
    assert quality.unseen_studies(options) == ['data.studies={include: ["tcga-*"]}']


def test_the_separation_of_factors_is_a_table_of_studies_and_phantoms(quality):
    found = {
        "measured_by": "a command",
        "unseen_studies": {"subjects": 4, "sequence from z": 0.9},
        "unseen_phantoms": {"subjects": 3, "sequence from z": 1.0, "subject from f(s)": 0.5},
    }
    rows = [line.split("  ") for line in quality.separation_lines(found)]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [
        ["unseen studies", "unseen phantoms"],
        ["subjects", "4", "3"],
        ["sequence from z", "0.900", "1.000"],
        ["subject from f(s)", "-", "0.500"],
    ]


def test_means_of_an_older_report_are_those_of_a_new_one(quality, tmp_path):
    studies = [pair("brats13-01", 0.9, 0.9, 0.9)]  # who have fewer sequences than the models
    found = quality.read(written(tmp_path / "a.json", report(*studies)))["leave_one_person_out"]
    assert found["sequences"] == list(ALL)
    assert found["mean"] == summary(found["subjects"], ALL) and "complete" not in found["mean"]
    with pytest.raises(InputError, match="cannot be read"):
        quality.read(tmp_path / "none.json")
