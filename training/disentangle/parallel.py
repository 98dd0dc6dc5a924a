"""Computations in threads, one for each of several items or one beside all else: SimpleITK, NumPy and compilers of
networks let go of Python's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from .errors import Cancelled
from .progress import Progress

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def in_parallel(work: Callable[[T, Progress], R], items: Sequence[T], progress: Progress | None = None) -> list[R]:
    """``[work(item, its progress) for item in items]``, as many at once as there are cores.

    The progress of all is one bar, the mean of theirs. Where one fails, the others are stopped at their next report.

    Raises:
        Exception: of the first item, in their order, that failed by itself.
    """
    progress = progress or Progress()
    workers = min(cores(), len(items))
    if workers < 2:
        return [work(item, progress.part(n / len(items), (n + 1) / len(items))) for n, item in enumerate(items)]
    done, lock, failed = [0.0] * len(items), threading.Lock(), threading.Event()

    def cancelled() -> bool:
        return failed.is_set() or (progress.cancelled is not None and progress.cancelled())

    def report(number: int) -> Progress:
        def callback(stage: str, fraction: float, message: str) -> None:
            with lock:
                done[number] = max(done[number], fraction)
                progress(stage, sum(done) / len(done), message)

        return Progress(callback, cancelled)

    def one(number: int) -> R:
        try:
            return work(items[number], report(number))
        except BaseException:
            failed.set()
            raise

    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(one, number) for number in range(len(items))]
        wait(futures)
    except BaseException:  # Ctrl-C reaches this thread only, and must not wait for the others
        failed.set()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    errors = [future.exception() for future in futures]
    # One that was stopped because another failed is not the reason.
    for error in sorted(filter(None, errors), key=lambda e: isinstance(e, Cancelled)):
        raise error
    return [future.result() for future in futures]


def in_a_thread(work: Callable[[], R]) -> Future[R]:
    """The outcome of a computation that goes on in a thread of its own."""
    with_one = ThreadPoolExecutor(1)
    future = with_one.submit(work)
    with_one.shutdown(wait=False)
    return future
