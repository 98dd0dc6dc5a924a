"""Above the Segment Editor: drawing inside a factor, and learning from what was drawn."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from ..errors import Cancelled, InputError
from ..mrml.factor_mask import channel_at, release, restrict
from ..mrml.outputs import Outputs
from ..mrml.text import _
from . import parts
from .statistics_box import tell


class EditTools:
    """What DisentangleSeg adds to the Segment Editor.

    Args:
        layout: of the section that holds the editor.
        logic: with the methods of ``segment_tools.py``.
        editor: the Segment Editor widget.
    """

    def __init__(self, layout: qt.QVBoxLayout, logic: Any, editor: Any) -> None:
        self.logic, self.editor = logic, editor
        self.outputs: Outputs | None = None
        self.channels: list[Any] = []
        self._observers: list[tuple[Any, int]] = []
        box = qt.QWidget()
        inner = qt.QVBoxLayout(box)
        inner.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)
        self.inside = parts.check_box(
            "editInsideCheckBox",
            _("Draw only inside a factor:"),
            _("Every effect changes only voxels whose strongest anatomy channel is ticked."),
            False,
            lambda _on: self.apply_mask(),
        )
        self.sequence = qt.QComboBox()
        self.sequence.objectName = "factorSequenceComboBox"
        self.sequence.toolTip = _("The sequence whose anatomy channels count.")
        self.sequence.accessibleName = _("Sequence")
        self.sequence.connect("currentIndexChanged(int)", lambda _index: self.apply_mask())
        self.pick = parts.check_box(
            "pickChannelCheckBox",
            _("Pick"),
            _("Click into a slice view: the channel there is ticked, or unticked."),
            False,
            self._toggle_picking,
        )
        parts.row(inner, self.inside, self.sequence, self.pick)
        self.area = qt.QWidget()
        self.area.objectName = "channelArea"
        self.grid = qt.QGridLayout(self.area)
        self.grid.setContentsMargins(0, 0, 0, 0)
        inner.addWidget(self.area)
        self.learnButton = parts.button(
            "learnButton",
            _("Learn from my edits"),
            _("Adapt the model's segmentation head to the slices that you corrected, in seconds; what you drew stays."),
            self.learn,
        )
        self.undoButton = parts.button(
            "undoLearningButton",
            _("Undo learning"),
            _("The model and the segmentation as they were before learning."),
            self.undo,
        )
        self.saveButton = parts.button(
            "saveModelButton", _("Save model..."), _("Store the adapted model among your own."), self.save
        )
        parts.row(inner, self.learnButton, self.undoButton, self.saveButton)
        self.status = parts.text_label("learningLabel")
        inner.addWidget(self.status)
        logic.beforeReplacing = self.save_for_undo
        self.set_outputs(None)

    def set_outputs(self, outputs: Outputs | None) -> None:
        """The run whose segmentation is edited."""
        self.remove_mask()
        self.outputs = outputs
        self.sequence.clear()
        if outputs is not None:
            self.sequence.addItems(list(outputs.argmax))
        count = max((len(c) for c in outputs.channels.values()), default=0) if outputs is not None else 0
        for box in self.channels:
            box.hide()
            box.deleteLater()
        self.channels = []
        for number in range(1, count + 1):
            box = parts.check_box(
                f"channel{number}CheckBox",
                _("channel {n}").format(n=number),
                _("Draw where channel {n} is the strongest.").format(n=number),
                False,
                lambda _on: self.apply_mask(),
            )
            self.grid.addWidget(box, (number - 1) // 4, (number - 1) % 4)
            self.channels.append(box)
        self.status.text = ""
        self.update()

    def update(self) -> None:
        """Enable what can be done."""
        there = self.outputs is not None and self.outputs.segmentation is not None
        factors = there and bool(self.outputs.argmax)
        for widget in (self.inside, self.sequence, self.pick, *self.channels):
            widget.enabled = factors
        run = self.logic.runner.run
        warm = there and run is not None and bool(run.session) and run.learns
        warm = warm and run.outputs is not None and run.outputs.run == self.outputs.run
        self.learnButton.enabled = warm
        self.undoButton.enabled = self.saveButton.enabled = warm and run.learnt > 0

    def chosen(self) -> list[int]:
        """Numbers of the ticked channels."""
        return [number for number, box in enumerate(self.channels, start=1) if box.checked]

    # -- drawing inside a factor -----------------------------------------------------------------------------------

    def apply_mask(self) -> None:
        """Restrict the editor, or let it draw everywhere."""
        node = self.editor.mrmlSegmentEditorNode()
        argmax = self.outputs.argmax.get(self.sequence.currentText) if self.outputs is not None else None
        channels = self.chosen()
        if node is None or argmax is None or not self.inside.checked or not channels:
            self.remove_mask(keep=True)
            return
        current = self.editor.currentSegmentID()
        restrict(node, self.outputs.segmentation, argmax, channels)
        if current:
            self.editor.setCurrentSegmentID(current)
        names = ", ".join(str(n) for n in channels)
        self.status.text = _("Effects change only voxels of channel {names} of {sequence}.").format(
            names=names, sequence=self.sequence.currentText
        )

    def remove_mask(self, keep: bool = False) -> None:
        """Let the editor draw everywhere.

        Args:
            keep: leave the boxes as the user ticked them.
        """
        if not keep:
            self.inside.checked = self.pick.checked = False
            self.stop_picking()
        node = self.editor.mrmlSegmentEditorNode()
        if node is not None:
            release(node, self.outputs.segmentation if self.outputs is not None else None)
        self.status.text = ""

    def pick_at(self, ras: Any) -> int:
        """Tick, or untick, the channel at a point (RAS mm); its number, 0 outside the head."""
        argmax = self.outputs.argmax.get(self.sequence.currentText) if self.outputs is not None else None
        channel = channel_at(argmax, ras) if argmax is not None else 0
        if 0 < channel <= len(self.channels):
            box = self.channels[channel - 1]
            box.checked = not box.checked
            self.inside.checked = bool(self.chosen())
            self.apply_mask()
        return channel

    def _toggle_picking(self, on: bool) -> None:
        self.stop_picking()
        if not on:
            return
        self.editor.setActiveEffect(None)  # a click must not draw
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames():
            interactor = manager.sliceWidget(name).sliceView().interactor()
            if interactor is not None:
                tag = interactor.AddObserver("LeftButtonPressEvent", self._clicked, 1.0)
                self._observers.append((interactor, tag))

    def stop_picking(self) -> None:
        """Clicks mean again what they always mean."""
        for interactor, tag in self._observers:
            interactor.RemoveObserver(tag)
        self._observers = []

    def _clicked(self, interactor: Any, _event: str) -> None:
        for observed, tag in self._observers:
            if observed is interactor:
                interactor.GetCommand(tag).SetAbortFlag(1)  # the click means nothing else
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        ras = [0.0, 0.0, 0.0]
        if crosshair is not None and crosshair.GetCursorPositionRAS(ras):
            self.pick_at(ras)

    # -- learning --------------------------------------------------------------------------------------------------

    def save_for_undo(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """Let the editor's own Undo lead back to what a segmentation is now."""
        if self.editor.segmentationNode() is segmentation:
            self.editor.saveStateForUndo()

    def learn(self) -> None:
        """Have the worker learn from the corrections."""

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)
                return
            figures = job.answer["figures"]
            self.logic.runner.run.learnt = job.answer["learnt"]
            before, after = figures["agreement"]
            self.status.text = _(
                "Learnt from {count} slices in {seconds:.0f} s: the model now agrees with {after:.0%} of the corrected "
                "voxels, before with {before:.0%}."
            ).format(count=len(figures["slices"]), seconds=figures["seconds"], after=after, before=before)
            self.update()

        self._start(lambda: self.logic.learn(self.outputs.segmentation, False, done))

    def undo(self) -> None:
        """Have the worker forget the last adaptation."""

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)
                return
            self.logic.runner.run.learnt = job.answer["learnt"]
            self.status.text = _("The model is as it was before; press Apply for what it says now.")
            self.update()

        self._start(lambda: self.logic.undoLearning(False, done, self.outputs.segmentation))

    def save(self) -> None:
        """Ask for a name and store the adapted model."""
        try:
            self.logic.sessionOf(self.outputs.run)
            base = self.logic.modelOfRun().name
        except InputError as error:  # the model may have been removed
            tell(error)
            return
        name = qt.QInputDialog.getText(
            slicer.util.mainWindow(), _("Save model"), _("Name of the model:"), qt.QLineEdit.Normal, f"{base}-adapted"
        )
        if not name:
            return

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)
                return
            self.status.text = _("Stored in {folder}.").format(folder=job.answer["bundle"])
            self.on_saved()

        self._start(lambda: self.logic.saveModel(name, False, done))

    def on_saved(self) -> None:
        """Set by the widget: a new model is on disk."""

    def _start(self, start: Any) -> None:
        try:
            start()
        except (Cancelled, InputError) as error:
            tell(error)
