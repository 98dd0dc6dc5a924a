"""The limits that speed is held to, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NNUNET = "nnU-Net v2 3d_fullres"
SEGRESNET = "MONAI SegResNet, 8 filters"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Limit:
    """A limit of one figure.

    Attributes:
        what: the figure.
        of: takes it from the report of ``speed.py``; KeyError or TypeError where it was not measured.
        limit: of the figure.
        at_least: the figure must reach the limit, not stay below it.
    """

    what: str
    of: Callable[[Report], float]
    limit: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


def _faster(again: str) -> Callable[[Report], float]:
    return lambda report: report["native"]["openvino"]["first"]["total"] / report["native"]["openvino"][again]["total"]


def _wait(moment: str, backend: str = "openvino") -> Callable[[Report], float]:
    return lambda report: report["interactive"][backend][moment]


def _ratio(peer: str, ours: str) -> Callable[[Report], float]:
    return lambda report: report["networks"]["ratios"][peer][ours]


def _imported(report: Report) -> float:
    """Libraries that runs import without need."""
    needless = {"torch": {"monai"}, "openvino": {"monai", "torch"}}
    kinds = [report[kind] for kind in ("registered", "native")]
    return float(
        sum(len(names & set(kind[backend]["imported"])) for kind in kinds for backend, names in needless.items())
    )


LIMITS = (
    Limit("nnU-Net over a whole run, exact", _ratio(NNUNET, "whole_run"), 10.0, True),
    Limit("SegResNet, its own window, over a whole run, exact", _ratio(SEGRESNET, "whole_run"), 1.0, True),
    Limit("peak MiB, segmentation", lambda r: r["memory"]["segmentation"]["openvino"]["peak_mib"], 1228.8),
    Limit("peak MiB, everything at once", lambda r: r["memory"]["everything"]["openvino"]["peak_mib"], 1228.8),
    Limit(
        "I/O, normalisation and write-back, share of a whole run",
        lambda r: r["registered"]["openvino"]["shares"]["io_normalisation_write_back"],
        0.2,
    ),
    Limit("native: first run over the second, same process", _faster("second"), 5.0, True),
    Limit("native: first run over the second, new process", _faster("remembered"), 5.0, True),
    Limit("visible slice, classes, s", _wait("warm, prepared, first classes"), 0.5),
    Limit("visible slice, factors, s", _wait("warm, prepared, first factors"), 0.5),
    Limit("style slider, first position, s", _wait("style slider, first position"), 0.12),
    Limit("style slider, next, s", _wait("style slider, next"), 0.12),
    Limit("cancelling a registered study, worst, s", lambda r: r["cancel"]["registered"]["worst"], 0.3),
    Limit("cancelling a native study, worst, s", lambda r: r["cancel"]["native"]["worst"], 0.3),
    Limit("import disentangle, s", lambda r: r["import"]["import disentangle"], 0.3),
    Limit("libraries imported without need", _imported, 0.0),
    Limit("cold start, first slices, compiled, s", _wait("cold start, new study, first classes"), 4.0),
    Limit("cold start, first slices, PyTorch, s", _wait("cold start, new study, first classes", "torch"), 10.0),
)


def judged(report: Report) -> list[dict[str, Any]]:
    """Every limit with its figure and whether it is kept; None for both where it was not measured."""
    rows = []
    for limit in LIMITS:
        try:
            value = limit.of(report)
        except (KeyError, TypeError):
            value = None
        row = {"figure": limit.what, "limit": limit.limit, "limit_is": "lower" if limit.at_least else "upper"}
        known = value is not None
        rows.append(row | {"value": round(value, 3) if known else None, "met": limit.met(value) if known else None})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print them."""
    print("\nlimits")
    for row in rows:
        limit = f"{'>=' if row['limit_is'] == 'lower' else '<='} {row['limit']:g}"
        verdict = {True: "met", False: "missed", None: "not measured"}[row["met"]]
        value = "" if row["value"] is None else f"{row['value']:g}"
        print(f"{row['figure']:<58}{limit:>10}{value:>10}  {verdict}")
