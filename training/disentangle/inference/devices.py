"""Choosing where to compute, and how many slices at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import InputError
from .free_memory import free_memory

if TYPE_CHECKING:
    import torch

MAX_BATCH = 4
"""Slices at once on a CPU: more bring nothing on two cores, and who cancels waits for as many."""
PATIENCE_MS = 300.0
"""Who cancels has an answer by then: the longest that a step of the networks may take."""
_SHARE = 0.8
"""Of the free memory: what is estimated, and what else wants memory meanwhile, may differ from what is thought."""
GPU_BATCH = 32
"""Slices at once on a CUDA device, whose thousands of cores a few slices leave idle."""
_ALLOWED = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device_name(name: str) -> str:
    """The name of a device, if it is one.

    Raises:
        InputError: it is none of auto, cpu, cuda, cuda:n, mps.
    """
    if not _ALLOWED.fullmatch(name):
        raise InputError(f"There is no device {name!r}; use auto, cpu, cuda, cuda:0 (1, 2, ...) or mps.")
    return name


def choose_device(name: str = "auto") -> tuple[torch.device, str | None]:
    """The device to compute on, and a note when it is not the one asked for.

    Raises:
        InputError: the name is not known.
    """
    import torch

    check_device_name(name)
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"), None
    if name == "mps" and not has_mps:
        return torch.device("cpu"), "There is no Apple GPU (mps) here that torch can use; the CPU was used instead."
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            return torch.device("cpu"), f"There is no GPU {name} here that torch can use; the CPU was used instead."
    return torch.device(name), None


def describe_device(device: torch.device) -> str:
    """For reports: "cpu (4 threads)", "cuda:0 (NVIDIA ...)", "mps"."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({threads_in_words(torch.get_num_threads())})" if device.type == "cpu" else str(device)


def threads_in_words(count: int) -> str:
    """A count, as in "1 thread" and "2 threads"."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def release_memory(device: torch.device) -> None:
    """Give what torch keeps of a GPU's memory, and no tensor uses, back to the system."""
    import torch

    {"cuda": torch.cuda, "mps": torch.mps}[device.type].empty_cache()


def memory_per_slice(height: int, width: int, sequences: int, channels: int, classes: int) -> int:
    """Bytes that one slice needs at most while it goes through the networks (estimate).

    The decoder is the widest part: about 400 channel maps of 4 bytes at full resolution; factors and logits of every
    sequence stay until the slice is done.
    """
    return 4 * height * width * (400 + sequences * (channels + 8) + 4 * classes)


def memory_of_volumes(shape: tuple[int, int, int], sequences: int, channels: int, classes: int, images: int) -> int:
    """Bytes of the result volumes on the working grid (estimate)."""
    voxels = shape[0] * shape[1] * shape[2]
    return 4 * voxels * (sequences * (1 + channels) + classes + 2 * images)


def slices_at_once(device: str, per_slice: int, wanted: int | None = None, step_ms: float | None = None) -> int:
    """How many slices go through the networks at once: what fits into the free memory of the device, at most
    ``wanted``, and so few that who cancels is answered within :data:`PATIENCE_MS`. One in any case.

    Args:
        device: as :func:`describe_device` says.
        per_slice: bytes, see :func:`memory_per_slice`.
        wanted: slices, at most; None takes :data:`GPU_BATCH` or :data:`MAX_BATCH`.
        step_ms: what the longest step takes for one slice, see :func:`longest_step`; None where that is not known.
    """
    on_gpu = device.startswith("cuda")
    most = wanted or (GPU_BATCH if on_gpu else MAX_BATCH)
    free = _free_on_gpu(device) if on_gpu else free_memory()  # an Apple GPU has the memory of its machine
    if free is not None:
        most = min(most, _SHARE * free // max(per_slice, 1))
    if step_ms:
        most = min(most, PATIENCE_MS // step_ms)
    return max(1, int(most))


def longest_step(milliseconds: float, pixels: int, measured_pixels: int) -> float:
    """Milliseconds, about, of the longest step between two looks at whether to stop, for one slice.

    It takes half of a slice: of brain-mr's the segmentation does (the encoders of its four sequences, each a step,
    together as long), of DAFNet's at its published width each of its two encoders (48 %).

    Args:
        milliseconds: of one slice of all sequences, encoded, fused and segmented, as the conversion measured it.
        pixels: of a slice.
        measured_pixels: of the slices that were measured.
    """
    return milliseconds / 2 * pixels / measured_pixels


def _free_on_gpu(device: str) -> int:
    import torch

    return torch.cuda.mem_get_info(torch.device(device.partition(" ")[0]))[0]
