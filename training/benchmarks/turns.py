"""Things that are timed in one process, taking turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Job:
    """Something that is timed.

    Attributes:
        run: what is timed, once.
        factor: by what its seconds are multiplied for a whole study.
        how: how that was found; "" where a whole study is timed.
        steady: its first run takes as long as any other, and is long: none is spent on warming up.
    """

    run: Callable[[], Any]
    factor: float = 1.0
    how: str = ""
    steady: bool = False


def in_turns(jobs: Mapping[str, Job], repeats: int, before: Callable[[], R]) -> tuple[dict[str, list[float]], list[R]]:
    """Seconds per study of every job and turn, after a turn that does not count; and what came before each turn.

    A job that returns seconds has timed itself.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    rounds = []
    for turn in range(repeats + 1):
        rounds.append(before())
        for name, job in jobs.items():
            if turn == 0 and job.steady:
                continue
            began = time.perf_counter()
            told = job.run()
            spent = told if isinstance(told, float) else time.perf_counter() - began
            if turn:
                seconds[name].append(job.factor * spent)
    return seconds, rounds
