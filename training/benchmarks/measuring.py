"""What a report tells about how its figures were measured, and how repeated figures become one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
RESULTS = HERE / "results"
_MEASURED_CODE = ("training", "Resources", ":(exclude)training/benchmarks/results")
"""What a commit must hold for its figures to be made again."""
_LIBRARIES = ("torch", "openvino", "monai", "SimpleITK", "numpy")


@contextmanager
def measured(script: str, arguments: Sequence[str] = (), **more: Any) -> Iterator[dict[str, Any]]:
    """The ``measured`` block of a report: what ran, on what, when and how busy the machine was; complete at the end.

    Args:
        script: name of the benchmark's file.
        arguments: of its command line.
        more: whatever else the block is to tell, "repeats" for example.
    """
    block: dict[str, Any] = {
        "command": command_of(script, arguments),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        **more,
    }
    before, began = load_average(), time.perf_counter()
    yield block
    block["load_average"] = [before, load_average()]
    block["seconds"] = round(time.perf_counter() - began, 1)


def command_of(script: str, arguments: Sequence[str]) -> str:
    """The command of a benchmark without places of one machine: where the report goes, and folders above the last."""
    words, left_out = [], False
    for word in arguments:
        if word == "--output" or left_out:
            left_out = not left_out
        else:
            words.append(Path(word).name if Path(word).is_absolute() else word)
    return " ".join([f"python training/benchmarks/{script}", *words])


def commit() -> str | None:
    """The checked-out commit, with "+" behind it where the measured code differs from it; None without git."""
    try:
        name, changes = (
            subprocess.run(["git", *command], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
            for command in (
                ("rev-parse", "--short", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no", "--", *_MEASURED_CODE),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + "+" * bool(changes)


def machine() -> str:
    """Processor, cores, and Python."""
    names = (_after_colon(Path("/proc/cpuinfo"), "model name"), platform.processor(), platform.machine())
    name = next(filter(None, names), "unknown")
    return f"{name}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _after_colon(path: Path, key: str) -> str:
    """The text behind "key:" in a file of such lines; "" where there is none."""
    if not path.is_file():
        return ""
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((text.strip() for name, _, text in lines if name.strip() == key), "")


def versions() -> dict[str, str]:
    """Installed libraries that the figures depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load_average() -> float | None:
    """How many processes wanted a core during the last minute; more than there are cores spoil the figures."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def peak_mib() -> float | None:
    """Largest resident memory of this process so far; None on Windows."""
    high = _after_colon(Path("/proc/self/status"), "VmHWM")
    if high:  # ru_maxrss would be at least that of the process that started this one
        return int(high.split()[0]) / 2**10
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


def median_of(values: Sequence[Any]) -> Any:
    """Medians of equally built results: numbers in dictionaries; everything else as it was at first.

    A number that a result lacks, or that is None there, does not count.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], dict):
        keys = dict.fromkeys(key for value in known for key in value)
        return {key: median_of([value.get(key) for value in known]) for key in keys}
    if isinstance(known[0], (int, float)) and not isinstance(known[0], bool):
        return round(statistics.median(known), 3)
    return known[0]


def write_report(report: Any, path: Path) -> None:
    """Write indented JSON; the file is there completely or as it was before."""
    from disentangle.study import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
