"""CUDA graphs: what is computed again and again on a GPU is recorded once and replayed.

The networks of this product are small, so a GPU waits for Python to launch their kernels rather than for the kernels.
A graph launches all of them at once. It reads its inputs and the weights where they lay when it was recorded: weights
that change in place are followed, weights that are moved are not.

On an H200 a slice of four sequences took 2.5 ms instead of 8.9, the same slice in another style 1.0 instead of 4.3, and
batches of 32 slices gain nothing (training/benchmarks/results/gpu.json). DISENTANGLE_CUDA_GRAPHS=0 switches it off.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

MAX_GRAPHS = 32
"""Kept at once: the encoders of four sequences, with and without style, for whole batches, the last one and a slice."""

SWITCH = "DISENTANGLE_CUDA_GRAPHS"

Record = Callable[[Callable[..., Any], tuple], Callable[[tuple], Any]]
"""(function, its arguments) -> what answers as the function does to other arguments of the same shapes."""


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A value with every tensor in its lists, tuples, dictionaries and dataclasses changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if is_dataclass(value):
        return type(value)(**{f.name: mapped(getattr(value, f.name), change) for f in fields(value)})
    return value


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in a value, in order."""
    found: list[Tensor] = []
    mapped(value, found.append)
    return found


def signature(value: Any) -> Any:
    """What two values share that one recording can serve: shapes, types and devices of tensors, all else itself."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype, value.device
    if isinstance(value, (list, tuple)):
        return tuple(signature(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, signature(item)) for key, item in value.items())
    if is_dataclass(value):
        return tuple(signature(getattr(value, f.name)) for f in fields(value))
    return value


class Replays:
    """Calls functions: the first time with a shape as they are; recorded the second time and replayed from then on.

    Args:
        record: makes a recording; None calls every function as it is, always.
        limit: recordings kept; the one that was not used for longest goes first.
    """

    def __init__(self, record: Record | None, limit: int = MAX_GRAPHS) -> None:
        self.record, self.limit = record, limit
        self._recorded: OrderedDict[Any, Callable[[tuple], Any]] = OrderedDict()
        self._seen: set[Any] = set()
        self._refused: set[Any] = set()

    def __len__(self) -> int:
        return len(self._recorded)

    def __call__(self, name: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``. The same name must always come with a function that does the same."""
        if self.record is None:
            return function(*arguments)
        key = (name, signature(arguments))
        if key not in self._recorded:
            if key in self._refused or key not in self._seen:
                self._seen.add(key)
                return function(*arguments)
            try:
                made = self.record(function, arguments)
            except RuntimeError as error:
                self._refused.add(key)
                reason = str(error).partition("\n")[0]
                logging.getLogger(__name__).info("%s runs without a CUDA graph: %s", name, reason)
                return function(*arguments)
            self._recorded[key] = made
            if len(self._recorded) > self.limit:
                self._seen.discard(self._recorded.popitem(last=False)[0])
        self._recorded.move_to_end(key)
        return self._recorded[key](arguments)

    def forget(self) -> None:
        """Drop all recordings, and what was learnt about shapes."""
        self._recorded.clear()
        self._seen.clear()
        self._refused.clear()


class CudaRecorder:
    """Records functions as CUDA graphs that share one memory pool: no two of them run at once, and what they answer
    is copied out of the pool before the next one runs.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self._pool: Any = None
        self._alive: weakref.WeakSet[Callable[[tuple], Any]] = weakref.WeakSet()

    def __call__(self, function: Callable[..., Any], arguments: tuple) -> Callable[[tuple], Any]:
        """See :data:`Record`.

        Raises:
            RuntimeError: it cannot be recorded: it looks at values on the device, say, or memory is short.
        """
        with torch.cuda.device(self.device):
            graph = torch.cuda.CUDAGraph()
            inputs = mapped(arguments, Tensor.clone)
            pool = self._pool if self._alive else None
            self._pool = None  # torch takes neither a pool whose graphs are all gone nor one of a failed recording
            pool = torch.cuda.graph_pool_handle() if pool is None else pool
            here = torch.cuda.current_stream()
            self.stream.wait_stream(here)
            with torch.cuda.stream(self.stream):
                function(*inputs)  # libraries make their plans and workspaces outside the recording
                torch.cuda.synchronize()
                # Another thread may go on using the GPU, which the default mode forbids.
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    outcome = function(*inputs)
                finally:
                    graph.capture_end()
            here.wait_stream(self.stream)
        self._pool = pool
        places = tensors_of(inputs)

        def replay(given: tuple) -> Any:
            for place, tensor in zip(places, tensors_of(given), strict=True):
                place.copy_(tensor)
            graph.replay()
            return mapped(outcome, Tensor.clone)

        self._alive.add(replay)
        return replay


def replays_on(device: torch.device, static: bool) -> Replays:
    """Graphs on a CUDA device for a system of static control flow, unless they are switched off; plain calls everywhere
    else."""
    wanted = static and device.type == "cuda" and os.environ.get(SWITCH) != "0"
    return Replays(CudaRecorder(device) if wanted else None)
