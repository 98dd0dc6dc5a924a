"""Which names of Slicer's Qt API the modules use, and where: recorded while the bench runs them."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

_BENCH = str(Path(__file__).resolve().parent)
_used: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
_PLACES = 2
"""So many places are named for each use."""


def record(full_name: str, attribute: str) -> None:
    """Remember ``full_name.attribute`` if code of the two modules or of their package asked for it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_BENCH) and "test_" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return
    path = Path(frame.f_code.co_filename)
    if "disentangle" in path.parts or path.stem.startswith("Disentangle"):
        _used[full_name][attribute].add(f"{path.name}:{frame.f_lineno}")


def as_text() -> str:
    """A Markdown list: Qt's own classes, which are real in the bench, by name; imitated classes with the lines that use
    them, since only a real Slicer verifies those."""
    own = [f"- `{name}`: {', '.join(sorted(_used[name]))}" for name in sorted(_used) if name.startswith("qt.")]
    imitated = []
    for name in sorted(name for name in _used if not name.startswith("qt.")):
        uses = [f"{attribute} ({_places(_used[name][attribute])})" for attribute in sorted(_used[name])]
        imitated.append(f"- `{name}`: {', '.join(uses)}")
    return "\n".join(
        [
            "### Qt's own classes (PySide6 in the bench)",
            *own,
            "",
            "### Imitated classes, with lines to verify",
            *imitated,
            "",
        ]
    )


def _places(lines: set[str]) -> str:
    shown = sorted(lines)[:_PLACES]
    return ", ".join(shown) + (", ..." if len(lines) > _PLACES else "")
