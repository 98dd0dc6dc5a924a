"""What volumes look like, told by the worker from the images alone, beside whatever the panel does. No Qt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..mrml.volumes import ijk_to_ras, image_from_node
from .background import Background
from .worker_link import Event, WorkerLink

if TYPE_CHECKING:
    import slicer

    from ..study import Image

Looks = Mapping[str, Any]
"""A :class:`disentangle.inference.recognition.Recognition` as a dictionary; empty where no brain was found."""


class Recognizer:
    """Asks the worker what volumes look like and remembers it, until a volume changes.

    It never asks the user anything: where the interpreter lacks something, or the worker fails, nothing is known.

    Args:
        link: to the worker.
        connect: makes sure that there is a worker of the interpreter that is wanted.
        ready: whether the running Slicer has what the worker needs; called in a thread.
    """

    def __init__(self, link: WorkerLink, connect: Callable[[], None], ready: Callable[[], bool]) -> None:
        self._link = link
        self._connect = connect
        self._ready = ready
        self._background = Background()
        self._known: dict[str, tuple[tuple[Any, ...], Looks | None]] = {}
        self._request: str | None = None
        self._folder: Path | None = None
        self._asked: dict[str, tuple[Any, ...]] = {}
        self._on_seen: Callable[[], None] | None = None

    @property
    def busy(self) -> bool:
        """Whether images are being looked at."""
        return self._on_seen is not None

    @property
    def handling_files(self) -> bool:
        """Whether a thread checks the interpreter or writes images: frequent polls make it quicker."""
        return self._background.busy

    def looks_of(self, node: slicer.vtkMRMLScalarVolumeNode) -> Looks | None:
        """What a volume looks like; None where that is not known, or was of another content."""
        state, looks = self._known.get(node.GetID(), ((), None))
        return looks if state == _state(node) else None

    def remember(self, node: slicer.vtkMRMLScalarVolumeNode, looks: Looks) -> None:
        """Take over what a run has seen in a volume."""
        self._known[node.GetID()] = (_state(node), looks)

    def look(self, nodes: Iterable[slicer.vtkMRMLScalarVolumeNode], on_seen: Callable[[], None]) -> bool:
        """Look at those volumes that are not known yet; ``on_seen`` is called when that is over, whatever came of it.

        Returns:
            whether there is anything to be looked at.
        """
        unknown = {node.GetID(): node for node in nodes if not self._tried(node)}
        if self.busy or not unknown:
            return False
        images = {}
        for name, node in unknown.items():
            try:
                images[name] = image_from_node(node)
            except InputError:
                continue
        self._asked = {name: _state(unknown[name]) for name in images}
        self._on_seen = on_seen
        self._connect()
        if self._link.trusted:
            self._background.start(self._ready, lambda ready: self._send(images if ready else {}), self._failed)
        else:
            check = {"request": "check", "devices": False}
            self._request = self._link.ask(check, lambda event: self._checked(event, images))
        return True

    def stop(self) -> None:
        """Let go of what is under way: a run must not wait for it."""
        if self._request is not None:
            self._link.cancel(self._request)
        if self._background.busy:  # what it writes goes with the worker's other files
            self._background, self._folder = Background(), None
        self._end()

    def poll(self) -> None:
        """Hand on what the thread has done."""
        self._background.poll()

    def _tried(self, node: slicer.vtkMRMLScalarVolumeNode) -> bool:
        return self._known.get(node.GetID(), ((), None))[0] == _state(node)

    def _checked(self, event: Event, images: Mapping[str, Image]) -> None:
        if event.get("id") != self._request:
            return  # it was stopped
        self._request = None
        ok = bool((event.get("check") or {}).get("ok"))
        if ok:
            self._link.trust()
        self._send(images if ok else {})

    def _send(self, images: Mapping[str, Image]) -> None:
        if not self.busy:
            return
        if not images:
            self._end()
            return
        self._folder = self._link.folder()
        study = self._folder / "study"
        self._background.start(
            lambda: _write(images, study),
            lambda _path: self._ask({"request": "recognize", "study": study}),
            self._failed,
        )

    def _ask(self, request: Mapping[str, Any]) -> None:
        if self.busy:
            self._request = self._link.ask(request, self._answered)

    def _answered(self, event: Event) -> None:
        if event.get("id") != self._request:
            return  # it was stopped
        found = event.get("recognised")
        if found is not None:
            self._known |= {name: (state, found.get(name) or {}) for name, state in self._asked.items()}
        elif event["event"] == "error":
            logging.info("Disentangle could not look at the images: %s", event.get("message"))
            self._known |= {name: (state, None) for name, state in self._asked.items()}  # not again
        self._end()

    def _failed(self, error: Exception) -> None:
        logging.info("Disentangle could not look at the images: %s", error)
        self._end()

    def _end(self) -> None:
        told, self._on_seen, self._request = self._on_seen, None, None
        if self._folder is not None:
            self._link.discard([self._folder])
            self._folder = None
        if told is not None:
            told()


def _write(images: Mapping[str, Image], folder: Path) -> Path:
    from ..worker.codec import write  # here: the first import takes half a second, which the thread has

    return write(dict(images), folder)


def _state(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[Any, ...]:
    """What a volume holds and how it lies: another state means that it has to be looked at again."""
    image, parent = node.GetImageData(), node.GetParentTransformNode()
    return (
        image.GetMTime() if image is not None else 0,
        ijk_to_ras(node).tobytes(),
        parent.GetTransformToWorldMTime() if parent is not None else 0,
    )
