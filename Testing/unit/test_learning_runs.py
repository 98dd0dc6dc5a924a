"""A run has a folder of its own, is resumed only when it is meant and fits, and says where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from balls import SMALLEST, ball, load_balls

from disentangle.cli import main
from disentangle.errors import Cancelled, InputError
from disentangle.learning import evaluation, run_folders
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint, system_from_checkpoint
from disentangle.learning.data import Data
from disentangle.learning.export import export
from disentangle.learning.module import Learner
from disentangle.systems.margindis import MarginDis

CONFIG = {
    "name": "tiny",
    "system": SMALLEST,
    "sampling": {"batch": 2, "sizes": [[32, 32]]},
    "training": {
        "steps": 1,
        "warmup": 1,
        "log_every": 1,
        "validate_every": 9,
        "validation_batches": 1,
        "images_every": None,
    },
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains one step on four balls; takes overrides, gives the path of final.ckpt."""
    monkeypatch.setattr(training, "load_data", load_balls)
    config = {**CONFIG, "output": str(tmp_path / "runs")}
    return lambda *overrides, quiet=True: training.train(config, overrides, quiet=quiet)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_run_whose_name_is_taken_says_where_it_is_and_how_to_go_on_with_it(run, tmp_path, capsys):
    run(quiet=False)
    assert "taken" not in capsys.readouterr().out
    run(quiet=False)
    said = capsys.readouterr().out
    assert str(tmp_path / "runs" / "tiny-2") in said
    assert "name=tiny-2 training.resume=true" in said


def test_a_name_with_a_folder_in_it_is_numbered_and_resumed_like_any_other(run, tmp_path):
    run("name=mine/tiny")
    assert run("name=mine/tiny").parent == tmp_path / "runs" / "mine" / "tiny-2"
    with pytest.raises(InputError, match=r"name=mine/tiny-2 training\.resume=true"):
        training.train(
            {**CONFIG, "output": str(tmp_path / "runs"), "name": "mine/tiny"},
            ["training.resume=true", "training.steps=2"],
            quiet=True,
        )


@pytest.mark.parametrize(
    "mistake",
    ["system.wdith=3", "system.width=wide", "sampling.bach=3", "training.stages.none=[0,1]", "training.device=cpu:1"],
)
def test_a_run_that_is_refused_leaves_no_folder(run, tmp_path, mistake):
    with pytest.raises(InputError):
        run(mistake)
    assert not (tmp_path / "runs").exists()


def test_a_run_without_data_leaves_no_folder(run, tmp_path, monkeypatch):
    def nothing(config, progress):
        raise InputError("There are no subjects.")

    monkeypatch.setattr(training, "load_data", nothing)
    with pytest.raises(InputError, match="no subjects"):
        run()
    assert not (tmp_path / "runs").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_data_is_prepared(run, tmp_path, monkeypatch):
    def prepare(config, progress):
        raise AssertionError("minutes went by")

    monkeypatch.setattr(training, "load_data", prepare)
    (tmp_path / "runs").write_text("no folder", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        run()


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_resuming_asks_which_run_is_meant_where_several_have_the_name(run, tmp_path):
    first, second = run().parent, run().parent
    before = content(first), content(second)
    with pytest.raises(InputError, match=r"has tiny, tiny-2; say which, .*name=tiny-2 training\.resume=true"):
        run("training.steps=2", "training.resume=true")
    assert (content(first), content(second)) == before
    go_on = ("training.steps=2", "training.resume=true")
    assert run("name=tiny-2", *go_on).parent == second
    assert run("name=tiny", *go_on).parent == first
    assert [load_checkpoint(folder / "final.ckpt")["iteration"] for folder in (first, second)] == [2, 2]


def test_a_folder_without_a_checkpoint_is_no_run_to_go_on_with(run, tmp_path):
    run()
    (tmp_path / "runs" / "tiny-2").mkdir()
    (tmp_path / "runs" / "tiny-3.txt").touch()
    assert run("training.steps=2", "training.resume=true").parent.name == "tiny"
    with pytest.raises(InputError, match="tiny-2 holds no run to go on with"):
        run("name=tiny-2", "training.resume=true")


def test_a_resumed_run_tells_its_folder_and_where_it_was(run, tmp_path, capsys):
    run()
    run("training.steps=2", "training.resume=true", quiet=False)
    assert f"Going on with {tmp_path / 'runs' / 'tiny'} after step 1." in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["training.steps=1", "training.max_minutes=0.0000001"])
def test_a_finished_run_is_not_resumed(run, limit):
    folder = run(limit).parent
    before = content(folder)
    with pytest.raises(InputError, match="is finished"):
        run("training.steps=1" if "steps" in limit else "training.steps=9", limit, "training.resume=true")
    assert content(folder) == before


def test_a_run_that_was_stopped_after_its_last_step_is_finished_when_it_is_resumed(run):
    final = run()
    final.unlink()
    assert run("training.resume=true") == final
    assert load_checkpoint(final)["iteration"] == 1


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ("system.width=0.1", r"made with system\.width=0\.05, but system\.width=0\.1 is wanted"),
        ("system.sequences=[T1, FLAIR]", r'system\.sequences=\["T1", "T2"\], but .*\["T1", "FLAIR"\] is wanted'),
        ("system={name: unet, sequences: [T1, T2]}", r"system\.name=margindis, but system\.name=unet is wanted"),
    ],
)
def test_a_run_is_not_resumed_with_another_system(run, change, differs):
    folder = run().parent
    before = content(folder)
    with pytest.raises(InputError, match=differs):
        run(change, "training.steps=2", "training.resume=true")
    assert content(folder) == before


def test_a_run_may_go_on_at_another_rate(run):
    run()
    final = run("system.learning_rate=0.00001", "training.steps=2", "training.resume=true")
    assert load_checkpoint(final)["system"]["config"]["learning_rate"] == 0.00001


# -- diverging ---------------------------------------------------------------------------------------------------------


def diverging_from(monkeypatch, step: int) -> None:
    """Make losses of the steps from a number on that are not finite, and the weights after them."""
    good = MarginDis.training_loss
    seen = iter(range(10**6))

    def bad(self, batch):
        factor = float("nan") if next(seen) >= step else 1.0
        return {name: value * factor for name, value in good(self, batch).items()}

    monkeypatch.setattr(MarginDis, "training_loss", bad)


def assert_good(checkpoint: Path, step: int) -> None:
    found = load_checkpoint(checkpoint)
    assert found["iteration"] == step
    assert all(bool(tensor.isfinite().all()) for tensor in found["weights"].values())


def test_a_run_that_diverges_keeps_its_last_good_state_and_goes_on_from_there_at_a_lower_rate(run, tmp_path):
    folder = run("training.steps=2").parent
    with pytest.MonkeyPatch.context() as patch:
        diverging_from(patch, 1)
        with pytest.raises(InputError) as told:
            run("training.resume=true", "training.steps=6", "training.log_every=2")
    assert str(told.value) == (
        f"The training diverged: its loss or its weights are not finite at step 4; {folder / 'last.ckpt'} keeps the "
        "state after step 2, so go on from there with a system.learning_rate below 0.0002 (name=tiny "
        "training.resume=true)."
    )
    assert_good(folder / "last.ckpt", 2)
    final = run("name=tiny", "training.resume=true", "training.steps=6", "system.learning_rate=0.0001")
    assert_good(final, 6)


def test_a_run_that_diverges_before_its_first_checkpoint_starts_again(run, tmp_path, monkeypatch):
    diverging_from(monkeypatch, 0)
    with pytest.raises(InputError, match=r"at step 1, and there is no checkpoint .* below 0\.0002"):
        run("training.steps=2")
    assert not list((tmp_path / "runs" / "tiny").glob("*.ckpt"))


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        (("training.checkpoint_minutes=0",), {"last.ckpt"}),
        (("training.steps=3", "training.validate_every=2"), {"best.ckpt", "last.ckpt"}),
        (("training.validate_every=3",), set()),
    ],
    ids=["now and then", "at the end", "as the best"],
)
def test_what_is_saved_between_two_lines_of_the_log_is_good_too(run, tmp_path, monkeypatch, settings, left):
    diverging_from(monkeypatch, 2)
    with pytest.raises(InputError, match=r"diverged: .* not finite at step 3"):
        run("training.steps=9", "training.log_every=1000", *settings)
    found = list((tmp_path / "runs" / "tiny").glob("*.ckpt"))
    assert {path.name for path in found} == left
    for path in found:
        assert_good(path, 2)


def test_a_run_goes_on_from_its_best_state_where_that_is_the_newest_good_one(run, tmp_path, monkeypatch):
    diverging_from(monkeypatch, 2)
    with pytest.raises(InputError, match=r"last\.ckpt keeps the state after step 2"):
        run("training.steps=9", "training.validate_every=2")
    assert content(tmp_path / "runs")["tiny/last.ckpt"] == content(tmp_path / "runs")["tiny/best.ckpt"]


# -- stopping ----------------------------------------------------------------------------------------------------------

STOPPABLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is started deaf to it
from balls import load_balls
from disentangle.cli import main
from disentangle.learning import train as training
training.load_data = load_balls
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal that one can send there")
def test_ctrl_c_says_in_one_line_where_the_state_is_and_how_to_go_on(tmp_path):
    (tmp_path / "runs" / "tiny").mkdir(parents=True)  # the name is taken
    config = {**CONFIG, "output": "runs", "training": {**CONFIG["training"], "steps": 100_000}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    package = Path(training.__file__).parents[2]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(Path(__file__).parent)])}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": place}
    with subprocess.Popen([sys.executable, "-c", STOPPABLE, "train", "tiny.yaml"], **streams) as process:
        try:
            assert any(line.startswith("step ") for line in process.stdout)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    last = Path("runs") / "tiny-2" / "last.ckpt"
    assert said == (
        f"disentangle train: training was stopped; {last} keeps what was learnt (to go on: name=tiny-2 "
        "training.resume=true).\n"
    )
    assert load_checkpoint(tmp_path / last)["iteration"] >= 1


def test_ctrl_c_within_a_step_keeps_the_steps_before_it_and_works_again_afterwards(run, tmp_path, monkeypatch):
    step, handler = Learner.training_step, signal.getsignal(signal.SIGINT)

    def interrupted(self, batch, number):
        if self.iteration == 1:
            raise KeyboardInterrupt
        step(self, batch, number)

    monkeypatch.setattr(Learner, "training_step", interrupted)
    with pytest.raises(Cancelled, match=r"last\.ckpt keeps what was learnt \(to go on: name=tiny training\.resume"):
        run("training.steps=3")
    assert load_checkpoint(tmp_path / "runs" / "tiny" / "last.ckpt")["iteration"] == 1
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_before_the_first_checkpoint_promises_nothing(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_fit", interrupted)
    with pytest.raises(Cancelled, match="nothing to go on with"):
        run()


def test_the_end_of_the_process_that_nobody_interrupted_stays_one(run, monkeypatch):
    monkeypatch.setattr(training, "_fit", lambda *_: sys.exit(3))
    with pytest.raises(SystemExit):
        run()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Cancelled("training was stopped; name=x training.resume=true")])
def test_a_stopped_evaluation_does_not_advise_what_holds_for_a_single_training(tmp_path, monkeypatch, capsys, stop):
    def stopped(*_, **__):
        raise stop

    monkeypatch.setattr("disentangle.learning.protocols.run", stopped)
    monkeypatch.setattr("disentangle.learning.evaluation.evaluate", stopped)
    for name, text in (("protocol.yaml", "protocol: E000-1"), ("config.yaml", "name: x")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert main(["evaluate", str(tmp_path / name)]) == 1
        error = capsys.readouterr().err
        assert "the same command goes on" in error and "training.resume" not in error and error.count("\n") == 1


# -- devices -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=None: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))


class Asked(Exception):
    """Lightning was asked for a trainer with the settings that this holds."""


@pytest.fixture
def no_trainer(monkeypatch):
    def trainer(**settings):
        raise Asked(settings)

    monkeypatch.setattr(training.lightning, "Trainer", trainer)


def test_the_gpu_that_is_named_is_the_one_that_is_trained_on(run, two_gpus, no_trainer):
    for name, devices in (("cuda:1", [1]), ("cuda:0", [0]), ("cuda", 1), ("auto", 1)):
        with pytest.raises(Asked) as asked:
            run(f"training.device={name}")
        (settings,) = asked.value.args
        assert (settings["accelerator"], settings["devices"]) == ("cuda", devices)
        assert settings["precision"] == "bf16-mixed"
        record = json.loads((Path(settings["logger"][0].root_dir).parents[1] / "run.json").read_text(encoding="utf-8"))
        assert record["device"] == f"GPU {devices[0] if isinstance(devices, list) else 0}"
    with pytest.raises(Asked) as asked:
        run("training.device=cpu")
    assert (asked.value.args[0]["accelerator"], asked.value.args[0]["precision"]) == ("cpu", "32-true")


@pytest.mark.parametrize(
    ("device", "precision"), [("cuda:0", "32-true"), ("auto", "32-true"), ("cuda:1", "bf16-mixed")]
)
def test_auto_leaves_bfloat16_to_gpus_that_do_not_emulate_it(run, two_gpus, no_trainer, monkeypatch, device, precision):
    turing_and_ampere = (7, 5), (8, 6)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: turing_and_ampere[device.index])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    with pytest.raises(Asked) as asked:
        run(f"training.device={device}")
    assert asked.value.args[0]["precision"] == precision


def test_default_styles_are_computed_where_the_training_was(run, tmp_path, monkeypatch):
    place, moved = torch.device("meta"), []
    monkeypatch.setattr(training, "_place", lambda accelerator, devices: place)
    monkeypatch.setattr(MarginDis, "to", lambda self, device: moved.append(device) or self)
    monkeypatch.setattr(training, "mean_styles", lambda system, subjects: moved.append("styles") or {})
    run()
    assert moved == [place, "styles"]


def test_default_styles_that_are_constants_cost_no_time(run, monkeypatch):
    def averaged(system, subjects):
        raise AssertionError("seconds per subject went by")

    monkeypatch.setattr(training, "mean_styles", averaged)
    code = {"name": "ucd", "sequences": ["T1", "T2"], "classes": [], "width": 0.0625, "discriminator_levels": 3}
    system = system_from_checkpoint(load_checkpoint(run(f"system={json.dumps(code)}")))
    assert torch.equal(system.default_styles, torch.eye(2))


def scored_at(monkeypatch) -> list[str]:
    """Where the models are that are scored from now on; none is scored in earnest."""
    places: list[str] = []

    def evaluate_subjects(system, *_):
        places.append(next(system.parameters()).device.type)
        return {"subjects": [], "mean": {}}

    monkeypatch.setattr(evaluation, "evaluate_subjects", evaluate_subjects)
    monkeypatch.setattr(evaluation, "load_data", lambda config, progress, parts: load_balls(config, progress))
    monkeypatch.setattr(evaluation, "table", str)
    return places


def test_a_checkpoint_is_scored_on_the_device_of_the_settings(run, monkeypatch, capsys):
    final, asked, places = run("training.device=cpu"), [], scored_at(monkeypatch)
    monkeypatch.setattr(
        evaluation, "choose_device", lambda name: asked.append(name) or (torch.device("meta"), "Another one was used.")
    )
    evaluation.evaluate(final)
    assert capsys.readouterr().out.startswith("Another one was used.\n")
    evaluation.evaluate(final, ["training.device=auto"], quiet=True)
    evaluation.evaluate(export(final, final.parent / "bundle").path, ["data.phantoms.subjects=1"], quiet=True)
    assert asked == ["cpu", "auto", "auto"] and places == ["meta"] * 3
    assert not capsys.readouterr().out


def test_models_without_one_person_are_scored_on_the_device_of_the_settings(run, tmp_path, monkeypatch):
    final, places = run(), scored_at(monkeypatch)
    monkeypatch.setattr(evaluation, "choose_device", lambda name: (torch.device("meta"), None))
    monkeypatch.setattr(evaluation, "studies_of", lambda config, progress: [ball(8, "study")])
    monkeypatch.setattr(evaluation, "train_once", lambda config, progress: final)
    evaluation.leave_one_study_out(CONFIG)
    assert places == ["meta"]


def test_what_is_trained_on_is_what_a_run_folder_tells(two_gpus, tmp_path):
    run_folders.record(tmp_path, {"seed": 1, "training": {"init_from": None}}, [], Data([], []), [], "cpu", 1)
    assert "GPU" not in json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["device"]


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("cuda", 0, "no device cuda here"),
        ("cuda:2", 2, "no device cuda:2 here"),
        ("cuda:foo", 2, "no device 'cuda:foo'"),
        ("cpu:9", 2, "no device 'cpu:9'"),
        ("mps", 0, "no device mps here"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_a_sentence(monkeypatch, name, count, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        training._device(name)


def test_without_a_gpu_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training._device("auto") == ("cpu", 1)
