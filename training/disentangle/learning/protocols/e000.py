"""Ouyang et al. (MarginDis): cross-reconstruction (table 1), latent analyses (figures 2-4), missing input (table 2).

Method-spec, section 1f.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...datasets.volumes import Subject
from ...metrics.image import image_quality, paper_mode
from .analyses import draw_factors, draw_matrix, draw_traversal, draw_tsne, factor_samples, separation
from .predictions import imputations, reconstructions
from .protocol import Picture, Protocol, Scores, TableSpec
from .runs import Models, slug


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
        return {table: {**columns, **_means(columns)} for table, columns in scores.items()}

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

    def analyse(self, models: Models, subjects: Sequence[Subject]) -> Scores:
        samples = factor_samples(models.system(), subjects, self.chosen["samples"])
        return {"factors": separation(samples, self.chosen["permutations"])}

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        pictures = []
        for (label, _), m in models.items():
            system, subject, stem = m.system(), subjects[0], slug(label)
            samples = factor_samples(system, subjects, self.chosen["samples"])
            sequence = self.chosen["traversal"] or str(samples.sequence[0])
            pictures += draw_tsne(samples, folder, stem, label)
            pictures.append(draw_factors(system, subject, folder / f"{stem}-factors.png", label))
            pictures.append(draw_matrix(system, subject, folder / f"{stem}-matrix.png", label))
            file = folder / f"{stem}-traversal-{slug(sequence)}.png"
            pictures.append(draw_traversal(system, subject, sequence, file, f"{label}, {sequence}", samples))
        return pictures


def _means(columns: Mapping[str, float]) -> dict[str, float]:
    """Means over the targets, as columns "mean PSNR" and "mean SSIM"."""
    found: dict[str, list[float]] = {}
    for column, value in columns.items():
        found.setdefault(column.split()[-1], []).append(value)
    return {f"mean {quantity}": float(np.mean(values)) for quantity, values in found.items() if len(values) > 1}
