"""A model beside its peers on studies that none of them saw: images and findings from every subset of sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...datasets.volumes import Subject
from ...errors import InputError
from ...metrics.image import image_quality, match_histogram
from ...metrics.overlap import dice, hd95
from ..evaluation import class_scores
from .figures import image_grid
from .predictions import subset_segmentations, subset_syntheses, usable
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
            self._score_images(models, subject, [s for s in self._sequences() if s in subject.images], scores)
            return scores
        system = models.system()
        if system.capabilities.targets:
            self._score_images(models, subject, usable(system, subject), scores)
        if system.capabilities.segments:
            self._score_findings(models, subject, scores)
        return scores

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        """Every target of the first subject, real and as each method makes it from the others."""
        if not self.chosen["picture"]:
            return []
        subject = max(subjects, key=lambda s: len(s.images))
        names = [s for s in self._sequences() if s in subject.images]
        made = {
            label: {t: image for (_, t), image in self._images(m, subject, names, len(names) - 1).items()}
            for (label, _), m in models.items()
            if not m.paths or m.system().capabilities.targets
        }
        k = int(np.isin(subject.labels, range(4, 250)).sum(axis=(1, 2)).argmax())
        k = k or int(subject.mask.sum(axis=(1, 2)).argmax())
        rows = [[subject.images[t][k].astype(np.float32), *[made[m][t][k] for m in made]] for t in names]
        title = f"{subject.name}: each sequence from all the others"
        image_grid(folder / "synthesis.png", rows, names, ["real", *made], title)
        return [Picture("synthesis.png", title + ".")]

    def _sequences(self) -> list[str]:
        return list(self.settings.common["system"]["sequences"])

    def _score_images(self, models: Models, subject: Subject, names: Sequence[str], scores: Scores) -> None:
        by_size: dict[int, list[float]] = {}
        for (inputs, target), image in self._images(models, subject, names).items():
            quality = image_quality(image, subject.images[target].astype(np.float32), subject.mask)
            by_size.setdefault(len(inputs), []).append(quality.psnr)
            if len(inputs) == len(names) - 1:
                found = (("PSNR", quality.psnr), ("SSIM", quality.ssim), ("MAE", quality.mae))
                scores["synthesis"] |= {f"{target} {name}": value for name, value in found}
        for name in ("PSNR", "SSIM", "MAE"):
            values = [v for column, v in scores["synthesis"].items() if column.endswith(name)]
            if values:
                scores["synthesis"][f"mean {name}"] = float(np.mean(values))
        scores["subsets"] = {f"from {size}": float(np.mean(values)) for size, values in sorted(by_size.items())}

    def _images(
        self, models: Models, subject: Subject, names: Sequence[str], smallest: int = 1
    ) -> dict[tuple[tuple[str, ...], str], np.ndarray]:
        """(inputs, target) -> volume (K, J, I), as the method makes each target from the subsets of the others."""
        wanted: dict[tuple[str, ...], list[str]] = {}
        for target in names:
            for inputs in _subsets([s for s in names if s != target], smallest):
                wanted.setdefault(inputs, []).append(target)
        if models.paths:
            return subset_syntheses(models.system(), subject, wanted)
        shown = {s: subject.images[s].astype(np.float32) for s in names}
        matched = models.method.mode != "copy"
        single = {
            (s, t): match_histogram(shown[s], shown[t], subject.mask) if matched else shown[s]
            for s in names
            for t in names
            if s != t
        }
        score = {(s, t): image_quality(i, shown[t], subject.mask).psnr for (s, t), i in single.items()}
        pairs = [(inputs, target) for inputs, targets in wanted.items() for target in targets]
        return {(i, t): single[max(i, key=lambda s, t=t: score[s, t]), t] for i, t in pairs}

    def _score_findings(self, models: Models, subject: Subject, scores: Scores) -> None:
        system = models.system()
        present = usable(system, subject)
        by_size: dict[str, dict[int, list[float]]] = {}
        for inputs, labels in subset_segmentations(system, subject, _subsets(present)).items():
            found = class_scores(dice, labels, subject, system.capabilities)
            for structure in self.chosen["structures"]:
                if structure in found:
                    by_size.setdefault(structure, {}).setdefault(len(inputs), []).append(found[structure])
            if len(inputs) == len(present):
                score = partial(hd95, spacing=subject.spacing)
                distances = class_scores(score, labels, subject, system.capabilities)
                scores["hd95"] = {s: distances[s] for s in self.chosen["structures"] if s in distances}
        for structure, values in by_size.items():
            means = {size: float(np.mean(v)) for size, v in values.items()}
            scores["dice"] |= {f"{structure}, {size} of {len(present)}": v for size, v in sorted(means.items())}
            if len(present) - 1 in means:
                scores["loss"][structure] = means[len(present)] - means[len(present) - 1]


def _subsets(names: Sequence[str], smallest: int = 1) -> list[tuple[str, ...]]:
    """All subsets of at least ``smallest`` names, the smaller ones first."""
    return [subset for size in range(smallest, len(names) + 1) for subset in combinations(names, size)]
