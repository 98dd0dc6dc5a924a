"""What an interpreter must offer to run the worker; only the standard library is needed to find out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from typing import Any

OLDEST_PYTHON = (3, 10)
PACKAGES = {"numpy": (1, 24), "SimpleITK": (2, 2), "torch": (2, 2), "safetensors": (0, 4)}
"""Package -> oldest version that will do."""


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+")[0].split(".")[:2]:
        digits = "".join(c for c in part if c.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _installed(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Slicer's own SimpleITK comes without metadata.
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def check_interpreter(devices: bool = True) -> dict[str, Any]:
    """Describe this interpreter.

    Args:
        devices: also list the devices that torch can compute on (imports torch: some seconds).

    Returns:
        ``ok``, ``message`` (one sentence: what is missing and what to do, or that all is there), ``python``,
        ``executable``, ``packages`` (name -> version or None), ``missing`` (requirements), ``devices``.
    """
    packages = {name: _installed(name) for name in PACKAGES}
    missing = [f"{name}>={'.'.join(map(str, PACKAGES[name]))}" for name, version in packages.items() if version is None]
    old = [
        f"{name}>={'.'.join(map(str, PACKAGES[name]))} (there is {version})"
        for name, version in packages.items()
        if version not in (None, "unknown") and _version(version) < PACKAGES[name]
    ]
    clash = _clash(packages)
    found = _devices() if devices and packages["torch"] and not clash else []
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        message = f"{sys.executable} is Python {python}; choose an interpreter of version {oldest} or newer."
    elif missing or old:
        message = f"{sys.executable} lacks {', '.join(missing + old)}; install it there, or choose another interpreter."
    elif clash:
        message = clash
    else:
        message = f"{sys.executable} (Python {python}) has everything that is needed."
    return {
        "ok": not missing and not old and not clash and sys.version_info >= OLDEST_PYTHON,
        "message": message,
        "python": python,
        "executable": sys.executable,
        "packages": packages,
        "missing": missing + old,
        "devices": found,
    }


def _clash(packages: dict[str, str | None]) -> str:
    """Why packages that are new enough each by itself do not go together; "" where they do."""
    numpy, torch = packages["numpy"], packages["torch"]
    if not numpy or not torch or _version(numpy)[0] < 2 or _version(torch) >= (2, 3):
        return ""
    # PyTorch up to 2.2 was built for NumPy 1, and for Macs with Intel processors 2.2 is the last one.
    return (
        f"PyTorch {torch} of {sys.executable} cannot use its NumPy {numpy}; install PyTorch 2.3 or newer, or where "
        "there is none (Macs with Intel processors) choose an interpreter with NumPy 1."
    )


def _devices() -> list[dict[str, str]]:
    import torch

    found = [{"name": "cpu", "description": f"{torch.get_num_threads()} threads"}]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found.insert(index, {"name": f"cuda:{index}", "description": torch.cuda.get_device_name(index)})
    if torch.backends.mps.is_available():
        found.insert(0, {"name": "mps", "description": "Apple GPU"})
    return found
