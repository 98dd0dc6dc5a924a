"""Bundles that count as converted without a conversion, and how far the answers of backends differ; for the tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from disentangle.bundles import Bundle
from disentangle.inference.backends import store
from disentangle.inference.result import Result

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO, which is optional, is not installed"
)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Of the largest value expected."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


def largest_difference(found: Result, expected: Result) -> float:
    """The largest relative difference of any volume or modality factor of two results."""
    pairs = [(found.probabilities[n].array, expected.probabilities[n].array) for n in expected.probabilities]
    pairs += [(found.synthesized[n].array, expected.synthesized[n].array) for n in expected.synthesized]
    pairs += [(found.cross[n].array, expected.cross[n].array) for n in expected.cross]
    for name, own in expected.factors.items():
        pairs.append((found.factors[name].modality, own.modality))
        pairs += [(a.array, b.array) for a, b in zip(found.factors[name].anatomy, own.anatomy, strict=True)]
    assert len(pairs) > 20  # all that was asked for is there
    return max(relative_difference(a, b) for a, b in pairs)


def pretend_converted(bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``write(torch=30.0, openvino=12.0)``: the bundle counts as converted and timed so (milliseconds a slice)."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(store, "folder_of", lambda bundle: folder)
    monkeypatch.setattr(store, "openvino_version", lambda: "2026.4.1")
    for suffix in (".xml", ".bin"):
        (folder / f"segment{suffix}").write_text("")

    def write(**milliseconds: float) -> None:
        abilities = bundle.system().capabilities
        store.write_card(store.Converted(folder, ("segment",), abilities, {}, milliseconds), folder)

    return write
