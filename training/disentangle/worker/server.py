"""The worker's side. Up to the first prediction it imports nothing but the standard library."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import __version__, unfinished
from ..errors import Cancelled, InputError
from ..progress import Progress
from . import PROTOCOL
from .checks import check_interpreter
from .live import Live
from .resume import ASKED, asked_for, earlier_report
from .tuning import Tuner
from .workspace import delete

if TYPE_CHECKING:
    from .codec import StudyReader

_SECONDS_BETWEEN_PROGRESS = 0.05
_REST_S = 300.0
_WANTED = (
    "segment",
    "synthesize",
    "factors",
    "cross_reconstructions",
    "probabilities",
    "uncertainty",
    "leave_out_target",
    "point",
    "confirmed",
    "sensitivity",
)
"""Fields of a request that are arguments of :meth:`disentangle.inference.Predictor.run`."""


class Server:
    """Reads requests in a thread, runs them one after the other in the main thread, writes events.

    Args:
        requests: where requests come from; its end means that the parent is gone.
        events: where events go, and nothing else.
        workspace: folder that is deleted when the parent dies without having done so (patients' images lie there).
        rest_s: without a request for so long, the memory of a GPU is given back; the next request takes it again.
    """

    def __init__(
        self, requests: BinaryIO, events: BinaryIO, workspace: Path | None = None, rest_s: float = _REST_S
    ) -> None:
        self._requests = requests
        self._events = events
        self._workspace = workspace
        self._rest_s = rest_s
        self._lock = threading.Lock()
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._stop: dict[str, threading.Event] = {}
        self._predictor: tuple[tuple[Any, ...], Any] | None = None
        self._live = Live()
        self._studies: StudyReader | None = None
        self._tuner = Tuner()

    def run(self) -> int:
        """Serve until asked to close."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        self.send("ready", protocol=PROTOCOL, version=__version__, python=platform.python_version(), pid=os.getpid())
        while True:
            request = self._next()
            if request is None:
                return 0
            self._tuner.put_off()
            self._answer(request)
            if self._predictor is not None:
                self._tuner.consider(self._predictor[1])

    def _next(self) -> dict[str, Any] | None:
        """The next request; while it keeps us waiting, a GPU is left to others."""
        try:
            return self._queue.get(timeout=self._rest_s)
        except queue.Empty:
            if self._predictor is not None:
                self._live.rest()
                self._predictor[1].networks.rest()
            return self._queue.get()

    def _listen(self) -> None:
        closing = False
        for line in self._requests:
            try:
                request = json.loads(line)
                kind = request["request"]
                name = str(request.get("id", ""))
            except (ValueError, KeyError, TypeError, AttributeError):
                self.send("error", id=None, kind="failure", message="A request could not be understood.", details="")
                continue
            if kind == "cancel":
                stop = self._stop.get(name)
                if stop is not None:
                    stop.set()
            elif kind == "close":
                closing = True
                self._queue.put(None)
            else:
                self._stop[name] = threading.Event()
                self._queue.put(request)
        if not closing:
            self._abandon()

    def _abandon(self) -> None:
        """The parent is gone: nobody wants the result, and long native code cannot be asked to stop."""
        with unfinished.finishing:  # nothing is begun or moves to its destination any more
            if self._workspace is not None:
                delete(self._workspace)
            unfinished.discard()
            os._exit(0)

    def send(self, event: str, **fields: Any) -> None:
        """Write one event; safe from any thread."""
        line = json.dumps({"event": event, **fields}).encode("ascii") + b"\n"
        with self._lock:
            try:
                self._events.write(line)
                self._events.flush()
            except (OSError, ValueError):
                self._abandon()

    def _answer(self, request: dict[str, Any]) -> None:
        name = str(request.get("id", ""))
        stop = self._stop[name]
        try:
            if stop.is_set():
                raise Cancelled("Stopped before it began.")
            own = {"check": self._check, "predict": self._predict, "batch": self._batch, "compare": self._compare}
            own |= {"model": self._model, "recognize": self._recognize}
            handler = {**own, **dict.fromkeys(self._live.handlers, self._live.answer)}.get(request["request"])
            if handler is None:
                raise InputError(f"The worker does not know the request {request['request']!r}; update it.")
            if self._predictor is not None:
                self._predictor[1].networks.wake()
            answer = handler(request, Progress(_Throttle(self, name), stop.is_set))
            self.send("result", id=name, **answer)
        except Cancelled:
            self.send("cancelled", id=name)
        except InputError as error:
            self.send("error", id=name, kind="input", message=str(error), details="")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.send("error", id=name, kind="failure", message=_explain(error), details=traceback.format_exc())
        finally:
            del self._stop[name]

    def _check(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return {"check": check_interpreter(bool(request.get("devices", True)))}

    def _predict(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        progress("load", 0.0, "loading libraries")
        from .codec import StudyReader, read_study, write, write_result

        self._live.forget()
        self._studies = self._studies or StudyReader()
        study = self._studies.read(request["study"])
        predictor = self.predictor(request)
        wanted = {name: request[name] for name in _WANTED if name in request}
        if "preview" in request:
            name, place = request["id"], request["preview"]
            wanted["preview"] = lambda slab: self.send("preview", id=name, output=str(write(slab, place)))
            # A folder each: the client may still read what came before.
            wanted["preview_images"] = lambda kind, images: self.send(
                "preview_images", id=name, kind=kind, output=str(write(images, f"{place}-{kind}"))
            )
        if "examples" in request:
            wanted["style_images"] = read_study(request["examples"]).images
        result = predictor.run(study, progress=progress, **wanted)
        progress("results", 1.0, "handing over the results")
        write_result(result, request["output"])
        session = predictor.session
        self._live.keep(request["id"], session)
        styles = {name: [float(v) for v in z] for name, z in session.styles().items()}
        return {
            "output": str(request["output"]),
            "session": request["id"],
            "styles": styles,
            "learns": session.learner.possible and result.segmentation is not None,
            "findings": bool(session.network.capabilities.findings) and result.segmentation is not None,
            "learnt": session.learner.learnt,
        }

    def _batch(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """One study from files to files; its report comes back."""
        from ..bundles import find_bundle
        from ..study import Study

        folder, bundle = Path(request["output"]), find_bundle(request["bundle"])
        looks, digest = _looks(request["study"]) if "study" in request else ({}, "")
        asked = asked_for(request, bundle, digest)
        report = earlier_report(folder, asked, bundle) if request.get("resume") else None
        if report is not None:
            return {"output": str(folder), "report": report, "skipped": True}
        progress("load", 0.0, f"reading {folder.name}")
        if "files" in request:
            study = Study.read([(name, path) for name, path in request["files"]], request.get("time_point"))
        else:
            study = Study.from_folder(request["folder"], request.get("time_point"))
        if request.get("source"):
            study = study.subset([request["source"]])
        self._live.forget()
        self._studies = None  # frees the study before
        predictor = self.predictor(request)
        predictor.networks.restore()  # what was learnt on one study in the panel is nothing for a series of them
        wanted = {name: request[name] for name in _WANTED if name in request}
        result = predictor.run(study, style_images=looks, progress=progress, **wanted)
        result.report[ASKED] = asked
        result.write(folder)
        return {"output": str(folder), "report": result.report, "skipped": False}

    def _model(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        from ..bundles import add_bundle, verify_bundle

        action = {"add": add_bundle, "verify": verify_bundle}[request["action"]]
        return {"name": action(request["path"]).name}

    def _recognize(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Which sequences images are, as they look; those in which no brain is found are left out."""
        from ..inference.confidence import recognise_images
        from .codec import read

        found = recognise_images(read(request["study"]), progress)
        return {"recognised": {name: what.to_dict() for name, what in found.items()}}

    def _compare(self, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
        from .codec import read
        from .scoring import compare_masks

        masks = read(request["study"])
        pairs = {name: (found > 0, truth > 0) for name, (found, truth) in masks["pairs"].items()}
        return {"scores": compare_masks(pairs, masks["spacing"], progress)}

    def predictor(self, request: dict[str, Any]) -> Any:
        """The predictor of the last run where it fits; a bundle that changed on disk is loaded anew."""
        from ..bundles import find_bundle
        from ..inference import Predictor

        bundle = find_bundle(request["bundle"])
        where = {"device": request.get("device", "auto"), "backend": request.get("backend", "auto")}
        where.update(fast=bool(request.get("fast", False)), threads=request.get("threads"))
        where.update(precision=request.get("precision", "fp32"))
        # The card too: its rules (islands, coherence, preprocessing) may change while the weights stay.
        card = json.dumps(bundle.card, sort_keys=True, default=str)
        key = (str(bundle.path), bundle.checksum, card, bundle.fast, *where.values())
        if self._predictor is None or self._predictor[0] != key:
            self._predictor = None  # frees the previous model before the next one is loaded
            self._predictor = (key, Predictor(bundle, **where))
        return self._predictor[1]


class _Throttle:
    """A progress callback that sends some twenty events a second, and every change of stage."""

    def __init__(self, server: Server, request: str) -> None:
        self._server = server
        self._request = request
        self._stage = ""
        self._next = 0.0

    def __call__(self, stage: str, fraction: float, message: str) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next and fraction < 1.0:
            return
        self._stage, self._next = stage, now + _SECONDS_BETWEEN_PROGRESS
        self._server.send("progress", id=self._request, stage=stage, fraction=round(fraction, 4), message=message)


def _looks(folder: str) -> tuple[dict[str, Any], str]:
    """Images by the target that takes their appearance, and a digest of them."""
    from ..preprocessing.memory import study_key
    from ..study import Study
    from .codec import read

    images = read(folder)
    return images, study_key(Study(images))


def _explain(error: BaseException) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "There is not enough memory for this; close other programs, or choose the CPU as the device."
    if isinstance(error, ModuleNotFoundError):
        return f"{sys.executable} lacks the package {error.name}; install it there, or choose another interpreter."
    first = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
    return f"The computation failed ({reason[:200]}); the log has the details."


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for the protocol; whatever prints to stdout from now on, C++ included, goes to stderr."""
    requests = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, events


def main() -> int:
    """Run the worker on this process's stdin and stdout; ``--workspace FOLDER`` names what to delete if orphaned."""
    arguments = sys.argv[1:]
    workspace = Path(arguments[arguments.index("--workspace") + 1]) if "--workspace" in arguments[:-1] else None
    requests, events = _own_streams()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C in a shared terminal is the parent's to handle
        return Server(requests, events, workspace).run()
    return 0
