"""Whether the results of an earlier batch are those that are asked for now: then a study need not be computed again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..bundles import Bundle

ASKED = "asked"
"""Key of a report that holds what :func:`asked_for` says."""
_RESULTS = ("segment", "factors", "cross_reconstructions", "probabilities", "uncertainty")
"""What may be there beyond what is asked for."""


def asked_for(request: Mapping[str, Any], bundle: Bundle, looks: str = "") -> dict[str, Any]:
    """What a batch request asks for: plain content for JSON, the same for requests that say the same.

    Args:
        looks: a digest of the images whose appearance the targets take; "" where there are none.

    Raises:
        InputError: a target is no sequence.
    """
    from ..sequences import canonical

    asked: dict[str, Any] = {name: bool(request.get(name)) for name in _RESULTS}
    if request.get("segment") is None:
        asked["segment"] = bool(bundle.classes)
    asked.update(
        synthesize=sorted({canonical(name) for name in request.get("synthesize") or ()}),
        source=request.get("source") or "",
        looks=looks,
        time_point=request.get("time_point"),
        leave_out_target=bool(request.get("leave_out_target")),
        fast=bool(request.get("fast")),
        precision=request.get("precision") or "fp32",
        sensitivity=request.get("sensitivity", 1.0),
    )
    return asked


def earlier_report(folder: Path, asked: Mapping[str, Any], bundle: Bundle) -> dict[str, Any] | None:
    """The report of the results in a folder where this model made them and they hold what is asked for, else None.

    The report is that of the last run: files which a run before it left beside its own may be of another model.

    Args:
        asked: see :func:`asked_for`.
    """
    from ..inference.result_files import ResultFiles

    files = ResultFiles(folder)
    try:
        report = json.loads(files.report.read_text(encoding="utf-8"))
        made, model = dict(report[ASKED]), (report["bundle"]["checksum"], report["bundle"]["version"])
        targets = set(made.get("synthesize") or ())
    except (OSError, ValueError, TypeError, KeyError):
        return None
    same = [name for name in asked if name not in (*_RESULTS, "synthesize")]
    if model != (bundle.checksum, bundle.version) or any(made.get(name) != asked[name] for name in same):
        return None
    if any(asked[name] and not made.get(name) for name in _RESULTS) or not targets.issuperset(asked["synthesize"]):
        return None
    needed = [files.segmentation] * asked["segment"] + [files.modality] * asked["factors"]
    needed += [files.synthetic(target) for target in asked["synthesize"]]
    return report if all(path.is_file() for path in needed) else None
