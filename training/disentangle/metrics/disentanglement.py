"""How well anatomy and modality are separated: probes, silhouettes, distance correlation, traversals.

Method-spec, sections 1f and 2f and appendix D. Probe, silhouette and t-SNE need scikit-learn (extra ``train``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class DistanceCorrelation:
    """Distance correlation of two sets of vectors.

    Attributes:
        plain: the V-statistic of the papers; biased upwards for high dimensions and few samples.
        corrected: bias-corrected (U-centred) estimate of the *squared* distance correlation; about 0, sometimes
            slightly negative, for independent vectors.
        n: number of samples.
        null_mean, null_95: mean and 95th percentile of ``corrected`` over random permutations of one set.
    """

    plain: float
    corrected: float
    n: int
    null_mean: float
    null_95: float

    @property
    def corrected_root(self) -> float:
        """Signed root of :attr:`corrected`, on the scale of :attr:`plain`."""
        return float(np.sign(self.corrected) * np.sqrt(abs(self.corrected)))


@dataclass(frozen=True)
class TraversalMaps:
    """What one dimension of the modality factor changes in the image (method-spec 2f, ii).

    Attributes:
        correlation: per pixel, Pearson's correlation between the value of the dimension and the intensity; 0 where
            the intensity does not change at all.
        difference: image at the highest value minus image at the lowest.
    """

    correlation: np.ndarray
    difference: np.ndarray


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> float:
    """Cross-validated accuracy of a logistic regression that predicts ``labels`` from ``features``.

    Args:
        features: (n, d), one row per sample; standardised inside each fold.
        labels: (n,) class of each sample.
        groups: (n,) subject of each sample: samples of a subject never fall into training and test part at once.
        folds: number of folds, at most the number of groups, without groups that of samples of the rarest class.
        seed: of the folds.

    Returns:
        Mean accuracy in [0, 1]; about 1/classes means that the features say nothing about the labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _rows(features), np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise InputError("A linear probe needs at least two samples of each of at least two classes.")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if groups is None:
        splitter = StratifiedKFold(min(folds, counts.min()), shuffle=True, random_state=seed)
    else:
        splitter = GroupKFold(min(folds, len(np.unique(groups))))
    return float(cross_val_score(model, features, labels, groups=groups, cv=splitter).mean())


def probe_per_dimension(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None, folds: int = 5, seed: int = 0
) -> list[float]:
    """:func:`linear_probe` of each dimension of ``features`` (n, d) alone: which ones carry the labels."""
    rows = _rows(features)
    return [linear_probe(rows[:, [d]], labels, groups, folds, seed) for d in range(rows.shape[1])]


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette in [-1, 1] of samples (n, d) grouped by ``labels`` (n,), Euclidean distance."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(_rows(features), np.asarray(labels)))


def tsne(features: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Two-dimensional t-SNE coordinates (n, 2) of samples (n, ...); the perplexity shrinks with few samples.

    Raises:
        InputError: fewer than four samples.
    """
    from sklearn.manifold import TSNE

    rows = _rows(features)
    if len(rows) < 4:
        raise InputError(f"t-SNE needs at least 4 samples, not {len(rows)}.")
    perplexity = min(perplexity, (len(rows) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows).astype(np.float64)


def traversal_maps(images: np.ndarray, values: np.ndarray) -> TraversalMaps:
    """Correlation and difference maps of a traversal.

    Args:
        images: (V, ...) one image per value, otherwise identical in all factors.
        values: (V,) of the traversed dimension, at least two different ones.
    """
    images, values = np.asarray(images, np.float64), np.asarray(values, np.float64)
    if len(images) != len(values) or len(np.unique(values)) < 2:
        raise InputError("A traversal needs one image for each of at least two values.")
    x = (values - values.mean()).reshape(-1, *[1] * (images.ndim - 1))
    y = images - images.mean(axis=0)
    spread = np.sqrt((x**2).sum() * (y**2).sum(axis=0))
    changes = np.ptp(images, axis=0) > 1e-6 * max(float(np.abs(images).max()), 1e-12)
    correlation = np.divide((x * y).sum(axis=0), spread, out=np.zeros(images.shape[1:]), where=changes)
    return TraversalMaps(correlation, images[values.argmax()] - images[values.argmin()])


def distance_correlation(x: np.ndarray, y: np.ndarray, permutations: int = 200, seed: int = 0) -> DistanceCorrelation:
    """Distance correlation between paired rows of ``x`` (n, ...) and ``y`` (n, ...), with a permutation null.

    Székely, Rizzo, Bakirov 2007 (plain) and Székely, Rizzo 2014 (bias-corrected).
    """
    x, y = _rows(x), _rows(y)
    n = len(x)
    if n != len(y) or n < 4:
        raise InputError(f"Distance correlation needs at least 4 paired samples, not {n} and {len(y)}.")
    a, b = _distances(x), _distances(y)

    plain_a, plain_b = _double_centred(a), _double_centred(b)
    scale = np.sqrt((plain_a**2).mean() * (plain_b**2).mean())
    plain = np.sqrt(max((plain_a * plain_b).mean(), 0.0) / scale) if scale > 0 else 0.0

    u_a, u_b = _u_centred(a), _u_centred(b)
    u_scale = np.sqrt((u_a**2).sum() * (u_b**2).sum())

    def corrected(other: np.ndarray) -> float:
        return float((u_a * other).sum() / u_scale) if u_scale > 0 else 0.0

    random = np.random.default_rng(seed)
    orders = [random.permutation(n) for _ in range(permutations)]
    null = np.array([corrected(u_b[np.ix_(order, order)]) for order in orders])
    return DistanceCorrelation(
        float(plain),
        corrected(u_b),
        n,
        float(null.mean()) if permutations else float("nan"),
        float(np.percentile(null, 95)) if permutations else float("nan"),
    )


def _rows(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, np.float64)
    return array.reshape(len(array), -1)


def _distances(rows: np.ndarray) -> np.ndarray:
    # Centred first: the expansion |p|² + |q|² - 2pq loses digits far from the origin.
    rows = rows - rows.mean(axis=0)
    squares = (rows**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0.0))
    np.fill_diagonal(distances, 0.0)
    return distances


def _double_centred(distances: np.ndarray) -> np.ndarray:
    return distances - distances.mean(0) - distances.mean(1)[:, None] + distances.mean()


def _u_centred(distances: np.ndarray) -> np.ndarray:
    n = len(distances)
    centred = (
        distances
        - distances.sum(0) / (n - 2)
        - distances.sum(1)[:, None] / (n - 2)
        + distances.sum() / ((n - 1) * (n - 2))
    )
    np.fill_diagonal(centred, 0.0)
    return centred
