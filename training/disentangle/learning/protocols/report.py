"""A protocol's report: scores with mean, deviation and test, beside the paper's numbers, as JSON and Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from ...study import write_atomically
from ..statistics import Comparison, MeanStd, best_against_second, mean_std
from . import published
from .figures import box_plot
from .protocol import Picture, Protocol, TableSpec, lower_is_better, quantity_of
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

    @classmethod
    def read(cls, protocol: Protocol, folder: Path) -> Report:
        """The report that :meth:`write` left in a folder, to be written anew without computing anything.

        Args:
            protocol: the one that it is of, with its overrides.
            folder: holds report.json.
        """
        content = _content(folder)
        scores = [Score(**{**s, "value": math.nan if s["value"] is None else s["value"]}) for s in content["scores"]]
        pictures = [Picture(**p) for p in content["figures"]]
        return cls(protocol, cls.about_of(folder), scores, content["models"], pictures)

    @staticmethod
    def about_of(folder: Path) -> dict[str, Any]:
        """What :meth:`write` left in a folder about how the report was made: "command", "overrides", "machine", ..."""
        found = _content(folder)
        return {k: v for k, v in found.items() if k not in ("tables", "models", "figures", "scores")}

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

    def missed(self, table: TableSpec) -> dict[str, dict[str, tuple[int, int]]]:
        """Method -> column -> distances that do not exist since nothing was found where there is something, and all
        scores; subjects of all repetitions, columns with misses alone. The means leave them out."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for method, columns in self._values(table.key).items():
            for column, values in columns.items():
                count = sum(not math.isfinite(v) for v in values)
                if count and lower_is_better(column, table.quantity):
                    found.setdefault(method, {})[column] = count, len(values)
        return found

    def scored(self, table: TableSpec) -> dict[str, dict[str, int]]:
        """Method -> column -> subjects that it has a score of, missed ones counted in; columns without subjects are
        absent. Where nobody annotated a subject there is none, and then a mean is over fewer of them."""
        found: dict[str, dict[str, set[str]]] = {}
        for s in self._of(table.key):
            if s.subject != ALL and (math.isfinite(s.value) or lower_is_better(s.column, table.quantity)):
                found.setdefault(s.method, {}).setdefault(s.column, set()).add(s.subject)
        return {m: {c: len(names) for c, names in columns.items()} for m, columns in found.items()}

    def comparisons(self, table: TableSpec) -> dict[str, Comparison]:
        """Column -> best against second-best method."""
        found = {}
        for column in self.columns(table.key) if table.ranked else ():
            samples: dict[str, dict[tuple, float]] = {}
            for s in self._of(table.key):
                if s.column == column and s.subject != ALL:
                    samples.setdefault(s.method, {})[s.subject, s.seed, s.fold] = s.value
            comparison = best_against_second(samples, not lower_is_better(column, table.quantity), itemgetter(0))
            if comparison is not None:
                found[column] = comparison
        return found

    def columns(self, table: str) -> list[str]:
        """The columns of a table, in the order of their first score."""
        return list(dict.fromkeys(s.column for s in self._of(table)))

    def write(self, folder: Path, draw: bool = True) -> Path:
        """Box plots (unless not to ``draw``), report.json and report.md; returns the path of the last."""
        folder.mkdir(parents=True, exist_ok=True)
        for spec in self._tables() if draw else ():
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
                "missed": self.missed(spec),
                "subjects": self.scored(spec),
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
            lines += self._few_lines(spec)
            lines += [_compared(column, c, spec.decimals) for column, c in self.comparisons(spec).items()]
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
        """A table as Markdown, the best of each column in bold, the paper's numbers in brackets; beside the mean of
        distances how many do not exist, see :meth:`missed`, and beside that of fewer subjects than another method's
        how many they are."""
        columns, rows, paper = self.columns(spec.key), self.summary(spec.key), self._paper(spec)
        best, missed = {c: v.best for c, v in self.comparisons(spec).items()}, self.missed(spec)
        scored, most = self.scored(spec), self._most(spec)
        lines = ["| method | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
        for method, row in rows.items():
            cells = []
            for column in columns:
                found = row.get(column)
                text = "-" if found is None else _number(found.mean, spec.decimals)
                if found is not None and math.isfinite(found.std):
                    text += f" ± {_number(found.std, spec.decimals)}"
                if column in missed.get(method, {}):
                    text += " ({} of {} missed)".format(*missed[method][column])
                if 0 < scored.get(method, {}).get(column, 0) < most.get(column, 0):
                    text += f" ({scored[method][column]} of {most[column]} subjects)"
                text = f"**{text}**" if best.get(column) == method else text
                printed = paper.get(method, {}).get(column)
                cells.append(text + (f" [{printed}]" if printed else ""))
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return lines

    def _most(self, spec: TableSpec) -> dict[str, int]:
        """Column -> subjects of the method that has a score of the most."""
        found: dict[str, int] = {}
        for columns in self.scored(spec).values():
            for column, count in columns.items():
                found[column] = max(count, found.get(column, 0))
        return found

    def _few_lines(self, spec: TableSpec) -> list[str]:
        """Which columns are about fewer subjects than were tested on; reports of old do not tell how many these are."""
        tested = self.about.get("subjects", 0)
        few = [f"{column} ({count})" for column, count in self._most(spec).items() if count < tested]
        return [f"Subjects with a score, of {tested} tested on: {', '.join(few)}.", ""] if few else []

    def _tables(self) -> list[TableSpec]:
        return [spec for spec in self.protocol.tables if self.columns(spec.key)]

    def _of(self, table: str) -> list[Score]:
        return [s for s in self.scores if s.table == table]

    def _values(self, table: str) -> dict[str, dict[str, list[float]]]:
        """Method -> column -> values of all subjects and repetitions."""
        found: dict[str, dict[str, list[float]]] = {}
        for s in self._of(table):
            found.setdefault(s.method, {}).setdefault(s.column, []).append(s.value)
        return found

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
                quantities.setdefault(quantity_of(column, spec.quantity), {})[column] = values
        for name, groups in quantities.items():
            file = f"box-{spec.key}-{slug(name)}.png"
            box_plot(folder / file, groups, name, spec.title)
            picture = Picture(file, f"{spec.title}: {name} over the test subjects (mean of the repetitions).")
            if picture not in self.pictures:
                self.pictures.append(picture)


def _content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _compared(column: str, found: Comparison, decimals: int) -> str:
    """A comparison in a line of Markdown."""
    line = f"- {column}: {found.best} before {found.second}"
    if found.missed[0] != found.missed[1]:
        line += f", which missed more ({found.missed[1]} against {found.missed[0]})"
    if not found.n:
        return line + "; no subject has a finite score of both, so that they cannot be compared in pairs"
    # Means of other subjects may come in another order than those of the subjects that both have.
    if any(found.missed) or found.difference < 0:
        line += f"; where both have a score, {'better' if found.difference >= 0 else 'worse'}"
    by = _number(abs(found.difference), decimals)
    return f"{line} by {by}, p = {_number(found.p, 3)} (paired permutation test, {found.n} subjects)"


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "-"
