"""Above the editor: a slider for more lesions or fewer, which the segmentation follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ctk
import qt

from ..errors import Cancelled, InputError
from ..inference.sensitivity import checked
from ..mrml.outputs import SENSITIVITY, Outputs
from ..mrml.text import _
from . import parts
from .statistics_box import tell

_REACH, _STEP = 6.0, 0.5
"""The slider doubles or halves the odds at every whole number, so many times at most."""


class SensitivityBox:
    """The row "Lesions" of DisentangleSeg.

    Args:
        layout: of the section that holds the editor.
        logic: with ``setSensitivity``.
        on_answered: called when the segmentation has changed.
    """

    def __init__(self, layout: qt.QVBoxLayout, logic: Any, on_answered: Callable[[], None]) -> None:
        self.logic, self._on_answered = logic, on_answered
        self.outputs: Outputs | None = None
        self._said, self._updating, self._asking = 0.0, False, False
        label = qt.QLabel(_("Lesions, fewer to more:"))
        self.slider = ctk.ctkSliderWidget()
        self.slider.objectName = "sensitivitySlider"
        self.slider.toolTip = _(
            "How readily a voxel is taken for a lesion; 0 is the model's own answer. On images unlike those that a "
            "model learnt from, it often draws all lesions too small, or all too large. Every step of 1 doubles, or "
            "halves, their odds. What you drew stays."
        )
        self.slider.accessibleName = _("Sensitivity to lesions")
        self.slider.decimals, self.slider.singleStep, self.slider.pageStep = 1, _STEP, 1.0
        self.slider.minimum, self.slider.maximum, self.slider.value = -_REACH, _REACH, 0.0
        self.slider.tracking = False  # the segmentation takes a moment: it follows where the slider is let go
        self.slider.connect("valueChanged(double)", lambda _value: self._slid())
        label.setBuddy(self.slider)
        parts.row(layout, label, self.slider)
        self.set_outputs(None)

    def set_outputs(self, outputs: Outputs | None, live: bool = False) -> None:
        """The run whose segmentation follows; the slider stands where it was left.

        Args:
            live: whether the worker still has its factors.
        """
        self.outputs = outputs
        self._show(self._told())
        segments = outputs is not None and outputs.segmentation is not None
        self.slider.enabled = live and segments and self.logic.runner.run.findings

    def _told(self) -> float:
        """Where the slider stands by what the segmentation tells."""
        segmentation = self.outputs.segmentation if self.outputs is not None else None
        odds = segmentation.GetAttribute(SENSITIVITY) if segmentation is not None else None
        try:
            return math.log2(checked(odds or 1))
        except InputError:  # somebody has written into the scene's file
            return 0.0

    def _show(self, value: float) -> None:
        self._said, self._updating = value, True
        self.slider.value = value
        self._updating = False

    def _slid(self) -> None:
        if not self._updating and not self._asking and self.slider.value != self._said:
            self.apply()

    def apply(self) -> None:
        """Have the worker answer with the sensitivity that the slider says."""
        outputs, value = self.outputs, self.slider.value

        def done(job: Any) -> None:
            self._asking = False
            if outputs is not self.outputs:  # another run is shown by now, or other nodes of this one
                self._show(self._told())
                return
            if job.error is not None:
                self._show(self._said)
                tell(job.error)
                return
            self._said = value
            self._on_answered()
            self._slid()  # it may have been moved on meanwhile

        self._asking = True
        try:
            self.logic.setSensitivity(outputs.segmentation, 2.0**value, False, done)
        except (Cancelled, InputError) as error:
            self._asking = False
            self._show(self._said)
            tell(error)
