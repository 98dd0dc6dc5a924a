"""How well the factors of a trained system are separated, over whole subjects (method-spec 1f and 2f)."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...datasets.volumes import Subject
from ...errors import InputError
from ...metrics.disentanglement import (
    distance_correlation,
    linear_probe,
    probe_per_dimension,
    silhouette,
    traversal_maps,
    tsne,
)
from ...systems.base import Factors, System
from ..factors import chunks, unpadded
from .figures import curves, image_grid, scatter
from .predictions import usable
from .protocol import Picture

POOL = (10, 12)
"""Cells that f(s) pools the anatomy of a slice into: as many as 16 x 16 pooling leaves of 160 x 192 pixels."""
STRIPE = 6
"""Rows from one stripe of :func:`draw_artefact` to the next."""
MAP = 32
"""The distance correlation sees anatomies averaged to at most MAP x MAP cells."""


@dataclass(frozen=True)
class FactorSamples:
    """Factors of single slices, a row per slice and sequence.

    Attributes:
        z: (n, Z) modality factors.
        f: (n, D) pooled anatomies f(s).
        s: (n, D') flattened anatomies.
        sequence, subject: (n,) names.
        height: (n,) slice of its subject.
    """

    z: np.ndarray
    f: np.ndarray
    s: np.ndarray
    sequence: np.ndarray
    subject: np.ndarray
    height: np.ndarray


def factor_samples(system: System, subjects: Sequence[Subject], count: int = 200) -> FactorSamples:
    """Factors of about ``count`` slices and sequences, evenly over subjects and heights.

    Slices that show less than a quarter of the largest one are left out.
    """
    columns: dict[str, list] = {name: [] for name in ("z", "f", "s", "sequence", "subject", "height")}
    for subject in subjects:
        present = usable(system, subject)
        areas = subject.mask.sum(axis=(1, 2))
        wide = np.flatnonzero(areas >= 0.25 * areas.max())
        per_subject = max(count // (len(subjects) * max(len(present), 1)), 2)
        chosen = set(wide[np.linspace(0, len(wide) - 1, min(per_subject, len(wide))).round().astype(int)].tolist())
        for part, _, _, factors in chunks(system, subject, present):
            heights = range(len(subject.mask))[part]
            rows = [n for n, k in enumerate(heights) if k in chosen]
            for sequence in present if rows else ():
                anatomy = torch.from_numpy(_cut(factors.anatomy[sequence][rows], subject))
                cells = [min(n, size) for n, size in zip(POOL, anatomy.shape[-2:], strict=True)]
                small = [min(MAP, size) for size in anatomy.shape[-2:]]
                columns["z"] += list(factors.modality[sequence][rows].float().cpu().numpy())
                columns["f"] += list(functional.adaptive_max_pool2d(anatomy, cells).flatten(1).numpy())
                columns["s"] += list(functional.adaptive_avg_pool2d(anatomy, small).flatten(1).numpy())
                columns["sequence"] += [sequence] * len(rows)
                columns["subject"] += [subject.name] * len(rows)
                columns["height"] += [heights[n] for n in rows]
    return FactorSamples(**{name: np.array(values) for name, values in columns.items()})


def separation(samples: FactorSamples, permutations: int = 200) -> dict[str, float]:
    """Probes, silhouettes and distance correlation of factors, by name.

    The sequence should be read from z (probe near 1) and not from f(s) (near 1/number of sequences); the subject from
    f(s). Probes for the sequence are cross-validated over subjects, that for the subject over slices.
    """
    sequences, groups = samples.sequence, samples.subject
    several = len(np.unique(groups)) > 1
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        # A probe that has not quite converged still tells whether the labels can be read.
        warnings.filterwarnings("ignore", message=".*lbfgs failed to converge.*")
        if len(np.unique(sequences)) > 1:
            over = groups if several else None
            found["sequence from z"] = linear_probe(samples.z, sequences, over)
            found["sequence from f(s)"] = linear_probe(samples.f, sequences, over)
            per_dimension = sorted(probe_per_dimension(samples.z, sequences, over), reverse=True)
            found["sequence from best dimension of z"] = per_dimension[0]
            found["sequence from median dimension of z"] = float(np.median(per_dimension))
            found["silhouette of z by sequence"] = silhouette(samples.z, sequences)
            found["silhouette of f(s) by sequence"] = silhouette(samples.f, sequences)
        if several:
            found["subject from f(s)"] = linear_probe(samples.f, groups)
            found["silhouette of f(s) by subject"] = silhouette(samples.f, groups)
    correlation = distance_correlation(samples.s, samples.z, permutations)
    found |= {
        "dCor(s, z) plain": correlation.plain,
        "dCor(s, z) corrected": correlation.corrected_root,
        "dCor² null mean": correlation.null_mean,
        "dCor² null 95 %": correlation.null_95,
        "dCor² corrected": correlation.corrected,
        "n": correlation.n,
    }
    return found


def draw_tsne(
    samples: FactorSamples, folder: Path, stem: str, title: str, subjects: int = 4, slices: int = 4
) -> list[Picture]:
    """t-SNE of z coloured by sequence, and of f(s) of a few subjects and slices, with the subject as marker."""
    few = np.zeros(len(samples.z), bool)
    for name in list(dict.fromkeys(samples.subject))[:subjects]:
        of_subject = samples.subject == name
        heights = np.unique(samples.height[of_subject])
        middle = max((len(heights) - slices) // 2, 0)
        few |= of_subject & np.isin(samples.height, heights[middle : middle + slices])
    files = f"{stem}-tsne-z.png", f"{stem}-tsne-s.png"
    scatter(folder / files[0], {f"z, n = {len(samples.z)}": tsne(samples.z)}, samples.sequence, title=title)
    pictures = [Picture(files[0], f"{title}: t-SNE of z, coloured by sequence.")]
    if few.sum() >= 4:
        panels = {f"f(s), n = {int(few.sum())}": tsne(samples.f[few])}
        scatter(folder / files[1], panels, samples.sequence[few], samples.subject[few], title)
        pictures.append(Picture(files[1], f"{title}: t-SNE of f(s); colour is the sequence, marker the subject."))
    return pictures


def draw_factors(system: System, subject: Subject, path: Path, title: str) -> Picture:
    """A row per sequence: the image, then the first channels of its anatomy (the papers' factor strips)."""
    k, factors = middle_slice(system, subject)
    rows = []
    for sequence, anatomy in factors.anatomy.items():
        channels = [_stretched(c) if c.min() < 0 or c.max() > 1 else c for c in _cut(anatomy, subject)[0][:12]]
        rows.append([_stretched(_real(subject, sequence, k)), *channels])
    columns = ["image", *[f"s {n + 1}" for n in range(len(rows[0]) - 1)]]
    image_grid(path, rows, list(factors.anatomy), columns, title, (0.0, 1.0), cell=1.2)
    return Picture(path.name, f"{title}: channels of the anatomy of each sequence, one slice.")


def draw_matrix(system: System, subject: Subject, path: Path, title: str) -> Picture:
    """D(s_i, z_j): row j the style, column i the anatomy, the real images in front."""
    k, factors = middle_slice(system, subject)
    names, rows = list(factors.anatomy), []
    for j in names:
        with torch.no_grad():
            shown = [_cut(system.decode(factors.anatomy[i], factors.modality[j]), subject) for i in names]
        rows.append([_real(subject, j, k), *[image[0, image.shape[1] // 2] for image in shown]])
    columns = ["real", *[f"anatomy of {i}" for i in names]]
    image_grid(path, rows, [f"style of {j}" for j in names], columns, title)
    return Picture(path.name, f"{title}: every anatomy in every style; the diagonal is self-reconstruction.")


def draw_traversal(
    system: System,
    subject: Subject,
    sequence: str,
    path: Path,
    title: str,
    samples: FactorSamples | None = None,
    steps: int = 7,
) -> Picture:
    """Each dimension of z in turn, the others as they are; then the correlation of every pixel with the dimension,
    and the difference of both ends (method-spec 2f).

    Args:
        sequence: whose anatomy and z.
        samples: the dimension runs from its mean - 3 to its mean + 3 standard deviations over these; None = from -3
            to 3, which is the same for a z with a standard normal prior.
        steps: images per dimension.
    """
    _, factors = middle_slice(system, subject)
    anatomy, z = factors.anatomy[sequence], factors.modality[sequence]
    steps_of_z = np.linspace(-3.0, 3.0, steps)
    rows = []
    for dimension in range(z.shape[1]):
        values = steps_of_z
        if samples is not None:
            own = samples.z[samples.sequence == sequence, dimension]
            values = own.mean() + steps_of_z * max(float(own.std()), 1e-6)
        shown = []
        for value in values:
            changed = z.clone()
            changed[:, dimension] = float(value)
            with torch.no_grad():
                image = _cut(system.decode(anatomy, changed), subject)
            shown.append(image[0, image.shape[1] // 2])
        maps = traversal_maps(np.stack(shown), values)
        rows.append([*shown, maps.correlation, maps.difference])
    columns = [f"{v:+.0f}" + ("" if samples is None else " sd") for v in steps_of_z] + ["correlation", "difference"]
    colours = ["gray"] * steps + ["RdBu_r", "RdBu_r"]
    image_grid(path, rows, [f"z {d + 1}" for d in range(len(rows))], columns, title, maps=colours, cell=0.9)
    return Picture(path.name, f"{title}: each dimension of z varied, and where the image follows it.")


def style_variances(system: System, subjects: Sequence[Subject]) -> np.ndarray:
    """(Z,) variance of each dimension of z under q(z | x, s), mean over all slices and sequences of subjects; for
    systems whose style encoder is variational and sees the anatomy (method-spec 2f, sizes of the factors)."""
    found = []
    for subject in subjects:
        for _, images, _, factors in chunks(system, subject, usable(system, subject)):
            with torch.no_grad():
                for sequence, image in images.items():
                    log_variance = system.style_encoder(factors.anatomy[sequence], image)[1]
                    found.append(log_variance.exp().float().cpu().numpy())
    return np.concatenate(found).mean(axis=0)


def draw_pair_weights(runs: Mapping[str, Path], path: Path) -> list[Picture]:
    """The weight of the right one of the candidates, step by step, of the runs that logged it.

    Args:
        runs: label -> folder of a run.
        path: PNG to write; nothing is written where no run learned weights.
    """
    found = {label: logged(folder, "right_pair_weight") for label, folder in runs.items()}
    lines = {label: line for label, line in found.items() if len(line[0])}
    if not lines:
        return []
    curves(path, lines, "training step", "weight of the right partner", "Learned pairing")
    return [Picture(path.name, "Weight that learned pairing gives to the right one of the candidates, over training.")]


def logged(run: Path, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of what a run logged, all of its starts together."""
    found: dict[int, float] = {}
    for table in sorted((run / "logs" / "csv").glob("*/metrics.csv")):
        with table.open(encoding="utf-8") as file:
            found |= {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}
    return sorted(found), [found[step] for step in sorted(found)]


def draw_artefact(
    translate: Callable[[Subject], np.ndarray], subject: Subject, source: str, target: str, path: Path, title: str
) -> Picture:
    """What becomes of an artefact of the source: stripes, as one corrupted line of k-space makes them (method-spec 3f).

    Args:
        translate: a subject to the volume (K, J, I) of ``target`` made from ``source``.
        subject: has both sequences.
        path: PNG to write.

    Returns:
        Source with and without stripes, the translations of both, their difference and the truth; the caption tells
        how much of the stripes' contrast passes on.
    """
    k = int(subject.mask.sum(axis=(1, 2)).argmax())
    slab = slice(max(k - 1, 0), k + 2)  # for systems that read neighbours
    middle = k - slab.start
    cut = replace(
        subject,
        images={s: x[slab] for s, x in subject.images.items()},
        mask=subject.mask[slab],
        labels=subject.labels[slab],
        sequence_labels={s: x[slab] for s, x in subject.sequence_labels.items()},
    )
    mask, clean, truth = subject.mask[k], _real(subject, source, k), _real(subject, target, k)
    wave = np.cos(2 * np.pi * np.arange(mask.shape[0]) / STRIPE)[:, None] * mask
    striped = cut.images[source].astype(np.float32) + 0.5 * clean[mask].std() * wave
    before = translate(cut)[middle]
    after = translate(replace(cut, images={**cut.images, source: striped}))[middle]
    amplitude = float((after - before)[mask] @ wave[mask] / (wave[mask] @ wave[mask]))
    passed = abs(amplitude) / (0.5 * truth[mask].std())
    row = [clean, striped[middle], before, after, after - before, truth]
    columns = [source, "with stripes", f"{target} of it", "of stripes", "difference", f"real {target}"]
    maps = ["gray"] * 4 + ["RdBu_r", "gray"]
    image_grid(path, [row], [""], columns, title, maps=maps)
    what = f"{source} with stripes of half its standard deviation, translated into {target}"
    return Picture(path.name, f"{title}: {what}; {passed:.0%} of their contrast passes on.")


def middle_slice(system: System, subject: Subject, sequences: Sequence[str] | None = None) -> tuple[int, Factors]:
    """The slice with the largest mask, and its factors (batch of 1)."""
    k = int(subject.mask.sum(axis=(1, 2)).argmax())
    for part, _, _, factors in chunks(system, subject, usable(system, subject, sequences)):
        heights = list(range(len(subject.mask))[part])
        if k in heights:
            row = [heights.index(k)]
            mask = None if factors.mask is None else factors.mask[row]
            anatomy = {s: a[row] for s, a in factors.anatomy.items()}
            return k, Factors(anatomy, {s: z[row] for s, z in factors.modality.items()}, mask)
    raise InputError(f"{subject.name} has no slices.")


def _real(subject: Subject, sequence: str, k: int) -> np.ndarray:
    return subject.images[sequence][k].astype(np.float32)


def _cut(tensor: Tensor, subject: Subject) -> np.ndarray:
    """(B, C, J, I) without the padding of full-resolution maps; maps of lower resolution stay as they are."""
    array = tensor.float().cpu().numpy()
    height, width = subject.mask.shape[1:]
    return unpadded(array, (height, width)) if array.shape[-2] >= height and array.shape[-1] >= width else array


def _stretched(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / max(high - low, 1e-9), 0, 1)
