"""The models that are shipped, as the panels offer them."""

from __future__ import annotations

from typing import Any

import pytest

MARK = "A demonstration, not for patients' images."


@pytest.mark.parametrize("name", ["DisentangleSeg", "DisentangleSynth"])
def test_demonstrations_are_marked_and_come_after_the_models_for_patients(
    name: str, load_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISENTANGLE_MODELS", raising=False)
    box = load_module(name).modelBox
    offered = list(box.bundles.values())
    demonstrations = ["Not for patients" in bundle.card["intended_use"] for bundle in offered]
    assert any(demonstrations) and not all(demonstrations)
    assert demonstrations == sorted(demonstrations)
    for bundle, demonstration in zip(offered, demonstrations, strict=True):
        box.choose(bundle.name)
        assert box.bundle.name == bundle.name
        assert box.label.text.startswith(MARK) == demonstration
        assert bundle.card["limitations"] in box.label.toolTip
