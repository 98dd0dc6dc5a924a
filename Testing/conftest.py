"""Fixtures for every level of test."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Nothing that an earlier version of the code found may answer a test.
os.environ["DISENTANGLE_COMPILE"] = "0"  # only the tests of compiled networks compile
os.environ["DISENTANGLE_CACHE"] = tempfile.mkdtemp(prefix="disentangle-tests-")
atexit.register(shutil.rmtree, os.environ["DISENTANGLE_CACHE"], ignore_errors=True)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real studies beside the checkout; a test that needs them is skipped, with the reason, elsewhere."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real studies are not on this machine ({folder} does not exist)")
    return folder
