"""Which files belong to one study where nothing but their names and folders says of whom they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..sequences import guess_from_name

_SUBJECT = re.compile(r"(?:^|[/_])(sub-[^/_.]+)", re.IGNORECASE)
"""The subject of a BIDS name, wherever it stands in a path."""
_MANNER = {
    *("ax", "axi", "axial", "sag", "sagittal", "cor", "coronal", "tra", "trans", "3d", "2d", "fs", "cube", "space"),
    *("brain", "head", "mr", "mri", "pre", "post", "ce", "gd", "km", "contrast", "reg", "r", "rr", "w"),
}
"""Words before a sequence's that say how it was acquired or prepared, and not of whom."""


@dataclass(frozen=True)
class Source:
    """A file: its path, and the sequence that it seems to be; None where nothing tells."""

    path: str
    sequence: str | None


def groups_of(sources: Mapping[Hashable, Source]) -> dict[Hashable, tuple[str, ...]]:
    """The study of each file, as the names that tell it from others; () where all files are one study.

    Sequences of one study often lie in a folder each, so folders alone say nothing. What says that there are several
    studies is a sequence that is there more than once: then files are told apart by the uppermost folders that differ,
    or, where they lie in one folder, by what stands before the sequence in their names; but only if that gives a study
    of more than one sequence, else it is a sequence that was repeated. Different BIDS subjects are always apart.
    """
    found: dict[Hashable, tuple[str, ...]] = dict.fromkeys(sources, ())
    subjects = _parts(sources, {key: _subject(source.path) for key, source in sources.items()})
    if len(subjects) > 1 and len(set(subjects) - {""}) > 1:
        parts = subjects
    else:
        parts = next((parts for parts in (_by_folder(sources), _by_prefix(sources)) if _several(parts)), {})
    for name, part in parts.items():
        found.update({key: (name, *deeper) for key, deeper in groups_of(part).items()})
    return found


def _subject(path: str) -> str:
    return (_SUBJECT.findall(path) or [""])[-1]


def _by_folder(sources: Mapping[Hashable, Source]) -> dict[str, dict[Hashable, Source]]:
    """Files by the first folder in which they differ; those that lie above it have the name of that place."""
    folders = {key: PurePosixPath(source.path).parent.parts for key, source in sources.items()}
    depth = _common(list(folders.values()))
    return _parts(sources, {key: "/".join(parts[depth : depth + 1]) for key, parts in folders.items()})


def _by_prefix(sources: Mapping[Hashable, Source]) -> dict[str, dict[Hashable, Source]]:
    """Files by what stands before the sequence, in their path below the folder that they have in common."""
    depth = _common([PurePosixPath(source.path).parent.parts for source in sources.values()])
    below = {key: "/".join(PurePosixPath(source.path).parts[depth:]) for key, source in sources.items()}
    return _parts(sources, {key: _prefix(name) for key, name in below.items()})


def _prefix(name: str) -> str:
    words = re.findall(r"[^\W_]+", name.partition(".")[0])
    first = next((n for n, word in enumerate(words) if guess_from_name(word).confidence > 0), len(words))
    return "_".join(word for word in words[:first] if word.lower() not in _MANNER)


def _common(paths: Sequence[tuple[str, ...]]) -> int:
    """How many parts all paths start with."""
    same = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        same += 1
    return same


def _parts(sources: Mapping[Hashable, Source], names: Mapping[Hashable, str]) -> dict[str, dict[Hashable, Source]]:
    parts: dict[str, dict[Hashable, Source]] = {}
    for key, name in names.items():
        parts.setdefault(name, {})[key] = sources[key]
    return parts


def _several(parts: Mapping[str, Mapping[Hashable, Source]]) -> bool:
    """Whether parts are studies of their own: one of several sequences has a sequence that another one has, too."""
    offered = [{source.sequence for source in part.values()} - {None} for part in parts.values()]
    count = Counter(sequence for sequences in offered for sequence in sequences)
    return any(len(sequences) > 1 and any(count[name] > 1 for name in sequences) for sequences in offered)
