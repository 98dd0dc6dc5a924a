"""Nobody whom a model was trained on is held out for its test: splits are drawn anew when subjects come or go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from balls import SMALLEST, ball

from disentangle.datasets.published import data_sets, parts_of
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning import evaluation, reuse
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint
from disentangle.learning.config import load_config
from disentangle.learning.data import Data, check_unseen

KEYS = ("t1", "t1ce", "t2", "flair", "seg")


def write_brats(folder: Path, numbers: Iterable[int]) -> None:
    """Subjects of BraTS 2020 without voxels: what is held out is told by names."""
    for n in numbers:
        place = folder / f"BraTS20_Training_{n:03d}"
        place.mkdir(parents=True)
        for key in KEYS:
            (place / f"{place.name}_{key}.nii.gz").touch()


def write_studies(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "T1.nii.gz").touch()
        (folder / name / "study.json").write_text("{}", encoding="utf-8")


def load(config: dict, progress: object = None, parts: Sequence[str] = ("training", "validation")) -> Data:
    """``load_data`` with a ball for every subject of a data set."""
    found: dict[str, list[Subject]] = {"training": [], "validation": []}
    for chosen in data_sets(config["data"]["dataset"]):
        there = parts_of(chosen, ("T1", "T2"), Path(config["output"]) / "splits")
        for part in parts:
            for n, case in enumerate(there.cases[part]):
                about = there.layout.about() | dict(case.about) | {"subject": case.subject}
                subject = replace(ball(n), name=case.subject, group=case.group, source=chosen.layout, about=about)
                found.setdefault(part, []).append(subject)
    return Data(**found)


def given(folder: Path, output: Path, **changes) -> dict:
    """The smallest configuration on a data set."""
    return {
        "name": "tiny",
        "output": str(output),
        "system": SMALLEST,
        "data": {"dataset": {"layout": "brats2020", "folder": str(folder), "folds": 4} | changes},
        "sampling": {"batch": 2, "sizes": [[32, 32]]},
        "training": {"steps": 1, "validate_every": 9, "validation_batches": 1, "images_every": None},
    }


def seen_by(config: dict) -> list[dict]:
    """What a training of a configuration is recorded to have seen."""
    return load(config).about()


def refused(now: dict, before: dict, trained: list[dict], parts: Sequence[str] = ("validation", "test")) -> bool:
    try:
        check_unseen("It", trained, before, load_config(now), parts, "train anew")
    except InputError:
        return True
    return False


def test_a_run_whose_split_was_drawn_anew_is_neither_resumed_nor_found_again_nor_scored(tmp_path, monkeypatch):
    folder, output = tmp_path / "BraTS2020", tmp_path / "runs"
    write_brats(folder, range(1, 13))
    monkeypatch.setattr(training, "load_data", load)
    monkeypatch.setattr(evaluation, "load_data", load)
    monkeypatch.setattr(evaluation, "evaluate_subjects", lambda system, subjects, *_: {"mean": len(subjects)})
    monkeypatch.setattr(evaluation, "table", str)
    config, go_on = given(folder, output), ["training.resume=true", "training.steps=2"]
    final = training.train(config, quiet=True)
    assert training.train(config, go_on, quiet=True) == final
    assert reuse.train_once(load_config(config, ["training.steps=2"])) == final
    assert evaluation.evaluate(final, quiet=True)["mean"] == 3
    before = {path: path.read_bytes() for path in final.parent.rglob("*.*") if path.is_file()}

    write_brats(folder, [13])
    told = r"was trained on BraTS20_Training_\d{3}.* of BraTS 2020, held out now for "
    with pytest.raises(InputError, match=told + r"validation or test: .*; restore them, or leave out training\.resume"):
        training.train(config, [*go_on, "training.steps=3"], quiet=True)
    with pytest.raises(InputError, match=told + r"validation or test: .*; restore them, or remove that folder"):
        reuse.train_once(load_config(config, ["training.steps=2"]))
    with pytest.raises(InputError, match=told + r"test: .*; restore them, or train anew"):
        evaluation.evaluate(final, quiet=True)
    assert {path: path.read_bytes() for path in final.parent.rglob("*.*") if path.is_file()} == before

    assert evaluation.evaluate(final, ["data.dataset.exclude=[BraTS20_Training_013]"], quiet=True)["mean"] == 3


def test_a_run_that_goes_on_with_other_data_was_trained_on_both(tmp_path, monkeypatch):
    write_brats(tmp_path / "BraTS2020", range(1, 10))
    write_studies(tmp_path / "own", (f"s{n}" for n in range(9)))
    monkeypatch.setattr(training, "load_data", load)
    training.train(given(tmp_path / "BraTS2020", tmp_path), quiet=True)
    other = given(tmp_path / "own", tmp_path, layout="studies")
    final = training.train(other, ["training.resume=true", "training.steps=2"], quiet=True)
    names = ["5 subjects of BraTS 2020", "5 subjects of studies"]
    assert [entry["name"] for entry in load_checkpoint(final)["data"]] == names
    record = json.loads((final.parent / "run.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in record["data"]] == names


@pytest.mark.parametrize("change", ["exclude", "fold", "seed"])
def test_another_split_of_the_same_data_is_refused(tmp_path, change):
    write_brats(tmp_path / "set", range(1, 13))
    before = given(tmp_path / "set", tmp_path)
    value = {"exclude": ["*_012"], "fold": 1, "seed": 1}[change]
    assert refused(given(tmp_path / "set", tmp_path, **{change: value}), before, seen_by(before))
    assert not refused(before, before, seen_by(before))


def test_data_that_was_moved_or_is_that_of_other_people_is_no_reason_to_refuse(tmp_path):
    write_brats(tmp_path / "set", range(1, 13))
    before = given(tmp_path / "set", tmp_path)
    trained = seen_by(before)
    (tmp_path / "set").rename(tmp_path / "moved")
    assert not refused(before, before, trained)
    assert not refused(given(tmp_path / "moved", tmp_path / "elsewhere"), before, trained)
    assert refused(given(tmp_path / "moved", tmp_path, fold=2), before, trained)
    write_brats(tmp_path / "others", range(101, 113))
    assert not refused(given(tmp_path / "others", tmp_path, fold=2), before, trained)


def test_persons_of_two_hospitals_may_have_the_same_names(tmp_path):
    for hospital in ("a", "b"):
        write_studies(tmp_path / hospital, (f"patient{n}" for n in range(1, 13)))
    before = given(tmp_path / "a", tmp_path, layout="studies")
    assert refused(given(tmp_path / "a", tmp_path, layout="studies", fold=1), before, seen_by(before))
    assert not refused(given(tmp_path / "b", tmp_path, layout="studies", fold=1), before, seen_by(before))


def test_another_examination_of_a_person_who_was_trained_on_is_not_tested(tmp_path):
    for person in range(12):
        for number in (100, 101):
            place = tmp_path / f"BraTS-GLI-{person:05d}-{number}"
            place.mkdir()
            for key in ("t1n", "t1c", "t2w", "t2f", "seg"):
                (place / f"{place.name}-{key}.nii.gz").touch()
    first = given(tmp_path, tmp_path, layout="brats2021", include=["*-100"])
    second = given(tmp_path, tmp_path, layout="brats2021", include=["*-101"], fold=1)
    assert refused(second, first, seen_by(first))


def test_sets_of_one_configuration_that_share_persons_are_its_own_business(tmp_path):
    write_brats(tmp_path / "set", range(1, 13))
    before = given(tmp_path / "set", tmp_path)
    entry = before["data"]["dataset"]
    before["data"]["dataset"] = [entry, entry | {"seed": 1}]
    assert not refused(before, before, seen_by(before))
