"""Which uncertainty finds the errors: ``PYTHONPATH=training python training/benchmarks/uncertainty.py``; ten minutes.

A bundle segments phantoms that no choice of its was measured on, and studies that it never saw; every kind of
uncertainty then ranks the voxels of the mask. Prints, over the voxels whose truth is known, the area under the ROC
curve of finding the errors, the share of the errors that the most uncertain 5 % hold, and the seconds that the kind
adds; writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from orientations import AXES, PHANTOMS, probabilities
from sklearn.metrics import roc_auc_score

from disentangle.bundles import find_bundle
from disentangle.datasets.labels import UNLABELLED
from disentangle.datasets.volumes import Subject
from disentangle.inference.rules import Rules
from disentangle.learning.config import load_config
from disentangle.learning.data import lesion_values, load_data
from disentangle.learning.factors import chunks, unpadded
from disentangle.study import write_atomically
from disentangle.systems.base import System

HERE = Path(__file__).resolve().parent
DRAWS = 4
"""Appearances drawn for every sequence."""
SPREAD = 1.0
"""Their standard deviation about the study's own style, in standard deviations of the styles of its slices."""


def entropy(p: np.ndarray) -> np.ndarray:
    """Of class probabilities (L, K, J, I), in nats."""
    return -(p * np.log(np.maximum(p, 1e-12))).sum(axis=0)


def disagreement(opinions: list[np.ndarray]) -> np.ndarray:
    """Jensen-Shannon divergence of several class probabilities: entropy of the mean less mean entropy."""
    return entropy(np.mean(opinions, axis=0)) - np.mean([entropy(p) for p in opinions], axis=0)


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


def redrawn(system: System, subject: Subject, rng: torch.Generator) -> np.ndarray:
    """Segmentation of the study drawn in other appearances: every sequence keeps its anatomy, gets a drawn style, is
    encoded anew."""
    styles: dict[str, list[torch.Tensor]] = {}
    for _, _, _, factors in chunks(system, subject):
        for name, z in factors.modality.items():
            styles.setdefault(name, []).append(z)
    drawn = {}
    for name, parts in styles.items():
        z = torch.cat(parts)
        drawn[name] = z.mean(0) + SPREAD * z.std(0) * torch.randn(z.shape[1:], generator=rng)

    def change(images: dict, mask: torch.Tensor, factors: Any) -> Any:
        others = {
            name: system.decode(factors.anatomy[name], drawn[name].expand(len(mask), -1)) * mask for name in images
        }
        return system.encode(others, mask)

    return segmented(system, subject, change)


def mirrored(system: System, subject: Subject) -> np.ndarray:
    """Class probabilities of the study with left and right exchanged, exchanged back."""
    images = {name: volume[..., ::-1] for name, volume in subject.images.items()}
    other = replace(subject, images=images, mask=subject.mask[..., ::-1], labels=subject.labels[..., ::-1])
    return segmented(system, other)[..., ::-1]


def kinds(system: System, subject: Subject, rules: Rules) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, float]]]:
    """Labels (K, J, I) as the bundle gives them, and kind -> (uncertainty (K, J, I), seconds beyond the labels)."""
    plain = segmented(system, subject)
    shipped = plain.copy()
    rules.follow(shipped, subject.mask, subject.spacing)
    lesion = list(lesion_values(system.capabilities))
    either = np.stack([shipped[lesion].sum(axis=0), np.delete(shipped, lesion, axis=0).sum(axis=0)])
    found: dict[str, tuple[np.ndarray, float]] = {
        "entropy": (entropy(shipped), 0.0),
        "entropy of lesion or not": (entropy(either), 0.0),
        "entropy before the rules": (entropy(plain), 0.0),
    }

    def opinions(name: str, make: Callable[[], list[np.ndarray]]) -> None:
        began = time.perf_counter()
        several = [plain, *make()]
        seconds = time.perf_counter() - began
        found[f"{name}, disagreement"] = disagreement(several), seconds
        found[f"{name}, entropy of the mean"] = entropy(np.mean([shipped, *several[1:]], axis=0)), seconds

    opinions("orientations", lambda: [probabilities(system, subject, o) for n, o in AXES.items() if n != "axial"])
    opinions("mirrored", lambda: [mirrored(system, subject)])
    rng = torch.Generator().manual_seed(1)
    if system.capabilities.targets:
        opinions(f"{DRAWS} drawn styles", lambda: [redrawn(system, subject, rng) for _ in range(DRAWS)])
    return shipped.argmax(axis=0), found


def measured(system: System, rules: Rules, subjects: list[Subject]) -> dict[str, dict[str, float]]:
    """Kind -> figures, means over the subjects: of all errors, and of those of lesion against the rest."""
    lesion = list(lesion_values(system.capabilities))
    scores: dict[str, dict[str, list[float]]] = {}
    for subject in subjects:
        labels, found = kinds(system, subject, rules)
        known = subject.mask & (subject.labels != UNLABELLED)
        wrong = {"lesion": np.isin(labels, lesion) != np.isin(subject.labels, lesion)}
        if (subject.labels[known] < len(system.capabilities.classes)).all():
            wrong["any class"] = labels != subject.labels
        for kind, (map_, seconds) in found.items():
            row = scores.setdefault(kind, {})
            row.setdefault("seconds", []).append(seconds)
            values = map_[known]
            for name, errors in wrong.items():
                errors = errors[known]
                row.setdefault(f"{name}, AUC", []).append(float(roc_auc_score(errors, values)))
                most = values >= np.quantile(values, 0.95)
                row.setdefault(f"{name}, share in 5 %", []).append(float(errors[most].sum() / errors.sum()))
        print(f"  {subject.name}", flush=True)
    return {kind: {k: round(float(np.mean(v)), 3) for k, v in row.items()} for kind, row in scores.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Which uncertainty finds the errors of a segmentation.")
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "margindis-brain.yaml")
    parser.add_argument("--bundle", default="brain-mr", help="name or folder")
    parser.add_argument("--unseen", nargs="*", default=["brats13-*"], help="studies that the bundle never saw")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "uncertainty.json")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes of the configuration")
    options = parser.parse_args(arguments)
    bundle = find_bundle(options.bundle)
    system, rules = bundle.system().eval(), Rules.of_card(bundle.card)
    parts = {
        "phantoms": ["data.studies=null", f"data.phantoms={json.dumps(PHANTOMS)}"],
        "unseen studies": ["data.phantoms=null", f"data.studies={{include: {json.dumps(options.unseen)}}}"],
    }
    report: dict[str, Any] = {
        "command": "python training/benchmarks/uncertainty.py",
        "bundle": f"{bundle.name} {bundle.card['version']}",
        "threads": torch.get_num_threads(),
    }
    for name, changes in parts.items():
        print(name)
        data = load_data(load_config(options.config, [*options.overrides, *changes]))
        report[name] = measured(system, rules, data.training + data.validation)
        for kind, scores in report[name].items():
            print(f"  {kind:<40}" + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()), flush=True)
    with write_atomically(options.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
