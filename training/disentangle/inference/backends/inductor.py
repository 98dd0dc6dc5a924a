"""``torch.compile`` for the reference: opt-in, since every new process compiles, more than a minute."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

_SHAPES = 64
"""Recompilations of one function: sequences, with and without styles, whole batches, the last one, a single slice."""


class Compilations:
    """Calls functions compiled by ``torch.compile``; as they are from the first failure on, which is logged.

    Takes the place of :class:`.graphs.Replays`. Compiled functions hold the weights as constants ("freezing").
    """

    def __init__(self) -> None:
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.plain = False

    def __call__(self, name: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``. The same name must always come with a function that does the same."""
        if self.plain:
            return function(*arguments)
        if name not in self._compiled:
            torch._dynamo.config.recompile_limit = max(_SHAPES, torch._dynamo.config.recompile_limit)
            self._compiled[name] = torch.compile(function, options={"freezing": True})
        try:
            return self._compiled[name](*arguments)
        except Exception as error:  # whatever a missing or failing compiler raises; a real defect comes again below
            if "out of memory" in str(error).lower():
                raise
            reason = str(error).strip().partition("\n")[0][:200]
            logging.getLogger(__name__).warning("torch.compile failed, PyTorch runs as it is: %s", reason)
            self.forget()
            return function(*arguments)

    def forget(self) -> None:
        """Functions run as they are from now on: weights are going to change."""
        self._compiled.clear()
        self.plain = True
