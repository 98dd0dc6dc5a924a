"""``train``, ``carry``, ``pack``, ``evaluate`` and ``export``: need the extra ``train``."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError
from ..inference.output import check_writable
from .options import add_loudness
from .outputs import check_outputs
from .running import Console


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    train = commands.add_parser("train", help="train a system as a configuration says")
    train.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see training/configs")
    train.add_argument("settings", nargs="*", metavar="key=value", help="for example training.steps=1000")
    add_loudness(train)
    train.set_defaults(run=run_train)

    carry = commands.add_parser("carry", help="copy a run in half its size, to go on with it on another machine")
    carry.add_argument("source", type=Path, metavar="RUN", help="the folder of a training, for example runs/brain-mr")
    carry.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    add_loudness(carry)
    carry.set_defaults(run=run_carry)

    pack = commands.add_parser("pack", help="prepare the studies of a configuration for training on another machine")
    pack.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see training/configs")
    pack.add_argument("settings", nargs="*", metavar="key=value", help="for example data.studies.folder=PATH")
    pack.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="to be named as data.studies.folder there"
    )
    add_loudness(pack)
    pack.set_defaults(run=run_pack)

    evaluate = commands.add_parser("evaluate", help="protocol tables: image quality, Dice with sequences missing")
    evaluate.add_argument(
        "source", type=Path, metavar="CONFIG|BUNDLE",
        help="a model's name or folder, a checkpoint, a configuration (trained once without each person in turn), or a "
        "paper's protocol (training/configs/e*.yaml), whose methods are trained, scored and reported",
    )  # fmt: skip
    evaluate.add_argument("settings", nargs="*", metavar="key=value", help="for example data.studies.folder=PATH")
    evaluate.add_argument(
        "--subsets", choices=("leave-one-out", "all"), default="leave-one-out", help="which sequences to leave out"
    )
    evaluate.add_argument("--json", type=Path, metavar="PATH", help="the figures as JSON")
    add_loudness(evaluate)
    evaluate.set_defaults(run=run_evaluate)

    export = commands.add_parser("export", help="make a bundle of a checkpoint")
    export.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="the bundle's folder")
    export.add_argument(
        "--card", type=Path, nargs="+", default=[], metavar="JSON",
        help="entries of the model card: version, description, quality, ...; of several files the last one holds",
    )  # fmt: skip
    export.add_argument("--full-precision", action="store_true", help="32-bit weights, twice the size")
    add_loudness(export)
    export.set_defaults(run=run_export)


def learning(module: str, name: str) -> Callable[..., Any]:
    """A function of the learning room, which is imported only now.

    Raises:
        InputError: something that training needs is not installed.
    """
    try:
        return getattr(import_module(f"disentangle.learning.{module}"), name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "disentangle"):
            raise
        raise InputError(
            f"This command needs {package}, which is not installed; install it with: "
            "pip install -e '.[train]' (in the folder of the source)."
        ) from error


def run_train(options: argparse.Namespace, console: Console) -> None:
    """``disentangle train``."""
    train = learning("train", "train")
    checkpoint = train(options.config, options.settings, quiet=options.quiet)
    console.say(f"Checkpoint: {checkpoint}")


def run_carry(options: argparse.Namespace, console: Console) -> None:
    """``disentangle carry``."""
    folder = learning("carrying", "carry")(options.source, options.output)
    console.say(
        f"Run: {folder}\nTo go on with it on another machine, copy it to runs/NAME there and train with the same "
        "configuration and name=NAME training.resume=true."
    )


def run_pack(options: argparse.Namespace, console: Console) -> None:
    """``disentangle pack``."""
    check_writable(options.output, folder=True)
    config = learning("config", "load_config")(options.config, options.settings)
    console.say(f"Pack: {learning('data', 'pack')(config, options.output, console.progress)}")


def run_evaluate(options: argparse.Namespace, console: Console) -> None:
    """``disentangle evaluate``."""
    if options.json is not None:
        check_writable(options.json)
        check_outputs([options.json], [options.source, *options.source.glob("*")])
    if learning("protocols", "is_protocol")(options.source):
        with _trainings():
            report = learning("protocols", "run")(options.source, options.settings, console.progress, console.say)
        console.say(f"Report: {report}")
        return
    evaluate = learning("evaluation", "evaluate")
    trains = options.source.suffix.lower() in (".yaml", ".yml")
    with _trainings() if trains else contextlib.nullcontext():
        evaluate(
            options.source, options.settings, options.json, options.subsets,
            progress=console.progress, quiet=options.quiet,
        )  # fmt: skip


@contextlib.contextmanager
def _trainings() -> Iterator[None]:
    """Around an evaluation that trains: how to go on with its trainings is not what a single one says."""
    try:
        yield
    except (KeyboardInterrupt, Cancelled) as stop:
        raise Cancelled(
            "stopped; trainings that are finished are kept, and the same command goes on after them."
        ) from stop


def run_export(options: argparse.Namespace, console: Console) -> None:
    """``disentangle export``."""
    check_writable(options.output, folder=True)
    card: dict[str, Any] = {}
    for path in options.card:
        card |= read_entries(path)
    bundle = learning("export", "export")(options.checkpoint, options.output, card, half=not options.full_precision)
    console.say(f"Bundle {bundle.name} {bundle.version} (licence {bundle.license['name']}): {bundle.path}")


def read_entries(path: Path) -> dict[str, Any]:
    """Entries of a model card from a JSON file.

    Raises:
        InputError: it cannot be read, or holds no JSON object.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The card {path} cannot be read ({error.strerror or error}); check the path.") from error
    except ValueError as error:
        raise InputError(f"The card {path} is not valid JSON; correct it.") from error
    if not isinstance(entries, dict):
        raise InputError(f"The card {path} must hold a JSON object; correct it.")
    return entries
