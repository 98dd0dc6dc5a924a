"""Seconds that somebody waits before a panel: first slices of a cold and of a warm worker, and a style slider."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from asking import Asker, unseen
from measuring import median_of
from whole_runs import BACKENDS

from disentangle.study import Study
from disentangle.worker.client import WorkerClient

_POSITIONS = 6
"""Of the slider; the first one waits for what the others find there."""
_REST_S = 1.0
"""Nobody is at the slider any sooner."""
MOMENTS = {
    "cold start, new study, first classes": "a new process, which loads libraries; nobody has seen the study",
    "cold start, known study, first classes": "a new process; registrations and masks are found in the cache",
    "warm, prepared, first classes": "of segmentation and factors, neither of which was asked for before",
    "warm, prepared, first factors": "of the same request",
    "warm, prepared, everything": "the whole volume of that request",
    "warm, answered, first classes": "asked again",
    "style slider, first position": "a slice of the fused anatomy in another appearance",
    "style slider, next": "the median of the further ones",
}
"""What is timed, from the click: the study is written for the worker each time, as the panels do."""


def waits(folder: Path, backend: str, bundle: str) -> dict[str, float | None]:
    """Seconds by :data:`MOMENTS`; None where the worker shows no such thing before the result.

    The visible slice is timed in a worker that is warm and has prepared the study, but has answered something else, a
    synthetic T1: what it has answered before is at hand, and would be no measurement.
    """
    study, found = unseen(Study.from_folder(folder)), dict.fromkeys(MOMENTS)
    fields = {"bundle": bundle, "backend": backend}
    with WorkerClient() as client:
        first = Asker(client, study, **fields).ask("classes", segment=True)
        found["cold start, new study, first classes"] = first.first["classes"]
    with WorkerClient() as client:
        asker = Asker(client, study, **fields)
        first = asker.ask("classes", segment=True)
        found["cold start, known study, first classes"] = first.first["classes"]
        # Stopped after its first slices, a run leaves no answers, but a worker whose programs are all compiled.
        asker.ask("classes", segment=True, factors=True)
        asker.ask(segment=False, synthesize=[study.available[0]])
        slices = asker.ask(segment=True, factors=True)
        found["warm, prepared, first classes"] = slices.first.get("classes")
        found["warm, prepared, first factors"] = slices.first.get("factors")
        found["warm, prepared, everything"] = slices.seconds
        again = asker.ask(segment=True, factors=True)
        found["warm, answered, first classes"] = again.first.get("classes")
        seconds = _slider(asker, again.final["session"], again.final["styles"])
        found["style slider, first position"], found["style slider, next"] = seconds[0], statistics.median(seconds[1:])
    return found


def _slider(asker: Asker, session: str, styles: Mapping[str, list[float]]) -> list[float]:
    """Seconds of one slice in one appearance after the other."""
    client, (sequence, style) = asker.client, next(iter(styles.items()))
    draw = {"request": "draw", "session": session, "point": asker.fields["point"], "anatomy": "fused"}
    draw.update(units={sequence: 1.0}, output=client.folder() / "slice.npy")
    time.sleep(_REST_S)
    seconds = []
    for n in range(_POSITIONS):
        began = time.perf_counter()
        final = client.wait(client.submit({**draw, "style": [v + 0.1 * n for v in style]}), timeout_s=60)
        if final["event"] != "result":
            raise RuntimeError(final["message"])
        seconds.append(time.perf_counter() - began)
    return seconds


def interactive(folder: Path, bundle: str, repeats: int) -> dict[str, dict[str, float | None]]:
    """Medians of :func:`waits` by backend, which take turns."""
    return median_of([{backend: waits(folder, backend, bundle) for backend in BACKENDS} for _ in range(repeats)])


def show(found: Mapping[str, Mapping[str, float | None]]) -> None:
    """Print the medians."""
    print(f"\nworker; seconds from the click\n{'':<42}" + "".join(f"{backend:>10}" for backend in BACKENDS))
    for moment, how in MOMENTS.items():
        cells = [found[backend].get(moment) for backend in BACKENDS]
        print(f"{moment:<42}" + "".join(f"{'-':>10}" if c is None else f"{c:>10.3f}" for c in cells) + f"   {how}")
