"""One worker process for all panel tests of a session: each start of one costs seconds of importing torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


class SharedClient:
    """A worker client whose ``close()`` ends what runs, and leaves the process for the next test."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def close(self) -> None:
        """A request that is still under way ends with its process, as it does in Slicer."""
        if self._client.busy:
            self._client.close()


class SharedWorker:
    """Takes the place of ``panel.dependencies.make_client``."""

    def __init__(self) -> None:
        self._client: SharedClient | None = None

    def use(self) -> None:
        """Give the imported panel package this worker."""
        dependencies = importlib.import_module("disentangle.panel.dependencies")
        dependencies.make_client = self._shared(dependencies.make_client)

    def _shared(self, make: Callable[[str], Any]) -> Callable[[str], SharedClient]:
        def shared(python: str) -> SharedClient:
            if self._client is None:
                self._client = SharedClient(make(python))
            return self._client

        return shared

    def end(self) -> None:
        """End the process."""
        if self._client is not None:
            self._client._client.close()
