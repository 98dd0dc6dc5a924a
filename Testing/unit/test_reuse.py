"""A training that is there is not made again: it is found, goes on, or has other settings and is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from balls import SMALLEST, ball, load_balls

from disentangle.datasets.packs import write_pack
from disentangle.errors import InputError
from disentangle.learning import evaluation, reuse
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint, system_from_checkpoint
from disentangle.learning.config import load_config
from disentangle.learning.data import Data
from disentangle.learning.reuse import train_once
from disentangle.phantoms.brain import BRAIN_CLASSES
from disentangle.preprocessing import PreprocessingConfig

CONFIG = {
    "name": "tiny",
    "system": SMALLEST,
    "sampling": {"batch": 2, "sizes": [[32, 32]]},
    "training": {"steps": 2, "validate_every": 9, "validation_batches": 1, "images_every": None},
}


@pytest.fixture
def config(tmp_path, monkeypatch) -> dict:
    monkeypatch.setattr(training, "load_data", load_balls)
    return load_config({**CONFIG, "output": str(tmp_path / "runs")})


def folders(config: dict) -> list[str]:
    return sorted(path.name for path in Path(config["output"]).iterdir())


def test_a_finished_run_is_found_again(config, monkeypatch, capsys):
    final = train_once(config, "MarginDis", quiet=True)
    assert capsys.readouterr().out == f"MarginDis: training {final.parent}\n"
    monkeypatch.setattr(reuse, "train", None)
    elsewhere = {**config, "training": {**config["training"], "device": "cpu"}}
    assert train_once(elsewhere, quiet=True) == final
    with pytest.raises(InputError, match=r"was made with training\.steps=2, but 3 is wanted; remove that folder"):
        train_once({**config, "training": {**config["training"], "steps": 3}})


def test_an_interrupted_run_goes_on_and_one_without_a_checkpoint_begins_anew(config):
    final = train_once(config, quiet=True)
    final.unlink()
    said = []
    assert train_once(config, say=said.append, quiet=True) == final
    assert said == [f"tiny: resuming {final.parent}"]
    final.unlink()
    final.with_name("last.ckpt").unlink()
    assert train_once(config, say=said.append, quiet=True) == final
    assert said[1:] == [f"tiny: training {final.parent}"]
    assert folders(config) == ["tiny"]


def test_a_folder_that_is_no_run_is_left_alone(config):
    notes = Path(config["output"]) / "tiny" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="no run of a training; rename it"):
        train_once(config)
    assert notes.read_text(encoding="utf-8") == "mine"


def test_leaving_one_person_out_goes_on_where_it_was_interrupted(config, monkeypatch):
    people = [ball(n, "study") for n in (8, 9)]
    monkeypatch.setattr(evaluation, "studies_of", lambda config, progress: people)
    first = evaluation.leave_one_study_out(config)
    names = [f"tiny-without-s{n}" for n in (8, 9)]
    assert folders(config) == names
    run = Path(config["output"]) / names[1]
    assert load_checkpoint(run / "last.ckpt")["config"]["data"]["studies"]["exclude"] == ["s9"]
    (run / "final.ckpt").unlink()
    again = evaluation.leave_one_study_out(config)
    assert again["mean"]["imputation"] == first["mean"]["imputation"]
    assert folders(config) == names


def test_only_the_persons_of_the_studies_that_are_named_are_left_out(config, monkeypatch):
    monkeypatch.setattr(evaluation, "studies_of", lambda config, progress: [ball(n, "study") for n in (8, 9)])
    found = evaluation.leave_one_study_out(config, left_out=["s9", "nobody"])
    assert [subject["name"] for subject in found["subjects"]] == ["s9"]
    assert folders(config) == ["tiny-without-s9"]
    with pytest.raises(InputError, match="No study is called s7; there are s8, s9"):
        evaluation.leave_one_study_out(config, left_out=["s7"])


@pytest.fixture
def fold(config, monkeypatch):
    """Trains without some of the studies s8, s9, s10 (t10 shows whom s10 shows); gives the path of final.ckpt."""
    groups = [["s10", "t10"]]
    people = [ball(8, "study"), ball(9, "study"), ball(10, "study")]
    people.append(replace(people[-1], name="t10"))
    named = {person.name: person for person in people}

    def load(config, progress):
        excluded = config["data"]["studies"]["exclude"]
        return Data([*(s for s in people if s.name not in excluded), ball(0)], [ball(1)])

    monkeypatch.setattr(training, "load_data", load)
    monkeypatch.setattr(
        evaluation, "studies_of", lambda config: [named[n] for n in config["data"]["studies"]["include"]]
    )

    def trained(name: str, *excluded: str, **changes) -> Path:
        studies = {**config["data"]["studies"], "exclude": list(excluded), "same_subject": groups}
        settings = {**config["training"], **changes}
        return train_once(
            {**config, "name": name, "data": {**config["data"], "studies": studies}, "training": settings}, quiet=True
        )

    return trained


def test_each_fold_is_scored_on_the_studies_that_it_left_out(fold):
    first, second = fold("first", "s9"), fold("second", "s8", "s10", "t10")
    found = evaluation.score_folds([first, second])
    assert [subject["name"] for subject in found["subjects"]] == ["s10", "s8", "s9", "t10"]
    assert [subject["person"] for subject in found["subjects"]] == ["s10", "s8", "s9", "s10"]
    own = {subject["name"]: subject["imputation"]["T1"]["psnr"] for subject in found["subjects"]}
    by_second = evaluation.evaluate_subjects(system_from_checkpoint(load_checkpoint(second)), [ball(8), ball(9)])
    expected = [subject["imputation"]["T1"]["psnr"] for subject in by_second["subjects"]]
    assert own["s8"] == pytest.approx(expected[0]) and own["s9"] != pytest.approx(expected[1])


def test_folds_scored_by_two_processes_have_the_figures_of_one(tmp_path):
    people = [ball(n, "study") for n in (8, 9, 10, 11)]
    write_pack(tmp_path / "pack", people, PreprocessingConfig(), BRAIN_CLASSES)
    data = {"phantoms": None, "studies": {"folder": str(tmp_path / "pack")}}
    config = load_config({**CONFIG, "output": str(tmp_path / "runs"), "data": data})

    def without(*excluded: str) -> Path:
        studies = {**config["data"]["studies"], "exclude": list(excluded)}
        return train_once({**config, "name": excluded[0], "data": {**config["data"], "studies": studies}}, quiet=True)

    folds = [without("s8", "s11"), without("s9"), without("s10")]
    one, two = evaluation.score_folds(folds), evaluation.score_folds(folds, workers=2)
    assert [subject["name"] for subject in two["subjects"]] == ["s10", "s11", "s8", "s9"]
    assert json.dumps(two) == json.dumps(one)


def test_a_fold_that_saw_whom_it_should_have_left_out_is_not_scored(fold):
    first = fold("first", "s9")
    with pytest.raises(InputError, match=r"first.final\.ckpt left s9 out, and so did another checkpoint"):
        evaluation.score_folds([first, first])
    with pytest.raises(InputError, match=r"all.final\.ckpt left no study out"):
        evaluation.score_folds([fold("all")])
    with pytest.raises(InputError, match=r"half.final\.ckpt was trained on t10, whose persons it should have left out"):
        evaluation.score_folds([fold("half", "s10")])
    later = fold("later", "s8", init_from=str(first))
    with pytest.raises(InputError, match=r"later.final\.ckpt was trained on s8"):
        evaluation.score_folds([later])
