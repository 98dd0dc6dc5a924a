"""Where weights come from: the runs that led to a checkpoint, for the model card."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from ..bundles import Bundle, find_bundle
from .checkpoints import load_checkpoint

_KEPT = ("command", "seed", "commit", "python", "torch", "device")


def lineage(checkpoint: str | Path) -> list[dict[str, Any]]:
    """The runs that led to a checkpoint, first one first.

    Each entry has the run's name and, as far as its folder still tells, ``command``, ``seed``, ``commit``, versions
    and device, with ``checkpoint`` (which one was taken), ``steps``, ``minutes`` and ``validation`` (the last scores
    logged). The chain follows ``training.init_from`` through checkpoints, and goes on with what a bundle's card tells.
    """
    checkpoint = Path(checkpoint)
    content = load_checkpoint(checkpoint)
    record = _json(checkpoint.parent / "run.json")
    entry = {"run": content["config"]["name"], **{k: record[k] for k in _KEPT if k in record}}
    entry |= {
        "checkpoint": checkpoint.name,
        "steps": content["iteration"],
        "minutes": round(content["seconds"] / 60, 1),
        "validation": _last_validation(checkpoint.parent),
    }
    return [*_before(content["config"]["training"]["init_from"]), entry]


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


def _before(start: str | None) -> list[dict[str, Any]]:
    if not start or not Path(start).exists():
        return []
    if Path(start).suffix == ".ckpt":
        return lineage(start)
    return list(Bundle.load(start).card.get("training_runs", []))


def _last_validation(folder: Path) -> dict[str, float]:
    """The last row of validation scores in the run's CSV log; a class that did not occur has none."""
    logs = sorted(folder.glob("logs/csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    scores: dict[str, float] = {}
    for path in logs:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found = {k.removeprefix("validation/"): v for k, v in row.items() if k.startswith("validation/") and v}
                scores = {k: round(float(v), 4) for k, v in found.items() if math.isfinite(float(v))} or scores
    return scores


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
