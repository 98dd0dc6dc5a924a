"""The modules' own self-tests pass in the bench as they must in Slicer: installed modules, the shipped model."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("name", ["DisentangleSeg", "DisentangleSynth"])
def test_self_tests_pass_with_the_shipped_model(name: str, load_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    monkeypatch.delenv("DISENTANGLE_MODELS", raising=False)
    panel = load_module(name)
    assert panel.modelBox.bundle.name == "brain-mr"
    slicer.selfTests[name]()
