"""Three orientations together: ``PYTHONPATH=training python training/benchmarks/orientations.py``; about five minutes.

A system that reads axial slices is given coronal and sagittal ones of the same working grid too, and the class
probabilities are averaged before a bundle's rules are followed. Prints Dice and seconds of every orientation and of
averages, over phantoms that no choice of the bundle's was measured on, and over studies that it never saw; writes JSON.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from unseen import run, segmented

from disentangle.datasets.volumes import Subject
from disentangle.inference.rules import Rules
from disentangle.learning.scoring import class_dice
from disentangle.systems.base import System

AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""Orientation -> the order of the axes of the working grid (K, J, I) that puts its slices first."""
AVERAGES = {
    **{name: tuple(float(name == other) for other in AXES) for name in AXES},
    "mean of three": (1.0, 1.0, 1.0),
    "axial twice": (2.0, 1.0, 1.0),
}


def probabilities(system: System, subject: Subject, order: tuple[int, int, int]) -> np.ndarray:
    """Class probabilities (L, K, J, I) of all sequences together, seen slice by slice along ``order[0]``."""
    images = {name: volume.transpose(order) for name, volume in subject.images.items()}
    seen = replace(subject, images=images, mask=subject.mask.transpose(order), labels=subject.labels.transpose(order))
    return segmented(system, seen).transpose(0, *(1 + np.argsort(order)))


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


if __name__ == "__main__":
    sys.exit(run("orientations", "What slices of three orientations together are worth.", measured, sys.argv[1:]))
