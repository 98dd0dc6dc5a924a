"""Where shipped files are looked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from disentangle import resources


def test_shipped_files_are_found_beside_the_package_as_slicer_installs_it(tmp_path: Path) -> None:
    module = tmp_path / "qt-scripted-modules" / "disentangle" / "resources.py"
    module.parent.mkdir(parents=True)
    shutil.copy(resources.__file__, module)
    (tmp_path / "qt-scripted-modules" / "Resources" / "Atlas").mkdir(parents=True)
    namespace = {"__file__": str(module), "__name__": "resources"}
    exec(module.read_text(encoding="utf-8"), namespace)
    assert namespace["resource_path"]("Atlas") == tmp_path / "qt-scripted-modules" / "Resources" / "Atlas"


def test_an_installation_without_shipped_files_says_how_to_get_them() -> None:
    with pytest.raises(FileNotFoundError, match=r"Models/none is missing .*with 'pip install -e \.'"):
        resources.resource_path("Models", "none")
