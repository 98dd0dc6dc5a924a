"""How fast this machine computes in fp32 at most: what shares of the peak are shares of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

_PRODUCTS = {512: 24, 1024: 8, 2048: 3}
"""Rows of square matrices -> how often they are multiplied. No size is the best everywhere: 2048 fills the caches of
some machines, 512 leaves others waiting, and on AMD some convolutions ran faster than any product of MKL."""
_CONVOLUTIONS = {(64, 128): 6, (128, 64): 6}
"""(Channels, rows and columns) of dense convolutions of 3 x 3 -> how often they run."""


def peak_gflops(cores: int = 1, quick: bool = False) -> dict[str, float]:
    """GFLOP/s of matrix products (PyTorch) and dense convolutions (OpenVINO, where it is there), best of some repeats.

    Args:
        cores: as many do the same at once, each on its own; what is returned is their sum.
        quick: one small size of each, for tests.
    """
    found = {}
    for size, repeats in list(_PRODUCTS.items())[: 1 if quick else None]:
        found[f"product of {size} x {size}"] = _product(size, cores, repeats)
    for (channels, size), repeats in list(_CONVOLUTIONS.items())[: 1 if quick else None]:
        rate = _convolution(channels, size, cores, repeats)
        if rate is not None:
            found[f"convolution of {channels} channels, {size} x {size}"] = rate
    return found


def best(rounds: list[Mapping[str, float]]) -> dict[str, float]:
    """The best of several rounds of :func:`peak_gflops`, kind by kind."""
    return {kind: round(max(found[kind] for found in rounds), 1) for kind in rounds[0]}


def rate_at_once(work: list[Callable[[], Any]], flops: float, repeats: int) -> float:
    """GFLOP/s of pieces of work that begin together, in a thread each, until the last has ended; the best repeat.

    Args:
        work: of ``flops`` operations each.
    """
    start = threading.Barrier(len(work))
    spans: list[list[tuple[float, float]]] = [[] for _ in work]

    def one(number: int) -> None:
        torch.set_num_threads(1)  # torch counts them by thread
        for _ in range(repeats + 1):
            start.wait()
            began = time.perf_counter()
            work[number]()
            spans[number].append((began, time.perf_counter()))

    threads, before = [threading.Thread(target=one, args=(n,)) for n in range(len(work))], torch.get_num_threads()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_num_threads(before)
    together = list(zip(*spans, strict=True))[1:]
    seconds = min(max(end for _, end in turn) - min(began for began, _ in turn) for turn in together)
    return len(work) * flops / seconds / 1e9


def _product(size: int, cores: int, repeats: int) -> float:
    pairs = [(torch.randn(size, size), torch.randn(size, size)) for _ in range(cores)]
    return rate_at_once([lambda a=a, b=b: torch.mm(a, b) for a, b in pairs], 2.0 * size**3, repeats)


def _convolution(channels: int, size: int, cores: int, repeats: int) -> float | None:
    try:
        import openvino
        from openvino import opset8
    except ImportError:
        return None
    image = opset8.parameter([1, channels, size, size], np.float32)
    kernels = np.random.default_rng(0).standard_normal((channels, channels, 3, 3)).astype(np.float32)
    layer = opset8.convolution(image, opset8.constant(kernels), [1, 1], [1, 1], [1, 1], [1, 1])
    settings = {
        "NUM_STREAMS": str(cores),
        "INFERENCE_NUM_THREADS": str(cores),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(openvino.Model([layer], [image]), "CPU", settings)
    requests = [compiled.create_infer_request() for _ in range(cores)]
    return rate_at_once([request.infer for request in requests], 2.0 * channels**2 * 9 * size**2, repeats)
