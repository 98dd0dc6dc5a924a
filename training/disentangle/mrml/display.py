"""Colour tables, and window and level of volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

GREY = "vtkMRMLColorTableNodeGrey"
PET = "vtkMRMLPETProceduralColorNodePET-Heat"
_TABLE = "Disentangle.Table"
"""Attribute: which of the tables that results share this is."""
_DIFFERENCE, _UNCERTAINTY = "difference", "uncertainty"
_CERTAIN = 0.1
"""Uncertainty below this share of the window is not drawn over an image."""
_SAMPLES = 200_000
"""Voxels whose percentiles stand for those of a volume: all of them would hold up the window for 0.2 s."""
_CHANNEL_COLORS = (
    (0.35, 0.70, 0.90),
    (0.90, 0.60, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.94, 0.89, 0.26),
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.60, 0.60, 0.60),
)
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""


def channel_color(channel: int) -> tuple[float, float, float]:
    """(r, g, b) in [0, 1] of an anatomy channel, counted from 0."""
    return _CHANNEL_COLORS[channel % len(_CHANNEL_COLORS)]


def color_table(
    scene: slicer.vtkMRMLScene, name: str, entries: Sequence[tuple[int, str, tuple[float, float, float]]]
) -> slicer.vtkMRMLColorTableNode:
    """A colour table node with named entries; every value without an entry is transparent.

    Args:
        entries: (value, name, (r, g, b) in [0, 1]).
    """
    node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetAttribute("Category", "Disentangle")
    node.SetNumberOfColors(max((value for value, _, _ in entries), default=0) + 1)
    for value in range(node.GetNumberOfColors()):
        node.SetColor(value, "", 0.0, 0.0, 0.0, 0.0)
    for value, entry, (red, green, blue) in entries:
        node.SetColor(value, entry, red, green, blue, 0.0 if value == 0 else 1.0)
    return scene.AddNode(node)


def difference_colors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """Blue below zero, black at zero, orange above: one table for all differences of a scene."""
    colors = [(max(v - 128, 0) / 127, abs(v - 128) / 128 * 0.45, max(128 - v, 0) / 128) for v in range(256)]
    return _shared_colors(scene, _DIFFERENCE, "Difference (blue - orange)", colors)


def uncertainty_colors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """Black where the model is sure, by way of red to yellow where it is not: one table for a scene."""
    colors = [(min(v / 128, 1.0), max((v - 96) / 159, 0.0) ** 0.8, max((v - 224) / 64, 0.0)) for v in range(256)]
    return _shared_colors(scene, _UNCERTAINTY, "Uncertainty (black - yellow)", colors)


def show_uncertainty(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """In the colours of uncertainty; over an image, only what is uncertain hides it."""
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(uncertainty_colors(node.GetScene()).GetID())
    display.SetThreshold(_CERTAIN * display.GetWindowLevelMax(), 1e6)
    display.SetApplyThreshold(True)


def _shared_colors(
    scene: slicer.vtkMRMLScene, tag: str, name: str, colors: Sequence[tuple[float, float, float]]
) -> slicer.vtkMRMLColorTableNode:
    # Not a singleton: those stay when the scene is closed, and refer to a storage node that goes.
    count = scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")
    tables = (scene.GetNthNodeByClass(n, "vtkMRMLColorTableNode") for n in range(count))
    node = next((table for table in tables if table.GetAttribute(_TABLE) == tag), None)
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetTypeToUser()
        node.SetAttribute(_TABLE, tag)
        node.SetAttribute("Category", "Disentangle")
        node.SetNumberOfColors(len(colors))
        for value, color in enumerate(colors):
            node.SetColor(value, "", *color, 1.0)
        node = scene.AddNode(node)
    return node


def window_of(array: np.ndarray, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """(minimum, maximum) to show a volume with: percentiles over its voxels that differ from its background.

    The background is the value of the corner voxel. Where all other voxels have one value, as in an anatomy channel
    of zeros and ones, the window reaches from one to the other.
    """
    background = float(array.flat[0])
    array = array.ravel()[:: max(array.size // _SAMPLES, 1)] if array.size else array
    inside = array[array != background]
    values = inside if inside.size else array.ravel()
    lower, upper = (float(v) for v in np.percentile(values, (low, high)))
    if upper > lower:
        return lower, upper
    return (min(background, lower), max(background, lower)) if inside.size else (lower, lower + 1.0)


def show_volume(
    node: slicer.vtkMRMLScalarVolumeNode, window: tuple[float, float] | None, color: str = GREY
) -> slicer.vtkMRMLScalarVolumeDisplayNode:
    """Give a volume a display node; ``window`` is (minimum, maximum), None leaves it to Slicer."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(color)
    if window is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*window)
    return display


def copy_window(source: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float] | None:
    """(minimum, maximum) that a volume is shown with; None where it has no display node."""
    display = source.GetScalarVolumeDisplayNode()
    if display is None:
        return None
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()
