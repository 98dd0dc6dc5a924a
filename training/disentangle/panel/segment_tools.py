"""What DisentangleSeg's logic does with a segmentation: tables, scores, other subsets, learning from corrections."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer

from ..bundles import Bundle, ClassInfo, find_bundle
from ..errors import InputError
from ..inference.learner import UNTAUGHT
from ..mrml.factor_mask import release, restrict, shared_editor_node
from ..mrml.outputs import BUNDLE, INPUT_REFERENCE, INPUTS, RUN, SENSITIVITY, Outputs, run_of
from ..mrml.results import fill_segmentation
from ..mrml.segments import (
    EDITED,
    added_segments,
    checksums,
    copy_segments,
    edited,
    labels_of,
    mask_of,
    own_mask,
    replace_labels,
    segment_id,
    tag_checksums,
    tags_of,
)
from ..mrml.studies import StudyNodes
from ..mrml.tables import statistics_table, structures_of
from ..mrml.text import _
from ..mrml.volumes import RAS_LPS, ijk_to_ras, image_from_node, placement_of
from ..study import Image
from .kept_edits import KeptEdits
from .tasks import Job

if TYPE_CHECKING:
    from ..inference import Result


_CONTENT = "Disentangle.FirstInput"
"""Attribute of a segmentation: checksum of the voxels that the first input had. The proxy volumes of a sequence browser
keep their ID while they show other time points."""


class SegmentTools:
    """Part of a logic; the rest of it offers ``work``, ``session``, ``sessionOf``, ``runner``.

    Attributes:
        beforeReplacing: called with a segmentation before another answer of the model gives it other voxels.
    """

    def __init__(self) -> None:
        self._before_learning: list[tuple] = []
        self.beforeReplacing: Callable[[slicer.vtkMRMLSegmentationNode], None] = lambda _segmentation: None

    def statistics(self, segmentation, table=None):
        """Volume of every segment and region (whole tumour, tumour core) as it is now, edits included.

        Example::

            table = logic.statistics(segmentation)
            print(slicer.util.arrayFromTableColumn(table, "Volume (mm3)"))

        Args:
            table: table node to fill again; None makes a new one.

        Returns:
            the table node: Structure, Voxels, Volume (mm3), Volume (ml).

        Raises:
            InputError: the segmentation is no longer in the scene.
        """
        _check_present(segmentation)
        return statistics_table(slicer.mrmlScene, segmentation, structures_of(segmentation), None, table)

    def compareSegmentations(self, segmentation, reference, wait=True, onDone=None):
        """Dice, HD95 (mm) and mean surface distance (mm) against a reference segmentation, by the segments' names.

        Regions (whole tumour, ...) are compared where the reference has all of their segments. Without any name in
        common, everything is compared with everything.

        Example::

            scores = logic.compareSegmentations(segmentation, by_hand)
            print(scores["white matter"]["dice"])

        Returns:
            {structure: {"dice", "hd95_mm", "asd_mm"}} (with ``wait=False`` the job).

        Raises:
            InputError: the reference has no segments, or cannot be turned into voxels. RuntimeError: the worker
            failed.
        """
        volume = grid_of(segmentation)
        masks = _masks_by_structure(segmentation, reference, volume)
        job = Job(
            request={"request": "compare"},
            sends={"pairs": masks, "spacing": [float(v) for v in volume.GetSpacing()]},
            title=_("Comparing with {name}").format(name=reference.GetName()),
            reads=False,
        )
        done = self.work(job, wait, onDone)
        return done["scores"] if wait else done

    def singleSequences(self, run=None, sequences=None, wait=True, onDone=None):
        """The segmentation that each sequence alone would have given, from the factors of the last run.

        Example::

            alone = logic.singleSequences()
            print({name: node.GetName() for name, node in alone.items()})

        Args:
            run: outputs of the last run; None takes them.
            sequences: those to show; None takes all.

        Returns:
            {sequence: segmentation node} (with ``wait=False`` the job, whose ``answer["nodes"]`` they are).

        Raises:
            InputError: the factors of that run are no longer in memory, or its first input is no longer in the scene.
        """
        outputs = run or self.lastOutputs()
        session = self.sessionOf(outputs.run)
        studied = self.runner.run.inputs
        if not slicer.mrmlScene.IsNodePresent(studied.first):
            sentence = _("The volume {name} is no longer in the scene; load it and press Apply again.")
            raise InputError(sentence.format(name=studied.first.GetName()))
        names = list(sequences or outputs.inputs)
        bundle = find_bundle(self.runner.run.wanted.bundle)

        def done(job: Job) -> None:
            if job.error is None:
                job.answer["nodes"] = _nodes_of_subsets(job.answer["content"], outputs, bundle, studied)
            if onDone is not None:
                onDone(job)

        request = {"request": "subset", "session": session, "subsets": [[name] for name in names]}
        job = self.work(Job(request=request, title=_("Segmenting from single sequences")), False, done)
        return self._result(job)["nodes"] if wait else job

    def editedSegments(self, segmentation) -> list[str]:
        """Names of the segments that are no longer what the model gave.

        Example::

            print(logic.editedSegments(segmentation))
        """
        labels, values = labels_of(segmentation, grid_of(segmentation))
        content = segmentation.GetSegmentation()
        return [content.GetSegment(f"Disentangle_{v}").GetName() for v in edited(segmentation, labels, values)]

    def keepEdited(self, segmentation, inputs) -> Callable[[Result], None] | None:
        """For :meth:`start`: a change of the next result that leaves the edited segments as they are now; None where
        nothing was edited, or the next run is of another subject.

        They are kept where the first input is the same volume, with the same voxels, in the same place, and where the
        model has the same class. Where they are not, although some input is the same, the report of the result says so.
        Segments that the user added come along (:meth:`takeOver`).

        Args:
            inputs: {sequence: volume node} of the next run.
        """
        volume = _grid(segmentation) if segmentation is not None else None
        ids = [node.GetID() for node in inputs.values() if node is not None]
        if volume is None or not any(node.GetID() in ids for node in run_of(segmentation).values()):
            return None
        affine = _world_affine(volume)
        if affine is None:  # the run lay on a grid of its own, with which nothing can be compared here
            return None
        labels, values = labels_of(segmentation, volume)
        content = segmentation.GetSegmentation()
        changed = {v: content.GetSegment(segment_id(v)).GetName() for v in edited(segmentation, labels, values)}
        own = {name: content.GetSegment(name).GetName() for name in added_segments(segmentation)}
        if not changed and not own:
            return None
        same = ids[0] == volume.GetID() and segmentation.GetAttribute(_CONTENT) in (None, _checksum(volume))
        model = json.loads(segmentation.GetAttribute(BUNDLE) or "{}")
        return KeptEdits(segmentation, segmentation.GetName(), labels, affine if same else None, changed, own, model)

    def takeOver(self, outputs) -> None:
        """Complete the segmentation of the last run: the segments that the user had added to the one before, if what
        was edited is kept; and what its first input showed, for :meth:`keepEdited`.

        Args:
            outputs: what is shown; those of other runs, and None, are left as they are.
        """
        run = self.runner.run
        if run is None or outputs is None or outputs.run != getattr(run.outputs, "run", None):
            return
        segmentation = outputs.segmentation
        if segmentation is None or segmentation.GetAttribute(_CONTENT) is not None or _grid(segmentation) is None:
            return
        segmentation.SetAttribute(_CONTENT, _checksum_of(next(iter(run.inputs.study.images.values()))))
        if isinstance(run.change, KeptEdits) and run.change.kept and slicer.mrmlScene.IsNodePresent(run.change.node):
            copy_segments(run.change.node, run.change.own, segmentation, _grid(segmentation))

    def editInside(self, segmentation, sequence, channels) -> int:
        """Let the Segment Editor change only voxels whose strongest anatomy channel is one of these.

        Example::

            logic.editInside(segmentation, "T1", [1, 2])

        Args:
            sequence: whose anatomy counts; channels: numbers from 1.

        Returns:
            how many voxels that are.

        Raises:
            InputError: the run kept no anatomy of that sequence.
        """
        run = self.lastOutputs()
        if sequence not in run.argmax:
            raise InputError(_("There are no factors of {name}; tick 'Anatomy factors'.").format(name=sequence))
        return restrict(shared_editor_node(slicer.mrmlScene), segmentation, run.argmax[sequence], channels)

    @staticmethod
    def editEverywhere(segmentation) -> None:
        """Let the Segment Editor draw everywhere again.

        Example::

            logic.editEverywhere(segmentation)
        """
        release(shared_editor_node(slicer.mrmlScene), segmentation)

    def learn(self, segmentation, wait=True, onDone=None):
        """Teach the model's segmentation head what was corrected in the run's segmentation; some seconds.

        The model answers anew with what it learnt; what you drew stays. Segments that you added teach it nothing.
        :meth:`undoLearning` forgets what was learnt, :meth:`saveModel` makes a model of it.

        Example::

            figures = logic.learn(segmentation)
            print(figures["agreement"])

        Returns:
            figures: ``slices``, ``voxels``, ``loss``, ``agreement`` (before, after), ``seconds`` (with ``wait=False``
            the job).

        Raises:
            InputError: nothing was corrected, or the factors are no longer in memory.
        """
        name = segmentation.GetAttribute(RUN)

        def remember(before: tuple) -> None:
            # The worker has forgotten the adaptations of other runs.
            earlier = [entry for entry in self._before_learning if entry[0].GetAttribute(RUN) == name]
            self._before_learning = [*earlier, before]

        title = _("Learning from edits")
        job = self._answer_anew(segmentation, {"request": "adapt"}, "corrected", title, onDone, remember)
        return self._result(job)["figures"] if wait else job

    def setSensitivity(self, segmentation, odds, wait=True, onDone=None):
        """More and larger lesions in the run's segmentation, or fewer: in a moment, and what you drew stays.

        The run's report tells the volumes as they then are.

        Example::

            logic.setSensitivity(segmentation, 4)

        Args:
            odds: those of a lesion are taken for so many times what the model says; 1 is the model's own answer, below
                1 makes lesions fewer and smaller.

        Returns:
            the segmentation (with ``wait=False`` the job).

        Raises:
            InputError: the factors are no longer in memory, or there is no such sensitivity.
        """

        def done(job: Job) -> None:
            if job.error is None and slicer.mrmlScene.IsNodePresent(segmentation):
                segmentation.SetAttribute(SENSITIVITY, f"{float(odds):g}")
                now = {s.name: round(s.ml, 3) for s in structures_of(segmentation) if not s.region}
                self.runner.run.report.update(volumes_ml=now, sensitivity=float(odds))
            if onDone is not None:
                onDone(job)

        request = {"request": "sensitivity", "sensitivity": odds}
        job = self._answer_anew(segmentation, request, "shown", _("Segmenting with another sensitivity"), done)
        if not wait:
            return job
        self._result(job)
        return segmentation

    def _answer_anew(self, segmentation, request, what, title, onDone, onAnswer=None) -> Job:
        """Have the model answer once more what it answered in a run; what the user drew stays.

        Args:
            request: of the worker, which reads the segmentation as it is now as ``what``.
            onAnswer: is told, when there is an answer, what the segmentation was: node, labels and tags.

        Raises:
            InputError: see :func:`grid_of` and ``sessionOf``.
        """
        volume = grid_of(segmentation)
        session = self.sessionOf(segmentation.GetAttribute(RUN))
        labels, values = labels_of(segmentation, volume)
        # A segment of no class says what a voxel is not to the model: neither background nor anything else it knows.
        untaught = (labels == 0) & own_mask(segmentation, volume)
        run = self.runner.run
        classes = find_bundle(run.wanted.bundle).classes
        mine = edited(segmentation, labels, values)
        before = (segmentation, labels, tags_of(segmentation))

        def done(job: Job) -> None:
            if job.error is None:
                if onAnswer is not None:
                    onAnswer(before)
                if _grid(segmentation) is not None:
                    self.beforeReplacing(segmentation)
                    answer = job.answer["content"].array
                    _take_answer(segmentation, np.where(untaught, 0, answer), labels, mine, classes, volume)
            if onDone is not None:
                onDone(job)

        shown = np.where(untaught, UNTAUGHT, labels).astype(np.uint8)
        image = Image(shown, run.inputs.study[next(iter(run.inputs.nodes))].affine)
        return self.work(Job(request={**request, "session": session}, sends={what: image}, title=title), False, done)

    def undoLearning(self, wait=True, onDone=None, segmentation=None):
        """Forget the last :meth:`learn`; the segmentation becomes what it was just before, your corrections included.

        Example::

            logic.undoLearning()

        Args:
            segmentation: the one that learning changed; None takes the one that was learnt from last.

        Returns:
            how many adaptations are left in force.

        Raises:
            InputError: the factors of that segmentation's run are no longer in memory, or nothing was learnt.
        """
        if segmentation is None and self._before_learning:
            segmentation = self._before_learning[-1][0]
        session = self.session() if segmentation is None else self.sessionOf(segmentation.GetAttribute(RUN))
        classes = find_bundle(self.runner.run.wanted.bundle).classes

        def done(job: Job) -> None:
            if job.error is None and self._before_learning and self._before_learning[-1][0] is segmentation:
                # A segmentation that another run made of what was learnt stays until the next one.
                changed, labels, tags = self._before_learning.pop()
                if _grid(changed) is not None:
                    self.beforeReplacing(changed)
                    replace_labels(changed, labels, classes, grid_of(changed))
                    tag_checksums(changed, tags)
            if onDone is not None:
                onDone(job)

        request = {"request": "undo", "session": session}
        job = self.work(Job(request=request, title=_("Undoing"), reads=False), False, done)
        return self._result(job)["learnt"] if wait else job

    def saveModel(self, name, wait=True, onDone=None):
        """Store the adapted model among your own, as a bundle.

        Example::

            folder = logic.saveModel("brain-mr-corrected")

        Returns:
            the bundle's folder.

        Raises:
            InputError: nothing was learnt, or there is a model of that name.
        """
        request = {"request": "save", "session": self.session(), "name": str(name)}
        done = self.work(Job(request=request, title=_("Storing the model"), reads=False), wait, onDone)
        return done["bundle"] if wait else done


def grid_of(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode:
    """The volume on whose grid a segmentation of a run lies: the run's first input.

    Raises:
        InputError: the segmentation is no longer in the scene, or is none of a run whose first input is there.
    """
    _check_present(segmentation)
    volume = _grid(segmentation)
    if volume is None:
        raise InputError(
            _("{name} was not made by Disentangle, or its first input is gone.").format(name=segmentation.GetName())
        )
    return volume


def _check_present(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Refuse a segmentation that was removed."""
    if not slicer.mrmlScene.IsNodePresent(segmentation):
        raise InputError(_("{name} is no longer in the scene.").format(name=segmentation.GetName()))


def _grid(segmentation: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The first input of a segmentation's run; None where it or the segmentation is gone, or it is of no run.

    The inputs that are left would do for none of this: the segmentation lies on the grid of the first.
    """
    names = (segmentation.GetAttribute(INPUTS) or "").split()
    if not names or not slicer.mrmlScene.IsNodePresent(segmentation):
        return None
    volume = segmentation.GetNodeReference(f"{INPUT_REFERENCE}{names[0]}")
    return volume if volume is not None and volume.GetImageData() is not None else None


def _checksum(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Of a volume's voxels as a run reads them."""
    return _checksum_of(image_from_node(volume))


def _checksum_of(image: Image) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(image.array)):08x}"


def _world_affine(volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray | None:
    """(4, 4) LPS affine of a volume in the world; None under a transform that no affine image can carry."""
    if volume.GetParentTransformNode() is None:
        return RAS_LPS @ ijk_to_ras(volume)
    to_world = placement_of(volume).to_world
    return None if to_world is None else RAS_LPS @ to_world @ ijk_to_ras(volume)


def _take_answer(
    segmentation: slicer.vtkMRMLSegmentationNode,
    answer: np.ndarray,
    sent: np.ndarray,
    mine: Sequence[int],
    classes: Sequence[ClassInfo],
    volume: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Give a segmentation what the model answers now; what was drawn since it was sent stays, too.

    Args:
        answer: class values of the new answer; sent: those that it was told.
        mine: classes that had been edited by then. They still count as edited.
    """
    now, values = labels_of(segmentation, volume)
    since = now != sent
    labels = np.where(since, now, answer).astype(np.uint8)
    replace_labels(segmentation, labels, classes, volume)
    touched = {*mine, *np.unique(now[since]).tolist(), *np.unique(sent[since]).tolist()}
    tag_checksums(segmentation, {**checksums(labels, values), **dict.fromkeys(touched.intersection(values), EDITED)})


def _masks_by_structure(segmentation, reference, volume) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Structure -> its voxels in both, uint8; segments are matched by name, whatever its case."""
    theirs = {}
    content = reference.GetSegmentation()
    for name in content.GetSegmentIDs():
        theirs[content.GetSegment(name).GetName().strip().lower()] = name
    if not theirs:
        raise InputError(_("{name} has no segments to compare with.").format(name=reference.GetName()))
    own = {
        segmentation.GetSegmentation().GetSegment(n).GetName(): n
        for n in segmentation.GetSegmentation().GetSegmentIDs()
    }
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    structures = structures_of(segmentation)
    for structure in structures:
        key = structure.name.lower()
        wanted = [theirs[key]] if key in theirs else [theirs.get(m.lower()) for m in structure.segments]
        if None in wanted:
            continue
        found = _union([mask_of(segmentation, own[m], volume) for m in structure.segments])
        pairs[structure.name] = (found, _union([mask_of(reference, m, volume) for m in wanted]))
    if not pairs:
        everything = [mask_of(segmentation, own[s.name], volume) for s in structures if not s.region]
        pairs["everything"] = (_union(everything), _union([mask_of(reference, n, volume) for n in theirs.values()]))
    return pairs


def _union(masks: Iterable[np.ndarray]) -> np.ndarray:
    masks = list(masks)
    result = masks[0].astype(np.uint8)
    for mask in masks[1:]:
        result |= mask.astype(np.uint8)
    return result


def _nodes_of_subsets(
    images: Mapping[str, Image], outputs: Outputs, bundle: Bundle, studied: StudyNodes
) -> dict[str, slicer.vtkMRMLSegmentationNode]:
    """A segmentation node per subset, beside the fused one and hidden, so that one is looked at at a time.

    Args:
        studied: what the run read. The images lie where it lay then; the nodes follow it to where it was moved since.
    """
    scene = slicer.mrmlScene
    made = {}
    for name, image in images.items():
        title = _("{name} alone").format(name=name)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(title))
        outputs.mark(node, "subset", name)
        node.CreateDefaultDisplayNodes()
        placement = studied.placement
        fill_segmentation(node, image, bundle.classes, placement)
        if placement.transform is not None:
            node.SetAndObserveTransformNodeID(placement.transform.GetID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(studied.first)
        node.GetDisplayNode().SetVisibility(False)
        outputs.subsets[name] = node
        made[name] = node
    return made
