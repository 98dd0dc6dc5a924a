"""Stand-ins for the qMRML* and qSlicer* widgets that a module's panel is made of."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_widgets import CollapsibleButton
from .node_combo_box import DEFAULTS, CheckableNodeComboBox, NodeComboBox
from .standins import HasScene, Labelled, make


class SegmentEditor(HasScene, Labelled):
    """The editor's state, which lives in its vtkMRMLSegmentEditorNode; its effects need the real Slicer."""

    _EFFECTS = (
        "Paint",
        "Draw",
        "Erase",
        "Level tracing",
        "Grow from seeds",
        "Threshold",
        "Margin",
        "Smoothing",
        "Scissors",
        "Islands",
        "Logical operators",
        "Mask volume",
    )
    _editor: Any = None
    _effect: str = ""

    def mrmlSegmentEditorNode(self) -> Any:
        """The parameter node, or None."""
        return self._editor

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        """Set the parameter node; without one the editor ignores segmentation and volume, as the real one does."""
        self._editor = node

    def segmentationNode(self) -> Any:
        """The edited segmentation."""
        return self._editor.GetSegmentationNode() if self._editor is not None else None

    def segmentationNodeID(self) -> str:
        """Its ID."""
        node = self.segmentationNode()
        return node.GetID() if node is not None else ""

    def setSegmentationNode(self, node: Any) -> None:
        """Edit this segmentation."""
        if self._editor is None or node is self.segmentationNode():
            return
        if node is not None and node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        self._editor.SetAndObserveSegmentationNode(node)
        segments = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        self._editor.SetSelectedSegmentID(segments[0] if segments else "")
        self.segmentationNodeChanged.emit(node)

    def sourceVolumeNode(self) -> Any:
        """The volume drawn on."""
        return self._editor.GetSourceVolumeNode() if self._editor is not None else None

    masterVolumeNode = sourceVolumeNode

    def sourceVolumeNodeID(self) -> str:
        """Its ID."""
        node = self.sourceVolumeNode()
        return node.GetID() if node is not None else ""

    def setSourceVolumeNode(self, node: Any) -> None:
        """Draw on this volume."""
        if self._editor is None or node is self.sourceVolumeNode():
            return
        self._editor.SetAndObserveSourceVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    setMasterVolumeNode = setSourceVolumeNode

    def currentSegmentID(self) -> str:
        """The selected segment."""
        return (self._editor.GetSelectedSegmentID() or "") if self._editor is not None else ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        """Select a segment."""
        if self._editor is not None:
            self._editor.SetSelectedSegmentID(segment_id)
            self.currentSegmentIDChanged.emit(segment_id)

    def availableEffectNames(self) -> list[str]:
        """Names of the effects that Slicer itself ships."""
        return list(self._EFFECTS)

    def activeEffect(self) -> Any:
        """The bench has no effect objects."""

    def setActiveEffect(self, effect: Any) -> None:
        """Only None: put the tool down."""
        if effect is not None:
            raise NotImplementedError("effects need the real Slicer (Testing/README.md)")
        self.setActiveEffectByName("")

    def setActiveEffectByName(self, name: str) -> None:
        """Pick up a tool by name."""
        self._effect = name if name in self._EFFECTS else ""
        if self._editor is not None:
            self._editor.SetActiveEffectName(self._effect)

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        """The slot behind the property."""
        self.maximumNumberOfUndoStates = count

    def _nothing(self, *_args: Any) -> None:
        """Keyboard shortcuts, view observations and undo do nothing without effects."""

    installKeyboardShortcuts = uninstallKeyboardShortcuts = setupViewObservations = removeViewObservations = _nothing
    updateWidgetFromMRML = updateEffectList = saveStateForUndo = undo = redo = jumpSlices = _nothing
    setEffectNameOrder = segmentationNodeSelectorAddAttribute = sourceVolumeNodeSelectorAddAttribute = _nothing

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        """The slot behind the property."""
        self.segmentationNodeSelectorVisible = visible

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        """The slot behind the property."""
        self.sourceVolumeNodeSelectorVisible = visible

    def setSwitchToSegmentationsButtonVisible(self, visible: bool) -> None:
        """The slot behind the property."""
        self.switchToSegmentationsButtonVisible = visible


class SegmentsTable(HasScene):
    """Names and colours of a segmentation's segments."""

    _node: Any = None
    _tag: int | None = None

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._list = QtWidgets.QListWidget()
        self._list.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list)

    def segmentationNode(self) -> Any:
        """The segmentation shown."""
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Show this segmentation."""
        if self._node is not None and self._tag is not None:
            self._node.RemoveObserver(self._tag)
        self._node, self._tag = node, None
        if node is not None:
            myself = weakref.ref(self)

            def on_modified(*_args: Any) -> None:
                widget = myself()
                if widget is not None and shiboken6.isValid(widget):
                    widget.refresh()

            self._tag = node.AddObserver("AnyEvent", on_modified)
        self.refresh()

    def refresh(self) -> None:
        """Read the segments again."""
        self._list.clear()
        for segment_id in self.displayedSegmentIDs():
            segment = self._node.GetSegmentation().GetSegment(segment_id)
            item = QtWidgets.QListWidgetItem(segment.GetName())
            item.setData(QtCore.Qt.ItemDataRole.UserRole, segment_id)
            item.setData(QtCore.Qt.ItemDataRole.DecorationRole, QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._list.addItem(item)

    def read_segmentCount(self) -> int:
        """How many segments there are."""
        return len(self.displayedSegmentIDs())

    def displayedSegmentIDs(self) -> list[str]:
        """IDs of all segments."""
        return list(self._node.GetSegmentation().GetSegmentIDs()) if self._node is not None else []

    def selectedSegmentIDs(self) -> list[str]:
        """IDs of the selected ones."""
        return [item.data(QtCore.Qt.ItemDataRole.UserRole) for item in self._list.selectedItems()]

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        """Select segments."""
        for row in range(self._list.count()):
            item = self._list.item(row)
            item.setSelected(item.data(QtCore.Qt.ItemDataRole.UserRole) in ids)

    def clearSelection(self) -> None:
        """Select none."""
        self._list.clearSelection()


class Show3DButton:
    """Makes the surfaces of a segmentation, or hides them."""

    _node: Any = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.setCheckable(True)
        self.toggled.connect(self._on_toggled)

    def segmentationNode(self) -> Any:
        """The segmentation."""
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        """Serve this segmentation; without one the button is disabled."""
        self._node = node
        self.setEnabled(node is not None)

    def _on_toggled(self, on: bool) -> None:
        if self._node is None:
            return
        if on:
            self._node.CreateClosedSurfaceRepresentation()
        else:
            self._node.RemoveClosedSurfaceRepresentation()


class SubjectHierarchyTree(HasScene):
    """The subject hierarchy, drawn as a tree."""

    _root: int = 0
    _tag: tuple[Any, int] | None = None

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderHidden(True)

    def subjectHierarchyNode(self) -> Any:
        """The scene's hierarchy."""
        return self._scene.GetSubjectHierarchyNode() if self._scene is not None else None

    def scene_changed(self, scene: Any) -> None:
        """Observe the hierarchy of the new scene."""
        if self._tag is not None:
            self._tag[0].RemoveObserver(self._tag[1])
            self._tag = None
        if scene is not None:
            myself = weakref.ref(self)

            def on_modified(*_args: Any) -> None:
                widget = myself()
                if widget is not None and shiboken6.isValid(widget):
                    widget.refresh()

            hierarchy = scene.GetSubjectHierarchyNode()
            self._tag = (hierarchy, hierarchy.AddObserver("AnyEvent", on_modified))
        self.refresh()

    def rootItem(self) -> int:
        """The item whose children are shown."""
        return self._root

    def setRootItem(self, item: int) -> None:
        """Show only what lies under this item."""
        self._root = item
        self.refresh()

    def refresh(self) -> None:
        """Read the hierarchy again."""
        self.clear()
        hierarchy = self.subjectHierarchyNode()
        if hierarchy is not None:
            self._fill(hierarchy, self._root or hierarchy.GetSceneItemID(), self.invisibleRootItem())
            self.expandAll()

    def _fill(self, hierarchy: Any, item: int, row: QtWidgets.QTreeWidgetItem) -> None:
        children: list[int] = []
        hierarchy.GetItemChildren(item, children, False)
        for child in children:
            node = hierarchy.GetItemDataNode(child)
            wanted = not list(self.nodeTypes) or node is None or any(node.IsA(name) for name in self.nodeTypes)
            if wanted:
                entry = QtWidgets.QTreeWidgetItem(row, [hierarchy.GetItemName(child)])
                entry.setData(0, QtCore.Qt.ItemDataRole.UserRole, child)
                self._fill(hierarchy, child, entry)

    def currentItem(self) -> int:
        """ID of the current item, 0 if none."""
        entry = QtWidgets.QTreeWidget.currentItem(self)
        return entry.data(0, QtCore.Qt.ItemDataRole.UserRole) if entry is not None else 0

    def currentNode(self) -> Any:
        """Its data node."""
        return self.subjectHierarchyNode().GetItemDataNode(self.currentItem()) if self.currentItem() else None

    def setCurrentItem(self, item: int) -> None:
        """Select an item by ID."""
        for entry in self.findItems("*", QtCore.Qt.MatchFlag.MatchWildcard | QtCore.Qt.MatchFlag.MatchRecursive, 0):
            if entry.data(0, QtCore.Qt.ItemDataRole.UserRole) == item:
                QtWidgets.QTreeWidget.setCurrentItem(self, entry)

    def displayedItemCount(self) -> int:
        """How many rows there are."""
        return len(self.findItems("*", QtCore.Qt.MatchFlag.MatchWildcard | QtCore.Qt.MatchFlag.MatchRecursive, 0))


class EffectFactory:
    """Where the effects of the Segment Editor are registered; there is one."""

    _only: Any = None

    @classmethod
    def instance(cls) -> Any:
        """The one."""
        if EffectFactory._only is None:
            EffectFactory._only = cls()
        return EffectFactory._only


class CollapsibleMRMLButton(HasScene, CollapsibleButton):
    """A collapsible button with a scene."""


class SceneLabelled(HasScene, Labelled):
    """A placeholder that takes a scene."""


def register_all() -> None:
    """Make every qMRML and qSlicer stand-in."""
    widget = QtWidgets.QWidget
    make("slicer.qMRMLWidget", widget, HasScene)
    make("slicer.qSlicerWidget", widget, HasScene)
    make("slicer.qMRMLCollapsibleButton", QtWidgets.QAbstractButton, CollapsibleMRMLButton)
    make("slicer.qMRMLNodeComboBox", widget, NodeComboBox, **DEFAULTS)
    make("slicer.qMRMLCheckableNodeComboBox", widget, CheckableNodeComboBox, **DEFAULTS)
    make(
        "slicer.qMRMLSegmentEditorWidget",
        widget,
        SegmentEditor,
        effectColumnCount=2,
        undoEnabled=True,
        segmentationNodeSelectorVisible=True,
        sourceVolumeNodeSelectorVisible=True,
        switchToSegmentationsButtonVisible=True,
        maximumNumberOfUndoStates=0,
    )
    make("slicer.qSlicerSegmentEditorEffectFactory", QtCore.QObject, EffectFactory)
    make("slicer.qMRMLSegmentsTableView", widget, SegmentsTable)
    make("slicer.qMRMLSubjectHierarchyTreeView", QtWidgets.QTreeWidget, SubjectHierarchyTree)
    make("slicer.qMRMLSegmentationShow3DButton", QtWidgets.QPushButton, Show3DButton)
    make("slicer.qMRMLVolumeThresholdWidget", widget, SceneLabelled)
