"""Buttons that show results in grids of linked slice views, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt

from ..errors import InputError
from ..mrml.outputs import Outputs
from .statistics_box import tell
from .view_tools import GRIDS


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
        for button, name in self.buttons:
            button.connect("clicked(bool)", lambda _checked=False, name=name: self.show(name))
        back.connect("clicked(bool)", lambda _checked=False: self.leave())
        self.update()

    def set_outputs(self, outputs: Outputs | None) -> None:
        """The run whose results the buttons show."""
        self.outputs = outputs
        self.update()

    def show(self, name: str) -> None:
        """Put a grid on screen."""
        if self.outputs is None:
            return
        try:
            self.logic.showGrid(name, self.outputs)
        except InputError as error:  # its nodes were deleted
            tell(error)
        self.update()

    def leave(self) -> None:
        """Put the layout before back on screen."""
        self.logic.previousLayout()
        self.update()

    def update(self) -> None:
        """Enable the buttons that have something to show."""
        for button, name in self.buttons:
            cells = [] if self.outputs is None else GRIDS[name](self.outputs)
            button.enabled = any(cell.volume is not None for row in cells for cell in row)
        self.back.enabled = self.logic.grids.active
