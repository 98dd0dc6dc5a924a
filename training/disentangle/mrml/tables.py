"""Tables: volumes of the segments, agreement with a reference, figures of disentanglement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from . import hierarchy
from .factor_mask import MASK_SEGMENT
from .studies import ROLE

REGIONS: dict[str, tuple[str, ...]] = {
    "whole tumour": ("peritumoral edema", "necrotic or non-enhancing core", "enhancing tumour"),
    "tumour core": ("necrotic or non-enhancing core", "enhancing tumour"),
    "brain tissue": ("grey matter", "white matter"),
}
"""Unions of classes that radiologists report, by the names of the classes."""
MISSING = "-"
_BLOCK = 1 << 16
"""Voxels that are counted at a time, few enough for the processor's cache."""


@dataclass(frozen=True)
class Structure:
    """A segment, or a union of some.

    Attributes:
        name: as it is listed.
        segments: names of the segments that make it up.
        region: whether it is a union.
        voxels, mm3: its size; a union counts a voxel of several segments once for each.
    """

    name: str
    segments: tuple[str, ...]
    region: bool
    voxels: int
    mm3: float

    @property
    def ml(self) -> float:
        return self.mm3 / 1000.0


def structures_of(segmentation: slicer.vtkMRMLSegmentationNode) -> list[Structure]:
    """Segments and regions of a segmentation with their sizes, as they are now.

    Segments that share a label map are counted in one go.
    """
    representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    counts: dict[str, tuple[int, float]] = {}
    layers: dict[int, np.ndarray] = {}
    content = segmentation.GetSegmentation()
    for name in content.GetSegmentIDs():
        if name == MASK_SEGMENT:
            continue
        segment = content.GetSegment(name)
        image = segment.GetRepresentation(representation)
        voxels, size = 0, 0.0
        if image is not None and image.GetPointData().GetScalars() is not None:
            scalars = image.GetPointData().GetScalars()
            key = hash(scalars.GetAddressAsString(""))
            if key not in layers:
                layers[key] = _counts(numpy_support.vtk_to_numpy(scalars))
            value = int(segment.GetLabelValue())
            voxels = int(layers[key][value]) if value < len(layers[key]) else 0
            size = float(np.prod(image.GetSpacing()))
        counts[segment.GetName()] = (voxels, voxels * size)
    found = [Structure(name, (name,), False, *figures) for name, figures in counts.items()]
    for region, members in REGIONS.items():
        there = tuple(m for m in members if m in counts)
        if len(there) == len(members):
            voxels, mm3 = (sum(counts[m][n] for m in there) for n in (0, 1))
            found.append(Structure(region, there, True, int(voxels), float(mm3)))
    return found


def _counts(labels: np.ndarray) -> np.ndarray:
    """How often each value occurs; in blocks, since ``bincount`` makes integers of 64 bits of what it gets."""
    highest = int(labels.max()) if labels.size else 0
    total = np.zeros(highest + 1, np.int64)
    for start in range(0, labels.size, _BLOCK):
        total += np.bincount(labels[start : start + _BLOCK].astype(np.uint16, copy=False), minlength=highest + 1)
    return total


SCORE_COLUMNS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "asd_mm": "Surface distance (mm)"}


def statistics_table(
    scene: slicer.vtkMRMLScene,
    segmentation: slicer.vtkMRMLSegmentationNode,
    structures: Sequence[Structure],
    scores: Mapping[str, Mapping[str, float | None]] | None = None,
    table: slicer.vtkMRMLTableNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """A table node: a row per structure with volume in mm3 and ml, and the scores against a reference.

    Args:
        table: filled again; None makes a new one beside the segmentation.
    """
    columns: dict[str, list[Any]] = {
        "Structure": [s.name for s in structures],
        "Voxels": [s.voxels for s in structures],
        "Volume (mm3)": [round(s.mm3, 1) for s in structures],
        "Volume (ml)": [round(s.ml, 3) for s in structures],
    }
    if scores:
        for key, title in SCORE_COLUMNS.items():
            columns[title] = [text_of(scores.get(s.name, {}).get(key)) for s in structures]
    return fill_table(scene, f"{segmentation.GetName()} statistics", columns, table, segmentation)


def text_of(value: float | None, digits: int = 3) -> str:
    """A figure with so many digits behind the point; a dash where there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"


def fill_table(
    scene: slicer.vtkMRMLScene,
    name: str,
    columns: Mapping[str, Iterable[Any]],
    table: slicer.vtkMRMLTableNode | None = None,
    beside: slicer.vtkMRMLNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """A table node of named columns: numbers become numeric columns, all else text.

    Args:
        table: filled again; None makes a new one.
        beside: the new one goes into the subject-hierarchy folder of this node.
    """
    if table is None:
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
        table.SetAttribute(ROLE, "table")
        if beside is not None:
            tree = hierarchy.tree(scene)
            hierarchy.put_into(tree.GetItemParent(hierarchy.item_of(beside)), table)
    modifying = table.StartModify()
    table.RemoveAllColumns()
    for title, values in columns.items():
        values = list(values)
        array = _column(values)
        array.SetName(title)
        table.AddColumn(array)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.SetLocked(True)
    table.EndModify(modifying)
    return table


def _column(values: list[Any]) -> vtk.vtkAbstractArray:
    if values and all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values):
        array = vtk.vtkLongLongArray()
    elif values and all(isinstance(v, (int, float, np.floating, np.integer)) for v in values):
        array = vtk.vtkDoubleArray()
    else:
        array, values = vtk.vtkStringArray(), [str(v) for v in values]
    for value in values:
        array.InsertNextValue(value)
    return array
