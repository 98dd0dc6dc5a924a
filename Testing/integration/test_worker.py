"""The worker process: warm between runs, stoppable at any moment, restarted after a crash, never orphaned."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from disentangle.bundles import ClassInfo, write_bundle
from disentangle.errors import InputError
from disentangle.inference import Predictor, Result, SequenceFactors
from disentangle.inference.output import staged_outputs
from disentangle.phantoms import brain_phantom
from disentangle.study import Image, Study, write_atomically
from disentangle.worker import client as client_module
from disentangle.worker import server as server_module
from disentangle.worker.checks import check_interpreter
from disentangle.worker.client import FINAL, WorkerClient, worker_environment, worker_python
from disentangle.worker.codec import read_result, read_study, write_result, write_study
from disentangle.worker.server import Server
from tiny_bundle import tiny_bundle, tiny_system

PACKAGE = Path(client_module.__file__).resolve().parents[1]
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def study() -> Study:
    return brain_phantom(5, spacing=5.0, lesions="ms").study.subset(["T1", "FLAIR"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").path


@pytest.fixture(scope="module")
def warm():
    """One real worker for the tests that leave it alive."""
    with WorkerClient(env={**os.environ, "OMP_NUM_THREADS": "1"}) as client:
        yield client


def prediction(client: WorkerClient, study: Study, bundle: Path, **wanted) -> dict:
    folder = client.folder()
    write_study(study, folder / "study")
    request = {"request": "predict", "bundle": bundle, "study": folder / "study", "output": folder / "result"}
    return {**request, "device": "cpu", **wanted}


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, ready: bool = True) -> None:
    """A worker that misbehaves: ``body`` runs with ``say(event, **fields)`` after the ready event."""
    lines = [
        "import json, os, sys, time",
        "def say(event, **fields): print(json.dumps({'event': event, **fields}), flush=True)",
        "say('ready', protocol=1)" if ready else "",
    ]
    script = tmp_path / "fake_worker.py"
    script.write_text("\n".join([*lines, body]), encoding="utf-8")
    monkeypatch.setattr(client_module, "_SCRIPT", script)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        # A dead process whose new parent has not collected it yet still has a number.
        return stat.exists() and stat.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode == 0


def wait_until(condition, seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


# -- the codec -------------------------------------------------------------------------------------------------------


def test_a_study_arrives_as_it_was_sent(tmp_path: Path, study: Study) -> None:
    own = {"FLAIR": study.labels.with_array(study.labels.array + 1)}
    study = Study(study.images, "Müller", study.labels, study.masks, {1: "lesion"}, ["a warning"], own)
    again = read_study(write_study(study, tmp_path / "study"))
    assert again.available == study.available
    assert (again.name, again.label_names, again.warnings) == ("Müller", {1: "lesion"}, ["a warning"])
    for sent, got in [
        (study["T1"], again["T1"]),
        (study.labels, again.labels),
        (study.masks[""], again.masks[""]),
        (own["FLAIR"], again.sequence_labels["FLAIR"]),
    ]:
        assert got.array.dtype == sent.array.dtype
        assert np.array_equal(got.array, sent.array)
        assert np.array_equal(got.affine, sent.affine)
        assert (got.sequence, got.source, got.guess, got.header) == (
            sent.sequence,
            sent.source,
            sent.guess,
            sent.header,
        )


def test_a_result_arrives_as_it_was_sent(tmp_path: Path) -> None:
    def image() -> Image:
        return Image(RNG.random((3, 4, 5)).astype(np.float32), np.eye(4), sequence="T1")

    factors = SequenceFactors([image(), image()], image(), RNG.random(16), image(), image())
    classes = [ClassInfo(1, "lesion", (1, 2, 3), {"type": {"scheme": "SCT", "value": "1", "meaning": "x"}})]
    result = Result(image(), classes, {"lesion": image()}, {"T2": image()}, {"T1": factors}, {("T1", "T2"): image()})
    result.report = {"volumes_ml": {"lesion": np.float64(1.5)}, "timings_s": {"load": 0.1}}
    again = read_result(write_result(result, tmp_path / "result"))
    assert again.classes == classes
    assert again.report == result.report
    assert list(again.cross) == [("T1", "T2")]
    assert np.array_equal(again.factors["T1"].modality, factors.modality)
    assert np.array_equal(again.factors["T1"].anatomy[1].array, factors.anatomy[1].array)
    assert np.array_equal(again.segmentation.array, result.segmentation.array)
    assert again.overview is None


@pytest.mark.parametrize("damage", ["{", '{"protocol": 1}', '{"protocol": 1, "content": {"$type": "Nonsense"}}'])
def test_a_damaged_or_foreign_folder_is_one_sentence(tmp_path: Path, study: Study, damage: str) -> None:
    folder = write_study(study, tmp_path / "study")
    index = folder / "index.json"
    index.write_text(index.read_text(encoding="utf-8").replace('"protocol": 1', '"protocol": 99'), encoding="utf-8")
    with pytest.raises(InputError, match="different versions"):
        read_study(folder)
    index.write_text(damage, encoding="utf-8")
    with pytest.raises(InputError, match="incomplete or damaged"):
        read_study(folder)


# -- the real worker -------------------------------------------------------------------------------------------------


def test_a_check_tells_what_the_interpreter_has(warm: WorkerClient) -> None:
    event = warm.wait(warm.submit({"request": "check"}), timeout_s=60)
    assert event["check"]["ok"] is True
    assert event["check"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert event["check"]["packages"]["torch"]
    assert "cpu" in [device["name"] for device in event["check"]["devices"]]


def test_a_prediction_is_the_same_as_in_this_process_and_the_process_stays(
    warm: WorkerClient, study: Study, bundle: Path
) -> None:
    seen: list[dict] = []
    wanted = {"synthesize": ["T2"], "factors": True, "cross_reconstructions": True, "probabilities": True}
    first = warm.wait(warm.submit(prediction(warm, study, bundle, **wanted)), seen.append, timeout_s=120)
    assert first["event"] == "result", first
    there = read_result(first["output"])
    here = Predictor(bundle, device="cpu").run(study, segment=True, **wanted)
    assert np.array_equal(there.segmentation.array, here.segmentation.array)
    assert np.allclose(there.synthesized["T2"].array, here.synthesized["T2"].array, atol=1e-2)
    assert there.synthesized["T2"].grid.same_as(study.first.grid)
    assert set(there.cross) == set(here.cross) and set(there.factors) == set(here.factors)
    progress = [e["fraction"] for e in seen if e["event"] == "progress"]
    assert len(progress) > 3 and progress == sorted(progress) and progress[-1] == 1.0
    pid = warm.pid
    assert warm.wait(warm.submit(prediction(warm, study, bundle)), timeout_s=120)["event"] == "result"
    assert warm.pid == pid


def test_the_model_stays_loaded_until_another_one_or_a_changed_one_is_asked_for(tmp_path: Path) -> None:
    server = Server(io.BytesIO(), io.BytesIO())
    folder = tiny_bundle(tmp_path / "one").path
    first = server.predictor({"bundle": folder, "device": "cpu"})
    assert server.predictor({"bundle": folder, "device": "cpu"}) is first
    other = tiny_bundle(tmp_path / "two", name="two").path
    assert server.predictor({"bundle": other, "device": "cpu"}) is not first
    again = server.predictor({"bundle": folder, "device": "cpu"})
    shutil.rmtree(folder)
    changed = tiny_bundle(folder, version="9.9.9")  # the same weights in another release
    ruled = server.predictor({"bundle": folder, "device": "cpu"})
    assert changed.checksum == again.bundle.checksum and ruled is not again
    shutil.rmtree(folder)
    write_bundle(folder, tiny_system(width=0.25), {"name": "tiny", "license": {"name": "x", "permissive": True}})
    assert server.predictor({"bundle": folder, "device": "cpu"}) is not ruled


def test_another_way_of_computing_is_another_predictor(tmp_path: Path) -> None:
    server = Server(io.BytesIO(), io.BytesIO())
    request = {"bundle": tiny_bundle(tmp_path / "one").path, "device": "cpu"}
    for field, usual, other in (
        ("precision", "fp32", "bf16"),
        ("threads", None, 1),
        ("backend", "auto", "torch"),
        ("device", "cpu", "auto"),
        ("fast", False, True),
    ):
        first = server.predictor(request)
        assert getattr(first.networks, field) == usual
        assert server.predictor({**request, field: usual}) is first
        asked = server.predictor({**request, field: other})
        assert asked is not first
        assert getattr(asked.networks, field) == other


def test_bad_input_is_the_users_sentence_and_the_worker_stays(warm: WorkerClient, study: Study, bundle: Path) -> None:
    warm.wait(warm.submit({"request": "check", "devices": False}), timeout_s=60)
    pid = warm.pid
    for request, said in [
        (prediction(warm, study, bundle, synthesize=["CT"]), "cannot synthesise CT"),
        (prediction(warm, study, Path("no-such-model")), "no-such-model"),
        ({"request": "dance"}, "does not know the request 'dance'"),
    ]:
        event = warm.wait(warm.submit(request), timeout_s=120)
        assert (event["event"], event["kind"]) == ("error", "input"), event
        assert said in event["message"]
    assert warm.pid == pid


def test_a_defect_is_a_sentence_with_the_traceback_in_its_details(warm: WorkerClient) -> None:
    event = warm.wait(warm.submit({"request": "predict"}), timeout_s=120)
    assert (event["kind"], "KeyError" in event["message"]) == ("failure", True)
    assert "Traceback" in event["details"]


def test_cancel_stops_a_running_and_a_queued_prediction_and_leaves_no_output(
    warm: WorkerClient, study: Study, bundle: Path
) -> None:
    pid = warm.wait(warm.submit({"request": "check", "devices": False}), timeout_s=60) and warm.pid
    running, queued = prediction(warm, study, bundle, factors=True), prediction(warm, study, bundle)
    first, second = warm.submit(running), warm.submit(queued)
    assert wait_until(lambda: any(e["event"] == "progress" for e in warm.poll()), 60)
    warm.cancel(second)
    assert warm.wait(second, timeout_s=1)["event"] == "cancelled"
    warm.cancel(first)
    assert warm.wait(first, timeout_s=20)["event"] == "cancelled"
    assert not warm.busy
    assert not running["output"].exists() and not queued["output"].exists()
    assert warm.wait(warm.submit(prediction(warm, study, bundle)), timeout_s=120)["event"] == "result"
    assert warm.pid == pid


def test_a_killed_worker_is_a_clear_sentence_and_the_next_request_runs(study: Study, bundle: Path) -> None:
    with WorkerClient(env={**os.environ, "OMP_NUM_THREADS": "1"}) as client:
        name, waiting = client.submit(prediction(client, study, bundle)), client.submit({"request": "check"})
        assert wait_until(lambda: any(e["event"] == "progress" for e in client.poll()), 60)
        pid = client.pid
        os.kill(pid, signal.SIGTERM)
        answers = {}
        assert wait_until(
            lambda: answers.update({e["id"]: e for e in client.poll() if e["event"] in FINAL}) or len(answers) == 2, 60
        )
        assert answers[name]["kind"] == "crash"
        assert "stopped unexpectedly" in answers[name]["message"] and "run again" in answers[name]["message"]
        assert answers[waiting]["event"] == "result"
        assert client.pid not in (None, pid)


@pytest.mark.parametrize("busy", [True, False])
def test_the_worker_and_the_data_go_when_the_parent_dies(
    tmp_path: Path, study: Study, bundle: Path, busy: bool
) -> None:
    write_study(study, tmp_path / "study")
    script = f"""
import json, os, time
from disentangle.worker.client import WorkerClient
client = WorkerClient()
folder = client.folder()
(folder / "patient.npy").write_text("private", encoding="utf-8")
name = client.submit({{
    "request": {"predict" if busy else "nothing"!r}, "device": "cpu", "factors": True,
    "bundle": {str(bundle)!r}, "study": {str(tmp_path / "study")!r}, "output": folder / "result",
}})
while not any(e["event"] == {"progress" if busy else "error"!r} for e in client.poll()):
    time.sleep(0.01)
print(json.dumps([client.pid, str(folder)]), flush=True)
os._exit(9)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=worker_environment(sys.executable),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    pid, folder = json.loads(done.stdout)
    assert wait_until(lambda: not Path(folder).exists()), "patients' images were left behind"
    assert sys.platform == "win32" or wait_until(lambda: not alive(pid)), "the worker outlived its parent"


def test_what_is_half_written_goes_when_the_parent_dies(tmp_path: Path, monkeypatch) -> None:
    ended = []
    monkeypatch.setattr(server_module.os, "_exit", ended.append)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError), staged_outputs(tmp_path / "there") as staging:
        staging.path(tmp_path / "there" / "factors" / "T1.nii.gz").write_text("private", encoding="utf-8")
        with write_atomically(tmp_path / "report.json") as report, write_atomically(tmp_path / "folder") as folder:
            report.write_text("private", encoding="utf-8")
            folder.mkdir()
            (folder / "image.npy").write_text("private", encoding="utf-8")
            Server(io.BytesIO(), io.BytesIO())._abandon()
            assert ended == [0]
            assert [p for p in tmp_path.rglob("*") if p != tmp_path / "there"] == []
    assert [p for p in tmp_path.rglob("*") if p != tmp_path / "there"] == []


def test_what_was_written_before_the_parent_died_stays(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(server_module.os, "_exit", lambda code: None)
    with staged_outputs(tmp_path) as staging:
        staging.path(tmp_path / "a.txt").write_text("done", encoding="utf-8")
    with write_atomically(tmp_path / "b.txt") as temporary:
        temporary.write_text("done", encoding="utf-8")
    Server(io.BytesIO(), io.BytesIO())._abandon()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_close_ends_the_process_and_deletes_its_folders() -> None:
    client = WorkerClient()
    folder = client.folder()
    client.wait(client.submit({"request": "check", "devices": False}), timeout_s=60)
    process = client._process.popen
    client.close()
    assert process.poll() == 0
    assert not folder.exists() and not folder.parent.exists()
    assert client.pid is None


# -- processes that misbehave ----------------------------------------------------------------------------------------


def test_a_worker_that_does_not_react_to_cancel_is_ended_after_the_grace_time(tmp_path: Path, monkeypatch) -> None:
    fake(tmp_path, monkeypatch, "time.sleep(1000)")
    with WorkerClient(grace_s=0.3) as client:
        name = client.submit({"request": "predict"})
        assert wait_until(lambda: any(e["event"] == "ready" for e in client.poll()))
        pid = client.pid
        client.cancel(name)
        started = time.monotonic()
        assert client.wait(name, timeout_s=10)["event"] == "cancelled"
        assert time.monotonic() - started < 5
        assert client.pid != pid


def test_what_libraries_print_becomes_log_lines_and_never_disturbs_the_protocol(tmp_path: Path, monkeypatch) -> None:
    body = "print('ITK WARNING: \\udcffoo'.encode('utf-8', 'surrogateescape'), flush=True)\n"
    body += "print('[1, 2]', flush=True)\nprint('on stderr', file=sys.stderr, flush=True)\n"
    fake(tmp_path, monkeypatch, body + "time.sleep(0.2)\nsay('result', id='1')\nsys.stdin.read()")
    with WorkerClient() as client:
        logs: list[dict] = []
        assert client.wait(client.submit({"request": "predict"}), logs.append, timeout_s=20)["event"] == "result"
        texts = [e["text"] for e in logs if e["event"] == "log"]
        assert "[1, 2]" in texts and "on stderr" in texts and any("ITK WARNING" in t for t in texts)


def test_output_of_native_code_in_the_real_worker_goes_to_the_log(warm: WorkerClient, tmp_path: Path) -> None:
    # The worker gives its real stdout away before anything is imported: descriptor 1 is stderr from then on.
    script = "import os, sys; from disentangle.worker.server import _own_streams; r, e = _own_streams(); "
    script += "os.write(1, b'native\\n'); print('python'); e.write(b'event\\n'); e.flush()"
    done = subprocess.run([sys.executable, "-c", script], input="", capture_output=True, text=True, check=True)
    assert done.stdout == "event\n"
    assert done.stderr.splitlines() == ["native", "python"]


@pytest.mark.parametrize(
    ("body", "ready", "kind", "said"),
    [
        ("sys.exit('cannot import numpy')", False, "start", "could not start the worker (exit code 1: cannot import"),
        ("sys.exit(3)", True, "crash", "stopped unexpectedly (exit code 0x3)"),
        ("say('ready', protocol=99)\ntime.sleep(1000)", False, "start", "another version of Disentangle"),
        ("time.sleep(1000)", False, "start", "did not start the worker within 0.5 seconds"),
    ],
)
def test_every_way_to_fail_is_one_sentence_and_no_endless_restart(
    tmp_path: Path, monkeypatch, body: str, ready: bool, kind: str, said: str
) -> None:
    fake(tmp_path, monkeypatch, body, ready)
    with WorkerClient(start_s=0.5 if "within" in said else 30) as client:
        for _ in range(2):
            event = client.wait(client.submit({"request": "predict"}), timeout_s=20)
            assert (event["event"], event["kind"]) == ("error", kind)
            assert said in event["message"] and event["message"].endswith(".")
        assert not client.busy


def test_an_interpreter_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with WorkerClient(python=str(tmp_path / "python")) as client:
        event = client.wait(client.submit({"request": "check"}), timeout_s=10)
        assert event["kind"] == "start" and "cannot be started" in event["message"]
        assert "Disentangle/WorkerPython" in event["message"]


# -- what it depends on ----------------------------------------------------------------------------------------------


def test_a_lacking_package_is_named_with_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(
        "disentangle.worker.checks.PACKAGES", {"numpy": (1, 24), "no_such_package": (1, 0), "torch": (99, 0)}
    )
    check = check_interpreter(devices=False)
    assert check["ok"] is False
    assert "lacks no_such_package>=1.0, torch>=99.0 (there is" in check["message"] and "install it" in check["message"]


@pytest.mark.parametrize(
    ("torch", "numpy", "ok"), [("2.2.2", "2.4.6", False), ("2.2.2", "1.26.4", True), ("2.3.0+cpu", "2.0.2", True)]
)
def test_packages_that_do_not_go_together_are_told_before_anything_is_computed(monkeypatch, torch, numpy, ok) -> None:
    versions = {"torch": torch, "numpy": numpy, "SimpleITK": "2.5.0", "safetensors": "0.5.0"}
    monkeypatch.setattr("disentangle.worker.checks._installed", versions.get)
    check = check_interpreter(devices=False)
    assert check["ok"] is ok
    assert (f"PyTorch {torch} of" in check["message"] and "cannot use its NumPy" in check["message"]) is not ok


def test_the_interpreter_is_the_setting_then_the_variable_then_the_running_one(monkeypatch) -> None:
    monkeypatch.setenv("DISENTANGLE_PYTHON", "/opt/torch/bin/python")
    assert worker_python("/my/python") == "/my/python"
    assert worker_python() == "/opt/torch/bin/python"
    monkeypatch.delenv("DISENTANGLE_PYTHON")
    assert worker_python() == sys.executable
    foreign = worker_environment("/opt/torch/bin/python", {"PYTHONHOME": "/Slicer", "PYTHONPATH": "/Slicer/lib"})
    assert "PYTHONHOME" not in foreign and foreign["PYTHONPATH"] == str(PACKAGE.parent)
    own = worker_environment(sys.executable, {"PYTHONHOME": "/Slicer", "PYTHONPATH": "/Slicer/lib"})
    assert own["PYTHONHOME"] == "/Slicer" and own["PYTHONPATH"].split(os.pathsep)[1] == "/Slicer/lib"


def test_client_and_server_start_with_the_standard_library_alone() -> None:
    script = "import sys; import disentangle.worker.client, disentangle.worker.server; "
    script += "print(sorted({'torch', 'numpy', 'SimpleITK', 'qt', 'slicer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []


def test_a_gpu_is_left_to_others_while_nobody_asks_and_taken_again_with_the_next_request(monkeypatch) -> None:
    import torch

    from disentangle.inference import networks

    placed, released = [], []

    class Network:
        name = "torch"
        torch_device = torch.device("cuda:0")

        def place(self, device):
            self.torch_device = torch.device(device)
            placed.append(str(device))

    class Slow:
        """Requests, the second of which comes when the GPU has been left."""

        def __iter__(self):
            yield b'{"request": "check", "id": "1", "devices": false}\n'
            until = time.monotonic() + 30
            while not released and time.monotonic() < until:
                time.sleep(0.01)
            yield b'{"request": "check", "id": "2", "devices": false}\n'
            yield b'{"request": "close"}\n'

    monkeypatch.setattr(networks, "release_memory", lambda device: released.append(str(device)))
    predictor = SimpleNamespace(networks=networks.Networks(None, "cuda", "torch", None))
    predictor.networks._network, predictor.networks._home = Network(), torch.device("cuda:0")
    server = Server(Slow(), io.BytesIO(), rest_s=0.05)
    server._predictor = (("key",), predictor)
    server._tuner = SimpleNamespace(put_off=lambda: None, consider=lambda predictor: None)
    assert server.run() == 0
    assert (placed[:2], released[:1]) == (["cpu", "cuda:0"], ["cuda:0"])
    predictor.networks.wake()
    assert predictor.networks._network.torch_device == torch.device("cuda:0")


def test_a_request_that_cannot_have_the_gpu_back_is_answered_and_so_is_the_next() -> None:
    def wake():
        raise ValueError("the driver is gone")

    events, lines = io.BytesIO(), [b'{"request": "check", "id": "1"}', b'{"request": "check", "id": "2"}']
    server = Server([*lines, b'{"request": "close"}'], events)
    server._predictor = (("key",), SimpleNamespace(networks=SimpleNamespace(wake=wake)))
    server._tuner = SimpleNamespace(put_off=lambda: None, consider=lambda predictor: None)
    assert server.run() == 0
    told = [json.loads(line) for line in events.getvalue().splitlines()]
    assert [(e["event"], e.get("id")) for e in told] == [("ready", None), ("error", "1"), ("error", "2")]
    assert "the driver is gone" in told[1]["message"]


def test_a_network_on_the_cpu_has_nothing_to_leave() -> None:
    import torch

    from disentangle.inference.networks import Networks

    found = Networks(None, "cpu", "torch", None)
    assert not found.rest()  # nothing is loaded
    found._network = SimpleNamespace(torch_device=torch.device("cpu"))
    assert not found.rest()
    found._network = SimpleNamespace(name="openvino")
    assert not found.rest()
