"""Requests to a worker, with the seconds until something comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from disentangle.study import Image, Study
from disentangle.worker.client import FINAL, WorkerClient
from disentangle.worker.codec import read, write_study

_LOOK_S = 0.002
"""How often events are asked for; the panels' timer does so every 50 ms."""
TIMEOUT_S = 600.0


def unseen(study: Study) -> Study:
    """The study somewhere else by up to a micrometre, where nobody has seen it: nothing is remembered of it."""
    shift = np.zeros((4, 4))
    shift[:3, 3] = np.random.default_rng().uniform(0, 1e-3, 3)
    images = {name: replace(image, affine=image.affine + shift) for name, image in study.images.items()}
    return Study(images, name=study.name)


def middle_of(image: Image) -> list[float]:
    """The middle of an image, LPS mm: what somebody looks at."""
    point = image.affine[:3, :3] @ ((np.array(image.grid.size) - 1) / 2) + image.affine[:3, 3]
    return [float(v) for v in point]


def shown(event: Mapping[str, Any]) -> str | None:
    """What an event gives to see before the result: "classes", "factors", "synthesized"; None of other events."""
    return {"preview": "classes", "preview_images": event.get("kind")}.get(event["event"])


@dataclass
class Answer:
    """What came of a request.

    Attributes:
        first: what was shown -> seconds until a preview first showed it, see :func:`shown`.
        stages: stage -> seconds until it was first heard of.
        seconds: until the final event.
        final: that event.
    """

    first: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    final: dict[str, Any] = field(default_factory=dict)


class Asker:
    """Asks a worker about a study.

    Args:
        client: of the worker, which starts at the first request.
        study: what it is asked about.
        fields: of every request.
    """

    def __init__(self, client: WorkerClient, study: Study, **fields: Any) -> None:
        self.client, self.study = client, study
        self.fields = {"request": "predict", "device": "cpu", "point": middle_of(study.first), **fields}

    def ask(self, until: str | None = None, **wanted: Any) -> Answer:
        """Ask and wait; the clock starts at the click, before the study is written for the worker.

        Args:
            until: stop the request as soon as a preview shows this; None waits for the result.
            wanted: fields of the request.

        Raises:
            RuntimeError: the worker could not answer.
        """
        answer, began = Answer(), time.perf_counter()
        name, place = self.submit(**wanted)
        stopped = False
        while not answer.final:
            for event in self.client.poll():
                now = time.perf_counter() - began
                if event.get("id") != name:
                    continue
                if event["event"] == "progress":
                    answer.stages.setdefault(event["stage"], now)
                elif what := shown(event):
                    read(event["output"])  # as who shows it must
                    answer.first.setdefault(what, time.perf_counter() - began)
                elif event["event"] in FINAL:
                    answer.seconds, answer.final = now, event
            if until in answer.first and not stopped:
                self.client.cancel(name)
                stopped = True
            if time.perf_counter() - began > TIMEOUT_S:
                raise RuntimeError(f"the worker has not answered within {TIMEOUT_S:g} seconds")
            time.sleep(_LOOK_S)
        if answer.final["event"] == "error":
            raise RuntimeError(f"{answer.final['message']}\n{answer.final.get('details', '')}")
        self.client.discard(place)  # shared memory holds a few studies only
        return answer

    def submit(self, **wanted: Any) -> tuple[str, Path]:
        """Write the study and hand over a request; its id, and the folder of its data."""
        place = self.client.folder()
        write_study(self.study, place / "study")
        request = {**self.fields, "study": place / "study", "output": place / "output", "preview": place / "preview"}
        return self.client.submit({**request, **wanted}), place

    def stop_after(self, seconds: float, **wanted: Any) -> tuple[float, str] | float:
        """Cancel a request some seconds after it was handed over.

        Returns:
            Seconds from the cancellation to the end, and the stage that it came in; or, where the request had ended
            before, the seconds that it took.
        """
        name, place = self.submit(**wanted)
        began, stage = time.perf_counter(), "waiting"

        def ended(each: Callable[[dict[str, Any]], None]) -> bool:
            for event in self.client.poll():
                if event.get("id") == name:
                    each(event)
                    if event["event"] in FINAL:
                        return True
            return False

        def listen(event: dict[str, Any]) -> None:
            nonlocal stage
            stage = event.get("stage", stage)

        while time.perf_counter() - began < seconds:
            if ended(listen):
                self.client.discard(place)
                return time.perf_counter() - began
            time.sleep(_LOOK_S)
        asked = time.perf_counter()
        self.client.cancel(name)
        while not ended(lambda event: None):
            if time.perf_counter() - asked > TIMEOUT_S:
                raise RuntimeError(f"the worker has not stopped within {TIMEOUT_S:g} seconds")
            time.sleep(_LOOK_S)
        stopped = time.perf_counter()
        self.client.discard(place)
        return stopped - asked, stage
