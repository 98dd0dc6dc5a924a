"""What both modules do once Slicer has started, before anyone has opened them: nothing that takes time."""

from __future__ import annotations

from pathlib import Path

import slicer

from ..mrml.layouts import register_layouts
from .sample_data import register


def on_startup(icon: Path) -> None:
    """Offer sample data, and make the grids known to Slicer.

    Args:
        icon: picture for the Sample Data module.
    """
    register(icon)
    register_layouts(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode"))
