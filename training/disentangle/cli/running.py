"""Running a command: one sentence per mistake, exit codes, the progress bar."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
import warnings
from typing import NoReturn

from .. import unfinished
from ..errors import Cancelled, InputError
from ..progress import Progress


class Bar:
    """A progress bar on one line of a terminal."""

    WIDTH = 24

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, stage: str, fraction: float, message: str) -> None:
        """A ``ProgressCallback``."""
        done = round(self.WIDTH * fraction)
        columns = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 80
        line = f"{stage:<9} [{'#' * done}{'.' * (self.WIDTH - done)}] {fraction:4.0%} {message}"[: columns - 1]
        if line != self._shown:
            sys.stderr.write(f"\r{line:<{len(self._shown)}}")
            sys.stderr.flush()
            self._shown = line

    def clear(self) -> None:
        """Make room for other text."""
        if self._shown:
            sys.stderr.write("\r" + " " * len(self._shown) + "\r")
            sys.stderr.flush()
            self._shown = ""


class Console:
    """What a command says: results on stdout, everything else on stderr.

    Attributes:
        quiet: nothing but errors.
        verbose: also details; tracebacks of failures.
        progress: a bar on a terminal, silent elsewhere.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._bar = Bar() if sys.stderr.isatty() and not quiet else None
        self.progress = Progress(self._bar)

    def say(self, text: str) -> None:
        """A line of the result."""
        if not self.quiet:
            self.clear()
            print(text, flush=True)

    def note(self, text: str) -> None:
        """A warning or remark."""
        if not self.quiet:
            self.clear()
            print(text, file=sys.stderr, flush=True)

    def detail(self, text: str) -> None:
        """Only with --verbose."""
        if self.verbose:
            self.note(text)

    def error(self, text: str) -> None:
        """Why the command ended; never silenced."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.clear()


def end_process(code: int) -> NoReturn:
    """End the process now. Threads in native code cannot be asked to stop: an ordinary end would wait for them, and
    some of them do not survive the end of the interpreter."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    unfinished.discard()  # of threads: compiled programs, for example
    os._exit(code)


def run_command(options: argparse.Namespace, own_process: bool = False) -> int:
    """Run ``options.run(options, console)`` and turn what it raises into a sentence and an exit code.

    Args:
        own_process: the process is there for this command only; where it is stopped, it ends here.
    """
    for stream in (sys.stdout, sys.stderr):
        # Redirected to a file on Windows, a stream has the code page's letters only; a name with another one must not
        # end a command of many studies.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")
    console = Console(getattr(options, "quiet", False), getattr(options, "verbose", False))
    try:
        with warnings.catch_warnings():
            if not console.verbose:
                warnings.simplefilter("ignore")  # remarks of libraries to programmers
            return int(options.run(options, console) or 0)
    except InputError as error:
        if console.verbose:
            traceback.print_exc()
        console.error(f"disentangle {options.command}: {error}")
        return 2
    except (KeyboardInterrupt, Cancelled) as stop:
        if own_process:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the second Ctrl-C of somebody in a hurry
        # A training that is stopped leaves a state to go on from, and says where.
        text = str(stop) if isinstance(stop, Cancelled) else ""
        console.error(f"disentangle {options.command}: {text or 'stopped; no unfinished output was left behind.'}")
        if own_process:
            end_process(1)
        return 1
    except BrokenPipeError:  # the reader of our output left, as in `disentangle models | head`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return 1
    except Exception as error:
        if console.verbose:
            traceback.print_exc()
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "" if console.verbose else " (run it again with --verbose for the details)"
        console.error(f"disentangle {options.command} failed: {type(error).__name__}: {first_line}{hint}")
        return 1
    finally:
        console.clear()
