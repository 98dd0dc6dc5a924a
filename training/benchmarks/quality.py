"""Quality of a bundle: ``python training/benchmarks/quality.py [--config CONFIG] [--bundle NAME] [key=value ...]``.

Prints tables, writes JSON and draws figures, in a folder, of four measurements, the images each beside its peer in the
same run (the nearest real input after histogram matching):

- leave one person out over the real studies of the configuration: a model that never saw the person is scored on the
  person's studies, by the rules of the bundle (fine-tuned from ``training.init_from`` where that is given; runs that
  exist are not repeated). With ``--folds`` the checkpoints of runs that left several persons out each take their place;
- the bundle on studies that its training never saw (brats13-*, whose licence keeps them out of training);
- the bundle on phantoms that its training never saw;
- how well the bundle's factors are separated, on both (probes, silhouettes, distance correlation).

What they say about the project's targets, met and missed, stands in the report and in the model card's entry.

``--from JSON`` measures nothing: the means, targets and card of a report that exists are made anew from its own scores;
``--again PART`` measures a part of it anew. ``--draw JSON`` only draws the figures of a report that exists. Trained
peers (pix2pix, a zero-filled U-Net) stand beside the system of the bundle, all with the same budget, in the report of
``disentangle evaluate training/configs/brain-mr-peers.yaml``.
"""

from __future__ import annotations

import argparse
import json
import math
import numbers
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from quality_targets import lines, targets

from disentangle.bundles import find_bundle
from disentangle.datasets.studies import person_of
from disentangle.errors import InputError
from disentangle.inference.rules import Rules
from disentangle.learning.config import load_config
from disentangle.learning.data import load_data
from disentangle.learning.evaluation import evaluate, leave_one_study_out, score_folds
from disentangle.learning.lineage import lineage
from disentangle.learning.protocols.analyses import factor_samples, separation
from disentangle.learning.protocols.figures import box_plot
from disentangle.learning.summaries import complete_of, summary, table
from disentangle.study import write_atomically

HERE = Path(__file__).resolve().parent
IMAGES = {"imputation": "synthesised", "nearest": "histogram-matched copy", "copy": "copy"}
"""Kind of image in a report -> how a figure calls it."""
PARTS = {
    "folds": "leave_one_person_out",
    "unseen": "unseen_studies",
    "phantoms": "unseen_phantoms",
    "disentanglement": "disentanglement",
}
"""What the command line calls a part of a report -> its name there."""


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    if options.draw:
        draw(json.loads(options.draw.read_text(encoding="utf-8")), options.draw)
        return 0
    torch.manual_seed(0)
    try:
        report = measured(options, arguments)
        report["targets"] = targets([report, *map(read, options.beside)], peers(options.peers), persons(options.config))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n" + "\n".join(lines(report["targets"])))
    output = options.output or options.old or HERE / "results" / "quality.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(output) as temporary:
        text = json.dumps(strict(report), indent=1, default=float, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    print(f"\nWritten: {output}")
    draw(report, output)
    if options.card:
        options.card.write_text(json.dumps(card_entry(report), indent=1) + "\n", encoding="utf-8")
        print(f"Written: {options.card}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description="Tables of image quality and Dice, as text and JSON.")
    add = found.add_argument
    add("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    add("--bundle", default="brain-mr", help="name or folder; empty leaves the bundle out")
    add("--unseen", nargs="*", default=["brats13-*"], help="studies that the bundle never saw")
    add("--phantoms", type=int, default=4, help="unseen phantoms to score the bundle on")
    add("--subsets", choices=("leave-one-out", "all"), default="leave-one-out")
    add("--left-out", nargs="+", default=["*"], metavar="STUDY", help="leave only the persons of these studies out")
    add(
        "--folds", nargs="+", type=Path, metavar="CKPT",
        help="train none, but score these, each on the studies that its training excluded",
    )  # fmt: skip
    add("--workers", type=int, default=1, help="processes that score folds")
    add("--no-folds", action="store_true", help="leave the leave-one-person-out part out")
    add("--output", type=Path, help="default: results/quality.json, with --from the same file")
    add("--card", type=Path, help="also write the means as an entry of a model card (export --card)")
    add("--draw", type=Path, metavar="JSON", help="only draw the figures of that report, beside it")
    add("--from", dest="old", type=Path, metavar="JSON", help="make means, targets and card anew from that report")
    add("--again", nargs="+", choices=PARTS, default=[], help="with --from: measure these parts (anew)")
    add("--beside", nargs="+", type=Path, default=[], metavar="JSON", help="reports for targets that this cannot tell")
    add(
        "--peers", type=Path, default=HERE / "results" / "brain-mr-peers" / "report.json",
        help="pix2pix and zero-filling beside the system; a file that is not there is left out",
    )  # fmt: skip
    add("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    return found


def measured(options: argparse.Namespace, arguments: list[str]) -> dict[str, Any]:
    """The report of a run: all parts that are asked for; with ``--from``, that one and the parts asked for again."""
    # Where the card's entry goes changes nothing that is measured, and is often a folder of this machine.
    command = " ".join(["python training/benchmarks/quality.py", *without(arguments, "--card")])
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    if options.old:
        report = read(options.old, options.config)
        options.bundle = report["bundle"]
        for part in options.again:
            report[PARTS[part]] = {"measured_by": command, "machine": machine, **MEASURES[part](options)}
        return report
    began = time.monotonic()
    report: dict[str, Any] = {"command": command, "machine": machine}
    if options.bundle:
        bundle = find_bundle(options.bundle)
        report |= {"bundle": bundle.name, "version": bundle.version}
    asked = {
        "folds": not options.no_folds,
        "unseen": options.bundle and options.unseen,
        "phantoms": options.bundle and options.phantoms,
        "disentanglement": options.bundle and (options.unseen or options.phantoms),
    }
    for part in (name for name, wanted in asked.items() if wanted):
        report[PARTS[part]] = MEASURES[part](options)
    report["seconds"] = round(time.monotonic() - began)
    return report


def measure_folds(options: argparse.Namespace) -> dict[str, Any]:
    """Leave one person out over the real studies."""
    print("Leave one person out (real studies)", flush=True)
    rules = Rules.of_card(find_bundle(options.bundle).card) if options.bundle else None
    if options.folds:
        found = score_folds(options.folds, where(options), options.subsets, rules, options.workers)
        found["models"] = {path.parent.name: lineage(path) for path in options.folds}
    else:
        found = leave_one_study_out(
            options.config, options.overrides, options.subsets, rules=rules, left_out=options.left_out
        )
    print(table(found["mean"]), flush=True)
    return found


def measure_unseen(options: argparse.Namespace) -> dict[str, Any]:
    """The bundle on real studies that it never saw."""
    print(f"\n{options.bundle} on unseen real studies: {', '.join(options.unseen)}", flush=True)
    return evaluate(options.bundle, [*where(options), *unseen_studies(options)], subsets=options.subsets)


def measure_phantoms(options: argparse.Namespace) -> dict[str, Any]:
    """The bundle on phantoms that it never saw."""
    print(f"\n{options.bundle} on {options.phantoms} unseen phantoms", flush=True)
    return evaluate(options.bundle, [*where(options), *unseen_phantoms(options)], subsets=options.subsets)


def measure_disentanglement(options: argparse.Namespace) -> dict[str, Any]:
    """How well the factors of the bundle are separated, on the same studies and phantoms (method-spec 1f and 2f).

    With each: how many ``subjects`` of how many ``sequences``: a probe that guesses is right once in so many.
    """
    print(f"\n{options.bundle}: separation of anatomy s and appearance z", flush=True)
    system = find_bundle(options.bundle).system().eval()
    found = {}
    if options.unseen:
        found[PARTS["unseen"]] = ["data.phantoms=null", *unseen_studies(options)]
    if options.phantoms:
        found[PARTS["phantoms"]] = unseen_phantoms(options)
    for name, changes in found.items():
        data = load_data(load_config(options.config, [*where(options), *changes]))
        samples = factor_samples(system, [*data.training, *data.validation])
        counts = {"subjects": len(set(samples.subject)), "sequences": len(set(samples.sequence))}
        found[name] = counts | separation(samples)
    print("\n".join(separation_lines(found)), flush=True)
    return found


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "folds": measure_folds,
    "unseen": measure_unseen,
    "phantoms": measure_phantoms,
    "disentanglement": measure_disentanglement,
}


def where(options: argparse.Namespace) -> list[str]:
    """Changes of the configuration that say where prepared studies are kept; all others are of the folds alone."""
    return [change for change in options.overrides if change.startswith("data.cache=")]


def unseen_studies(options: argparse.Namespace) -> list[str]:
    """Changes of a configuration that choose the studies.

    Raises:
        InputError: the bundle saw one of them.
    """
    data = find_bundle(options.bundle).card.get("training", {}).get("data", [])
    seen = [d["name"] for d in data if any(fnmatchcase(d["name"], pattern) for pattern in options.unseen)]
    if seen:
        raise InputError(
            f"{options.bundle} was trained on {', '.join(seen)}; name others with --unseen, or none (--unseen alone)."
        )
    return [f"data.studies={{include: {json.dumps(options.unseen)}}}"]


def unseen_phantoms(options: argparse.Namespace) -> list[str]:
    """Changes of a configuration that choose the phantoms."""
    phantoms = {
        "validation": options.phantoms,
        "subjects": 0,
        "first_seed": 900_000,
        "arguments": {"spacing": 1.5, "lesions": "both", "common_grid": True},
    }
    return [f"data.phantoms={json.dumps(phantoms)}", "data.studies=null"]


def separation_lines(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Figures of the disentanglement as a table: a line per figure, a column per kind of subjects."""
    columns = {name.replace("_", " "): figures for name, figures in found.items() if isinstance(figures, Mapping)}
    rows = dict.fromkeys(row for figures in columns.values() for row in figures)
    return [f"{'':<36}" + "".join(f"{name:>18}" for name in columns)] + [
        f"{row:<36}" + "".join(f"{_figure(figures.get(row)):>18}" for figures in columns.values()) for row in rows
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


def read(path: Path, config: Path | None = None) -> dict[str, Any]:
    """A report with its means made anew, and with what older reports do not name: bundle, sequences, persons.

    Args:
        path: JSON of a run.
        config: names the sequences, and studies of the same person; None takes the default configuration.

    Raises:
        InputError: no such report.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The report {path} cannot be read ({error}); name a JSON that this command wrote.") from error
    config = config or parser().get_default("config")
    person, sequences = persons(config), load_config(config)["system"]["sequences"]
    words = report["command"].split()
    report.setdefault("bundle", words[words.index("--bundle") + 1] if "--bundle" in words else "brain-mr")
    for part in filter(_is_scored, report.values()):
        part.setdefault("sequences", sequences)
        part["subjects"] = [{"person": person(r["name"]), **_with_numbers(r)} for r in part["subjects"]]
        part["mean"] = summary(part["subjects"], part["sequences"])
    return report


def _is_scored(part: object) -> bool:
    """Whether a part of a report holds scores of subjects."""
    return isinstance(part, dict) and "mean" in part


def _with_numbers(values: Any) -> Any:
    """Null, which is how JSON holds what is not a number, as such."""
    if isinstance(values, dict):
        return {key: _with_numbers(value) for key, value in values.items()}
    return math.nan if values is None else values


def persons(config: Path) -> Callable[[str], str]:
    """Name of a study -> its person, as a configuration tells it."""
    groups = load_config(config)["data"]["studies"]["same_subject"]
    return partial(person_of, same_subject=groups)


def peers(path: Path) -> dict[str, Any] | None:
    """The report of the peers; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def card_entry(report: Mapping[str, Any]) -> dict[str, Any]:
    """The entry "quality" of a model card: means and scores, and the targets."""
    entry = {"measured_by": report["command"], "targets": report["targets"]}
    for name in PARTS.values():
        part = report.get(name)
        if part is not None:
            about = {"measured_by": part["measured_by"]} if "measured_by" in part else {}
            entry[name] = about | rounded({k: v for k, v in part.get("mean", part).items() if k != "machine"})
    return {"quality": entry}


def without(arguments: list[str], option: str) -> list[str]:
    """Arguments of a command line without an option and its value."""
    return [a for a, before in zip(arguments, [None, *arguments], strict=False) if option not in (a, before)]


def draw(report: dict[str, Any], beside: Path) -> None:
    """Figures in a folder of the report's name: PSNR of every target beside its copies (where some subjects lack
    sequences, once more of the others alone), Dice with each one missing."""
    for part, found in report.items():
        if not _is_scored(found):
            continue
        subjects = found["subjects"]
        complete = complete_of(subjects, found.get("sequences", ()))
        figures = {
            "synthesis": (subjects, images(subjects), "PSNR in dB"),
            "synthesis-complete": (complete, images(complete), "PSNR in dB"),
            "dice": (subjects, findings(subjects), "Dice"),
        }
        if len(complete) == len(subjects):
            del figures["synthesis-complete"]
        for what, (shown, groups, label) in figures.items():
            if groups:
                path = beside.with_suffix("") / f"{part.replace('_', '-')}-{what}.png"
                title = f"{part.replace('_', ' ')}, {len(shown)} subjects"
                title += " with all sequences" if what == "synthesis-complete" else ""
                print(f"Written: {box_plot(path, groups, label, title)}")


def images(subjects: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Target -> kind of image -> PSNR of the subjects."""
    found: dict[str, dict[str, list[float]]] = {}
    for subject in subjects:
        for kind, title in IMAGES.items():
            for target, scores in subject[kind].items():
                found.setdefault(target, {}).setdefault(title, []).append(scores["psnr"])
    return found


def findings(subjects: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """What is missing, one sequence at most -> finding -> Dice of the subjects."""
    found: dict[str, dict[str, list[float]]] = {}
    for subject in subjects:
        for subset, scores in subject["dice"].items():
            missing = [s for s in subject["sequences"] if s not in subset.partition(" on ")[0].split("+")]
            for name in ("whole tumour", "any lesion"):
                if name in scores and len(missing) < 2:
                    column = "".join(f"-{s}" for s in missing) or "all"
                    found.setdefault(column, {}).setdefault(name, []).append(scores[name])
    return found


def strict(values: Any) -> Any:
    """Values as JSON may hold them: what is not a number (the distance to a lesion that was missed) becomes null."""
    if isinstance(values, dict):
        return {key: strict(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [strict(value) for value in values]
    return None if isinstance(values, numbers.Real) and not math.isfinite(values) else values


def rounded(values: Any) -> Any:
    """Three digits after the point; figures that are not there (NaN) are left out."""
    if isinstance(values, dict):
        return {k: rounded(v) for k, v in values.items() if not (isinstance(v, float) and math.isnan(v))}
    return round(values, 3) if isinstance(values, float) else values


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
