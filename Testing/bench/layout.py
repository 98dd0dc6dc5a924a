"""The layout manager and the view widgets: real layout logic, real slice logics, nothing rendered."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .places import AREA, pixels, places
from .standins import HasScene, make

VIEW_SIZE = (320, 320)
"""Pixels of a slice view that nothing has resized."""

_views: dict[str, type] = {}


class SliceView:
    """The part of a slice widget that shows the image."""

    node: Any = None

    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self.node

    def _nothing(self, *_args: Any) -> None:
        """There is no render window."""

    forceRender = scheduleRender = pauseRender = resumeRender = _nothing
    _window: Any = None

    def renderWindow(self) -> Any:
        """A render window that never renders, with one renderer, so that actors can be added."""
        if self._window is None:
            self._window = vtk.vtkRenderWindow()
            self._window.SetOffScreenRendering(True)
            self._window.AddRenderer(vtk.vtkRenderer())
            self._interactor = vtk.vtkGenericRenderWindowInteractor()
        return self._window

    def interactor(self) -> Any:
        """Hears of no mouse; tests invoke its events."""
        self.renderWindow()
        return self._interactor


class SliceController:
    """The bar above a slice view."""

    logic: Any = None

    def sliceLogic(self) -> Any:
        """The slice logic."""
        return self.logic

    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self.logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        """The composite node."""
        return self.logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        """Show the whole background volume."""
        self.logic.FitSliceToBackground()

    def setSliceLink(self, linked: bool) -> None:
        """The link button; Slicer sets it on every view of the group."""
        _set_linked(self.logic, "SetLinkedControl", linked)

    def setHotLinked(self, linked: bool) -> None:
        """Hot link."""
        _set_linked(self.logic, "SetHotLinkedControl", linked)

    def setSliceVisible(self, visible: bool) -> None:
        """The eye button."""
        self.logic.GetSliceNode().SetSliceVisible(visible)

    def setSliceOffsetValue(self, offset: float) -> None:
        """Move the slice."""
        self.logic.SetSliceOffset(offset)

    def setSliceOrientation(self, name: str) -> None:
        """Axial, Sagittal, ..."""
        self.logic.GetSliceNode().SetOrientation(name)


def _set_linked(logic: Any, setter: str, linked: bool) -> None:
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", logic.GetMRMLScene())
    for node in composites:
        getattr(node, setter)(linked)


class SliceWidget:
    """One slice view: node, logic, controller."""

    def setup(self, node: Any, application_logic: Any, scene: Any) -> None:
        """Make the logic as qMRMLSliceWidget does."""
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetSliceNode(node)
        self._logic.SetMRMLScene(scene)
        self._logic.ResizeSliceNode(*VIEW_SIZE)
        self._controller = _views["controller"](self)
        self._controller.logic = self._logic
        self._view = _views["view"](self)
        self._view.node = node

    def sliceLogic(self) -> Any:
        """The slice logic."""
        return self._logic

    logic = sliceLogic

    def mrmlSliceNode(self) -> Any:
        """The slice node."""
        return self._logic.GetSliceNode()

    mrmlAbstractViewNode = mrmlSliceNode

    def mrmlSliceCompositeNode(self) -> Any:
        """The composite node."""
        return self._logic.GetSliceCompositeNode()

    def sliceController(self) -> Any:
        """The bar above."""
        return self._controller

    controllerWidget = sliceController

    def sliceView(self) -> Any:
        """The view itself."""
        return self._view

    viewWidget = sliceView

    def fitSliceToBackground(self) -> None:
        """Show the whole background volume."""
        self._logic.FitSliceToBackground()

    def read_sliceOrientation(self) -> str:
        """Axial, Sagittal, ..."""
        return self.mrmlSliceNode().GetOrientation()

    def setSliceOrientation(self, name: str) -> None:
        """Turn the slice."""
        self.mrmlSliceNode().SetOrientation(name)

    def read_sliceViewName(self) -> str:
        """The layout name."""
        return self.mrmlSliceNode().GetLayoutName()


class ThreeDView:
    """A 3D view that draws nothing."""

    node: Any = None

    def mrmlViewNode(self) -> Any:
        """The view node."""
        return self.node

    def _nothing(self, *_args: Any) -> None:
        """There is no render window."""

    forceRender = scheduleRender = resetFocalPoint = resetCamera = rotateToViewAxis = _nothing


class ThreeDWidget:
    """A 3D widget."""

    def setup(self, node: Any) -> None:
        """Give the view its node."""
        self._view = _views["3d"](self)
        self._view.node = node

    def threeDView(self) -> Any:
        """The view."""
        return self._view

    def mrmlViewNode(self) -> Any:
        """The view node."""
        return self._view.node

    mrmlAbstractViewNode = mrmlViewNode


class LayoutManager(HasScene):
    """Creates a widget for every view node of the scene, follows the layout node."""

    def setup(self, scene: Any, application_logic: Any) -> None:
        """Start with the default layout, as the application does."""
        self._application_logic = application_logic
        self._slice_widgets: dict[str, Any] = {}
        self._threed_widgets: dict[str, Any] = {}
        self._paused = 0
        self._shown = None
        self._viewport = QtWidgets.QWidget()
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(scene)
        self._scene = scene
        self._node = self._logic.GetLayoutNode()
        self._node.AddObserver("ModifiedEvent", lambda *_: self._on_layout())
        for event in (scene.EndBatchProcessEvent, scene.EndImportEvent, scene.EndRestoreEvent, scene.NodeAddedEvent):
            scene.AddObserver(event, lambda *_: self._create_views())
        self._node.SetViewArrangement(self._node.SlicerLayoutFourUpView)
        self._create_views()

    def _on_layout(self) -> None:
        self._create_views()
        arrangement = self._node.GetViewArrangement()
        if arrangement != self._shown:
            self._shown = arrangement
            QtCore.QTimer.singleShot(0, self._resize_views)  # as in Qt: widgets get their size once events run
            self.layoutChanged.emit(arrangement)

    def _resize_views(self) -> None:
        for place in places(self._node):
            if place[0] in self._slice_widgets:
                self._slice_widgets[place[0]].sliceLogic().ResizeSliceNode(*pixels(place, *AREA)[2:])

    def _create_views(self) -> None:
        if self._scene.IsBatchProcessing():
            return
        for node in list(slicer.util.getNodesByClass("vtkMRMLSliceNode", self._scene)):
            if node.GetLayoutName() and node.GetLayoutName() not in self._slice_widgets:
                widget = _views["slice"](self._viewport)
                self._slice_widgets[node.GetLayoutName()] = widget
                widget.setObjectName(f"qMRMLSliceWidget{node.GetLayoutName()}")
                widget.setup(node, self._application_logic, self._scene)
        for node in list(slicer.util.getNodesByClass("vtkMRMLViewNode", self._scene)):
            if node.GetLayoutName() and node.GetLayoutName() not in self._threed_widgets:
                widget = _views["3d widget"](self._viewport)
                self._threed_widgets[node.GetLayoutName()] = widget
                widget.setup(node)

    def drop_views(self, keep: tuple[str, ...] = ("Red", "Green", "Yellow")) -> None:
        """Remove the slice views that modules made, as a new start of Slicer would; for between two tests."""
        for name in [name for name in self._slice_widgets if name not in keep]:
            widget = self._slice_widgets.pop(name)
            logic = widget.sliceLogic()
            nodes = (logic.GetSliceCompositeNode(), logic.GetSliceNode())
            self._application_logic.GetSliceLogics().RemoveItem(logic)
            logic.SetMRMLScene(None)
            for node in nodes:
                self._scene.RemoveNode(node)
            widget.deleteLater()

    def visible_slice_names(self) -> list[str]:
        """Slice views of the present layout, in its order."""
        views = self._logic.GetViewNodes()
        nodes = [views.GetItemAsObject(index) for index in range(views.GetNumberOfItems())]
        return [node.GetLayoutName() for node in nodes if node.IsA("vtkMRMLSliceNode")]

    def layoutLogic(self) -> Any:
        """The real vtkMRMLLayoutLogic."""
        return self._logic

    def read_layout(self) -> int:
        """The arrangement shown."""
        return self._node.GetViewArrangement()

    def write_layout(self, layout: int) -> None:
        """Show an arrangement."""
        self._node.SetViewArrangement(layout)

    def setLayout(self, layout: int) -> None:
        """Show an arrangement."""
        self._node.SetViewArrangement(layout)

    def sliceViewNames(self) -> list[str]:
        """Every slice view there is, shown or not."""
        return list(self._slice_widgets)

    def sliceWidget(self, name: str) -> Any:
        """The slice widget of a view, None if there is no such view."""
        return self._slice_widgets.get(name)

    def read_threeDViewCount(self) -> int:
        """How many 3D views there are."""
        return len(self._threed_widgets)

    def threeDWidget(self, which: int | str) -> Any:
        """A 3D widget by index or name."""
        if isinstance(which, str):
            return self._threed_widgets.get(which)
        widgets = list(self._threed_widgets.values())
        return widgets[which] if which < len(widgets) else None

    def mrmlSliceLogics(self) -> Any:
        """All slice logics."""
        return self._application_logic.GetSliceLogics()

    def viewport(self) -> Any:
        """The widget that holds the views."""
        return self._viewport

    def viewWidget(self, node: Any) -> Any:
        """The widget of a view node."""
        name = node.GetLayoutName()
        return self._slice_widgets.get(name) if node.IsA("vtkMRMLSliceNode") else self._threed_widgets.get(name)

    def resetSliceViews(self) -> None:
        """Fit every slice view to its background."""
        self._application_logic.FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """Nothing is rendered."""

    def pauseRender(self) -> None:
        """Count pauses, so that a test sees an unbalanced one."""
        self._paused += 1

    def resumeRender(self) -> None:
        """Undo one pause."""
        self._paused -= 1


def register_all() -> None:
    """Make the view classes."""
    widget = QtWidgets.QWidget
    _views["view"] = make("slicer.qMRMLSliceView", widget, SliceView)
    _views["controller"] = make("slicer.qMRMLSliceControllerWidget", widget, SliceController)
    _views["slice"] = make("slicer.qMRMLSliceWidget", widget, SliceWidget)
    _views["3d"] = make("slicer.qMRMLThreeDView", widget, ThreeDView)
    _views["3d widget"] = make("slicer.qMRMLThreeDWidget", widget, ThreeDWidget)
    _views["manager"] = make("slicer.qSlicerLayoutManager", QtCore.QObject, LayoutManager, enabled=True)


def create(scene: Any, application_logic: Any) -> Any:
    """The layout manager of an application."""
    manager = _views["manager"]()
    manager.setup(scene, application_logic)
    return manager
