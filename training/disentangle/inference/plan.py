"""How a bundle runs on this machine: which backend, and how many slices at once."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundles import Bundle
from ..errors import InputError
from .backends import store
from .backends.unusable import Unusable

if TYPE_CHECKING:
    from ..systems.factors import Capabilities
    from .backends.store import Converted

BACKENDS = ("auto", "torch", "openvino", "compile")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Plan:
    """Which backend runs a bundle.

    Attributes:
        converted: the compiled programs; None runs PyTorch.
        reason: one clause, for the report.
        fast: the programs in 8-bit integers that take the place of some; None runs exactly.
        warning: a sentence where what was asked for cannot be had; "" where it can.
        known: what the bundle's system can do, where its conversion has told; else None.
        milliseconds: see :attr:`.backends.store.Converted.milliseconds`; empty where nothing was measured.
    """

    converted: Converted | None
    reason: str
    fast: Path | None = None
    warning: str = ""
    known: Capabilities | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)


def check_backend(name: str) -> str:
    """The name of a backend, if it is one.

    Raises:
        InputError: it is none.
    """
    if name not in BACKENDS:
        raise InputError(f"There is no backend {name!r}; use {', '.join(BACKENDS)}.")
    return name


def choose_plan(bundle: Bundle, device: str = "auto", backend: str = "auto", fast: bool = False) -> Plan:
    """The backend for a bundle, found out without importing torch, and what is known of the bundle's system.

    ``fast`` is a wish: where the bundle, the device or the machine has no fast mode, the plan is the exact one with a
    warning. The fast mode needs the converted bundle too, and converts it.

    "auto" takes the compiled programs on a CPU, where they are there and were the faster ones when they were timed on
    this machine. "openvino" converts the bundle first where that was not done yet, which takes some 20 s. "compile" is
    PyTorch through torch.compile.

    Raises:
        InputError: "openvino" where it is not installed, or cannot run the bundle.
    """
    check_backend(backend)
    plan = _fast_plan(bundle, device, backend) if fast else _exact_plan(bundle, device, backend)
    made = plan.converted or store.read(bundle)
    return plan if made is None else replace(plan, known=made.capabilities, milliseconds=made.milliseconds)


def _exact_plan(bundle: Bundle, device: str, backend: str) -> Plan:
    if backend == "torch":
        return Plan(None, "asked for")
    if backend == "compile":
        return Plan(None, "torch.compile, asked for")
    if backend == "openvino":
        made = _converted(bundle)
        if not made.programs:
            raise InputError(f"OpenVINO cannot run the model {bundle.name} ({made.note}); use the backend torch.")
        return Plan(made, "asked for")
    if not _on_cpu(device):
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


def in_half(precision: str, device: str) -> bool:
    """Whether PyTorch computes in bfloat16 on a device: where that was asked for, on a GPU.

    A CPU without units for it takes 2.5 times as long as in float32 (two AVX-512 cores), and computes in float32.

    Args:
        precision: one of :data:`PRECISIONS`.
        device: kind of device, "cpu", "cuda" or "mps".

    Raises:
        InputError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"There is no precision {precision!r}; use {' or '.join(PRECISIONS)}.")
    return precision == "bf16" and device in ("cuda", "mps")


def _fast_plan(bundle: Bundle, device: str, backend: str) -> Plan:
    why = ""
    if bundle.fast is None:
        why = f"the model {bundle.name} has none"
    elif backend in ("torch", "compile"):
        why = f"it needs OpenVINO, and the backend {backend} was asked for"
    elif not _on_cpu(device):
        why = "it is for the CPU"
    elif store.openvino_version() is None:
        why = "OpenVINO is not installed"
    else:
        try:
            made = _converted(bundle)
        except Unusable as error:
            made, why = None, f"OpenVINO cannot be used ({error.reason})"
        if made is not None and made.fast_pays:
            fast_ms, exact_ms = made.milliseconds["fast"], made.milliseconds["openvino"]
            reason = f"fast mode, {fast_ms:.0f} ms a slice, exact {exact_ms:.0f} ms"
            return Plan(made, reason, bundle.fast_programs())
        why = why or made.note or "the exact programs are as fast on this machine"
    return replace(_exact_plan(bundle, device, backend), warning=f"There is no fast mode here: {why}.")


def _converted(bundle: Bundle) -> Converted:
    """The bundle's compiled programs, made now where nobody has made them yet."""
    made = store.read(bundle) if store.openvino_version() else None
    if made is None:
        from .backends.convert import convert

        made = convert(bundle)
    return made


def _on_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and not may_have_gpu())


def worth_converting(bundle: Bundle, device: str = "auto", backend: str = "auto") -> bool:
    """Whether "auto" would look for compiled programs of a bundle or of its brain mask, and nobody has tried to make
    them here, or they were damaged."""
    if backend != "auto" or not _on_cpu(device) or store.openvino_version() is None:
        return False
    return store.read(bundle) is None or store.lacks_brain(bundle)


def may_have_gpu() -> bool:
    """Whether torch might find a GPU here: asked of the system, since asking torch costs seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32" / "nvcuda.dll").exists()
    driver = any(Path(place).exists() for place in ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/kfd"))
    return driver or shutil.which("nvidia-smi") is not None
