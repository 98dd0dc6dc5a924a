"""One run at a time through the worker process: volume nodes in, result nodes out. No Qt; somebody has to poll."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError
from ..mrml.results import Outputs, results_to_nodes
from ..mrml.studies import StudyNodes
from ..worker.client import FINAL, WorkerClient
from .run_state import RunController
from .text import _

if TYPE_CHECKING:
    import slicer


@dataclass(frozen=True)
class Wanted:
    """What a run shall compute; the fields are those of the worker's request.

    Attributes:
        bundle: name or folder of the model.
        device: "auto", "cpu", "cuda", "mps".
        segment, factors, cross_reconstructions: which results.
        synthesize: target sequences.
    """

    bundle: str
    device: str = "auto"
    segment: bool = False
    factors: bool = False
    cross_reconstructions: bool = False
    synthesize: tuple[str, ...] = ()


@dataclass(eq=False)
class Run:
    """A run and, once it is done, its outcome.

    Attributes:
        outputs: the nodes; None until it has finished.
        error: why there are none.
        report: the predictor's report.
        done: whether it is over.
    """

    inputs: StudyNodes
    wanted: Wanted
    outputs: Outputs | None = None
    error: Exception | None = None
    report: dict[str, Any] | None = None
    done: bool = False

    def result(self) -> Outputs:
        """The nodes.

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        if self.error is not None:
            raise self.error
        if self.outputs is None:
            raise RuntimeError("the run has not finished")
        return self.outputs


class Runner:
    """Hands runs to the worker and turns what comes back into nodes.

    The scene is touched once, when a result has arrived completely.

    Args:
        scene: where the nodes of the results go.
        controller: told of every step.
        make_client: gives a client; called when the first run starts, and again when ``interpreter`` changes.
        interpreter: the interpreter that the worker shall use, looked up at every run.
        is_own: whether an interpreter is the running one, which is checked beforehand and not by the worker.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        controller: RunController,
        make_client: Callable[[str], WorkerClient],
        interpreter: Callable[[], str],
        is_own: Callable[[str], bool],
    ) -> None:
        self.scene = scene
        self.controller = controller
        self._make_client = make_client
        self._interpreter = interpreter
        self._is_own = is_own
        self._client: WorkerClient | None = None
        self._python = ""
        self._checked: set[str] = set()
        self._request: str | None = None
        self._folders: list[Path] = []
        self._on_done: Callable[[Run], None] | None = None
        self.run: Run | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self.run is not None and not self.run.done

    def start(self, inputs: StudyNodes, wanted: Wanted, on_done: Callable[[Run], None] | None = None) -> Run:
        """Start a run; ``on_done`` is called from :meth:`poll` when it is over, whatever the outcome.

        The controller has to be in its checking state.
        """
        if self.busy:
            raise InputError(_("A computation is under way; wait for it or cancel it."))
        python = self._interpreter()
        if self._client is None or python != self._python:
            self.close()
            self._client, self._python = self._make_client(python), python
        self.run = Run(inputs, wanted)
        self._on_done = on_done
        if self._is_own(python) or python in self._checked:
            self._guarded(self._predict)
        else:
            self._request = self._client.submit({"request": "check", "devices": False})
        return self.run

    def cancel(self) -> None:
        """Stop the run; it is over when :meth:`poll` says so."""
        if self.busy and self._request is not None:
            self.controller.cancel()
            self._client.cancel(self._request)

    def poll(self) -> None:
        """Take what the worker has said since the last call."""
        if self._client is None:
            return
        for event in self._client.poll():
            kind = event["event"]
            if kind == "log":
                self.controller.log(event["text"])
            elif self.busy and event.get("id") == self._request:
                if kind == "progress":
                    self.controller.progress(event["stage"], event["fraction"], event.get("message", ""))
                elif kind in FINAL:
                    self._request = None
                    getattr(self, f"_on_{kind}")(event)

    def close(self) -> None:
        """End the worker; a run under way counts as cancelled."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self.busy:
            self.controller.stopped()
            self._end(error=Cancelled(_("The worker was closed.")))

    def _predict(self) -> None:
        from ..worker.codec import write_study

        self.controller.begin_run()
        wanted = self.run.wanted
        study, output = self._folder() / "study", self._folder() / "result"
        write_study(self.run.inputs.study, study)
        fields = {name: getattr(wanted, name) for name in wanted.__dataclass_fields__}
        fields["synthesize"] = list(wanted.synthesize)
        self._request = self._client.submit({"request": "predict", "study": study, "output": output, **fields})

    def _folder(self) -> Path:
        folder = self._client.folder()
        self._folders.append(folder)
        return folder

    def _on_result(self, event: dict[str, Any]) -> None:
        if "check" in event:
            if event["check"]["ok"]:
                self._checked.add(self._python)
                self._guarded(self._predict)
            else:
                self._fail(InputError(event["check"]["message"]))
        else:
            self._guarded(lambda: self._take(event["output"]))

    def _take(self, folder: str) -> None:
        from ..worker.codec import read_result

        result = read_result(folder)
        outputs = results_to_nodes(result, self.run.inputs, self.scene, _title(self.run.wanted))
        self.run.report = result.report
        for warning in result.report.get("warnings", ()):
            self.controller.log(warning)
        self.controller.finish()
        self._end(outputs=outputs)

    def _on_cancelled(self, event: dict[str, Any]) -> None:
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
        except InputError as error:
            self._fail(error)
        except Exception as error:
            logging.exception("Disentangle could not complete a run")
            self._fail(RuntimeError(_("An unexpected error occurred ({error}); see the log.").format(error=error)))

    def _fail(self, error: Exception) -> None:
        self.controller.fail(str(error))
        self._end(error=error)

    def _end(self, outputs: Outputs | None = None, error: Exception | None = None) -> None:
        run = self.run
        run.outputs, run.error, run.done = outputs, error, True
        self._request = None
        for folder in self._folders:
            if self._client is not None:
                self._client.discard(folder)
        self._folders.clear()
        if self._on_done is not None:
            self._on_done(run)


def _title(wanted: Wanted) -> str:
    return f"Disentangle {Path(wanted.bundle).name}"
