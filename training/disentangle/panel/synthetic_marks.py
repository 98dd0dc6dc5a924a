"""The word "synthetic" in every slice view that shows a volume with made-up intensities; never in the voxels."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from ..mrml.studies import SYNTHETIC
from ..mrml.text import _

_SIZE = 16
_COLOR = (1.0, 0.75, 0.2)


class SyntheticMarks:
    """One text per slice view, switched on and off as volumes are put into the view.

    The text is an actor of its own: the corner annotations belong to Slicer's Data Probe, which writes them anew at
    every move of the mouse.
    """

    def __init__(self) -> None:
        self._actors: dict[str, vtk.vtkTextActor] = {}
        self._observed: dict[str, tuple[Any, int]] = {}
        self._scene = slicer.mrmlScene
        self._tags = [
            self._scene.AddObserver(event, lambda *_args: self.update())
            for event in (self._scene.EndImportEvent, self._scene.EndCloseEvent)
        ]
        self._tags.append(self._scene.AddObserver(self._scene.NodeAddedEvent, self._added))
        self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _scene: slicer.vtkMRMLScene, _event: str, node: slicer.vtkMRMLNode) -> None:
        """A grid of views brings five nodes per view: only its composite node is looked at."""
        if node is not None and node.IsA("vtkMRMLSliceCompositeNode") and not self._scene.IsBatchProcessing():
            self._watch(node)

    def update(self) -> None:
        """Look at every slice view; new ones are observed from now on."""
        if self._scene.IsBatchProcessing():
            return
        for n in range(self._scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            self._watch(self._scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode"))

    def _watch(self, node: slicer.vtkMRMLSliceCompositeNode) -> None:
        if node.GetID() not in self._observed or self._observed[node.GetID()][0] is not node:
            tag = node.AddObserver("ModifiedEvent", lambda caller, _event: self._show(caller))
            self._observed[node.GetID()] = (node, tag)
        self._show(node)

    def remove(self) -> None:
        """Take the texts away."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        for node, tag in self._observed.values():
            node.RemoveObserver(tag)
        for actor in self._actors.values():
            actor.SetVisibility(False)
        self._observed, self._tags = {}, []

    def _show(self, node: slicer.vtkMRMLSliceCompositeNode) -> None:
        name = node.GetLayoutName()
        ids = (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID() if node.GetForegroundOpacity() else None)
        volumes = [self._scene.GetNodeByID(name) for name in ids if name]
        synthetic = any(v is not None and v.GetAttribute(SYNTHETIC) == "1" for v in volumes)
        actor = self._actors.get(name)
        if not synthetic and (actor is None or not actor.GetVisibility()):
            return
        view = self._view(name)
        if view is None:
            return
        if actor is None:
            actor = self._actors[name] = _text()
        renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
        if not renderer.HasViewProp(actor):  # a new view, or one made anew with another scene
            renderer.AddViewProp(actor)
        if bool(actor.GetVisibility()) != synthetic:
            actor.SetVisibility(synthetic)
            view.scheduleRender()

    @staticmethod
    def _view(name: str) -> Any:
        widget = slicer.app.layoutManager().sliceWidget(name) if slicer.app.layoutManager() is not None else None
        return widget.sliceView() if widget is not None else None


def _text() -> vtk.vtkTextActor:
    """The word, in the middle of the upper edge, not shown yet."""
    actor = vtk.vtkTextActor()
    actor.SetInput(_("synthetic"))
    actor.SetVisibility(False)
    actor.GetTextProperty().SetFontSize(_SIZE)
    actor.GetTextProperty().SetColor(*_COLOR)
    actor.GetTextProperty().SetShadow(True)
    actor.GetTextProperty().SetJustificationToCentered()
    actor.GetTextProperty().SetVerticalJustificationToTop()
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(0.5, 0.97)
    return actor


_marks: SyntheticMarks | None = None
_users = 0


def mark_views() -> None:
    """Have the views marked; both modules share the marks."""
    global _marks, _users
    _users += 1
    if _marks is None:
        _marks = SyntheticMarks()


def unmark_views() -> None:
    """A module goes; with the last one the marks go."""
    global _marks, _users
    _users = max(_users - 1, 0)
    if _users == 0 and _marks is not None:
        _marks.remove()
        _marks = None
