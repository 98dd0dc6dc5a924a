"""File work beside the GUI thread: one function at a time in a thread that touches neither Qt nor MRML.

Slicer's event loop keeps the interpreter lock while it waits in C++: PythonQt takes and releases it only where
``PythonQt::setEnableThreadSupport(true)`` was called (PythonQtThreadSupport.cpp: ``_enableGILScope = false``), which
neither CTK nor Slicer does, and nobody calls ``PyEval_SaveThread``. So a thread gets on only while some Python of the
GUI thread runs, and loses its turn with every file that it writes: left to itself, the first request of a session took
4.7 s instead of 0.5, and a result of 126 arrays 2.5 s instead of 0.3. Hence :func:`let_on`: a poll waits for the thread
for a moment, which lets go of the lock, and polls have to be frequent while a thread is at work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

GIVEN_S = 0.010
"""A thread gets the interpreter for so long at a poll: a window that stands still for that is not noticed."""


def let_on(thread: threading.Thread) -> bool:
    """Let a thread get on for :data:`GIVEN_S`, or until it ends; whether it is still at work."""
    thread.join(GIVEN_S)
    return thread.is_alive()


class Background:
    """Runs functions in a thread and hands what they return to the GUI thread, where :meth:`poll` is called."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._outcome: tuple[Any, Exception | None] = (None, None)
        self._then: Callable[[Any], None] | None = None
        self._failed: Callable[[Exception], None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a function is running, or its outcome has not been taken yet."""
        return self._thread is not None

    def start(
        self, function: Callable[[], Any], then: Callable[[Any], None], failed: Callable[[Exception], None]
    ) -> None:
        """Run a function; :meth:`poll` calls ``then`` with what it returned, or ``failed`` with what it raised."""
        if self.busy:
            raise RuntimeError("a function is running already")

        def work() -> None:
            try:
                self._outcome = (function(), None)
            except Exception as error:
                self._outcome = (None, error)

        self._then, self._failed = then, failed
        self._thread = threading.Thread(target=work, name="Disentangle files", daemon=True)
        self._thread.start()

    def poll(self) -> None:
        """Let the function get on, and hand on its outcome, if there is one."""
        if self._thread is None or let_on(self._thread):
            return
        self._thread = None
        (value, error), self._outcome = self._outcome, (None, None)
        if error is not None:
            self._failed(error)
        else:
            self._then(value)

    def wait(self) -> None:
        """Let the function end and drop its outcome."""
        if self._thread is not None:
            self._thread.join()
            self._thread, self._outcome = None, (None, None)
