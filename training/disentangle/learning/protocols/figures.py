"""Figures of reports, as PNG: grids of images, traversals, scatter plots, box plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...losses import HEALTHY

_MARKERS = "os^Dv*PX<>"
_DPI = 110


def image_grid(
    path: Path,
    rows: Sequence[Sequence[np.ndarray | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str = "",
    limits: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    maps: Sequence[str] | None = None,
    cell: float = 1.5,
) -> Path:
    """Images (H, W), or (H, W, 3) in colour, in rows and columns; None leaves a place empty.

    Args:
        path: PNG to write.
        rows: row by row.
        row_labels, column_labels: beside and above.
        title: above all.
        limits: grey values of black and white: one pair for all, or one per row; None = each row's own range.
        maps: colour map of each column, "gray" by default. Others are scaled by column, symmetrically around 0.
        cell: side of a cell in inches.
    """
    count = max(len(row) for row in rows)
    maps = list(maps or ["gray"] * count)
    height = cell * _aspect(rows)
    figure = Figure(figsize=(cell * count + 0.9, height * len(rows) + 0.75), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for r, row in enumerate(rows):
        low, high = _row_limits(row, maps, limits, r)
        for c in range(count):
            axis = axes[r, c]
            axis.set_xticks([])
            axis.set_yticks([])
            image = row[c] if c < len(row) else None
            if image is None:
                axis.set_axis_off()
            elif maps[c] == "gray":
                axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            else:
                largest = max(
                    float(np.abs(other[c]).max()) for other in rows if c < len(other) and other[c] is not None
                )
                axis.imshow(image, cmap=maps[c], vmin=-largest or -1, vmax=largest or 1, interpolation="nearest")
                if r == len(rows) - 1:
                    axis.set_xlabel(f"± {largest:.2g}", fontsize=7)
            if r == 0 and c < len(column_labels):
                axis.set_title(column_labels[c], fontsize=8)
            if c == 0 and r < len(row_labels):
                axis.set_ylabel(row_labels[r], fontsize=8)
                axis.set_axis_on()
    return _write(figure, path, title)


def scatter(
    path: Path,
    panels: Mapping[str, np.ndarray],
    colours: Sequence[str],
    markers: Sequence[str] | None = None,
    title: str = "",
) -> Path:
    """Points (n, 2) of one or more panels side by side, coloured by one label, with markers by another.

    Args:
        path: PNG to write.
        panels: heading -> points; all of the same n samples.
        colours: (n,) label of each sample that its colour stands for.
        markers: (n,) label that its marker stands for; None = one marker.
        title: above all.
    """
    figure = Figure(figsize=(4.0 * len(panels) + 1.4, 4.0), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    colours, names = np.asarray(colours), list(dict.fromkeys(colours))
    marked = np.asarray(markers) if markers is not None else np.full(len(colours), "")
    shapes = list(dict.fromkeys(marked))
    palette = matplotlib.colormaps["tab10"]
    for axis, (heading, points) in zip(axes, panels.items(), strict=True):
        for n, name in enumerate(names):
            for m, shape in enumerate(shapes):
                chosen = (colours == name) & (marked == shape)
                axis.scatter(
                    *points[chosen].T, s=18, color=palette(n % 10), marker=_MARKERS[m % len(_MARKERS)], linewidths=0
                )
        axis.set_title(heading, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    handles = [_dot(palette(n % 10), "o", str(name)) for n, name in enumerate(names)]
    if markers is not None and len(shapes) <= len(_MARKERS):
        handles += [_dot("grey", _MARKERS[m], str(shape)) for m, shape in enumerate(shapes)]
    axes[-1].legend(handles=handles, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return _write(figure, path, title)


def box_plot(path: Path, groups: Mapping[str, Mapping[str, Sequence[float]]], label: str, title: str = "") -> Path:
    """Distributions over subjects.

    Args:
        path: PNG to write.
        groups: column of a table -> method -> values.
        label: of the axis.
        title: above.
    """
    methods = list(dict.fromkeys(m for values in groups.values() for m in values))
    figure = Figure(figsize=(max(4.0, 0.35 * len(groups) * (len(methods) + 1) + 1.5), 3.6), dpi=_DPI)
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    palette = matplotlib.colormaps["tab10"]
    for g, values in enumerate(groups.values()):
        for m, method in enumerate(methods):
            finite = [v for v in values.get(method, ()) if np.isfinite(v)]
            if not finite:
                continue
            position = g * (len(methods) + 1) + m
            box = axis.boxplot([finite], positions=[position], widths=0.8, patch_artist=True, manage_ticks=False)
            box["boxes"][0].set_facecolor((*palette(m % 10)[:3], 0.45))
            box["medians"][0].set_color("black")
            axis.scatter([position] * len(finite), finite, s=6, color="black", zorder=3, linewidths=0)
    axis.set_xticks([g * (len(methods) + 1) + (len(methods) - 1) / 2 for g in range(len(groups))])
    axis.set_xticklabels(list(groups), fontsize=7, rotation=30 if len(groups) > 4 else 0)
    axis.set_ylabel(label, fontsize=8)
    axis.tick_params(axis="y", labelsize=7)
    handles = [_dot(palette(m % 10), "s", method) for m, method in enumerate(methods)]
    axis.legend(handles=handles, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return _write(figure, path, title)


def curves(
    path: Path,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    title: str = "",
) -> Path:
    """Lines: label -> (x, y)."""
    figure = Figure(figsize=(5.5, 3.4), dpi=_DPI)
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for label, (x, y) in lines.items():
        axis.plot(x, y, label=label, linewidth=1.2)
    axis.set_xlabel(x_label, fontsize=8)
    axis.set_ylabel(y_label, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, frameon=False)
    return _write(figure, path, title)


def labelled(image: np.ndarray, labels: np.ndarray, limits: tuple[float, float], count: int = 10) -> np.ndarray:
    """A grey image (H, W) with label values 1.. drawn over it in colour: (H, W, 3). Voxels that are merely healthy, or
    of unknown label, stay grey."""
    low, high = limits
    labels = np.where(labels < HEALTHY, labels, 0)
    grey = np.clip((np.asarray(image, np.float64) - low) / max(high - low, 1e-9), 0, 1)[..., None].repeat(3, axis=-1)
    colours = matplotlib.colormaps["tab10"](np.arange(count) % 10)[:, :3]
    return np.where((labels > 0)[..., None], 0.5 * grey + 0.5 * colours[np.maximum(labels, 1) - 1], grey)


def _row_limits(
    row: Sequence[np.ndarray | None], maps: Sequence[str], limits: object, number: int
) -> tuple[float, float]:
    if isinstance(limits, tuple):
        return limits
    if limits is not None:
        return limits[number]
    grey = [i for i, m in zip(row, maps, strict=False) if i is not None and m == "gray" and i.ndim == 2]
    if not grey:
        return 0.0, 1.0
    return min(float(np.percentile(i, 0.5)) for i in grey), max(float(np.percentile(i, 99.5)) for i in grey)


def _aspect(rows: Sequence[Sequence[np.ndarray | None]]) -> float:
    """Height over width of the images."""
    shapes = [image.shape for row in rows for image in row if image is not None]
    return max(h / w for h, w, *_ in shapes) if shapes else 1.0


def _dot(colour: object, marker: str, label: str) -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, color=colour, label=label, markersize=5)


def _write(figure: Figure, path: Path, title: str) -> Path:
    # In inches, since figures differ in height.
    height = figure.get_figheight()
    figure.subplots_adjust(top=1 - 0.55 / height)
    if title:
        figure.suptitle(title, y=1 - 0.08 / height, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")
    return path
