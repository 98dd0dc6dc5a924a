"""What the logic of both modules shows: results in grids of linked slice views, charts, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import slicer

from ..errors import InputError
from ..mrml.cells import Grid, agnostic_cells, compare_cells, cross_cells, factor_cells, uncertainty_cells
from ..mrml.layouts import GridLayouts
from ..mrml.outputs import Outputs
from ..mrml.text import _

GRIDS: dict[str, Callable[[Outputs], list]] = {
    "factors": factor_cells,
    "cross": cross_cells,
    "uncertainty": uncertainty_cells,
    "agnostic": agnostic_cells,
    "compare": compare_cells,
}
"""Name of a grid -> what it shows of the results of a run."""


class ViewTools:
    """Part of a logic; the rest of it offers ``runner``.

    Attributes:
        grids: the layouts; panel and console share them, so that the layout of before is known to both.
    """

    def __init__(self) -> None:
        self.grids = GridLayouts(slicer.mrmlScene, slicer.app.applicationLogic())

    def showGrid(self, name, outputs=None) -> None:
        """Show the results of a run in linked slice views.

        Example::

            logic.showGrid("factors")

        Args:
            name: "factors", "cross", "uncertainty", "agnostic" or "compare".
            outputs: nodes of a run; None takes the last one.

        Raises:
            InputError: there are no such results.
        """
        for _step in self.showingGrid(name, outputs):
            pass

    def showingGrid(self, name, outputs=None) -> Iterator[None]:
        """:meth:`showGrid` in steps, between which Slicer may respond: views take long to make."""
        outputs = outputs or self.lastOutputs()
        if name not in GRIDS:
            raise InputError(_("There is no grid {name!r}; choose {list}.").format(name=name, list=", ".join(GRIDS)))
        cells = GRIDS[name](outputs)
        if not any(cell.volume is not None for row in cells for cell in row):
            raise InputError(
                _("The last run has nothing to show as {name!r}; tick it and press Apply.").format(name=name)
            )
        yield from self.grids.preparing(cells)
        self.showCells(cells, outputs)

    def showCells(self, cells: Grid, outputs: Outputs, in_plane: bool = False) -> None:
        """Put a grid on screen, without the run's segmentation over it.

        Args:
            in_plane: turn every view to the slices of the first volume.
        """
        with slicer.util.WaitCursor(), slicer.util.RenderBlocker():
            if outputs.segmentation is not None:
                self.grids.keep_out(outputs.segmentation)
            self.grids.show(cells, fit=False)
            slicer.app.processEvents()  # new views get their size, without which nothing can be fitted to them
            self.grids.fit(cells, in_plane=in_plane)

    def previousLayout(self) -> None:
        """Show the view layout from before the grid again.

        Example::

            logic.previousLayout()
        """
        self.grids.restore()

    def lastOutputs(self) -> Outputs:
        """The nodes of the last run.

        Raises:
            InputError: there are none.
        """
        run = self.runner.run
        if run is None or run.outputs is None:
            raise InputError(_("There are no results yet; press Apply first."))
        return run.outputs

    @staticmethod
    def showPlot(chart) -> None:
        """Put a chart into the plot view, in a layout that has one.

        Example::

            logic.showPlot(logic.disentanglement()["plots"]["components"])
        """
        slicer.modules.plots.logic().ShowChartInLayout(chart)

    @staticmethod
    def showTable(table) -> None:
        """Put a table into the table view, in a layout that has one.

        Example::

            logic.showTable(logic.disentanglement()["tables"]["scores"])
        """
        manager = slicer.app.layoutManager()
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()
