"""A result of the predictor to nodes: all of one run in one folder, or none at all where something fails."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer

from ..errors import InputError
from ..sequences import SEQUENCES
from ..study import Image
from . import hierarchy
from .display import (
    GREY,
    PET,
    channel_color,
    color_table,
    copy_window,
    difference_colors,
    show_uncertainty,
    show_volume,
    window_of,
)
from .outputs import APPEARANCE, BUNDLE, CHANNEL, INPUT_REFERENCE, INPUTS, RUN, SEQUENCE, Outputs
from .segments import segment_id, tag_checksums
from .studies import ROLE, SYNTHETIC, StudyNodes
from .terminology import terminology_entry
from .text import _
from .volumes import Placement, fill_volume, oriented_image

if TYPE_CHECKING:
    from ..bundles import ClassInfo
    from ..inference import Result, SequenceFactors

_FILL = 0.35
"""Opacity of segments in slice views; their outlines are opaque."""
_FAINT_FILL, _FAINT_OUTLINE = 0.2, 0.5
"""Share of that which healthy tissue has beside lesions: it fills the whole brain, and would hide the image that the
lesions are judged by."""
_NAMES = {"reconstruction": "reconstruction", "agnostic": "domain-agnostic"}


def results_to_nodes(
    result: Result, inputs: StudyNodes, scene: slicer.vtkMRMLScene, title: str = "Disentangle"
) -> Outputs:
    """Make the nodes of a result, in one subject-hierarchy folder under the study of the first input.

    Volumes and segmentation follow the first input: they lie under its parent transform, so that moving the input
    moves them. Where anything fails, the scene is as it was before.

    Args:
        inputs: the study that the result was computed from.
        title: name of the folder.
    """
    builder = ResultBuilder(scene, inputs, result)
    try:
        for _step in builder.steps(title):
            pass
    except BaseException:
        builder.discard()
        raise
    return builder.outputs


class ResultBuilder:
    """Makes the nodes of one run, one after the other, so that the application can work in between.

    Attributes:
        outputs: what there is so far.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, inputs: StudyNodes, result: Result) -> None:
        self.scene = scene
        self.inputs = inputs
        self.result = result
        self.placement: Placement = inputs.placement
        self.run = uuid.uuid4().hex
        self.bundle = result.report.get("bundle") or {}
        self.colors: slicer.vtkMRMLColorTableNode | None = None  # no item of the subject hierarchy
        self.outputs = Outputs(run=self.run, inputs=dict(inputs.nodes))

    def steps(self, title: str) -> Iterator[None]:
        """Make the nodes; each step makes one. Where a step fails, or no more are taken, call :meth:`discard`."""
        outputs = self.outputs
        self._look_for_inputs()
        outputs.folder = hierarchy.make_folder(self.scene, hierarchy.home_of(self.inputs.first), title)
        yield from self._factors(outputs)
        yield from self._cross(outputs)
        yield from self._synthetic(outputs)
        yield from self._segmentation(outputs)

    def _look_for_inputs(self) -> None:
        """Leave out inputs that were removed from the scene since they were read.

        Raises:
            InputError: the first one was, with which the results would lie.
        """
        if not self.scene.IsNodePresent(self.inputs.first):
            sentence = _(
                "The volume {name!r} was removed from the scene during the run; load it and press Apply again."
            )
            raise InputError(sentence.format(name=self.inputs.first.GetName()))
        self.outputs.inputs = {s: node for s, node in self.inputs.nodes.items() if self.scene.IsNodePresent(node)}

    def discard(self) -> None:
        """Take away what was made; the scene is as it was before."""
        if self.outputs.folder:
            hierarchy.remove_folder(self.scene, self.outputs.folder)
            self.outputs.folder = 0
        if self.colors is not None:
            self.scene.RemoveNode(self.colors)
            self.colors = None

    def _factors(self, outputs: Outputs) -> Iterator[None]:
        factors = self.result.factors or {}
        if not factors:
            return
        count = max(len(item.anatomy) for item in factors.values())
        entries = [(0, "background", (0.0, 0.0, 0.0))]
        entries += [(c + 1, f"channel {c + 1}", channel_color(c)) for c in range(count)]
        self.colors = color_table(self.scene, "Anatomy channels", entries)
        for sequence, item in factors.items():
            folder = hierarchy.make_folder(self.scene, outputs.folder, f"{sequence} factors")
            outputs.aligned[sequence] = self._volume(f"{sequence} aligned", item.input, "aligned", folder, sequence)
            yield
            outputs.channels[sequence] = []
            for number, image in enumerate(item.anatomy, start=1):
                name = f"{sequence} channel {number}"
                attributes = {CHANNEL: str(number)}
                outputs.channels[sequence].append(self._volume(name, image, "anatomy", folder, sequence, **attributes))
                yield
            outputs.argmax[sequence] = self._argmax(sequence, item, folder)
            yield
            drawn = (
                ("reconstruction", item.reconstruction, outputs.reconstructions),
                ("agnostic", _on_black(item.agnostic), outputs.agnostic),
            )
            for role, image, nodes in drawn:
                if image is not None:
                    name = f"{sequence} {_NAMES[role]}"
                    nodes[sequence] = self._volume(name, image, role, folder, sequence, **{SYNTHETIC: "1"})
                    yield

    def _argmax(self, sequence: str, item: SequenceFactors, folder: int) -> slicer.vtkMRMLLabelMapVolumeNode:
        node = self._node("vtkMRMLLabelMapVolumeNode", f"{sequence} anatomy map", "argmax", folder)
        node.SetAttribute(SEQUENCE, sequence)
        fill_volume(node, item.argmax.array.astype(np.uint8), item.argmax.affine, self.placement)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAndObserveColorNodeID(self.colors.GetID())
        return node

    def _cross(self, outputs: Outputs) -> Iterator[None]:
        if not self.result.cross:
            return
        folder = hierarchy.make_folder(self.scene, outputs.folder, "Cross-reconstructions")
        for (anatomy, appearance), image in self.result.cross.items():
            attributes = {APPEARANCE: appearance, SYNTHETIC: "1"}
            node = self._volume(
                f"{anatomy} anatomy as {appearance}",
                image,
                "cross",
                folder,
                anatomy,
                window=self._window(appearance, image, outputs),
                **attributes,
            )
            outputs.cross[anatomy, appearance] = node
            yield

    def _synthetic(self, outputs: Outputs) -> Iterator[None]:
        for target, image in self.result.synthesized.items():
            node = self._volume(
                f"{target} (synthetic)",
                image,
                "synthetic",
                outputs.folder,
                target,
                window=self._window(target, image, outputs),
                **{SYNTHETIC: "1"},
            )
            node.SetDescription(
                f"Synthetic {target}, made by the model {self.bundle.get('name', '')} "
                f"{self.bundle.get('version', '')} {self._origin(target)}; not acquired by a scanner."
            )
            outputs.synthetic[target] = node
            if SEQUENCES[target].modality == "PT":
                self._as_pet(node)
            yield
        for target, image in self.result.differences.items():
            name = f"{target} synthetic minus real"
            reach = float(np.percentile(np.abs(image.array[image.array != 0][::7]), 99)) if image.array.any() else 1.0
            node = self._volume(name, image, "difference", outputs.folder, target, window=(-reach, reach))
            node.GetDisplayNode().SetAndObserveColorNodeID(difference_colors(self.scene).GetID())
            node.SetDescription(
                f"Synthetic minus real {target}, after the synthetic image was fitted to the real one by slope and "
                "offset (least squares inside the mask): differences of brightness and contrast as a whole are not "
                "in it."
            )
            outputs.differences[target] = node
            yield

    def _origin(self, target: str) -> str:
        """From which sequences a synthetic volume was made, and in whose look: one that it is compared with was left
        out, and sequences that the model does not know were not read."""
        facts = self.result.report.get("inputs") or {name: {"used": True} for name in self.inputs.nodes}
        read = {name for name, entry in facts.items() if entry["used"]}
        if target in self.result.differences:
            read.discard(target)
        used = ", ".join(name for name in self.inputs.nodes if name in read)
        look = (self.result.report.get("examples") or {}).get(target)
        return f"from {used}" + (f", in the look of the {look}" if look else "")

    @staticmethod
    def _as_pet(node: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Nothing taken up is black, and the unit is the one of the model's PET."""
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(PET)
        display.SetWindowLevelMinMax(0.0, display.GetWindowLevelMax())
        node.SetDescription(f"{node.GetDescription()} In SUV-like units of the model's training data.")

    def _segmentation(self, outputs: Outputs) -> Iterator[None]:
        if self.result.lesion_uncertainty is not None:
            text = "Entropy of lesion or not: 0 certain, 1 both equally probable."
            node = self._entropy("Lesion uncertainty", self.result.lesion_uncertainty, text, outputs)
            outputs.lesion_uncertainty = node
            yield
        if self.result.uncertainty is not None:
            text = "Entropy of the class probabilities: 0 certain, 1 all classes equally probable."
            outputs.uncertainty = self._entropy("Uncertainty", self.result.uncertainty, text, outputs)
            yield
        image = self.result.segmentation
        if image is None:
            return
        name = f"{self.inputs.first.GetName()} segmentation"
        node = self._node("vtkMRMLSegmentationNode", name, "segmentation", outputs.folder)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetOpacity2DFill(_FILL)
        fill_segmentation(node, image, self.result.classes, self.placement)
        _let_lesions_stand_out(node, self.result.classes)
        tag_checksums(node, {int(v): c for v, c in self.result.report.get("checksums", {}).items()})
        yield
        if self.placement.transform is not None:
            node.SetAndObserveTransformNodeID(self.placement.transform.GetID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.inputs.first)
        outputs.segmentation = node
        yield

    def _entropy(self, name: str, image: Image, text: str, outputs: Outputs) -> slicer.vtkMRMLScalarVolumeNode:
        node = self._volume(name, image, name.lower(), outputs.folder, "", window=(0.0, 1.0))
        show_uncertainty(node)
        node.SetDescription(text)
        return node

    def _window(self, sequence: str, image: Image, outputs: Outputs) -> tuple[float, float]:
        """Window of the real volume of that sequence where there is one with values alike, else by content."""
        own = window_of(image.array)
        real = outputs.inputs.get(sequence)
        shown = copy_window(real) if real is not None else None
        if shown is None:
            return own
        alike = 0.5 < (shown[1] - shown[0]) / (own[1] - own[0]) < 2.0
        return shown if alike else own

    def _volume(
        self,
        name: str,
        image: Image,
        role: str,
        folder: int,
        sequence: str,
        window: tuple[float, float] | None = None,
        **attributes: str,
    ) -> slicer.vtkMRMLScalarVolumeNode:
        node = self._node("vtkMRMLScalarVolumeNode", name, role, folder)
        for key, value in {SEQUENCE: sequence, **attributes}.items():
            node.SetAttribute(key, value)
        # In this order: a display node that got the voxels first would look for a window of its own in all of them.
        show_volume(node, window or window_of(image.array), GREY)
        fill_volume(node, image.array, image.affine, self.placement)
        return node

    def _node(self, kind: str, name: str, role: str, folder: int) -> slicer.vtkMRMLNode:
        node = self.scene.AddNewNodeByClass(kind, self.scene.GenerateUniqueName(name))
        node.SetAttribute(ROLE, role)
        node.SetAttribute(RUN, self.run)
        node.SetAttribute(INPUTS, " ".join(self.inputs.nodes))
        for sequence, source in self.outputs.inputs.items():
            node.SetNodeReferenceID(f"{INPUT_REFERENCE}{sequence}", source.GetID())
        node.SetAttribute(BUNDLE, json.dumps({k: self.bundle.get(k) for k in ("name", "version", "checksum")}))
        hierarchy.put_into(folder, node)
        return node


def add_disagreement(
    outputs: Outputs,
    image: Image,
    scene: slicer.vtkMRMLScene,
    placement: Placement,
    appearance: str = "",
    drawing: bool = False,
    node: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """The uncertainty of a run that made synthetic volumes, computed afterwards (``Session.disagreement``).

    Args:
        appearance: whose it is about, for the description; "" is the model's own.
        drawing: it is about what the sliders drew, and not about the run's synthetic volumes.
        node: filled again; None makes a new one.
    """
    if node is None:
        title = "Uncertainty of the drawing" if drawing else "Uncertainty"
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(title))
    inside = image.array[image.array > 0]
    # It has no end of its own as an entropy has: the most uncertain hundredth is the brightest.
    reach = float(np.percentile(inside, 99)) if len(inside) else 1.0
    show_volume(node, (0.0, reach), GREY)
    fill_volume(node, image.array, image.affine, placement)
    show_uncertainty(node)
    node.SetDescription(
        "Standard deviation of what each sequence alone would give, in units of the spread of all intensities."
        + (f" Appearance: {appearance}." if appearance else "")
    )
    outputs.mark(node, "drawn uncertainty" if drawing else "uncertainty")
    if not drawing:
        outputs.uncertainty = node
    return node


def _on_black(image: Image | None) -> Image | None:
    """A domain-agnostic image with its least value outside the mask: it has values of both signs, and 0 there would be
    grey."""
    if image is None:
        return None
    outside = image.array == image.array.flat[0]
    return Image(np.where(outside, image.array.min(), image.array), image.affine, source=image.source)


def fill_segmentation(
    node: slicer.vtkMRMLSegmentationNode, image: Image, classes: Iterable[ClassInfo], placement: Placement
) -> None:
    """One segment per class but the background, in one shared label map, with names, colours and terminology.

    Classes without a voxel get their (empty) segment too, so that they are there to be drawn.
    """
    segmentation = node.GetSegmentation()
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation.SetSourceRepresentationName(representation)
    labels = oriented_image(image.array.astype(np.uint8), image.affine, placement)
    for info in classes:
        if info.value == 0:
            continue
        segment = slicer.vtkSegment()
        segment.SetName(info.name)
        segment.SetColor(*[c / 255.0 for c in info.color])
        segment.SetLabelValue(info.value)
        segment.AddRepresentation(representation, labels)
        if info.terminology:
            segment.SetTerminology(terminology_entry(info.terminology))
        segmentation.AddSegment(segment, segment_id(info.value))


def _let_lesions_stand_out(node: slicer.vtkMRMLSegmentationNode, classes: Sequence[ClassInfo]) -> None:
    """Fill what is healthy faintly, where a model tells it from lesions."""
    if not any(info.abnormal for info in classes):
        return
    for info in classes:
        if info.value and not info.abnormal:
            node.GetDisplayNode().SetSegmentOpacity2DFill(segment_id(info.value), _FAINT_FILL)
            node.GetDisplayNode().SetSegmentOpacity2DOutline(segment_id(info.value), _FAINT_OUTLINE)
