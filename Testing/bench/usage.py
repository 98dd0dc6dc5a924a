"""Which names of Slicer's Qt API the modules use: recorded while the bench runs them."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

_BENCH = str(Path(__file__).resolve().parent)
_used: defaultdict[str, set[str]] = defaultdict(set)


def record(full_name: str, attribute: str) -> None:
    """Remember ``full_name.attribute`` if code of the two modules or of their package asked for it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_BENCH) and "test_" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return
    path = Path(frame.f_code.co_filename)
    if "disentangle" in path.parts or path.stem.startswith("Disentangle"):
        _used[full_name].add(attribute)


def as_text() -> str:
    """One line per class."""
    return "".join(f"{name}: {', '.join(sorted(_used[name]))}\n" for name in sorted(_used))
