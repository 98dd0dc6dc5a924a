"""Protocols train every method once, score it on subjects of its own, and report beside the printed numbers."""

from __future__ import annotations

import json

import pytest
from balls import ball, load_balls

from disentangle.cli import main
from disentangle.errors import InputError
from disentangle.learning import train as training
from disentangle.learning.data import Data
from disentangle.learning.protocols import cohort, run

TINY = {
    "name": "tiny",
    "system": {
        "sequences": ["T1", "T2"],
        "width": 0.05,
        "decoder_hidden": 16,
        "head_channels": [4, 4],
        "pool_size": 8,
        "style_dim": 4,
    },
    "sampling": {"batch": 2, "sizes": [[32, 32]]},
    "training": {"steps": 10, "warmup": 1, "validate_every": 10, "validation_batches": 1, "images_every": None},
    "test": {"phantoms": 2},
    "methods": {"Conv+NA": {"changes": {"system": {"conditioning": "separate"}}}, "CondConv+Sim": {}},
}


@pytest.fixture
def balls(monkeypatch):
    """Balls to train on and two more to test on."""
    monkeypatch.setattr(training, "load_data", load_balls)
    monkeypatch.setattr(cohort, "load_data", lambda config, progress: Data([], [ball(n) for n in (30, 31)]))


@pytest.fixture
def tiny(tmp_path, balls):
    """The tiny protocol file's content, writing below tmp_path."""
    return lambda protocol, **more: {
        **TINY, "protocol": protocol, "output": str(tmp_path / "runs"), "report": str(tmp_path / "reports"), **more
    }  # fmt: skip


def test_a_protocol_is_trained_scored_and_reported_by_one_command(tiny, tmp_path, capsys, monkeypatch):
    import yaml

    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny("E000-1", compare="BraTS", seeds=[1, 2])), encoding="utf-8")
    assert main(["evaluate", str(file), "training.steps=6"]) == 0
    folder = tmp_path / "reports" / "tiny"
    assert str(folder / "report.md") in capsys.readouterr().out
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    cross = report["tables"]["cross"]
    assert set(cross["rows"]) == {"Conv+NA", "CondConv+Sim"}
    assert cross["rows"]["Conv+NA"]["T1 PSNR"]["n"] == 2
    assert cross["best against second"]["T1 PSNR"]["n"] == 2
    assert report["models"]["Conv+NA"][""]["steps"] == 6
    # Only the table that is measured as the paper measures may stand beside its numbers.
    assert report["tables"]["paper"]["paper"]["Conv+NA"]["T2 SSIM"] == ".621"
    assert cross["paper"] == {}
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "[27.304]" in text
    assert "p = " in text
    for figure in report["figures"]:
        assert (folder / figure["file"]).stat().st_size > 1000
        assert figure["file"] in text
    assert {f["file"] for f in report["figures"]} >= {"matrix-conv+na.png", "box-cross-psnr.png", "box-cross-ssim.png"}

    def no_training(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("disentangle.learning.protocols.runs.train", no_training)
    assert run(file, ["training.steps=6"], say=lambda line: None) == folder / "report.md"
    with pytest.raises(InputError, match=r"training\.steps=6, but 7 is wanted"):
        run(file, ["training.steps=7"], say=lambda line: None)


def test_latent_analyses_tell_what_can_be_read_from_the_factors(tiny):
    options = {"samples": 16, "permutations": 10}
    path = run(tiny("E000-2", only=["CondConv+Sim"], options=options), say=lambda line: None)
    report = json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
    row = report["tables"]["factors"]["rows"]["CondConv+Sim"]
    assert 0 <= row["sequence from z"]["mean"] <= 1
    assert {"subject from f(s)", "dCor(s, z) plain", "dCor² null 95 %"} <= set(row)
    kinds = ("tsne-z", "tsne-s", "factors", "matrix", "traversal-t1")
    assert {f["file"] for f in report["figures"]} == {f"condconv+sim-{kind}.png" for kind in kinds}
