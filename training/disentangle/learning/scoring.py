"""The figures of one subject on whole volumes: reconstructions, imputation, segmentation (method-spec.md, 1f)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch

from ..datasets.labels import HEALTHY, UNLABELLED
from ..datasets.volumes import Subject
from ..inference.labels import most_probable
from ..inference.rules import Rules
from ..inference.sensitivity import Sensitivity
from ..metrics.image import image_quality, match_histogram
from ..metrics.overlap import dice, hd95
from ..systems.base import Capabilities, System
from ..systems.factors import Factors
from .factors import chunks, unpadded
from .summaries import Quality, mean_quality

ODDS = [Fraction(2) ** power for power in range(-4, 7)]
"""Of lesions, times what a system says: which would have been best for a subject tells how well its threshold fits."""


def evaluate_subject(
    system: System, subject: Subject, subsets: str = "leave-one-out", rules: Rules | None = None
) -> dict[str, Any]:
    """Every figure of one subject; image quality by protocol A.

    Args:
        system: in evaluation mode.
        subject: prepared as for training.
        subsets: "leave-one-out" segments with all sequences and with each one missing, "all" with every subset; then
            also every target is made of every subset without it.
        rules: those of a bundle on its findings and images, followed before they are scored.

    Returns:
        ``name``, ``person`` (who may have several studies), ``sequences``.
        ``cross`` and ``imputation``: target -> {"psnr", "ssim", "mae"}. Cross-reconstruction takes the modality
        factor of the target slice itself and is averaged over the anatomy sources; it measures disentanglement.
        Imputation sees the target neither in the anatomy nor in the style (default style): that is what synthesis
        does. ``self``: reconstruction from own factors. ``nearest``: the best single input after histogram matching
        to the target (a baseline that even sees the target's histogram), ``nearest_source``: which input that was,
        ``copy``: the best single input as it is.
        ``from``: with "all", target -> subset ("T1+FLAIR") -> the same figures. ``dice``: subset -> class -> Dice over
        the voxels whose label is known, of the classes that the labels show. ``hd95``: the same in mm; NaN where the
        class was missed completely.
        ``sensitivity``: with rules, odds ("1/4") -> class or union -> Dice of the lesions from all sequences, their
        odds taken for so many times what the system says (:mod:`..inference.sensitivity`).
        Where the sequences of a subject are not registered, every image is decoded on the slices that it is compared
        with, and a subset is segmented on the slices of each of its annotated sequences ("cine+LGE on LGE").
    """
    volumes = _Volumes(system, subject, subsets, rules)
    volumes.make()
    images = {s: subject.images[s].astype(np.float32) for s in dict.fromkeys((*volumes.present, *volumes.made))}
    result: dict[str, Any] = {"name": subject.name, "person": subject.group, "sequences": volumes.present}
    result |= _reconstructed(volumes, images) | _imputed(volumes, images) | _copied(volumes, images)
    return result | _segmented(volumes)


class _Volumes:
    """What a system makes of one subject: every image and every segmentation that is scored.

    Attributes:
        present, made: sequences that are there, and those that are made from others.
        smaller: with all subsets, sources -> the targets that they lack.
        drawn: (anatomy, target), own style of the target; -> image (K, J, I).
        imputed: (sources, target), default style -> image (K, J, I).
        labels: (subset, the sequence on whose slices or None) -> labels (1, K, J, I) or, with rules, probabilities.
    """

    def __init__(self, system: System, subject: Subject, subsets: str, rules: Rules | None) -> None:
        self.system, self.subject, self.rules = system, subject, rules
        abilities = system.capabilities
        self.present = [s for s in abilities.sequences if s in subject.images]
        self.made = [s for s in abilities.targets if s in subject.images and set(self.present) - {s}]
        self.smaller = _smaller(self.present, self.made) if subsets == "all" else {}
        self.drawn: dict[tuple[str, str], np.ndarray] = {}
        self.imputed: dict[tuple[tuple[str, ...], str], np.ndarray] = {}
        used = _subsets(self.present, subsets) if abilities.segments else []
        used = _on_references(system, subject, used) if subject.sequence_labels else [(subset, None) for subset in used]
        self.labels = {key: _nothing(system, subject.mask.shape, rules) for key in used}

    def others(self, target: str) -> tuple[str, ...]:
        """The sequences that are there, without one."""
        return tuple(s for s in self.present if s != target)

    @torch.no_grad()
    def make(self) -> None:
        """Make all of them, a few slices at a time."""
        for part, _, _, factors in chunks(self.system, self.subject, self.present):
            self._draw(part, factors)
            self._impute(part, factors)
            self._segment(part, factors)

    def _draw(self, part: slice, factors: Factors) -> None:
        """Every anatomy in every appearance that is there."""
        for target in (s for s in self.present if s in self.system.capabilities.targets):
            there = self.system.align(factors, target)
            for anatomy in self.present:
                image = self.system.decode(there.anatomy[anatomy], factors.modality[target])
                self._put(self.drawn, (anatomy, target), part, image)

    def _impute(self, part: slice, factors: Factors) -> None:
        """Every target from all others, and from every subset that lacks it."""
        wanted: dict[tuple[str, ...], list[str]] = {}
        for target in self.made:
            wanted.setdefault(self.others(target), []).append(target)
        for sources, targets in {**wanted, **self.smaller}.items():
            some = self.system.align(factors.subset(sources), sources[0])
            images = self.system.decode_styles(self.system.synthesis_anatomy(some), targets)
            for target, image in zip(targets, images, strict=True):
                self._put(self.imputed, (sources, target), part, image)

    def _segment(self, part: slice, factors: Factors) -> None:
        """Every subset, on the slices of a sequence of its."""
        for (subset, reference), volume in self.labels.items():
            chosen = self.system.align(factors.subset(subset), reference or subset[0])
            found = self.system.segment(self.system.fuse(chosen))
            found = found.argmax(1, keepdim=True) if self.rules is None else found.softmax(1)
            found = unpadded(found.cpu().numpy(), self.subject.mask.shape[1:])
            volume[:, part] = found.swapaxes(0, 1)

    def _put(self, volumes: dict[Any, np.ndarray], key: Any, part: slice, image: torch.Tensor) -> None:
        """The centre slices (B, S, H, W) of a few slices into their volume."""
        volume = volumes.setdefault(key, np.zeros(self.subject.mask.shape, np.float32))
        centre = image[:, image.shape[1] // 2].float().cpu().numpy()
        volume[part] = unpadded(centre, self.subject.mask.shape[1:])


def _reconstructed(volumes: _Volumes, images: dict[str, np.ndarray]) -> dict[str, dict[str, Quality]]:
    """Self- and cross-reconstruction by target."""
    own, cross, mask = {}, {}, volumes.subject.mask
    for target, truth in images.items():
        if (target, target) in volumes.drawn:
            own[target] = _score(volumes.drawn[target, target], truth, mask)
            others = [_score(volumes.drawn[i, target], truth, mask) for i in volumes.others(target)]
            if others:
                cross[target] = mean_quality(others)
    return {"self": own, "cross": cross}


def _imputed(volumes: _Volumes, images: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Synthesis by target, from all others and from each subset."""
    rest, subsets, mask = {}, {}, volumes.subject.mask
    for target in volumes.made:
        rest[target] = _score(_detailed(volumes, images, volumes.others(target), target), images[target], mask)
    for sources, targets in volumes.smaller.items():
        for target in targets:
            figures = _score(_detailed(volumes, images, sources, target), images[target], mask)
            subsets.setdefault(target, {})["+".join(sources)] = figures
    return {"imputation": rest, "from": subsets}


def _detailed(volumes: _Volumes, images: dict[str, np.ndarray], sources: tuple[str, ...], target: str) -> np.ndarray:
    """What was made of some sequences (K, J, I), with the detail that the rules give it."""
    made, subject = volumes.imputed[sources, target], volumes.subject
    if volumes.rules is None or volumes.rules.detail is None:
        return made
    guides = {name: images[name] for name in sources}
    found = volumes.labels.get((sources, None))
    tissues = None if found is None else found[list(volumes.system.capabilities.tissues)].astype(np.float32)
    return volumes.rules.detail.refined(made, guides, subject.mask, tuple(subject.spacing), target, tissues)


def _copied(volumes: _Volumes, images: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The best single input by target, as it is and after histogram matching."""
    copy, nearest, source, mask = {}, {}, {}, volumes.subject.mask
    for target in volumes.made:
        truth, others = images[target], volumes.others(target)
        copy[target] = max((_score(images[s], truth, mask) for s in others), key=lambda score: score["psnr"])
        matched = {s: _score(match_histogram(images[s], truth, mask), truth, mask) for s in others}
        source[target] = max(matched, key=lambda s: matched[s]["psnr"])
        nearest[target] = matched[source[target]]
    return {"nearest": nearest, "nearest_source": source, "copy": copy}


def _segmented(volumes: _Volumes) -> dict[str, dict[str, dict[str, float]]]:
    """Dice and Hausdorff distance by subset and class; each segmentation is forgotten when it has been scored."""
    overlap, distance, by_odds = {}, {}, {}
    subject, abilities = volumes.subject, volumes.system.capabilities
    for subset, reference in list(volumes.labels):
        found = volumes.labels.pop((subset, reference))
        labels = found[0] if volumes.rules is None else _decided(found, volumes.rules, subject)
        truth = subject.labels if reference is None else subject.sequence_labels[reference]
        name = "+".join(subset) + ("" if reference is None else f" on {reference}")
        known = replace(subject, labels=truth)
        overlap[name] = class_dice(labels, known, abilities)
        distance[name] = class_scores(partial(hd95, spacing=subject.spacing), labels, known, abilities)
        if volumes.rules is not None and list(subset) == volumes.present and reference is None and abilities.findings:
            by_odds = _by_sensitivity(found, volumes.rules, subject, abilities)
    return {"dice": overlap, "hd95": distance, "sensitivity": by_odds}


def _decided(probabilities: np.ndarray, rules: Rules, subject: Subject) -> np.ndarray:
    """Labels (K, J, I) by the rules; the probabilities stay as they are."""
    found = probabilities.astype(np.float32)
    rules.follow(found, subject.mask, subject.spacing)
    return most_probable(found)


def _by_sensitivity(
    probabilities: np.ndarray, rules: Rules, subject: Subject, abilities: Capabilities
) -> dict[str, dict[str, float]]:
    """Odds of the lesions -> Dice of them and of their unions."""
    healthy, found = [abilities.classes[value] for value in abilities.tissues], {}
    for odds in ODDS:
        sensitivity = Sensitivity.of(abilities, float(odds))
        labels = _decided(probabilities, replace(rules, sensitivity=sensitivity), subject)
        scores = class_dice(labels, subject, abilities)
        found[str(odds)] = {name: value for name, value in scores.items() if name not in healthy}
    return found


def class_dice(predicted: np.ndarray, subject: Subject, capabilities: Capabilities) -> dict[str, float]:
    """:func:`class_scores` of Dice."""
    return class_scores(dice, predicted, subject, capabilities)


def class_scores(
    score: Callable[[np.ndarray, np.ndarray], float],
    predicted: np.ndarray,
    subject: Subject,
    capabilities: Capabilities,
) -> dict[str, float]:
    """A score of two masks (Dice, say) of every class but the background that the subject's labels tell about.

    Only voxels with a known label count. A class that the labels never show has no score (it is absent): its false
    positives lower the score of the class they hide. So a distance that is NaN says that the class was missed
    completely.
    Unions of the tumour classes are added as "whole tumour" (edema, core, enhancing) where the study shows any, and
    that of all lesion classes as "any lesion" where the rest is known to be healthy.
    """
    classes, lesion = capabilities.classes, capabilities.lesions
    known = subject.mask & (subject.labels != UNLABELLED)
    scores = {}
    for value, name in enumerate(classes):
        truth = known & (subject.labels == value)
        if value and truth.any():
            scores[name] = score(known & (predicted == value), truth)
    tumour = [v for v, n in enumerate(classes) if "edema" in n or "core" in n or "tumour" in n]
    truth = known & np.isin(subject.labels, tumour)
    if tumour and truth.any():
        scores["whole tumour"] = score(known & np.isin(predicted, tumour), truth)
    truth = known & np.isin(subject.labels, lesion)
    if (subject.labels == HEALTHY).any() and truth.any():
        scores["any lesion"] = score(known & np.isin(predicted, lesion), truth)
    return scores


def _nothing(system: System, shape: tuple[int, ...], rules: Rules | None) -> np.ndarray:
    """Room for labels (1, K, J, I), all background; with rules, for class probabilities (L, K, J, I), which are kept in
    half precision since there may be those of 15 subsets."""
    if rules is None:
        return np.zeros((1, *shape), np.uint8)
    volume = np.zeros((len(system.capabilities.classes), *shape), np.float16)
    volume[0] = 1.0
    return volume


def _subsets(sequences: Sequence[str], which: str) -> list[tuple[str, ...]]:
    sizes = range(len(sequences), 0, -1) if which == "all" else range(len(sequences), max(len(sequences) - 2, 0), -1)
    return [subset for size in sizes for subset in combinations(sequences, size)]


def _smaller(present: Sequence[str], made: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Every subset of the sequences -> the targets that it lacks."""
    found = {subset: [t for t in made if t not in subset] for subset in _subsets(present, "all")}
    return {subset: targets for subset, targets in found.items() if targets}


def _on_references(
    system: System, subject: Subject, subsets: Sequence[tuple[str, ...]]
) -> list[tuple[tuple[str, ...], str]]:
    """Each subset with each of its sequences whose own slices are annotated; a system that cannot align sequences
    segments them one by one."""
    known = [s for s, labels in subject.sequence_labels.items() if (labels != UNLABELLED).any()]
    pairs = [(subset, reference) for subset in subsets for reference in subset if reference in known]
    return [(subset, s) for subset, s in pairs if system.capabilities.aligns or len(subset) == 1]


def _score(prediction: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> Quality:
    quality = image_quality(prediction, truth, mask).to_dict()
    quality.pop("data_range")
    return quality
