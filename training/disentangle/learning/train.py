"""``train(config)``: from a configuration to a checkpoint. Also ``python -m disentangle.learning.train CONFIG``."""

from __future__ import annotations

import json
import logging
import platform
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from ..bundles import find_bundle
from ..errors import Cancelled, InputError
from ..progress import Progress
from ..registry import create, settings_of
from ..study import make_folder
from ..systems.base import System
from .callbacks import FINAL, LAST, Housekeeping
from .checkpoints import load_checkpoint, system_from_checkpoint
from .config import load_config, save_config
from .data import Data, batches, load_data, loader, samplers, sampling_of
from .factors import mean_styles
from .lineage import trained_on_before
from .module import Learner


def train(
    config: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    progress: Progress | None = None,
    quiet: bool = False,
) -> Path:
    """Train a system.

    The run folder ``<output>/<name>`` then holds ``config.yaml``, ``run.json`` (command, seed, versions, data),
    ``logs`` (CSV and TensorBoard), ``images`` and the checkpoints ``last.ckpt`` (to resume), ``best.ckpt`` (best
    monitored validation score) and ``final.ckpt`` (averaged weights, default styles set).

    Args:
        config: a YAML file or its content, see :mod:`.config`.
        overrides: "section.key=value".
        progress: stages "data set", "studies", "phantoms", "train", "styles"; cancelling saves ``last.ckpt`` first.
        quiet: print nothing.

    Returns:
        The path of ``final.ckpt``.

    Raises:
        InputError: a mistake in the configuration or missing data.
        Cancelled: the user asked to stop.
    """
    progress = progress or Progress()
    overrides = list(overrides)
    config = load_config(config, overrides)
    settings = config["training"]
    folder, state = _run_folder(config)
    lightning.seed_everything(config["seed"], verbose=False)
    system, note = _system(config)
    if note and not quiet:
        print(note, flush=True)
    sampling_of(config, system.capabilities)  # a mistake is told before minutes of preparation
    data = load_data(config, progress.part(0.0, 0.1))
    training, validation = samplers(config, data, system.capabilities)

    learner = Learner(system, settings, config["seed"])
    if state is not None:
        learner.restore(state)
    before = trained_on_before(settings["init_from"])
    about = {"config": config, "data": [*before, *(entry for entry in data.about() if entry not in before)]}
    _record(folder, config, overrides, data)
    trainer, housekeeping = _trainer(folder, settings, about, validation, progress.part(0.1, 0.95), quiet)
    numbers = range(learner.iteration, settings["steps"])
    if numbers and learner.fraction() < 1:
        with warnings.catch_warnings():
            # Two cores and small batches: the loader is no bottleneck, and there is one epoch by design.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
            # A frozen representation is meant to be in evaluation mode.
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            checks = range(min(settings["validation_batches"], 1_000))
            loaders = loader(training, numbers, settings["loader_workers"]), loader(validation, checks)
            trainer.fit(learner, *loaders)
        if trainer.interrupted:
            raise Cancelled(f"Training was interrupted; {folder / LAST} has its state (training.resume=true).")
    housekeeping.save(learner, LAST)
    return _finish(folder, learner, data, housekeeping, progress.part(0.95, 1.0))


def _run_folder(config: Mapping[str, Any]) -> tuple[Path, dict[str, Any] | None]:
    """The folder of the run and the state to resume; a new folder where the name is taken by another run."""
    folder = Path(config["output"]) / config["name"]
    if config["training"]["resume"]:
        return folder, load_checkpoint(folder / LAST)
    number = 2
    while folder.exists():
        folder = folder.with_name(f"{config['name']}-{number}")
        number += 1
    return make_folder(folder), None


def _system(config: Mapping[str, Any]) -> tuple[System, str | None]:
    """A new system, or one with the weights of ``training.init_from``, and what the user should know about these."""
    settings = dict(config["system"])
    name, start, other, note = settings.pop("name"), config["training"]["init_from"], None, None
    if start and Path(start).suffix == ".ckpt":
        other = system_from_checkpoint(load_checkpoint(start))
    elif start:
        bundle = find_bundle(start)
        other = bundle.system()
        if bundle.left_out(other):
            note = f"The model {bundle.name} comes without the discriminators of its training: they start anew."
    if other is not None and "representation" in settings_of(name) and settings.get("representation") is None:
        settings["representation"] = other.config.get("representation", {"name": other.name, **other.config})
    system = create(name, **settings)
    if other is not None:
        try:
            system.adopt(other)
        except RuntimeError as error:
            raise InputError(f"{start} holds another architecture; give both the same section system.") from error
    return system, note


def _trainer(
    folder: Path, settings: dict[str, Any], about: dict[str, Any], validation: Any, progress: Progress, quiet: bool
) -> tuple[lightning.Trainer, Housekeeping]:
    # Its remarks ("Trainer.fit stopped: max_epochs=1 reached") are about the one endless epoch, and mean nothing here.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    accelerator, precision = _device(settings["device"]), settings["precision"]
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "gpu" and torch.cuda.is_bf16_supported() else "32-true"
    housekeeping = Housekeeping(folder, settings, about, lambda: next(batches(validation, 1)), progress, quiet)
    bar = not quiet and sys.stderr.isatty()
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_epochs=1,
        val_check_interval=settings["validate_every"],
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=bar,
        callbacks=[housekeeping, *([TQDMProgressBar(settings["log_every"])] if bar else [])],
        logger=[CSVLogger(folder / "logs", "csv"), TensorBoardLogger(folder / "logs", "tensorboard")],
        log_every_n_steps=10**9,
    )
    return trainer, housekeeping


def _device(name: str) -> str:
    """Lightning's name of a device."""
    if name == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise InputError(f'Unknown device "{name}"; use auto, cpu, cuda or mps.')
    return name.split(":")[0]


def _finish(folder: Path, learner: Learner, data: Data, housekeeping: Housekeeping, progress: Progress) -> Path:
    """Averaged weights and default styles into ``final.ckpt``."""
    progress("styles", 0.0)
    system = learner.system
    if learner.average is not None:
        learner.average.swap_in(system)
    system.set_default_styles(mean_styles(system, data.training))
    learner.average = None
    path = housekeeping.save(learner, FINAL)
    progress("styles", 1.0)
    return path


def _record(folder: Path, config: Mapping[str, Any], overrides: list[str], data: Data) -> None:
    """What is needed to repeat the run."""
    save_config(config, folder / "config.yaml")
    record = {
        "command": command(),
        "overrides": overrides,
        "seed": config["seed"],
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "data": data.about(),
        "data sets": [asdict(source) for source in data.sources],
        "validation": [s.name for s in data.validation],
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


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


def main(arguments: list[str] | None = None) -> int:
    """``python -m disentangle.learning.train CONFIG [key=value ...]``."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m disentangle.learning.train CONFIG [key=value ...]", file=sys.stderr)
        return 2
    try:
        print(train(arguments[0], arguments[1:]))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except Cancelled as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
