"""qMRMLNodeComboBox: the nodes of a scene that pass its filters, kept up to date by observing the scene."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import shiboken6
import vtk
from PySide6 import QtCore, QtWidgets

from .standins import HasScene

_NONE = "None"


def _forget(tags: list[tuple[Any, int]], *_destroyed: Any) -> None:
    while tags:
        observed, tag = tags.pop()
        observed.RemoveObserver(tag)


class NodeList(HasScene):
    """What the node selectors share: filters, and a list of node IDs that follows the scene."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._attributes: dict[str, dict[str, Any]] = {}
        self._tags: list[tuple[Any, int]] = []
        self._ids: list[str] = []
        self._leaving: str | None = None

    def scene_changed(self, scene: Any) -> None:
        """Observe the new scene."""
        _forget(self._tags)
        self._tags = []
        if scene is not None:
            myself = weakref.ref(self)

            def on_event(*_args: Any) -> None:
                widget = myself()
                if widget is not None and shiboken6.isValid(widget):
                    widget.refresh()

            def on_leaving(_scene: Any, _event: str, node: Any) -> None:
                widget = myself()
                if widget is not None and shiboken6.isValid(widget) and not scene.IsClosing():
                    widget.leave(node)

            def on_left(*_args: Any) -> None:
                widget = myself()
                if widget is not None:
                    widget._leaving = None
                on_event()

            # As qMRMLSceneModel: the row goes while the node is still in the scene, after other observers heard of it.
            on_leaving.CallDataType = vtk.VTK_OBJECT
            self._tags.append((scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, on_leaving, -10.0)))
            self._tags.append((scene, scene.AddObserver(scene.NodeRemovedEvent, on_left, 10.0)))
            for event in (
                scene.NodeAddedEvent,
                scene.EndBatchProcessEvent,
                scene.EndImportEvent,
                scene.EndCloseEvent,
            ):
                self._tags.append((scene, scene.AddObserver(event, on_event)))
            self.destroyed.connect(functools.partial(_forget, self._tags))
        self.refresh()

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """Offer only nodes of this type that have this attribute (and value)."""
        self._attributes.setdefault(node_type, {})[name] = value
        self.refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        """Undo :meth:`addAttribute`."""
        self._attributes.get(node_type, {}).pop(name, None)
        self.refresh()

    def accepts(self, node: Any) -> bool:
        """Whether the filters let ``node`` through."""
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        types = list(self.nodeTypes)
        if self.showChildNodeTypes:
            matched = next((name for name in types if node.IsA(name)), None)
        else:
            matched = next((name for name in types if node.GetClassName() == name), None)
        if matched is None or any(node.IsA(name) for name in self.hideChildNodeTypes):
            return False
        for name, value in self._attributes.get(matched, {}).items():
            found = node.GetAttribute(name)
            if found is None or (value is not None and found != str(value)):
                return False
        return True

    def accepted_nodes(self) -> list[Any]:
        """The nodes offered, in the scene's order."""
        if self._scene is None:
            return []
        types = list(self.nodeTypes)
        if len(types) == 1:  # as a rule; Python objects for all nodes of a large scene would cost a tenth of a second
            found = self._scene.GetNodesByClass(types[0])
            found.UnRegister(None)
            nodes = [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]
        else:
            nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if node.GetID() != self._leaving and self.accepts(node)]

    def nodeCount(self) -> int:
        """How many nodes are offered; "None" does not count."""
        return len(self._ids)

    def nodeFromIndex(self, index: int) -> Any:
        """The n-th node offered."""
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def write_nodeTypes(self, _types: list[str]) -> None:
        """New filter."""
        self.refresh()

    write_hideChildNodeTypes = write_showChildNodeTypes = write_showHidden = write_nodeTypes

    def leave(self, node: Any) -> None:
        """A node is about to be removed from the scene: its row goes."""
        if node.GetID() in self._ids:
            self.nodeAboutToBeRemoved.emit(node)  # while the row is there
            self._leaving = node.GetID()
            self.follow()

    def refresh(self) -> None:
        """Read the scene again."""
        if self._scene is None or not self._scene.IsBatchProcessing():
            self.follow()

    def follow(self) -> None:
        """Show the nodes that the scene has now."""
        raise NotImplementedError


class NodeComboBox(NodeList):
    """Selects one node.

    As qMRMLNodeComboBox since bdc4f048da (November 2025), it tells of another node where the *text* is another:
    ``connect(d->ComboBox, &QComboBox::currentTextChanged, this, &qMRMLNodeComboBox::emitCurrentNodeChanged)``, and
    QComboBoxPrivate::updateCurrentText says nothing where ``text == currentText``. ``nodeActivated`` comes from
    QComboBox::activated, also after ``setCurrentNode`` of another node, which sends the view the Enter key, but not
    after a choice of "None" by a program.
    """

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._current: str | None = None
        self._text: str | None = None
        self._entries: list[tuple[str, str]] = []
        super().__init__(parent)
        self._combo = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)

    def follow(self) -> None:
        """Follow the scene: where the current node vanished its neighbour is selected, also where "None" is offered; an
        empty selector without "None" takes the first node."""
        nodes = self.accepted_nodes()
        known = self._ids
        self._ids = [node.GetID() for node in nodes]
        wanted = self._current
        if wanted is not None and wanted not in self._ids:
            wanted = self._neighbour(known, wanted)
        if wanted is None and self._ids and not self.noneEnabled:
            wanted = self._ids[0]
        self._show(nodes)
        self._select(wanted)
        for node in nodes:
            if node.GetID() not in known:
                self.nodeAdded.emit(node)

    def _neighbour(self, known: list[str], vanished: str) -> str | None:
        """What QComboBox selects when the model removes the current row.

        qMRMLSceneModel::onMRMLSceneNodeAboutToBeRemoved removes the row of a node, and QComboBox selects the row that
        takes its place, or the new last one, in Qt 5.15 and 6. "None" is a row like others (``setPreItems``), so it is
        selected only after the last node, and qMRMLNodeComboBox::refreshIfCurrentNodeHidden, which would select it,
        finds a node by then. Then qMRMLNodeComboBox::emitCurrentNodeChanged tells of the neighbour as if the user had
        chosen it.
        """
        at = known.index(vanished) if vanished in known else 0
        following = (node_id for node_id in known[at + 1 :] if node_id in self._ids)
        preceding = (node_id for node_id in reversed(known[:at]) if node_id in self._ids)
        return next(following, next(preceding, None))

    def _show(self, nodes: list[Any]) -> None:
        entries = [("", "")] if self.noneEnabled else []
        entries += [(node.GetName() or "", node.GetID()) for node in nodes]
        if entries[self.noneEnabled :] == self._entries and self._combo.count() == len(entries):
            return
        self._entries = entries[self.noneEnabled :]
        blocker = QtCore.QSignalBlocker(self._combo)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay or _NONE, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        blocker.unblock()

    def _select(self, node_id: str | None) -> None:
        self._current = node_id
        self._combo.setCurrentIndex(self._combo.findData(node_id or ""))
        before, self._text = self._text, self._combo.currentText()
        if self._text != before and (before is not None or node_id is not None):  # a new selector tells of no "None"
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id or "")

    def _on_activated(self, index: int) -> None:
        self._select(self._combo.itemData(index) or None)
        self.nodeActivated.emit(self.currentNode())

    def activate(self, node: Any) -> None:
        """As the user picks a node from the list."""
        self._on_activated(self._combo.findData(node.GetID() if node is not None else ""))

    def currentNode(self) -> Any:
        """The selected node, or None."""
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        """Select a node (or its ID); one that the filters hide deselects."""
        node_id = node if isinstance(node, str) else node.GetID() if node is not None else None
        self.refresh()
        wanted, before = node_id if node_id in self._ids else None, self._current
        self._select(wanted)
        if wanted not in (None, before):
            self.nodeActivated.emit(self.currentNode())

    def setCurrentNodeID(self, node_id: str) -> None:
        """Select by ID."""
        self.setCurrentNode(node_id)

    def setCurrentNodeIndex(self, index: int) -> None:
        """Select the n-th node."""
        self.setCurrentNode(self.nodeFromIndex(index))

    def read_currentNodeID(self) -> str:
        """ID of the selected node."""
        return self._current or ""

    def write_currentNodeID(self, node_id: str) -> None:
        """Select by ID."""
        self.setCurrentNode(node_id)

    read_currentNodeId = read_currentNodeID
    write_currentNodeId = write_currentNodeID

    def currentNodeId(self) -> str:
        """ID of the selected node."""
        return self._current or ""

    def write_noneEnabled(self, _value: bool) -> None:
        """Offer "None" or not."""
        self.refresh()

    write_noneDisplay = write_noneEnabled

    def addNode(self, node_type: str = "") -> Any:
        """What "Create new ..." does."""
        chosen = node_type or next(iter(self.nodeTypes))
        node = self._scene.AddNewNodeByClass(chosen, self.baseName or "")
        for name, value in self._attributes.get(chosen, {}).items():
            node.SetAttribute(name, str(value))
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        """What "Delete current ..." does."""
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())


class CheckableNodeComboBox(NodeList):
    """Ticks any number of nodes."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._checked: set[str] = set()
        super().__init__(parent)
        self._label = QtWidgets.QLabel()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._label)

    def follow(self) -> None:
        """Follow the scene."""
        nodes = self.accepted_nodes()
        self._ids = [node.GetID() for node in nodes]
        gone = self._checked - set(self._ids)
        self._checked -= gone
        self._label.setText(", ".join(node.GetName() for node in nodes if node.GetID() in self._checked))
        if gone:
            self.checkedNodesChanged.emit()

    def checkState(self, node: Any) -> QtCore.Qt.CheckState:
        """Whether a node is ticked."""
        return QtCore.Qt.CheckState.Checked if node.GetID() in self._checked else QtCore.Qt.CheckState.Unchecked

    def setCheckState(self, node: Any, state: Any) -> None:
        """Tick a node or not."""
        ticked = state == QtCore.Qt.CheckState.Checked
        if ticked != (node.GetID() in self._checked):
            (self._checked.add if ticked else self._checked.discard)(node.GetID())
            self.refresh()
            self.checkedNodesChanged.emit()

    def checkedNodes(self) -> list[Any]:
        """The ticked nodes."""
        return [self._scene.GetNodeByID(node_id) for node_id in self._ids if node_id in self._checked]

    def uncheckedNodes(self) -> list[Any]:
        """The others."""
        return [self._scene.GetNodeByID(node_id) for node_id in self._ids if node_id not in self._checked]

    def allChecked(self) -> bool:
        """Whether every node is ticked."""
        return bool(self._ids) and not self.uncheckedNodes()

    def noneChecked(self) -> bool:
        """Whether no node is ticked."""
        return not self._checked


DEFAULTS = {
    "showChildNodeTypes": True,
    "addEnabled": True,
    "removeEnabled": True,
    "selectNodeUponCreation": True,
    "noneDisplay": _NONE,
}
