"""Which names of Slicer's Qt API the modules use, and in which lines: recorded while the bench runs them."""

from __future__ import annotations

import json
import linecache
import sys
from collections import defaultdict
from pathlib import Path

_BENCH = str(Path(__file__).resolve().parent)
_used: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))


def record(full_name: str, attribute: str) -> None:
    """Remember ``full_name.attribute`` if code of the two modules or of their package asked for it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_BENCH) and "test_" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return
    path = Path(frame.f_code.co_filename)
    if "disentangle" in path.parts or path.stem.startswith("Disentangle"):
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        _used[full_name][attribute].add(f"{path.name}: {line}")


def add_to(path: Path) -> None:
    """Add what was recorded to a file: {class: {name: ["FILE: line of code"]}}; several runs make one list.

    The text of a line finds it again after others have moved it.
    """
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for full_name, names in known.items():
        for attribute, lines in names.items():
            _used[full_name][attribute].update(lines)
    plain = {c: {n: sorted(lines) for n, lines in sorted(names.items())} for c, names in sorted(_used.items())}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
