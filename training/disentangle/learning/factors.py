"""A system run over the slices of prepared subjects: factors of whole volumes, default styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..datasets.volumes import Subject
from ..errors import InputError
from ..systems.base import Factors, System

_BLACK = -1.0
"""The least value of whole slices, which are in [-1, 1]."""


def slice_stacks(subject: Subject, sequences: Sequence[str], slices: int, multiple: int) -> tuple[dict, Tensor]:
    """Every slice of a subject as a network reads it.

    Args:
        subject: (K, J, I) volumes.
        sequences: those to read.
        slices: adjacent slices S per input, replicated at both ends.
        multiple: H and W are padded evenly to multiples of this; whole slices, which have no mask, with black.

    Returns:
        sequence -> (K, S, H, W) float32, and the mask (K, 1, H, W) float32.
    """
    half = slices // 2
    rows = np.clip(np.arange(len(subject.mask))[:, None] + np.arange(-half, half + 1), 0, len(subject.mask) - 1)
    black = _BLACK if subject.mask.all() else 0.0
    stacks = {
        s: torch.from_numpy(_padded(subject.images[s].astype(np.float32), multiple, black)[rows]) for s in sequences
    }
    return stacks, torch.from_numpy(_padded(subject.mask.astype(np.float32), multiple))[:, None]


def chunks(
    system: System, subject: Subject, sequences: Sequence[str] | None = None, size: int = 16, every: int = 1
) -> Iterator[tuple[slice, dict[str, Tensor], Tensor, Factors]]:
    """Encode a subject slab by slab: (slices of the volume, images, mask, factors), on the system's device.

    Args:
        sequences: those to encode; None = all that the subject has and the system reads.
        size: slices per slab.
        every: only each such slice, for means over a volume.
    """
    known = [s for s in system.capabilities.sequences if s in subject.images]
    sequences = known if sequences is None else [s for s in known if s in sequences]
    if not sequences:
        raise InputError(f"{subject.name} has none of the sequences that this model reads.")
    device = next(system.parameters()).device
    stacks, mask = slice_stacks(subject, sequences, system.capabilities.slices, system.capabilities.size_multiple)
    for start in range(0, len(mask), size * every):
        part = slice(start, min(start + size * every, len(mask)), every)
        images = {s: x[part].to(device) for s, x in stacks.items()}
        inside = mask[part].to(device)
        with torch.no_grad():
            yield part, images, inside, system.encode(images, inside)


def mean_styles(system: System, subjects: Sequence[Subject], every: int = 4) -> dict[str, Tensor]:
    """Mean modality factor (Z,) per sequence over the slices of subjects that show at least a quarter of the largest
    slice. Real studies alone count for the sequences that any of them has: their contrast is what users expect."""
    system.eval()
    sums: dict[str, dict[str, list[Tensor]]] = {"study": {}, "phantom": {}}
    for subject in subjects:
        if not set(system.capabilities.sequences) & set(subject.images):
            continue  # unpaired sets have persons of other domains too
        areas = torch.from_numpy(subject.mask.sum(axis=(1, 2)))
        wide = areas >= 0.25 * areas.max()
        for part, _, _, factors in chunks(system, subject, every=every):
            for sequence, z in factors.modality.items():
                kind = "phantom" if subject.source == "phantom" else "study"
                sums[kind].setdefault(sequence, []).append(z.cpu()[wide[part]])
    styles = {}
    for sequence in system.capabilities.targets:
        found = sums["study"].get(sequence) or sums["phantom"].get(sequence)
        if found:
            styles[sequence] = torch.cat(found).mean(0)
    return styles


def unpadded(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The part of (..., H, W) that :func:`slice_stacks` had padded from (J, I) = ``shape``."""
    rows, columns = ((n - s) // 2 for n, s in zip(array.shape[-2:], shape, strict=True))
    return array[..., rows : rows + shape[0], columns : columns + shape[1]]


def _padded(volume: np.ndarray, multiple: int, value: float = 0.0) -> np.ndarray:
    pads = [(0, 0)]
    for n in volume.shape[1:]:
        missing = -n % multiple
        pads.append((missing // 2, missing - missing // 2))
    return np.pad(volume, pads, constant_values=value)
