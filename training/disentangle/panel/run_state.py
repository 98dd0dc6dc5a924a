"""The states of a run and what the panel shows in each: plain Python."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..mrml.text import _


class RunState(enum.Enum):
    """Idle, then checking the interpreter, running, perhaps cancelling; after it finished or failed."""

    IDLE = "idle"
    CHECKING = "checking"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"


BUSY = (RunState.CHECKING, RunState.RUNNING, RunState.CANCELLING)


@dataclass(frozen=True)
class RunView:
    """What button, bar and status line show.

    Attributes:
        button: text of the one button.
        enabled: whether it can be pressed.
        tooltip: what it will do, or why it cannot.
        busy: whether a run is under way (the bar is shown).
        percent: 0 to 100; None where nobody knows how long it takes.
        status: one line.
    """

    button: str
    enabled: bool
    tooltip: str
    busy: bool
    percent: int | None
    status: str


class RunController:
    """The state machine of the run button.

    Args:
        clock: seconds; another one in tests.

    Attributes:
        kept: what to say where the run that is under way is cancelled and something was done before it (other studies
            of a batch); "" where nothing was.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = RunState.IDLE
        self.blocked = ""
        self.fraction: float | None = None
        self.message = ""
        self.kept = ""
        self._clock = clock
        self._started = 0.0
        self._listeners: list[Callable[[RunView], None]] = []
        self._log_listeners: list[Callable[[str], None]] = []

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.state in BUSY

    @property
    def cancelling(self) -> bool:
        """Whether the user wants it to stop."""
        return self.state is RunState.CANCELLING

    def listen(self, on_change: Callable[[RunView], None], on_log: Callable[[str], None] | None = None) -> None:
        """Be told of every change, and of log lines."""
        self._listeners.append(on_change)
        if on_log is not None:
            self._log_listeners.append(on_log)

    def block(self, reason: str) -> None:
        """Say what is missing before a run can start; "" when nothing is."""
        if reason != self.blocked:
            self.blocked = reason
            self._changed()

    def begin_check(self) -> None:
        """A run was asked for; the interpreter is looked at first."""
        if self.busy:
            raise RuntimeError("a run is under way")
        self._started, self.kept = self._clock(), ""
        self._go(RunState.CHECKING, None, _("Checking what the computation needs..."))

    def begin_run(self) -> None:
        """The worker has been given the study."""
        self._go(RunState.RUNNING, 0.0, _("Starting..."))

    def progress(self, stage: str, fraction: float, message: str = "") -> None:
        """The worker tells how far it is."""
        if self.state is RunState.RUNNING:
            self.fraction = min(max(fraction, self.fraction or 0.0), 1.0)
            self.message = message or stage
            self._changed()

    def log(self, text: str) -> None:
        """A line for the log."""
        for listener in self._log_listeners:
            listener(text)

    def cancel(self) -> None:
        """The user wants it to stop."""
        if self.state in (RunState.CHECKING, RunState.RUNNING):
            self._go(RunState.CANCELLING, None, _("Stopping..."))

    def finish(self, message: str = "") -> None:
        """The results are in the scene."""
        seconds = self._clock() - self._started
        self._go(RunState.FINISHED, 1.0, message or _("Finished in {seconds:.0f} s.").format(seconds=seconds))

    def stopped(self) -> None:
        """It was cancelled; the scene is as it was when it began."""
        self._go(RunState.IDLE, None, self.kept or _("Cancelled; nothing was changed."))

    def fail(self, message: str) -> None:
        """It did not work; ``message`` says why and what to do."""
        self._go(RunState.FAILED, None, message)

    @property
    def view(self) -> RunView:
        """What the panel shows now."""
        percent = None if self.fraction is None else round(100 * self.fraction)
        if self.state is RunState.CANCELLING:
            return RunView(_("Cancel"), False, _("The computation is being stopped."), True, None, self.message)
        if self.busy:
            tooltip = _("Stop the computation; the scene stays as it was.")
            return RunView(_("Cancel"), True, tooltip, True, percent, self._with_time_left())
        tooltip = self.blocked or _("Compute in a separate process; Slicer stays usable.")
        return RunView(_("Apply"), not self.blocked, tooltip, False, percent, self.message)

    def _with_time_left(self) -> str:
        """The message, with an estimate once a tenth is done and five seconds have passed."""
        passed = self._clock() - self._started
        if not self.fraction or self.fraction < 0.1 or passed < 5.0:
            return self.message
        left = passed * (1.0 - self.fraction) / self.fraction
        return _("{message} (about {seconds:.0f} s left)").format(message=self.message, seconds=left)

    def _go(self, state: RunState, fraction: float | None, message: str) -> None:
        self.state, self.fraction, self.message = state, fraction, message
        self.log(message)
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener(self.view)
