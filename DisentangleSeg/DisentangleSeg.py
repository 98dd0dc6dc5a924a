"""DisentangleSeg: anatomy factors, cross-reconstructions and one fused segmentation of several MR sequences."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

_SOURCES = Path(__file__).resolve().parents[1] / "training"
if (_SOURCES / "disentangle").is_dir() and str(_SOURCES) not in sys.path:  # an unbuilt source tree
    sys.path.insert(0, str(_SOURCES))

from disentangle.mrml.factor_mask import shared_editor_node  # noqa: E402
from disentangle.panel import parts  # noqa: E402
from disentangle.panel.citations import acknowledgement  # noqa: E402
from disentangle.panel.edit_tools import EditTools  # noqa: E402
from disentangle.panel.factor_page import FactorPage  # noqa: E402
from disentangle.panel.logic import DisentangleLogic  # noqa: E402
from disentangle.panel.parameters import make_parameters  # noqa: E402
from disentangle.panel.segment_tools import SegmentTools  # noqa: E402
from disentangle.panel.sensitivity_box import SensitivityBox  # noqa: E402
from disentangle.panel.startup import on_startup  # noqa: E402
from disentangle.panel.statistics_box import StatisticsBox  # noqa: E402
from disentangle.panel.tasks import Wanted  # noqa: E402
from disentangle.panel.widget import DisentangleWidget  # noqa: E402
from disentangle.resources import HOMEPAGE, TUTORIAL  # noqa: E402


class DisentangleSeg(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Disentangle Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SegmentEditor", "SubjectHierarchy"]
        parent.contributors = ["The Disentangle contributors"]
        parent.helpText = _(
            "Separates several MR sequences of one subject into what they share, the anatomy, and what tells them "
            "apart, the appearance. The anatomy is shown channel by channel, recombined with other appearances, and "
            "fused into one segmentation, whichever sequences are missing.<br><br>"
            "Choose the volumes, choose a model, press Apply; the computation runs in a process of its own. "
            "For research; not for clinical use.<br><br>"
            'More in the <a href="{tutorial}">tutorial</a> and on the <a href="{homepage}">homepage</a>.'
        ).format(tutorial=TUTORIAL, homepage=HOMEPAGE)
        parent.acknowledgementText = acknowledgement()
        icon = Path(__file__).resolve().parent / "Resources" / "Icons" / "DisentangleSeg.png"
        slicer.app.connect("startupCompleted()", lambda: on_startup(icon))


SegParameters = make_parameters(
    "SegParameters",
    factors=(bool, True),
    crossReconstructions=(bool, False),
    uncertainty=(bool, True),
    keepEdited=(bool, True),
)


class DisentangleSegWidget(DisentangleWidget):
    """The panel: the boxes of both modules, and the Segment Editor."""

    _offered = None

    def createLogic(self):
        return DisentangleSegLogic()

    def acceptsBundle(self, bundle):
        return bool(bundle.classes)

    def viewButtons(self):
        return {
            self.ui.factorsViewButton: "factors",
            self.ui.crossViewButton: "cross",
            self.ui.uncertaintyViewButton: "uncertainty",
            self.ui.agnosticViewButton: "agnostic",
        }

    def wanted(self, bundle):
        return Wanted(
            str(bundle.path),
            device=self._parameterNode.device,
            fast=self._parameterNode.fast and bundle.fast is not None,
            segment=True,
            factors=self._parameterNode.factors,
            cross_reconstructions=self._parameterNode.crossReconstructions,
            uncertainty=self._parameterNode.uncertainty,
        )

    def extras(self):
        """What the user has edited stays, where that is wanted."""
        segmentation = self.outputs.segmentation if self.outputs is not None else None
        change = self.logic.keepEdited(segmentation, self.inputs()) if self._parameterNode.keepEdited else None
        return {"change": change}

    def setupOwn(self):
        self.statisticsBox = StatisticsBox(self.panelLayout, self.logic)

    def setupEditing(self):
        self.factorPage = FactorPage(self.panelLayout, self.logic)
        self.editSection, inner = parts.section(self.panelLayout, "editCollapsibleButton", _("Edit segmentation"))
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.objectName = "segmentEditor"
        self.editor.setMaximumNumberOfUndoStates(10)
        self._useSharedEditorNode()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.sensitivityBox = SensitivityBox(inner, self.logic, self.onSensitivity)
        self.editTools = EditTools(inner, self.logic, self.editor)
        inner.addWidget(self.editor)
        # Effects that other extensions register later are offered here, too.
        slicer.qSlicerSegmentEditorEffectFactory.instance().connect(
            "effectRegistered(QString)", self.onEffectRegistered
        )
        self.editTools.on_saved = self.modelBox.refresh

    def onSensitivity(self):
        """The segmentation is another one: so are its volumes."""
        self.statisticsBox.count()
        self.tellResults(self.logic.runner.run)

    def onEffectRegistered(self, _name=""):
        self.editor.updateEffectList()

    def cleanup(self):
        slicer.qSlicerSegmentEditorEffectFactory.instance().disconnect(
            "effectRegistered(QString)", self.onEffectRegistered
        )
        DisentangleWidget.cleanup(self)

    def enter(self):
        self._useSharedEditorNode()
        self.editor.installKeyboardShortcuts()
        self.editor.updateWidgetFromMRML()
        DisentangleWidget.enter(self)

    def exit(self):
        self.editTools.remove_mask()
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()
        DisentangleWidget.exit(self)

    def onSceneStartClose(self, caller, event):
        self.editTools.remove_mask()
        self.editor.setSegmentationNode(None)
        self.editor.removeViewObservations()
        DisentangleWidget.onSceneStartClose(self, caller, event)

    def onSceneReplaced(self, caller, event):
        if self.parent.isEntered:
            self._useSharedEditorNode()
            self.editor.updateWidgetFromMRML()
        DisentangleWidget.onSceneReplaced(self, caller, event)

    def showOutputs(self, outputs):
        """Make the segmentation the one that the Segment Editor edits, and list its volumes."""
        self.logic.takeOver(outputs)
        self.statisticsBox.set_outputs(outputs)
        yield
        self.statisticsBox.refresh()
        yield
        self.sensitivityBox.set_outputs(outputs, outputs is not None and self.isLastRun(outputs))
        self.editTools.set_outputs(outputs)
        self.factorPage.forget()
        self.factorPage.update(outputs is not None and bool(outputs.aligned) and self.isLastRun(outputs))
        if outputs is None or outputs.segmentation is None:
            self._offered = None
            return
        if self._offered is outputs.segmentation:
            return  # another node of the run was removed; what the user edits by now is theirs to say
        yield
        self._offered = outputs.segmentation
        self.editor.setSegmentationNode(outputs.segmentation)
        source = next(iter(outputs.inputs.values()), None)
        if source is not None:
            self.editor.setSourceVolumeNode(source)

    def showFirst(self, run):
        self.resultViews.leave()
        if slicer.mrmlScene.IsNodePresent(run.inputs.first):
            self.grids.show_elsewhere(run.inputs.first)
        self.editSection.collapsed = False

    def _useSharedEditorNode(self):
        """Share the parameter set of the Segment Editor module."""
        node = shared_editor_node(slicer.mrmlScene)
        if self.editor.mrmlSegmentEditorNode() != node:
            self.editor.setMRMLSegmentEditorNode(node)


class DisentangleSegLogic(SegmentTools, DisentangleLogic):
    """What the panel does, for the console and for other modules.

    Example::

        logic = slicer.modules.disentangleseg.widgetRepresentation().self().logic
        segmentation = logic.segment({"T1": slicer.util.getNode("t1"), "FLAIR": slicer.util.getNode("flair")})
    """

    Parameters = SegParameters

    def __init__(self):
        DisentangleLogic.__init__(self)
        SegmentTools.__init__(self)

    def segment(self, nodes, model=None, device="auto", wait=True):
        """Fused segmentation of volumes.

        Example::

            segmentation = logic.segment({"T1": t1, "FLAIR": flair})

        Args:
            nodes: {sequence: volume node}, or a list of volume nodes whose sequences are guessed.
            model: name or folder of a bundle; None takes the default.
            wait: stay until it is done; else the run is returned at once.

        Returns:
            the segmentation node (with ``wait=False`` the run, whose ``outputs`` come later).

        Raises:
            InputError: bad input. Cancelled: the user stopped it. RuntimeError: the worker failed.
        """
        done = self.compute(nodes, Wanted(self.modelFolder(model), device, segment=True), wait)
        return done.segmentation if wait else done

    def factors(self, nodes, model=None, device="auto", wait=True):
        """Anatomy channels, anatomy map and reconstruction of every sequence.

        Example::

            factors = logic.factors({"T1": t1, "FLAIR": flair})
            print(len(factors.channels["T1"]), factors.reconstructions["T1"].GetName())

        Arguments and errors as in :meth:`segment`.

        Returns:
            the nodes by kind and sequence: ``channels``, ``argmax``, ``reconstructions``, ``aligned``.
        """
        return self.compute(nodes, Wanted(self.modelFolder(model), device, factors=True), wait)

    def crossReconstruct(self, nodes, model=None, device="auto", wait=True):
        """Every sequence's anatomy in every sequence's appearance.

        Example::

            cross = logic.crossReconstruct({"T1": t1, "FLAIR": flair})
            t1_like_flair = cross["T1", "FLAIR"]

        Arguments and errors as in :meth:`segment`.

        Returns:
            {(anatomy's sequence, appearance's sequence): volume node}.
        """
        done = self.compute(nodes, Wanted(self.modelFolder(model), device, cross_reconstructions=True), wait)
        return done.cross if wait else done


class DisentangleSegTest(ScriptedLoadableModuleTest):
    """Self-tests on a digital subject, with the shipped model, in the running Slicer."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        self.setUp()
        self.test_segmentation_from_the_console()
        self.setUp()
        self.test_panel()

    def test_segmentation_from_the_console(self):
        from disentangle.panel.testing import load_phantom

        self.delayDisplay("Segmenting a digital subject")
        nodes, labels = load_phantom()
        segmentation = (
            slicer.modules.disentangleseg.widgetRepresentation()
            .self()
            .logic.segment(nodes, model="brain-mr", device="cpu")
        )
        names = [
            segmentation.GetSegmentation().GetNthSegment(n).GetName()
            for n in range(segmentation.GetSegmentation().GetNumberOfSegments())
        ]
        self.assertIn("white matter", names)
        segmentId = segmentation.GetSegmentation().GetSegmentIdBySegmentName("white matter")
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, nodes["T1"]) > 0
        truth = labels == 3
        overlap = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        self.assertGreater(overlap, 0.5)
        self.delayDisplay("The white matter was found")

    def test_panel(self):
        from disentangle.panel.testing import load_phantom, wait_until

        self.delayDisplay("Running the panel")
        load_phantom()
        slicer.util.selectModule("DisentangleSeg")
        widget = slicer.modules.disentangleseg.widgetRepresentation().self()
        widget.ui.assignButton.click()
        self.assertEqual(widget.ui.applyButton.enabled, True)
        widget.ui.applyButton.click()
        wait_until(lambda: not widget.logic.controller.busy)
        self.assertIsNotNone(widget.outputs)
        self.assertIsNotNone(widget.outputs.segmentation)
        self.assertEqual(widget.editor.segmentationNode(), widget.outputs.segmentation)
        before = slicer.app.layoutManager().layout
        widget.ui.factorsViewButton.click()
        wait_until(lambda: slicer.app.layoutManager().layout != before)
        widget.ui.previousLayoutButton.click()
        self.assertEqual(slicer.app.layoutManager().layout, before)
        self.delayDisplay("The panel works")
