"""Sliders for the modality factor that redraw the visible slice while they are dragged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import numpy as np
import qt
import slicer

from ..errors import Cancelled, InputError
from ..mrml.cells import Cell, Grid, judged_row
from ..mrml.layouts import view_tag
from ..mrml.live import LiveVolume, point_in_view
from ..mrml.outputs import Outputs
from ..mrml.text import _
from . import parts
from .appearance_tools import FUSED, blended, units_of
from .statistics_box import tell

_MARGIN = 0.5
"""Sliders reach beyond the models' own appearances by this part of their range."""


class AppearanceBox:
    """The section "Appearance" of both modules.

    Args:
        layout: the panel's.
        logic: with the methods of ``appearance_tools.py`` and ``view_tools.py``.
        on_layout: called when a grid was shown here.
        is_here: whether the user is in the module.
    """

    def __init__(
        self, layout: qt.QVBoxLayout, logic: Any, on_layout: Callable[[], None], is_here: Callable[[], bool]
    ) -> None:
        self.logic, self.grids, self._on_layout, self._is_here = logic, logic.grids, on_layout, is_here
        self._late: tuple[Any, list[float]] | None = None
        self.outputs: Outputs | None = None
        self.live: LiveVolume | None = None
        self.uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
        self._judged: list[float] | None = None
        self._updating = False
        self._observed: tuple[Any, int] | None = None
        self.section, inner = parts.section(layout, "appearanceCollapsibleButton", _("Appearance"))
        self.anatomy = self._combo("anatomyComboBox", _("Whose anatomy is drawn; fused is that of all sequences."))
        self.first = self._combo("firstAppearanceComboBox", _("The appearance at the left end of the blend."))
        self.second = self._combo("secondAppearanceComboBox", _("The appearance at the right end of the blend."))
        parts.row(inner, _titled(_("Anatomy:"), self.anatomy), self.anatomy)
        parts.row(inner, _titled(_("From:"), self.first), self.first, _titled(_("to:"), self.second), self.second)
        self.blend = self._slider("blendSlider", _("Between the two appearances; the slice on screen follows."))
        self.blend.minimum, self.blend.maximum, self.blend.singleStep = 0.0, 1.0, 0.05
        self.blend.connect("valueChanged(double)", lambda _value: self._blend())
        inner.addWidget(self.blend)
        self.group = ctk.ctkCollapsibleGroupBox()
        self.group.title = _("Dimensions of the modality factor")
        self.group.objectName = "dimensionsGroupBox"
        self.group.toolTip = _("Each number of the modality factor by itself.")
        self.dimensions = qt.QGridLayout(self.group)
        self.group.collapsed = True
        inner.addWidget(self.group)
        self.sliders: list[Any] = []
        self.startButton = parts.button(
            "liveButton",
            _("Show live"),
            _("Show the drawn slice between the two real sequences, and draw it anew at every change."),
            self.start,
            False,
        )
        self.volumeButton = parts.button(
            "drawVolumeButton", _("Draw whole volume"), _("Draw every slice in this appearance."), self.draw_all, False
        )
        self.resetButton = parts.button(
            "resetAppearanceButton", _("Reset"), _("Back to the appearance of the blend."), self._blend, False
        )
        self.uncertaintyButton = parts.button(
            "drawnUncertaintyButton",
            _("Uncertainty"),
            _("How far the sequences disagree about what is drawn in this appearance."),
            self.judge,
            False,
        )
        parts.row(inner, self.startButton, self.volumeButton)
        parts.row(inner, self.uncertaintyButton, self.resetButton)
        self.status = parts.text_label("appearanceLabel", _("Press Apply with 'Anatomy factors' ticked first."))
        inner.addWidget(self.status)

    def set_outputs(self, outputs: Outputs | None) -> None:
        """The run whose factors are drawn; only the last run of this session can be."""
        self.stop()
        self.outputs = outputs
        styles = self._styles()
        self._updating = True
        for combo in (self.anatomy, self.first, self.second):
            combo.clear()
        if styles:
            self.anatomy.addItems([*outputs.aligned, FUSED])
            targets = list(self.logic.modelOfRun().targets)
            self.first.addItems(targets)
            self.second.addItems(targets)
            self.second.setCurrentIndex(len(targets) - 1)
            self._make_sliders(styles)
        self._updating = False
        usable = bool(styles)
        self.uncertaintyButton.enabled = usable and len(outputs.inputs) > 1
        self.startButton.enabled = self.volumeButton.enabled = self.resetButton.enabled = usable
        for widget in (self.blend, self.group, self.anatomy, self.first, self.second):
            widget.enabled = usable
        self.status.text = (
            _("Drag a slider: the slice on screen is drawn in that appearance.")
            if usable
            else _("Press Apply with 'Anatomy factors' ticked first.")
        )
        if usable:
            self._blend()

    def start(self) -> None:
        """Show the live slice beside the real ones."""
        if not self._ready():
            return
        cells = [
            [
                Cell(self.first.currentText, self.outputs.aligned.get(self.first.currentText)),
                Cell(_("live (synthetic)"), self.live.node),
                Cell(self.second.currentText, self.outputs.aligned.get(self.second.currentText)),
            ]
        ]
        self._judged = None
        self._show(cells)

    def judge(self) -> None:
        """Have the worker say how far the sequences disagree about the drawing, and show that over it."""
        style = self.style()

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)
                return
            self._late = job.answer["node"], style
            if self._is_here():
                self.show_late()

        try:
            self.logic.drawnUncertainty(style, self.uncertainty, False, done, self.outputs)
        except (Cancelled, InputError) as error:
            tell(error)

    def show_late(self) -> None:
        """Show the uncertainty that has been computed, where it is not on screen yet."""
        late, self._late = self._late, None
        if late is None or not slicer.mrmlScene.IsNodePresent(late[0]):
            return
        self.uncertainty, self._judged = late
        if self._ready():
            self._show([judged_row(_("live (synthetic)"), self.live.node, self.uncertainty)])

    def _ready(self) -> bool:
        """Whether there is a volume to draw into; made where it is not there yet."""
        try:
            if self.live is None or not self.live.there:
                self.live = self.logic.liveVolume(self.outputs)
        except InputError as error:
            tell(error)
            return False
        return True

    def _show(self, cells: Grid) -> None:
        """Put views on screen of which the second one is followed."""
        self.logic.showCells(cells, self.outputs, in_plane=True)
        self._observe(slicer.mrmlScene.GetSingletonNode(view_tag(0, 1), "vtkMRMLSliceNode"))
        self._on_layout()
        self.draw()

    def stop(self) -> None:
        """Stop following the view."""
        if self._observed is not None:
            node, tag = self._observed
            node.RemoveObserver(tag)
            self._observed = None
        self.logic.stopDrawing()
        self.live = self.uncertainty = self._judged = self._late = None

    def style(self) -> list[float]:
        """The modality factor that the sliders say."""
        return [slider.value for slider in self.sliders]

    def units(self) -> dict[str, float]:
        """In whose intensities it is drawn."""
        return units_of(self.first.currentText, self.second.currentText, self.blend.value)

    def draw(self) -> None:
        """Draw the slice on screen anew."""
        if self.live is None or not self.live.there:
            return
        if self._judged is not None:
            self.status.text = (
                _("The uncertainty is that of this appearance.")
                if self._judged == self.style()
                else _("The uncertainty is that of the appearance before; press Uncertainty again.")
            )
        tag = view_tag(0, 1) if self.grids.active else "Red"
        try:
            point = point_in_view(slicer.mrmlScene, tag)
            self.logic.drawSlice(self.live, self.anatomy.currentText, self.style(), self.units(), point)
        except InputError as error:
            self.status.text = str(error)

    def draw_all(self) -> None:
        """Draw every slice."""

        def done(job: Any) -> None:
            if job.error is not None:
                tell(job.error)

        try:
            if self.live is None or not self.live.there:
                self.live = self.logic.liveVolume(self.outputs)
            self.logic.drawVolume(self.anatomy.currentText, self.style(), self.units(), self.live, False, done)
        except (Cancelled, InputError) as error:
            tell(error)

    def _styles(self) -> dict[str, list[float]]:
        run = self.logic.runner.run
        same = run is not None and run.outputs is not None and self.outputs is not None and run.session
        if not same or run.outputs.run != self.outputs.run:
            return {}
        if not self.outputs.aligned or not run.styles:
            return {}
        return self.logic.styles()

    def _make_sliders(self, styles: dict[str, list[float]]) -> None:
        for slider in self.sliders:
            slider.hide()
            slider.deleteLater()
        values = np.array(list(styles.values()), float)
        low, high = values.min(axis=0), values.max(axis=0)
        reach = np.maximum(high - low, 1.0) * _MARGIN
        self.sliders = []
        for number in range(values.shape[1]):
            slider = self._slider(
                f"dimension{number + 1}Slider", _("Number {n} of the modality factor.").format(n=number + 1)
            )
            slider.prefix = f"z{number + 1} "
            slider.minimum, slider.maximum = float(low[number] - reach[number]), float(high[number] + reach[number])
            slider.singleStep = float((slider.maximum - slider.minimum) / 40.0)
            slider.connect("valueChanged(double)", lambda _value: self._slid())
            self.dimensions.addWidget(slider, number // 2, number % 2)
            self.sliders.append(slider)
        self.group.collapsed = self.group.collapsed  # new children follow the group

    def _blend(self) -> None:
        """Set the sliders to the blend and draw."""
        if self._updating or not self.sliders:
            return
        styles = self._styles()
        if not styles:
            return
        style = blended(styles, self.first.currentText, self.second.currentText, self.blend.value)
        self._updating = True
        for slider, value in zip(self.sliders, style, strict=True):
            slider.value = value
        self._updating = False
        self.draw()

    def _slid(self) -> None:
        if not self._updating:
            self.draw()

    def _observe(self, view: Any) -> None:
        if self._observed is not None:
            self._observed[0].RemoveObserver(self._observed[1])
        tag = view.AddObserver("ModifiedEvent", lambda *_args: self._moved())
        self._observed = (view, tag)
        self._last_point = point_in_view(slicer.mrmlScene, view_tag(0, 1))

    def _moved(self) -> None:
        """The user scrolled: that slice is drawn, too."""
        point = point_in_view(slicer.mrmlScene, view_tag(0, 1))
        if self.grids.active and point != self._last_point:
            self._last_point = point
            self.draw()

    def _combo(self, name: str, tooltip: str) -> qt.QComboBox:
        combo = qt.QComboBox()
        combo.objectName = name
        combo.toolTip = tooltip
        combo.connect("currentIndexChanged(int)", lambda _index: self._blend())
        return combo

    @staticmethod
    def _slider(name: str, tooltip: str) -> Any:
        slider = ctk.ctkSliderWidget()
        slider.objectName = name
        slider.toolTip = tooltip
        slider.decimals = 2
        slider.tracking = True
        return slider


def _titled(text: str, buddy: qt.QWidget) -> qt.QLabel:
    label = qt.QLabel(text)
    label.setBuddy(buddy)
    return label
