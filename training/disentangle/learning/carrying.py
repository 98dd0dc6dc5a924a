"""A run made small enough to be carried to another machine, or kept in a repository: its state in half the bits.

Averaged weights are rounded to half precision, as in a bundle; weights are kept as what they differ from these by, and
the optimisers' moments, which may be as small as 1e-12, in bfloat16. Where training ends the difference is small, so
that the weights come back with an error of about 1e-3 of it. A state takes half of its checkpoint, and training goes
on from it without a warm-up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import InputError
from ..study import write_atomically
from .callbacks import LAST
from .checkpoints import load_checkpoint

CARRIED = "last.safetensors"
"""The state in a run folder that was carried there, as ``last.ckpt`` is the one that training writes."""
FORMAT = "disentangle-run-1"
_STORY = ("config.yaml", "run.json", "logs/csv/*/metrics.csv")
"""Files of a run folder that tell how it came about."""


def newest_state(folder: Path) -> Path | None:
    """The file of a run folder to go on from: what was carried there holds until training writes its own."""
    return next((folder / name for name in (LAST, CARRIED) if (folder / name).exists()), None)


def load_state(path: Path) -> dict[str, Any]:
    """What a checkpoint or a carried state holds.

    Raises:
        InputError: it is damaged, or neither.
    """
    return _unpacked(path) if path.suffix == ".safetensors" else load_checkpoint(path)


def carry(run: Path, output: Path) -> Path:
    """Copy a run in its small form.

    The copy goes on where it stands under the name of a run: ``training.resume=true`` with its folder as ``output``
    and ``name``.

    Args:
        run: a folder with a ``last.ckpt``.
        output: the new folder; complete or not at all.

    Returns:
        ``output``.

    Raises:
        InputError: there is nothing to carry, ``output`` is taken or cannot be written.
    """
    state = newest_state(run)
    if state is None:
        raise InputError(f"{run} holds no run to carry (no {LAST}); name the folder of a training.")
    if output.exists():
        raise InputError(f"{output} is there already; name another folder.")
    content = load_state(state)
    with write_atomically(output) as temporary:
        temporary.mkdir()
        for path in (found for pattern in _STORY for found in sorted(run.glob(pattern))):
            copy = temporary / path.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        _pack(content, temporary / CARRIED)
    return output


def _pack(content: Mapping[str, Any], path: Path) -> None:
    tensors: dict[str, Tensor] = {}
    average = content["average"]
    if average is not None:
        small = {name: _small(value, torch.float16) for name, value in average.items()}
        away = {
            name: _small(value - small[name].to(value.dtype), torch.bfloat16) if _is_large(value) else value
            for name, value in content["weights"].items()
        }
        content = {**content, "average": small, "weights": away}
    moments = _mapped(content["optimizers"], lambda value: _small(value, torch.bfloat16))
    told = _taken({**content, "optimizers": moments}, tensors)
    # A file holds tensors that share no memory.
    tensors = {name: value.clone().contiguous() for name, value in tensors.items()}
    # Not save_file: its files can be read by their owner alone.
    path.write_bytes(save(tensors, {"format": FORMAT, "content": json.dumps(told)}))


def _unpacked(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        content = _put_back(json.loads(about["content"]), tensors) if about.get("format") == FORMAT else None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged; carry the run again.") from error
    if content is None:
        raise InputError(f"{path} holds weights but no training to go on with; name the folder of a run.")
    content = _mapped(content, lambda value: value.float() if _is_small(value) else value)
    if content["average"] is not None:
        content["weights"] = {
            name: value + content["average"][name] if _is_large(value) else value
            for name, value in content["weights"].items()
        }
    return content


def _is_large(value: Tensor) -> bool:
    """Whether a tensor is worth rounding: no counter, and no number of its own, such as an optimiser's step."""
    return value.dtype == torch.float32 and value.numel() > 1


def _is_small(value: Tensor) -> bool:
    return value.dtype in (torch.float16, torch.bfloat16)


def _small(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if _is_large(value) else value


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Nested mappings and lists with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, (list, tuple)) else value


def _taken(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Nested content as JSON can hold it: tensors go to ``tensors``, and mappings, whose keys may be numbers, become
    pairs."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"pairs": [[key, _taken(item, tensors)] for key, item in value.items()]}
    return [_taken(item, tensors) for item in value] if isinstance(value, (list, tuple)) else value


def _put_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The content that :func:`_taken` took apart."""
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _put_back(item, tensors) for key, item in value["pairs"]}
    return [_put_back(item, tensors) for item in value] if isinstance(value, list) else value
