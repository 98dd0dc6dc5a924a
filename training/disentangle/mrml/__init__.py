"""MRML nodes to studies and results to MRML nodes: the only room that imports slicer or vtk. It knows no Qt widget.

MRML is RAS, the package is LPS: the conversion happens in :mod:`.volumes` and nowhere else.

| file | holds |
| --- | --- |
| ``volumes.py`` | one volume node <-> one :class:`~disentangle.study.Image`, parent transforms included |
| ``studies.py`` | volume nodes -> :class:`~disentangle.study.Study`; which node is which sequence |
| ``sources.py`` | which files belong to one study, by folders and names |
| ``outputs.py`` | the nodes of one run, and how they are found again |
| ``results.py`` | a result of the predictor -> nodes in one subject-hierarchy folder |
| ``display.py`` | colour tables, window and level |
| ``terminology.py`` | standard codes of the classes |
| ``hierarchy.py`` | subject hierarchy: patients, studies, folders |
| ``cells.py`` | what the views of a grid show |
| ``layouts.py`` | grids of linked slice views |
| ``linked.py`` | what the views of a grid share: window and level, crosshair |
| ``live.py`` | a volume drawn anew slice by slice |
| ``preview.py`` | the slices on screen, before the volume is there |
| ``segments.py`` | segments and class values; which ones were edited |
| ``tables.py`` | volumes of segments and regions, tables |
| ``plots.py`` | factors as Slicer's plots |
| ``factor_mask.py`` | editing inside a factor |

The names below are loaded on first use, so that importing the package costs nothing outside Slicer.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Assignment": "studies",
    "GridLayouts": "layouts",
    "Cell": "cells",
    "Outputs": "outputs",
    "StudyNodes": "studies",
    "assign_nodes": "studies",
    "compare_cells": "cells",
    "cross_cells": "cells",
    "factor_cells": "cells",
    "guess_node": "studies",
    "outputs_of": "outputs",
    "results_to_nodes": "results",
    "study_from_nodes": "studies",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
