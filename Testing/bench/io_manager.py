"""slicer.app.coreIOManager(): loads and saves nodes and scenes through the real logics and storage nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore

from .standins import make

_TYPES = {
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".seg.nrrd": "SegmentationFile",
    ".ctbl": "ColorTableFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
}
_WRITERS = {
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLVolumeNode": "VolumeFile",
    "vtkMRMLColorNode": "ColorTableFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTextNode": "TextFile",
}


class CoreIOManager:
    """Readers and writers by file type."""

    def setup(self, scene: Any, application_logic: Any, logics: dict[str, Any]) -> None:
        """Remember what the readers need."""
        self._scene, self._application_logic, self._logics = scene, application_logic, logics

    def fileType(self, path: str) -> str:
        """The type of a file, by its ending; a volume if nothing else."""
        return next((kind for ending, kind in _TYPES.items() if path.lower().endswith(ending)), "VolumeFile")

    def fileWriterFileType(self, node: Any, _extension: str = "") -> str:
        """The type a node is written as."""
        return next((kind for name, kind in _WRITERS.items() if node.IsA(name)), "NodeFile")

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        """Load a file; False, with a message, if it cannot be read."""
        path = properties["fileName"]
        if not Path(path).exists():
            self._complain(messages, f"File not found: {path}")
            return False
        if kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)), messages)
        reader = {"VolumeFile": self._load_volume, "SegmentationFile": self._load_segmentation}.get(kind)
        if reader is None:
            raise NotImplementedError(f"the bench does not load {kind}")
        node = reader(path, properties)
        if node is None:
            self._complain(messages, f"Cannot read {path}")
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    @staticmethod
    def _complain(messages: Any, text: str) -> None:
        if messages is not None:
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, text)

    def _load_volume(self, path: str, properties: dict[str, Any]) -> Any:
        bits = {"labelmap": 1, "center": 2, "singleFile": 4, "autoWindowLevel": 8, "discardOrientation": 16}
        options = sum(bit for name, bit in bits.items() if properties.get(name))
        name = properties.get("name") or Path(path).name.partition(".")[0]
        node = self._logics["Volumes"].AddArchetypeVolume(path, name, options, None)
        if node is not None and properties.get("show", True):
            selection = self._application_logic.GetSelectionNode()
            if node.IsA("vtkMRMLLabelMapVolumeNode"):
                selection.SetActiveLabelVolumeID(node.GetID())
            else:
                selection.SetActiveVolumeID(node.GetID())
            self._application_logic.PropagateVolumeSelection()
        return node

    def _load_segmentation(self, path: str, properties: dict[str, Any]) -> Any:
        return self._logics["Segmentations"].LoadSegmentationFromFile(path, True, properties.get("name", ""))

    def _load_scene(self, path: str, clear: bool, messages: Any) -> bool:
        messages = messages or slicer.vtkMRMLMessageCollection()
        if path.lower().endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(str(Path(path).resolve()), clear, messages))
        self._scene.SetURL(path)
        return bool(self._scene.Connect(messages) if clear else self._scene.Import(messages))

    def loadScene(self, path: str, clear: bool = True, messages: Any = None) -> bool:
        """Load a scene, by default in place of the present one."""
        return self._load_scene(path, clear, messages)

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None, _scene: Any = None) -> bool:
        """Write a scene or a node."""
        path = Path(properties["fileName"]).resolve()
        if kind == "SceneFile":
            return self._save_scene(path, messages)
        node = self._scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(str(path))
        storage = node.GetStorageNode()
        storage.SetFileName(str(path))
        return bool(storage.WriteData(node))

    def _save_scene(self, path: Path, messages: Any) -> bool:
        messages = messages or slicer.vtkMRMLMessageCollection()
        if path.suffix == ".mrb":
            self._scene.SetURL(str(path))
            self._scene.SetRootDirectory(str(path.parent))
            return bool(self._scene.WriteToMRB(str(path), None, messages))
        if path.suffix == ".mrml":
            self._scene.SetURL(str(path))
            self._scene.SetRootDirectory(str(path.parent))
            return bool(self._scene.Commit())
        path.mkdir(parents=True, exist_ok=True)
        return bool(self._application_logic.SaveSceneToSlicerDataBundleDirectory(str(path), None))


_classes: dict[str, type] = {}


def register_all() -> None:
    """Make the class."""
    _classes["io"] = make("slicer.qSlicerCoreIOManager", QtCore.QObject, CoreIOManager)


def create(scene: Any, application_logic: Any, logics: dict[str, Any]) -> Any:
    """The input/output manager of an application."""
    manager = _classes["io"]()
    manager.setup(scene, application_logic, logics)
    return manager
