"""``batch``: a model on many studies, in a worker: one that fails, or brings the worker down, is listed and the others
go on."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .options import add_loudness, add_model, choose_bundle, count
from .outputs import REPORT, check_outputs, result_files
from .running import Console

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..worker.client import WorkerClient

SUMMARY = "batch.csv"
_FIELDS = ("name", "status", "seconds", "message")
_ABOUT = """\
The manifest is a CSV file with a header. A study is a row: its folder in the column "study", or one column per
sequence (T1, T1Gd, ...) with a file or DICOM folder each; a column "name" names the results' folder (default: that of
the study's folder, else the row's number). Relative paths start at the manifest's folder.
"""


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    parser = commands.add_parser("batch", help="many studies from a CSV manifest", description=_ABOUT)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.csv")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="one folder per study")
    parser.add_argument("--target", action="append", nargs="+", default=[], metavar="SEQ", help="also make a sequence")
    parser.add_argument("--factors", action="store_true", help="also the factors and cross-reconstructions")
    parser.add_argument("--no-segment", action="store_true", help="no segmentation")
    parser.add_argument("--resume", action="store_true", help="skip studies that have their report already")
    parser.add_argument("--time-point", type=count, metavar="N", help="which volume of 4-D files, from 0")
    add_model(parser)
    add_loudness(parser)
    parser.set_defaults(run=run_batch)


@dataclass(frozen=True)
class Row:
    """A study of the manifest: its name, and its folder or its files by sequence."""

    name: str
    folder: Path | None
    files: tuple[tuple[str, Path], ...]

    def to_dict(self) -> dict[str, Any]:
        """As the worker's request names it."""
        if self.folder is not None:
            return {"folder": str(self.folder)}
        return {"files": [[sequence, str(path)] for sequence, path in self.files]}


def read_manifest(path: Path) -> list[Row]:
    """The studies of a manifest.

    Raises:
        InputError: it cannot be read, has no such columns, a row names no study, or two rows have one name.
    """
    from ..sequences import canonical

    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            entries = list(reader)
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not a CSV text file"
        raise InputError(f"The manifest {path} cannot be read ({reason}); check the file.") from error
    sequences = {}
    for column in columns:
        if column and column.strip().lower() not in ("name", "study"):
            sequences[column] = canonical(column.strip())
    if not sequences and not any(c and c.strip().lower() == "study" for c in columns):
        raise InputError(f"The manifest {path} has neither a column 'study' nor columns of sequences; add one.")
    rows = [_row(number, entry, sequences, path) for number, entry in enumerate(entries, 1)]
    if not rows:
        raise InputError(f"The manifest {path} lists no studies; add a row per study.")
    names: set[str] = set()
    for row in rows:
        if row.name.lower() in names:  # folders differ by more than capitals only on some systems
            raise InputError(f"Two studies in {path} have the name {row.name}; give each a name of its own.")
        names.add(row.name.lower())
    return rows


def _row(number: int, entry: Mapping[str | None, Any], sequences: Mapping[str, str], path: Path) -> Row:
    from ..inference.result import file_name

    plain = {(k or "").strip().lower(): (v or "").strip() for k, v in entry.items() if isinstance(v, str)}
    files = tuple((sequences[c], path.parent / entry[c].strip()) for c in sequences if (entry[c] or "").strip())
    folder = path.parent / plain["study"] if plain.get("study") else None
    if bool(folder) == bool(files):
        raise InputError(f"Row {number} of {path} must name a study's folder or files of sequences, and not both.")
    name = plain.get("name") or (folder.resolve().name if folder else f"study-{number:04d}")
    return Row(file_name(name), folder, files)


def run_batch(options: argparse.Namespace, console: Console) -> int:
    """``disentangle batch``."""
    from ..inference.output import check_writable
    from ..study import make_folder, write_atomically
    from ..worker.client import WorkerClient

    rows = read_manifest(options.manifest)
    check_writable(options.output, folder=True)
    bundle = choose_bundle(options)
    _check_outputs(rows, bundle, options)
    make_folder(options.output)
    summary, worst = [], 0
    with WorkerClient(sys.executable) as client:
        for number, row in enumerate(rows, 1):
            console.detail(f"{number} of {len(rows)}: {row.name}")
            began = time.monotonic()
            status, message, code = _one(row, bundle, client, options, console)
            worst = code if worst != 1 and code else worst
            summary.append((row.name, status, f"{time.monotonic() - began:.1f}", message))
            with write_atomically(options.output / SUMMARY) as temporary:
                _write_csv(temporary, [_FIELDS, *summary])
            if code:
                console.error(f"{row.name}: {message}")
            else:
                console.say(f"{row.name}: {status}")
    failures = sum(entry[1] == "failed" for entry in summary)
    console.say(f"{len(rows) - failures} of {len(rows)} studies are in {options.output}; list: {SUMMARY}")
    return worst


def _check_outputs(rows: Sequence[Row], bundle: Bundle, options: argparse.Namespace) -> None:
    """Refuse results of any study that would take the place of an input of any.

    Raises:
        InputError: see :func:`check_outputs`.
    """
    from ..sequences import canonical

    targets = [canonical(name) for group in options.target for name in group]
    sequences = bundle.sequences if options.factors else ()
    outputs = [options.output / SUMMARY]
    for row in rows:
        folder = options.output / row.name
        outputs += [*result_files(folder, not options.no_segment, targets, sequences), folder / REPORT]
    check_outputs(outputs, [options.manifest, *(path for row in rows for path in _files_of(row))])


def _files_of(row: Row) -> list[Path]:
    """The files of a study, as far as names tell: a result beside them from an earlier run is none of them."""
    from ..sequences import guess_sequence
    from ..study.reading import is_image_name

    if row.folder is None:
        return [path for _, path in row.files]
    return [p for p in row.folder.glob("*") if is_image_name(p) and guess_sequence(p.name).sequence is not None]


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def _one(
    row: Row, bundle: Bundle, client: WorkerClient, options: argparse.Namespace, console: Console
) -> tuple[str, str, int]:
    """(status, message, exit code) of one study."""
    folder = options.output / row.name
    if options.resume and (folder / REPORT).is_file():
        return "skipped", "done before", 0
    request = {"request": "batch", **row.to_dict(), "time_point": options.time_point, "output": str(folder.resolve())}
    request.update(bundle=str(bundle.path), device=options.device, backend=options.backend, fast=options.fast)
    request.update(threads=options.threads, precision=options.precision)
    request.update(segment=bool(bundle.classes) and not options.no_segment)
    request.update(synthesize=[name for group in options.target for name in group])
    request.update(factors=options.factors, cross_reconstructions=options.factors)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            console.progress(event["stage"], event["fraction"], event["message"])
        elif event["event"] == "log":
            console.detail(event["text"])

    name = client.submit(request)
    try:
        final = client.wait(name, tell)
    except KeyboardInterrupt:
        client.cancel(name)  # nothing unfinished is to be left behind
        client.wait(name, timeout_s=2 * client.grace_s)
        raise
    if final["event"] == "result":
        return "done", "; ".join(final["report"]["warnings"]), 0
    if final["details"]:
        console.detail(final["details"])
    return "failed", final["message"], 2 if final["kind"] == "input" else 1
