"""Compiled programs answer as PyTorch does, without importing it, and are chosen where they are there and faster."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from converted import largest_difference, needs_openvino, pretend_converted, relative_difference

from disentangle.bundles import Bundle, write_bundle
from disentangle.errors import Cancelled, InputError
from disentangle.inference import Predictor, networks, plan
from disentangle.inference.backends import store
from disentangle.inference.plan import check_backend, choose_plan
from disentangle.inference.report import RunReport
from disentangle.phantoms import create_phantom
from disentangle.registry import create
from disentangle.study import Image
from tiny_bundle import CLASSES, PREPROCESSING, tiny_bundle, tiny_system

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def study():
    return create_phantom("brain", 3, spacing=4.0).study


@pytest.fixture(scope="module")
def converted(bundle) -> store.Converted:
    from disentangle.inference.backends.convert import convert

    return convert(bundle)


WANTED = {"synthesize": ["T2"], "factors": True, "cross_reconstructions": True, "probabilities": True}


@pytest.fixture(scope="module")
def results(bundle, study, converted):
    """What PyTorch and the compiled programs make of one study: (predictor, result) by backend."""
    found = {}
    for backend in ("torch", "openvino"):
        predictor = Predictor(bundle, device="cpu", backend=backend)
        found[backend] = predictor, predictor.run(study, **WANTED)
    return found


@needs_openvino
def test_the_bundle_is_converted_once_and_what_was_measured_is_kept(bundle, converted):
    from disentangle.inference.backends.convert import TOLERANCE, convert

    assert {"anatomy-T1", "style-FLAIR", "segment", "modulate", "render"} <= set(converted.programs)
    assert converted.difference <= TOLERANCE
    assert set(converted.milliseconds) == {"torch", "openvino"}
    assert store.read(bundle).milliseconds == converted.milliseconds
    began = (converted.folder / "segment.bin").stat().st_mtime_ns
    convert(bundle)
    assert (converted.folder / "segment.bin").stat().st_mtime_ns == began


@needs_openvino
def test_labels_agree_and_every_other_answer_differs_by_less_than_a_thousandth(results):
    (_, expected), (_, found) = results["torch"], results["openvino"]
    assert np.mean(found.segmentation.array == expected.segmentation.array) >= 0.999
    assert found.report["backend"] == {"name": "openvino", "reason": "asked for"}
    assert largest_difference(found, expected) < 1e-3


@needs_openvino
@pytest.mark.parametrize("anatomy", ["T1", "fused"])
def test_a_session_draws_the_same_slice(results, anatomy):
    sessions = [results[backend][0].session for backend in ("torch", "openvino")]
    k = int(np.flatnonzero(sessions[0].prepared.mask.any(axis=(1, 2)))[4])
    style = sessions[0].styles()["FLAIR"]
    expected, found = (s.draw(k, anatomy, style, {"FLAIR": 1.0}) for s in sessions)
    assert relative_difference(found, expected) < 1e-3
    moved = [s.draw(k, anatomy, style + 0.5, {"FLAIR": 1.0}) for s in sessions]  # with the maps of the first drawing
    assert relative_difference(moved[1], moved[0]) < 1e-3
    assert relative_difference(moved[1], found) > 1e-3


@needs_openvino
def test_what_the_first_slices_need_is_compiled_before_they_come(bundle, study, converted):
    store.keep_size(converted.folder, (96, 32))
    Predictor(bundle, device="cpu", backend="openvino").run(study)
    size = store.last_size(converted.folder)
    assert size and size != (96, 32)  # the guess was wrong, and is right the next time
    predictor = Predictor(bundle, device="cpu", backend="openvino")
    predictor.networks.begin(("T1", "T2"), segment=True)
    network = predictor.networks.load(RunReport(bundle, study))
    until = time.monotonic() + 60
    while len(network._compiled) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert {program for program, _ in network._compiled} == {"anatomy-T1", "anatomy-T2", "segment"}
    predictor.run(study.subset(["T1", "T2"]))
    assert len(network._compiled) == 3  # nothing else was needed


@needs_openvino
def test_what_a_slider_needs_is_compiled_before_it_is_touched(bundle, study, converted):
    predictor = Predictor(bundle, device="cpu", backend="openvino")
    predictor.run(study)
    session, network = predictor.session, predictor.last[0].network
    k = int(np.flatnonzero(session.prepared.mask.any(axis=(1, 2)))[4])
    session.factors_of(k)
    session.expect_drawing().result(timeout=60)
    ready = set(network._compiled)
    assert {"modulate", "render"} <= {program for program, _ in ready}
    session.draw(k, "fused", session.styles()["FLAIR"], {"FLAIR": 1.0})
    assert set(network._compiled) == ready


def test_a_study_is_prepared_while_the_network_is_loaded_if_what_it_can_do_is_known(bundle, study, card, monkeypatch):
    card(torch=10.0, openvino=12.0)
    prepared, load = threading.Event(), networks.Networks._torch

    def late(self):
        assert prepared.wait(60)
        return load(self)

    predictor = Predictor(bundle, device="cpu")
    prepare = predictor.prepared
    monkeypatch.setattr(networks.Networks, "_torch", late)
    monkeypatch.setattr(predictor, "prepared", lambda *asked: (prepare(*asked), prepared.set())[0])
    assert predictor.run(study).segmentation is not None


def test_who_waits_for_the_network_can_stop_and_comes_back_to_it(bundle, study, monkeypatch):
    go, load = threading.Event(), networks.Networks._torch
    monkeypatch.setattr(networks.Networks, "_torch", lambda self: go.wait(60) and load(self))
    predictor = Predictor(bundle, device="cpu", backend="torch")
    began = time.monotonic()
    with pytest.raises(Cancelled):
        predictor.run(study, cancelled=lambda: time.monotonic() > began + 0.1)
    assert time.monotonic() - began < 5
    go.set()
    assert predictor.run(study).segmentation is not None


def test_a_network_that_could_not_be_loaded_is_tried_again(bundle, study, monkeypatch):
    load = networks.Networks._torch

    def broken(self):
        raise InputError("There is no room for it.")

    monkeypatch.setattr(networks.Networks, "_torch", broken)
    predictor = Predictor(bundle, device="cpu", backend="torch")
    with pytest.raises(InputError, match="no room"):
        predictor.run(study)
    monkeypatch.setattr(networks.Networks, "_torch", load)
    assert predictor.run(study).segmentation is not None


@needs_openvino
def test_a_compiled_model_that_is_to_learn_goes_on_in_torch(bundle, study, converted):
    predictor = Predictor(bundle, device="cpu", backend="openvino")
    result = predictor.run(study)
    session = predictor.session
    assert session.learner.possible
    corrected = result.segmentation.array.copy()
    corrected[corrected.shape[0] // 2, 20:26, 20:26] = 3
    from disentangle.progress import Progress

    with pytest.raises(InputError, match="Nothing was corrected"):
        session.learner.adapt(result.segmentation, Progress())
    assert session.network.name != "torch"
    session.learner.adapt(Image(corrected, result.segmentation.affine), Progress())
    assert session.network.name == "torch"
    assert predictor.run(study).report["backend"]["reason"] == "the model was adapted"


def imported_by_a_run(bundle: Bundle, folder: Path, backend: str) -> str:
    """What a new process that runs a bundle on a phantom, and draws a slice, ran it with, and which large libraries it
    imported."""
    create_phantom("brain", 4, spacing=6.0).study.write(folder / "study")
    large = ("torch", "openvino", "scipy", "monai", "lightning", "pytorch_lightning")
    code = (
        "import sys; from disentangle import Predictor, Study\n"
        f"p = Predictor({str(bundle.path)!r}, device='cpu', backend={backend!r})\n"
        f"r = p.run(Study.from_folder({str(folder / 'study')!r}), synthesize=['T1'], factors=True)\n"
        "p.session.draw(5, 'T1', p.session.styles()['T2'], {'T2': 1.0})\n"
        f"print(r.report['backend']['name'], *[m for m in {large} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TRAINING, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_openvino
def test_a_compiled_run_imports_neither_torch_nor_scipy_nor_monai(bundle, converted, tmp_path):
    faster = replace(converted, milliseconds={"torch": 2.0, "openvino": 1.0})
    before = (converted.folder / "network.json").read_text()
    store.write_card(faster, converted.folder)
    try:
        assert imported_by_a_run(bundle, tmp_path, "auto") == "openvino openvino"
    finally:
        (converted.folder / "network.json").write_text(before)


def test_a_run_of_pytorch_imports_none_of_the_other_large_libraries(bundle, tmp_path):
    assert imported_by_a_run(bundle, tmp_path, "torch") == "torch torch"


@needs_openvino
def test_a_damaged_weights_file_is_refused_by_the_compiled_backend_too(converted, bundle, tmp_path):
    copy = tiny_bundle(tmp_path / "copy")
    assert copy.checksum == bundle.checksum
    weights = copy.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="do not have the checksum"):
        Predictor(copy, device="cpu", backend="openvino").run(create_phantom("brain", 3, spacing=6.0).study)


@needs_openvino
def test_a_system_without_programs_runs_as_it_is(tmp_path):
    from disentangle.inference.backends.convert import convert

    system = create("unet", sequences=("T1",), classes=CLASSES, healthy=(0, 1, 2, 3), width=0.0625)
    card = {"name": "unet", "license": {"name": "Apache-2.0", "permissive": True}, "preprocessing": PREPROCESSING}
    other = write_bundle(tmp_path / "unet", system, card)
    assert convert(other).programs == ()
    assert choose_plan(other, "cpu").converted is None
    with pytest.raises(InputError, match="OpenVINO cannot run the model unet"):
        choose_plan(other, "cpu", "openvino")


@pytest.fixture
def card(bundle, tmp_path, monkeypatch):
    """The bundle counts as converted; the measured milliseconds are what the test says."""
    return pretend_converted(bundle, tmp_path, monkeypatch)


@needs_openvino
def test_what_openvino_cannot_take_runs_as_it_is(bundle, tmp_path, monkeypatch):
    from disentangle.inference.backends import convert

    def refuse(reference, compiled, seed):
        raise RuntimeError("No conversion rule found for operations: aten::odd\nand more")

    monkeypatch.setattr(convert, "_difference", refuse)
    other = write_bundle(tmp_path / "odd", tiny_system(width=0.25), {**bundle.card, "name": "odd"})
    made = convert.convert(other)
    assert made.programs == ()
    assert made.note == "OpenVINO: No conversion rule found for operations: aten::odd"


def test_the_faster_backend_is_chosen_and_the_reason_said(bundle, card):
    card(torch=30.0, openvino=12.0)
    chosen = choose_plan(bundle, "cpu")
    assert chosen.converted.programs == ("segment",)
    assert chosen.reason == "12 ms a slice, PyTorch 30 ms"
    card(torch=10.0, openvino=12.0)
    assert choose_plan(bundle, "cpu").converted is None


def test_a_gpu_goes_before_compiled_programs(bundle, card, monkeypatch):
    card(torch=30.0, openvino=12.0)
    monkeypatch.setattr(plan, "may_have_gpu", lambda: True)
    assert choose_plan(bundle, "auto").converted is None
    assert choose_plan(bundle, "cuda:0").converted is None
    assert choose_plan(bundle, "cpu").converted is not None


def test_without_openvino_torch_runs_and_the_report_says_why(bundle, card, monkeypatch, study):
    card(torch=30.0, openvino=12.0)
    monkeypatch.setattr(store, "openvino_version", lambda: None)
    report = Predictor(bundle, device="cpu").run(study).report
    assert report["backend"] == {"name": "torch", "reason": "OpenVINO is not installed"}


@pytest.mark.parametrize("damage", ["{", "{}", json.dumps({"programs": ["none"], "capabilities": {}, "styles": {}})])
def test_a_damaged_conversion_counts_as_none(bundle, card, tmp_path, damage):
    card(torch=30.0, openvino=12.0)
    (tmp_path / "network.json").write_text(damage)
    assert store.read(bundle) is None
    assert "not converted yet" in choose_plan(bundle, "cpu").reason


def test_an_unknown_backend_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="There is no backend 'onnx'; use auto, torch, openvino, compile"):
        check_backend("onnx")


@needs_openvino
def test_the_command_line_compiles_a_model_and_says_what_it_measured(bundle, converted, capsys):
    from disentangle.cli import main

    assert main(["models", "compile", str(bundle.path)]) == 0
    said = capsys.readouterr().out
    assert "tiny, per slice of all sequences: torch" in said and str(converted.folder) in said


@needs_openvino
def test_an_idle_worker_converts_the_bundle_in_a_process_of_its_own(tmp_path, monkeypatch):
    from disentangle.worker.tuning import SWITCH, Tuner

    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setenv("PYTHONPATH", str(TRAINING))
    monkeypatch.setenv("DISENTANGLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plan, "may_have_gpu", lambda: False)
    predictor = Predictor(tiny_bundle(tmp_path / "tiny"))
    busy = Tuner()
    busy.consider(predictor, idle_s=0.2)
    busy.put_off()
    tuner = Tuner()
    tuner.consider(predictor, idle_s=0.01)
    until = time.monotonic() + 600
    while store.read(predictor.bundle) is None and time.monotonic() < until:
        time.sleep(0.1)
    assert store.read(predictor.bundle).programs
    assert busy._process is None
    tuner._process.wait(timeout=30)


@needs_openvino
def test_jobs_of_several_programs_come_back_in_their_order_again_and_again(bundle, converted):
    from disentangle.inference.backends.choose import compiled_network

    network = compiled_network(converted.folder, converted.capabilities, converted.styles, threads=3)
    generator = np.random.default_rng(0)
    images = {n: generator.standard_normal((5, 3, 64, 32), dtype=np.float32) for n in ("T1", "T2")}
    mask = np.ones((5, 1, 64, 32), np.float32)
    first = network.encode(images, mask)
    for _ in range(20):
        again = network.encode(images, mask)
        for name in images:
            np.testing.assert_array_equal(again.anatomy[name], first.anatomy[name])
            np.testing.assert_array_equal(again.modality[name], first.modality[name])
    alone = network.encode({"T2": images["T2"][3:4]}, mask[3:4])
    np.testing.assert_allclose(alone.anatomy["T2"][0], first.anatomy["T2"][3], atol=1e-6)
