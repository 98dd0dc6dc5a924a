"""Stacks of thick slices through a body: points of a stack, tissue to classes, tissue to images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..study import Grid
from .acquisition import bias_field, blurred, rician
from .body_signal import BodyTissue, body_signal
from .randomness import smooth_noise


def stack_points(grid: Grid, samples: int) -> np.ndarray:
    """(3, K, S, J, I) float32 LPS points of the voxels, ``samples`` of them across the thickness of each slice."""
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    i, j, k = (grid.affine[:3, a].astype(np.float32)[:, None, None, None, None] for a in range(3))
    index = np.arange(grid.shape[0], dtype=np.float32)[:, None] + offsets.astype(np.float32)
    rows, columns = (np.arange(n, dtype=np.float32) for n in grid.shape[1:])
    across = k * index[None, :, :, None, None]
    origin = grid.origin.astype(np.float32)[:, None, None, None, None]
    return origin + across + j * rows[None, None, None, :, None] + i * columns[None, None, None, None, :]


def available(rng: np.random.Generator, sequences: Sequence[str], missing: float | tuple[str, ...]) -> list[str]:
    """The sequences that are not missing: named ones, or each with a probability; one always stays."""
    if isinstance(missing, tuple):
        return [name for name in sequences if name not in missing]
    chances = rng.random(len(sequences))
    kept = [n for n, chance in zip(sequences, chances, strict=True) if chance >= missing]
    return kept or [sequences[int(np.argmax(chances))]]


def averaged(tissues: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Fractions (K, S, J, I) averaged over the samples across each slice: float32 (K, J, I)."""
    shape = np.broadcast_shapes(*(np.shape(f) for f in tissues.values()))
    return {n: np.broadcast_to(f, shape).mean(axis=1, dtype=np.float32) for n, f in tissues.items()}


def class_labels(tissues: Mapping[str, np.ndarray], members: Mapping[int, Sequence[str]]) -> np.ndarray:
    """int16 (K, J, I): the class with the largest share of the voxel, all that belongs to none being 0 together."""
    shares = {v: sum((tissues[n] for n in names if n in tissues), np.float32(0)) for v, names in members.items()}
    best = 1 - sum(shares.values())
    labels = np.zeros(best.shape, dtype=np.int16)
    for value, share in shares.items():
        labels[share > best] = value
        best = np.maximum(best, share)
    return labels


def scan_stack(
    rng: np.random.Generator,
    tissues: Mapping[str, np.ndarray],
    grid: Grid,
    sequence: str,
    protocol: Mapping[str, Any],
    properties: Mapping[str, BodyTissue],
    drawn: Mapping[str, float],
    bright: str,
) -> np.ndarray:
    """What the scanner makes of tissue: float32 (K, J, I), whole numbers; Hounsfield units for CT.

    Args:
        tissues: name -> fraction of the voxel.
        protocol: of :func:`.body_signal.draw_body_protocol`.
        drawn: "noise" (of the signal of ``bright``; of 300 HU for CT), "bias", "blur_mm", "texture", "jitter", "gain".
        bright: the tissue that noise and gain are relative to.
    """
    names = list(tissues)
    pure = np.array([body_signal(properties[n], sequence, protocol) for n in names])
    ct = protocol["method"] == "attenuation"
    reference = 300.0 if ct else max(abs(body_signal(properties[bright], sequence, protocol)), 0.02)
    if not ct:
        pure = pure * np.exp(rng.normal(0, drawn["jitter"], len(names)))
    # Linear in the fractions before the magnitude is taken: fat and water cancel at borders out of phase.
    signal = np.zeros(grid.shape, dtype=np.float32)
    for name, level in zip(names, pure, strict=True):
        signal += np.float32(level / reference) * tissues[name]
    grain = smooth_noise(rng, grid.shape, grid.spacing, 3.0) + smooth_noise(rng, grid.shape, grid.spacing, 9.0)
    if ct:
        signal += np.float32(0.05 * drawn["texture"]) * grain
    else:
        signal = np.abs(signal) * (1 + np.float32(drawn["texture"]) * grain) * bias_field(rng, grid, drawn["bias"])
    signal = blurred(signal, grid.spacing, (drawn["blur_mm"], drawn["blur_mm"], 0.0))
    if ct:
        # Reconstruction correlates the noise within a slice.
        noise = blurred(rng.standard_normal(grid.shape, dtype=np.float32), (1, 1, 1), (0.6, 0.6, 0.0))
        signal = signal + np.float32(drawn["noise"] / max(float(noise.std()), 1e-6)) * noise
        return np.clip(np.round(reference * signal), -1024, 3071).astype(np.float32)
    return np.round(rician(rng, signal, drawn["noise"]) * drawn["gain"]).astype(np.float32)
