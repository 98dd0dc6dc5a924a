"""Protocols, most of them the papers': methods trained, scored on common subjects, reported beside the printed numbers.

A protocol file (``training/configs/e*.yaml``, ``brain-mr-peers.yaml``; key ``protocol``) is run by
``disentangle evaluate FILE [key=value]``, or by :func:`run`. Models that exist are not trained again; an interrupted
one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...progress import Progress
from .protocol import Protocol
from .settings import is_protocol, load_protocol

__all__ = ["PROTOCOLS", "create", "is_protocol", "load_protocol", "run"]

PROTOCOLS = {
    "E000-1": ("e000", "CrossReconstruction"),
    "E000-2": ("e000", "LatentAnalyses"),
    "E000-3": ("e000", "MissingInput"),
    "E001-I": ("e001", "UnregisteredSegmentation"),
    "E001-II": ("e001", "FewLabels"),
    "E001-III": ("e001", "PairMatching"),
    "E001-IV": ("e001", "Ablations"),
    "E001-factors": ("e001", "FactorAnalyses"),
    "E001-sizes": ("e001", "FactorSizes"),
    "E002-1": ("e002", "AllTranslations"),
    "E002-2": ("e002", "CompletedSegmentation"),
    "E003": ("e003", "MultimodalDecomposition"),
    "E004-1": ("e004", "CrossDomainSegmentation"),
    "E004-2": ("e004", "CrossDomainSegmentation"),
    "E004-3": ("e004", "CrossDomainSegmentation"),
    "E004-4": ("e004", "CrossDomainSegmentation"),
    "peers": ("peers", "Peers"),
}
"""Name of a protocol -> (module in this folder, class)."""


def create(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> Protocol:
    """The protocol of a file or its content.

    Raises:
        InputError: no such protocol, or a mistake in the file.
    """
    settings = load_protocol(source, overrides)
    if settings.protocol not in PROTOCOLS:
        raise InputError(f'Unknown protocol "{settings.protocol}"; use one of: {", ".join(PROTOCOLS)}.')
    module, name = PROTOCOLS[settings.protocol]
    return getattr(import_module(f".{module}", __name__), name)(settings)


def run(
    source: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train what is missing, score, analyse, draw and write the report.

    Args:
        source: a protocol file or its content.
        overrides: "key=value", see :func:`.settings.load_protocol`.
        progress: may cancel.
        say: receives a line per step.

    Returns:
        The path of ``report.md``; ``report.json`` and the figures lie beside it.

    Raises:
        InputError: a mistake in the file, missing data, or a run of the same name with other settings.
    """
    from .engine import execute

    return execute(create(source, overrides), list(overrides), progress, say)
