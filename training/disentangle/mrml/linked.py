"""What the views of a grid have in common beside the slice: window and level, and the crosshair."""

from __future__ import annotations

from collections.abc import Iterable

import slicer

from .cells import Grid

Window = tuple[float, float]


class SharedLooks:
    """While a grid is on screen: images of one appearance are windowed together, and a small crosshair is shown.

    The images of a group need not have the same units: a window that was moved and widened in one of them is moved
    and widened in the others in proportion to the windows that they had when the grid came up.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        self._members: dict[slicer.vtkMRMLScalarVolumeDisplayNode, tuple[str, Window]] = {}
        self._tags: list[tuple[slicer.vtkMRMLNode, int]] = []
        self._passing_on = False
        self._crosshair: int | None = None

    def begin(self, cells: Grid) -> None:
        """A grid comes up; what was shared before is forgotten."""
        self._unlink()
        for cell in (cell for row in cells for cell in row):
            display = cell.volume.GetScalarVolumeDisplayNode() if cell.volume is not None and cell.window else None
            if display is not None and display not in self._members:
                self._members[display] = (cell.window, _window_of(display))
                self._tags.append((display, display.AddObserver("ModifiedEvent", self._changed)))
        node = self._crosshair_node()
        if node is not None and self._crosshair is None:
            self._crosshair = node.GetCrosshairMode()
            if self._crosshair == slicer.vtkMRMLCrosshairNode.NoCrosshair:
                node.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowSmallBasic)

    def end(self) -> None:
        """The grid goes; windows stay as they are, the crosshair becomes what it was."""
        self._unlink()
        node = self._crosshair_node()
        if node is not None and self._crosshair is not None:
            node.SetCrosshairMode(self._crosshair)
        self._crosshair = None

    def _unlink(self) -> None:
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags, self._members = [], {}

    def _changed(self, display: slicer.vtkMRMLScalarVolumeDisplayNode, _event: str) -> None:
        if self._passing_on or display not in self._members:
            return
        group, before = self._members[display]
        self._passing_on = True
        try:
            for other in self._others(display, group):
                window = _scaled(self._members[other][1], before, _window_of(display))
                if window != _window_of(other):
                    other.SetAutoWindowLevel(False)
                    other.SetWindowLevelMinMax(*window)
        finally:
            self._passing_on = False

    def _others(self, display: slicer.vtkMRMLNode, group: str) -> Iterable[slicer.vtkMRMLScalarVolumeDisplayNode]:
        return [other for other, (name, _window) in self._members.items() if name == group and other is not display]

    def _crosshair_node(self) -> slicer.vtkMRMLCrosshairNode | None:
        return self.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def _window_of(display: slicer.vtkMRMLScalarVolumeDisplayNode) -> Window:
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def _scaled(own: Window, before: Window, now: Window) -> Window:
    """A window changed as another one was changed from ``before`` to ``now``."""
    width = (before[1] - before[0]) or 1.0
    low, high = ((value - before[0]) / width for value in now)
    span = own[1] - own[0]
    return own[0] + low * span, own[0] + high * span
