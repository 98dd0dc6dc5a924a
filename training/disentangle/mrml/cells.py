"""What the views of a grid show: factors, cross-reconstructions, uncertainty, real beside synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import slicer

from .outputs import Outputs


@dataclass(frozen=True, eq=False)
class Cell:
    """What one view shows.

    Attributes:
        caption: short, it stands in the view's title bar.
        volume: background volume; None leaves the view black.
        label: label map on top of it.
        foreground: volume blended over the background.
        foreground_opacity: 0 to 1.
        window: views of the same name here share window and level; "" shares with none.
    """

    caption: str
    volume: slicer.vtkMRMLVolumeNode | None = None
    label: slicer.vtkMRMLLabelMapVolumeNode | None = None
    foreground: slicer.vtkMRMLVolumeNode | None = None
    foreground_opacity: float = 0.5
    window: str = ""


Grid = Sequence[Sequence[Cell]]
"""Rows of cells, all of the same length."""


def factor_cells(outputs: Outputs) -> list[list[Cell]]:
    """A row per sequence: the aligned input with its anatomy map, the anatomy channels, the domain-agnostic image of
    models that have one, the reconstruction of those that draw images."""
    columns = max((len(channels) for channels in outputs.channels.values()), default=0)
    rows = []
    for sequence, channels in outputs.channels.items():
        row = [Cell(sequence, outputs.aligned.get(sequence), outputs.argmax.get(sequence), window=sequence)]
        row += [
            Cell(f"{sequence} ch {number}", node, window="channels") for number, node in enumerate(channels, start=1)
        ]
        row += [Cell("") for _ in range(columns - len(channels))]
        if outputs.agnostic:
            row.append(Cell(f"{sequence} agnostic", outputs.agnostic.get(sequence), window="agnostic"))
        if outputs.reconstructions:
            row.append(Cell(f"{sequence} rec", outputs.reconstructions.get(sequence), window=sequence))
        rows.append(row)
    return rows


def cross_cells(outputs: Outputs) -> list[list[Cell]]:
    """Anatomy of the row's sequence in the appearance of the column's; the diagonal is self-reconstruction."""
    anatomies = list(dict.fromkeys(anatomy for anatomy, _ in outputs.cross))
    appearances = list(dict.fromkeys(appearance for _, appearance in outputs.cross))
    return [
        [
            Cell(f"{anatomy}→{appearance}", outputs.cross.get((anatomy, appearance)), window=appearance)
            for appearance in appearances
        ]
        for anatomy in anatomies
    ]


def agnostic_cells(outputs: Outputs) -> list[list[Cell]]:
    """A row: the domain-agnostic image of each sequence, above it the sequence itself."""
    if not outputs.agnostic:
        return [[]]
    names = list(outputs.agnostic)
    return [
        [Cell(name, outputs.aligned.get(name), window=name) for name in names],
        [Cell(f"{name} agnostic", outputs.agnostic[name], window="agnostic") for name in names],
    ]


def uncertainty_cells(outputs: Outputs) -> list[list[Cell]]:
    """A row per map, that of lesions first: the first synthetic volume, of runs without such the first input, the same
    with the uncertainty over it, and the uncertainty alone."""
    made = {f"{target} syn": node for target, node in outputs.synthetic.items()}
    name, image = next(iter((made or outputs.inputs).items()), ("", None))
    maps = {"lesion uncertainty": outputs.lesion_uncertainty, "uncertainty": outputs.uncertainty}
    return [judged_row(name, image, node, title) for title, node in maps.items() if node is not None] or [[]]


def judged_row(
    name: str,
    image: slicer.vtkMRMLVolumeNode | None,
    uncertainty: slicer.vtkMRMLVolumeNode,
    title: str = "uncertainty",
) -> list[Cell]:
    """An image, the same with its uncertainty over it, and the uncertainty alone."""
    return [
        Cell(name, image, window=name),
        Cell(f"{name} + {title}", image, window=name, foreground=uncertainty, foreground_opacity=0.5),
        Cell(title, uncertainty),
    ]


def compare_cells(outputs: Outputs) -> list[list[Cell]]:
    """Real, synthetic and their difference, a row per target that there is really; without such, the inputs in the
    first row and the synthetic volumes in the second; one row where four views hold them all."""
    if outputs.differences:
        return [
            [
                Cell(f"{target} real", outputs.inputs.get(target), window=target),
                Cell(f"{target} syn", outputs.synthetic.get(target), window=target),
                Cell(f"{target} difference", outputs.differences.get(target)),
            ]
            for target in outputs.synthetic
        ]
    real = [Cell(sequence, node) for sequence, node in outputs.inputs.items()]
    synthetic = [Cell(f"{target} syn", node) for target, node in outputs.synthetic.items()]
    if len(real) + len(synthetic) <= 4:
        return [real + synthetic]
    width = max(len(real), len(synthetic))
    return [row + [Cell("")] * (width - len(row)) for row in (real, synthetic)]
