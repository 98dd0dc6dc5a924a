"""Volumes of the segments and regions, and their agreement with a reference."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from ..errors import Cancelled, InputError
from ..mrml.outputs import Outputs
from ..mrml.segments import fingerprint
from ..mrml.tables import statistics_table, structures_of, text_of
from ..mrml.text import _
from . import parts
from .segment_tools import grid_of

_SHOWN = {"dice": 2, "hd95_mm": 1, "asd_mm": 1}
"""Scores in the panel -> digits; the table node has three."""


class StatisticsBox:
    """The section "Volumes and comparison" of DisentangleSeg.

    Args:
        layout: the panel's.
        logic: with the methods of ``segment_tools.py``.
    """

    def __init__(self, layout: qt.QVBoxLayout, logic: Any) -> None:
        self.logic = logic
        self.outputs: Outputs | None = None
        self.scores: dict[str, dict[str, float | None]] = {}
        self._compared: tuple[Any, ...] | None = None
        self.node: slicer.vtkMRMLTableNode | None = None
        self.section, inner = parts.section(layout, "statisticsCollapsibleButton", _("Volumes and comparison"))
        self.table = parts.Table(
            "statisticsTable",
            [_("Structure"), _("ml")],
            _("Volumes of the segments as they are now, and of regions made of several."),
        )
        inner.addWidget(self.table.widget)
        self.reference = slicer.qMRMLNodeComboBox()
        self.reference.objectName = "referenceSelector"
        self.reference.nodeTypes = ["vtkMRMLSegmentationNode"]
        self.reference.noneEnabled = True
        self.reference.addEnabled = False
        self.reference.removeEnabled = False
        self.reference.toolTip = _("A segmentation to compare with, by hand for example; segments match by name.")
        self.reference.setMRMLScene(slicer.mrmlScene)
        label = qt.QLabel(_("Reference:"))
        label.setBuddy(self.reference)
        parts.row(inner, label, self.reference)
        parts.when_chosen(self.reference, self._choose_reference)
        parts.empty_where_removed(self.reference)
        self.updateButton = parts.button(
            "updateStatisticsButton",
            _("Update volumes"),
            _("Count the voxels again, after editing."),
            self.count,
        )
        self.compareButton = parts.button(
            "compareButton",
            _("Compare"),
            _("Dice, 95 % Hausdorff distance and mean surface distance against the reference."),
            self.compare,
        )
        self.tableButton = parts.button(
            "showTableButton", _("Show as table"), _("Put the figures into a table node and show it."), self.show_table
        )
        parts.row(inner, self.updateButton, self.compareButton, self.tableButton)
        self.aloneButton = parts.button(
            "singleSequencesButton",
            _("From single sequences"),
            _("Also show what each sequence alone would have given, as hidden segmentations to compare."),
            self.single_sequences,
        )
        self.show3DButton = slicer.qMRMLSegmentationShow3DButton()
        self.show3DButton.objectName = "show3DButton"
        self.show3DButton.text = _("Show 3D")
        self.show3DButton.toolTip = _("Show the surfaces of the segments in the 3D view.")
        parts.row(inner, self.aloneButton, self.show3DButton)
        self.update()

    def set_outputs(self, outputs: Outputs | None) -> None:
        """The run whose segmentation :meth:`refresh` lists from now on."""
        self.outputs, self.scores, self._compared, self.node = outputs, {}, None, None
        self.show3DButton.setSegmentationNode(self.segmentation)

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that is listed; None where there is none, or it was removed."""
        node = self.outputs.segmentation if self.outputs is not None else None
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    def refresh(self) -> None:
        """Count again and show."""
        titles = [_("Structure"), _("ml"), _("mm³")]
        rows = []
        if self.scores:  # the table node has all columns; here there is room for five
            titles[2:] = [_("Dice"), _("HD95 mm"), _("ASD mm")]
        for structure in structures_of(self.segmentation) if self.segmentation is not None else []:
            row = [structure.name, f"{structure.ml:.2f}", f"{structure.mm3:.0f}"]
            if self.scores:
                found = self.scores.get(structure.name, {})
                row[2:] = [text_of(found.get(key), digits) for key, digits in _SHOWN.items()]
            rows.append(row)
        if "everything" in self.scores:
            found = self.scores["everything"]
            rows.append([_("everything"), "", *(text_of(found.get(key), digits) for key, digits in _SHOWN.items())])
        self.table.fill(titles, rows)
        self.update()

    def count(self) -> None:
        """Count again, as the user asks for."""
        if self._present():
            self._drop_stale()
            self.refresh()

    def update(self) -> None:
        """Enable what can be done."""
        there = self.segmentation is not None
        for widget in (self.updateButton, self.tableButton, self.aloneButton, self.show3DButton):
            widget.enabled = there
        reference = self.reference.currentNode()
        self.compareButton.enabled = there and reference is not None and reference is not self.segmentation

    def compare(self) -> None:
        """Have the worker compare with the reference."""
        if not self._present():
            return
        reference = self.reference.currentNode()

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)
            elif self.reference.currentNode() is reference:
                self.scores, self._compared = job.answer["scores"], sent
                self.refresh()

        sent = self._state()
        self._start(lambda: self.logic.compareSegmentations(self.segmentation, reference, False, done))

    def _state(self) -> tuple[Any, ...] | None:
        """What is compared, as it is now; None where it cannot be."""
        reference = self.reference.currentNode()
        if self.segmentation is None or reference is None:
            return None
        try:
            volume = grid_of(self.segmentation)
            return reference.GetID(), fingerprint(self.segmentation, volume), fingerprint(reference, volume)
        except InputError:
            return None

    def _drop_stale(self) -> None:
        """Forget the scores where either segmentation is no longer what was compared."""
        if self.scores and (self._compared is None or self._state() != self._compared):
            self.scores = {}

    def _choose_reference(self) -> None:
        """Scores against one reference are not those against another."""
        node = self.reference.currentNode()
        if self.scores and (node is None or self._compared is None or node.GetID() != self._compared[0]):
            self.scores = {}
            self.refresh()
        self.update()

    def single_sequences(self) -> None:
        """Have the worker segment from each sequence alone."""
        if not self._present():
            return
        self._start(
            lambda: self.logic.singleSequences(
                self.outputs, wait=False, onDone=lambda job: tell(job.error) if job.error is not None else None
            )
        )

    def show_table(self) -> None:
        """Put the figures into a table node and show it."""
        if not self._present():
            return
        if self.node is not None and not slicer.mrmlScene.IsNodePresent(self.node):
            self.node = None
        self._drop_stale()
        self.refresh()
        structures = structures_of(self.segmentation)
        self.node = statistics_table(slicer.mrmlScene, self.segmentation, structures, self.scores, self.node)
        name = self.reference.currentNode().GetName() if self.scores else ""
        self.node.SetDescription(_("Compared with {name}.").format(name=name) if name else "")
        self.logic.showTable(self.node)

    def _present(self) -> bool:
        """Whether the segmentation is there; where it was removed, the user is told."""
        if self.segmentation is None:
            self.scores = {}
            self.refresh()
            tell(InputError(_("The segmentation is no longer in the scene; press Apply to compute it again.")))
        return self.segmentation is not None

    def _start(self, start: Any) -> None:
        try:
            start()
        except InputError as error:
            tell(error)
        except Cancelled:
            pass


def tell(error: Exception) -> None:
    if not isinstance(error, Cancelled):
        slicer.util.errorDisplay(str(error))
