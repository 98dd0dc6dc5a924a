"""Looks at chosen volumes shortly after they were chosen, in the background, so that mistakes show before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer

from . import dependencies

SETTING = "Disentangle/LookAtImages"
WAIT_MS = 1000
"""A study is chosen volume by volume: so long after the last one it is looked at."""


def wanted() -> bool:
    """Whether the user wants images to be looked at beforehand; so it is until somebody says no."""
    return dependencies.setting(SETTING, "true") != "false"


def want(on: bool) -> None:
    """Look at images beforehand from now on, or not."""
    slicer.app.userSettings().setValue(SETTING, "true" if on else "false")


class ImageCheck:
    """Waits for a quiet moment and has the worker look at images.

    Args:
        logic: its ``recognize`` does it.
        nodes: gives the volumes; none where there is nothing to look at.
        on_seen: called when more is known.
    """

    def __init__(
        self,
        logic: Any,
        nodes: Callable[[], Sequence[slicer.vtkMRMLScalarVolumeNode]],
        on_seen: Callable[[], None],
    ) -> None:
        self._logic, self._nodes, self._on_seen = logic, nodes, on_seen
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._look)

    def later(self) -> None:
        """Volumes were chosen: look at them when no more come."""
        if wanted():
            self._timer.start(WAIT_MS)

    def stop(self) -> None:
        """Do not look any more."""
        self._timer.stop()

    def _look(self) -> None:
        nodes = self._nodes()
        if not nodes or not wanted():
            return
        if self._logic.runner.busy or self._logic.recognizer.busy:
            self.later()
        else:
            self._logic.recognize(nodes, wait=False, onSeen=self._on_seen)
