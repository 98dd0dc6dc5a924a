"""A protocol's report: scores with mean, deviation and test, beside the paper's numbers, as JSON and Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...study import write_atomically
from ..statistics import Comparison, MeanStd, best_against_second, mean_std
from . import published
from .figures import box_plot
from .protocol import QUANTITIES, Picture, Protocol, TableSpec, lower_is_better
from .runs import slug

ALL = "all"
"""Subject of a score that takes all test subjects together."""


@dataclass(frozen=True)
class Score:
    """One number: of a method, in a column of a table, for a subject and a repetition."""

    table: str
    method: str
    column: str
    seed: int
    fold: int | None
    subject: str
    value: float


@dataclass
class Report:
    """Everything that a protocol found.

    Attributes:
        protocol: what was run.
        about: command, machine, configuration, data that was tested on ("digital hearts"), ...
        scores: all numbers.
        models: method -> condition -> weights, steps and minutes of the first repetition.
        pictures: figures in the folder.
    """

    protocol: Protocol
    about: dict[str, Any]
    scores: list[Score] = field(default_factory=list)
    models: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)

    def summary(self, table: str) -> dict[str, dict[str, MeanStd]]:
        """Method -> column -> mean and deviation over repetitions of the mean over subjects."""
        found: dict[str, dict[str, dict[tuple, list[float]]]] = {}
        for s in self._of(table):
            column = found.setdefault(s.method, {}).setdefault(s.column, {})
            column.setdefault((s.seed, s.fold), []).append(s.value)
        return {
            method: {c: mean_std([mean_std(v).mean for v in runs.values()]) for c, runs in columns.items()}
            for method, columns in found.items()
        }

    def by_subject(self, table: str, column: str) -> dict[str, dict[str, float]]:
        """Method -> subject -> value, averaged over repetitions."""
        found: dict[str, dict[str, list[float]]] = {}
        for s in self._of(table):
            if s.column == column and s.subject != ALL:
                found.setdefault(s.method, {}).setdefault(s.subject, []).append(s.value)
        return {m: {n: mean_std(v).mean for n, v in subjects.items()} for m, subjects in found.items()}

    def comparisons(self, table: TableSpec) -> dict[str, Comparison]:
        """Column -> best against second-best method."""
        found = {}
        for column in self.columns(table.key) if table.ranked else ():
            comparison = best_against_second(self.by_subject(table.key, column), not lower_is_better(column))
            if comparison is not None:
                found[column] = comparison
        return found

    def columns(self, table: str) -> list[str]:
        """The columns of a table, in the order of their first score."""
        return list(dict.fromkeys(s.column for s in self._of(table)))

    def write(self, folder: Path) -> Path:
        """Box plots, report.json and report.md; returns the path of the last."""
        folder.mkdir(parents=True, exist_ok=True)
        for spec in self._tables():
            self._draw_boxes(spec, folder)
        with write_atomically(folder / "report.json") as temporary:
            temporary.write_text(json.dumps(finite(self.to_dict()), indent=1) + "\n", encoding="utf-8")
        with write_atomically(folder / "report.md") as temporary:
            temporary.write_text(self.markdown(), encoding="utf-8")
        return folder / "report.md"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content; NaN where a number is not known."""
        tables = {}
        for spec in self._tables():
            tables[spec.key] = {
                "title": spec.title,
                "rows": {m: {c: asdict(v) for c, v in row.items()} for m, row in self.summary(spec.key).items()},
                "best against second": {c: asdict(v) for c, v in self.comparisons(spec).items()},
                "paper": self._paper(spec),
            }
        return {
            **self.about,
            "tables": tables,
            "models": self.models,
            "figures": [asdict(p) for p in self.pictures],
            "scores": [asdict(s) for s in self.scores],
        }

    def markdown(self) -> str:
        """The report as Markdown."""
        settings = self.protocol.settings
        repetitions = len(settings.seeds) * len(settings.folds)
        lines = [
            f"# {settings.title}" + (f" on {self.about['data']}" if self.about.get("data") else ""),
            "",
            f"Protocol {settings.protocol}, made by",
            "",
            f"    {self.about['command']}",
            "",
        ]
        lines += [
            f"- {key}: {self.about[key]}" for key in ("tested on", "machine", "commit", "seconds") if key in self.about
        ]
        lines += [f"- mean ± standard deviation over {repetitions} repetition(s) (seeds {list(settings.seeds)})", ""]
        for spec in self._tables():
            lines += [f"## {spec.title}", ""]
            if spec.note:
                lines += [spec.note, ""]
            lines += self.table_lines(spec) + [""]
            for column, c in self.comparisons(spec).items():
                lines.append(
                    f"- {column}: {c.best} before {c.second} by {_number(c.difference, spec.decimals)}, "
                    f"p = {_number(c.p, 3)} (paired permutation test, {c.n} subjects)"
                )
            paper = published.table(spec.published) if spec.published and settings.compare else None
            if paper is not None and self._paper(spec):
                lines += [
                    "",
                    f"In brackets: {settings.compare} in {paper.title}; other data, to be read as orders only.",
                ]
            lines.append("")
        lines += self._model_lines()
        for picture in self.pictures:
            lines += [f"![{picture.caption}]({picture.file})", "", picture.caption, ""]
        return "\n".join(lines).rstrip() + "\n"

    def table_lines(self, spec: TableSpec) -> list[str]:
        """A table as Markdown, the best of each column in bold, the paper's numbers in brackets."""
        columns, rows, paper = self.columns(spec.key), self.summary(spec.key), self._paper(spec)
        best = {c: v.best for c, v in self.comparisons(spec).items()}
        lines = ["| method | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for method, row in rows.items():
            cells = []
            for column in columns:
                found = row.get(column)
                text = "-" if found is None else _number(found.mean, spec.decimals)
                if found is not None and math.isfinite(found.std):
                    text += f" ± {_number(found.std, spec.decimals)}"
                text = f"**{text}**" if best.get(column) == method else text
                printed = paper.get(method, {}).get(column)
                cells.append(text + (f" [{printed}]" if printed else ""))
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return lines

    def _tables(self) -> list[TableSpec]:
        return [spec for spec in self.protocol.tables if self.columns(spec.key)]

    def _of(self, table: str) -> list[Score]:
        return [s for s in self.scores if s.table == table]

    def _paper(self, spec: TableSpec) -> dict[str, dict[str, str]]:
        """Method -> column -> cell as printed in the paper."""
        compare = self.protocol.settings.compare
        table = published.table(spec.published) if spec.published and compare else None
        if table is None:
            return {}
        found = {
            m: {c: cell for c in self.columns(spec.key) if (cell := table.cell(m, f"{compare} {c}"))}
            for m in self.summary(spec.key)
        }
        return {m: cells for m, cells in found.items() if cells}

    def _model_lines(self) -> list[str]:
        rows = [(m, c, v) for m, conditions in self.models.items() for c, v in conditions.items() if v["models"]]
        if not rows:
            return []
        lines = ["## Models", "", "| method | condition | models | weights (M) | steps | minutes |"]
        lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
        for method, condition, v in rows:
            cells = f"{v['models']:.0f} | {v['weights_m']:.3f} | {v['steps']:.0f} | {v['minutes']:.1f}"
            lines.append(f"| {method} | {condition or '-'} | {cells} |")
        return [*lines, ""]

    def _draw_boxes(self, spec: TableSpec, folder: Path) -> None:
        """A box plot over subjects for each quantity of a table (PSNR and SSIM have scales of their own)."""
        quantities: dict[str, dict[str, Mapping[str, Sequence[float]]]] = {}
        for column in self.columns(spec.key) if spec.ranked else ():
            values = {m: list(v.values()) for m, v in self.by_subject(spec.key, column).items()}
            if any(len(v) > 1 for v in values.values()):
                name = next((word for word in column.split() if word in QUANTITIES), spec.quantity)
                quantities.setdefault(name, {})[column] = values
        for name, groups in quantities.items():
            file = f"box-{spec.key}-{slug(name)}.png"
            box_plot(folder / file, groups, name, spec.title)
            picture = Picture(file, f"{spec.title}: {name} over the test subjects (mean of the repetitions).")
            if picture not in self.pictures:
                self.pictures.append(picture)


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"
