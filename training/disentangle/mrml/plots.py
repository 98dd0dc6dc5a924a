"""Factors of a study as tables and as Slicer's plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import slicer

from . import hierarchy
from .display import channel_color
from .studies import ROLE
from .tables import fill_table

if TYPE_CHECKING:
    from ..inference.scores import FactorScores


def factor_plots(
    scene: slicer.vtkMRMLScene, scores: FactorScores, folder: int = 0
) -> dict[str, slicer.vtkMRMLPlotChartNode]:
    """Charts of the modality factors ("components", "t-SNE of z") and of the anatomies ("t-SNE of s")."""
    made = {}
    percent = round(100 * scores.explained)
    for key, title, points in (
        ("components", f"Modality factors, {percent} % of their variance", scores.points),
        ("t-SNE of z", "Modality factors (t-SNE)", scores.map),
        ("t-SNE of s", "Anatomy factors (t-SNE)", scores.anatomy_map),
    ):
        if points is not None and len(points):
            made[key] = _scatter(scene, title, scores.sequences, np.asarray(points), folder)
    return made


def score_tables(
    scene: slicer.vtkMRMLScene, scores: FactorScores, folder: int = 0
) -> dict[str, slicer.vtkMRMLTableNode]:
    """Tables: similarity of anatomies, similarity of modality factors, and the figures of the whole."""
    made = {}
    for title, matrix in (("anatomy similarity", scores.anatomy), ("modality similarity", scores.modality)):
        columns = {"Sequence": list(scores.sequences)}
        columns.update({n: [round(float(v), 3) for v in matrix[:, i]] for i, n in enumerate(scores.sequences)})
        made[title] = fill_table(scene, f"Disentangle {title}", columns)
    rows = list(scores.table.items())
    made["scores"] = fill_table(
        scene,
        "Disentangle scores",
        {
            "Figure": [name for name, _ in rows],
            "Value": [round(float(value), 3) for _, (value, _) in rows],
            "Meaning": [meaning for _, (_, meaning) in rows],
        },
    )
    for table in made.values():
        if folder:
            hierarchy.put_into(folder, table)
    return made


def _scatter(
    scene: slicer.vtkMRMLScene, title: str, sequences: list[str], points: np.ndarray, folder: int
) -> slicer.vtkMRMLPlotChartNode:
    """A chart with one cloud of points per sequence."""
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(f"Disentangle {title}"))
    chart.SetAttribute(ROLE, "plot")
    chart.SetTitle(title)
    chart.SetLegendVisibility(True)
    chart.SetXAxisTitle("1")
    chart.SetYAxisTitle("2")
    nodes = [chart]
    for number, (name, cloud) in enumerate(zip(sequences, np.split(points, len(sequences)), strict=True)):
        table = fill_table(scene, f"{title} {name}", {"1": cloud[:, 0].tolist(), "2": cloud[:, 1].tolist()})
        table.SetAttribute(ROLE, "plot data")
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SetAttribute(ROLE, "plot")
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("1")
        series.SetYColumnName("2")
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series.SetMarkerSize(7)
        series.SetColor(*channel_color(number))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        nodes += [series, table]
    if folder:
        for node in nodes:
            hierarchy.put_into(folder, node)
    return chart
