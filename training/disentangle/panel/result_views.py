"""Buttons that show results in grids of linked slice views, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
import slicer

from ..errors import InputError
from ..mrml.outputs import RUN, Outputs, run_of
from .statistics_box import tell
from .turns import Turns
from .view_tools import GRIDS

STEP_SECONDS = 0.03
"""Views are made for so long at a turn; one takes 50 ms in the bench, and more where Slicer renders in software."""


class ResultViews:
    """Connects a button per grid, and one that restores the layout before.

    Args:
        logic: with the methods of ``view_tools.py``.
        buttons: button -> name of its grid.
        back: the button for the previous layout.
    """

    def __init__(self, logic: Any, buttons: Mapping[qt.QPushButton, str], back: qt.QPushButton) -> None:
        self.logic = logic
        self.buttons = list(buttons.items())
        self.back = back
        self.outputs: Outputs | None = None
        self._turns = Turns(iter(()), STEP_SECONDS)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._go_on)
        for button, name in self.buttons:
            button.connect("clicked(bool)", lambda _checked=False, name=name: self.show(name))
        back.connect("clicked(bool)", lambda _checked=False: self.leave())
        self.update()

    def set_outputs(self, outputs: Outputs | None) -> None:
        """The run whose results the buttons show."""
        if outputs is not self.outputs:
            self._timer.stop()
        self.outputs = outputs
        self.update()

    def show(self, name: str) -> None:
        """Put a grid on screen: at once where its views are there already, else when they have been made."""
        if self.outputs is not None:
            self._turns = Turns(self.logic.showingGrid(name, self.outputs), STEP_SECONDS)
            self._go_on()

    @property
    def busy(self) -> bool:
        """Whether views are being made."""
        return bool(self._timer.active)

    def _go_on(self) -> None:
        """Make views for a moment; then Slicer gets its turn."""
        try:
            if self._turns.take():
                self._timer.start(0)
                return
        except InputError as error:  # its nodes were deleted
            tell(error)
        self.update()

    def leave(self) -> None:
        """Put the layout before back on screen."""
        self._timer.stop()
        self.logic.previousLayout()
        self.update()

    def update(self) -> None:
        """Enable the buttons that have something to show."""
        for button, name in self.buttons:
            cells = [] if self.outputs is None else GRIDS[name](self.outputs)
            button.enabled = any(cell.volume is not None for row in cells for cell in row)
        self.back.enabled = self.logic.grids.active


def hide_earlier(outputs: Outputs) -> None:
    """Hide the segmentations that earlier runs made of the same first input: two in one view hide each other, and
    nobody can tell which of them an outline belongs to. They stay in the scene, and the Data module shows them."""
    first = next(iter(outputs.inputs.values()), None)
    if outputs.segmentation is None or first is None:
        return
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        run, display = node.GetAttribute(RUN), node.GetDisplayNode()
        earlier = run and run != outputs.run and next(iter(run_of(node).values()), None) is first
        if earlier and display is not None:
            display.SetVisibility(False)
