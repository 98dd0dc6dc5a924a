"""The logic of both modules: runs through the worker, polled by a timer; blocking calls for the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from ..bundles import find_bundle
from ..errors import InputError
from ..mrml.live import point_in_view
from ..mrml.outputs import Outputs
from ..mrml.studies import CONFIRMED, guess_node, modality_conflict, study_from_nodes
from ..mrml.text import _
from ..mrml.volumes import image_from_node
from . import dependencies
from .appearance_tools import AppearanceTools
from .batch_tools import Batch, studies_in, studies_of_scene
from .collector import full_collections
from .model_tools import ModelTools
from .recognizer import Looks, Recognizer
from .run_state import RunController
from .runner import Runner
from .tasks import Job, Run, Task, Wanted
from .view_tools import ViewTools
from .worker_link import WorkerLink

POLL_MS = 50
LIVE_POLL_MS = 15
"""While a slice is drawn that the user waits for, or a thread handles files: at 50 ms it would get a sixth of the time
(see ``background.py``)."""

Nodes = Mapping[str, "slicer.vtkMRMLScalarVolumeNode"] | Iterable["slicer.vtkMRMLScalarVolumeNode"]
"""Volumes by sequence, or just volumes, whose sequences are then guessed."""


class DisentangleLogic(AppearanceTools, ModelTools, ViewTools, ScriptedLoadableModuleLogic):
    """Starts, follows and stops runs. Panel and console share one, so that one run at a time is under way."""

    Parameters: type
    """The parameter-node wrapper class of the module."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        AppearanceTools.__init__(self)
        ViewTools.__init__(self)
        self.controller = RunController()
        self.controller.listen(lambda view: full_collections.hold(self.controller, view.busy))
        link = WorkerLink(dependencies.make_client, dependencies.interpreter, dependencies.is_own)
        self.runner = Runner(slicer.mrmlScene, self.controller, link)
        self.recognizer = Recognizer(link, self.runner.connect, dependencies.complete)
        self._live = False
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._poll)
        slicer.app.connect("aboutToQuit()", self.close)

    def getParameterNode(self):
        """The module's parameter node, wrapped."""
        return self.Parameters(ScriptedLoadableModuleLogic.getParameterNode(self))

    def start(
        self,
        nodes: Nodes,
        wanted: Wanted,
        onDone: Callable[[Run], None] | None = None,
        examples: Nodes | None = None,
        change: Callable[[Any], None] | None = None,
    ) -> Run:
        """Start a run and return at once; ``onDone`` is called when it is over.

        Args:
            examples: {target: volume of any subject}, whose appearance synthesised sequences take.
            change: sees the result before its nodes are made; must touch neither Qt nor MRML.

        Raises:
            InputError: bad input, or something is missing that cannot be installed.
            Cancelled: the user declined to install what is missing.
        """
        if self.runner.busy:
            raise InputError(_("A computation is under way; wait for it or cancel it."))
        self.controller.begin_check()
        try:
            inputs = study_from_nodes(self.bySequence(nodes), check=False)
            looks = {name: image_from_node(node, name) for name, node in dict(examples or {}).items()}
            for sequence, node in inputs.nodes.items():
                conflict = modality_conflict(node, sequence)
                if conflict:
                    raise InputError(conflict)
            dependencies.ensure(dependencies.interpreter())
        except Exception as error:
            self.controller.fail(str(error))
            raise
        self.recognizer.stop()
        kept = tuple(name for name, node in inputs.nodes.items() if node.GetAttribute(CONFIRMED) == name)
        wanted = replace(wanted, point=wanted.point or point_in_view(slicer.mrmlScene), confirmed=kept)
        run = self.runner.start(inputs, wanted, onDone, looks, change)
        self._follow()
        return run

    def work(self, job: Job, wait: bool, onDone: Callable[[Job], None] | None = None) -> Job | dict[str, Any]:
        """Have the worker do something else; with ``wait`` stay until it is done and return its answer.

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        if self.runner.busy:
            raise InputError(_("A computation is under way; wait for it or cancel it."))
        self.controller.begin_check()
        try:
            dependencies.ensure(dependencies.interpreter())
        except Exception as error:
            self.controller.fail(str(error))
            raise
        self.controller.log(job.title)
        self.recognizer.stop()
        self.runner.work(job, onDone)
        self._follow()
        return self._result(job) if wait else job

    def checkWorker(self, wait=True, onDone=None):
        """What the Python that computes has, and on which devices it can compute.

        Example::

            print(logic.checkWorker()["message"])

        Returns:
            ``ok``, ``message``, ``packages``, ``devices`` and more (with ``wait=False`` the job).

        Raises:
            InputError: that Python cannot be used; the sentence says what it lacks.
        """
        job = Job(request={"request": "check", "devices": True}, title=_("Checking Python"), reads=False)
        done = self.work(job, wait, onDone)
        return done["check"] if wait else done

    @staticmethod
    def usePython(path: str) -> None:
        """Compute with another Python from the next run on, one with torch for your graphics card, say.

        Example::

            logic.usePython("")  # Slicer's own
        """
        dependencies.use_python(path)

    def ask(self, request: Mapping[str, Any], onAnswer: Callable[[Mapping[str, Any]], None]) -> None:
        """A question about the last run that the worker answers within milliseconds, beside whatever runs."""
        self.runner.link.ask(request, onAnswer)
        self._live = True
        self._follow()

    def recognize(self, nodes: Iterable[slicer.vtkMRMLScalarVolumeNode], wait=True, onSeen=None) -> dict[str, Looks]:
        """Which sequences brain volumes look like, told from the images alone, whatever they are called.

        Example::

            for name, looks in logic.recognize([t1, flair]).items():
                print(name, looks["sequence"], looks["confidence"], looks["orientation"])

        Args:
            nodes: whole heads or brains.
            wait: stay until it is known; else return what is known, and ``onSeen`` is called once there is more.

        Returns:
            by ID of the volume ``sequence``, ``confidence``, ``probabilities``, ``orientation`` and more; an empty
            dictionary where no brain was found. A volume of which nothing is known is absent: the worker's Python
            lacks something, or a run came in between.
        """
        nodes = list(nodes)
        if wait:
            self._wait_for_recognizer()  # it may be looking at others
        if not self.runner.busy and self.recognizer.look(nodes, onSeen or (lambda: None)):
            self._follow()
        if wait:
            self._wait_for_recognizer()
        looks = {node.GetID(): self.recognizer.looks_of(node) for node in nodes}
        return {name: found for name, found in looks.items() if found is not None}

    def session(self) -> str:
        """By what the worker knows the last run.

        Raises:
            InputError: its factors are no longer in memory.
        """
        run = self.runner.run
        if run is None or not run.session or run.error is not None:
            raise InputError(_("The factors are no longer in memory; press Apply to compute them again."))
        return run.session

    def _wait_for_recognizer(self) -> None:
        while self.recognizer.busy:
            self._poll()
            slicer.app.processEvents()
            time.sleep(0.01)

    def _result(self, task: Task) -> Any:
        while not task.done:
            self.runner.poll()
            slicer.app.processEvents()
            time.sleep(0.01)
        return task.result()

    def compute(self, nodes: Nodes, wanted: Wanted, wait: bool, **more: Any) -> Run | Outputs:
        """Run, and with ``wait`` stay until the result is in the scene; Slicer keeps responding meanwhile.

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        run = self.start(nodes, wanted, **more)
        return self._result(run) if wait else run

    def batch(self, source, output=None, model=None, device="auto", resume=True, wait=True, onChange=None, **wanted):
        """Run a model on many studies, one after the other; a study that fails is listed, and the others go on.

        Example::

            batch = logic.batch(folder_of_studies, folder_of_results, segment=True)
            print([(entry.name, entry.status, entry.message) for entry in batch.entries])

        Args:
            source: a folder that holds a folder per study; None takes the patients of the scene.
            output: folder for the results of studies from files, and for ``batch.csv``.
            resume: leave out studies whose results are there.
            wanted: fields of :class:`Wanted`: ``segment=True``, ``synthesize=("FLAIR",)``, ...

        Returns:
            the :class:`Batch`.

        Raises:
            InputError: there are no studies, or no folder for the results.
        """
        folder = self.modelFolder(model)
        entries = studies_in(source) if source else studies_of_scene(find_bundle(folder).sequences)
        batch = Batch(self, entries, Wanted(folder, device, **wanted), output, resume, onChange)
        batch.start()
        while wait and not batch.done:
            self.runner.poll()
            slicer.app.processEvents()
            time.sleep(0.01)
        return batch

    def cancel(self) -> None:
        """Stop the run; the scene stays as it was."""
        self.runner.cancel()

    def close(self) -> None:
        """End the worker process; the next run starts another one."""
        self._live = False
        self._timer.stop()
        self.recognizer.stop()
        self.runner.close()

    @staticmethod
    def bySequence(nodes: Nodes) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Volumes by sequence; where none is given, it is guessed.

        Raises:
            InputError: a sequence cannot be guessed with confidence.
        """
        if isinstance(nodes, Mapping):
            return dict(nodes)
        found: dict[str, slicer.vtkMRMLScalarVolumeNode] = {}
        for node in nodes:
            guess = guess_node(node)
            if not guess.sure:
                message = _(
                    "The sequence of {name!r} cannot be guessed ({reason}); give a dictionary: sequence, volume."
                )
                raise InputError(message.format(name=node.GetName(), reason=guess.reason))
            if guess.sequence in found:
                message = _("Both {first!r} and {second!r} look like {sequence}; give {{sequence: volume}}.")
                names = {"first": found[guess.sequence].GetName(), "second": node.GetName()}
                raise InputError(message.format(sequence=guess.sequence, **names))
            found[guess.sequence] = node
        return found

    def _poll(self) -> None:
        self.runner.poll()
        self.recognizer.poll()
        if self.runner.waiting or self.recognizer.busy:
            self._follow()
        else:
            self._live = False
            self._timer.stop()

    def _follow(self) -> None:
        """Poll from now on, as often as is worth it."""
        quick = self._live or self.runner.handling_files or self.recognizer.handling_files
        pace = LIVE_POLL_MS if quick else POLL_MS
        if not self._timer.active or self._timer.interval != pace:
            self._timer.start(pace)
