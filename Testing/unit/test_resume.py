"""When a study of a batch is left out because its results are there."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from disentangle.worker.resume import ASKED, asked_for, earlier_report

MODEL = SimpleNamespace(checksum="abc", version="1.0", classes=["background", "brain"])
EVERYTHING = {"segment": True, "synthesize": ["T2", "FLAIR"], "factors": True, "uncertainty": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a batch that was asked for EVERYTHING."""
    report = {"bundle": {"name": "m", "version": "1.0", "checksum": "abc"}, ASKED: asked_for(EVERYTHING, MODEL)}
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    for name in ("segmentation.nii.gz", "synthetic_T2.nii.gz", "synthetic_FLAIR.nii.gz", "modality.json"):
        (tmp_path / name).touch()
    return tmp_path


def done(folder: Path, request: dict[str, Any], model: Any = MODEL, looks: str = "") -> bool:
    return earlier_report(folder, asked_for(request, model, looks), model) is not None


@pytest.mark.parametrize(
    "request_", [EVERYTHING, {}, {"segment": True}, {"segment": False, "synthesize": ["t2w"]}, {"factors": True}]
)
def test_results_with_all_that_is_asked_for_are_done(folder: Path, request_: dict[str, Any]) -> None:
    assert done(folder, request_)


@pytest.mark.parametrize(
    "more",
    [
        {"synthesize": ["T1"]}, {"cross_reconstructions": True}, {"probabilities": True}, {"source": "T1"},
        {"time_point": 1}, {"leave_out_target": True}, {"fast": True}, {"precision": "bf16"},
    ],
)  # fmt: skip
def test_whatever_else_is_asked_for_is_computed(folder: Path, more: dict[str, Any]) -> None:
    assert not done(folder, EVERYTHING | more)


def test_results_of_another_model_or_look_are_not_done(folder: Path) -> None:
    assert not done(folder, EVERYTHING, SimpleNamespace(**{**vars(MODEL), "checksum": "def"}))
    assert not done(folder, EVERYTHING, SimpleNamespace(**{**vars(MODEL), "version": "1.1"}))
    assert not done(folder, EVERYTHING, looks="digest")


@pytest.mark.parametrize("name", ["segmentation.nii.gz", "synthetic_T2.nii.gz", "modality.json", "report.json"])
def test_results_that_were_removed_are_made_again(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert not done(folder, EVERYTHING)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"asked": 1}', '{"asked": {}, "bundle": null}'])
def test_a_report_that_says_nothing_of_it_is_none(folder: Path, text: str) -> None:
    (folder / "report.json").write_text(text, encoding="utf-8")
    assert not done(folder, {})
