"""Fit and measure the recognition of sequences: ``python training/benchmarks/recognition.py [--write] [key=value]``.

Figures of every image of the configuration's phantoms and studies; a discriminant fitted without each person in turn
says what the person's images are, and one fitted to all of them what those of other studies (``--unseen``) are. With
``--write`` the latter becomes ``Resources/Recognition/brain-mr.json``. The studies that it is fitted to are those that
the licence of the shipped models allows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from disentangle.datasets.volumes import Subject
from disentangle.inference.recognition import FLIPS, Discriminant, figures_of, placed
from disentangle.learning.config import load_config
from disentangle.learning.data import load_data

HERE = Path(__file__).resolve().parent
SHRINKAGE = 0.1
REAL_WEIGHT = 4.0
"""A real image counts as so many phantoms."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="How well sequences are recognised from the image alone.")
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    parser.add_argument("--unseen", nargs="*", default=["brats13-*"], help="studies that nothing is fitted to")
    parser.add_argument("--write", action="store_true", help="store the discriminant in Resources")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "recognition.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.overrides)
    data = load_data(config)
    rows = [row for subject in data.training + data.validation for row in figures(subject)]
    print(f"{len(rows)} images of {len(data.training) + len(data.validation)} subjects", flush=True)
    persons = sorted({row["group"] for row in rows if row["real"]})
    told = []
    for person in persons:
        model = fitted([row for row in rows if row["group"] != person])
        told += [tell(model, row) for row in rows if row["group"] == person]
    model = fitted(rows)
    report: dict = {"command": " ".join(["python training/benchmarks/recognition.py", *arguments])}
    report["leave_one_person_out"] = summary(told)
    if options.unseen:
        alone = config["data"] | {"phantoms": None, "dataset": None}
        alone["studies"] = config["data"]["studies"] | {"include": options.unseen, "exclude": []}
        unseen = load_data(config | {"data": alone}).training
        report["unseen_studies"] = summary([tell(model, row) for subject in unseen for row in figures(subject)])
    for part in ("leave_one_person_out", "unseen_studies"):
        if part in report:
            found = report[part]
            print(f"{part}: {found['right']} of {found['images']} right; wrong: {found['wrong']}")
            print(f"  turned: {found['orientation']}; farthest {found['farthest']}", flush=True)
    if options.write:
        target = HERE.parent.parent / "Resources" / "Recognition" / "brain-mr.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(model.to_json() + "\n", encoding="utf-8")
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"Written: {target}, {options.output}")
    return 0


def figures(subject: Subject) -> list[dict]:
    """One entry per image of a subject."""
    rows = []
    for sequence, image in subject.images.items():
        array = image.astype(np.float32)
        laid = {name: placed(array, subject.mask, subject.spacing, axes) for name, axes in FLIPS.items()}
        entry = {"name": f"{subject.name} {sequence}", "sequence": sequence, "group": subject.group}
        entry["fits"] = {name: image.agreement for name, image in laid.items()}
        rows.append(entry | {"figures": figures_of(laid["upright"]), "real": subject.source == "study"})
    return rows


def fitted(rows: list[dict]) -> Discriminant:
    weights = np.array([REAL_WEIGHT if row["real"] else 1.0 for row in rows])
    return Discriminant.fitted(
        np.stack([row["figures"] for row in rows]), [row["sequence"] for row in rows], weights, SHRINKAGE
    )


def tell(model: Discriminant, row: dict) -> dict:
    chances = model.probabilities(row["figures"])
    return {
        "name": row["name"],
        "truth": row["sequence"],
        "told": model.sequences[int(chances.argmax())],
        "probability": round(float(chances.max()), 3),
        "distance": round(float(np.sqrt(model.squared(row["figures"]).min())) / model.reach, 3),
        "orientation": max(row["fits"], key=lambda name: row["fits"][name]),
        "agreement": {name: round(value, 3) for name, value in row["fits"].items()},
    }


def summary(told: list[dict]) -> dict:
    wrong = [f"{t['name']} is called {t['told']} ({t['probability']})" for t in told if t["told"] != t["truth"]]
    return {
        "images": len(told),
        "right": len(told) - len(wrong),
        "wrong": wrong,
        "orientation": [f"{t['name']}: {t['agreement']}" for t in told if t["orientation"] != "upright"],
        "farthest": max(t["distance"] for t in told),
        "each": told,
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
