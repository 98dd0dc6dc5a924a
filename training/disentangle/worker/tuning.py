"""While nobody asks for anything, the bundle in use is converted for this machine, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inference import Predictor

_IDLE_S = 5.0
_NICER = 10
SWITCH = "DISENTANGLE_COMPILE"
"""Environment variable; "0" never converts anything unasked."""


class Tuner:
    """Converts bundles in the background; the next run of the bundle finds the result.

    The process has a low priority, and ends with this one: its stdin is a pipe from here.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._process: subprocess.Popen | None = None
        self._tried: set[str] = set()

    def consider(self, predictor: Predictor, idle_s: float = _IDLE_S) -> None:
        """Convert the bundle of a predictor after some seconds without a request, where that is worth it."""
        from ..inference.plan import worth_converting

        networks = predictor.networks
        if os.environ.get(SWITCH) == "0" or networks.bundle.checksum in self._tried or self._busy:
            return
        if worth_converting(networks.bundle, networks.device, networks.backend):
            self._timer = threading.Timer(idle_s, self._start, [networks.bundle.checksum, str(networks.bundle.path)])
            self._timer.daemon = True
            self._timer.start()

    def put_off(self) -> None:
        """A request has come: what has not begun yet does not begin."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _busy(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _start(self, checksum: str, path: str) -> None:
        self._tried.add(checksum)
        command = [sys.executable, "-m", "disentangle.inference.backends.convert", path, "--with-parent"]
        low = {"creationflags": 0x00004000 | 0x08000000} if sys.platform == "win32" else {}
        with contextlib.suppress(OSError):  # no process, no compiled programs: PyTorch goes on
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **low
            )
            _be_nice(self._process.pid)


def _be_nice(pid: int) -> None:
    """Lower the priority of a process that has just started: Linux lowers one thread, from which later ones inherit.

    Not a ``preexec_fn``, which can block for ever where other threads run.
    """
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + _NICER)
