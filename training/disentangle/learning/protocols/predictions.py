"""Whole volumes out of a system: reconstructions, imputation, segmentations in the papers' inference modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ...datasets.volumes import Subject
from ...systems.base import System
from ...systems.modes import predict
from ..factors import chunks, slice_stacks, unpadded

SLAB = 16
"""Slices that go through a network at once."""


def usable(system: System, subject: Subject, sequences: Sequence[str] | None = None) -> list[str]:
    """The sequences that the system reads and the subject has, in the system's order."""
    known = [s for s in system.capabilities.sequences if s in subject.images]
    return known if sequences is None else [s for s in known if s in sequences]


def reconstructions(system: System, subject: Subject) -> dict[tuple[str, str], np.ndarray]:
    """(anatomy of i, style of j) -> volume (K, J, I) D(s_i, z_j), for all sequences at hand; z_j is that of the same
    slice of the real image j, which is thus an input: this measures disentanglement, not imputation."""
    present = usable(system, subject)
    volumes = {(i, j): np.zeros(subject.mask.shape, np.float32) for i in present for j in present}
    for part, _, _, factors in chunks(system, subject, present):
        with torch.no_grad():
            for i in present:
                shown = system.decode_styles(factors.anatomy[i], [factors.modality[j] for j in present])
                for j, image in zip(present, shown, strict=True):
                    volumes[i, j][part] = _centre(image, subject)
    return volumes


def translations(system: System, subject: Subject, source: str, targets: Sequence[str]) -> dict[str, np.ndarray]:
    """Target -> volume (K, J, I) synthesised from one real sequence; the target is not an input."""
    return synthesis(system, subject, [source], targets)


def synthesis(
    system: System, subject: Subject, inputs: Sequence[str], targets: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Target -> volume (K, J, I) from some sequences, in each target's default style; all targets where None."""
    targets = system.capabilities.targets if targets is None else targets
    found = subset_syntheses(system, subject, {tuple(inputs): list(targets)})
    return {target: volume for (_, target), volume in found.items()}


def imputations(system: System, subject: Subject) -> dict[str, np.ndarray]:
    """Target -> volume (K, J, I) synthesised from all other sequences in the target's default style."""
    present = usable(system, subject)
    wanted = {tuple(s for s in present if s != j): [j] for j in present if len(present) > 1}
    return {j: volume for (_, j), volume in subset_syntheses(system, subject, wanted).items()}


def subset_syntheses(
    system: System, subject: Subject, wanted: Mapping[tuple[str, ...], Sequence[str]]
) -> dict[tuple[tuple[str, ...], str], np.ndarray]:
    """Inputs -> targets that are wanted from them; (inputs, target) -> volume (K, J, I), in the target's default style.
    Every sequence is encoded once, whatever the number of subsets."""
    volumes = {(i, t): np.zeros(subject.mask.shape, np.float32) for i, targets in wanted.items() for t in targets}
    for part, _, _, factors in chunks(system, subject, list(dict.fromkeys(s for inputs in wanted for s in inputs))):
        with torch.no_grad():
            for inputs, targets in wanted.items():
                anatomy = system.synthesis_anatomy(factors.subset(inputs))
                for target, image in zip(targets, system.decode_styles(anatomy, list(targets)), strict=True):
                    volumes[inputs, target][part] = _centre(image, subject)
    return volumes


def segmentation(
    system: System,
    subject: Subject,
    inputs: Sequence[str] | None = None,
    target: str | None = None,
    mode: str | None = None,
) -> np.ndarray:
    """Labels (K, J, I) of a subject on the slices of ``target``.

    Args:
        system: one that segments.
        subject: to segment.
        inputs: sequences that it may see; None = all that it reads.
        target: the sequence whose slices are segmented; None = the first input (registered sequences).
        mode: one of :data:`.systems.modes.MODES`, or "candidates" (:func:`_candidates`); None = "fused".
    """
    names = [target] if mode == "single" else usable(system, subject, inputs)
    labels = np.zeros(subject.mask.shape, np.uint8)
    stacks, mask = slice_stacks(subject, names, system.capabilities.slices, system.capabilities.size_multiple)
    device = next(system.parameters()).device
    for start in range(0, len(labels), SLAB):
        part = slice(start, start + SLAB)
        images = {s: x[part].to(device) for s, x in stacks.items()}
        with torch.no_grad():
            if mode == "candidates":
                found = system.segment_candidates(images, target, _candidates(stacks, target, part, device))
            else:
                found = predict(system, images, target or names[0], mode or "fused", mask[part].to(device))
        labels[part] = unpadded(found.argmax(1).to(torch.uint8).cpu().numpy(), subject.mask.shape[1:])
    return labels


def _candidates(
    stacks: Mapping[str, Tensor], target: str, part: slice, device: torch.device, reach: int = 1
) -> dict[str, Tensor]:
    """Other sequence -> (B, k, S, H, W): the slices within ``reach`` of each slice, where the partner may be."""
    count = len(stacks[target])
    rows = np.clip(np.arange(count)[part, None] + np.arange(-reach, reach + 1), 0, count - 1)
    return {s: x[rows].to(device) for s, x in stacks.items() if s != target}


def _centre(image: Tensor, subject: Subject) -> np.ndarray:
    """The centre slice of each block (B, S, H, W), without the padding: (B, J, I)."""
    return unpadded(image[:, image.shape[1] // 2].float().cpu().numpy(), subject.mask.shape[1:])
