"""The nodes that a run has made: what they are, and how they are found again in a saved scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import slicer

from . import hierarchy
from .studies import ROLE

SEQUENCE = "Disentangle.Sequence"
"""Attribute: the sequence that a node belongs to (for cross-reconstructions: of the anatomy)."""
APPEARANCE = "Disentangle.Appearance"
"""Attribute: the sequence whose appearance a cross-reconstruction has."""
CHANNEL = "Disentangle.Channel"
"""Attribute: number of an anatomy channel, from 1."""
BUNDLE = "Disentangle.Bundle"
"""Attribute: name, version and checksum of the model, as JSON."""
RUN = "Disentangle.Run"
"""Attribute: what the nodes of one run have in common."""
INPUTS = "Disentangle.Inputs"
"""Attribute: the sequences of the run's inputs, first input first."""
SENSITIVITY = "Disentangle.Sensitivity"
"""Attribute of a segmentation: by what the odds of its lesions were multiplied, where that was asked for."""
INPUT_REFERENCE = "DisentangleInput"
"""Start of the node reference roles that lead from a result to its inputs; the sequence follows."""

_MADE_AGAIN = ("subset", "uncertainty")
"""Roles of nodes that are made anew each time they are asked for: the latest counts."""


@dataclass
class Outputs:
    """The nodes of one run.

    Attributes:
        run: identifies the run in a saved scene.
        folder: subject-hierarchy item that holds them (0 where they were found again in a saved scene).
        inputs: sequence -> input volume.
        segmentation: fused segmentation; None where none was asked for.
        aligned: sequence -> the input as the model saw it, on the working grid and registered: it lies where the first
            input shows the head.
        channels: sequence -> anatomy channel volumes.
        argmax: sequence -> label map of the strongest channel.
        reconstructions: sequence -> self-reconstruction.
        agnostic: sequence -> domain-agnostic image, of models that have such.
        cross: (anatomy, appearance) -> cross-reconstruction.
        synthetic: target sequence -> synthetic volume.
        differences: target sequence -> synthetic minus real, where there was a real one.
        uncertainty: entropy of the class probabilities; None where none was asked for.
        lesion_uncertainty: entropy of whether a voxel is of a lesion; None also where the model knows none.
        subsets: sequence -> segmentation from it alone, where such were asked for afterwards.
    """

    run: str = ""
    folder: int = 0
    inputs: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    segmentation: slicer.vtkMRMLSegmentationNode | None = None
    aligned: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    channels: dict[str, list[slicer.vtkMRMLScalarVolumeNode]] = field(default_factory=dict)
    argmax: dict[str, slicer.vtkMRMLLabelMapVolumeNode] = field(default_factory=dict)
    reconstructions: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    agnostic: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    cross: dict[tuple[str, str], slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    synthetic: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    differences: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
    lesion_uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
    subsets: dict[str, slicer.vtkMRMLSegmentationNode] = field(default_factory=dict)

    def mark(self, node: slicer.vtkMRMLNode, role: str, sequence: str = "") -> None:
        """Make a node that was added afterwards one of this run: attributes, inputs, folder."""
        node.SetAttribute(ROLE, role)
        node.SetAttribute(RUN, self.run)
        node.SetAttribute(SEQUENCE, sequence)
        node.SetAttribute(INPUTS, " ".join(self.inputs))
        for name, source in self.inputs.items():
            node.SetNodeReferenceID(f"{INPUT_REFERENCE}{name}", source.GetID())
        like = self.nodes()[0]
        tree = hierarchy.tree(node.GetScene())
        folder = self.folder or tree.GetItemParent(hierarchy.item_of(like))
        hierarchy.put_into(folder, node)

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """Every node of the run."""
        single = (self.segmentation, self.lesion_uncertainty, self.uncertainty)
        found: list[slicer.vtkMRMLNode] = [node for node in single if node is not None]
        for channels in self.channels.values():
            found += channels
        groups = (self.aligned, self.argmax, self.reconstructions, self.agnostic, self.cross, self.synthetic)
        for group in (*groups, self.differences, self.subsets):
            found += group.values()
        return found


def outputs_of(scene: slicer.vtkMRMLScene, run: str) -> Outputs | None:
    """The outputs of a run, found again by their attributes: for a scene that was saved and reopened.

    None where nothing of that run is in the scene. A copy that the user made of a node has its attributes, too, but
    comes later in the scene: the first node of a kind is the run's.
    """
    outputs = Outputs(run=run)
    place: dict[str, Callable[[Any, str], None]] = {
        "aligned": lambda node, sequence: outputs.aligned.__setitem__(sequence, node),
        "anatomy": lambda node, sequence: outputs.channels.setdefault(sequence, []).append(node),
        "argmax": lambda node, sequence: outputs.argmax.__setitem__(sequence, node),
        "reconstruction": lambda node, sequence: outputs.reconstructions.__setitem__(sequence, node),
        "agnostic": lambda node, sequence: outputs.agnostic.__setitem__(sequence, node),
        "cross": lambda node, sequence: outputs.cross.__setitem__((sequence, node.GetAttribute(APPEARANCE)), node),
        "synthetic": lambda node, sequence: outputs.synthetic.__setitem__(sequence, node),
        "difference": lambda node, sequence: outputs.differences.__setitem__(sequence, node),
        "subset": lambda node, sequence: outputs.subsets.__setitem__(sequence, node),
        "uncertainty": lambda node, sequence: setattr(outputs, "uncertainty", node),
        "lesion uncertainty": lambda node, sequence: setattr(outputs, "lesion_uncertainty", node),
        "segmentation": lambda node, sequence: setattr(outputs, "segmentation", node),
    }
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    found = [node for node in nodes if run and node.GetAttribute(RUN) == run and node.GetAttribute(ROLE) in place]
    if not found:
        return None
    for node in _without_copies(found):
        place[node.GetAttribute(ROLE)](node, node.GetAttribute(SEQUENCE))
    for channels in outputs.channels.values():
        channels.sort(key=lambda node: int(node.GetAttribute(CHANNEL)))
    outputs.inputs = run_of(found[0])
    return outputs


def _without_copies(nodes: Sequence[slicer.vtkMRMLNode]) -> list[slicer.vtkMRMLNode]:
    """One node of each kind."""
    kinds: dict[tuple[str | None, ...], slicer.vtkMRMLNode] = {}
    for node in nodes:
        kind = tuple(node.GetAttribute(name) for name in (ROLE, SEQUENCE, APPEARANCE, CHANNEL))
        if kind not in kinds or kind[0] in _MADE_AGAIN:
            kinds[kind] = node
    return list(kinds.values())


def run_of(node: slicer.vtkMRMLNode) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """The inputs that a result node refers to, the first input first."""
    inputs = {}
    for sequence in (node.GetAttribute(INPUTS) or "").split():
        source = node.GetNodeReference(f"{INPUT_REFERENCE}{sequence}")
        if source is not None:
            inputs[sequence] = source
    return inputs
