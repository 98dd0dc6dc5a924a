"""A run that is carried to another machine goes on there as it would have gone on here."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from balls import SMALLEST, load_balls

from disentangle.cli import main
from disentangle.errors import InputError
from disentangle.learning import train as training
from disentangle.learning.carrying import carry, load_state
from disentangle.learning.checkpoints import load_checkpoint
from disentangle.learning.export import export

CONFIG = {
    "name": "tiny",
    "system": SMALLEST,
    "sampling": {"batch": 2, "sizes": [[32, 32]]},
    "training": {
        "steps": 3, "warmup": 1, "ema": 0.9, "log_every": 1, "validate_every": 99, "validation_batches": 1,
        "images_every": None,
    },
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains three steps on four balls; takes overrides, gives the folder of the run."""
    monkeypatch.setattr(training, "load_data", load_balls)
    config = {**CONFIG, "output": str(tmp_path / "runs")}
    return lambda *overrides: training.train(config, overrides, quiet=True).parent


def test_a_carried_state_is_the_checkpoint_at_half_its_size(run, tmp_path):
    folder = run()
    carried = carry(folder, tmp_path / "carried") / "last.safetensors"
    before, after = load_checkpoint(folder / "last.ckpt"), load_state(carried)
    assert carried.stat().st_size < 0.55 * (folder / "last.ckpt").stat().st_size
    for name, weight in before["weights"].items():
        away = (weight - before["average"][name]).abs()
        # What an average is rounded by goes into the difference, which is known to eight bits.
        assert (after["weights"][name] - weight).abs().le((away + weight.abs() / 2**11) / 2**8 + 1e-7).all(), name
        assert torch.allclose(after["average"][name], before["average"][name], rtol=1 / 2**11, atol=1e-7)
        assert after["weights"][name].dtype == weight.dtype
    for one, other in zip(before["optimizers"], after["optimizers"], strict=True):
        assert one["param_groups"][0]["lr"] == other["param_groups"][0]["lr"]
        for parameter, moments in one["state"].items():
            for moment, value in moments.items():
                assert torch.allclose(other["state"][parameter][moment], value, rtol=1 / 2**8, atol=0), moment
    told = ("iteration", "seconds", "best", "stale", "plateau", "config", "data", "system")
    assert {k: after[k] for k in told} == {k: json.loads(json.dumps(before[k])) for k in told}


def test_a_carried_run_goes_on_like_the_run_that_stayed(run, tmp_path):
    stayed = run()
    carry(stayed, tmp_path / "elsewhere" / "tiny")
    stays = load_checkpoint(run("name=tiny", "training.steps=5", "training.resume=true") / "last.ckpt")
    go_on = f"output={tmp_path / 'elsewhere'}", "training.steps=5", "training.resume=true"
    moved = load_checkpoint(run(*go_on) / "last.ckpt")
    assert moved["iteration"] == stays["iteration"] == 5
    start = load_state(tmp_path / "elsewhere" / "tiny" / "last.safetensors")["weights"]
    # Two steps of Adam change a weight by some 2e-4 each; its moments and weights came along, so the steps agree.
    steps = torch.cat([(stays["weights"][n] - w).flatten() for n, w in start.items()])
    apart = torch.cat([(stays["weights"][n] - moved["weights"][n]).flatten() for n in start])
    assert apart.norm() < 0.1 * steps.norm()


def test_the_card_of_a_run_that_went_on_tells_every_start_and_what_the_run_began_with(run, tmp_path):
    first = export(run("name=first") / "final.ckpt", tmp_path / "model")
    begun = run("name=second", f"training.init_from={first.path}")
    carry(begun, tmp_path / "runs" / "third")
    # What the second run began with is replaced by what came of it.
    export(begun / "final.ckpt", tmp_path / "model")
    gone_on = run(
        "name=third", "training.steps=4", "training.resume=true", "seed=7", f"training.init_from={first.path}"
    )
    runs = export(gone_on / "final.ckpt", tmp_path / "other").card["training_runs"]
    assert [entry["run"] for entry in runs] == ["first", "third"]
    assert runs[1]["seed"] == 7 and [start["seed"] for start in runs[1]["earlier starts"]] == [0]
    assert runs[1]["log"]["step"] == [1, 2, 3, 4]


def test_what_is_no_run_is_not_carried(run, tmp_path):
    with pytest.raises(InputError, match=r"holds no run to carry \(no last\.ckpt\)"):
        carry(tmp_path, tmp_path / "carried")
    assert not (tmp_path / "carried").exists()
    folder = run()
    with pytest.raises(InputError, match="is there already"):
        carry(folder, tmp_path / "runs")
    model = export(folder / "final.ckpt", tmp_path / "model")
    shutil.copy(model.path / "model.safetensors", tmp_path / "runs" / "last.safetensors")
    with pytest.raises(InputError, match="holds weights but no training to go on with"):
        load_state(tmp_path / "runs" / "last.safetensors")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:8] + b"x" + b[9:]])
def test_a_damaged_state_is_told_as_such(run, tmp_path, damage):
    path = carry(run(), tmp_path / "carried") / "last.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"last\.safetensors is damaged; carry the run again"):
        load_state(path)


def test_the_command_carries_a_run_and_says_how_to_go_on(run, tmp_path, capsys):
    folder = run()
    assert main(["carry", str(folder), "--output", str(tmp_path / "carried")]) == 0
    assert "name=NAME training.resume=true" in capsys.readouterr().out
    names = {path.relative_to(tmp_path / "carried").as_posix() for path in (tmp_path / "carried").rglob("*.*")}
    assert names == {"config.yaml", "run.json", "last.safetensors", "logs/csv/version_0/metrics.csv"}
    assert main(["carry", str(tmp_path / "nothing"), "--output", str(tmp_path / "again")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
