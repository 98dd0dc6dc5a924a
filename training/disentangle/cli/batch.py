"""``batch``: a model on many studies, in a worker: one that fails, or brings the worker down, is listed and the others
go on."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .options import add_loudness, add_model, add_sensitivity, choose_bundle, count, name_time_point
from .outputs import check_outputs
from .running import Console

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..worker.client import WorkerClient

SUMMARY = "batch.csv"
_FIELDS = ("name", "status", "seconds", "message")
_ML = " (ml)"
_ABOUT = """\
The manifest is a CSV file with a header, its columns separated by commas, semicolons or tabs. A study is a row: its
folder in the column "study", or one column per sequence (T1, T1Gd, ...) with a file or DICOM folder each; a column
"name" names the results' folder (default: that of the study's folder, else the row's number). Relative paths start at
the manifest's folder. The output gets a batch.csv: what became of each study, and the volumes of its structures.
"""


def add_commands(commands: Any) -> None:
    """Add the command of this file to the parser."""
    parser = commands.add_parser("batch", help="many studies from a CSV manifest", description=_ABOUT)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST.csv")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="one folder per study")
    parser.add_argument("--target", action="append", nargs="+", default=[], metavar="SEQ", help="also make a sequence")
    parser.add_argument("--factors", action="store_true", help="also the factors and cross-reconstructions")
    parser.add_argument("--no-segment", action="store_true", help="no segmentation")
    add_sensitivity(parser)
    parser.add_argument("--resume", action="store_true", help="skip studies whose results are there")
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


@dataclass
class Line:
    """A study in the summary.

    Attributes:
        status: "done", "skipped" or "failed".
        seconds: it took; "" where that is not known any more.
        message: why it failed, or its warnings.
        volumes: structure -> ml.
    """

    name: str
    status: str
    seconds: str
    message: str
    volumes: dict[str, Any] = field(default_factory=dict)


def read_manifest(path: Path) -> list[Row]:
    """The studies of a manifest.

    Raises:
        InputError: it cannot be read, has no such columns or one twice, a row names no study, or two rows have one
            name.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter=_delimiter(stream.readline()))
            stream.seek(0)
            entries = list(reader)
            columns = reader.fieldnames or []
    except UnicodeDecodeError as error:  # what Excel calls CSV has the letters of the system's language
        raise InputError(f"The manifest {path} is no UTF-8 text; save it as CSV UTF-8.") from error
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not a CSV text file"
        raise InputError(f"The manifest {path} cannot be read ({reason}); check the file.") from error
    sequences = _sequence_columns(columns, path)
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


def _delimiter(header: str) -> str:
    """What separates the columns: Excel writes semicolons where numbers have decimal commas."""
    return max(",;\t", key=header.count)


def _sequence_columns(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Column -> canonical sequence, of those that name one.

    Raises:
        InputError: a column is neither "name" nor "study" nor a sequence, or two are the same.
    """
    from ..sequences import SEQUENCES, canonical

    sequences: dict[str, str] = {}
    seen: dict[str, str] = {}
    for column in columns:
        plain = column.strip()
        if not plain:  # behind a separator at the end of the line
            continue
        meaning = plain.lower()
        if meaning not in ("name", "study"):
            try:
                meaning = sequences[column] = canonical(plain)
            except InputError as error:
                known = ", ".join(SEQUENCES)
                raise InputError(
                    f"The column {plain!r} of {path} is none that a manifest has; columns are study, name or sequences "
                    f"({known})."
                ) from error
        if meaning in seen:
            both = f"the column {plain!r} twice" if seen[meaning] == plain else f"{seen[meaning]!r} and {plain!r}"
            raise InputError(f"The manifest {path} has {both}, which is one column; take one of them away.")
        seen[meaning] = plain
    return sequences


def _row(number: int, entry: Mapping[str | None, Any], sequences: Mapping[str, str], path: Path) -> Row:
    from ..inference.result_files import file_name

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
    from ..study import make_folder
    from ..worker.client import WorkerClient
    from ..worker.resume import asked_for, earlier_report

    rows = read_manifest(options.manifest)
    check_writable(options.output, folder=True)
    bundle = choose_bundle(options)
    _check_wanted(bundle, options)
    _check_outputs(rows, bundle, options)
    make_folder(options.output)
    before = _read_summary(options.output / SUMMARY) if options.resume else {}
    # Those that a stopped batch does not reach any more keep their lines.
    lines, worst = {row.name: before[row.name] for row in rows if row.name in before}, 0
    with WorkerClient(sys.executable) as client:
        for number, row in enumerate(rows, 1):
            console.detail(f"{number} of {len(rows)}: {row.name}")
            began = time.monotonic()
            request = _request(row, bundle, options)
            asked = asked_for(request, bundle)
            report = earlier_report(options.output / row.name, asked, bundle) if options.resume else None
            if report is not None:
                line, code = _done_before(row, before.get(row.name), report), 0
                console.say(f"{row.name}: skipped")
            else:
                line, code = _one(row, request, client, console)
                line.seconds = f"{time.monotonic() - began:.1f}"
                if code:
                    console.error(f"{row.name}: {line.message}")
                else:
                    console.say(f"{row.name}: {line.status}")
            worst = code if worst != 1 and code else worst
            lines[row.name] = line
            _write_summary(options.output / SUMMARY, [lines[r.name] for r in rows if r.name in lines])
    failures = sum(line.status == "failed" for line in lines.values())
    console.say(f"{len(rows) - failures} of {len(rows)} studies are in {options.output}; list: {SUMMARY}")
    return worst


def _check_wanted(bundle: Bundle, options: argparse.Namespace) -> None:
    """Refuse a batch that would make nothing, or what the model cannot make, before the first study.

    Raises:
        InputError: nothing is wanted, or a target that the model does not know.
    """
    from ..sequences import canonical

    targets = [canonical(name) for group in options.target for name in group]
    for target in targets:
        if target not in bundle.targets:
            known = ", ".join(bundle.targets) or "nothing"
            raise InputError(f"The model {bundle.name} cannot synthesise {target}; it can synthesise {known}.")
    if options.no_segment and not targets and not options.factors:
        raise InputError("There is nothing to do; give --target or --factors, or leave --no-segment out.")
    if not bundle.classes and not targets and not options.factors:
        raise InputError(f"The model {bundle.name} does not segment; give --target or --factors.")


def _check_outputs(rows: Sequence[Row], bundle: Bundle, options: argparse.Namespace) -> None:
    """Refuse results of any study that would take the place of an input of any.

    Raises:
        InputError: see :func:`check_outputs`.
    """
    from ..inference.result_files import ResultFiles
    from ..sequences import canonical

    targets = [canonical(name) for group in options.target for name in group]
    sequences = bundle.sequences if options.factors else ()
    outputs = [options.output / SUMMARY]
    for row in rows:
        files = ResultFiles(options.output / row.name)
        outputs += files.all_files(not options.no_segment, targets, sequences)
    check_outputs(outputs, [options.manifest, *(path for row in rows for path in _files_of(row))])


def _files_of(row: Row) -> list[Path]:
    """The files of a study, as far as names tell: a result beside them from an earlier run is none of them."""
    from ..sequences import guess_sequence
    from ..study.reading import is_image_name

    if row.folder is None:
        return [path for _, path in row.files]
    return [p for p in row.folder.glob("*") if is_image_name(p) and guess_sequence(p.name).sequence is not None]


def _write_summary(path: Path, lines: Sequence[Line]) -> None:
    """The same table as the panel's (``panel.batch_tools.Batch``)."""
    from ..study import write_atomically

    names = list(dict.fromkeys(name for line in lines for name in line.volumes))
    rows = [[*_FIELDS, *(name + _ML for name in names)]]
    for line in lines:
        figures = [line.volumes.get(name, "") for name in names]
        rows.append([line.name, line.status, line.seconds, line.message, *figures])
    with write_atomically(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def _read_summary(path: Path) -> dict[str, Line]:
    """The lines of an earlier batch by name; none where there is no such table."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            entries = [e for e in csv.DictReader(stream) if all(e.get(name) is not None for name in _FIELDS)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return {
        entry["name"]: Line(
            *(entry[name] for name in _FIELDS),
            {k[: -len(_ML)]: v for k, v in entry.items() if k and k.endswith(_ML) and v},
        )
        for entry in entries
    }


def _done_before(row: Row, before: Line | None, report: Mapping[str, Any]) -> Line:
    """The line of a study whose results are there: its old one, else what its report tells."""
    if before is not None and before.status in ("done", "skipped"):
        return before
    try:
        seconds = f"{sum(report['timings_s'].values()):.1f}"
        return Line(row.name, "skipped", seconds, "; ".join(report["warnings"]), report.get("volumes_ml") or {})
    except (TypeError, KeyError, AttributeError):
        return Line(row.name, "skipped", "", "done before")


def _request(row: Row, bundle: Bundle, options: argparse.Namespace) -> dict[str, Any]:
    """What the worker is asked for one study."""
    folder = options.output / row.name
    request = {"request": "batch", **row.to_dict(), "time_point": options.time_point, "output": str(folder.resolve())}
    request.update(bundle=str(bundle.path), device=options.device, backend=options.backend, fast=options.fast)
    request.update(threads=options.threads, precision=options.precision)
    request.update(segment=bool(bundle.classes) and not options.no_segment, sensitivity=options.sensitivity)
    request.update(synthesize=[name for group in options.target for name in group])
    request.update(factors=options.factors, cross_reconstructions=options.factors)
    return request


def _one(row: Row, request: dict[str, Any], client: WorkerClient, console: Console) -> tuple[Line, int]:
    """Compute one study: its line, without the seconds, and the exit code."""

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
        report = final["report"]
        return Line(row.name, "done", "", "; ".join(report["warnings"]), report.get("volumes_ml") or {}), 0
    if final["details"]:
        console.detail(final["details"])
    return Line(row.name, "failed", "", name_time_point(final["message"])), 2 if final["kind"] == "input" else 1
