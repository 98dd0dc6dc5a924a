"""A training that is there is not made again: it is found, goes on, or has other settings and is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from balls import SMALLEST, ball, load_balls

from disentangle.errors import InputError
from disentangle.learning import evaluation, reuse
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint
from disentangle.learning.config import load_config
from disentangle.learning.reuse import train_once

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
