"""The list of Slicer's API in use, per class, with lines: ``python Testing/bench/api/in_use.py`` writes it.

Which names belong to which class, and the lines of code that use them, were recorded while the bench ran (``pytest
--slicer-api Testing/bench/api/used.json``; each run adds to the record); their numbers are looked up at each writing.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
RECORD = Path(__file__).with_name("used.json")
LIST = REPOSITORY / "Testing" / "slicer-api.md"
FOLDERS = ("DisentangleSeg", "DisentangleSynth", "training/disentangle/panel", "training/disentangle/mrml")
FUNCTIONS = ("slicer.util", "slicer.app", "slicer.modules")
_SIGNAL = re.compile(r"^(\w+)\(([^()]*)\)$")
_WIDGET = re.compile(r'<(?:widget|layout) class="(\w+)"')
_HEAD = """# Slicer's API in use
Written by `python Testing/bench/api/in_use.py`; a test compares it with the sources (line numbers apart).
Qt's own classes are real in the bench; so are MRML, segmentations and logics, which are not listed. Everything else is
imitated there from the documentation, Slicer's sources and the names that a running Slicer 5.13 listed: **those lines
are what a real Slicer has to verify** (`()` is the making of an object). How: the commands under "What needs the real
application" in [README.md](README.md).
"""


def sources() -> list[Path]:
    """The Python files of the modules and of the rooms that know Slicer."""
    return sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.py"))


def attributes(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that the code of a file uses (``qt.QTimer``), with lines; type annotations are none of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    annotations = {id(node) for part in parts if part is not None for node in ast.walk(part)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in annotations and _plain(node):
            yield ast.unparse(node), node.lineno


def signals(path: Path) -> Iterator[tuple[str, int]]:
    """Signatures of signals that are connected, with lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and _SIGNAL.match(first.value):
                yield first.value, node.lineno


def _plain(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _plain(node.value))


def recorded() -> dict[str, dict[str, list[str]]]:
    """Class -> name -> "FILE: line of code", as the bench recorded it."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def classes_named() -> set[str]:
    """Classes that the sources name: ``qt.QTimer``, ``ctk.ctkPathLineEdit``, ``slicer.qMRMLNodeComboBox``."""
    pattern = re.compile(r"^(?:(?:qt|ctk)\.\w+|slicer\.q\w+)")
    found = (pattern.match(name) for path in sources() for name, _line in attributes(path))
    return {match.group() for match in found if match} - {"qt.Signal"}


def text() -> str:
    """The list as Markdown."""
    code = {path.name: path.read_text(encoding="utf-8").splitlines() for path in sources()}
    functions: defaultdict[str, set[str]] = defaultdict(set)
    connected: defaultdict[str, set[str]] = defaultdict(set)
    for path in sources():
        for name, line in attributes(path):
            if name.startswith(FUNCTIONS) and name.count(".") > 1:
                functions[".".join(name.split(".")[:3])].add(f"{path.name}:{line}")
        for name, line in signals(path):
            connected[name].add(f"{path.name}:{line}")
    imitated, own = [], []
    for full, names in recorded().items():
        places = {name: {place for use in uses for place in _places(code, name, use)} for name, uses in names.items()}
        found = {name: lines for name, lines in places.items() if lines}
        if found and full.startswith("qt."):
            own.append(f"- `{full}`: {', '.join(found)}")
        elif found:
            imitated += [f"- `{full}`", *(f"  - {name}: {_shown(lines)}" for name, lines in found.items())]
    widgets: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted(REPOSITORY.glob("Disentangle*/Resources/UI/*.ui")):
        for name in _WIDGET.findall(path.read_text(encoding="utf-8")):
            widgets[name].add(path.name)
    return "\n".join(
        [
            _HEAD,
            "## Imitated classes: to verify in a real Slicer",
            *imitated,
            "",
            "## Functions and objects of `slicer`: `slicer.util` is real in the bench, the others are imitated",
            *(f"- `{name}`: {_shown(places)}" for name, places in sorted(functions.items())),
            "",
            "## Signals that are connected",
            *(f"- `{name}`: {_shown(places)}" for name, places in sorted(connected.items())),
            "",
            "## Classes in the .ui files",
            *(f"- `{name}`: {', '.join(sorted(files))}" for name, files in sorted(widgets.items())),
            "",
            "## Qt's own classes: real in the bench (PySide6), with the names that a running Slicer listed",
            *own,
            "",
        ]
    )


def _places(code: dict[str, list[str]], name: str, use: str) -> set[str]:
    """Where a recorded line stands by now; if it was rewritten, where its file has the name."""
    file, _, line = use.partition(": ")
    lines = code.get(file, [])
    numbers = [n for n, text in enumerate(lines, 1) if text.strip() == line]
    if not numbers and name != "()":
        numbers = [n for n, text in enumerate(lines, 1) if re.search(rf"\.{re.escape(name)}\b", text)]
    return {f"{file}:{n}" for n in numbers}


def _shown(places: set[str]) -> str:
    return ", ".join(sorted(places, key=lambda place: (place.split(":")[0], int(place.split(":")[1]))))


def statements(markdown: str) -> list[tuple[str, set[str]]]:
    """What the list says, line by line, without the numbers: (text, files)."""
    found = []
    for line in markdown.splitlines():
        text, _, places = line.rpartition(": ")
        files = set(re.findall(r"(\w+\.py):\d+", places))
        found.append((text if files else line, files))
    return found


if __name__ == "__main__":
    LIST.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"Written: {LIST}\n")
