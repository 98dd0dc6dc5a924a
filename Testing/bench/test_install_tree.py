"""What is installed is complete, and both modules load from it and from the source tree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import install_tree
from bench.cmake_lists import SLICER_LIB, CMakeLists

MODULES = ("DisentangleSeg", "DisentangleSynth")


def tracked_files(repository: Path) -> set[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=repository, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {repository / line for line in listing.splitlines() if (repository / line).is_file()}


def test_every_python_file_is_listed(repository: Path) -> None:
    listed = {item.source.resolve() for item in install_tree.listed_files(repository)}
    tracked = tracked_files(repository)
    missing = sorted(str(f.relative_to(repository)) for f in install_tree.package_files(repository) & tracked - listed)
    assert not missing, "not listed in CMake, so not installed: " + ", ".join(missing)


def test_every_resource_is_listed(repository: Path) -> None:
    listed = {item.source.resolve() for item in install_tree.listed_files(repository)}
    resources = install_tree.resource_files(repository, tracked_files(repository))
    icons_of_the_catalog = {repository / "Resources" / "Icons"}
    missing = sorted(
        str(file.relative_to(repository)) for file in resources - listed if file.parent not in icons_of_the_catalog
    )
    assert not missing, "not listed in CMake, so not installed: " + ", ".join(missing)


def test_nothing_listed_is_missing_or_listed_twice(repository: Path) -> None:
    items = install_tree.listed_files(repository)
    assert [str(item.source) for item in items if not item.source.is_file()] == []
    targets = [item.target for item in items]
    assert len(targets) == len(set(targets))
    assert all(target.startswith(f"{SLICER_LIB}/") for target in targets)


def test_the_project_has_the_name_and_metadata_that_the_catalog_needs(repository: Path) -> None:
    lists = CMakeLists(repository)
    assert lists.project == "Disentangle"
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"):
        assert lists.variables.get(f"EXTENSION_{name}"), f"EXTENSION_{name} is not set"
    assert "PyTorch" in lists.variables["EXTENSION_DEPENDS"].split(";")


def test_the_licence_is_installed_with_the_code(repository: Path) -> None:
    targets = {item.source.resolve(): item.target for item in install_tree.listed_files(repository)}
    assert targets[repository / "LICENSE.txt"] == f"{SLICER_LIB}/disentangle/LICENSE.txt"


@pytest.mark.parametrize("name", MODULES)
def test_the_help_of_a_module_leads_to_the_tutorial_and_the_homepage(
    name: str, load_module: Any, repository: Path
) -> None:
    import slicer

    load_module(name)
    links = re.findall(r'<a href="([^"]+)">', getattr(slicer.modules, name.lower()).helpText)
    homepage = CMakeLists(repository).variables["EXTENSION_HOMEPAGE"]
    tutorial, other = links
    assert other == homepage
    place = tutorial.removeprefix(f"{homepage}/blob/main/")
    assert (repository / place).is_file()


@pytest.mark.parametrize("source", [False, True], ids=["installed", "source"])
@pytest.mark.parametrize("name", MODULES)
def test_modules_load(name: str, source: bool, load_module: Any, installed: Path, repository: Path) -> None:
    import slicer

    widget = load_module(name, source=source)
    module = getattr(slicer.modules, name.lower())
    assert module.title
    assert module.categories
    assert widget.logic is slicer.util.getModuleLogic(name)
    expected = repository / "training" if source else installed
    assert Path(sys.modules["disentangle"].__file__).parent.parent == expected


@pytest.mark.parametrize("name", MODULES)
def test_opening_a_module_imports_nothing_heavy_and_installs_nothing(name: str, installed: Path) -> None:
    """In a process of its own: torch costs seconds, and Slicer must open the panel at once."""
    script = f"""
import sys, tempfile, pathlib
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from bench import install_tree, modules, slicer_app
running = slicer_app.start()
install_tree.use(pathlib.Path({str(installed)!r}), pathlib.Path({str(Path(__file__).resolve().parents[2])!r}))
modules.load(running.module_manager, pathlib.Path({str(installed)!r}) / "{name}.py")
running.main_window.moduleSelector().selectModule("{name}")
from bench.slicer_modules import packaging, pytorch_utils
print("HEAVY", sorted(set(sys.modules) & {{"torch", "monai", "lightning", "matplotlib", "scipy", "sklearn"}}))
print("INSTALLED", packaging.installed + pytorch_utils.requests)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout, done.stdout
    assert "INSTALLED []" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "name", ["README.md", "Testing/README.md", "Resources/Docs/tutorial.md", "Resources/Docs/checklists.md"]
)
def test_documents_name_only_what_is_there(name: str, repository: Path) -> None:
    """Pictures, links and paths in code font."""
    document = repository / name
    text = document.read_text(encoding="utf-8")
    linked = [document.parent / target for target in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = [repository / path for path in re.findall(r"`((?:Testing|training|Resources)/[\w./-]+\.\w+)`", text)]
    assert [str(path) for path in (*linked, *named) if not path.exists()] == []
