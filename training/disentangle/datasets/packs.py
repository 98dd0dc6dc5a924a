"""Prepared studies in a folder of their own: what a training on another machine needs, a tenth of the files' size.

A pack holds one ``<study>.npz`` (:class:`.volumes.Subject`) per study and ``pack.json``, which says how they were
prepared, and which classes their labels are of. A training, an evaluation or leave-one-out names it as its folder of
studies; who is the same person was settled when it was made. Protocols read studies themselves, no packs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ..errors import InputError
from ..phantoms.brain import BRAIN_CLASSES
from ..preprocessing import PreprocessingConfig
from ..study import make_folder, write_atomically
from .names import chosen
from .volumes import Subject

CARD = "pack.json"


def is_pack(folder: str | Path) -> bool:
    """Whether a folder holds prepared subjects."""
    return (Path(folder) / CARD).is_file()


def write_pack(
    folder: str | Path, subjects: Sequence[Subject], config: PreprocessingConfig, classes: Sequence[str]
) -> Path:
    """Write subjects, which ``config`` prepared and whose labels are indices into ``classes``, into a new or empty
    folder.

    Raises:
        InputError: no subjects, or the folder holds something.
    """
    folder = Path(folder)
    if not subjects:
        raise InputError("There are no studies to pack; set data.studies.folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"The folder {folder} is not empty; choose another one.")
    make_folder(folder)
    for subject in subjects:
        subject.save(folder / f"{subject.name}.npz")
    card = {"preprocessing": config.to_dict(), "classes": list(classes), "subjects": [s.name for s in subjects]}
    with write_atomically(folder / CARD) as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return folder


def read_pack(
    folder: str | Path,
    config: PreprocessingConfig,
    classes: Sequence[str] | None,
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
) -> list[Subject]:
    """The subjects of a pack whose names fit patterns, see :func:`.names.chosen`.

    Args:
        classes: of the system; None where it reads no labels.

    Raises:
        InputError: it was prepared in another way or for other classes, a pattern fits nothing, or a file is missing
            or damaged.
    """
    folder = Path(folder)
    card = _card(folder)
    other = sorted(key for key, value in config.to_dict().items() if card["preprocessing"].get(key) != value)
    if other:
        raise InputError(
            f"The studies of {folder} were prepared with another {', '.join(other)} than the configuration asks for; "
            "pack them again."
        )
    if classes is not None and list(classes) != card["classes"]:
        raise InputError(
            f"The studies of {folder} were packed for the classes {', '.join(card['classes'])}, not for "
            f"{', '.join(classes)}; pack them again."
        )
    subjects = []
    for name in chosen(card["subjects"], include, exclude, folder):
        path = folder / f"{name}.npz"
        try:
            subjects.append(Subject.load(path))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(f"{path} is missing or damaged; pack the studies again.") from error
    return subjects


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return {
            "preprocessing": dict(card["preprocessing"]),
            # Packs from before they told their classes had those of brains.
            "classes": list(card.get("classes", BRAIN_CLASSES)),
            "subjects": [str(name) for name in card["subjects"]],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / CARD} is damaged; pack the studies again.") from error
