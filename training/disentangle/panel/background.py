"""File work beside the GUI thread: one function at a time in a thread that touches neither Qt nor MRML."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


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
        """Hand on an outcome, if there is one."""
        if self._thread is None or self._thread.is_alive():
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
