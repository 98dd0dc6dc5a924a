"""Options and fixtures of the bench (fixtures.py); without slicer-core a single skip is reported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

AVAILABLE = all(importlib.util.find_spec(name) is not None for name in ("slicer_core", "PySide6"))

if AVAILABLE:
    from bench.fixtures import *  # noqa: F403
else:
    collect_ignore_glob = ["test_[!r]*.py", "test_re[!q]*.py"]  # all but test_requirements.py


def pytest_addoption(parser: pytest.Parser) -> None:
    """``pytest Testing/bench --screenshots Resources/Screenshots`` keeps the pictures."""
    parser.addoption("--screenshots", metavar="DIR", help="where the bench's pictures go")
    parser.addoption("--slicer-api", metavar="FILE", help="add which names of Slicer's Qt API the modules use")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Add to the list of names in use, if it was asked for."""
    chosen = config.getoption("--slicer-api", None)
    if chosen and AVAILABLE:
        from bench import usage

        usage.add_to(Path(chosen))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs slicer-core and PySide6."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.bench)
