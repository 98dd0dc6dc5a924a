"""Where weights come from: the runs that led to a checkpoint, for the model card."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..bundles import Bundle, find_bundle
from .checkpoints import load_checkpoint

MOMENTS = 8
"""Rows of a log that a model card keeps."""
START = ("command", "seed", "commit", "python", "torch", "device")
"""What ``run.json`` tells of a start of a run, and of every earlier one of a run that went on."""


def lineage(checkpoint: str | Path) -> list[dict[str, Any]]:
    """The runs that led to a checkpoint, first one first.

    Each entry has the run's name and, as far as its folder still tells, ``command``, ``seed``, ``commit``, versions
    and device (of a run that went on, those of the "earlier starts" too), with ``checkpoint`` (which one was taken),
    ``steps``, ``minutes``, ``validation`` (the last scores logged) and ``log`` (see :func:`log_summary`). The chain
    follows ``training.init_from`` through checkpoints and bundles' cards, as they were when the run began.
    """
    checkpoint = Path(checkpoint)
    content = load_checkpoint(checkpoint)
    record = _json(checkpoint.parent / "run.json")
    entry = {"run": content["config"]["name"], **{k: record[k] for k in (*START, "earlier starts") if k in record}}
    entry |= {
        "checkpoint": checkpoint.name,
        "steps": content["iteration"],
        "minutes": round(content["seconds"] / 60, 1),
        "validation": _last_validation(checkpoint.parent),
        "log": log_summary(checkpoint.parent),
    }
    before = record.get("runs before")
    return [*(runs_before(content["config"]["training"]["init_from"]) if before is None else before), entry]


def trained_on_before(start: str | None) -> list[dict[str, Any]]:
    """What the weights that a run starts from were trained on: their licences hold for what comes of them too.

    Args:
        start: ``training.init_from``.
    """
    if not start:
        return []
    if Path(start).suffix == ".ckpt":
        return list(load_checkpoint(start)["data"])
    return list(find_bundle(start).card.get("training", {}).get("data", []))


def runs_before(start: str | None) -> list[dict[str, Any]]:
    """The runs that led to the weights that a run starts from.

    Args:
        start: ``training.init_from``.
    """
    if not start or not Path(start).exists():
        return []
    if Path(start).suffix == ".ckpt":
        return lineage(start)
    return list(Bundle.load(start).card.get("training_runs", []))


def log_summary(folder: Path) -> dict[str, list[float | None]]:
    """How a training went: some rows of its log, the first and the last among them.

    Args:
        folder: of the run.

    Returns:
        column -> values of at most :data:`MOMENTS` rows: "step", "minutes" (trained until then), the weighted loss
        terms "update/term" and their "update/total", means since the row before in the log; None where a term was
        not computed. Empty without a log.
    """
    rows = [row for row in _logged(folder) if row.get("minutes")]
    if not rows:
        return {}
    last, count = len(rows) - 1, min(len(rows), MOMENTS)
    chosen = [rows[round(n * last / max(count - 1, 1))] for n in range(count)]
    terms = [k for k in rows[0] if "/" in k and not k.startswith("validation/") and not k.endswith("/gradient_norm")]
    figures = {column: [_number(row.get(column)) for row in chosen] for column in ("minutes", *terms)}
    return {"step": [int(float(row["step"])) for row in chosen], **figures}


def _last_validation(folder: Path) -> dict[str, float]:
    """The last row of validation scores in the run's CSV log; a class that did not occur has none."""
    scores: dict[str, float] = {}
    for row in _logged(folder):
        found = {k.removeprefix("validation/"): _number(v) for k, v in row.items() if k.startswith("validation/")}
        scores = {k: v for k, v in found.items() if v is not None} or scores
    return scores


def _logged(folder: Path) -> Iterator[dict[str, str]]:
    """The rows of a run's CSV logs, one for each start, as they came about."""
    for path in sorted(folder.glob("logs/csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime):
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def _number(text: str | None) -> float | None:
    """A figure with four digits; None for none, and for one that is not finite, which JSON has no word for."""
    value = float(text) if text else math.nan
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
