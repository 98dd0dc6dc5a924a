"""How well the factors are disentangled: figures, similarity matrices, plots."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from ..errors import Cancelled, InputError
from ..mrml.text import _
from . import parts
from .statistics_box import tell


class FactorPage:
    """The section "Disentanglement" of DisentangleSeg.

    Args:
        layout: the panel's.
        logic: with the methods of ``appearance_tools.py``.
    """

    def __init__(self, layout: qt.QVBoxLayout, logic: Any) -> None:
        self.logic = logic
        self.page: dict[str, Any] | None = None
        self.section, inner = parts.section(layout, "disentanglementCollapsibleButton", _("Disentanglement"))
        self.computeButton = parts.button(
            "scoreFactorsButton",
            _("Score the factors of the last run"),
            _("Similarity of the sequences' factors, how they lie, and whether anatomy and modality are independent."),
            self.compute,
            False,
        )
        inner.addWidget(self.computeButton)
        self.table = parts.Table("scoresTable", [_("Figure"), _("Value")], _("What the factors of this study show."))
        inner.addWidget(self.table.widget)
        self.meaning = parts.text_label("scoresLabel")
        inner.addWidget(self.meaning)
        self.matrix = parts.Table(
            "similarityTable", [""], _("Cosine similarity of two sequences' factors: anatomy / modality.")
        )
        inner.addWidget(self.matrix.widget)
        self.plots = qt.QComboBox()
        self.plots.objectName = "plotComboBox"
        self.plots.toolTip = _("Which plot to show.")
        self.plots.accessibleName = _("Plot")
        self.plotButton = parts.button(
            "showPlotButton", _("Show plot"), _("Show it in the plot view."), self.show_plot, False
        )
        parts.row(inner, self.plots, self.plotButton)

    def update(self, usable: bool) -> None:
        """Enable what can be done.

        Args:
            usable: whether the worker still has the factors of a run.
        """
        self.computeButton.enabled = usable

    def forget(self) -> None:
        """Another run: its factors have not been scored."""
        self.page = None
        self.plots.clear()
        self.plotButton.enabled = False
        self.table.fill([_("Figure"), _("Value")], [])
        self.meaning.text = ""
        self.matrix.fill([""], [])

    def compute(self) -> None:
        """Have the worker score the factors."""

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)
                return
            self.page = job.answer["page"]
            scores = job.answer["content"]
            rows = [[name, f"{value:.3f}"] for name, (value, _meaning) in scores.table.items()]
            self.table.fill([_("Figure"), _("Value")], rows)
            meanings = [f"{name}: {meaning}" for name, (_value, meaning) in scores.table.items()]
            self.meaning.text = "\n".join([*meanings, _("Below: similarity of anatomies / of modality factors.")])
            names = scores.sequences
            cells = [
                [a, *(f"{scores.anatomy[i, j]:.2f} / {scores.modality[i, j]:.2f}" for j in range(len(names)))]
                for i, a in enumerate(names)
            ]
            self.matrix.fill(["", *names], cells)
            self.plots.clear()
            self.plots.addItems(list(self.page["plots"]))
            self.plotButton.enabled = bool(self.page["plots"])

        try:
            self.logic.disentanglement(False, done)
        except (Cancelled, InputError) as error:
            tell(error)

    def show_plot(self) -> None:
        """Show the chosen plot."""
        chart = self.page["plots"].get(self.plots.currentText) if self.page is not None else None
        if chart is not None and slicer.mrmlScene.IsNodePresent(chart):
            self.logic.showPlot(chart)
