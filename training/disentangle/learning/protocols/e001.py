"""Chartsias et al. (DAFNet): tables I-IV and the analyses of its factors (method-spec, section 2f)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...baselines.active_contour import refined
from ...baselines.copying import copied, propagate
from ...baselines.registration import registered
from ...datasets.volumes import Subject
from ...losses import UNLABELLED
from ...metrics.overlap import dice_per_class, hd95, slice_dice
from .analyses import draw_pair_weights, style_variances
from .e000 import LatentAnalyses
from .figures import image_grid, labelled
from .predictions import segmentation
from .protocol import Picture, Protocol, Scores, TableSpec
from .runs import Models, slug

PROPAGATIONS = {"copy": copied, "register": registered, "active contour": refined}
"""Modes of methods without weights: labels of the paired slice of the source, carried over."""


class UnregisteredSegmentation(Protocol):
    """Table I and II: segmentation of every target, on its own slices, with few or no labels of it.

    The mode of a method is one of :data:`PROPAGATIONS`, of :data:`.systems.modes.MODES`, "candidates" (a weighted
    choice among neighbouring partners), or "shuffled" (partners moved by up to two slices).
    """

    paper: ClassVar[str] = "E001-I"
    joint_note: ClassVar[str] = (
        "In %: Dice over all structures jointly, per slice, empty slices counting 1 (the paper's measure)."
    )
    options: ClassVar[dict[str, Any]] = {"source": None, "short": {}}
    """source: sequence whose labels are carried over; null = the first other than the target. short: names of
    structures as columns print them."""

    @property
    def tables(self) -> tuple[TableSpec, ...]:  # type: ignore[override]
        return (
            TableSpec("dice", "Dice per slice", 1, self.paper, quantity="Dice", note=self.joint_note),
            TableSpec("volume", "Dice of volumes", 1, quantity="Dice", note="In %, per structure, over whole volumes."),
            TableSpec("hd95", "95th percentile Hausdorff distance in mm", 1, ranked=False),
        )

    def score(self, models: Models, subject: Subject) -> Scores:
        scores: Scores = {"dice": {}, "volume": {}, "hd95": {}}
        for target in self.targets(models, subject):
            known = self.known(models, subject, target)
            if not known.any():
                continue
            truth = np.where(known, _labels(subject, target), 0)
            found = np.where(known, self.predicted(models, subject, target), 0)
            scores["dice"] |= self.slice_scores(*_telling(known, found, truth), target)
            names = self.structures(truth)
            for name, value in dice_per_class(found, truth, names).items():
                scores["volume"][f"{target} {name}"] = 100 * value
            for value, name in names.items():
                scores["hd95"][f"{target} {name} HD95"] = hd95(found == value, truth == value, subject.spacing)
        return scores

    def known(self, models: Models, subject: Subject, target: str) -> np.ndarray:
        """Voxels (K, J, I), bool, on the slices of a target that can be scored: their label is known, and so is that
        which a propagation carries over from the same place of the source. None can where there is no source, or
        nobody annotated one of the two: a source without annotations is none whose structures are nowhere."""
        known = _known(subject, target)
        if models.method.mode in PROPAGATIONS:
            source = self.source_of(subject, target)
            known = np.zeros_like(known) if source is None else known & _known(subject, source)
        return known

    def slice_scores(self, found: np.ndarray, truth: np.ndarray, target: str) -> dict[str, float]:
        """Columns of the paper's table; labels (K, J, I) of the slices that can be scored."""
        return {target: 100 * slice_dice(found, truth)}

    def targets(self, models: Models, subject: Subject) -> list[str]:
        """The sequences to score."""
        wanted = models.condition.targets or self.settings.common.get("system", {}).get("sequences", ())
        return [s for s in wanted if s in subject.images]

    def structures(self, truth: np.ndarray) -> dict[int, str]:
        """Value -> name of what the protocol's configuration lists, as far as the truth has it."""
        classes = self.class_names()
        return {v: self.chosen["short"].get(n, n) for v, n in enumerate(classes) if v and (truth == v).any()}

    def class_names(self) -> Sequence[str]:
        """The classes of the systems, background first."""
        from ..config import load_config

        return load_config({"system": self.settings.common.get("system", {})})["system"]["classes"]

    def predicted(self, models: Models, subject: Subject, target: str) -> np.ndarray:
        """Labels (K, J, I) on the slices of a target; none where there is nothing to carry them over from."""
        mode, source = models.method.mode, self.source_of(subject, target)
        if mode in PROPAGATIONS:
            if source is None:
                return np.zeros(subject.mask.shape, np.uint8)
            images = [subject.images[s].astype(np.float32) for s in (source, target)]
            labels = np.where(_known(subject, source), _labels(subject, source), 0)
            return propagate(PROPAGATIONS[mode], images[0], labels, images[1])
        if mode == "shuffled":
            subject, mode = shuffled(subject, target), "fused"
        return segmentation(models.system(source, target), subject, None, target, mode)

    def source_of(self, subject: Subject, target: str) -> str | None:
        """The sequence whose labels are carried over to a target; None where the subject has no other."""
        sequences = self.settings.common.get("system", {}).get("sequences", list(subject.images))
        wanted = self.chosen["source"]
        others = [s for s in sequences if s != target and s in subject.images]
        return wanted if wanted in others else next(iter(others), None)

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        """Per condition: the truth, where there is one, and every method's labels on the slice that shows most of it,
        of a subject with as many annotations as any."""
        pictures = []
        for condition in dict.fromkeys(c for _, c in models):
            chosen = {label: m for (label, c), m in models.items() if c == condition}
            first = next(iter(chosen.values()))
            subject = max(subjects, key=lambda s, m=first: (_annotated(s, self.targets(m, s)), _annotated(s, s.images)))
            rows, names = [], self.targets(first, subject)
            for target in names:
                known = _known(subject, target)
                truth = np.where(known, _labels(subject, target), 0)
                extent = (truth != 0).sum(axis=(1, 2))
                k = int(extent.argmax()) if extent.any() else len(truth) // 2
                image = subject.images[target][k].astype(np.float32)
                limits = tuple(np.percentile(image, (0.5, 99.5)))
                rows.append([image, labelled(image, truth[k], limits) if known.any() else None])
                for m in chosen.values():
                    rows[-1].append(labelled(image, self.predicted(m, subject, target)[k], limits))
            file = folder / f"labels{'-' + slug(condition) if condition else ''}.png"
            image_grid(file, rows, names, ["image", "truth", *chosen], condition)
            caption = f"Labels on one slice of {subject.name}" + (f", {condition}." if condition else ".")
            pictures.append(Picture(file.name, caption))
        return pictures


class FewLabels(UnregisteredSegmentation):
    """Table II: labels of some of the target's subjects."""

    paper = "E001-II"


class PairMatching(UnregisteredSegmentation):
    """Table III: partners chosen by an expert, by learned weights, or at random."""

    paper = "E001-III"

    def score(self, models: Models, subject: Subject) -> Scores:
        scores = super().score(models, subject)
        scores["copy"] = {}
        for target in self.targets(models, subject):
            seen = shuffled(subject, target) if models.method.mode == "shuffled" else subject
            source = self.source_of(seen, target)
            if source is None:
                continue
            known = _known(seen, source) & _known(subject, target)
            if known.any():
                pair = _telling(known, _labels(seen, source), _labels(subject, target))
                scores["copy"][target] = 100 * slice_dice(*pair)
        return scores

    def draw(
        self, models: Mapping[tuple[str, str], Models], subjects: Sequence[Subject], folder: Path
    ) -> list[Picture]:
        """Also the weights of the right partner over the training (Fig. 6)."""
        runs = {f"{label} {c}".strip(): path.parent for (label, c), m in models.items() for path in m.paths.values()}
        return super().draw(models, subjects, folder) + draw_pair_weights(runs, folder / "pair-weights.png")

    @property
    def tables(self) -> tuple[TableSpec, ...]:  # type: ignore[override]
        note = "In %: the paired slice's labels as they are."
        return (*super().tables, TableSpec("copy", "Copied labels of the partners", 1, ranked=False, note=note))


class Ablations(UnregisteredSegmentation):
    """Table IV, the transformer and the decoders: parts of the method left out."""

    paper = "E001-IV"


class FactorSizes(UnregisteredSegmentation):
    """Sizes of the factors (section VI): Dice by the channels of s and the length of z, and what z leaves unused."""

    paper = "E001-sizes"

    @property
    def tables(self) -> tuple[TableSpec, ...]:  # type: ignore[override]
        note = (
            "Mean of the posterior's variance of each dimension over the slices of all test subjects: near 1, the "
            "prior's, where a dimension tells nothing. The paper: 0.43 to 0.60 of 4, 0.47 to 0.80 of 8 dimensions; of "
            "16 the least 0.63, the first eight 0.86, the others 0.95 on average."
        )
        return (*super().tables, TableSpec("variance", "Variance of the dimensions of z", ranked=False, note=note))

    def analyse(self, models: Models, subjects: Sequence[Subject]) -> Scores:
        variance = style_variances(models.system(), subjects)
        columns = {"least": variance.min(), "mean": variance.mean(), "largest": variance.max()}
        return {"variance": {**columns, "below 0.9": float((variance < 0.9).sum()), "of": float(len(variance))}}


class FactorAnalyses(LatentAnalyses):
    """What DAFNet's z and s tell; its z has a standard normal prior, so traversals run from -3 to 3."""

    standard_prior = True


def _labels(subject: Subject, sequence: str) -> np.ndarray:
    """Labels (K, J, I) on the slices of a sequence."""
    return subject.sequence_labels.get(sequence, subject.labels)


def _known(subject: Subject, sequence: str) -> np.ndarray:
    """Voxels (K, J, I), bool, whose label on the slices of a sequence is known."""
    return subject.mask & (_labels(subject, sequence) != UNLABELLED)


def _telling(known: np.ndarray, *labels: np.ndarray) -> list[np.ndarray]:
    """Of labels (K, J, I), the slices where anything is known, unknown voxels as background: a slice that tells nothing
    would count as one that is empty in both."""
    slices = known.any(axis=(1, 2))
    return [np.where(known, found, 0)[slices] for found in labels]


def _annotated(subject: Subject, sequences: Iterable[str]) -> int:
    """How many of the sequences somebody annotated."""
    return sum(bool(_known(subject, s).any()) for s in sequences)


def shuffled(subject: Subject, target: str, offset: int = 2) -> Subject:
    """The subject with its other sequences' slices moved by up to ``offset`` against those of the target."""
    count = len(subject.mask)
    random = np.random.default_rng(zlib.crc32(subject.name.encode()))
    rows = np.clip(np.arange(count) + random.integers(-offset, offset, count), 0, count - 1)
    images = {s: x if s == target else x[rows] for s, x in subject.images.items()}
    labels = {s: x if s == target else x[rows] for s, x in subject.sequence_labels.items()}
    return replace(subject, images=images, sequence_labels=labels)
