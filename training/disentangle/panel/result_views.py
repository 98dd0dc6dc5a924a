"""Buttons that show results in grids of linked slice views, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
import slicer

from ..mrml.layouts import Cell, GridLayouts
from ..mrml.results import Outputs

MakeCells = Callable[[Outputs], list[list[Cell]]]


class ResultViews:
    """Connects a button per grid, and one that restores the layout before.

    Args:
        grids: the layouts.
        buttons: button -> what its grid shows.
        back: the button for the previous layout.
    """

    def __init__(self, grids: GridLayouts, buttons: Mapping[qt.QPushButton, MakeCells], back: qt.QPushButton) -> None:
        self.grids = grids
        self.buttons = list(buttons.items())
        self.back = back
        self.outputs: Outputs | None = None
        for button, make_cells in self.buttons:
            button.connect("clicked(bool)", lambda _checked=False, make_cells=make_cells: self.show(make_cells))
        back.connect("clicked(bool)", lambda _checked=False: self.leave())
        self.update()

    def set_outputs(self, outputs: Outputs | None) -> None:
        """The run whose results the buttons show."""
        self.outputs = outputs
        self.update()

    def show(self, make_cells: MakeCells) -> None:
        """Put a grid on screen."""
        if self.outputs is None:
            return
        cells = make_cells(self.outputs)
        with slicer.util.WaitCursor(), slicer.util.RenderBlocker():
            if self.outputs.segmentation is not None:
                self.grids.keep_out(self.outputs.segmentation)
            self.grids.show(cells, fit=False)
            slicer.app.processEvents()  # new views get their size, without which nothing can be fitted to them
            self.grids.fit(cells)
        self.update()

    def leave(self) -> None:
        """Put the layout before back on screen."""
        self.grids.restore()
        self.update()

    def update(self) -> None:
        """Enable the buttons that have something to show."""
        for button, make_cells in self.buttons:
            cells = [] if self.outputs is None else make_cells(self.outputs)
            button.enabled = any(cell.volume is not None for row in cells for cell in row)
        self.back.enabled = self.grids.active
