"""Quality of a bundle: ``python training/benchmarks/quality.py [--config CONFIG] [--bundle NAME] [key=value ...]``.

Prints tables and writes JSON with three measurements, each beside its peer in the same run (the nearest real input
after histogram matching, for images):

- leave one person out over the real studies of the configuration: a model that never saw the person is scored on the
  person's studies (fine-tuned from ``training.init_from`` where that is given; runs that exist are not repeated);
- the bundle on studies that its training never saw (brats13-*, whose licence keeps them out of training);
- the bundle on phantoms that its training never saw.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from disentangle.errors import InputError
from disentangle.learning.evaluation import evaluate, leave_one_study_out, table
from disentangle.study import write_atomically

HERE = Path(__file__).resolve().parent


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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    began = time.monotonic()
    report: dict[str, Any] = {
        "command": "python training/benchmarks/quality.py " + " ".join(arguments),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    try:
        if not options.no_folds:
            print("Leave one person out (real studies)", flush=True)
            report["leave_one_person_out"] = leave_one_study_out(options.config, options.overrides, options.subsets)
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
        temporary.write_text(json.dumps(report, indent=1, default=float) + "\n", encoding="utf-8")
    print(f"\nWritten: {options.output}")
    if options.card:
        parts = {name: rounded(part["mean"]) for name, part in report.items() if isinstance(part, dict)}
        text = json.dumps({"quality": {"measured_by": report["command"], **parts}}, indent=1)
        options.card.write_text(text + "\n", encoding="utf-8")
        print(f"Written: {options.card}")
    return 0


def rounded(values: Any) -> Any:
    """Three digits after the point; figures that are not there (NaN) are left out."""
    if isinstance(values, dict):
        return {k: rounded(v) for k, v in values.items() if not (isinstance(v, float) and math.isnan(v))}
    return round(values, 3) if isinstance(values, float) else values


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
