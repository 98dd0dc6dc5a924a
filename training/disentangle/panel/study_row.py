"""One row of the Study box: which volume is the sequence, and what speaks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection

import qt
import slicer

from ..inference.confidence import STRANGE, SURE_LOOK
from ..inference.recognition import Recognition
from ..mrml.studies import CONFIRMED, guess_node
from ..mrml.text import _
from ..sequences import SEQUENCES
from . import parts
from .parameters import input_parameter

SURE_MARK, UNSURE_MARK, NO_MARK, WRONG_MARK = "●", "◐", "○", "✕"
"""In front of each assignment: it looks so, perhaps, nothing given, it looks like something else."""


class StudyRow:
    """The widgets of one sequence.

    Args:
        sequence: its name.
        grid, row: where they go; the row below is for the button.
        sequences: all that the model knows.
        on_change: called when another volume was chosen.
        on_leave: called when a volume is about to go from the list: removed from the scene, or hidden.
        on_use_as: called when the volume shall be used as the sequence that it looks like.
        on_keep: called when the user has said that the volume is what it is used as.
    """

    def __init__(
        self,
        sequence: str,
        grid: qt.QGridLayout,
        row: int,
        sequences: Collection[str],
        on_change: Callable[[StudyRow], None],
        on_leave: Callable[[StudyRow, slicer.vtkMRMLNode], None],
        on_use_as: Callable[[StudyRow, str], None],
        on_keep: Callable[[], None],
    ) -> None:
        self.sequence = sequence
        description = SEQUENCES[sequence].description
        self.label = qt.QLabel(sequence)
        self.label.objectName = f"{input_parameter(sequence)}Label"
        self.label.toolTip = _("{description}. Drag it onto another sequence, and the two change places.").format(
            description=description
        )
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
        self.use_as = parts.button(
            f"{input_parameter(sequence)}UseAs",
            "",
            _("Move the volume to the row of the sequence that it looks like."),
            self._use_as,
        )
        self.keep = parts.button(
            f"{input_parameter(sequence)}Keep",
            _("Keep {sequence}").format(sequence=sequence),
            _("The volume is {sequence}, whatever its image looks like: do not mention it again.").format(
                sequence=sequence
            ),
            self._keep,
        )
        self.before: slicer.vtkMRMLNode | None = None
        self._better, self._doubted, self._sequences = "", False, sequences
        self._on_change, self._on_leave, self._on_use_as, self._on_keep = on_change, on_leave, on_use_as, on_keep
        for column, widget in enumerate((self.label, self.combo, self.guess)):
            grid.addWidget(widget, 2 * row, column)
        grid.addWidget(self.use_as, 2 * row + 1, 1)
        grid.addWidget(self.keep, 2 * row + 1, 2)
        self.combo.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        self.combo.connect("nodeActivated(vtkMRMLNode*)", self._activated)
        self.combo.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", self._leaving)
        self.show()

    def _changed(self, _node: slicer.vtkMRMLNode | None) -> None:
        self._on_change(self)

    def _activated(self, _node: slicer.vtkMRMLNode | None) -> None:
        """See :func:`parts.when_chosen`; as a rule ``currentNodeChanged`` has told of it just before."""
        if self.combo.currentNode() is not self.before:
            self._on_change(self)

    def _leaving(self, node: slicer.vtkMRMLNode) -> None:
        self._on_leave(self, node)

    def _use_as(self) -> None:
        if self._better:
            self._on_use_as(self, self._better)

    def _keep(self) -> None:
        node = self.combo.currentNode()
        if node is not None:
            node.SetAttribute(CONFIRMED, self.sequence)
            self._on_keep()

    @property
    def confirmed(self) -> bool:
        """Whether the user has said that the chosen volume is this sequence."""
        node = self.combo.currentNode()
        return node is not None and node.GetAttribute(CONFIRMED) == self.sequence

    @property
    def named(self) -> str:
        """The sequence that name or header of the chosen volume surely tell; "" where they do not."""
        node = self.combo.currentNode()
        guess = guess_node(node) if node is not None else None
        return guess.sequence if guess is not None and guess.sequence and guess.sure else ""

    def show(self, looks: Recognition | None = None, contradicted: bool = False, no_brain: bool = False) -> None:
        """Say what the chosen volume looks like. What name and header surely tell is not overruled by the image: it is
        a doubt that the user can put aside.

        Args:
            looks: what the image itself looks like; None where that is not known.
            contradicted: whether it surely looks like another sequence.
            no_brain: whether it does not look like a brain.
        """
        node = self.combo.currentNode()
        self._better, self._doubted = "", False
        if self.confirmed:
            self.guess.text = _("{mark} kept").format(mark=SURE_MARK)
            self.guess.toolTip = _("You have said that {name} is {sequence}.").format(
                name=node.GetName(), sequence=self.sequence
            )
        elif node is None:
            self.guess.text = _("{mark} not given").format(mark=NO_MARK)
            self.guess.toolTip = _("The model works without it, less accurately.")
        elif no_brain:
            self.guess.text = _("{mark} no brain seen").format(mark=WRONG_MARK)
            self.guess.toolTip = _("{name} does not look like a brain; check what it shows.").format(
                name=node.GetName()
            )
        elif looks is None:
            self._show_guess(node)
        else:
            self._show_looks(node, looks, contradicted)
        self.guess.toolTip = parts.plain(self.guess.toolTip)
        self.use_as.visible = bool(self._better)
        self.keep.visible = self._doubted
        self.use_as.text = _("Use as {sequence}").format(sequence=self._better)

    def _show_guess(self, node: slicer.vtkMRMLNode) -> None:
        guess = guess_node(node)
        self.guess.toolTip = _("{name}: {reason}.").format(name=node.GetName(), reason=guess.reason)
        if guess.sequence is None:
            self.guess.text = _("{mark} no idea").format(mark=UNSURE_MARK)
        elif guess.sequence == self.sequence:
            mark = SURE_MARK if guess.sure else UNSURE_MARK
            self.guess.text = _("{mark} {percent} % sure").format(mark=mark, percent=round(100 * guess.confidence))
        else:
            self.guess.text = _("{mark} looks like {sequence}").format(mark=WRONG_MARK, sequence=guess.sequence)
            self._offer(guess.sequence)

    def _show_looks(self, node: slicer.vtkMRMLNode, looks: Recognition, contradicted: bool) -> None:
        told = {"name": node.GetName(), "reason": guess_node(node).reason, "sequence": looks.sequence}
        self.guess.toolTip = _("{name}: {reason}. The image itself looks like {sequence} ({percent} %).").format(
            percent=round(100 * looks.confidence), **told
        )
        if contradicted:
            mark = UNSURE_MARK if self.named == self.sequence else WRONG_MARK
            self.guess.text = _("{mark} looks like {sequence}").format(mark=mark, sequence=looks.sequence)
            self._offer(looks.sequence)
        elif self.named not in ("", self.sequence):
            self.guess.text = _("{mark} named {sequence}").format(mark=UNSURE_MARK, sequence=self.named)
            self._offer(self.named)
        elif looks.orientation != "upright":
            self.guess.text = _("{mark} {orientation}").format(mark=WRONG_MARK, orientation=looks.orientation)
        elif looks.distance > STRANGE:
            self.guess.text = _("{mark} looks unusual").format(mark=UNSURE_MARK)
        elif self.named and looks.probability_of(self.sequence) < SURE_LOOK:
            self.guess.text = _("{mark} by its name").format(mark=SURE_MARK)
        elif looks.sequence != self.sequence and looks.confidence >= SURE_LOOK:
            # T1Gd without enhancement looks like T1.
            self.guess.text = _("{mark} looks like {sequence}").format(mark=UNSURE_MARK, sequence=looks.sequence)
        else:
            share = looks.probability_of(self.sequence)
            mark = SURE_MARK if share >= SURE_LOOK else UNSURE_MARK
            self.guess.text = _("{mark} seen, {percent} % sure").format(mark=mark, percent=round(100 * share))

    def _offer(self, sequence: str) -> None:
        self._better, self._doubted = sequence if sequence in self._sequences else "", True
        self.use_as.toolTip = _(
            "The volume may be {better}, not {sequence}: move it to the row of {better}; a volume that is there "
            "comes here."
        ).format(better=sequence, sequence=self.sequence)

    def remove(self) -> None:
        """Take the widgets away."""
        self.combo.disconnect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        self.combo.disconnect("nodeActivated(vtkMRMLNode*)", self._activated)
        self.combo.disconnect("nodeAboutToBeRemoved(vtkMRMLNode*)", self._leaving)
        self.combo.setMRMLScene(None)
        for widget in (self.label, self.combo, self.guess, self.use_as, self.keep):
            widget.hide()
            widget.deleteLater()
