"""Speed and memory: ``python training/benchmarks/speed.py [--registered FOLDER] [--native FOLDER] [--repeats N]``.

Each part is measured in one run, the backends, studies or peers of it taking turns; figures are medians over the
repeats. Runs of a study happen in a process of their own, with nothing remembered (``whole_runs.py``); what somebody
waits for is timed at the worker (``interactive.py``, ``cancelling.py``), peers beside whole runs (``comparisons.py``).
Without folders a digital brain is taken: skull-stripped on 240 x 240 x 155 voxels of 1 mm, and as whole heads in four
poses with slices of 3 mm. The limits of ``speed_targets.py`` are printed beside the figures at the end.

This is about the CPU; figures on a GPU are those of ``gpu.py``, which writes ``results/gpu.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speed_targets
import whole_runs
from measuring import RESULTS, measured, write_report


@dataclass(frozen=True)
class Setting:
    """What the parts measure.

    Attributes:
        registered, native: folders of a study each.
        sizes: name -> folder of the registered study in other voxels; empty where the study was given.
        sequences: name -> folder of the first sequences of the registered study.
        bundle: name or folder.
        repeats: turns.
        compile: torch.compile too.
        few: without peers, and few moments: for tests.
    """

    registered: Path
    native: Path
    sizes: Mapping[str, Path]
    sequences: Mapping[str, Path]
    bundle: str
    repeats: int
    compile: bool = False
    few: bool = False


def imports(setting: Setting) -> dict[str, Any]:
    """Seconds of imports."""
    found = whole_runs.import_seconds(max(setting.repeats, 3))
    print("\nseconds in a new interpreter: " + ", ".join(f"{line} {seconds:.3f}" for line, seconds in found.items()))
    return found


def registered(setting: Setting) -> dict[str, Any]:
    """Whole runs of the registered study."""
    found = whole_runs.of_a_study(setting.registered, setting.bundle, setting.repeats)
    whole_runs.show(f"{setting.bundle}, registered study, segmentation", found)
    return found


def native(setting: Setting) -> dict[str, Any]:
    """Whole runs of the native study."""
    found = whole_runs.of_a_study(setting.native, setting.bundle, setting.repeats)
    whole_runs.show(f"{setting.bundle}, native study, segmentation", found)
    return found


def memory(setting: Setting) -> dict[str, Any]:
    """Peaks of a segmentation and of everything."""
    found = whole_runs.memory(setting.registered, setting.bundle)
    whole_runs.show_memory(found)
    return found


def costs(setting: Setting) -> dict[str, Any]:
    """First runs by size and number of sequences, compiled."""
    found = whole_runs.costs({**setting.sizes, **setting.sequences}, setting.bundle, setting.repeats)
    whole_runs.show(f"{setting.bundle}, registered study, segmentation, compiled", found)
    return found


def interactive(setting: Setting) -> dict[str, Any]:
    """Waits before a panel."""
    import interactive

    found = interactive.interactive(setting.registered, setting.bundle, setting.repeats)
    interactive.show(found)
    return found


def cancel(setting: Setting) -> dict[str, Any]:
    """Cancellations."""
    import cancelling

    folders = {"registered": setting.registered, "native": setting.native}
    found = cancelling.cancelled(folders, setting.bundle, 2 if setting.few else cancelling.MOMENTS)
    cancelling.show(found)
    return found


def networks(setting: Setting) -> dict[str, Any]:
    """Networks, peers, and a whole run."""
    import comparisons

    found = comparisons.compared(setting.registered, setting.bundle, setting.repeats, setting.compile, setting.few)
    comparisons.show(found)
    return found


PARTS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "import": imports,
    "registered": registered,
    "native": native,
    "memory": memory,
    "costs": costs,
    "interactive": interactive,
    "cancel": cancel,
    "networks": networks,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Seconds and memory of whole runs, networks, peers and the worker.")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--registered", type=Path, help="a study whose sequences lie on one grid")
    parser.add_argument("--native", type=Path, help="a study as it came from the scanner")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="the rest of the report stays as it is")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, two minutes more")
    parser.add_argument("--few", action="store_true", help="no peers and few moments, to try the benchmark itself")
    parser.add_argument("--output", type=Path, default=RESULTS / "speed.json")
    options = parser.parse_args(arguments)

    from disentangle.errors import InputError

    report: dict[str, Any] = {}
    if set(options.only) != set(PARTS) and options.output.is_file():
        report = json.loads(options.output.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            own_cache(options.bundle, Path(scratch) / "cache")
            setting = setting_of(options, Path(scratch))
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        for part in (name for name in PARTS if name in options.only):
            with measured("speed.py", arguments, repeats=options.repeats) as block:
                report[part] = PARTS[part](setting)
            report[part]["measured"] = block
            report["limits"] = speed_targets.judged(report)
            write_report(report, options.output)  # whatever comes after it
    speed_targets.show(report["limits"])
    print(f"Written: {options.output}")
    return 0


def own_cache(bundle_name: str, folder: Path) -> None:
    """A cache of this benchmark's own, which holds the compiled programs of the bundle and remembers no study: the
    user's one neither helps, nor is it filled with what nobody needs.

    Raises:
        InputError: there is no such bundle, or it cannot be converted.
    """
    from disentangle.bundles import find_bundle
    from disentangle.inference.backends.convert import convert
    from disentangle.inference.backends.store import brain_program
    from disentangle.resources import cache_folder

    made, brain = convert(find_bundle(bundle_name)), brain_program()
    for programs in (made.folder, *([] if brain is None else [brain.parent])):
        if programs.is_dir():
            shutil.copytree(programs, folder / programs.relative_to(cache_folder()))
    os.environ["DISENTANGLE_CACHE"] = str(folder)
    os.environ["DISENTANGLE_COMPILE"] = "0"


def setting_of(options: argparse.Namespace, scratch: Path) -> Setting:
    """The given studies, or digital ones, and what is made of them for the parts that are measured.

    Raises:
        InputError: a given study cannot be read.
    """
    from digital_studies import SIZES, digital_head, registered_study, write_digital_studies

    from disentangle.study import Study

    made = write_digital_studies(scratch) if not (options.registered and options.native) else (None, None)
    first, second = options.registered or made[0], options.native or made[1]
    sizes, sequences = {}, {}
    if "costs" in options.only:
        study = Study.from_folder(first)
        names = list(study.images)
        for n in range(1, len(names)):
            sequences[f"{n} sequences"] = study.subset(names[:n]).write(scratch / f"{n}-sequences")
        sequences[f"{len(names)} sequences"] = first
        if not options.registered:
            head = digital_head()
            small = {name: size for name, size in SIZES.items() if size[1] > 1.0}
            for name, (shape, spacing) in small.items():
                sizes[name] = registered_study(head, shape, spacing).write(scratch / name.replace(" ", ""))
    parts = (options.bundle, options.repeats, options.compile, options.few)
    return Setting(first, second, sizes, sequences, *parts)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
