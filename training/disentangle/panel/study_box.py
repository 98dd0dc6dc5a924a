"""A row per sequence of the model: which volume it is, how sure that is, and what a missing one costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import qt
import slicer

from ..mrml.studies import assign_nodes, guess_node, objection, other_times
from ..mrml.text import _
from ..sequences import SEQUENCES, SURE
from .model_facts import cost_of_missing
from .parameters import input_parameter

SURE_MARK, UNSURE_MARK, NO_MARK, WRONG_MARK = "●", "◐", "○", "✕"
"""In front of each assignment: it looks so, perhaps, nothing given, it looks like something else."""


class StudyRow:
    """The widgets of one sequence."""

    def __init__(self, sequence: str, grid: qt.QGridLayout, row: int, on_change: Callable[[StudyRow], None]) -> None:
        self.sequence = sequence
        description = SEQUENCES[sequence].description
        self.label = qt.QLabel(sequence)
        self.label.toolTip = description
        self.combo = slicer.qMRMLNodeComboBox()
        self.combo.objectName = f"{input_parameter(sequence)}Selector"
        self.combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.combo.showChildNodeTypes = False
        self.combo.noneEnabled = True
        self.combo.addEnabled = False
        self.combo.removeEnabled = False
        self.combo.toolTip = _(
            "The {sequence} volume ({description}); leave it empty where there is none. A volume that is in another "
            "row changes places with this one."
        ).format(sequence=sequence, description=description)
        self.combo.setMRMLScene(slicer.mrmlScene)
        self.label.setBuddy(self.combo)
        self.guess = qt.QLabel()
        self.guess.objectName = f"{input_parameter(sequence)}Guess"
        self.before: slicer.vtkMRMLNode | None = None
        self._seen: tuple[slicer.vtkMRMLNode, Mapping[str, Any]] | None = None
        self._on_change = on_change
        for column, widget in enumerate((self.label, self.combo, self.guess)):
            grid.addWidget(widget, row, column)
        self.combo.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        self.show_guess()

    def _changed(self, _node: slicer.vtkMRMLNode | None) -> None:
        self.show_guess()
        self._on_change(self)

    def show_guess(self) -> None:
        """Say what the chosen volume itself looks like."""
        node = self.combo.currentNode()
        if node is None:
            self.guess.text = _("{mark} not given").format(mark=NO_MARK)
            self.guess.toolTip = _("The model works without it, less accurately.")
            return
        guess = guess_node(node)
        self.guess.toolTip = _("{name}: {reason}.").format(name=node.GetName(), reason=guess.reason)
        if self._seen is not None and self._seen[0] is node:
            self._show_seen(self._seen[1])
        elif guess.sequence is None:
            self.guess.text = _("{mark} no idea").format(mark=UNSURE_MARK)
        elif guess.sequence == self.sequence:
            mark = SURE_MARK if guess.confidence >= SURE else UNSURE_MARK
            self.guess.text = _("{mark} {percent} % sure").format(mark=mark, percent=round(100 * guess.confidence))
        else:
            self.guess.text = _("{mark} looks like {sequence}").format(mark=WRONG_MARK, sequence=guess.sequence)

    def seen(self, looks: Mapping[str, Any]) -> None:
        """Say what the last run saw in the image itself; that counts for more than names.

        Args:
            looks: ``inputs.SEQUENCE.looks_like`` of its report.
        """
        self._seen = self.combo.currentNode(), looks
        self.show_guess()

    def _show_seen(self, looks: Mapping[str, Any]) -> None:
        share = round(100 * looks["probabilities"].get(self.sequence, 0.0))
        self.guess.toolTip += "\n" + _("The image itself looks like {sequence} ({percent} %).").format(
            sequence=looks["sequence"], percent=round(100 * looks["confidence"])
        )
        if looks["sequence"] != self.sequence and (looks["contradicts"] or looks["confidence"] >= SURE):
            mark = WRONG_MARK if looks["contradicts"] else UNSURE_MARK  # T1Gd without enhancement looks like T1
            self.guess.text = _("{mark} looks like {sequence}").format(mark=mark, sequence=looks["sequence"])
        else:
            mark = SURE_MARK if share >= 100 * SURE else UNSURE_MARK
            self.guess.text = _("{mark} seen, {percent} % sure").format(mark=mark, percent=share)

    def remove(self) -> None:
        """Take the widgets away."""
        self.combo.disconnect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        self.combo.setMRMLScene(None)
        for widget in (self.label, self.combo, self.guess):
            widget.hide()
            widget.deleteLater()


class StudyBox:
    """The rows of the chosen model and the button that fills them.

    Args:
        area: the widget whose grid layout takes the rows.
        button: "Assign from scene".
        on_change: called when a volume was chosen.
        missing: label that says what is missing and what that means.
        meaning: sentences about missing sequences, from a model's card.
    """

    def __init__(
        self,
        area: qt.QWidget,
        button: qt.QPushButton,
        on_change: Callable[[], None],
        missing: qt.QLabel,
        meaning: Callable[[Mapping[str, Any], Iterable[str]], list[str]] = cost_of_missing,
    ) -> None:
        self.grid = area.layout()
        self.grid.setColumnStretch(1, 1)
        self.on_change = on_change
        self.missing, self._meaning = missing, meaning
        self.rows: dict[str, StudyRow] = {}
        self.card: Mapping[str, Any] = {}
        self._swapping = False
        self._hint: str | None = None
        button.connect("clicked(bool)", lambda _checked=False: self.assign())

    @contextmanager
    def as_stored(self) -> Iterator[None]:
        """While the rows are filled from a parameter node: what is stored must not be swapped around."""
        self._swapping = True
        try:
            yield
        finally:
            self._swapping = False
            for row in self.rows.values():
                row.before = row.combo.currentNode()
            self.show_missing()

    def show(self, sequences: Iterable[str], card: Mapping[str, Any] | None = None) -> None:
        """Make a row per sequence; rows of other sequences go.

        Args:
            card: the model's, for what a missing sequence costs.
        """
        self.card = card or {}
        for row in self.rows.values():
            row.remove()
        self.rows = {
            sequence: StudyRow(sequence, self.grid, number, self._changed) for number, sequence in enumerate(sequences)
        }
        self.show_missing()

    def _changed(self, row: StudyRow) -> None:
        """A volume chosen in two rows changes places: the other row gets what this one had."""
        node, before = row.combo.currentNode(), row.before
        row.before = node
        if self._swapping:
            return
        self._hint = node.GetID() if node is not None else self._hint
        twin = next((r for r in self.rows.values() if r is not row and node and r.combo.currentNode() is node), None)
        if twin is not None:
            # Later: at this moment the parameter node has not heard of the first change, and would undo it.
            qt.QTimer.singleShot(0, lambda: self._give(row, twin, node, before))
        self.show_missing()
        self.on_change()

    def _give(self, row: StudyRow, twin: StudyRow, node: slicer.vtkMRMLNode, before: slicer.vtkMRMLNode | None) -> None:
        """The second half of a swap, if both rows still have the volume."""
        rows = self.rows.values()
        if row in rows and twin in rows and row.combo.currentNode() is node and twin.combo.currentNode() is node:
            twin.combo.setCurrentNode(before)

    def seen(self, nodes: Mapping[str, slicer.vtkMRMLNode], inputs: Mapping[str, Mapping[str, Any]]) -> None:
        """Mark the rows by what a run saw in the images.

        Args:
            nodes: the volumes of the run; rows that have another one by now are left alone.
            inputs: those of its report.
        """
        for sequence, row in self.rows.items():
            looks = inputs.get(sequence, {}).get("looks_like")
            if looks and row.combo.currentNode() is nodes.get(sequence):
                row.seen(looks)

    def show_missing(self) -> None:
        """Say what is missing and what that costs, and what looks like an oversight."""
        given = self.nodes()
        missing = [name for name in self.rows if name not in given]
        lines = [*self._meaning(self.card, missing), other_times(given)] if given else []
        self.missing.text = "\n".join(line for line in lines if line)
        self.missing.visible = bool(self.missing.text)

    def widgets(self) -> dict[str, slicer.qMRMLNodeComboBox]:
        """Parameter name -> combo box."""
        return {input_parameter(sequence): row.combo for sequence, row in self.rows.items()}

    def nodes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Sequence -> chosen volume."""
        chosen = {sequence: row.combo.currentNode() for sequence, row in self.rows.items()}
        return {sequence: node for sequence, node in chosen.items() if node is not None}

    def assign(self, only_empty: bool = False, among: Iterable[str] | None = None) -> None:
        """Choose the volumes of the scene that look most like the sequences.

        Where the user has chosen a volume, the others are looked for in the study that it belongs to.

        Args:
            only_empty: keep what is chosen already, and take no volume twice.
            among: IDs of the volumes that may be chosen; None takes all.
        """
        chosen = list(self.nodes().values())
        hint = slicer.mrmlScene.GetNodeByID(self._hint) if self._hint else None
        like = hint if hint in chosen else chosen[0] if only_empty and chosen else None
        taken = {node.GetID() for node in chosen} if only_empty else set()
        proposals = assign_nodes(slicer.mrmlScene, self.rows, like=like, among=among)
        self._swapping = True
        for sequence, row in self.rows.items():
            proposal = proposals.get(sequence)
            if only_empty and (row.combo.currentNode() is not None or proposal is None):
                continue
            if proposal is not None and proposal.node.GetID() in taken:
                continue
            row.combo.setCurrentNode(proposal.node if proposal is not None else None)
            row.before = row.combo.currentNode()
        self._swapping = False
        self.show_missing()
        self.on_change()

    def problem(self) -> str:
        """Why the study cannot be used; "" where it can."""
        nodes = self.nodes()
        if not nodes:
            return _("Choose the volume of at least one sequence.")
        seen: dict[str, str] = {}
        for sequence, node in nodes.items():
            other = seen.setdefault(node.GetID(), sequence)
            if other != sequence:
                return _("{name} is chosen both as {first} and as {second}; choose it for one of them.").format(
                    name=node.GetName(), first=other, second=sequence
                )
        return objection(nodes) or ""
