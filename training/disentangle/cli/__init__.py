"""The ``disentangle`` command: one file per group of commands; computing rooms are imported when a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from . import batch, learn, models, phantom, predict
from .running import run_command


class _Parser(argparse.ArgumentParser):
    """Complains in one sentence, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'.\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(
        prog="disentangle",
        description="Segment, disentangle and complete multi-sequence MR studies.",
        epilog="Exit code: 0 success, 2 bad input (one sentence on stderr), 1 failure.",
    )
    parser.add_argument("--version", action="version", version=f"disentangle {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for group in (predict, batch, phantom, models, learn):
        group.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: without the program's name; None takes those of the process, which ends at once when the command
            is stopped.

    Returns:
        0 success, 2 bad input, 1 failure.
    """
    parser = build_parser()
    try:
        options, rest = parser.parse_known_args(arguments)
        # argparse takes positional arguments in one place only; key=value settings may also follow options.
        settings = getattr(options, "settings", None)
        if rest and (settings is None or any(text.startswith("-") for text in rest)):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        if rest:
            options.settings = [*settings, *rest]
    except SystemExit as stop:  # --help, --version, or a mistake that was reported
        return int(stop.code or 0)
    return run_command(options, own_process=arguments is None)


if __name__ == "__main__":
    sys.exit(main())
