"""The extension as it is installed: exactly the files that the CMake lists name, nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .cmake_lists import SLICER_LIB, CMakeLists, Installed

_NOT_PACKAGED = ("__pycache__", ".egg-info")


def listed_files(root: Path) -> list[Installed]:
    """What the CMake lists of the extension at ``root`` install."""
    return CMakeLists(root).installed


def build(root: Path, destination: Path) -> Path:
    """Copy the listed files to ``destination`` and return the folder that Slicer puts on ``sys.path``.

    Raises:
        FileNotFoundError: a listed file is missing; CMake would stop with an error.
    """
    for item in listed_files(root):
        if not item.source.is_file():
            raise FileNotFoundError(f"{item.source} is listed in CMake but does not exist")
        target = destination / item.target
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(item.source, target)
    return destination / SLICER_LIB


def package_files(root: Path) -> set[Path]:
    """Every Python file of the package and of the two modules: all of them must be listed."""
    folders = [root / "training" / "disentangle", root / "DisentangleSeg", root / "DisentangleSynth"]
    files = {file for folder in folders for file in folder.rglob("*.py")}
    return {file for file in files if not any(mark in str(file) for mark in _NOT_PACKAGED)}


def resource_files(root: Path, tracked: set[Path]) -> set[Path]:
    """Every tracked file in a Resources folder, screenshots apart: bundles, atlas, icons, .ui files."""
    return {
        file
        for file in tracked
        if "Resources" in file.relative_to(root).parts
        and "Screenshots" not in file.parts
        and file.suffix != ".md"
        and file.name not in (".gitkeep", ".gitattributes")
    }


def use(folder: Path, root: Path) -> None:
    """Make Python see ``folder`` as Slicer does: first on the path, the source tree's package not at all."""
    hidden = {str(root / "training"), str(root)}
    sys.path[:] = [str(folder)] + [entry for entry in sys.path if entry not in hidden and entry != str(folder)]
    forget_package()


def use_source(root: Path, module: str) -> None:
    """What an unbuilt source tree gives: only the module's own folder is on the path."""
    hidden = {str(root / "training"), str(root)}
    folder = str(root / module)
    sys.path[:] = [folder] + [entry for entry in sys.path if entry not in hidden and entry != folder]
    forget_package()


def forget_package() -> None:
    """Drop imported modules of the package, so that the next import looks again."""
    for name in [name for name in sys.modules if name == "disentangle" or name.startswith("disentangle.")]:
        del sys.modules[name]
