"""Bundles that count as converted, without a conversion; shared by the tests of backends and of the fast mode."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from disentangle.bundles import Bundle
from disentangle.inference.backends import store

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO, which is optional, is not installed"
)


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
