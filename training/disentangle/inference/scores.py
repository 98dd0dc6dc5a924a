"""How well the factors of one study are disentangled, in figures that a panel can show. Needs numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..metrics.disentanglement import distance_correlation
from ..metrics.embedding import principal_components, tsne_map


@dataclass(eq=False)
class FactorScores:
    """Of n slices of each sequence.

    Attributes:
        sequences: in the order of rows and columns.
        anatomy: (m, m) mean cosine similarity of the anatomies of two sequences on the same slice; 1 where alike.
        modality: (m, m) mean cosine similarity of their modality factors; low off the diagonal where told apart.
        slices: (n,) working slices that were compared.
        points: (m * n, 2) modality factors on their first two principal components, sequence by sequence.
        explained: fraction of their variance that these two show.
        map: (m * n, 2) the same by t-SNE; anatomies and modality factors take turns in ``anatomy_map``.
        anatomy_map: (m * n, 2) anatomies (coarse) by t-SNE.
        table: name of a figure -> (value, how to read it).
    """

    sequences: list[str] = field(default_factory=list)
    anatomy: np.ndarray | None = None
    modality: np.ndarray | None = None
    slices: np.ndarray | None = None
    points: np.ndarray | None = None
    explained: float = 0.0
    map: np.ndarray | None = None
    anatomy_map: np.ndarray | None = None
    table: dict[str, tuple[float, str]] = field(default_factory=dict)


def score_factors(anatomy: dict[str, np.ndarray], modality: dict[str, np.ndarray], slices: np.ndarray) -> FactorScores:
    """Score the factors of a study.

    Args:
        anatomy: sequence -> (n, C, H, W).
        modality: sequence -> (n, Z), of the same slices.
        slices: (n,) their numbers.
    """
    names = list(anatomy)
    scores = FactorScores(names, slices=slices)
    flat = {n: a.reshape(len(a), -1) for n, a in anatomy.items()}
    scores.anatomy = np.array([[_cosine(flat[a], flat[b]) for b in names] for a in names])
    scores.modality = np.array([[_cosine(modality[a], modality[b]) for b in names] for a in names])
    styles = np.concatenate([modality[n] for n in names])
    coarse = np.concatenate([_coarse(anatomy[n]) for n in names])
    scores.points, scores.explained = principal_components(styles)
    scores.map, scores.anatomy_map = tsne_map(styles), tsne_map(coarse)
    others = ~np.eye(len(names), dtype=bool)
    table = scores.table
    if len(names) > 1:
        table["anatomy similarity"] = (
            float(scores.anatomy[others].mean()),
            "cosine between sequences; 1 where the anatomy is shared",
        )
        table["modality similarity"] = (
            float(scores.modality[others].mean()),
            "cosine between sequences; low where appearances are told apart",
        )
    if len(styles) >= 4:
        correlation = distance_correlation(coarse, styles, permutations=50)
        table["distance correlation"] = (
            correlation.corrected_root,
            "of anatomy and modality (bias corrected); 0 where they are independent",
        )
        table["distance correlation by chance"] = (
            float(np.sqrt(max(correlation.null_95, 0.0))),
            "95 % of shuffled pairs stay below",
        )
    return scores


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean cosine of paired rows."""
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.maximum(scale, 1e-12)))


def _coarse(maps: np.ndarray, size: int = 8) -> np.ndarray:
    """(n, C * size * size): means over a grid of blocks, which tell how the anatomy lies without its detail."""
    n, channels, height, width = maps.shape
    height, width = height // size * size, width // size * size
    blocks = maps[..., :height, :width].reshape(n, channels, size, height // size, size, width // size)
    return blocks.mean(axis=(3, 5)).reshape(n, -1)
