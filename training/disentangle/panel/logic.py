"""The logic of both modules: runs through the worker, polled by a timer; blocking calls for the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from ..bundles import default_bundle_name, find_bundle
from ..errors import InputError
from ..mrml.results import Outputs
from ..mrml.studies import guess_node, modality_conflict, study_from_nodes
from . import dependencies
from .run_state import RunController
from .runner import Run, Runner, Wanted
from .text import _

POLL_MS = 50

Nodes = Mapping[str, "slicer.vtkMRMLScalarVolumeNode"] | Iterable["slicer.vtkMRMLScalarVolumeNode"]
"""Volumes by sequence, or just volumes, whose sequences are then guessed."""


class DisentangleLogic(ScriptedLoadableModuleLogic):
    """Starts, follows and stops runs. Panel and console share one, so that one run at a time is under way."""

    Parameters: type
    """The parameter-node wrapper class of the module."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.controller = RunController()
        self.runner = Runner(
            slicer.mrmlScene,
            self.controller,
            dependencies.make_client,
            dependencies.interpreter,
            dependencies.is_own,
        )
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._poll)
        slicer.app.connect("aboutToQuit()", self.close)

    def getParameterNode(self):
        """The module's parameter node, wrapped."""
        return self.Parameters(ScriptedLoadableModuleLogic.getParameterNode(self))

    def start(self, nodes: Nodes, wanted: Wanted, onDone: Callable[[Run], None] | None = None) -> Run:
        """Start a run and return at once; ``onDone`` is called when it is over.

        Raises:
            InputError: bad input, or something is missing that cannot be installed.
            Cancelled: the user declined to install what is missing.
        """
        if self.runner.busy:
            raise InputError(_("A computation is under way; wait for it or cancel it."))
        self.controller.begin_check()
        try:
            inputs = study_from_nodes(self.bySequence(nodes))
            for sequence, node in inputs.nodes.items():
                conflict = modality_conflict(node, sequence)
                if conflict:
                    raise InputError(conflict)
            dependencies.ensure(dependencies.interpreter())
        except Exception as error:
            self.controller.fail(str(error))
            raise
        run = self.runner.start(inputs, wanted, onDone)
        self._timer.start()
        return run

    def compute(self, nodes: Nodes, wanted: Wanted, wait: bool) -> Run | Outputs:
        """Run, and with ``wait`` stay until the result is in the scene; Slicer keeps responding meanwhile.

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        run = self.start(nodes, wanted)
        if not wait:
            return run
        while not run.done:
            self.runner.poll()
            slicer.app.processEvents()
            time.sleep(0.01)
        return run.result()

    def cancel(self) -> None:
        """Stop the run; the scene stays as it was."""
        self.runner.cancel()

    def close(self) -> None:
        """End the worker process; the next run starts another one."""
        self._timer.stop()
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

    @staticmethod
    def modelFolder(model: str | None) -> str:
        """Folder of the model to use: the one named, else the only one, else ``brain-mr``. It is looked up here, as
        the panel's models are, since the worker's environment may be that of an earlier start.

        Raises:
            InputError: there is no such model.
        """
        return str(find_bundle(model or default_bundle_name()).path)

    def _poll(self) -> None:
        self.runner.poll()
        if not self.runner.busy:
            self._timer.stop()
