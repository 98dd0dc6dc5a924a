"""Real studies on disk, prepared and cached for training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import InputError
from ..preprocessing import PreprocessingConfig, prepare
from ..progress import Progress
from ..study import Study
from .names import chosen
from .packs import is_pack
from .versions import code_version
from .volumes import MAKERS, Subject, cached


def find_studies(folder: str | Path, include: Iterable[str] = ("*",), exclude: Iterable[str] = ()) -> list[Path]:
    """Folders in the study layout (they hold a study.json), by name patterns.

    Args:
        folder: holds one folder per study.
        include, exclude: shell patterns of folder names; ``exclude`` wins.

    Raises:
        InputError: there is no such folder, or a pattern of ``include`` or ``exclude`` fits nothing (a misspelt
            exclusion would leak a test study into training).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"The folder of studies {folder} does not exist; set data.studies.folder=... or data.studies=null."
        )
    if is_pack(folder):
        raise InputError(f"{folder} holds prepared studies, no study folders; name the folder that they came from.")
    studies = {p.parent.name: p.parent for p in sorted(folder.glob("*/study.json"))}
    return [studies[name] for name in chosen(list(studies), include, exclude, folder)]


def load_studies(
    folders: Iterable[Path],
    config: PreprocessingConfig,
    classes: Sequence[str],
    cache: Path,
    same_subject: Sequence[Sequence[str]] = (),
    progress: Progress | None = None,
) -> list[Subject]:
    """Prepare every study, or take it from the cache (keyed by the files' content, the configuration and the classes).

    Args:
        folders: study folders.
        config: as recorded in the bundle later.
        classes: of the system, background first; the names of a study's labels are looked up among them.
        cache: folder of cached subjects.
        same_subject: lists of study names (or patterns) that show one person.
        progress: reports study by study.

    Raises:
        InputError: a study that cannot be read or prepared, or the name of a label that is none of the classes.
    """
    folders = list(folders)
    progress = progress or Progress()
    subjects = []
    for index, folder in enumerate(folders):
        part = progress.part(index / len(folders), (index + 1) / len(folders))
        part("studies", 0.0, folder.name)
        group = person_of(folder.name, same_subject)
        key = {"study": _content_hash(folder), "preprocessing": config.to_dict(), "name": folder.name, "group": group}
        key["classes"] = list(classes)
        key["code"] = code_version(("preprocessing.prepare",), ("datasets.studies", *MAKERS))
        subjects.append(cached(cache, key, lambda f=folder, g=group, p=part: _prepare(f, config, classes, g, p)))
    progress("studies", 1.0)
    return subjects


def person_of(name: str, same_subject: Iterable[Sequence[str]]) -> str:
    """Whom a study shows: the first name of the list that names it, itself where none does.

    Args:
        name: of the study.
        same_subject: lists of study names (or patterns) that show one person.
    """
    return next((group[0] for group in same_subject if any(fnmatchcase(name, pattern) for pattern in group)), name)


def _prepare(
    folder: Path, config: PreprocessingConfig, classes: Sequence[str], group: str, progress: Progress
) -> Subject:
    card = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    about = {k: card[k] for k in ("source", "license", "citation", "label_note") if k in card}
    prepared = prepare(Study.from_folder(folder), config, progress=progress)
    return Subject.from_prepared(prepared, "study", group, about, classes)


def _content_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
