"""Vectors on a plane: principal components and exact t-SNE, with numpy alone, for where scikit-learn is not."""

from __future__ import annotations

import numpy as np


def principal_components(rows: np.ndarray, count: int = 2) -> tuple[np.ndarray, float]:
    """Coordinates (n, count) of vectors (n, d) on their first principal components, and the fraction of the variance
    that they show. Missing components are zeros."""
    centred = np.asarray(rows, np.float64) - np.mean(rows, axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(centred), count))
    kept = min(count, len(values))
    points[:, :kept] = left[:, :kept] * values[:kept]
    total = float((values**2).sum())
    return points, float((values[:kept] ** 2).sum()) / total if total > 0 else 1.0


def tsne_map(rows: np.ndarray, perplexity: float = 20.0, steps: int = 300, seed: int = 0) -> np.ndarray:
    """Exact t-SNE (van der Maaten, Hinton 2008) of vectors (n, d): (n, 2); started from the principal components.

    Fewer than four vectors are given on their principal components.
    """
    rows = np.asarray(rows, np.float64)
    n = len(rows)
    start, _ = principal_components(rows)
    if n < 4:
        return start
    joint = _affinities(rows, min(perplexity, (n - 1) / 3))
    spread = start[:, 0].std()
    y = start / (spread or 1.0) * 1e-2 + np.random.default_rng(seed).normal(0, 1e-4, start.shape)
    velocity, gains = np.zeros_like(y), np.ones_like(y)
    rate = max(n / 12.0, 10.0)
    for step in range(steps):
        p = joint * (12.0 if step < steps // 3 else 1.0)
        near = 1.0 / (1.0 + _squared_distances(y))
        np.fill_diagonal(near, 0.0)
        pull = (p - near / near.sum()) * near
        gradient = 4.0 * (pull.sum(axis=1)[:, None] * y - pull @ y)
        gains = np.where(np.sign(gradient) != np.sign(velocity), gains + 0.2, gains * 0.8).clip(0.01)
        velocity = (0.5 if step < steps // 3 else 0.8) * velocity - rate * gains * gradient
        y = y + velocity
        y -= y.mean(axis=0)
    return y


def _affinities(rows: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric joint probabilities; each row's bandwidth by bisection of its entropy."""
    squares = _squared_distances(rows)
    wanted = np.log(perplexity)
    conditional = np.zeros_like(squares)
    for i, distances in enumerate(squares):
        others = np.delete(distances, i)
        others = others - others.min()
        low, high, beta = 0.0, np.inf, 1.0 / max(others.mean(), 1e-12)
        for _ in range(50):
            weights = np.exp(-others * beta)
            chances = weights / weights.sum()
            entropy = -(chances * np.log(np.maximum(chances, 1e-300))).sum()
            if abs(entropy - wanted) < 1e-4:
                break
            low, high = (beta, high) if entropy > wanted else (low, beta)
            beta = beta * 2.0 if np.isinf(high) else 0.5 * (low + high)
        conditional[i, np.arange(len(squares)) != i] = chances
    joint = conditional + conditional.T
    return joint / joint.sum()


def _squared_distances(rows: np.ndarray) -> np.ndarray:
    squares = (rows**2).sum(axis=1)
    return np.maximum(squares[:, None] + squares[None] - 2.0 * rows @ rows.T, 0.0)
