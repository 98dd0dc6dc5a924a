"""Checkpoints: everything to go on with training, readable without running code from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..registry import create
from ..study import write_atomically
from ..systems.base import System

FORMAT = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> Path:
    """Write tensors, numbers, texts, lists and dicts; complete or not at all."""
    with write_atomically(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)
    return path


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """What :func:`save_checkpoint` wrote, on the CPU.

    Raises:
        InputError: no such file, or no checkpoint of this package.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path}; check the path.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(f"{path} is damaged or not a checkpoint of Disentangle.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of this version of Disentangle.")
    return content


def system_from_checkpoint(content: dict[str, Any]) -> System:
    """The trained system in evaluation mode; with averaged weights where training kept them."""
    system = create(content["system"]["name"], **content["system"]["config"])
    system.load_state_dict(content["average"] or content["weights"])
    return system.eval()
