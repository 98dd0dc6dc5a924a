"""How a bundle runs on this machine: which backend, and how many slices at once."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundles import Bundle
from ..errors import InputError
from .backends import store

if TYPE_CHECKING:
    from .backends.store import Converted

BACKENDS = ("auto", "torch", "openvino")


@dataclass(frozen=True)
class Plan:
    """Which backend runs a bundle.

    Attributes:
        converted: the compiled programs; None runs PyTorch.
        reason: one clause, for the report.
    """

    converted: Converted | None
    reason: str


def check_backend(name: str) -> str:
    """The name of a backend, if it is one.

    Raises:
        InputError: it is none.
    """
    if name not in BACKENDS:
        raise InputError(f"There is no backend {name!r}; use {', '.join(BACKENDS)}.")
    return name


def choose_plan(bundle: Bundle, device: str = "auto", backend: str = "auto") -> Plan:
    """The backend for a bundle, found out without importing torch.

    "auto" takes the compiled programs on a CPU, where they are there and were the faster ones when they were timed on
    this machine. "openvino" converts the bundle first where that was not done yet, which takes some 20 s.

    Raises:
        InputError: "openvino" where it is not installed, or cannot run the bundle.
    """
    if check_backend(backend) == "torch":
        return Plan(None, "asked for")
    if backend == "openvino":
        made = store.read(bundle) if store.openvino_version() else None
        if made is None:
            from .backends.convert import convert

            made = convert(bundle)
        if not made.programs:
            raise InputError(f"OpenVINO cannot run the model {bundle.name} ({made.note}); use the backend torch.")
        return Plan(made, "asked for")
    if device not in ("auto", "cpu") or (device == "auto" and may_have_gpu()):
        return Plan(None, "not a CPU")
    if store.openvino_version() is None:
        return Plan(None, "OpenVINO is not installed")
    made = store.read(bundle)
    if made is None:
        return Plan(None, f"not converted yet (disentangle models compile {bundle.name})")
    if not made.pays:
        return Plan(None, made.note or "as fast as the compiled programs")
    torch_ms, openvino_ms = made.milliseconds["torch"], made.milliseconds["openvino"]
    return Plan(made, f"{openvino_ms:.0f} ms a slice, PyTorch {torch_ms:.0f} ms")


def worth_converting(bundle: Bundle, device: str = "auto", backend: str = "auto") -> bool:
    """Whether "auto" would look for compiled programs of a bundle, and nobody has tried to make them here."""
    on_cpu = device == "cpu" or (device == "auto" and not may_have_gpu())
    return backend == "auto" and on_cpu and store.openvino_version() is not None and store.read(bundle) is None


def may_have_gpu() -> bool:
    """Whether torch might find a GPU here: asked of the system, since asking torch costs seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").exists()
    driver = any(Path(place).exists() for place in ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/kfd"))
    return driver or shutil.which("nvidia-smi") is not None
