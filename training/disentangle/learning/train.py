"""``train(config)``: from a configuration to a checkpoint. Also ``python -m disentangle.learning.train CONFIG``."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from ..bundles import find_bundle
from ..errors import Cancelled, InputError
from ..inference.devices import check_device_name
from ..inference.output import check_writable
from ..progress import Progress
from ..registry import create, settings_of
from ..systems.base import System
from .callbacks import FINAL, LAST, Diverged, Housekeeping
from .checkpoints import load_checkpoint, system_from_checkpoint
from .config import load_config, merged, mistakes_in
from .data import SAMPLERS, Data, batches, check_unseen, load_data, loader, samplers, sampling_of
from .factors import mean_styles
from .lineage import trained_on_before
from .module import Learner
from .run_folders import check_same_system, how_to_go_on, how_to_recover, new_folder, record, resumed, say_folder


def train(
    config: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    progress: Progress | None = None,
    quiet: bool = False,
) -> Path:
    """Train a system.

    The run folder ``<output>/<name>`` (``<name>-2``, ... where the name is taken) then holds ``config.yaml``,
    ``run.json`` (command, seed, versions, data), ``logs`` (CSV and TensorBoard), ``images`` and the checkpoints
    ``last.ckpt`` (to resume; elsewhere by :mod:`.carrying`), ``best.ckpt`` (best monitored validation score) and
    ``final.ckpt`` (averaged weights, default styles set). It is made when the system, the data and the sampling are
    known to be good.

    Args:
        config: a YAML file or its content, see :mod:`.config`.
        overrides: "section.key=value".
        progress: stages "data set", "studies", "phantoms", "train", "styles"; cancelling saves ``last.ckpt`` first.
        quiet: print nothing.

    Returns:
        The path of ``final.ckpt``.

    Raises:
        InputError: a mistake in the configuration, missing data, or a run to resume that is not the only one of its
            name, is finished, has another system, or was trained on persons who would be held out now; or the training
            diverged.
        Cancelled: the user asked to stop; the text says where the state is, and how to go on.
    """
    progress = progress or Progress()
    overrides = list(overrides)
    config = load_config(config, overrides)
    settings = config["training"]
    accelerator, devices = _device(settings["device"])  # mistakes are told before minutes of preparation
    check_writable(config["output"], folder=True)
    chosen = any(text.startswith("name=") for text in overrides)
    folder, state = resumed(config, chosen) if settings["resume"] else (None, None)
    lightning.seed_everything(config["seed"], verbose=False)
    system, note = _system(config)
    if note and not quiet:
        print(note, flush=True)
    before, earlier = trained_on_before(settings["init_from"]), []
    if state is not None:
        check_same_system(folder, system, state)
        earlier = [entry for entry in state["data"] if entry not in before]
        remedy = "leave out training.resume for a new run"
        check_unseen(f"The run {folder}", earlier, state["config"], config, ("validation", "test"), remedy)
    _check_sampling(config, system)
    data = load_data(config, progress.part(0.0, 0.1))
    training, validation = samplers(config, data, system.capabilities)

    learner = Learner(system, settings, config["seed"])
    if state is not None:
        learner.restore(state)
    own = [*(entry for entry in earlier if entry not in data.about()), *data.about()]
    about = {"config": config, "data": [*before, *(entry for entry in own if entry not in before)]}
    if folder is None:
        folder = new_folder(config)
    if not quiet:
        say_folder(config, folder, learner.iteration)
    record(folder, config, overrides, data, own, accelerator, devices)
    housekeeping = Housekeeping(
        folder, settings, about, lambda: next(batches(validation, 1)), progress.part(0.1, 0.95), quiet
    )
    trainer = _trainer(housekeeping, accelerator, devices)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        _fit(trainer, learner, training, validation)
        housekeeping.save(learner, LAST)
        place = _place(accelerator, devices)
        return _finish(folder, learner, data, place, housekeeping, progress.part(0.95, 1.0))
    except Diverged as error:
        raise InputError(how_to_recover(config, folder, error.step, system)) from error
    except (KeyboardInterrupt, Cancelled, SystemExit) as stop:
        # Of Ctrl-C, Lightning makes the end of the process, deaf to any further one.
        if isinstance(stop, SystemExit) and not trainer.interrupted:
            raise
        if interrupt is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)
        raise Cancelled(how_to_go_on(config, folder)) from stop


def _fit(trainer: lightning.Trainer, learner: Learner, training: Any, validation: Any) -> None:
    """The updates that are left, from none on."""
    settings = learner.settings
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


def _check_sampling(config: Mapping[str, Any], system: System) -> None:
    """Refuse mistakes in the section sampling.

    Raises:
        InputError: see :func:`.data.sampling_of`, or a value of the wrong type.
    """
    kind = config["sampling"].get("kind", "registered")
    if isinstance(kind, str) and kind in SAMPLERS:
        known = {"kind": kind, **vars(SAMPLERS[kind][1]())}
        # Whatever it does not know is told by the sampling itself.
        merged(known, {k: v for k, v in config["sampling"].items() if k in known}, "sampling")
    with mistakes_in("sampling"):
        sampling_of(config, system.capabilities)


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
    with mistakes_in("system"):
        system = create(name, **settings)
    if other is not None:
        try:
            system.adopt(other)
        except RuntimeError as error:
            raise InputError(f"{start} holds another architecture; give both the same section system.") from error
    return system, note


def _trainer(housekeeping: Housekeeping, accelerator: str, devices: int | list[int]) -> lightning.Trainer:
    """Lightning's trainer on a device of :func:`_device`."""
    # Its remarks ("Trainer.fit stopped: max_epochs=1 reached") are about the one endless epoch, and mean nothing here.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settings, folder = housekeeping.settings, housekeeping.folder
    precision = settings["precision"]
    if precision == "auto":
        precision = "bf16-mixed" if _has_bfloat16(_place(accelerator, devices)) else "32-true"
    bar = not housekeeping.quiet and sys.stderr.isatty()
    return lightning.Trainer(
        accelerator=accelerator,
        devices=devices,
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


def _device(name: str) -> tuple[str, int | list[int]]:
    """Lightning's names of a device: the accelerator, and how many or which of them.

    Raises:
        InputError: no such device, or not on this machine: training does not fall back on a slower one unasked.
    """
    kind, _, index = check_device_name(name).partition(":")
    if kind == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu", 1
    cuda = int(index or 0) < torch.cuda.device_count()
    if (kind == "cuda" and not cuda) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise InputError(f"There is no device {name} here that torch can use; set training.device=auto, or cpu.")
    return kind, [int(index)] if index else 1


def _place(accelerator: str, devices: int | list[int]) -> torch.device:
    """torch's name of a device of :func:`_device`."""
    index = devices[0] if isinstance(devices, list) else 0
    return torch.device(accelerator, index) if accelerator == "cuda" else torch.device(accelerator)


def _has_bfloat16(place: torch.device) -> bool:
    """Whether a device is a GPU that computes in bfloat16. ``torch.cuda.is_bf16_supported()`` says so of those before
    Ampere too, which emulate it."""
    if place.type != "cuda":
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(place)[0] >= 8


def _finish(
    folder: Path, learner: Learner, data: Data, place: torch.device, housekeeping: Housekeeping, progress: Progress
) -> Path:
    """Averaged weights and default styles, which are computed at a place, into ``final.ckpt``."""
    progress("styles", 0.0)
    # Lightning has taken the system back to the CPU.
    system = learner.system.to(place)
    if learner.average is not None:
        learner.average.swap_in(system)
    if not system.constant_styles:
        system.set_default_styles(mean_styles(system, data.training))
    learner.average = None
    path = housekeeping.save(learner, FINAL)
    progress("styles", 1.0)
    return path


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
    except (Cancelled, KeyboardInterrupt) as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
