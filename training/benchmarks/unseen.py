"""What two benchmarks share: a bundle, phantoms that no choice of its was measured on, studies that it never saw."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
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
from disentangle.study import write_atomically
from disentangle.systems.base import System

HERE = Path(__file__).resolve().parent
PHANTOMS = {
    "validation": 4,
    "subjects": 0,
    "first_seed": 910_000,
    "arguments": {"spacing": 1.5, "lesions": "both", "common_grid": True},
}
Measure = Callable[[System, Rules, list[Subject]], dict[str, dict[str, float]]]
"""(system, the bundle's rules, subjects) -> row -> figure -> mean over the subjects."""


def segmented(
    system: System, subject: Subject, change: Callable[[dict, torch.Tensor, Any], Any] | None = None
) -> np.ndarray:
    """Class probabilities (L, K, J, I) of all sequences; ``change`` makes other factors of images, mask and factors."""
    found = np.zeros((len(system.capabilities.classes), *subject.mask.shape), np.float32)
    found[0] = 1.0
    with torch.no_grad():
        for part, images, mask, factors in chunks(system, subject):
            if change is not None:
                factors = change(images, mask, factors)
            said = system.segment(system.fuse(factors)).softmax(1)
            found[:, part] = unpadded(said.numpy(), subject.mask.shape[1:]).swapaxes(0, 1)
    return found


def run(name: str, description: str, measure: Measure, arguments: list[str]) -> int:
    """The command line of a benchmark: a row is printed per line, everything is written to ``results/<name>.json``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--unseen", nargs="*", default=["brats13-*"], help="studies that the bundle never saw")
    parser.add_argument("--output", type=Path, default=HERE / "results" / f"{name}.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)
    bundle = find_bundle(options.bundle)
    system, rules = bundle.system().eval(), Rules.of_card(bundle.card)
    parts = {
        "phantoms": ["data.studies=null", f"data.phantoms={json.dumps(PHANTOMS)}"],
        "unseen studies": ["data.phantoms=null", f"data.studies={{include: {json.dumps(options.unseen)}}}"],
    }
    report: dict[str, Any] = {
        "command": f"python training/benchmarks/{name}.py",
        "bundle": f"{bundle.name} {bundle.card['version']}",
        "threads": torch.get_num_threads(),
    }
    for part, changes in parts.items():
        data = load_data(load_config(options.config, [*options.overrides, *changes]))
        report[part] = measure(system, rules, data.training + data.validation)
        print(part)
        width = max(map(len, report[part])) + 2
        for row, scores in report[part].items():
            print(f"  {row:<{width}}" + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()), flush=True)
    with write_atomically(options.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0
