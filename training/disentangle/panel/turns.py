"""Long work in the GUI thread, cut into turns between which Slicer responds."""

from __future__ import annotations

import time
from collections.abc import Iterator


class Turns:
    """Takes steps for a moment, then lets Slicer have its turn.

    A step that takes as long as the longest before would is not begun where it would not fit: the first always is.

    Args:
        steps: what is to be done. seconds: so long at a turn.
    """

    def __init__(self, steps: Iterator[None], seconds: float) -> None:
        self._steps, self._seconds, self._longest = steps, seconds, 0.0

    def take(self) -> bool:
        """Go on for a moment; whether there is more to do."""
        now = time.monotonic()
        end = now + self._seconds
        while True:
            try:
                next(self._steps)
            except StopIteration:
                return False
            before, now = now, time.monotonic()
            self._longest = max(self._longest, now - before)
            if now + self._longest > end:
                return True

    def close(self) -> None:
        """Take no more steps."""
        if hasattr(self._steps, "close"):
            self._steps.close()
