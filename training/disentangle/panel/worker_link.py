"""The worker as the panel knows it: started when it is first needed, and asked small things beside whatever runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..mrml.text import _
from ..worker.client import FINAL, WorkerClient
from .background import let_on

Event = Mapping[str, Any]


class WorkerLink:
    """Holds the client of the worker; no Qt, somebody has to poll.

    Args:
        make_client: gives a client; called when the worker is first needed, and again when ``interpreter`` changes.
        interpreter: the interpreter that the worker shall use.
        is_own: whether an interpreter is the running one, which is checked beforehand and not by the worker.
    """

    def __init__(
        self,
        make_client: Callable[[str], WorkerClient],
        interpreter: Callable[[], str],
        is_own: Callable[[str], bool],
    ) -> None:
        self._make_client = make_client
        self._interpreter = interpreter
        self._is_own = is_own
        self._python = ""
        self._checked: set[str] = set()
        self._asked: dict[str, Callable[[Event], None]] = {}
        self._discarding: list[threading.Thread] = []
        self.client: WorkerClient | None = None

    @property
    def outdated(self) -> bool:
        """Whether there is no client, or one of another interpreter than is wanted by now."""
        return self.client is None or self._interpreter() != self._python

    @property
    def trusted(self) -> bool:
        """Whether the interpreter is known to have what is needed."""
        return self._is_own(self._python) or self._python in self._checked

    def trust(self) -> None:
        """The worker has found that its interpreter has what is needed."""
        self._checked.add(self._python)

    def open(self) -> None:
        """Have a client of the interpreter that is wanted; its process starts with the first request."""
        self._python = self._interpreter()
        self.client = self._make_client(self._python)

    def submit(self, request: Mapping[str, Any]) -> str:
        """Hand over a request; its events come from :meth:`poll`."""
        return self._needed().submit(request)

    @property
    def asked(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._asked)

    def ask(self, request: Mapping[str, Any], on_answer: Callable[[Event], None]) -> str:
        """A request that is answered beside whatever runs: :meth:`poll` hands its final event to ``on_answer``."""
        name = self.submit(request)
        self._asked[name] = on_answer
        return name

    def cancel(self, name: str) -> None:
        """Stop a request; its final event says so."""
        if self.client is not None:
            self.client.cancel(name)

    def folder(self) -> Path:
        """A folder that worker and panel see, for the life of the worker."""
        return self._needed().folder()

    def discard(self, folders: Sequence[Path]) -> None:
        """Delete folders that have been exchanged, in a thread: hundreds of megabytes take a moment.

        The thread needs :meth:`poll` to get on (see ``background.py``), as long as :attr:`discarding` says so.
        """
        if self.client is not None and folders:
            thread = threading.Thread(target=_discard, args=(self.client, tuple(folders)), daemon=True)
            self._discarding.append(thread)
            thread.start()

    @property
    def discarding(self) -> bool:
        """Whether folders are being deleted."""
        return bool(self._discarding)

    def poll(self) -> list[Event]:
        """What the worker has said since the last call; answers go to those who asked."""
        while self._discarding and not let_on(self._discarding[0]):
            self._discarding.pop(0)
        events = []
        for event in self.client.poll() if self.client is not None else ():
            if event.get("id") not in self._asked:
                events.append(event)
            elif event["event"] in FINAL:
                self._asked.pop(event["id"])(event)
        return events

    def close(self) -> None:
        """End the worker; what was asked for is not answered any more."""
        while self._discarding:
            self._discarding.pop().join()
        if self.client is not None:
            self.client.close()
            self.client = None
        self._asked.clear()

    def _needed(self) -> WorkerClient:
        if self.client is None:
            raise InputError(_("The factors are no longer in memory; press Apply to compute them again."))
        return self.client


def _discard(client: WorkerClient, folders: tuple[Path, ...]) -> None:
    for folder in folders:
        client.discard(folder)
