"""Which uncertainty finds the errors: ``PYTHONPATH=training python training/benchmarks/uncertainty.py``; ten minutes.

A bundle segments phantoms that no choice of its was measured on, and studies that it never saw; every kind of
uncertainty then ranks the voxels of the mask. Prints, over the voxels whose truth is known, the area under the ROC
curve of finding the errors, the share of the errors that the most uncertain 5 % hold, and the seconds that the kind
adds; writes JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from orientations import AXES, probabilities
from sklearn.metrics import roc_auc_score
from unseen import run, segmented

from disentangle.datasets.labels import UNLABELLED
from disentangle.datasets.volumes import Subject
from disentangle.inference.rules import Rules
from disentangle.learning.factors import chunks
from disentangle.systems.base import System

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
    lesion = list(system.capabilities.lesions)

    def either(p: np.ndarray) -> np.ndarray:
        return entropy(np.stack([p[lesion].sum(axis=0), np.delete(p, lesion, axis=0).sum(axis=0)]))

    found: dict[str, tuple[np.ndarray, float]] = {
        "entropy": (entropy(shipped), 0.0),
        "entropy of lesion or not": (either(shipped), 0.0),
        "entropy before the rules": (entropy(plain), 0.0),
    }

    def opinions(name: str, make: Callable[[], list[np.ndarray]]) -> None:
        began = time.perf_counter()
        others = make()
        seconds = time.perf_counter() - began
        mean = np.mean([plain, *others], axis=0)
        rules.follow(mean, subject.mask, subject.spacing)
        found[f"{name}, disagreement"] = disagreement([plain, *others]), seconds
        found[f"{name}, entropy of the mean"] = entropy(mean), seconds
        found[f"{name}, lesion or not of the mean"] = either(mean), seconds

    opinions("orientations", lambda: [probabilities(system, subject, o) for n, o in AXES.items() if n != "axial"])
    opinions("mirrored", lambda: [mirrored(system, subject)])
    rng = torch.Generator().manual_seed(1)
    if system.capabilities.targets:
        opinions(f"{DRAWS} drawn styles", lambda: [redrawn(system, subject, rng) for _ in range(DRAWS)])
    return shipped.argmax(axis=0), found


def measured(system: System, rules: Rules, subjects: list[Subject]) -> dict[str, dict[str, float]]:
    """Kind -> figures, means over the subjects: of all errors, and of those of lesion against the rest."""
    lesion = list(system.capabilities.lesions)
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


if __name__ == "__main__":
    sys.exit(run("uncertainty", "Which uncertainty finds the errors of a segmentation.", measured, sys.argv[1:]))
