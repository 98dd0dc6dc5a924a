"""How long a run goes on after it was cancelled, at moments spread over it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from asking import Asker, unseen
from whole_runs import BACKENDS

from disentangle.study import Study
from disentangle.worker.client import WorkerClient

MOMENTS = 10
_ALL = {"segment": True, "factors": True, "cross_reconstructions": True}
"""What is asked for: the longest batches that a panel asks of the networks."""


def cancelled(folders: Mapping[str, Path], bundle: str, moments: int = MOMENTS) -> dict[str, Any]:
    """Seconds from a cancellation to the end of the request, by kind of study.

    Each run is of a study that nobody has seen, in a warm worker, so that every stage is cancelled once. Runs take as
    long as one that was left alone; the backends take turns from moment to moment.

    Args:
        folders: kind of study -> its folder.
        moments: in the middle of as many equal parts of a run.
    """
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        clients = {backend: stack.enter_context(WorkerClient()) for backend in BACKENDS}
        for kind, folder in folders.items():
            study = Study.from_folder(folder)

            def asker(backend: str, study: Study = study) -> Asker:
                return Asker(clients[backend], unseen(study), bundle=bundle, backend=backend)

            whole = {backend: asker(backend).ask(**_ALL).seconds for backend in BACKENDS}
            rows = []
            for n in range(moments):
                backend, part = BACKENDS[n % len(BACKENDS)], (n + 0.5) / moments
                told = asker(backend).stop_after(part * whole[backend], **_ALL)
                if isinstance(told, float):  # the run alone was slower, its worker being new
                    whole[backend] = told
                    told = asker(backend).stop_after(part * whole[backend], **_ALL)
                if not isinstance(told, float):
                    seconds, stage = told
                    row = {"at": round(part, 3), "backend": backend, "stage": stage, "seconds": round(seconds, 3)}
                    rows.append(row)
            found[kind] = summary(rows)
    return found


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Median and worst of some cancellations, with their rows."""
    seconds = [row["seconds"] for row in rows]
    return {"median": round(statistics.median(seconds), 3), "worst": max(seconds), "moments": list(rows)}


def show(found: Mapping[str, Any]) -> None:
    """Print median, worst, and each moment."""
    print("\ncancellation; seconds to the end of the run")
    for kind, of in found.items():
        each = ", ".join(f"{row['at']:.0%} {row['stage']} {row['seconds']:.2f}" for row in of["moments"])
        print(f"{kind:<14} median {of['median']:.3f}, worst {of['worst']:.3f}   ({each})")
