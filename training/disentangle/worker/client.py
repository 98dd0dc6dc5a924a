"""The panel's side of the worker: plain Python, no Qt, never blocking unless asked to.

A panel calls :meth:`WorkerClient.submit`, then :meth:`WorkerClient.poll` from a timer, and handles the events that it
returns. Everything that goes wrong with the process itself is also such an event.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from . import PROTOCOL
from .workspace import Workspace

Event = dict[str, Any]
FINAL = ("result", "cancelled", "error")
"""The events of which every request gets exactly one."""
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]
_SCRIPT = Path(__file__).resolve().with_name("__main__.py")
_LAST_LINES = 40


def worker_python(setting: str | None = None) -> str:
    """The interpreter to use: the setting, else ``$DISENTANGLE_PYTHON``, else the running one."""
    return setting or os.environ.get("DISENTANGLE_PYTHON") or sys.executable


def worker_environment(python: str, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the worker: the package findable, and nothing of this Python's home for another Python."""
    env = dict(os.environ if base is None else base)
    own = Path(python).resolve() == Path(sys.executable).resolve()
    if not own:
        for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONEXECUTABLE"):
            env.pop(name, None)
    paths = [str(_PACKAGE_PARENT), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    env.update(PYTHONPATH=os.pathsep.join(paths), PYTHONFAULTHANDLER="1", PYTHONUNBUFFERED="1", PYTHONUTF8="1")
    return env


class _Process:
    """One run of the worker process, its two output streams read by threads into one queue of events."""

    def __init__(self, python: str, env: Mapping[str, str], workspace: Path) -> None:
        # A group of its own: Ctrl-C in a terminal does not reach it, and killing it takes its children along.
        options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
        self.popen = subprocess.Popen(
            [python, str(_SCRIPT), "--workspace", str(workspace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            **options,
        )
        self.events: queue.Queue[Event] = queue.Queue()
        self.errors: deque[str] = deque(maxlen=_LAST_LINES)
        self.ready = False
        self.started = time.monotonic()
        self._readers = [
            threading.Thread(target=self._read, args=(self.popen.stdout, self._event), daemon=True),
            threading.Thread(target=self._read, args=(self.popen.stderr, self._log), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], take: Callable[[str], None]) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                take(line.decode("utf-8", "replace").rstrip())

    def _event(self, line: str) -> None:
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError, TypeError):
            self._log(line)
        else:
            self.events.put(event)

    def _log(self, line: str) -> None:
        if line:
            self.errors.append(line)
            self.events.put({"event": "log", "text": line})

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; a process that is gone is noticed by :attr:`ended`, not here."""
        with contextlib.suppress(OSError, ValueError):
            self.popen.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self.popen.stdin.flush()

    def take(self) -> list[Event]:
        """Whatever has arrived."""
        events = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self.events.get_nowait())
        return events

    @property
    def ended(self) -> bool:
        """Whether the process has ended and all that it said has been read."""
        if self.popen.poll() is None:
            return False
        for reader in self._readers:
            reader.join(timeout=1.0)
        return True

    def kill(self) -> None:
        """End the process and its children at once."""
        if self.popen.poll() is None:
            with contextlib.suppress(OSError):
                if sys.platform == "win32":
                    # PythonSlicer is a launcher there: the Python that computes is its child.
                    subprocess.run(
                        ["taskkill", "/F", "/T", "/PID", str(self.popen.pid)],
                        capture_output=True,
                        check=False,
                        creationflags=subprocess.CREATE_NO_WINDOW,
                    )
                else:
                    os.killpg(self.popen.pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.popen.kill()
        self._release()

    def close(self, patience: float) -> None:
        """Ask the process to end, wait, and kill it if it does not."""
        self.send({"request": "close"})
        with contextlib.suppress(OSError, ValueError):
            self.popen.stdin.close()
        try:
            self.popen.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self.kill()
        self._release()

    def _release(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout=5.0)
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.close()


class WorkerClient:
    """Starts the worker on the first request and again after it ended, whatever the reason.

    Args:
        python: the interpreter; None as :func:`worker_python` chooses.
        env: the environment to start from; None takes this process's.
        grace_s: a request that is not stopped so long after :meth:`cancel` is stopped by ending the process.
        start_s: a process that does not speak so long after its start is given up.
    """

    def __init__(
        self,
        python: str | None = None,
        env: Mapping[str, str] | None = None,
        grace_s: float = 5.0,
        start_s: float = 60.0,
    ) -> None:
        self.python = worker_python(python)
        self.grace_s = grace_s
        self.start_s = start_s
        self._env = worker_environment(self.python, env)
        self._process: _Process | None = None
        self._workspace: Workspace | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[str, dict[str, Any]] = {}
        self._deadlines: dict[str, float] = {}
        self._own: list[Event] = []

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether any request has not got its final event yet."""
        return bool(self._pending)

    @property
    def pid(self) -> int | None:
        """The worker's process id; None where it does not run."""
        return self._process.popen.pid if self._process and self._process.popen.poll() is None else None

    def folder(self) -> Path:
        """A new empty folder for the data of a request; all of them vanish with :meth:`close` or :meth:`discard`."""
        return self._needed_workspace().folder()

    def discard(self, folder: str | os.PathLike[str]) -> None:
        """Delete a folder that :meth:`folder` gave, when its data have been taken."""
        workspace = self._workspace  # another thread may close it
        if workspace is not None:
            workspace.discard(Path(folder))

    def submit(self, request: Mapping[str, Any]) -> str:
        """Hand over a request (see the package's docstring) and return its id at once.

        Paths may be ``Path`` objects.
        """
        self._own = self.poll()  # a process that has ended meanwhile is noticed, and what it owed is answered
        name = str(next(self._numbers))
        plain = {k: str(v) if isinstance(v, os.PathLike) else v for k, v in request.items()}
        self._pending[name] = {**plain, "id": name}
        if self._process is None:
            self._start()
        else:
            self._process.send(self._pending[name])
        return name

    def poll(self) -> list[Event]:
        """Events since the last call, without waiting."""
        events, self._own = self._own, []
        process = self._process
        if process is None:
            return events
        ended = process.ended
        events += self._handle(process.take())
        if self._process is not process:
            pass  # it was of another version, and has been dismissed
        elif ended:
            self._after_end()
            if self._pending:
                self._start()
        elif not process.ready and time.monotonic() - process.started > self.start_s:
            process.kill()
            self._fail_all("start", f"{self.python} did not start the worker within {self.start_s:g} seconds")
        elif any(time.monotonic() > deadline for deadline in self._deadlines.values()):
            process.kill()
            self._process = None
            for name in list(self._deadlines):
                self._own.append(self._finish(name, {"event": "cancelled", "id": name}))
            if self._pending:
                self._start()
        events += self._own
        self._own = []
        return events

    def cancel(self, name: str) -> None:
        """Stop a request; its final event is "cancelled" (or "result" where that was already under way)."""
        if name not in self._pending:
            return
        if self._process is not None:
            self._process.send({"request": "cancel", "id": name})
        if name == next(iter(self._pending)):
            self._deadlines.setdefault(name, time.monotonic() + self.grace_s)
        else:
            # It has not begun: its turn to be stopped may come much later, and must not cost the running one.
            self._own.append(self._finish(name, {"event": "cancelled", "id": name}))

    def wait(self, name: str, on_event: Callable[[Event], None] | None = None, timeout_s: float | None = None) -> Event:
        """Poll until the request ends and return its final event; other events go to ``on_event``.

        Raises:
            TimeoutError: it has not ended in time.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            events = self.poll()
            final = None
            for event in events:
                if event.get("id") == name and event["event"] in FINAL:
                    final = event
                elif on_event is not None:
                    on_event(event)
            if final is not None:
                return final
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"The worker has not answered request {name} within {timeout_s:g} seconds.")
            time.sleep(0.01)

    def close(self) -> None:
        """End the worker, at once where it is busy, and delete the data of its requests."""
        if self._process is not None:
            if self.busy:
                self._process.kill()
            else:
                self._process.close(patience=2.0)
        self._process = None
        self._pending.clear()
        self._deadlines.clear()
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None

    def _needed_workspace(self) -> Workspace:
        if self._workspace is None:
            self._workspace = Workspace()
        return self._workspace

    def _start(self) -> None:
        try:
            self._process = _Process(self.python, self._env, self._needed_workspace().path)
        except OSError as error:
            self._process = None
            self._fail_all("start", f"{self.python} cannot be started ({error.strerror or error})")
            return
        for request in self._pending.values():
            self._process.send(request)
        for name in self._deadlines:
            self._process.send({"request": "cancel", "id": name})

    def _handle(self, events: list[Event]) -> list[Event]:
        kept = []
        for event in events:
            if event["event"] == "ready":
                self._process.ready = True
                if event.get("protocol") != PROTOCOL:
                    self._process.kill()
                    self._fail_all("start", f"{self.python} runs a worker of another version of Disentangle")
            elif event["event"] in FINAL:
                if event.get("id") in self._pending:
                    kept.append(self._finish(event["id"], event))
                continue
            kept.append(event)
        return kept

    def _finish(self, name: str, event: Event) -> Event:
        self._pending.pop(name, None)
        self._deadlines.pop(name, None)
        return event

    def _after_end(self) -> None:
        """The process has ended by itself: its running request fails, the waiting ones go to the next process."""
        process, self._process = self._process, None
        code = process.popen.returncode
        process.kill()
        details = "\n".join(process.errors)
        if not process.ready:
            last = f": {process.errors[-1]}" if process.errors else ""
            self._fail_all("start", f"{self.python} could not start the worker (exit code {code}{last})", details)
        elif self._pending:
            name = next(iter(self._pending))
            if name in self._deadlines:
                event = {"event": "cancelled", "id": name}
            else:
                event = {"event": "error", "id": name, "kind": "crash", "message": _crash(code), "details": details}
            self._own.append(self._finish(name, event))

    def _fail_all(self, kind: str, reason: str, details: str = "") -> None:
        self._process = None
        message = f"{reason}; choose another interpreter in the settings (Disentangle/WorkerPython)."
        for name in list(self._pending):
            event = {"event": "error", "id": name, "kind": kind, "message": message, "details": details}
            self._own.append(self._finish(name, event))


def _crash(code: int) -> str:
    if code in (-signal.SIGTERM, -9):
        reason = "it was ended from outside, perhaps because the memory was full"
    elif code < 0:
        reason = f"signal {-code}"
    else:
        reason = f"exit code {code & 0xFFFFFFFF:#x}"
    return f"The worker process stopped unexpectedly ({reason}); run again, a new one starts by itself."
