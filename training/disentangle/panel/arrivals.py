"""Volumes that come into the scene while a panel is open: files dropped in, a DICOM study loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from ..mrml.studies import ROLE

_WAIT_MS = 300
"""So long after the last one they are told of: a study comes as several volumes, and each is added to the scene before
it has its name, its attributes and its place in the subject hierarchy."""
_AGAIN_MS = 2000
"""And once more after this: while a DICOM study is loaded, Slicer lets timers run in between."""


class Arrivals:
    """Tells of new volumes, those that come together at once.

    Args:
        on_arrival: gets the IDs of the volumes that were not there before; a second time shortly after.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, on_arrival: Callable[[set[str]], None]) -> None:
        self._scene = scene
        self._on_arrival = on_arrival
        self._known = self._volumes()
        self._told: set[str] = set()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._tell)
        self._tags = [scene.AddObserver(scene.NodeAddedEvent, self._added)]
        for event in (scene.EndCloseEvent, scene.EndImportEvent):  # what an opened scene holds has been chosen before
            self._tags.append(scene.AddObserver(event, self._forget))

    def close(self) -> None:
        """Stop watching."""
        self._timer.stop()
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []

    def _added(self, *_args: Any) -> None:
        if not self._scene.IsImporting() and not self._scene.IsClosing():
            self._timer.start(_WAIT_MS)

    def _forget(self, *_args: Any) -> None:
        self._timer.stop()
        self._known, self._told = self._volumes(), set()

    def _tell(self) -> None:
        now = self._volumes()
        added, self._known = now - self._known, now
        told, self._told = self._told & now, added
        if added or told:
            self._on_arrival(added | told)
        if added:
            self._timer.start(_AGAIN_MS)

    def _volumes(self) -> set[str]:
        """IDs of the volumes of the scene; results of runs and their previews are of no interest here."""
        nodes = self._scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
        nodes.UnRegister(None)
        volumes = (nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems()))
        return {node.GetID() for node in volumes if not (node.GetAttribute(ROLE) or node.GetHideFromEditors())}
