"""Folders in the study layout, with the splits of the published sets."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import InputError
from ...sequences import SEQUENCES
from ...study.reading import stem_of
from ..cases import Case, ImageFile, Layout, images_in


def find(folder: Path) -> list[Case]:
    """A case per folder with a study.json; ``Study.from_folder`` reads it."""
    cases = []
    for card in sorted(folder.glob("*/study.json")):
        place = card.parent
        files = {stem_of(p): p for p in reversed(images_in(place))}
        about = _read(card)
        labels = files.get("labels")
        cases.append(
            Case(
                subject=place.name,
                group=place.name,
                images={s: ImageFile(p) for s, p in files.items() if s in SEQUENCES},
                labels=None if labels is None else ImageFile(labels),
                folder=place,
                about={k: about[k] for k in ("source", "license", "citation", "label_note") if k in about},
            )
        )
    return cases


def _read(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged (no valid study description); correct it or take it away.") from error


LAYOUTS = {
    "studies": Layout(
        name="studies",
        title="studies",
        sequences=tuple(SEQUENCES),
        find=find,
        registered=True,
        license="as each study says",
        citation="as each study says",
        url="",
        common_names=True,
    )
}
