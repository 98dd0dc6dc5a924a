"""The first slices of a segmentation, over the slice views until the whole one is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer

from ..study import Image
from .display import color_table
from .layouts import is_grid_view
from .volumes import Placement, fill_volume

if TYPE_CHECKING:
    from ..bundles import ClassInfo


class Preview:
    """A label volume of a few slices in every ordinary slice view; :meth:`remove` leaves the scene as it was.

    Args:
        slab: class values.
        classes: their names and colours.
        placement: where results of the run lie.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, slab: Image, classes: Sequence[ClassInfo], placement: Placement
    ) -> None:
        self.scene = scene
        entries = [(c.value, c.name, tuple(v / 255.0 for v in c.color)) for c in classes]
        self._colors = color_table(scene, "Disentangle preview", entries)
        self.node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Disentangle preview")
        for node in (self._colors, self.node):
            node.SetSaveWithScene(False)
            node.SetHideFromEditors(True)
        fill_volume(self.node, slab.array.astype(np.uint8), slab.affine, placement)
        self.node.CreateDefaultDisplayNodes()
        self.node.GetDisplayNode().SetSaveWithScene(False)
        self.node.GetDisplayNode().SetAndObserveColorNodeID(self._colors.GetID())
        self._before: list[tuple[slicer.vtkMRMLSliceCompositeNode, str | None, float]] = []
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            view = scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
            if not is_grid_view(view.GetLayoutName()):
                self._before.append((view, view.GetLabelVolumeID(), view.GetLabelOpacity()))
                view.SetLabelVolumeID(self.node.GetID())
                view.SetLabelOpacity(0.5)

    def remove(self) -> None:
        """Put the label layers back and take the nodes away."""
        for view, label, opacity in self._before:
            if self.node is not None and view.GetLabelVolumeID() == self.node.GetID():
                view.SetLabelVolumeID(label)
                view.SetLabelOpacity(opacity)
        display = self.node.GetDisplayNode()
        for node in (self.node, display, self._colors):
            if node is not None and self.scene.IsNodePresent(node):
                self.scene.RemoveNode(node)
        self._before = []
