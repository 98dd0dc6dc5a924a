"""Progress and cancellation, as every long computation of the package reports and obeys them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import Cancelled

ProgressCallback = Callable[[str, float, str], None]
"""``callback(stage, fraction, message)``: stage name, fraction of that stage in [0, 1], one line of text."""


@dataclass(frozen=True)
class Progress:
    """A callback and a cancel check that travel together through a computation.

    Args:
        callback: receives ``(stage, fraction, message)``; None reports nothing.
        cancelled: polled at every report; True raises :class:`Cancelled`.
        start, stop: the share of the whole stage that this object reports (see :meth:`part`).
    """

    callback: ProgressCallback | None = None
    cancelled: Callable[[], bool] | None = None
    start: float = 0.0
    stop: float = 1.0

    def __call__(self, stage: str, fraction: float, message: str = "") -> None:
        """Report ``fraction`` of ``stage``.

        Raises:
            Cancelled: the user asked to stop.
        """
        if self.cancelled is not None and self.cancelled():
            raise Cancelled(f"Stopped during {stage}.")
        if self.callback is not None:
            fraction = min(max(fraction, 0.0), 1.0)
            self.callback(stage, self.start + (self.stop - self.start) * fraction, message)

    def part(self, start: float, stop: float) -> Progress:
        """The same callback, its [0, 1] mapped onto [start, stop] of this object's range."""
        width = self.stop - self.start
        return Progress(self.callback, self.cancelled, self.start + width * start, self.start + width * stop)
