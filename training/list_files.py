"""Bring the lists of installed files in training/CMakeLists.txt up to date: ``python training/list_files.py``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "training" / "CMakeLists.txt"


def scripts() -> list[str]:
    """Every Python file of the package, relative to ``training``."""
    base = ROOT / "training"
    return sorted(p.relative_to(base).as_posix() for p in (base / "disentangle").rglob("*.py"))


def data() -> list[str]:
    """Every file that inference reads (atlas, models, ...), relative to the root; hidden files are left out."""
    folders = [ROOT / "Resources" / name for name in ("Atlas", "BrainMask", "Models", "Recognition")]
    files = (p.relative_to(ROOT) for folder in folders for p in folder.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in files if not any(part.startswith(".") for part in p.parts))


def updated(text: str) -> str:
    """The CMake file with both lists as they must be."""
    for name, files in (("PACKAGE_PYTHON_SCRIPTS", scripts()), ("PACKAGE_DATA", data())):
        body = "".join(f"  {file}\n" for file in files)
        text = re.sub(rf"set\({name}\n[^)]*\)", f"set({name}\n{body}  )", text)
    return text


if __name__ == "__main__":
    LISTS.write_text(updated(LISTS.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(f"{len(scripts())} scripts and {len(data())} data files are listed in {LISTS}")
