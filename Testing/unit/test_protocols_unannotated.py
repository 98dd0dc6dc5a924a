"""Protocols on sets that were annotated in part: what nobody annotated is neither scored nor drawn, and tables tell."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from disentangle.baselines.copying import copied
from disentangle.datasets.volumes import Subject
from disentangle.learning.protocols import create, e001, engine, figures, run
from disentangle.learning.protocols.protocol import TableSpec
from disentangle.learning.protocols.report import Report, Score
from disentangle.learning.protocols.runs import Models, Repetition
from disentangle.losses import UNLABELLED

CONTENT = {
    "protocol": "E001-I",
    "name": "hearts",
    "system": {"name": "dafnet", "sequences": ["cine", "LGE"], "classes": "heart"},
    "methods": {"copy": {"train": False, "mode": "copy"}, "register": {"train": False, "mode": "register"}},
}
SHAPE = (3, 16, 16)


def heart(name: str = "a", annotated: tuple[str, ...] = ("cine", "LGE")) -> Subject:
    """A heart in the same place of every slice and sequence, with annotations of some sequences."""
    truth = np.zeros(SHAPE, np.uint8)
    truth[:, 4:10, 4:10], truth[:, 6:8, 6:8] = 1, 2
    own = {s: truth.copy() if s in annotated else np.full(SHAPE, UNLABELLED, np.uint8) for s in ("cine", "LGE")}
    images = {s: (truth + np.random.default_rng(0).normal(0, 0.1, SHAPE)).astype(np.float16) for s in own}
    labels = next((own[s] for s in own if s in annotated), own["cine"])
    return Subject(name, name, images, np.ones(SHAPE, bool), labels, (1.0,) * 3, "mscmrseg", {}, own)


def models(protocol, method: str) -> Models:
    return Models(protocol.settings.method(method), protocol.settings.conditions[0], Repetition(0))


@pytest.mark.parametrize("method", ["copy", "register"])
def test_what_is_carried_over_from_a_source_without_annotations_has_no_score(method, monkeypatch):
    monkeypatch.setitem(e001.PROPAGATIONS, "register", copied)  # registration itself takes seconds
    protocol = create(CONTENT)
    score = {parts: protocol.score(models(protocol, method), heart("a", parts))["dice"] for parts in (("LGE",), ())}
    assert score == {("LGE",): {}, (): {}}
    assert set(protocol.score(models(protocol, method), heart())["dice"]) == {"cine", "LGE"}


@pytest.mark.parametrize("kind", ["E001-I", "E001-III"])
def test_a_subject_of_a_single_sequence_has_nothing_to_carry_over_and_stops_no_protocol(kind):
    whole = heart()
    alone = replace(whole, images={"LGE": whole.images["LGE"]})
    protocol = create({**CONTENT, "protocol": kind})
    assert not any(protocol.score(models(protocol, "copy"), alone).values())
    assert not protocol.predicted(models(protocol, "copy"), alone, "LGE").any()


def test_a_source_without_annotations_is_no_reason_not_to_score_a_network(monkeypatch):
    protocol = create({**CONTENT, "methods": {"U-Net": {"train": False, "mode": "single"}}})
    one = heart("a", ("LGE",))
    monkeypatch.setattr(protocol, "predicted", lambda models, subject, target: subject.sequence_labels["LGE"])
    assert protocol.score(models(protocol, "U-Net"), one)["dice"] == {"LGE": 100.0}


def test_copied_labels_are_compared_only_where_both_partners_were_annotated():
    protocol = create({**CONTENT, "protocol": "E001-III"})
    found = [protocol.score(models(protocol, "copy"), heart("a", p))["copy"] for p in ((), ("LGE",), ("cine", "LGE"))]
    assert found == [{}, {}, {"cine": 100.0, "LGE": 100.0}]


@pytest.mark.parametrize(("side", "name"), [("LGE", "E001-I"), ("cine", "E001-I"), ("cine", "E001-III")])
def test_voxels_and_slices_of_unknown_label_do_not_count(side, name):
    """A copy of the very labels is right wherever both are known, and wrong in half of its only other slice."""
    subject = heart()
    subject.sequence_labels[side][0] = UNLABELLED
    subject.sequence_labels[side][1, 4:7] = UNLABELLED
    other = subject.sequence_labels["LGE" if side == "cine" else "cine"]
    other[2] = 0
    other[2, 4:10, 4:7] = subject.sequence_labels[side][2, 4:10, 4:7]
    protocol = create({**CONTENT, "protocol": name})
    half = 100 * 2 * 18 / (36 + 18)
    scores = protocol.score(models(protocol, "copy"), subject)["copy" if name == "E001-III" else "dice"]
    assert scores["LGE"] == pytest.approx((100 + half) / 2)


def test_a_subject_with_annotations_is_drawn_and_no_truth_where_there_is_none(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(e001, "image_grid", lambda file, rows, *_: drawn.append(rows))
    protocol = create(CONTENT)
    shown = {(m.label, ""): models(protocol, m.label) for m in protocol.settings.methods[:1]}
    (picture,) = protocol.draw(shown, [heart("none", ()), heart("one", ("cine",)), heart("both")], tmp_path)
    assert picture.caption == "Labels on one slice of both."
    (picture,) = protocol.draw(shown, [heart("none", ()), heart("one", ("cine",))], tmp_path)
    assert picture.caption == "Labels on one slice of one."
    (cine, lge) = drawn[1]
    # In colour: the truth, and the labels that were carried over.
    assert cine[1].shape == lge[2].shape == (16, 16, 3) and lge[1] is None
    assert protocol.draw(shown, [heart("none", ())], tmp_path)[0].caption == "Labels on one slice of none."


def test_unknown_labels_are_not_coloured():
    labels = np.array([[0, 1], [UNLABELLED, 254]])
    colours = figures.labelled(np.ones((2, 2)), labels, (0, 1))
    assert (colours[0, 0] == 1).all() and (colours[1] == 1).all() and not (colours[0, 1] == 1).all()


@pytest.fixture
def content(tmp_path, monkeypatch):
    """The protocol on three hearts, of which two have annotations of LGE and one those of both sequences."""
    subjects = [heart("none", ()), heart("both"), heart("one", ("LGE",))]
    monkeypatch.setattr(engine, "test_subjects", lambda *_: subjects)
    monkeypatch.setattr(figures, "_DPI", 30)
    monkeypatch.setitem(e001.PROPAGATIONS, "register", copied)
    return {**CONTENT, "report": str(tmp_path)}


def test_a_picture_that_fails_does_not_lose_the_scores(content, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no picture")

    monkeypatch.setattr(e001.UnregisteredSegmentation, "draw", fail)
    said: list[str] = []
    with pytest.raises(RuntimeError, match="no picture"):
        run(content, say=said.append)
    report = tmp_path / "hearts" / "report.md"
    assert said[-1] == f"scores: {report}" and "| copy |" in report.read_text(encoding="utf-8")
    assert json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))["scores"]


def test_a_report_tells_how_many_subjects_were_scored(content):
    path = run(content, say=lambda line: None)
    table = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["tables"]["dice"]
    assert table["subjects"] == {m: {"cine": 1, "LGE": 1} for m in ("copy", "register")}
    text = path.read_text(encoding="utf-8")
    assert "Subjects with a score, of 3 tested on: cine (1), LGE (1)." in text
    assert "![Labels on one slice of both.](labels.png)" in text


def test_a_mean_over_fewer_subjects_than_another_says_so():
    spec = TableSpec("dice", "Dice", 1, quantity="Dice")
    protocol = create(CONTENT)
    values = {"copy": {"a": 90.0}, "register": {"a": 95.0, "b": 40.0}}
    scores = [Score("dice", m, "LGE", 0, None, s, v) for m, found in values.items() for s, v in found.items()]
    report = Report(protocol, {"command": "test", "subjects": 2}, scores)
    assert report.table_lines(spec)[2:] == ["| copy | **90.0 (1 of 2 subjects)** |", "| register | 67.5 |"]
    text = report.markdown()
    assert "copy before register; where both have a score, worse by 5.0" in text
    assert "Subjects with a score" not in text
