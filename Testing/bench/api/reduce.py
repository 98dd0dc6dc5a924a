"""Make the bench's copy of Slicer's name tables: the classes of classes.txt, from the full dumps.

    python Testing/bench/api/reduce.py [FOLDER WITH pythonqt-names.json AND slicer-ctk-qt-api.json]

The full tables lie beside the checkout (``../shared/slicer-api``), too large for the repository.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FULL = HERE.parents[3] / "shared" / "slicer-api"
NAMES = "pythonqt-names.json"
SIGNATURES = "slicer-ctk-qt-api.json"


def offered() -> list[str]:
    """The classes that the bench offers, as ``qt.QLabel``, ``ctk.ctkSliderWidget``, ``slicer.qMRMLWidget``."""
    lines = (HERE / "classes.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def reduce_names(full: dict) -> dict:
    """The entries of the offered classes and of everything they include, and all live objects."""
    classes: dict[str, dict] = {}
    waiting = offered()
    while waiting:
        name = waiting.pop()
        if name in classes:
            continue
        if name not in full["classes"]:
            continue  # slicer.qSlicerApplication is dumped as a live object only
        entry = full["classes"][name]
        classes[name] = entry
        if entry.get("includes"):
            waiting.append(entry["includes"])
    return {"about": full["about"], "classes": dict(sorted(classes.items())), "objects": full["objects"]}


def reduce_signatures(full: dict) -> dict:
    """The QObject tables of the offered qMRML*, qSlicer* and ctk* classes and of their base classes."""
    kept: dict[str, dict] = {}
    waiting = [name.split(".")[1] for name in offered()]
    while waiting:
        name = waiting.pop()
        if name in full and name not in kept:
            kept[name] = full[name]
            waiting.append(full[name]["base"])
    return dict(sorted(kept.items()))


def write(path: Path, table: dict) -> None:
    """One class per line: small, and a change shows in a diff."""
    lines = []
    for key, value in table.items():
        if isinstance(value, dict) and key in ("classes", "objects"):
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in value.items())
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main(folder: Path) -> None:
    """Write both reduced tables beside this script."""
    for name, reduce in ((NAMES, reduce_names), (SIGNATURES, reduce_signatures)):
        table = reduce(json.loads((folder / name).read_text(encoding="utf-8")))
        write(HERE / name, table)
        print(f"{name}: {(HERE / name).stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FULL)
