"""How much memory of this machine is free. Slicer's Python has no psutil, so that the system is asked itself."""

from __future__ import annotations

import contextlib
import ctypes
import re
import subprocess
import sys
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_RECLAIMED = ("free", "inactive", "speculative", "purgeable")
"""Pages that macOS gives to who asks, as ``vm_stat`` calls them."""


def free_memory() -> int | None:
    """Bytes that programs can have without anything being swapped out; None where the system does not tell."""
    ask = {"win32": _of_windows, "darwin": _of_macos}.get(sys.platform, _of_linux)
    with contextlib.suppress(OSError, ValueError, AttributeError, subprocess.SubprocessError):
        return ask()
    return None


def _of_linux() -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
    return None if found is None else int(found[1]) << 10


def _of_macos() -> int | None:
    done = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=2, check=True)
    return pages_in_bytes(done.stdout)


def pages_in_bytes(told: str) -> int | None:
    """Bytes that ``vm_stat`` counts as free or reclaimed at once; None where it tells of no pages.

    Args:
        told: "Mach Virtual Memory Statistics: (page size of 16384 bytes)", and below it lines "Pages free:  1234."
    """
    size = re.search(r"page size of (\d+) bytes", told)
    pages = [re.search(rf"^Pages {kind}:\s*(\d+)", told, re.MULTILINE) for kind in _RECLAIMED]
    known = [int(count[1]) for count in pages if count is not None]
    return int(size[1]) * sum(known) if size is not None and known else None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("dwLength", ctypes.c_uint32),
        ("dwMemoryLoad", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("ullTotalPhys", "ullAvailPhys", "ullTotalPageFile", "ullAvailPageFile")),
        *((name, ctypes.c_uint64) for name in ("ullTotalVirtual", "ullAvailVirtual", "ullAvailExtendedVirtual")),
    )


def _of_windows() -> int | None:
    status = _MemoryStatus(dwLength=ctypes.sizeof(_MemoryStatus))
    told = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.ullAvailPhys) if told else None
