"""Three orientations together: ``PYTHONPATH=training python training/benchmarks/orientations.py``; about five minutes.

A system that reads axial slices is given coronal and sagittal ones of the same working grid too, and the class
probabilities are averaged before a bundle's rules are followed. Prints Dice and seconds of every orientation and of
averages, over phantoms that no choice of the bundle's was measured on, and over studies that it never saw; writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from disentangle.bundles import find_bundle
from disentangle.datasets.volumes import Subject
from disentangle.inference.rules import Rules
from disentangle.learning.config import load_config
from disentangle.learning.data import load_data
from disentangle.learning.factors import chunks, unpadded
from disentangle.learning.scoring import class_dice
from disentangle.study import write_atomically
from disentangle.systems.base import System

HERE = Path(__file__).resolve().parent
AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""Orientation -> the order of the axes of the working grid (K, J, I) that puts its slices first."""
AVERAGES = {
    **{name: tuple(float(name == other) for other in AXES) for name in AXES},
    "mean of three": (1.0, 1.0, 1.0),
    "axial twice": (2.0, 1.0, 1.0),
}
PHANTOMS = {
    "validation": 4,
    "subjects": 0,
    "first_seed": 910_000,
    "arguments": {"spacing": 1.5, "lesions": "both", "common_grid": True},
}


def probabilities(system: System, subject: Subject, order: tuple[int, int, int]) -> np.ndarray:
    """Class probabilities (L, K, J, I) of all sequences together, seen slice by slice along ``order[0]``."""
    images = {name: volume.transpose(order) for name, volume in subject.images.items()}
    seen = replace(subject, images=images, mask=subject.mask.transpose(order), labels=subject.labels.transpose(order))
    found = np.zeros((len(system.capabilities.classes), *seen.mask.shape), np.float32)
    found[0] = 1.0
    with torch.no_grad():
        for part, _, _, factors in chunks(system, seen, list(images)):
            said = system.segment(system.fuse(factors)).softmax(1)
            found[:, part] = unpadded(said.numpy(), seen.mask.shape[1:]).swapaxes(0, 1)
    return found.transpose(0, *(1 + np.argsort(order)))


def measured(system: System, rules: Rules, subjects: list[Subject]) -> dict[str, dict[str, float]]:
    """Average -> class -> mean Dice, and "seconds" per subject."""
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in AVERAGES}
    for subject in subjects:
        found, seconds = [], []
        for order in AXES.values():
            began = time.perf_counter()
            found.append(probabilities(system, subject, order))
            seconds.append(time.perf_counter() - began)
        for name, weights in AVERAGES.items():
            mean = sum(w * one for w, one in zip(weights, found, strict=True)) / sum(weights)
            rules.follow(mean, subject.mask, subject.spacing)
            dice = class_dice(mean.argmax(axis=0), subject, system.capabilities)
            dice["seconds"] = sum(s for w, s in zip(weights, seconds, strict=True) if w)
            for key, value in dice.items():
                scores[name].setdefault(key, []).append(value)
    return {name: {k: round(float(np.mean(v)), 3) for k, v in found.items()} for name, found in scores.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="What slices of three orientations together are worth.")
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--unseen", nargs="*", default=["brats13-*"], help="studies that the bundle never saw")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "orientations.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)
    bundle = find_bundle(options.bundle)
    system, rules = bundle.system().eval(), Rules.of_card(bundle.card)
    parts = {
        "phantoms": ["data.studies=null", f"data.phantoms={json.dumps(PHANTOMS)}"],
        "unseen studies": ["data.phantoms=null", f"data.studies={{include: {json.dumps(options.unseen)}}}"],
    }
    report: dict[str, Any] = {
        "command": "python training/benchmarks/orientations.py",
        "bundle": f"{bundle.name} {bundle.card['version']}",
        "threads": torch.get_num_threads(),
    }
    for name, changes in parts.items():
        data = load_data(load_config(options.config, [*options.overrides, *changes]))
        report[name] = measured(system, rules, data.training + data.validation)
        print(name)
        for average, scores in report[name].items():
            print(f"  {average:<14}" + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()), flush=True)
    with write_atomically(options.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
