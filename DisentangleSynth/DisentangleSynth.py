"""DisentangleSynth: missing MR sequences made from the sequences at hand."""

import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

_SOURCES = Path(__file__).resolve().parents[1] / "training"
if (_SOURCES / "disentangle").is_dir() and str(_SOURCES) not in sys.path:  # an unbuilt source tree
    sys.path.insert(0, str(_SOURCES))

from disentangle.errors import Cancelled, InputError  # noqa: E402
from disentangle.mrml.results import add_disagreement  # noqa: E402
from disentangle.mrml.studies import SYNTHETIC, guess_node  # noqa: E402
from disentangle.panel import parts  # noqa: E402
from disentangle.panel.batch_tools import Making  # noqa: E402
from disentangle.panel.citations import acknowledgement  # noqa: E402
from disentangle.panel.logic import DisentangleLogic  # noqa: E402
from disentangle.panel.model_facts import quality_of_made  # noqa: E402
from disentangle.panel.parameters import make_parameters  # noqa: E402
from disentangle.panel.startup import on_startup  # noqa: E402
from disentangle.panel.tasks import Job, Wanted  # noqa: E402
from disentangle.panel.widget import DisentangleWidget  # noqa: E402
from disentangle.resources import HOMEPAGE, TUTORIAL  # noqa: E402


class DisentangleSynth(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Disentangle Synthesis")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = ["SubjectHierarchy", "Volumes"]
        parent.contributors = ["The Disentangle contributors"]
        parent.helpText = _(
            "Makes sequences that were not acquired: the anatomy common to the sequences at hand is drawn in the "
            "appearance of the missing one.<br><br>"
            "Choose the volumes, choose a model, tick the targets, press Apply; the computation runs in a process of "
            "its own. Synthetic volumes are named and marked as such. For research; not for clinical use.<br><br>"
            'More in the <a href="{tutorial}">tutorial</a> and on the <a href="{homepage}">homepage</a>.'
        ).format(tutorial=TUTORIAL, homepage=HOMEPAGE)
        parent.acknowledgementText = acknowledgement()
        icon = Path(__file__).resolve().parent / "Resources" / "Icons" / "DisentangleSynth.png"
        slicer.app.connect("startupCompleted()", lambda: on_startup(icon))


SynthParameters = make_parameters(
    "SynthParameters",
    targets=(str, ""),
    targetsChosen=(bool, False),
    crossReconstructions=(bool, False),
    factors=(bool, True),
    source=(str, ""),
    styleReference=(slicer.vtkMRMLScalarVolumeNode, None),
)


class DisentangleSynthWidget(DisentangleWidget):
    """The panel: the boxes of both modules, and a tick box per target."""

    meaningOfMissing = staticmethod(quality_of_made)
    _showingSources = False
    _lateGrid = ""

    def createLogic(self):
        return DisentangleSynthLogic()

    def acceptsBundle(self, bundle):
        return bool(bundle.targets)

    def viewButtons(self):
        return {self.ui.compareViewButton: "compare", self.ui.crossViewButton: "cross"}

    def setup(self):
        DisentangleWidget.setup(self)
        self.batchBox.problem = self.problemOfTargets
        self.batchBox.making = lambda: Making(self.source(), self.extras().get("examples", {}))

    def ownProblem(self):
        if self.targets() and self.source() and self.source() not in self.studyBox.nodes():
            return _("Choose the volume of {source}, or make the targets from all.").format(source=self.source())
        return self.problemOfTargets()

    def problemOfTargets(self):
        """What keeps targets from being made, whatever the study; "" where nothing does."""
        if not self.targets():
            return _("Tick at least one sequence to make.")
        if self.source() in self.targets():
            return _("{source} cannot be made from itself; untick it, or make the targets from others.").format(
                source=self.source()
            )
        reference = self.ui.styleSelector.currentNode()
        if reference is not None and reference.GetAttribute(SYNTHETIC) == "1":
            return _("{name} is synthetic; choose an acquired volume as the look.").format(name=reference.GetName())
        return ""

    def source(self):
        """The only sequence to make targets from; "" takes all."""
        return self.ui.sourceComboBox.currentText if self.ui.sourceComboBox.currentIndex > 0 else ""

    def inputs(self):
        """All volumes; those beside the chosen source only where they are what a target is compared with."""
        nodes = self.studyBox.nodes()
        source = self.source()
        return {name: nodes[name] for name in nodes if not source or name == source}

    def extras(self):
        """The volume whose look the targets take: that of its own sequence where it is ticked, else the first."""
        reference = self.ui.styleSelector.currentNode()
        if reference is None:
            return {}
        guess = guess_node(reference).sequence
        return {"examples": {guess if guess in self.targets() else self.targets()[0]: reference}}

    def wanted(self, bundle):
        return Wanted(
            str(bundle.path),
            device=self._parameterNode.device,
            fast=self._parameterNode.fast and bundle.fast is not None,
            synthesize=tuple(self.targets()),
            cross_reconstructions=self._parameterNode.crossReconstructions,
            factors=self._parameterNode.factors,
            leave_out_target=True,
        )

    def setupOwn(self):
        self.targetBoxes = {}
        self.ui.sourceComboBox.connect("currentIndexChanged(int)", self.onSourceChanged)
        self.ui.uncertaintyViewButton.connect("clicked(bool)", self.onUncertainty)
        parts.when_chosen(self.ui.styleSelector, self.onStyleChosen)
        parts.empty_where_removed(self.ui.styleSelector)

    def targets(self):
        """The ticked sequences."""
        return [name for name, box in self.targetBoxes.items() if box.checked]

    def showBundle(self, bundle):
        self.showSources(bundle)
        names = list(bundle.targets) if bundle is not None else []
        if names != list(self.targetBoxes):
            for box in self.targetBoxes.values():
                box.hide()
                box.deleteLater()
            self.targetBoxes = {}
            for number, name in enumerate(names):
                box = qt.QCheckBox(name)
                box.objectName = f"target{name}CheckBox"
                box.toolTip = _("Make a synthetic {sequence} volume.").format(sequence=name)
                box.connect("clicked(bool)", self.onTargetClicked)
                self.ui.targetArea.layout().addWidget(box, number // 4, number % 4)
                self.targetBoxes[name] = box
        if self._parameterNode is not None and self._parameterNode.targetsChosen:
            chosen = self._parameterNode.targets.split()
            for name, box in self.targetBoxes.items():
                box.checked = name in chosen
        else:
            self.tickMissing()

    def showSources(self, bundle):
        """The sequences that targets can be made from."""
        wanted = [_("All that are given"), *(bundle.sequences if bundle is not None else ())]
        combo = self.ui.sourceComboBox
        if [combo.itemText(n) for n in range(combo.count)] != wanted:
            self._showingSources = True
            combo.clear()
            combo.addItems(wanted)
            self._showingSources = False
        chosen = self._parameterNode.source if self._parameterNode is not None else ""
        combo.setCurrentIndex(max(combo.findText(chosen), 0) if chosen else 0)

    def onSourceChanged(self, _index=0):
        """The user chose a source."""
        if self._parameterNode is not None and not self._showingSources:
            self._parameterNode.source = self.source()
            self.updateReadiness()

    def onStyleChosen(self):
        """The user chose a look; the parameter node does not hear by itself of a volume of the same name."""
        reference = self.ui.styleSelector.currentNode()
        if self._parameterNode is not None and self._parameterNode.styleReference is not reference:
            self._parameterNode.styleReference = reference
        self.updateReadiness()

    def onTargetClicked(self, _checked=False):
        """The user chose targets: from now on they are no longer chosen for them."""
        self._parameterNode.targetsChosen = True
        self._parameterNode.targets = " ".join(self.targets())
        self.updateReadiness()

    def onStudyChanged(self):
        if self._parameterNode is not None and not self._parameterNode.targetsChosen:
            self.tickMissing()
        DisentangleWidget.onStudyChanged(self)

    def tickMissing(self):
        """Tick the sequences that the study lacks."""
        given = self.studyBox.nodes()
        for name, box in self.targetBoxes.items():
            box.checked = name not in given

    def showOutputs(self, outputs):
        """The uncertainty is computed when it is asked for, from factors that the worker still has."""
        there = outputs is not None and outputs.uncertainty is not None
        self.ui.uncertaintyViewButton.enabled = there or (self.isLastRun(outputs) and len(outputs.inputs) > 1)
        return iter(())

    def onUncertainty(self, _checked=False):
        """The user wants to see how far the sequences disagree about what was made of them."""
        if self.outputs.uncertainty is not None:
            self.resultViews.show("uncertainty")
            return
        try:
            self.logic.uncertainty(wait=False, onDone=self.onUncertaintyDone, run=self.outputs)
        except InputError as error:
            slicer.util.errorDisplay(str(error))
        except Cancelled:
            pass  # the status line says it

    def onUncertaintyDone(self, job):
        if job.error is None:
            self._lateGrid = "uncertainty"
            if self.isHere():
                self.showLateGrid()
        elif not isinstance(job.error, Cancelled):
            slicer.util.errorDisplay(str(job.error))

    def showLate(self):
        DisentangleWidget.showLate(self)
        self.showLateGrid()

    def showLateGrid(self):
        """Show what was asked for, where it is not on screen yet."""
        grid, self._lateGrid = self._lateGrid, ""
        if grid and self.outputs is not None and self.outputs.uncertainty is not None:
            self.resultViews.show(grid)

    def showFirst(self, run):
        first = next(iter(self.outputs.synthetic.values()), None)
        if first is not None:
            self.resultViews.leave()
            self.grids.show_elsewhere(first)


class DisentangleSynthLogic(DisentangleLogic):
    """What the panel does, for the console and for other modules.

    Example::

        logic = slicer.modules.disentanglesynth.widgetRepresentation().self().logic
        made = logic.synthesize({"T1": slicer.util.getNode("t1"), "T2": slicer.util.getNode("t2")}, ["FLAIR"])
    """

    Parameters = SynthParameters

    def synthesize(self, nodes, targets, model=None, device="auto", wait=True, source=None, examples=None):
        """Make sequences from others. A target that is among the volumes is made from the others and compared with it.

        Example::

            made = logic.synthesize({"T1": t1, "T2": t2}, ["FLAIR"], examples={"FLAIR": other_scanner})

        Args:
            nodes: {sequence: volume node}, or a list of volume nodes whose sequences are guessed.
            targets: sequences to make.
            source: the one sequence to make them from; None takes all.
            examples: {target: volume of any subject} whose appearance the target takes.
            model: name or folder of a bundle; None takes the default.
            wait: stay until it is done; else the run is returned at once.

        Returns:
            {target: volume node} (with ``wait=False`` the run, whose ``outputs`` come later).

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        nodes = self.bySequence(nodes)
        if source is not None:
            nodes = {name: node for name, node in nodes.items() if name == source}
        wanted = Wanted(self.modelFolder(model), device, synthesize=tuple(targets), leave_out_target=True)
        done = self.compute(nodes, wanted, wait, examples=examples)
        return done.synthetic if wait else done

    def uncertainty(self, wait=True, onDone=None, run=None):
        """How far the sequences of the last run disagree about the synthetic volumes that it made, in the looks that
        these have.

        Example::

            node = logic.uncertainty()
            print(node.GetName(), slicer.util.arrayFromVolume(node).max())

        Args:
            run: outputs that have to be those of the last run; None takes them.

        Returns:
            a volume: standard deviation of what each sequence alone would give, averaged over the targets; 1 is the
            spread of all intensities in the brain (with ``wait=False`` the job, whose answer holds it as "node").

        Raises:
            InputError: the run had one sequence only, or its factors are no longer in memory.
        """
        session = self.session() if run is None else self.sessionOf(run.run)
        outputs, placement = self.lastOutputs(), self.runner.run.inputs.placement
        request = {"request": "disagreement", "session": session, "targets": list(outputs.synthetic)}
        looks = ", ".join(f"{name} like {image.source}" for name, image in self.runner.run.examples.items())

        def done(job):
            if job.error is None:
                image = job.answer["content"]
                made = self.runner.run.outputs or outputs  # another object where nodes were removed meanwhile
                job.answer["node"] = add_disagreement(made, image, slicer.mrmlScene, placement, looks)
            if onDone is not None:
                onDone(job)

        job = self.work(Job(request=request, title=_("Comparing the sequences")), False, done)
        return self._result(job)["node"] if wait else job


class DisentangleSynthTest(ScriptedLoadableModuleTest):
    """Self-tests on a digital subject, with the shipped model, in the running Slicer."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        self.setUp()
        self.test_synthesis_from_the_console()
        self.setUp()
        self.test_panel()

    def test_synthesis_from_the_console(self):
        import numpy as np

        from disentangle.panel.testing import load_phantom

        self.delayDisplay("Making FLAIR of a digital subject")
        nodes, labels = load_phantom()
        real = slicer.util.arrayFromVolume(nodes.pop("FLAIR"))
        made = (
            slicer.modules.disentanglesynth.widgetRepresentation()
            .self()
            .logic.synthesize(nodes, ["FLAIR"], model="brain-mr", device="cpu")["FLAIR"]
        )
        self.assertEqual(made.GetAttribute("Disentangle.Synthetic"), "1")
        brain = labels > 0
        likeness = np.corrcoef(slicer.util.arrayFromVolume(made)[brain], real[brain])[0, 1]
        self.assertGreater(likeness, 0.5)
        self.delayDisplay("The synthetic FLAIR resembles the real one")

    def test_panel(self):
        from disentangle.panel.testing import load_phantom, wait_until

        self.delayDisplay("Running the panel")
        nodes, _labels = load_phantom()
        slicer.mrmlScene.RemoveNode(nodes.pop("FLAIR"))
        slicer.util.selectModule("DisentangleSynth")
        widget = slicer.modules.disentanglesynth.widgetRepresentation().self()
        widget.ui.assignButton.click()
        self.assertEqual(widget.targets(), ["FLAIR"])
        widget.ui.applyButton.click()
        wait_until(lambda: not widget.logic.controller.busy)
        self.assertIsNotNone(widget.outputs)
        self.assertEqual(list(widget.outputs.synthetic), ["FLAIR"])
        before = slicer.app.layoutManager().layout
        widget.ui.compareViewButton.click()
        wait_until(lambda: slicer.app.layoutManager().layout != before)
        widget.ui.previousLayoutButton.click()
        self.assertEqual(slicer.app.layoutManager().layout, before)
        self.delayDisplay("The panel works")
