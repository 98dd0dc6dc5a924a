"""A model beside its peers on studies that none of them saw: images and findings from every subset of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...datasets.volumes import Subject
from ...errors import InputError
from ...metrics.image import image_quality, match_histogram
from ..scoring import evaluate_subject
from .e000 import means_by_quantity
from .figures import image_grid
from .predictions import imputations
from .protocol import Picture, Protocol, Scores, TableSpec
from .runs import Models
from .settings import ProtocolSettings

COPIES = ("copy", "histogram-matched copy")
"""Modes of methods without weights: the sequence at hand that comes nearest to the target, chosen by its PSNR.
The choice knows the target, and so do the histograms: these peers are stronger here than they could be in use."""


class Peers(Protocol):
    """Every target from every subset of the other sequences, and findings from every subset of all.

    A row of a method that does not segment, or makes no images, has empty columns there.
    """

    tables: ClassVar = (
        TableSpec("synthesis", "Each sequence from all the others, inside the mask",
                  note="Range of the target's 0.5-99.5 percentiles; MAE in units of the normalised images."),
        TableSpec("subsets", "Synthesis by the number of inputs", quantity="PSNR",
                  note="Mean PSNR in dB over all targets and all subsets of that size."),
        TableSpec("dice", "Dice by the number of sequences", quantity="Dice",
                  note="Mean over all subsets of that size; every subset of four makes 15."),
        TableSpec("loss", "Dice lost with one sequence missing", ranked=False, quantity="Dice",
                  note="Dice with all sequences minus the mean over those with one missing."),
        TableSpec("hd95", "95th percentile Hausdorff distance in mm, with all sequences", 1, quantity="HD95"),
    )  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"structures": ["whole tumour", "any lesion"], "picture": True}
    """structures: classes, or "whole tumour" and "any lesion", that are scored where a study's labels tell them.
    picture: draw a slice of the first subject; not for a report that goes where the study must not go."""

    def __init__(self, settings: ProtocolSettings) -> None:
        super().__init__(settings)
        for method in settings.methods:
            if not method.trains and method.mode not in COPIES:
                raise InputError(f'"{method.label}" has no weights; its mode must be one of: {", ".join(COPIES)}.')

    def score(self, models: Models, subject: Subject) -> Scores:
        scores: Scores = {spec.key: {} for spec in self.tables}
        if not models.paths:
            truth = {s: subject.images[s].astype(np.float32) for s in self._shown(subject)}
            images = self._copies(models, subject).items()
            _fill_images(scores, {k: image_quality(i, truth[k[1]], subject.mask).to_dict() for k, i in images})
            return scores
        found = evaluate_subject(models.system(), subject, "all")
        made = {(tuple(names.split("+")), t): q for t, by in found["from"].items() for names, q in by.items()}
        _fill_images(scores, made)
        self._fill_findings(scores, found)
        return scores

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        """Every target of the first subject, real and as each method makes it from the others."""
        if not self.chosen["picture"]:
            return []
        subject = max(subjects, key=lambda s: len(s.images))
        names = self._shown(subject)
        others = {t: tuple(s for s in names if s != t) for t in names}
        made: dict[str, dict[str, np.ndarray]] = {}
        for (label, _), m in models.items():
            if not m.paths:
                copies = self._copies(m, subject)
                made[label] = {t: copies[inputs, t] for t, inputs in others.items()}
            elif m.system().capabilities.targets:
                made[label] = imputations(m.system(), subject)
        k = int(np.isin(subject.labels, range(4, 250)).sum(axis=(1, 2)).argmax())
        k = k or int(subject.mask.sum(axis=(1, 2)).argmax())
        rows = [[subject.images[t][k].astype(np.float32), *[made[m][t][k] for m in made]] for t in names]
        title = f"{subject.name}: each sequence from all the others"
        image_grid(folder / "synthesis.png", rows, names, ["real", *made], title)
        return [Picture("synthesis.png", title + ".")]

    def _shown(self, subject: Subject) -> list[str]:
        """The sequences of the protocol that a subject has."""
        return [s for s in self.settings.common["system"]["sequences"] if s in subject.images]

    def _copies(self, models: Models, subject: Subject) -> dict[tuple[tuple[str, ...], str], np.ndarray]:
        """(inputs, target) -> volume (K, J, I): the input that comes nearest."""
        shown = {s: subject.images[s].astype(np.float32) for s in self._shown(subject)}
        found = {}
        for target, truth in shown.items():
            others = {s: image for s, image in shown.items() if s != target}
            if models.method.mode != "copy":
                others = {s: match_histogram(image, truth, subject.mask) for s, image in others.items()}
            score = {s: image_quality(image, truth, subject.mask).psnr for s, image in others.items()}
            for size in range(1, len(others) + 1):
                found |= {(i, target): others[max(i, key=score.__getitem__)] for i in combinations(others, size)}
        return found

    def _fill_findings(self, scores: Scores, found: Mapping[str, Any]) -> None:
        """Dice by the number of sequences, what is lost with one missing, and distances with all."""
        count = len(found["sequences"])
        by_size: dict[str, dict[int, list[float]]] = {}
        for names, values in found["dice"].items():
            for structure in (s for s in self.chosen["structures"] if s in values):
                by_size.setdefault(structure, {}).setdefault(names.count("+") + 1, []).append(values[structure])
        for structure, values in by_size.items():
            means = {size: float(np.mean(v)) for size, v in sorted(values.items())}
            scores["dice"] |= {f"{structure}, {size} of {count}": mean for size, mean in means.items()}
            if count - 1 in means:
                scores["loss"][structure] = means[count] - means[count - 1]
        distances = found["hd95"].get("+".join(found["sequences"]), {})
        scores["hd95"] = {s: distances[s] for s in self.chosen["structures"] if s in distances}


def _fill_images(scores: Scores, made: Mapping[tuple[tuple[str, ...], str], Mapping[str, float]]) -> None:
    """``made`` ((inputs, target) -> figures): each target from all the others, and by the number of inputs."""
    by_size: dict[int, list[float]] = {}
    most = max((len(inputs) for inputs, _ in made), default=0)
    for (inputs, target), quality in made.items():
        by_size.setdefault(len(inputs), []).append(quality["psnr"])
        if len(inputs) == most:
            scores["synthesis"] |= {f"{target} {name.upper()}": quality[name] for name in ("psnr", "ssim", "mae")}
    scores["synthesis"] |= means_by_quantity(scores["synthesis"])
    scores["subsets"] = {f"from {size}": float(np.mean(values)) for size, values in sorted(by_size.items())}
