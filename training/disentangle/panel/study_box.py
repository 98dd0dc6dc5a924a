"""A row per sequence of the model: which volume it is, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import qt
import slicer

from ..mrml.studies import assign_nodes, guess_node
from ..sequences import SEQUENCES
from .parameters import input_parameter
from .text import _


class StudyRow:
    """The widgets of one sequence."""

    def __init__(self, sequence: str, grid: qt.QGridLayout, row: int, on_change: Callable[[], None]) -> None:
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
        self.combo.toolTip = _("The {sequence} volume ({description}); leave it empty where there is none.").format(
            sequence=sequence, description=description
        )
        self.combo.setMRMLScene(slicer.mrmlScene)
        self.label.setBuddy(self.combo)
        self.guess = qt.QLabel()
        self.guess.objectName = f"{input_parameter(sequence)}Guess"
        self._on_change = on_change
        for column, widget in enumerate((self.label, self.combo, self.guess)):
            grid.addWidget(widget, row, column)
        self.combo.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        self.show_guess()

    def _changed(self, _node: slicer.vtkMRMLNode | None) -> None:
        self.show_guess()
        self._on_change()

    def show_guess(self) -> None:
        """Say what the chosen volume itself looks like."""
        node = self.combo.currentNode()
        if node is None:
            self.guess.text = _("not given")
            self.guess.toolTip = _("The model works without it, less accurately.")
            return
        guess = guess_node(node)
        self.guess.toolTip = _("{name}: {reason}.").format(name=node.GetName(), reason=guess.reason)
        if guess.sequence is None:
            self.guess.text = _("no idea")
        elif guess.sequence == self.sequence:
            self.guess.text = _("{percent} % sure").format(percent=round(100 * guess.confidence))
        else:
            self.guess.text = _("looks like {sequence}").format(sequence=guess.sequence)

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
    """

    def __init__(self, area: qt.QWidget, button: qt.QPushButton, on_change: Callable[[], None]) -> None:
        self.grid = area.layout()
        self.grid.setColumnStretch(1, 1)
        self.on_change = on_change
        self.rows: dict[str, StudyRow] = {}
        button.connect("clicked(bool)", lambda _checked=False: self.assign())

    def show(self, sequences: Iterable[str]) -> None:
        """Make a row per sequence; rows of other sequences go."""
        for row in self.rows.values():
            row.remove()
        self.rows = {
            sequence: StudyRow(sequence, self.grid, number, self.on_change) for number, sequence in enumerate(sequences)
        }

    def widgets(self) -> dict[str, slicer.qMRMLNodeComboBox]:
        """Parameter name -> combo box."""
        return {input_parameter(sequence): row.combo for sequence, row in self.rows.items()}

    def nodes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Sequence -> chosen volume."""
        chosen = {sequence: row.combo.currentNode() for sequence, row in self.rows.items()}
        return {sequence: node for sequence, node in chosen.items() if node is not None}

    def assign(self, only_empty: bool = False) -> None:
        """Choose the volumes of the scene that look most like the sequences.

        Args:
            only_empty: keep what is chosen already, and take no volume twice.
        """
        taken = {node.GetID() for node in self.nodes().values()} if only_empty else set()
        proposals = assign_nodes(slicer.mrmlScene, self.rows)
        for sequence, row in self.rows.items():
            proposal = proposals.get(sequence)
            if only_empty and (row.combo.currentNode() is not None or proposal is None):
                continue
            if proposal is not None and proposal.node.GetID() in taken:
                continue
            row.combo.setCurrentNode(proposal.node if proposal is not None else None)

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
        return ""
