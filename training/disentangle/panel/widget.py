"""The widget of both modules: puts the boxes together and keeps them in step with scene and parameter node."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from ..bundles import Bundle
from ..errors import Cancelled, InputError
from ..inference.confidence import recognisable
from ..mrml.outputs import Outputs, outputs_of
from ..mrml.text import _
from ..preprocessing import PreprocessingConfig
from .appearance_box import AppearanceBox
from .arrivals import Arrivals
from .batch_box import BatchBox
from .computation_box import ComputationBox
from .image_check import ImageCheck
from .logic import DisentangleLogic
from .model_box import ModelBox
from .model_facts import cost_of_missing, estimate_mb, free_memory_mb, memory_sentence
from .parameters import input_parameter
from .result_views import ResultViews, hide_earlier
from .run_box import RunBox
from .study_box import StudyBox
from .summary import summarize
from .synthetic_marks import mark_views, unmark_views
from .tasks import Run, Wanted

_AGAIN_MS = 200
"""Removed nodes are looked at again after so long, while results are being shown."""


class DisentangleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. A module's own widget class says what it computes and shows (the methods at the end)."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: DisentangleLogic | None = None
        self.outputs: Outputs | None = None
        self._parameterNode: Any = None
        self._guiTag: int | None = None
        self._rowsTag: int | None = None
        self._updating = False
        self._shown = False
        self._steps: Generator[None, None, None] | None = None
        self._unseen: Run | None = None

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = self.createLogic()
        self.panelLayout = uiWidget.layout()
        self.modelBox = ModelBox(self.ui, self.acceptsBundle, self.onModelChanged, self.logic)
        self.studyBox = StudyBox(
            self.ui.studyRows,
            self.ui.assignButton,
            self.onStudyChanged,
            self.ui.missingLabel,
            self.meaningOfMissing,
            self.logic.recognizer.looks_of,
            self.storeVolumes,
        )
        self.imageCheck = ImageCheck(self.logic, self._recognisable, self.studyBox.take_seen)
        self.runBox = RunBox(
            self.logic.controller,
            self.ui.applyButton,
            self.ui.progressBar,
            self.ui.statusLabel,
            self.ui.logTextEdit,
            self.onApply,
            self.onCancel,
        )
        self.grids = self.logic.grids
        self.resultViews = ResultViews(self.logic, self.viewButtons(), self.ui.previousLayoutButton)
        self.setupOwn()
        self.appearanceBox = AppearanceBox(self.panelLayout, self.logic, self.resultViews.update, self.isHere)
        self.setupEditing()
        self.batchBox = BatchBox(
            self.panelLayout,
            self.logic,
            lambda: tuple(self.modelBox.bundle.sequences),
            lambda: self.wanted(self.modelBox.bundle),
            self.modelBox.agree,
        )
        self.computationBox = ComputationBox(self.panelLayout, self.logic)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneReplaced)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneReplaced)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self._removals = qt.QTimer()
        self._removals.setSingleShot(True)
        self._removals.connect("timeout()", self.onRemovals)
        self.logic.runner.may_preview = self.isHere
        self.arrivals = Arrivals(scene, self.onArrivals)
        mark_views()
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the module is unloaded or the application closes."""
        self.setParameterNode(None)
        self.imageCheck.stop()
        self.resultViews.set_outputs(None)
        self.removeObservers()
        self._removals.stop()
        self.arrivals.close()
        unmark_views()
        self.logic.close()

    def enter(self) -> None:
        """Called each time the user opens the module."""
        self.computationBox.refresh()
        self.initializeParameterNode()
        self.showLate()

    def exit(self) -> None:
        """Called each time the user opens another module: the layout of before comes back."""
        self.appearanceBox.stop()
        self.imageCheck.stop()
        self._removals.stop()
        self._stopShowing()
        self.logic.runner.drop_preview()
        self.resultViews.leave()
        self.setParameterNode(None)

    def isHere(self) -> bool:
        """Whether the user is in the module: elsewhere, views, layout and Segment Editor are not this panel's."""
        return bool(self.parent.isEntered)

    def showLate(self) -> None:
        """The user is back: put on screen, once, what ended while they were in another module."""
        run, self._unseen = self._unseen, None
        if run is not None and self.outputs is not None and run.outputs is self.outputs:
            hide_earlier(run.outputs)
            self.showFirst(run)
            self.ui.resultsCollapsibleButton.collapsed = False
        self.appearanceBox.show_late()

    # --- state ---------------------------------------------------------------------------------------------------

    def initializeParameterNode(self) -> None:
        """Take the scene's parameter node, and propose volumes where it has none."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self.studyBox.nodes():
            self.studyBox.assign(only_empty=True)
        if not self.studyBox.nodes() and not self._parameterNode.bundle:
            self._chooseFitting()

    def _chooseFitting(self) -> None:
        """Where no volume of the scene is for the first model, take one that can use them: of hearts, say."""
        for name, bundle in self.modelBox.bundles.items():
            if self.logic.assign(str(bundle.path)):
                self.modelBox.choose(name)
                return

    def setParameterNode(self, node: Any) -> None:
        """Connect panel and parameter node; the old connection is cut first."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterNode.disconnectGui(self._rowsTag)
            self.removeObserver(
                self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged
            )
        self._parameterNode = node
        if node is None:
            return
        if node.bundle:
            self._updating = True  # the rows are made below, with the connection
            self.modelBox.choose(node.bundle)
            self._updating = False
        self._showModel()
        self._guiTag = node.connectGui(self.ui)
        self._connectRows()
        self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        if self.isHere():  # else the panel is being made, and is entered next
            self._showOutputs(self._outputsOf(node.run))
        self.onStudyChanged()

    def _connectRows(self) -> None:
        with self.studyBox.as_stored():
            self._rowsTag = self._parameterNode.connectParametersToGui(self.studyBox.widgets())

    def storeVolumes(self, choices: Mapping[str, slicer.vtkMRMLNode | None]) -> None:
        """Write chosen volumes (sequence -> volume or None) into the parameter node, all before it tells of any.

        Slicer's connection of selectors and parameter node does so for volumes of different names only, see
        :func:`parts.when_chosen`: the panel would show one patient's T1, and Apply would read another's.
        """
        node = self._parameterNode
        if node is None:
            return
        known = {input_parameter(sequence): volume for sequence, volume in choices.items()}
        others = {name: volume for name, volume in known.items() if getattr(node, name) is not volume}
        if others:
            with slicer.util.NodeModify(node.parameterNode):
                for name, volume in others.items():
                    setattr(node, name, volume)

    def _showModel(self) -> None:
        bundle = self.modelBox.bundle
        sequences = list(bundle.sequences) if bundle is not None else []
        if sequences != list(self.studyBox.rows):
            self.studyBox.show(sequences, bundle.card if bundle is not None else None)
        self.showBundle(bundle)

    def onModelChanged(self) -> None:
        """The user chose another model."""
        if self._updating or self._parameterNode is None:
            return
        self._parameterNode.disconnectGui(self._rowsTag)
        bundle = self.modelBox.bundle
        self._parameterNode.bundle = bundle.name if bundle is not None else ""
        self._showModel()
        self._connectRows()
        self.studyBox.assign(only_empty=True)
        self.updateReadiness()

    def onStudyChanged(self) -> None:
        """The user, an action or a scene that was opened chose other volumes."""
        self.updateReadiness()
        if self._parameterNode is not None:
            # Later: a parameter node that changes now, before it has heard of the chosen volume, would undo the choice.
            qt.QTimer.singleShot(0, self._rememberFirst)
            self.imageCheck.later()

    def _rememberFirst(self) -> None:
        """Store the model with the first volume; before there are volumes, it may still be chosen by them."""
        if self._parameterNode is not None and self.studyBox.nodes() and not self._parameterNode.bundle:
            self._rememberModel()

    def _rememberModel(self) -> None:
        """Store the model that is shown, which the user need not have chosen, with the scene."""
        bundle = self.modelBox.bundle
        if bundle is not None and self._parameterNode.bundle != bundle.name:
            self._parameterNode.bundle = bundle.name

    def _recognisable(self) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """The volumes to look at, where the worker can tell what they look like and somebody sees it."""
        bundle = self.modelBox.bundle if self._parameterNode is not None else None
        if bundle is None:
            return []
        brains = recognisable(PreprocessingConfig.from_dict(bundle.preprocessing))
        return self.studyBox.to_look_at() if brains else []

    def onArrivals(self, added: set[str]) -> None:
        """Volumes were loaded or dropped in: rows that are empty take what looks like theirs."""
        if self._parameterNode is not None:
            self.studyBox.assign(only_empty=True, among=added)
            if not self.studyBox.nodes() and not self._parameterNode.bundle:
                self._chooseFitting()

    def onParametersChanged(self, _caller: Any = None, _event: Any = None) -> None:
        """Something in the parameter node changed."""
        self.updateReadiness()

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        """The scene is about to be closed: what runs for it is stopped, and the grids let go of its volumes."""
        if self.logic.runner.needs_scene:
            self.logic.close()
        self.logic.runner.forget_nodes()
        self._removals.stop()
        self._stopShowing()
        self._unseen = None
        self.grids.clear()
        self._showOutputs(None)
        self.setParameterNode(None)

    def onSceneReplaced(self, _caller: Any, _event: Any) -> None:
        """A scene was closed or loaded."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onNodeRemoved(self, _caller: Any, _event: Any) -> None:
        """A node was removed, perhaps one of many: they are looked at when Slicer has its turn again."""
        if self.outputs is not None and self.isHere() and not slicer.mrmlScene.IsClosing():
            self._removals.start(0)

    def onRemovals(self) -> None:
        """Nodes were removed: where they are of the results that are shown, the boxes show what is left."""
        if self.outputs is None or self._parameterNode is None or is_there(self.outputs):
            return
        if self._unseen is not None and self.logic.runner.busy:  # its results are being shown
            self._removals.start(_AGAIN_MS)
            return
        self._showOutputs(self._outputsOf(self.outputs.run))

    def updateReadiness(self) -> None:
        """Say on the button what is missing."""
        if self._parameterNode is None:
            return
        if self.modelBox.bundle is None:
            reason = _("No model is installed; reinstall the extension.")
        else:
            reason = self.studyBox.problem() or self.ownProblem()
        self.logic.controller.block(reason)
        self.showMemory()

    def showMemory(self) -> None:
        """Say how much memory the run will need."""
        bundle, nodes = self.modelBox.bundle, list(self.studyBox.nodes().values())
        images = [node.GetImageData() for node in nodes]
        if bundle is None or not nodes or None in images:
            self.ui.memoryLabel.text = ""
            return
        wanted = self.wanted(bundle)
        extent = [n * s for n, s in zip(images[0].GetDimensions(), nodes[0].GetSpacing(), strict=True)]
        voxels = [image.GetNumberOfPoints() for image in images]
        needed = estimate_mb(
            bundle, extent, voxels, wanted.factors, wanted.cross_reconstructions, len(wanted.synthesize)
        )
        self.ui.memoryLabel.text = memory_sentence(needed, free_memory_mb())

    # --- run -----------------------------------------------------------------------------------------------------

    def onApply(self) -> None:
        """The user pressed Apply."""
        try:
            self.modelBox.agree()
            self._rememberModel()
            self.logic.start(self.inputs(), self.wanted(self.modelBox.bundle), self.onDone, **self.extras())
        except Cancelled as error:
            self.logic.controller.fail(str(error))
        except InputError as error:
            self.logic.controller.fail(str(error))
            slicer.util.errorDisplay(str(error))

    def onCancel(self) -> None:
        """The user pressed Cancel."""
        self.logic.cancel()

    def onDone(self, run: Run) -> Iterator[None]:
        """A run that this panel started is over; its results are shown in steps, so that Slicer responds meanwhile."""
        if run.error is not None:
            if not isinstance(run.error, Cancelled):
                slicer.util.errorDisplay(str(run.error))
            return
        parameters = self._parameterNode or self.logic.getParameterNode()  # the user may be in another module
        parameters.run = run.outputs.run
        parameters.summary = summarize(run.report)
        for sequence, facts in (run.report.get("inputs") or {}).items():
            if "looks_like" in facts and sequence in run.inputs.nodes:
                self.logic.recognizer.remember(run.inputs.nodes[sequence], facts["looks_like"])
        self.studyBox.refresh()
        self._unseen = run
        if not self.isHere():
            return  # shown when the user comes back
        yield
        if self._unseen is run:
            self._steps = self._presenting(run)
            yield from self._steps  # ends where it is stopped in between

    def _presenting(self, run: Run) -> Generator[None, None, None]:
        """Show the results of a run that has just ended."""
        yield from self._showing(run.outputs)
        yield
        hide_earlier(run.outputs)
        self.showFirst(run)
        yield
        self.ui.resultsCollapsibleButton.collapsed = False
        self._unseen = None

    def _stopShowing(self) -> None:
        """The user goes, or the scene: what has not been shown yet is not shown now."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    def _outputsOf(self, run: str) -> Outputs | None:
        """The results of a run: the same object as before as long as all its nodes are there, else a new one.

        The logic holds the last run's, and adds to them what is computed afterwards.
        """
        last = self.logic.runner.run
        last = last if last is not None and last.outputs is not None and last.outputs.run == run else None
        held = last.outputs if last is not None else self.outputs
        if held is not None and held.run == run and is_there(held):
            return held
        found = outputs_of(slicer.mrmlScene, run)
        if last is not None:
            last.outputs = found
        return found

    def _showOutputs(self, outputs: Outputs | None) -> None:
        for _step in self._showing(outputs):
            pass

    def _showing(self, outputs: Outputs | None) -> Iterator[None]:
        others = outputs is not self.outputs or not self._shown
        self.outputs, self._shown = outputs, False  # until the end: the steps may be stopped in between
        self.resultViews.set_outputs(outputs)
        if others:
            yield
            self.appearanceBox.set_outputs(outputs)
            yield
        known = outputs is not None and self._parameterNode is not None
        self.ui.resultsLabel.text = self._parameterNode.summary if known else _("No results yet.")
        if others:
            yield from self.showOutputs(outputs)
        self._shown = True

    def tellResults(self, run: Run) -> None:
        """Say what the report of the results on screen says by now."""
        parameters = self._parameterNode or self.logic.getParameterNode()  # the user may be in another module
        parameters.summary = self.ui.resultsLabel.text = summarize(run.report)

    def isLastRun(self, outputs: Outputs | None) -> bool:
        """Whether the worker still has the factors of these results."""
        run = self.logic.runner.run
        if outputs is None or run is None or run.outputs is None:
            return False
        return run.outputs.run == outputs.run and bool(run.session)

    # --- what a module says of itself -----------------------------------------------------------------------------

    def createLogic(self) -> DisentangleLogic:
        """The module's logic."""
        raise NotImplementedError

    def acceptsBundle(self, bundle: Bundle) -> bool:
        """Whether a model can do what the module is for."""
        raise NotImplementedError

    meaningOfMissing = staticmethod(cost_of_missing)
    """What the Study box says of missing sequences."""

    def viewButtons(self) -> dict[Any, str]:
        """Button -> name of the grid that it shows."""
        raise NotImplementedError

    def ownProblem(self) -> str:
        """What else keeps a run from starting; "" where nothing does."""
        return ""

    def wanted(self, bundle: Bundle) -> Wanted:
        """What Apply computes."""
        raise NotImplementedError

    def inputs(self) -> dict[str, Any]:
        """The volumes that Apply reads."""
        return self.studyBox.nodes()

    def extras(self) -> dict[str, Any]:
        """Further arguments of the logic's ``start``."""
        return {}

    def setupOwn(self) -> None:
        """Set up what only this module has."""

    def setupEditing(self) -> None:
        """Set up what comes below the appearance: looking first, then editing."""

    def showBundle(self, bundle: Bundle | None) -> None:
        """Another model was chosen."""

    def showOutputs(self, outputs: Outputs | None) -> Iterator[None]:
        """Other results are the current ones (after a run, or in a scene that was opened); None: there are none.

        Yields between two things that take time.
        """
        return iter(())

    def showFirst(self, run: Run) -> None:
        """A run has just finished: put the first thing to see on screen."""


def is_there(outputs: Outputs) -> bool:
    """Whether all nodes of a run, and the volumes it was made from, are in the scene."""
    return all(slicer.mrmlScene.IsNodePresent(node) for node in (*outputs.nodes(), *outputs.inputs.values()))
