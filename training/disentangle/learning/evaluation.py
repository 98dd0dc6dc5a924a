"""Quality of a trained system on whole volumes: reconstructions, imputation, segmentation (method-spec.md, 1f)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..bundles import find_bundle
from ..datasets.labels import HEALTHY, UNLABELLED
from ..datasets.volumes import Subject
from ..errors import InputError
from ..inference.rules import Rules
from ..metrics.image import image_quality, match_histogram
from ..metrics.overlap import dice, hd95
from ..progress import Progress
from ..study import write_atomically
from ..systems.base import Capabilities, System
from .callbacks import FINAL
from .checkpoints import load_checkpoint, system_from_checkpoint
from .config import load_config
from .data import lesion_values, load_data, studies_of
from .factors import chunks, unpadded
from .train import train

Quality = dict[str, float]


def evaluate_subject(
    system: System, subject: Subject, subsets: str = "leave-one-out", rules: Rules | None = None
) -> dict[str, Any]:
    """Every figure of one subject; image quality by protocol A.

    Args:
        system: in evaluation mode.
        subject: prepared as for training.
        subsets: "leave-one-out" segments with all sequences and with each one missing, "all" with every subset; then
            also every target is made of every subset without it.
        rules: those of a bundle on its findings, followed before segmentations are scored.

    Returns:
        ``cross`` and ``imputation``: target -> {"psnr", "ssim", "mae"}. Cross-reconstruction takes the modality
        factor of the target slice itself and is averaged over the anatomy sources; it measures disentanglement.
        Imputation sees the target neither in the anatomy nor in the style (default style): that is what synthesis
        does. ``self``: reconstruction from own factors. ``nearest``: the best single input after histogram matching
        to the target (a baseline that even sees the target's histogram), ``nearest_source``: which input that was,
        ``copy``: the best single input as it is.
        ``from``: with "all", target -> subset ("T1+FLAIR") -> the same figures. ``dice``: subset -> class -> Dice over
        the voxels whose label is known; NaN where neither has it. ``hd95``: the same in mm.
        Where the sequences of a subject are not registered, every image is decoded on the slices that it is compared
        with, and a subset is segmented on the slices of each of its annotated sequences ("cine+LGE on LGE").
    """
    present = [s for s in system.capabilities.sequences if s in subject.images]
    made = [s for s in system.capabilities.targets if s in subject.images and set(present) - {s}]
    used = _subsets(present, subsets) if system.capabilities.segments else []
    used = _on_references(system, subject, used) if subject.sequence_labels else [(subset, None) for subset in used]
    smaller = _smaller(present, made) if subsets == "all" else {}
    volumes: dict[tuple[str, ...], np.ndarray] = {}
    segmented = {key: _nothing(system, subject.mask.shape, rules) for key in used}

    def put(key: tuple[str, ...], part: slice, image: torch.Tensor) -> None:
        volume = volumes.setdefault(key, np.zeros(subject.mask.shape, np.float32))
        centre = image[:, image.shape[1] // 2].float().cpu().numpy()
        volume[part] = unpadded(centre, subject.mask.shape[1:])

    for part, _, _, factors in chunks(system, subject, present):
        with torch.no_grad():
            for j in (s for s in present if s in system.capabilities.targets):
                there = system.align(factors, j)
                for i in present:
                    put(("rec", i, j), part, system.decode(there.anatomy[i], factors.modality[j]))
            for j in made:
                others = [s for s in present if s != j]
                rest = system.align(factors.subset(others), others[0])
                put(("imputation", j), part, system.decode(system.synthesis_anatomy(rest), j))
            for sources, targets in smaller.items():
                some = system.align(factors.subset(sources), sources[0])
                images = system.decode_styles(system.synthesis_anatomy(some), targets)
                for j, image in zip(targets, images, strict=True):
                    put(("from", "+".join(sources), j), part, image)
            for subset, reference in used:
                chosen = system.align(factors.subset(subset), reference or subset[0])
                found = system.segment(system.fuse(chosen))
                found = found.argmax(1, keepdim=True) if rules is None else found.softmax(1)
                found = unpadded(found.cpu().numpy(), subject.mask.shape[1:])
                segmented[subset, reference][:, part] = found.swapaxes(0, 1)

    images = {s: subject.images[s].astype(np.float32) for s in dict.fromkeys((*present, *made))}
    result: dict[str, Any] = {"name": subject.name, "sequences": present, "self": {}, "cross": {}}
    result |= {"imputation": {}, "nearest": {}, "nearest_source": {}, "copy": {}, "from": {}, "dice": {}, "hd95": {}}
    for target, truth in images.items():
        others = [s for s in present if s != target]
        if ("rec", target, target) in volumes:
            result["self"][target] = _score(volumes["rec", target, target], truth, subject.mask)
            if others:
                shown = [_score(volumes["rec", i, target], truth, subject.mask) for i in others]
                result["cross"][target] = _mean(shown)
        if target not in made:
            continue
        result["imputation"][target] = _score(volumes["imputation", target], truth, subject.mask)
        for names in ("+".join(sources) for sources, targets in smaller.items() if target in targets):
            found = _score(volumes["from", names, target], truth, subject.mask)
            result["from"].setdefault(target, {})[names] = found
        copied = [_score(images[s], truth, subject.mask) for s in others]
        result["copy"][target] = max(copied, key=lambda score: score["psnr"])
        matched = {s: _score(match_histogram(images[s], truth, subject.mask), truth, subject.mask) for s in others}
        best = max(matched, key=lambda s: matched[s]["psnr"])
        result["nearest"][target], result["nearest_source"][target] = matched[best], best
    for subset, reference in used:
        found = segmented.pop((subset, reference))
        if rules is not None:
            found = found.astype(np.float32)
            rules.follow(found, subject.mask, subject.spacing)
        found = found[0] if rules is None else found.argmax(axis=0).astype(np.uint8)
        truth = subject.labels if reference is None else subject.sequence_labels[reference]
        name = "+".join(subset) + ("" if reference is None else f" on {reference}")
        known = replace(subject, labels=truth)
        result["dice"][name] = class_dice(found, known, system.capabilities)
        result["hd95"][name] = class_scores(partial(hd95, spacing=subject.spacing), found, known, system.capabilities)
    return result


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

    Only voxels with a known label count. A class that the labels never show is scored only where its absence is
    known and it was found nevertheless: it is NaN here, and false positives lower the score of the class they hide.
    Unions of the tumour classes are added as "whole tumour" (edema, core, enhancing) where the study shows any, and
    that of all lesion classes as "any lesion" where the rest is known to be healthy.
    """
    classes, lesion = capabilities.classes, lesion_values(capabilities)
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


def evaluate_subjects(
    system: System,
    subjects: Iterable[Subject],
    subsets: str = "leave-one-out",
    progress: Progress | None = None,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """:func:`evaluate_subject` of each, and the means over them (NaN left out)."""
    subjects, progress = list(subjects), progress or Progress()
    system.eval()
    results = []
    for index, subject in enumerate(subjects):
        progress("evaluate", index / len(subjects), subject.name)
        results.append(evaluate_subject(system, subject, subsets, rules))
    progress("evaluate", 1.0)
    return {"subjects": results, "mean": summary(results)}


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over subjects: image quality by target; Dice by class with all sequences that a subject has ("all"),
    and with each one missing ("-T1", over the subjects that have it); "all on LGE" is that on the slices of LGE."""
    mean: dict[str, Any] = {}
    for kind in ("self", "cross", "imputation", "nearest", "copy"):
        found = [r.get(kind, {}) for r in results]
        mean[kind] = {t: _mean([f[t] for f in found if t in f]) for t in dict.fromkeys(t for f in found for t in f)}
    for kind in ("dice", "hd95"):
        mean[kind] = _by_missing(results, kind)
    made: dict[str, dict[str, list[Quality]]] = {}
    for target, subset, scores in (
        (t, k, v) for r in results for t, c in r.get("from", {}).items() for k, v in c.items()
    ):
        made.setdefault(target, {}).setdefault(subset, []).append(scores)
    if made:
        mean["from"] = {t: {k: _mean(v) for k, v in c.items()} for t, c in made.items()}
    return mean


def _by_missing(results: Sequence[Mapping[str, Any]], kind: str) -> dict[str, dict[str, float]]:
    """Means of the scores of a kind by the sequences missing ("all", "-T1") and class; NaN left out."""
    collected: dict[str, dict[str, list[float]]] = {}
    for r in results:
        for subset, scores in r.get(kind, {}).items():
            names, on, reference = subset.partition(" on ")
            missing = [s for s in r["sequences"] if s not in names.split("+")]
            key = ("-" + "-".join(missing) if missing else "all") + on + reference
            for name, value in scores.items():
                if not math.isnan(value):
                    collected.setdefault(key, {}).setdefault(name, []).append(value)
    return {k: {n: float(np.mean(v)) for n, v in c.items()} for k, c in collected.items()}


def table(mean: Mapping[str, Any]) -> str:
    """The means of :func:`summary` as text."""
    kinds = {"self": "self", "cross": "cross", "imputation": "imputed", "nearest": "nearest input"}
    lines = ["PSNR dB / SSIM   " + "".join(f"{title:>18}" for title in kinds.values())]
    for target in dict.fromkeys((*mean["self"], *mean["imputation"])):
        cells = [mean[kind].get(target) for kind in kinds]
        texts = [f"{c['psnr']:.2f} / {c['ssim']:.3f}" if c else "-" for c in cells]
        lines.append(f"{target:<17}" + "".join(f"{text:>18}" for text in texts))
    if mean["dice"]:
        columns = sorted(mean["dice"], key=lambda k: (not k.startswith("all"), k.count("-"), k))[:12]
        classes = dict.fromkeys(name for scores in mean["dice"].values() for name in scores)
        width = max(9, 2 + max(len(c) for c in columns))
        lines += ["", "Dice" + " " * 28 + "".join(f"{c:>{width}}" for c in columns)]
        for name in classes:
            values = [mean["dice"][c].get(name, math.nan) for c in columns]
            texts = ["-" if math.isnan(v) else f"{v:.3f}" for v in values]
            lines.append(f"{name:<32}" + "".join(f"{text:>{width}}" for text in texts))
    return "\n".join(lines)


def evaluate(
    source: str | Path,
    overrides: Iterable[str] = (),
    output: str | Path | None = None,
    subsets: str = "leave-one-out",
    progress: Progress | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a checkpoint or a bundle on the subjects of a configuration, print the table, write JSON.

    Args:
        source: a checkpoint (.ckpt), a bundle (name or folder), or a configuration (.yaml), which is first trained
            once per person of ``data.studies`` without that person (leave-one-study-out).
        overrides: "key=value" changes of the configuration. A checkpoint is scored on the studies that its training
            excluded (on those of ``data.studies`` where it excluded none), on its validation phantoms, and on the test
            part of its data sets; a bundle on every study of ``data.studies.folder``, or those of
            ``data.studies.include``, or the test part of ``data.dataset``.
        output: path of the JSON; None writes none.

    Returns:
        ``{"source", "subjects": [...], "mean": {...}}``.

    Raises:
        InputError: no such source, or nothing to score.
    """
    source, overrides = Path(source), list(overrides)
    if source.suffix.lower() in (".yaml", ".yml"):
        report = leave_one_study_out(source, overrides, subsets, progress)
    else:
        system, config = _system_and_config(source)
        config = load_config(config, overrides)
        data = load_data(config | {"data": _scored_only(config["data"])}, progress, parts=("test",))
        subjects = [s for s in data.training if s.source != "phantom"] + data.validation + data.test
        if not subjects:
            raise InputError("There is nothing to score; set data.dataset, data.studies or data.phantoms.validation.")
        rules = None if source.suffix == ".ckpt" else Rules.of_card(find_bundle(source).card)
        report = evaluate_subjects(system, subjects, subsets, progress, rules)
    report = {"source": str(source), "overrides": overrides, **report}
    if output is not None:
        with write_atomically(output) as temporary:
            temporary.write_text(json.dumps(_json(report), indent=2) + "\n", encoding="utf-8")
    if not quiet:
        print(table(report["mean"]))
    return report


def leave_one_study_out(
    config: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    subsets: str = "leave-one-out",
    progress: Progress | None = None,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """Train without each person in turn and score that person's studies, by the rules of a bundle where given.

    The runs are named ``<name>-without-<study>``; one whose ``final.ckpt`` exists is not trained again. With
    ``training.init_from`` a checkpoint that saw phantoms only, each run is a short fine-tuning.
    """
    config = load_config(config, overrides)
    studies = config["data"]["studies"]
    persons: dict[str, list[Subject]] = {}
    for subject in studies_of(config, progress):
        persons.setdefault(subject.group, []).append(subject)
    results = []
    for person, subjects in persons.items():
        name = f"{config['name']}-without-{person}"
        path = Path(config["output"]) / name / FINAL
        if not path.exists():
            excluded = [*studies["exclude"], *(s.name for s in subjects)]
            changed = {**config["data"], "studies": {**studies, "exclude": excluded}}
            path = train(config | {"name": name, "data": changed}, progress=progress)
        system = system_from_checkpoint(load_checkpoint(path))
        results += evaluate_subjects(system, subjects, subsets, progress, rules)["subjects"]
    return {"subjects": results, "mean": summary(results)}


def _system_and_config(source: Path) -> tuple[System, dict[str, Any]]:
    if source.suffix == ".ckpt":
        content = load_checkpoint(source)
        return system_from_checkpoint(content), content["config"]
    bundle = find_bundle(source)
    system = bundle.system()
    about = {"name": system.name, **system.config}
    return system, {"system": about, "preprocessing": bundle.preprocessing, "data": {"phantoms": None}}


def _scored_only(data: Mapping[str, Any]) -> dict[str, Any]:
    """The phantoms and studies that training left out; all studies where none was excluded."""
    phantoms, studies = data["phantoms"], data["studies"]
    if phantoms:
        first = phantoms["first_seed"] + phantoms["subjects"]
        phantoms = {**phantoms, "first_seed": first, "subjects": 0}
    if studies and studies["exclude"]:
        studies = {**studies, "include": studies["exclude"], "exclude": []}
    return {**data, "phantoms": phantoms, "studies": studies}


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


def _mean(scores: Sequence[Quality]) -> Quality:
    return {name: float(np.mean([s[name] for s in scores])) for name in scores[0]}


def _json(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {k: _json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
