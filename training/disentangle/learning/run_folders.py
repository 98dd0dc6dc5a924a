"""Folders of runs: a new one for every run, the one that is to go on, and what is written down about a run there."""

from __future__ import annotations

import itertools
import json
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch

from ..errors import InputError
from ..registry import create
from ..study import make_folder, write_atomically
from ..study.files import explain_write_error
from ..systems.base import System
from .callbacks import FINAL, LAST
from .carrying import load_state, newest_state
from .config import save_config
from .data import Data
from .lineage import START, runs_before


def resumed(config: Mapping[str, Any], chosen: bool) -> tuple[Path, dict[str, Any]]:
    """The folder of the run to go on with, and its state.

    Args:
        chosen: the user named the run beside the configuration: runs that are numbered after it are not meant.

    Raises:
        InputError: there is no such run, there are several, or it is finished.
    """
    folder = Path(config["output"]) / config["name"]
    runs = _runs_named(folder)
    if runs and runs != [folder] and not chosen:
        raise InputError(
            f"Which run is to go on? {folder.parent} has {', '.join(run.name for run in runs)}; say which, for example "
            f"{_option(config, runs[-1])} training.resume=true."
        )
    if folder not in runs:
        raise InputError(
            f"{folder} holds no run to go on with (no {LAST}); correct name and output, or leave out training.resume."
        )
    state, settings = load_state(newest_state(folder)), config["training"]
    done, minutes, limit = state["iteration"], state["seconds"] / 60, settings["max_minutes"]
    # Without its final checkpoint, a run was interrupted at the very end: that is left to do.
    if (folder / FINAL).exists() and (done >= settings["steps"] or (limit and minutes >= limit)):
        over = f"{settings['steps']} steps" if done >= settings["steps"] else f"{limit:g} minutes"
        raise InputError(
            f"The run {folder} is finished: {over} are wanted, and it has done {done} steps in {minutes:.1f} minutes; "
            "raise training.steps or training.max_minutes, or leave out training.resume for a new run."
        )
    return folder, state


def _runs_named(folder: Path) -> list[Path]:
    """The runs of a name that can go on: that folder, and those numbered after it."""
    numbered: dict[int, Path] = {}
    for path in folder.parent.glob("*"):
        found = re.fullmatch(re.escape(folder.name) + r"(?:-([1-9][0-9]*))?", path.name)
        if found and newest_state(path):
            numbered[int(found[1] or 0)] = path
    return [numbered[n] for n in sorted(numbered)]


def new_folder(config: Mapping[str, Any]) -> Path:
    """Make the folder of a new run, numbered where the name is taken by another one."""
    first = Path(config["output"]) / config["name"]
    make_folder(first.parent)
    for number in itertools.count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise explain_write_error(folder, error) from error
    raise AssertionError  # the numbers do not end


def _option(config: Mapping[str, Any], folder: Path) -> str:
    """The setting that names a run, as it is typed."""
    return shlex.quote(f"name={folder.relative_to(config['output']).as_posix()}")


def say_folder(config: Mapping[str, Any], folder: Path, iteration: int) -> None:
    """Which run this is, where that is not what the configuration says alone."""
    if config["training"]["resume"]:
        print(f"Going on with {folder} after step {iteration}.", flush=True)
    elif folder != Path(config["output"]) / config["name"]:
        print(
            f'The name "{config["name"]}" is taken, so this run is {folder}; to go on with it later: '
            f"{_option(config, folder)} training.resume=true.",
            flush=True,
        )


def how_to_go_on(config: Mapping[str, Any], folder: Path) -> str:
    """What somebody who stopped a training should know."""
    state = newest_state(folder)
    if state is None:
        return f"training was stopped before its first checkpoint; there is nothing to go on with in {folder}."
    return (
        f"training was stopped; {state} keeps what was learnt (to go on: {_option(config, folder)} "
        "training.resume=true)."
    )


def how_to_recover(config: Mapping[str, Any], folder: Path, step: int, system: System) -> str:
    """What somebody whose training diverged at a step should know."""
    what = f"The training diverged: its loss or its weights are not finite at step {step}"
    rate = system.config.get("learning_rate")
    lower = "a lower rate" if rate is None else f"a system.learning_rate below {rate:g}"
    state = newest_state(folder)
    if state is None:
        return f"{what}, and there is no checkpoint from before that; start again with {lower}."
    done = load_state(state)["iteration"]
    return (
        f"{what}; {state} keeps the state after step {done}, so go on from there with {lower} "
        f"({_option(config, folder)} training.resume=true)."
    )


def check_same_system(folder: Path, system: System, state: Mapping[str, Any]) -> None:
    """Refuse to go on with another system than that of the checkpoint; what leaves its weights and its meaning alone
    (rates, weights of losses) may differ.

    Raises:
        InputError: says what differs.
    """
    name, config = state["system"]["name"], state["system"]["config"]
    before = create(name, **config)
    if name == system.name and before.capabilities == system.capabilities and _shapes(before) == _shapes(system):
        return
    there, here = {"name": name, **before.config}, {"name": system.name, **system.config}
    keys = [k for k in {**there, **here} if _plain(there.get(k)) != _plain(here.get(k))]
    keys = keys if name == system.name else ["name"]  # the settings of two systems have nothing to do with each other
    was, wanted = (", ".join(f"system.{k}={_plain(c.get(k))}" for k in keys) for c in (there, here))
    raise InputError(
        f"The run {folder} was made with {was}, but {wanted} is wanted; give it the section system of its config.yaml, "
        "or leave out training.resume for a new run."
    )


def _shapes(system: System) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in system.state_dict().items()}


def _plain(value: Any) -> str:
    """A setting as YAML has it, lists and tuples alike."""
    return value if isinstance(value, str) else json.dumps(value)


def record(
    folder: Path,
    config: Mapping[str, Any],
    overrides: list[str],
    data: Data,
    own: list[dict[str, Any]],
    accelerator: str,
    devices: int | list[int],
) -> None:
    """What is needed to repeat the run.

    Args:
        data: of this start.
        own: what the run was trained on over all its starts, as of :meth:`.data.Data.about`.
    """
    gpu = devices[0] if isinstance(devices, list) else 0
    path = folder / "run.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    starts = [*before.get("earlier starts", []), {k: v for k, v in before.items() if k in START}] if before else []
    # A bundle that a run starts from may be replaced by what comes of it, and then tells of this run too.
    earlier = before["runs before"] if "runs before" in before else runs_before(config["training"]["init_from"])
    save_config(config, folder / "config.yaml")
    content = {
        "command": command(),
        "overrides": overrides,
        "seed": config["seed"],
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "device": torch.cuda.get_device_name(gpu) if accelerator == "cuda" else platform.processor() or "cpu",
        "data": own,
        "data sets": [asdict(source) for source in data.sources],
        "validation": [s.name for s in data.validation],
        **({"earlier starts": starts} if starts else {}),
        "runs before": earlier,
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")


def command() -> str:
    """The command of this process as a user types it, without the places of programs on this machine."""
    program = Path(sys.argv[0])
    start = ["disentangle"] if program.stem in ("__main__", "disentangle") else ["python", program.name]
    return shlex.join([*start, *sys.argv[1:]])


def commit() -> str | None:
    """The commit of the source tree, where there is one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
