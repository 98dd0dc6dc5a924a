"""Quality of a bundle: ``python training/benchmarks/quality.py [--config CONFIG] [--bundle NAME] [key=value ...]``.

Prints tables, writes JSON and draws figures, in a folder, of three measurements, each beside its peer in the
same run (the nearest real input after histogram matching, for images):

- leave one person out over the real studies of the configuration: a model that never saw the person is scored on the
  person's studies, by the rules of the bundle (fine-tuned from ``training.init_from`` where that is given; runs that
  exist are not repeated);
- the bundle on studies that its training never saw (brats13-*, whose licence keeps them out of training);
- the bundle on phantoms that its training never saw.

``--draw JSON`` only draws the figures of a report that exists. Trained peers (pix2pix, a zero-filled U-Net) stand
beside the system of the bundle, all with the same budget, in the report of
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
from pathlib import Path
from typing import Any

import torch

from disentangle.bundles import find_bundle
from disentangle.errors import InputError
from disentangle.inference.rules import Rules
from disentangle.learning.evaluation import evaluate, leave_one_study_out
from disentangle.learning.protocols.figures import box_plot
from disentangle.learning.summaries import table
from disentangle.study import write_atomically

HERE = Path(__file__).resolve().parent
IMAGES = {"imputation": "synthesised", "nearest": "histogram-matched copy", "copy": "copy"}
"""Kind of image in a report -> how a figure calls it."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Tables of image quality and Dice, as text and JSON.")
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder; empty leaves the bundle out")
    parser.add_argument("--unseen", nargs="*", default=["brats13-*"], help="studies that the bundle never saw")
    parser.add_argument("--phantoms", type=int, default=4, help="unseen phantoms to score the bundle on")
    parser.add_argument("--subsets", choices=("leave-one-out", "all"), default="leave-one-out")
    parser.add_argument("--no-folds", action="store_true", help="leave the leave-one-person-out part out")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "quality.json")
    parser.add_argument("--card", type=Path, help="also write the means as an entry of a model card (export --card)")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="only draw the figures of that report, beside it")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)
    if options.draw:
        draw(json.loads(options.draw.read_text(encoding="utf-8")), options.draw)
        return 0
    torch.manual_seed(0)
    began = time.monotonic()
    report: dict[str, Any] = {
        # Where the card's entry goes changes nothing that is measured, and is often a folder of this machine.
        "command": " ".join(["python training/benchmarks/quality.py", *without(arguments, "--card")]),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    try:
        if not options.no_folds:
            print("Leave one person out (real studies)", flush=True)
            rules = Rules.of_card(find_bundle(options.bundle).card) if options.bundle else None
            report["leave_one_person_out"] = leave_one_study_out(
                options.config, options.overrides, options.subsets, rules=rules
            )
            print(table(report["leave_one_person_out"]["mean"]), flush=True)
        if options.bundle and options.unseen:
            print(f"\n{options.bundle} on unseen real studies: {', '.join(options.unseen)}", flush=True)
            changes = [f"data.studies={{include: {json.dumps(options.unseen)}}}"]
            report["unseen_studies"] = evaluate(options.bundle, changes, subsets=options.subsets)
        if options.bundle and options.phantoms:
            print(f"\n{options.bundle} on {options.phantoms} unseen phantoms", flush=True)
            phantoms = {
                "validation": options.phantoms,
                "subjects": 0,
                "first_seed": 900_000,
                "arguments": {"spacing": 1.5, "lesions": "both", "common_grid": True},
            }
            changes = [f"data.phantoms={json.dumps(phantoms)}", "data.studies=null"]
            report["unseen_phantoms"] = evaluate(options.bundle, changes, subsets=options.subsets)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    report["seconds"] = round(time.monotonic() - began)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(options.output) as temporary:
        text = json.dumps(strict(report), indent=1, default=float, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    print(f"\nWritten: {options.output}")
    draw(report, options.output)
    if options.card:
        parts = {name: rounded(part["mean"]) for name, part in report.items() if isinstance(part, dict)}
        text = json.dumps({"quality": {"measured_by": report["command"], **parts}}, indent=1)
        options.card.write_text(text + "\n", encoding="utf-8")
        print(f"Written: {options.card}")
    return 0


def without(arguments: list[str], option: str) -> list[str]:
    """Arguments of a command line without an option and its value."""
    return [a for a, before in zip(arguments, [None, *arguments], strict=False) if option not in (a, before)]


def draw(report: dict[str, Any], beside: Path) -> None:
    """Figures in a folder of the report's name: PSNR of every target beside its copies, Dice with each one missing."""
    for part, measured in report.items():
        if not isinstance(measured, dict):
            continue
        subjects = measured["subjects"]
        images: dict[str, dict[str, list[float]]] = {}
        findings: dict[str, dict[str, list[float]]] = {}
        for subject in subjects:
            for kind, title in IMAGES.items():
                for target, scores in subject[kind].items():
                    images.setdefault(target, {}).setdefault(title, []).append(scores["psnr"])
            for subset, scores in subject["dice"].items():
                missing = [s for s in subject["sequences"] if s not in subset.partition(" on ")[0].split("+")]
                for name in ("whole tumour", "any lesion"):
                    if name in scores and len(missing) < 2:
                        column = "".join(f"-{s}" for s in missing) or "all"
                        findings.setdefault(column, {}).setdefault(name, []).append(scores[name])
        title = f"{part.replace('_', ' ')}, {len(subjects)} subjects"
        for what, groups, label in (("synthesis", images, "PSNR in dB"), ("dice", findings, "Dice")):
            if groups:
                path = beside.with_suffix("") / f"{part.replace('_', '-')}-{what}.png"
                print(f"Written: {box_plot(path, groups, label, title)}")


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
