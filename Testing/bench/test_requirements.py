"""Says once why the bench is skipped where it cannot run."""

from __future__ import annotations

import pytest


def test_the_bench_has_what_it_needs() -> None:
    core = pytest.importorskip("slicer_core", reason="the bench needs slicer-core (wheels for Python 3.11 and 3.12)")
    pytest.importorskip("PySide6", reason="the bench needs PySide6-Essentials")
    import slicer

    assert hasattr(core, "vtkMRMLScene")
    assert slicer.util.arrayFromVolume
