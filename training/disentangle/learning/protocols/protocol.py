"""What a protocol is: tables that it fills, how a subject is scored, what is analysed and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...datasets.volumes import Subject
from ...errors import InputError
from ..config import check_type
from .runs import Models
from .settings import ProtocolSettings

Scores = dict[str, dict[str, float]]
"""Table -> column -> value."""

QUANTITIES = ("PSNR", "SSIM", "MAE", "L1", "FID", "Dice", "HD95")
"""Words of a column's name that tell what it holds."""
LOWER_IS_BETTER = ("L1", "MAE", "FID", "HD95")


@dataclass(frozen=True)
class TableSpec:
    """A table of a report.

    Attributes:
        key: as in :data:`Scores`.
        title: heading.
        decimals: digits after the point.
        published: name of the paper's table in :mod:`.published`; None where no printed number may stand beside.
        ranked: the best method is marked and tested against the second.
        quantity: what columns hold whose name does not tell it.
        note: a sentence below the heading.
    """

    key: str
    title: str
    decimals: int = 3
    published: str | None = None
    ranked: bool = True
    quantity: str = "value"
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure of a report: a PNG in its folder and what it shows."""

    file: str
    caption: str


class Protocol:
    """Base of the protocols, one class per table of a paper.

    Args:
        settings: of the protocol file.

    Raises:
        InputError: an option that the protocol does not have, or one of another type than its default.
    """

    tables: ClassVar[tuple[TableSpec, ...]] = ()
    options: ClassVar[dict[str, Any]] = {}
    """Options with their defaults (section ``options`` of the file)."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Options that may be null although their default is not."""

    def __init__(self, settings: ProtocolSettings) -> None:
        unknown = sorted(set(settings.options) - set(self.options))
        if unknown:
            known = ", ".join(self.options) or "none"
            raise InputError(f'{settings.protocol} has no option "{unknown[0]}"; its options are: {known}.')
        for key, value in settings.options.items():
            if value is not None or key not in self.optional:
                check_type(f"options.{key}", self.options[key], value)
        self.settings = settings
        self.chosen = {**self.options, **settings.options}

    def score(self, models: Models, subject: Subject) -> Scores:
        """The figures of one test subject."""
        return {}

    def analyse(self, models: Models, subjects: Sequence[Subject]) -> Scores:
        """Figures that take all test subjects together (probes, say)."""
        return {}

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        """Figures of the first repetition: (method, condition) -> models. Returns what was written."""
        return []


def quantity_of(column: str, default: str) -> str:
    """What a column holds: the first of :data:`QUANTITIES` in its name, else that of its table."""
    return next((word for word in column.split() if word in QUANTITIES), default)


def lower_is_better(column: str, default: str) -> bool:
    """Whether a column holds an error or a distance; ``default`` is the quantity of its table."""
    return quantity_of(column, default) in LOWER_IS_BETTER
