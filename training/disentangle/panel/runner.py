"""One run at a time through the worker process: volume nodes in, result nodes out. No Qt; somebody has to poll.

What takes long is done elsewhere: files are written and read in a thread, nodes are made a few at each poll, so that
Slicer responds all the time.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError
from ..mrml.outputs import Outputs
from ..mrml.preview import Preview
from ..mrml.results import ResultBuilder
from ..mrml.studies import StudyNodes
from ..mrml.text import _
from ..worker.client import FINAL
from . import exchange
from .background import Background
from .run_state import RunController
from .tasks import Job, Run, Task, Wanted
from .turns import Turns
from .worker_link import Event, WorkerLink

if TYPE_CHECKING:
    import slicer

    from ..inference import Result
    from ..study import Image

STEP_SECONDS = 0.04
"""Nodes are made for so long at a poll; then Slicer gets its turn."""
_WITHOUT_SCENE = ("batch", "check", "model")
"""Requests of jobs that have nothing to do with the scene: a batch of files, a look at Python, a model's files."""


class Runner:
    """Hands runs to the worker and turns what comes back into nodes.

    The scene is touched when a result has arrived completely, and put back where making its nodes fails.

    Args:
        scene: where the nodes of the results go.
        controller: told of every step.
        link: to the worker.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, controller: RunController, link: WorkerLink) -> None:
        self.scene = scene
        self.controller = controller
        self.link = link
        self._checking = False
        self._request: str | None = None
        self._folders: list[Path] = []
        self._on_done: Callable[[Any], None] | None = None
        self._background = Background()
        self._builder: ResultBuilder | None = None
        self._building: Turns | None = None
        self._finishing: Iterator[None] | None = None
        self._preview: Preview | None = None
        self.task: Task | None = None
        self.run: Run | None = None
        self.may_preview: Callable[[], bool] = lambda: True

    @property
    def busy(self) -> bool:
        """Whether a run or a job is under way."""
        return self.task is not None and (not self.task.done or self._finishing is not None)

    @property
    def needs_scene(self) -> bool:
        """Whether what is under way is about nodes of the scene, and is of no use without them."""
        job = self.task if isinstance(self.task, Job) else None
        return self.busy and (job is None or job.request.get("request") not in _WITHOUT_SCENE)

    @property
    def waiting(self) -> bool:
        """Whether :meth:`poll` has to be called: something may come from the worker, or a thread needs its turns."""
        return self.busy or self.link.asked or self.handling_files or self.link.discarding

    @property
    def handling_files(self) -> bool:
        """Whether a thread writes or reads what is exchanged: frequent polls make it quicker."""
        return self._background.busy

    # -- what can be asked for -------------------------------------------------------------------------------------

    def start(
        self,
        inputs: StudyNodes,
        wanted: Wanted,
        on_done: Callable[[Run], Iterator[None] | None] | None = None,
        examples: Mapping[str, Image] | None = None,
        change: Callable[[Result], None] | None = None,
    ) -> Run:
        """Start a run; ``on_done`` is called from :meth:`poll` when it is over, whatever the outcome.

        A generator as ``on_done`` is taken further a step at a poll; the run counts as under way until it ends.
        The controller has to be in its checking state.
        """
        self.run = Run(inputs=inputs, wanted=wanted, examples=dict(examples or {}), change=change)
        self._begin(self.run, on_done, self._predict)
        return self.run

    def connect(self) -> None:
        """Have a worker of the interpreter that is wanted by now; one of another interpreter ends."""
        if self.link.outdated:
            self.close()
            self.link.open()

    def work(self, job: Job, on_done: Callable[[Job], None] | None = None) -> Job:
        """Start a job, as :meth:`start` starts a run."""
        self._begin(job, on_done, self._send_job)
        return job

    def cancel(self) -> None:
        """Stop what is under way; it is over when :meth:`poll` says so."""
        if not self.busy or self._finishing is not None:
            return  # the results are there
        self.controller.cancel()
        if self._building is not None:
            self._stop_building()
            self._stopped()
        elif self._request is not None:
            self.link.cancel(self._request)

    def poll(self) -> None:
        """Take what the worker has said since the last call, and go on with what is to be done here."""
        self._background.poll()
        if self._building is not None:
            self._guarded(self._build)
        elif self._finishing is not None:
            self._finish_step()
        for event in self.link.poll():
            kind, name = event["event"], event.get("id")
            if kind == "log":
                self.controller.log(event["text"])
            elif self.busy and name is not None and name == self._request:
                self._take_event(kind, event)

    def close(self) -> None:
        """End the worker; what is under way counts as cancelled."""
        self._background.wait()
        self._stop_building()
        if self._finishing is not None:
            self._finishing = None
            self.controller.finish()
        self.link.close()
        if self.run is not None:
            self.run.session = ""
        if self.busy:
            self.controller.stopped()
            self._end(error=Cancelled(_("The worker was closed.")))

    def forget_nodes(self) -> None:
        """The scene is closed: the last run's nodes are no more."""
        if self.run is not None:
            self.run.outputs = None

    # -- sending ---------------------------------------------------------------------------------------------------

    def _begin(self, task: Task, on_done: Callable[[Any], None] | None, send: Callable[[], None]) -> None:
        if self.busy:
            raise InputError(_("A computation is under way; wait for it or cancel it."))
        self.connect()
        self.task, self._on_done, self._send = task, on_done, send
        if self.link.trusted:
            self._guarded(send)
        else:
            self._checking = True
            self._request = self.link.submit({"request": "check", "devices": False})

    def _predict(self) -> None:
        self.controller.begin_run()
        self._background.start(exchange.sending_run(self.run, self._folder), self._submit, self._failed)

    def _send_job(self) -> None:
        self.controller.begin_run()
        self._background.start(exchange.sending_job(self.task, self._folder), self._submit, self._failed)

    def _submit(self, fields: Mapping[str, Any]) -> None:
        if not self._gone():
            self._request = self.link.submit(fields)

    def _gone(self) -> bool:
        """Whether nobody waits any more for what the thread did: it is over, or the user wants it to be."""
        if self.busy and self.controller.cancelling:
            self._stopped()
        return not self.busy

    def _folder(self) -> Path:
        folder = self.link.folder()
        self._folders.append(folder)
        return folder

    # -- receiving -------------------------------------------------------------------------------------------------

    def _take_event(self, kind: str, event: Event) -> None:
        if kind == "progress":
            self.controller.progress(event["stage"], event["fraction"], event.get("message", ""))
        elif kind == "preview":
            self._show_preview(event["output"])
        elif kind in FINAL:
            self._request = None
            getattr(self, f"_on_{kind}")(event)

    def _show_preview(self, folder: str) -> None:
        """The slices on screen; a preview that cannot be shown must not cost the result."""
        from ..bundles import find_bundle
        from ..worker.codec import read

        if self.controller.cancelling or not self.may_preview():
            return
        try:
            self.drop_preview()
            bundle = find_bundle(self.run.wanted.bundle)
            self._preview = Preview(self.scene, read(folder), bundle.classes, self.run.inputs.placement)
            self.controller.log(_("The slices on screen are done; the volume follows."))
            if bundle.card.get("islands"):
                self.controller.log(_("Small pieces at the edge of these slices may go when the volume is known."))
        except Exception:
            logging.exception("Disentangle could not show its preview")

    def drop_preview(self) -> None:
        """Take the slices off the screen."""
        if self._preview is not None:
            self._preview.remove()
            self._preview = None

    def _on_result(self, event: dict[str, Any]) -> None:
        if self._checking:
            self._checking = False
            if event["check"]["ok"]:
                self.link.trust()
                self._guarded(self._send)
            else:
                self._fail(InputError(event["check"]["message"]))
        elif self.task is self.run:
            self._guarded(lambda: self._read_result(event))
        else:
            self._guarded(lambda: self._read_answer(event))

    def _read_result(self, event: dict[str, Any]) -> None:
        run = self.run

        def build(result: Result) -> None:
            if self._gone():
                return
            run.report = result.report
            run.session, run.styles = event.get("session", ""), event.get("styles", {})
            run.learns, run.learnt = bool(event.get("learns")), int(event.get("learnt", 0))
            run.findings = bool(event.get("findings"))
            self._builder = ResultBuilder(self.scene, run.inputs, result)
            self._building = Turns(self._builder.steps(_title(run.wanted)), STEP_SECONDS)

        self._background.start(exchange.receiving_run(run, event), build, self._failed)

    def _build(self) -> None:
        """Make nodes for a moment; after the last one the run is over."""
        try:
            if self._building.take():
                return
        except BaseException:
            self._stop_building()
            raise
        outputs, self._builder, self._building = self._builder.outputs, None, None
        for warning in self.run.report.get("warnings", ()):
            self.controller.log(warning)
        if inspect.isgeneratorfunction(self._on_done):
            self._finishing = self._end(outputs=outputs)
        else:
            self.controller.finish()  # before the listener: it may start the next run
            self._end(outputs=outputs)

    def _finish_step(self) -> None:
        """What a listener does with the results, a step at a poll; then the run is over."""
        try:
            next(self._finishing)
        except StopIteration:
            self._finishing = None
            self.controller.finish()
        except BaseException:
            self._finishing = None
            self.controller.finish()
            raise

    def _stop_building(self) -> None:
        if self._building is not None:
            self._building.close()
            self._builder.discard()
            self._builder = self._building = None

    def _read_answer(self, event: dict[str, Any]) -> None:
        job = self.task

        def take(value: Any) -> None:
            if self._gone():
                return
            job.answer = {**event, "content": value}
            self.controller.finish()
            self._end()

        self._background.start(exchange.receiving_job(job, event), take, self._failed)

    def _on_cancelled(self, event: dict[str, Any]) -> None:
        self._stopped()

    def _stopped(self) -> None:
        self.controller.stopped()
        self._end(error=Cancelled(_("The computation was cancelled.")))

    def _on_error(self, event: dict[str, Any]) -> None:
        if event.get("details"):
            self.controller.log(event["details"])
            logging.error(event["details"])
        kind = InputError if event.get("kind") in ("input", "start") else RuntimeError
        self._fail(kind(event["message"]))

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step whose failure is the failure of the run; the panel has to come back to life whatever it was."""
        try:
            step()
        except Exception as error:
            if not self.busy:
                raise  # the run was over: it is its listener that failed
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not self.busy:
            return
        if isinstance(error, InputError):
            self._fail(error)
            return
        logging.error("Disentangle could not complete a run", exc_info=error)
        self._fail(RuntimeError(_("An unexpected error occurred ({error}); see the log.").format(error=error)))

    def _fail(self, error: Exception) -> None:
        self.controller.fail(str(error))
        self._end(error=error)

    def _end(self, outputs: Outputs | None = None, error: Exception | None = None) -> Iterator[None] | None:
        """Tell the listener; what it returns are steps that are still to be taken, where there are results."""
        task = self.task
        self.drop_preview()
        task.error, task.done, self._checking = error, True, False
        if task is self.run:
            task.outputs = outputs
        self._request = None
        self.link.discard(self._folders)
        self._folders.clear()
        steps = self._on_done(task) if self._on_done is not None else None
        if outputs is None and steps is not None:
            for _step in steps:
                pass
        return steps


def _title(wanted: Wanted) -> str:
    return f"Disentangle {Path(wanted.bundle).name}"
