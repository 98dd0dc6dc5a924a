"""Weights as safetensors: the header checked before anything is built, half precision on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_MAX_HEADER_BYTES = 64 * 1024 * 1024
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class TensorInfo:
    """What the header says of a tensor: safetensors' name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, types and shapes in a safetensors file; only the header is read.

    The layout is 8 bytes of header length (little endian), the header as JSON, then the data
    (https://github.com/huggingface/safetensors#format).

    Raises:
        InputError: truncated, no safetensors, or tensors that do not fill the file exactly.
    """
    damaged = InputError(f"{path} is damaged or not a safetensors file; get the model again.")
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise damaged
        text = stream.read(length)
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged from error
    if not isinstance(header, dict):
        raise damaged
    header.pop("__metadata__", None)
    tensors, spans = {}, []
    for name, entry in header.items():
        info = _tensor_info(entry)
        if info is None:
            raise damaged
        tensors[name], span = info
        spans.append(span)
    position = 0
    for start, stop in sorted(spans):
        if start != position:
            raise damaged
        position = stop
    if position != size - 8 - length:
        raise damaged
    return tensors


def _tensor_info(entry: Any) -> tuple[TensorInfo, tuple[int, int]] | None:
    if not isinstance(entry, dict) or entry.get("dtype") not in _BYTES:
        return None
    shape, span = entry.get("shape"), entry.get("data_offsets")
    for numbers in (shape, span):
        if not isinstance(numbers, list) or not all(isinstance(n, int) and n >= 0 for n in numbers):
            return None
    count = _BYTES[entry["dtype"]]
    for n in shape:
        count *= n
    if len(span) != 2 or span[1] - span[0] != count:
        return None
    return TensorInfo(entry["dtype"], tuple(shape)), (span[0], span[1])


def compare(
    found: dict[str, TensorInfo], wanted: dict[str, tuple[int, ...]], dispensable: Collection[str] = ()
) -> str | None:
    """How the tensors in a file differ from those of a system, as a clause; None when they agree.

    Args:
        found: in the file.
        wanted: name -> shape, in the system.
        dispensable: names that may be missing.
    """
    missing = sorted(wanted.keys() - found.keys() - set(dispensable))
    extra = sorted(found.keys() - wanted.keys())
    if missing:
        return f"its weights lack {missing[0]}" + (f" and {len(missing) - 1} more tensors" if len(missing) > 1 else "")
    if extra:
        return f"its weights hold the unknown tensor {extra[0]}"
    for name in found:
        if found[name].shape != wanted[name]:
            return f"the tensor {name} has the shape {found[name].shape} instead of {wanted[name]}"
    return None


def save(module: nn.Module, path: Path, half: bool = True) -> None:
    """Write the state of a module without its judges; with ``half``, matrices and kernels in half precision.

    Vectors (biases, statistics of normalisation, default styles) are small and keep full precision, as does a
    tensor that half precision cannot hold.
    """
    import torch
    from safetensors.torch import save as serialized

    from ..networks.judge import training_only

    def stored(tensor: Tensor) -> Tensor:
        # A copy: safetensors refuses tensors that share memory.
        tensor = tensor.detach().cpu().clone().contiguous()
        if half and tensor.dtype == torch.float32 and tensor.ndim >= 2:
            smaller = tensor.half()
            if bool(torch.isfinite(smaller).all()):
                return smaller
        return tensor

    # Not save_file: its files can be read by their owner alone, and bundles are shared between users.
    left_out = training_only(module)
    kept = {name: stored(tensor) for name, tensor in module.state_dict().items() if name not in left_out}
    path.write_bytes(serialized(kept))


def load(module: nn.Module, path: Path) -> None:
    """Copy the tensors of a file into a module; half precision is widened. What the file leaves out (judges, see
    :func:`compare`) stays as it is.

    Raises:
        InputError: a tensor holds NaN or infinity.
    """
    import torch
    from safetensors.torch import load_file

    state = load_file(str(path))
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path} holds values that are not finite in {name}; get the model again.")
    module.load_state_dict(state, strict=False)
