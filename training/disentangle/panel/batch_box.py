"""Many studies: a folder, or the patients of the scene; a table of what became of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt

from ..errors import Cancelled, InputError
from ..mrml.text import _
from . import parts
from .batch_tools import Batch, Entry, Making, refuse_while_busy, studies_in, studies_of_scene
from .run_state import RunView
from .statistics_box import tell
from .tasks import Wanted


class BatchBox:
    """The section "Batch" of both modules.

    Args:
        layout: the panel's.
        logic: starts the runs.
        sequences: of the chosen model.
        wanted: what a run computes, by the boxes of the panel.
        agree: has the user agree to the model's licence.

    Attributes:
        problem: what keeps a batch from starting, whatever the studies; "" where nothing does.
        making: from what, and like what, targets are made.
    """

    def __init__(
        self,
        layout: qt.QVBoxLayout,
        logic: Any,
        sequences: Callable[[], tuple[str, ...]],
        wanted: Callable[[], Wanted],
        agree: Callable[[], None],
    ) -> None:
        self.logic, self._sequences, self._wanted, self._agree = logic, sequences, wanted, agree
        self.problem: Callable[[], str] = lambda: ""
        self.making: Callable[[], Making] = Making
        self.batch: Batch | None = None
        self.section, inner = parts.section(layout, "batchCollapsibleButton", _("Batch"))
        self.source = qt.QComboBox()
        self.source.objectName = "batchSourceComboBox"
        self.source.toolTip = _("Studies in folders, or the patients whose volumes are in the scene.")
        self.source.accessibleName = _("Where the studies are")
        self.source.addItems([_("Folder of studies"), _("Patients of the scene")])
        self.source.connect("currentIndexChanged(int)", lambda _index: self._show_source())
        inner.addWidget(self.source)
        self.input = ctk.ctkPathLineEdit()
        self.input.objectName = "batchInputPath"
        self.input.filters = ctk.ctkPathLineEdit.Dirs
        self.input.toolTip = _("A folder that holds a folder per study; sequences are guessed from names and headers.")
        self.output = ctk.ctkPathLineEdit()
        self.output.objectName = "batchOutputPath"
        self.output.filters = ctk.ctkPathLineEdit.Dirs
        self.output.toolTip = _("Where results go: a folder per study, and batch.csv.")
        self.labels = [qt.QLabel(_("Studies:")), qt.QLabel(_("Results:"))]
        for label, line in zip(self.labels, (self.input, self.output), strict=True):
            label.setBuddy(line)
            parts.row(inner, label, line)
        self.resume = parts.check_box(
            "batchResumeCheckBox", _("Resume"), _("Leave out studies whose results are there already."), True
        )
        self.runButton = parts.button("batchRunButton", _("Run batch"), "", self.run)
        parts.row(inner, self.resume, self.runButton)
        self.table = parts.Table(
            "batchTable",
            [_("Study"), _("State"), _("Seconds"), _("Note")],
            _("What became of each study; failures do not stop the others."),
        )
        inner.addWidget(self.table.widget)
        self.status = parts.text_label("batchLabel")
        inner.addWidget(self.status)
        logic.controller.listen(self._show_state)
        self._show_state(logic.controller.view)

    def _show_state(self, view: RunView) -> None:
        """One thing is computed at a time."""
        self.runButton.enabled = not view.busy
        self.runButton.toolTip = (
            _("A computation is under way; wait for it or cancel it.")
            if view.busy
            else _("Run the model on all of them, one after the other; Cancel above stops it.")
        )

    def _show_source(self) -> None:
        for widget in (self.input, self.output, self.resume, *self.labels):
            widget.enabled = self.source.currentIndex == 0

    def run(self) -> None:
        """Start, or go on with the studies that were left when it was stopped."""
        try:
            refuse_while_busy(self.logic)
            if self.problem():
                raise InputError(self.problem())
            self._agree()
            files = self.source.currentIndex == 0
            if files and not self.input.currentPath:
                raise InputError(_("Choose the folder of studies."))
            entries = studies_in(self.input.currentPath) if files else studies_of_scene(self._sequences())
            output = self.output.currentPath if files else None
            self.batch = Batch(
                self.logic,
                entries,
                self._wanted(),
                output,
                self.resume.checked,
                lambda _entry: self.show(),
                self._done,
                self.making(),
            )
            self.show()
            self.batch.start()
        except Cancelled as error:  # the licence; a run may be under way, whose state this is not
            self.status.text = str(error)
        except InputError as error:
            tell(error)

    def show(self) -> None:
        """Bring the table up to date."""
        names = {
            "waiting": _("waiting"), "running": _("running"), "done": _("done"), "skipped": _("done before"),
            "failed": _("failed"),
        }  # fmt: skip

        def cells(entry: Entry) -> list[str]:
            note = entry.message or ", ".join(f"{name} {ml:.1f} ml" for name, ml in entry.volumes.items())
            return [entry.name, names[entry.status], f"{entry.seconds:.0f}" if entry.seconds else "", note]

        titles = [_("Study"), _("State"), _("Seconds"), _("Note")]
        self.table.fill(titles, [cells(entry) for entry in self.batch.entries])

    def _done(self, batch: Batch) -> None:
        counts = {state: sum(entry.status == state for entry in batch.entries) for state in ("failed", "waiting")}
        done = len(batch.entries) - sum(counts.values())
        self.status.text = _("{done} of {all} studies are done, {failed} failed, {waiting} were not begun.").format(
            done=done, all=len(batch.entries), **counts
        )
        self.show()
