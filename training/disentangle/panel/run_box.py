"""Apply/Cancel, progress bar, status line and log, driven by the state machine."""

from __future__ import annotations

from collections.abc import Callable

import qt

from . import parts
from .run_state import RunController, RunView


class RunBox:
    """Shows a controller's view.

    Args:
        controller: the state machine.
        button: Apply and Cancel in one.
        bar, status, log: where it shows how far it is.
        on_apply, on_cancel: what the button does.
    """

    def __init__(
        self,
        controller: RunController,
        button: qt.QPushButton,
        bar: qt.QProgressBar,
        status: qt.QLabel,
        log: qt.QPlainTextEdit,
        on_apply: Callable[[], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self.controller = controller
        self.button, self.bar, self.status, self.log = button, bar, status, log
        self._on_apply, self._on_cancel = on_apply, on_cancel
        button.connect("clicked(bool)", self._clicked)
        controller.listen(self.show, self.log.appendPlainText)
        self.show(controller.view)

    def _clicked(self, _checked: bool = False) -> None:
        if self.controller.busy:
            self._on_cancel()
        else:
            self.log.clear()
            self._on_apply()

    def show(self, view: RunView) -> None:
        """Bring the widgets up to date."""
        self.button.text = view.button
        self.button.enabled = view.enabled
        self.button.toolTip = view.tooltip
        self.bar.visible = view.busy
        if view.percent is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, 100)
            self.bar.value = view.percent
        self.status.text = view.status or view.tooltip
        self.status.toolTip = parts.plain(self.status.text)
