"""A stand-in for the PythonSlicer executable: this Python, blind to the source tree as Slicer's Python is.

Run as ``python python_slicer.py HIDDEN_FOLDER <python's own arguments>``: it removes HIDDEN_FOLDER (where a
developer's editable install points) from ``sys.path`` unless PYTHONPATH names it, then does as told.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

NAME = "PythonSlicer.bat" if os.name == "nt" else "PythonSlicer"
"""File name of the launcher."""


def write_launcher(folder: Path, hidden: Path) -> Path:
    """Put an executable called PythonSlicer into ``folder``; it hides ``hidden``."""
    folder.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).resolve()
    launcher = folder / NAME
    if os.name == "nt":
        launcher.write_text(f'@"{sys.executable}" "{script}" "{hidden}" %*\n', encoding="utf-8")
    else:
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "{hidden}" "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)
    return launcher


def main(arguments: list[str]) -> None:
    """Do what Python would do with these arguments."""
    hidden, rest = arguments[0], arguments[1:]
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [entry for entry in sys.path[1:] if entry != hidden or entry in named]
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):
        rest = rest[2:] if rest[0] in ("-W", "-X") else rest[1:]
    if rest[0] == "-c":
        sys.argv = rest
        exec(compile(rest[1], "<string>", "exec"), {"__name__": "__main__"})
    elif rest[0] == "-m":
        sys.argv = rest[1:]
        sys.path.insert(0, "")
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = rest
        sys.path.insert(0, str(Path(rest[0]).resolve().parent))
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
