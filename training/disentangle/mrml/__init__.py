"""MRML nodes to studies and results to MRML nodes: the only room that imports slicer or vtk. It knows no Qt widget.

MRML is RAS, the package is LPS: the conversion happens in :mod:`.volumes` and nowhere else.

| file | holds |
| --- | --- |
| ``volumes.py`` | one volume node <-> one :class:`~disentangle.study.Image`, parent transforms included |
| ``studies.py`` | volume nodes -> :class:`~disentangle.study.Study`; which node is which sequence |
| ``results.py`` | a result of the predictor -> nodes in one subject-hierarchy folder |
| ``display.py`` | colour tables, window and level |
| ``terminology.py`` | standard codes of the classes |
| ``hierarchy.py`` | subject hierarchy: patients, studies, folders |
| ``layouts.py`` | grids of linked slice views |

The names below are loaded on first use, so that importing the package costs nothing outside Slicer.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Assignment": "studies",
    "GridLayouts": "layouts",
    "Cell": "layouts",
    "Outputs": "results",
    "StudyNodes": "studies",
    "assign_nodes": "studies",
    "compare_cells": "layouts",
    "cross_cells": "layouts",
    "factor_cells": "layouts",
    "guess_node": "studies",
    "outputs_of": "results",
    "results_to_nodes": "results",
    "study_from_nodes": "studies",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
