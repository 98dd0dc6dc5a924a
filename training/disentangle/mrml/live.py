"""A volume that is drawn anew slice by slice while the user changes the appearance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer

from .display import GREY, copy_window, show_volume, window_of
from .outputs import SEQUENCE
from .studies import ROLE, SYNTHETIC

NAME = "Live appearance (synthetic)"

_COMPOSITE = "vtkMRMLSliceCompositeNode"


class LiveVolume:
    """One synthetic volume on the grid of the model, started from a reconstruction.

    Args:
        like: volume whose grid and window it takes (the aligned input).
        start: voxels it begins with; None takes those of ``like``.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        like: slicer.vtkMRMLScalarVolumeNode,
        start: slicer.vtkMRMLScalarVolumeNode | None = None,
    ) -> None:
        self.scene = scene
        self.node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(NAME))
        self.node.SetAttribute(ROLE, "live")
        self.node.SetAttribute(SYNTHETIC, "1")
        source = start or like
        slicer.util.updateVolumeFromArray(self.node, slicer.util.arrayFromVolume(source).astype(np.float32))
        self.node.CopyOrientation(like)
        if like.GetParentTransformNode() is not None:
            self.node.SetAndObserveTransformNodeID(like.GetParentTransformNode().GetID())
        show_volume(self.node, copy_window(like), GREY)

    @property
    def there(self) -> bool:
        """Whether the node is still in the scene."""
        return self.node is not None and bool(self.scene.IsNodePresent(self.node))

    def show_slice(self, k: int, values: np.ndarray) -> None:
        """Replace one slice."""
        array = slicer.util.arrayFromVolume(self.node)
        array[k] = values
        slicer.util.arrayFromVolumeModified(self.node)

    def show_volume(self, values: np.ndarray) -> None:
        """Replace all slices."""
        slicer.util.arrayFromVolume(self.node)[:] = values
        slicer.util.arrayFromVolumeModified(self.node)

    def window_like(self, looks: Mapping[str, tuple[float, slicer.vtkMRMLScalarVolumeNode]]) -> None:
        """Take the window of a mixture of volumes.

        Args:
            looks: sequence -> (weight, volume); a single one is also noted as what the volume looks like.
        """
        self.node.SetAttribute(SEQUENCE, next(iter(looks)) if len(looks) == 1 else "")
        windows = [(w, copy_window(v) or window_of(slicer.util.arrayFromVolume(v))) for w, v in looks.values()]
        total = sum(weight for weight, _ in windows)
        if total > 0:
            low, high = (sum(weight * window[n] for weight, window in windows) / total for n in (0, 1))
            self.node.GetDisplayNode().SetWindowLevelMinMax(low, high)

    def remove(self) -> None:
        """Take it out of the scene."""
        if self.there:
            display = self.node.GetDisplayNode()
            self.scene.RemoveNode(self.node)
            if display is not None and self.scene.IsNodePresent(display):
                self.scene.RemoveNode(display)
        self.node = None


def point_in_view(scene: slicer.vtkMRMLScene, tag: str = "Red") -> tuple[float, float, float] | None:
    """The middle of a slice view, LPS mm of the world; None where there is no such view."""
    view = scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
    if view is None:
        return None
    matrix = view.GetSliceToRAS()
    x, y, z = (matrix.GetElement(row, 3) for row in range(3))
    return -x, -y, z


def volume_in_view(scene: slicer.vtkMRMLScene, tag: str = "Red") -> slicer.vtkMRMLVolumeNode | None:
    """The background volume of a slice view; None where it shows none."""
    composites = [scene.GetNthNodeByClass(n, _COMPOSITE) for n in range(scene.GetNumberOfNodesByClass(_COMPOSITE))]
    composite = next((node for node in composites if node.GetLayoutName() == tag), None)
    return None if composite is None else scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
