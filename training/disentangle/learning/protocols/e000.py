"""Ouyang et al. (MarginDis): cross-reconstruction (table 1), latent analyses (figures 2-4), missing input (table 2).

Method-spec, section 1f.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...baselines.standard import cohort_means, filled
from ...datasets.volumes import Subject
from ...metrics.image import image_quality, paper_mode
from ...metrics.overlap import dice
from ...systems.base import System
from ...systems.settings import check_choice
from ..data import load_data
from ..scoring import class_dice
from .analyses import draw_factors, draw_matrix, draw_traversal, draw_tsne, factor_samples, separation
from .predictions import imputations, reconstructions, segmentation, synthesis, usable
from .protocol import Picture, Protocol, Scores, TableSpec
from .runs import Models, slug
from .settings import ProtocolSettings


class CrossReconstruction(Protocol):
    """E000-1: D(s_i, z_j) against x_j for all i != j, averaged over i; imputation in the default style beside it."""

    tables: ClassVar = (
        TableSpec(
            "cross",
            "Cross-reconstruction inside the mask",
            note="Centre slices, inside the mask, range of the target's 0.5-99.5 percentiles; not comparable with "
            "the paper's table. z is that of the target image itself: this measures disentanglement.",
        ),
        TableSpec(
            "paper",
            "Cross-reconstruction as the paper's code measures it",
            published="E000-1",
            note="Background of -10 counts and widens the range.",
        ),
        TableSpec(
            "imputation",
            "Imputation inside the mask",
            note="The target is no input: consensus of the other sequences in the target's mean style.",
        ),
    )

    def score(self, models: Models, subject: Subject) -> Scores:
        system = models.system()
        shown, targets = reconstructions(system, subject), {}
        for target in dict.fromkeys(j for _, j in shown):
            targets[target] = [shown[i, j] for i, j in shown if j == target and i != j]
        scores: Scores = {"cross": {}, "paper": {}, "imputation": {}}
        for target, images in targets.items():
            truth = subject.images[target].astype(np.float32)
            inside = [image_quality(image, truth, subject.mask) for image in images]
            if inside:
                scores["cross"][f"{target} PSNR"] = float(np.mean([q.psnr for q in inside]))
                scores["cross"][f"{target} SSIM"] = float(np.mean([q.ssim for q in inside]))
                psnr, ssim = np.mean([paper_mode(image, truth, subject.mask) for image in images], axis=0)
                scores["paper"] |= {f"{target} PSNR": float(psnr), f"{target} SSIM": float(ssim)}
        for target, image in imputations(system, subject).items():
            quality = image_quality(image, subject.images[target].astype(np.float32), subject.mask)
            scores["imputation"] |= {f"{target} PSNR": quality.psnr, f"{target} SSIM": quality.ssim}
        return {table: {**columns, **means_by_quantity(columns)} for table, columns in scores.items()}

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        return [
            draw_matrix(m.system(), subjects[0], folder / f"matrix-{slug(label)}.png", f"{label}, {subjects[0].name}")
            for (label, _), m in models.items()
        ]


class LatentAnalyses(Protocol):
    """E000-2: what z and s tell about sequence and subject; t-SNE, factor strips, matrices, traversals."""

    tables: ClassVar = (
        TableSpec(
            "factors",
            "What the factors tell",
            ranked=False,
            note="Accuracy of linear probes (the sequence should be read from z, near 1, and not from f(s), near one "
            "over the number of sequences), silhouettes, distance correlation. Plain dCor is biased upwards with "
            "few samples; the corrected one is the signed root of the bias-corrected estimate, to be compared with "
            "its permutation null.",
        ),
    )
    options: ClassVar[dict[str, Any]] = {"samples": 200, "permutations": 200, "traversal": None}
    """samples: slices and sequences analysed. traversal: sequence whose style is traversed; null = the first."""
    standard_prior: ClassVar[bool] = False
    """z has a standard normal prior: traversals run from -3 to 3, else over 3 standard deviations of what is seen."""

    def analyse(self, models: Models, subjects: Sequence[Subject]) -> Scores:
        samples = factor_samples(models.system(), subjects, self.chosen["samples"])
        return {"factors": separation(samples, self.chosen["permutations"])}

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        pictures = []
        for (label, condition), m in models.items():
            name, system, subject = f"{label} {condition}".strip(), m.system(), subjects[0]
            stem, samples = slug(name), factor_samples(system, subjects, self.chosen["samples"])
            sequence = self.chosen["traversal"] or str(samples.sequence[0])
            pictures += draw_tsne(samples, folder, stem, name)
            pictures.append(draw_factors(system, subject, folder / f"{stem}-factors.png", name))
            pictures.append(draw_matrix(system, subject, folder / f"{stem}-matrix.png", name))
            file = folder / f"{stem}-traversal-{slug(sequence)}.png"
            spread = None if self.standard_prior else samples
            pictures.append(draw_traversal(system, subject, sequence, file, f"{name}, {sequence}", spread))
        return pictures


class MissingInput(Protocol):
    """E000-3: a task network with all sequences, and with each one (or any subset) missing.

    Segmentation is scored by Dice, synthesis of a sequence that is never an input by PSNR and SSIM. Mode "average"
    replaces a missing sequence by its mean over the training subjects (Standard+Avg). A network of fewer sequences than
    the file's own ``system`` names is scored as one that lacks the others: trained for that very case, it tells what
    may be had without them.
    """

    tables: ClassVar = (
        TableSpec("dice", "Mean Dice of the lesion classes", published="E000-3",
                  note="Disjoint classes, per volume, over those that a subject shows."),
        TableSpec("regions", "Dice of regions", ranked=False, quantity="Dice",
                  note="Whole tumour (all its classes), tumour core (without edema), enhancing tumour."),
        TableSpec(
            "synthesis",
            "Synthesis inside the mask",
            published="E000-3",
            note="Range of the target's 0.5-99.5 percentiles inside the mask, which the paper does not use.",
        ),
    )  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"subsets": "leave-one-out"}
    """subsets: "leave-one-out", or "all" 2^m - 1 with their mean."""

    def __init__(self, settings: ProtocolSettings) -> None:
        super().__init__(settings)
        check_choice("subsets", self.chosen["subsets"], ("leave-one-out", "all"))
        self._means: dict[str, dict[str, np.ndarray]] = {}

    def score(self, models: Models, subject: Subject) -> Scores:
        system = models.system()
        present = usable(system, subject)
        offered = self.settings.common.get("system", {}).get("sequences", present)
        every = [s for s in dict.fromkeys([*offered, *present]) if s in subject.images]
        smallest = 0 if self.chosen["subsets"] == "all" else max(len(every) - 2, 0)
        subsets = [c for size in range(len(present), smallest, -1) for c in combinations(present, size)]
        made = [t for t in system.capabilities.targets if t in subject.images and t not in present]
        found: Scores = {"dice": {}, "regions": {}, "synthesis": {}}
        for subset in subsets:
            missing = [s for s in every if s not in subset]
            label = "".join(f"-{s}" for s in missing) or "all"
            shown = self._filled(models, subject, missing) if models.method.mode == "average" and missing else subject
            inputs = present if shown is not subject else subset
            if system.capabilities.segments:
                labels = segmentation(system, shown, inputs)
                found["dice"][f"{label} Dice"], regions = lesion_dice(labels, subject, system)
                found["regions"] |= {f"{label} {name}": value for name, value in regions.items()}
                continue
            for target, image in synthesis(system, shown, inputs, made).items() if made else ():
                quality = image_quality(image, subject.images[target].astype(np.float32), subject.mask)
                found["synthesis"] |= {f"{label} PSNR": quality.psnr, f"{label} SSIM": quality.ssim}
        if self.chosen["subsets"] == "all" and found["dice"]:
            found["dice"]["mean of all subsets Dice"] = float(np.nanmean(list(found["dice"].values())))
        return found

    def _filled(self, models: Models, subject: Subject, missing: Sequence[str]) -> Subject:
        """The subject with means over the training subjects in place of what is missing."""
        config = next(iter(models.configs.values()))
        key = json.dumps(config["data"], sort_keys=True)
        if key not in self._means:
            self._means[key] = cohort_means(load_data(config).training)
        return filled(subject, missing, self._means[key])


def lesion_dice(labels: np.ndarray, subject: Subject, system: System) -> tuple[float, dict[str, float]]:
    """Mean Dice over the disjoint lesion classes that a subject shows, and that of the usual regions."""
    capabilities = system.capabilities
    scores = class_dice(labels, subject, capabilities)
    lesions = [capabilities.classes[v] for v in capabilities.lesions]
    single = [scores[n] for n in lesions if n in scores]
    parts = [v for v in capabilities.lesions if "edema" not in capabilities.classes[v]]
    tumour = [v for v in parts if "core" in capabilities.classes[v] or "enhancing" in capabilities.classes[v]]
    core = np.isin(subject.labels, tumour)
    regions = {"whole tumour": scores["whole tumour"]} if "whole tumour" in scores else {}
    if core.any():
        regions["tumour core"] = dice(np.isin(labels, tumour) & subject.mask, core)
    enhancing = next((v for n, v in scores.items() if n.startswith("enhancing")), None)
    regions |= {} if enhancing is None else {"enhancing tumour": enhancing}
    return float(np.mean(single)) if single else float("nan"), regions


def means_by_quantity(columns: Mapping[str, float]) -> dict[str, float]:
    """Means over the targets, as columns "mean PSNR" and "mean SSIM"."""
    found: dict[str, list[float]] = {}
    for column, value in columns.items():
        found.setdefault(column.split()[-1], []).append(value)
    return {f"mean {quantity}": float(np.mean(values)) for quantity, values in found.items() if len(values) > 1}
