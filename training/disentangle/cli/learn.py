"""``train``, ``evaluate`` and ``export``: need the extra ``train``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InputError
from .options import add_device, add_loudness
from .running import Console


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    train = commands.add_parser("train", help="train a system as a configuration says")
    train.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file, see training/configs")
    train.add_argument("settings", nargs="*", metavar="key=value", help="for example training.steps=1000")
    add_loudness(train)
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser("evaluate", help="protocol tables of a bundle, or of a configuration's checkpoint")
    evaluate.add_argument("what", metavar="CONFIG|BUNDLE", help="a YAML file, or a model's name or folder")
    evaluate.add_argument("settings", nargs="*", metavar="key=value", help="changes to the configuration")
    evaluate.add_argument("--studies", type=Path, metavar="FOLDER", help="studies to evaluate on (else phantoms)")
    evaluate.add_argument("--json", type=Path, metavar="PATH", help="the tables as JSON")
    add_device(evaluate)
    add_loudness(evaluate)
    evaluate.set_defaults(run=run_evaluate)

    export = commands.add_parser("export", help="make a bundle of a checkpoint")
    export.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="the bundle's folder")
    export.add_argument("--name", metavar="NAME", help="the bundle's name (default: that of the folder)")
    export.add_argument("--card", type=Path, metavar="JSON", help="entries of the model card: licence, citation, ...")
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
            f"This command needs {package}, which is not installed; install it with: pip install 'disentangle[train]'."
        ) from error


def run_train(options: argparse.Namespace, console: Console) -> None:
    """``disentangle train``."""
    train = learning("train", "train")
    checkpoint = train(options.config, options.settings, quiet=options.quiet)
    console.say(f"Checkpoint: {checkpoint}")


def run_evaluate(options: argparse.Namespace, console: Console) -> None:
    """``disentangle evaluate``."""
    raise NotImplementedError("waits for learning/evaluation.py")


def run_export(options: argparse.Namespace, console: Console) -> None:
    """``disentangle export``."""
    raise NotImplementedError("waits for learning/export.py")
