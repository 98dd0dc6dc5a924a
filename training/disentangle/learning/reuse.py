"""Trainings that are made once: found again, or gone on with where they were interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..progress import Progress
from .callbacks import FINAL
from .carrying import newest_state
from .config import load_config
from .data import check_unseen
from .train import train

_FREE = {
    "output",
    "training.device",
    "training.precision",
    "training.resume",
    "training.loader_workers",
    "training.log_every",
    "training.images_every",
    "training.checkpoint_minutes",
    "data.cache",
    "data.phantoms.workers",
}
"""Settings that may differ between a run that exists and the one that is wanted."""


def train_once(
    config: Mapping[str, Any],
    what: str = "",
    say: Callable[[str], None] = print,
    progress: Progress | None = None,
    quiet: bool = False,
) -> Path:
    """The final checkpoint of the run ``<output>/<name>``, which is trained where there is none.

    Args:
        config: complete, as of :func:`.config.load_config`.
        what: the run is for, told by ``say``.
        progress, quiet: as of :func:`.train.train`.

    Raises:
        InputError: the run that is there had other settings or was trained on persons who would be held out now, the
            folder is none of a run, or a mistake in these.
        Cancelled: the user asked to stop; the same call goes on from there.
    """
    folder, what = Path(config["output"]) / config["name"], what or str(config["name"])
    final = folder / FINAL
    if folder.exists():
        if (folder / "config.yaml").exists():
            _check_same(folder, config)
        if final.exists():
            _check_split(folder, config)
            return final
        if newest_state(folder):
            say(f"{what}: resuming {folder}")
            resumed = {**config, "training": {**config["training"], "resume": True}}
            return train(resumed, progress=progress, quiet=quiet)
        if any(folder.iterdir()) and not (folder / "config.yaml").exists():
            raise InputError(f"{folder} is there and no run of a training; rename it, or give another output=FOLDER.")
        # Interrupted before its first checkpoint: nothing in it is worth keeping.
        shutil.rmtree(folder)
    say(f"{what}: training {folder}")
    return train(config, progress=progress, quiet=quiet)


def _check_same(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a run whose settings differ from those wanted."""
    there, wanted = _comparable(load_config(folder / "config.yaml")), _comparable(config)
    for key in sorted({*there, *wanted} - _FREE):
        if there.get(key) != wanted.get(key):
            raise InputError(
                f"The run {folder} was made with {key}={there.get(key)}, but {wanted.get(key)} is wanted; remove that "
                "folder, or give another output=FOLDER."
            )


def _check_split(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a finished run that saw whom the split of now holds out."""
    record = folder / "run.json"
    if record.exists():
        trained, before = json.loads(record.read_text(encoding="utf-8"))["data"], load_config(folder / "config.yaml")
        remedy = "remove that folder, or give another output=FOLDER"
        check_unseen(f"The run {folder}", trained, before, config, ("validation", "test"), remedy)


def _without_folders(sets: Any) -> Any:
    """``data.dataset`` of a configuration without the folders of its entries: a set may lie anywhere, and its split
    knows its files."""
    if isinstance(sets, Mapping):
        return {key: value for key, value in sets.items() if key != "folder"}
    return sets and [_without_folders(entry) for entry in sets]


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Path of a setting ("data.cache") -> value, without the folders of data sets."""
    data = {**config["data"], "dataset": _without_folders(config["data"]["dataset"])}
    return _flat({**config, "data": data})


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            result |= _flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = (
                list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            )
    return result
