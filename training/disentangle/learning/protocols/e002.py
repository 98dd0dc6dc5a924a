"""Liu et al. (UCD): translation between all sequences, and segmentation of completed stacks (method-spec 3f)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...datasets.volumes import Subject
from ...errors import InputError
from ...metrics.frechet import frechet_distance, random_features
from ...metrics.image import image_quality, psnr, ssim
from ..scoring import class_dice
from .analyses import draw_artefact
from .figures import image_grid
from .predictions import segmentation, translations, usable
from .protocol import Picture, Protocol, Scores, TableSpec
from .runs import Models, slug
from .settings import ProtocolSettings

PAPER_PIXELS = 128 * 128
"""L1 of the paper's table is most plausibly a sum over so many pixels (method-spec 3f)."""


class AllTranslations(Protocol):
    """E002-1: every sequence from every other one, 12 pairs of 4."""

    tables: ClassVar = (
        TableSpec("quality", "Translations inside the mask", note="Mean over all ordered pairs; range of the target's "
                  "0.5-99.5 percentiles; MAE in units of the normalised images."),
        TableSpec("paper", "Translations as the paper measures them", 4, "E002-1", note="Whole slices in [-1, 1], "
                  "background -1; L1 is the mean absolute error times 128 x 128 pixels. FID: Frechet distance of "
                  "features of a fixed random network between real and made slices of a target, mean over the targets; "
                  "no printed FID is comparable (metrics/frechet.py)."),
        TableSpec("pairs", "PSNR in dB of each pair, inside the mask", 2, ranked=False, quantity="PSNR"),
    )  # fmt: skip

    options: ClassVar[dict[str, Any]] = {"artefact": ["T1", "T2"]}
    """artefact: source and target of the figure of a source with stripes; null draws none."""
    optional: ClassVar[frozenset[str]] = frozenset({"artefact"})

    def __init__(self, settings: ProtocolSettings) -> None:
        super().__init__(settings)
        if self.chosen["artefact"] and len(self.chosen["artefact"]) != 2:
            raise InputError("The option artefact names a source and a target, as [T1, T2], or is null.")
        self._features: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}

    def score(self, models: Models, subject: Subject) -> Scores:
        names = [s for s in self.settings.common.get("system", {}).get("sequences", ()) if s in subject.images]
        scores: Scores = {"quality": {}, "paper": {}, "pairs": {}}
        inside, whole = [], []
        for source in names:
            targets = [t for t in names if t != source]
            for target, image in self.translated(models, subject, source, targets).items():
                truth = subject.images[target].astype(np.float32)
                quality = image_quality(image, truth, subject.mask)
                inside.append((quality.psnr, quality.ssim, quality.mae))
                scores["pairs"][f"{source} to {target}"] = quality.psnr
                made, real = _paper_slices(image, truth, subject.mask)
                whole.append(
                    (
                        np.abs(made - real).mean() * PAPER_PIXELS,
                        ssim(made, real, None, 2.0),
                        psnr(made, real, None, 2.0),
                    )
                )
                for images, collected in zip((real, made), self._features.setdefault(target, ([], [])), strict=True):
                    collected.append(random_features(images))
        if not inside:
            raise InputError(f"{subject.name} has fewer than two of the sequences; there is nothing to translate.")
        scores["quality"] = dict(zip(("PSNR", "SSIM", "MAE"), map(float, np.mean(inside, axis=0)), strict=True))
        scores["paper"] = dict(zip(("L1", "SSIM", "PSNR"), map(float, np.mean(whole, axis=0)), strict=True))
        return scores

    def analyse(self, models: Models, subjects: Sequence[Subject]) -> Scores:
        """FID over the slices of all subjects that were just scored; where they come from makes no difference."""
        collected, self._features = self._features, {}
        values = [frechet_distance(*map(np.concatenate, pair)) for pair in collected.values()]
        return {"paper": {"FID": float(np.mean(values))}}

    def translated(
        self, models: Models, subject: Subject, source: str, targets: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Target -> volume from one source, by the model or models of a method."""
        found = {}
        for target in targets:
            # One system for all targets of a source is encoded once; systems per pair one by one.
            if target not in found:
                system = models.system(source, target)
                together = [t for t in targets if models.checkpoint(source, t) == models.checkpoint(source, target)]
                found |= translations(system, subject, source, together)
        return {t: found[t] for t in targets}

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        """The matrix of sources and targets of one slice with most lesion, truth in front."""
        pictures, subject = [], subjects[0]
        names = [s for s in self.settings.common.get("system", {}).get("sequences", ()) if s in subject.images]
        k = int(subject.mask.sum(axis=(1, 2)).argmax())
        for (label, condition), m in models.items():
            made = {s: self.translated(m, subject, s, names) for s in names}
            rows = [[subject.images[t][k].astype(np.float32), *[made[s][t][k] for s in names]] for t in names]
            name = f"{label} {condition}".strip()
            file = folder / f"matrix-{slug(name)}.png"
            image_grid(file, rows, [f"to {t}" for t in names], ["real", *[f"from {s}" for s in names]], name)
            pictures.append(Picture(file.name, f"{name}: every sequence (column) translated into every other (row)."))
            if self.chosen["artefact"] and set(self.chosen["artefact"]) <= set(names):
                source, target = self.chosen["artefact"]

                def translate(shown: Subject, m: Models = m, source: str = source, target: str = target) -> np.ndarray:
                    return self.translated(m, shown, source, [target])[target]

                file = folder / f"artefact-{slug(name)}.png"
                pictures.append(draw_artefact(translate, subject, source, target, file, name))
        return pictures


class CompletedSegmentation(Protocol):
    """E002-2: whole-tumour Dice from one real sequence and its translations.

    Mode "one" (default) shows a method one real sequence at a time, mean over the sequences; "all" shows it all that
    its model reads. Translators without a segmentor, which others complete stacks with, have no row.
    """

    options: ClassVar[dict[str, Any]] = {"structure": "whole tumour"}

    @property
    def tables(self) -> tuple[TableSpec, ...]:  # type: ignore[override]
        note, data = "Mean over the one real sequence given.", self.settings.common.get("data") or {}
        if data.get("dataset") or data.get("studies"):
            note += (
                " Translators and segmentors learned on the same persons, not on different ones as published: the "
                "stacks that a segmentor learned on are completed better than those of persons whom its translator "
                "never saw."
            )
        return (
            TableSpec("dice", "Dice of the whole tumour", 4, "E002-2", note=note),
            TableSpec("sources", "Dice of the whole tumour by the real sequence", 4, ranked=False, quantity="Dice"),
        )

    def score(self, models: Models, subject: Subject) -> Scores:
        system, what = models.system(), self.chosen["structure"]
        if not system.capabilities.segments:
            return {}
        names = usable(system, subject)
        shown = [names] if models.method.mode == "all" else [[s] for s in names]
        found = {}
        for inputs in shown:
            dice = class_dice(segmentation(system, subject, inputs), subject, system.capabilities)
            if what in dice:
                found["+".join(inputs)] = dice[what]
        if not found:
            return {}
        return {"dice": {"Dice": float(np.mean(list(found.values())))}, "sources": found}


def _paper_slices(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices (n, H, W) of an image and its truth that show anything, in [-1, 1], black outside the mask."""
    low, high = float(truth[mask].min()), float(np.percentile(truth[mask], 99.5))
    scaled = [np.where(mask, np.clip(2 * (x - low) / (high - low) - 1, -1, 1), -1.0) for x in (image, truth)]
    slices = np.flatnonzero(mask.sum(axis=(1, 2)) >= 0.25 * mask.sum(axis=(1, 2)).max())
    return scaled[0][slices], scaled[1][slices]
