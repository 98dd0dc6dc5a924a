"""Questions about the study that was run last, asked of a real worker."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from disentangle.inference import Result
from disentangle.inference.scores import FactorScores
from disentangle.phantoms import brain_phantom
from disentangle.study import Image, Study
from disentangle.worker.client import WorkerClient
from disentangle.worker.codec import read, read_result, write, write_study
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study() -> Study:
    return brain_phantom(5, spacing=5.0, lesions="ms").study.subset(["T1", "FLAIR"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("home"))
    with WorkerClient(env={**os.environ, "OMP_NUM_THREADS": "1", "DISENTANGLE_HOME": home}) as client:
        yield client


@pytest.fixture(scope="module")
def ran(worker, study, bundle):
    """(result event, events before it, its result)."""
    folder = worker.folder()
    write_study(study, folder / "study")
    request = {"request": "predict", "bundle": bundle, "study": folder / "study", "output": folder / "result"}
    request.update(segment=True, factors=True, synthesize=["T1Gd"], device="cpu", point=[0, 0, 20])
    request.update(preview=folder / "preview")
    before: list[dict] = []
    event = worker.wait(worker.submit(request), before.append, 120)
    assert event["event"] == "result", event
    return event, before, read_result(event["output"])


def ask(worker, ran, request: str, **fields) -> dict:
    place = worker.folder() / "answer"
    return worker.wait(
        worker.submit({"request": request, "session": ran[0]["session"], "output": place, **fields}), timeout_s=120
    )


def test_the_slice_on_screen_arrives_before_the_volume(ran):
    (preview,) = [event for event in ran[1] if event["event"] == "preview"]
    slab = read(preview["output"])
    assert isinstance(slab, Image)
    assert 0 < len(slab.array) <= 8


def test_factors_and_synthetic_images_of_the_slice_on_screen_follow_its_classes(ran):
    told = [event for event in ran[1] if event["event"].startswith("preview")]
    assert [(event["event"], event.get("kind")) for event in told] == [
        ("preview", None),
        ("preview_images", "factors"),
        ("preview_images", "synthesized"),
    ]
    classes, factors, synthetic = (read(event["output"]) for event in told)
    assert factors.keys() == {"T1", "FLAIR"}
    assert synthetic.keys() == {"T1Gd"}
    for name, channels in factors.items():
        assert len(channels) == len(ran[2].factors[name].anatomy)
    for slab in (*factors["T1"], *factors["FLAIR"], synthetic["T1Gd"]):
        assert slab.grid.same_as(classes.grid)
        assert slab.array.any()


def test_a_slice_is_drawn_in_milliseconds(worker, ran):
    import time

    fields = {"anatomy": "T1", "units": {"T1": 0.5, "FLAIR": 0.5}, "point": [0, 0, 20]}
    fields["output"] = worker.folder() / "slice.npy"
    style = np.array(ran[0]["styles"]["T1"])
    ask(worker, ran, "draw", **fields, style=style.tolist())
    began = time.monotonic()
    event = ask(worker, ran, "draw", **fields, style=(style + 1).tolist())
    assert time.monotonic() - began < 1.0
    assert event["event"] == "result", event
    assert np.load(event["output"]).any()


def test_subsets_and_scores(worker, ran):
    event = ask(worker, ran, "subset", subsets=[["T1"], ["FLAIR"]])
    assert set(read(event["output"])) == {"T1", "FLAIR"}
    scores = read(ask(worker, ran, "scores")["output"])
    assert isinstance(scores, FactorScores)
    assert scores.sequences == ["T1", "FLAIR"]


def test_more_lesions_are_a_moment_away_and_what_was_drawn_stays(worker, ran):
    answer = ran[2].segmentation
    assert ran[0]["findings"]
    drawn = answer.array.copy()
    drawn[len(drawn) // 2] = 0
    folder = worker.folder() / "shown"
    write({"shown": Image(drawn, answer.affine)}, folder)
    event = ask(worker, ran, "sensitivity", sensitivity=64, study=folder)
    more = read(event["output"]).array
    assert (more >= 4).sum() > (drawn >= 4).sum()
    assert not more[len(drawn) // 2][answer.array[len(drawn) // 2] > 0].any()
    refused = ask(worker, ran, "sensitivity", sensitivity=-1, study=folder)
    assert refused["kind"] == "input" and "give a number from 1/1024 to 1024" in refused["message"]
    write({"shown": read(event["output"])}, folder)
    back = ask(worker, ran, "sensitivity", sensitivity=1, study=folder)
    assert np.array_equal(read(back["output"]).array, drawn)


def test_an_adapted_model_is_saved_among_the_users_own(worker, ran):
    answer = ran[2].segmentation
    array = answer.array.copy()
    k = len(array) // 2
    array[k][array[k] > 0] = 4
    folder = worker.folder() / "corrections"
    write({"corrected": Image(array, answer.affine), "original": answer}, folder)
    event = ask(worker, ran, "adapt", study=folder)
    assert event["event"] == "result", event
    assert event["figures"]["agreement"][1] >= event["figures"]["agreement"][0]
    assert read(event["output"]).array.shape == array.shape
    saved = ask(worker, ran, "save", name="mine")
    assert (Path(saved["bundle"]) / "bundle.json").is_file()
    assert ask(worker, ran, "save", name="mine")["kind"] == "input"
    assert ask(worker, ran, "save", name="../mine")["kind"] == "input"
    shipped = ask(worker, ran, "save", name="brain-mr")
    assert shipped["message"] == "A model brain-mr is there already; choose another name."
    assert not Path(saved["bundle"]).with_name("brain-mr").exists()
    assert ask(worker, ran, "undo")["learnt"] == 0
    assert ask(worker, ran, "undo")["kind"] == "input"


def test_what_was_learnt_stays_with_its_study_and_never_reaches_a_batch(study, bundle, tmp_path):
    def predict(one: Study) -> tuple[dict, Result]:
        place = client.folder()
        request = {"request": "predict", "bundle": bundle, "study": write_study(one, place / "s"), "device": "cpu"}
        event = client.wait(client.submit({**request, "output": place / "out", "segment": True}), timeout_s=120)
        return event, read_result(event["output"])

    def batch(name: str) -> tuple[dict, bytes]:
        request = {"request": "batch", "folder": tmp_path / "in", "output": tmp_path / name, "bundle": bundle}
        event = client.wait(client.submit({**request, "segment": True, "device": "cpu"}), timeout_s=120)
        return event["report"], (tmp_path / name / "segmentation.nii.gz").read_bytes()

    def learn() -> None:
        event, result = predict(study)
        array = result.segmentation.array.copy()
        array[len(array) // 2][array[len(array) // 2] > 0] = 4
        place = client.folder()
        write({"corrected": Image(array, result.segmentation.affine), "original": result.segmentation}, place / "c")
        fields = {"session": event["session"], "study": place / "c", "output": place / "out"}
        assert client.wait(client.submit({"request": "adapt", **fields}), timeout_s=120)["learnt"] == 1

    study.write(tmp_path / "in")
    study = Study.from_folder(tmp_path / "in")  # as a batch reads it: the same study to the worker
    home = str(tmp_path / "home")
    with WorkerClient(env={**os.environ, "OMP_NUM_THREADS": "1", "DISENTANGLE_HOME": home}) as client:
        untaught, result = predict(study)
        assert untaught["learnt"] == 0
        report, segmentation = batch("before")
        learn()
        assert batch("after")[1] == segmentation  # of the same images even
        assert batch("after")[0]["warnings"] == report["warnings"]
        learn()
        again, taught = predict(study)
        assert again["learnt"] == 1
        assert any("adapted to your corrections" in warning for warning in taught.report["warnings"])
        assert client.wait(client.submit({"request": "save", "session": again["session"], "name": "m"}))["bundle"]
        assert client.wait(client.submit({"request": "undo", "session": again["session"]}))["learnt"] == 0
        np.testing.assert_array_equal(predict(study)[1].segmentation.array, result.segmentation.array)


def test_masks_are_compared(worker, ran):
    mask = np.zeros((10, 20, 20), np.uint8)
    mask[2:8, 5:15, 5:15] = 1
    shifted = np.roll(mask, 1, axis=2)
    folder = worker.folder() / "masks"
    write({"pairs": {"cube": (mask, shifted), "none": (mask, 0 * mask)}, "spacing": [2.0, 1.0, 1.0]}, folder)
    scores = worker.wait(worker.submit({"request": "compare", "study": folder}), timeout_s=60)["scores"]
    assert scores["cube"]["dice"] == pytest.approx(0.9, abs=1e-3)
    assert scores["cube"]["hd95_mm"] == pytest.approx(2.0)
    assert scores["none"] == {"dice": 0.0, "hd95_mm": None, "asd_mm": None}


def test_a_study_from_files_to_files_and_again(worker, study, bundle, tmp_path):
    study.write(tmp_path / "in")
    request = {"request": "batch", "folder": tmp_path / "in", "output": tmp_path / "out", "bundle": bundle}
    request.update(segment=True, device="cpu", resume=True)
    first = worker.wait(worker.submit(request), timeout_s=120)
    assert first["report"]["volumes_ml"]
    assert not first["skipped"]
    assert (tmp_path / "out" / "segmentation.nii.gz").is_file()
    again = worker.wait(worker.submit(request), timeout_s=60)
    assert again["skipped"]
    assert again["report"] == first["report"]


def test_questions_about_another_run_are_refused(worker, ran):
    stale = ({"event": "result", "session": "none"}, [], None)
    event = ask(worker, stale, "scores")
    assert (event["event"], event["kind"]) == ("error", "input")
    assert "press Apply" in event["message"]


def test_images_without_a_name_are_recognised(worker):
    study = brain_phantom(78, spacing=3.0, lesions="none").study
    empty = Image(np.zeros((12, 12, 12), np.float32), np.eye(4))
    folder = worker.folder() / "images"
    write({"first": study["FLAIR"], "second": study["T2"], "empty": empty}, folder)
    event = worker.wait(worker.submit({"request": "recognize", "study": folder}), timeout_s=120)
    assert event["event"] == "result", event
    told = event["recognised"]
    assert {name: what["sequence"] for name, what in told.items()} == {"first": "FLAIR", "second": "T2"}
    assert all(what["orientation"] == "upright" and what["confidence"] > 0.5 for what in told.values())
