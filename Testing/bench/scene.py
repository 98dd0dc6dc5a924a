"""The real MRML scene with the real logics of Slicer's modules, as the application sets them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
}
"""Module -> class of its logic; Terminologies before Segmentations, which uses it."""

vtk_errors: list[str] = []
"""Error messages of VTK and MRML since they were last cleared; Slicer shows them in its error log."""


def collect_vtk_errors() -> None:
    """From now on put VTK's errors into :data:`vtk_errors` instead of printing them."""
    window = vtk.vtkStringOutputWindow()
    vtk.vtkOutputWindow.SetInstance(window)

    def on_error(_caller: Any, _event: str, message: str) -> None:
        vtk_errors.append(message.strip())

    on_error.CallDataType = vtk.VTK_STRING
    window.AddObserver(vtk.vtkCommand.ErrorEvent, on_error)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)


class ApplicationScene:
    """A scene, the application logic and the logics of the modules around it."""

    def __init__(self, temporary_path: Path) -> None:
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetTemporaryPath(str(temporary_path))
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        self.application_logic.SetMRMLScene(self.scene)
        self.scene.SetDataIOManager(vtk_data_io(self.scene, temporary_path))
        self.scene.SetVersion("Slicer 5.13.0 31053")
        self.logics: dict[str, Any] = {}
        for name, class_name in LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(self.application_logic)
            self.application_logic.SetModuleLogic(name, logic)
            logic.SetMRMLScene(self.scene)
            self.logics[name] = logic
        self.application_logic.SetColorLogic(self.logics["Colors"])
        self.hierarchy = SubjectHierarchyPlugins(self.scene)
        crosshair = self.scene.CreateNodeByClass("vtkMRMLCrosshairNode")
        crosshair.UnRegister(None)
        crosshair.SetCrosshairName("default")  # a singleton, which the application always has
        self.scene.AddNode(crosshair)
        vtk_errors.clear()  # the terminologies and colour files that the application ships are not in the wheel


def vtk_data_io(scene: Any, cache: Path) -> Any:
    """The data input/output manager that reading and writing storable nodes goes through."""
    manager = slicer.vtkDataIOManager()
    cache_manager = slicer.vtkCacheManager()
    cache_manager.SetRemoteCacheDirectory(str(cache))
    cache_manager.SetMRMLScene(scene)
    manager.SetCacheManager(cache_manager)
    scene.SetCacheManager(cache_manager)
    return manager


class SubjectHierarchyPlugins:
    """What Slicer's Qt plugins of the subject hierarchy do: give data nodes an item, take it away again."""

    _DATA = (
        "vtkMRMLVolumeNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLModelNode",
        "vtkMRMLMarkupsNode",
        "vtkMRMLTransformNode",
        "vtkMRMLTableNode",
        "vtkMRMLTextNode",
        "vtkMRMLPlotChartNode",
        "vtkMRMLPlotSeriesNode",
        "vtkMRMLSequenceNode",
        "vtkMRMLSequenceBrowserNode",
    )
    _OWNERS = (
        ("vtkMRMLLabelMapVolumeNode", "LabelMaps"),
        ("vtkMRMLVolumeNode", "Volumes"),
        ("vtkMRMLSegmentationNode", "Segmentations"),
        ("vtkMRMLTableNode", "Tables"),
        ("vtkMRMLTransformNode", "Transforms"),
    )

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._make(self._on_added))
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._make(self._on_removed))
        scene.AddObserver(scene.EndImportEvent, lambda *_: self._add_all())
        scene.AddObserver(scene.EndBatchProcessEvent, lambda *_: self._add_all())

    @staticmethod
    def _make(handler: Any) -> Any:
        def callback(_caller: Any, _event: str, node: Any) -> None:
            handler(node)

        callback.CallDataType = vtk.VTK_OBJECT
        return callback

    def _supported(self, node: Any) -> bool:
        return node is not None and not node.GetHideFromEditors() and any(node.IsA(name) for name in self._DATA)

    def _on_added(self, node: Any) -> None:
        if self._supported(node) and not self._scene.IsImporting():
            self._add(node)

    def _add(self, node: Any) -> None:
        hierarchy = self._scene.GetSubjectHierarchyNode()
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        owner = next((name for kind, name in self._OWNERS if node.IsA(kind)), "Default")
        hierarchy.SetItemOwnerPluginName(item, owner)

    def _add_all(self) -> None:
        if self._scene.IsBatchProcessing():
            return
        hierarchy = self._scene.GetSubjectHierarchyNode()
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        for node in nodes:
            if self._supported(node) and not hierarchy.GetItemByDataNode(node):
                self._add(node)

    def _on_removed(self, node: Any) -> None:
        if node is None or self._scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = self._scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.RemoveItem(item, False, False)
