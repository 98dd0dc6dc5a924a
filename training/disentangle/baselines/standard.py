"""Standard: the task network on the images themselves, stacked (Ouyang et al., section 4.3; method-spec 1e)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..datasets.volumes import Subject
from ..errors import InputError
from ..systems.base import Batch, Capabilities, Factors
from ..systems.settings import arguments
from .tasks import TaskSystem


class Standard(TaskSystem):
    """T on the channels of all sequences; those of a missing one are 0, the mean of z-scored images (Standard+Zero).

    With :func:`filled` the missing sequence is replaced in the study instead (Standard+Avg).

    Args:
        sequences: canonical names of the inputs, in the order of the channels.
        classes: names of the labels, index 0 the background; empty = synthesis.
        healthy: class indices that HEALTHY voxels may carry.
        target: the sequence to synthesise (PET, say); None = segmentation.
        network: "attention-unet", "unet" or "stack".
        width: multiplier of its channel counts.
        slices: adjacent slices per image.
        class_weights: of the cross-entropy, one per class; None = 5 for lesions, 1 for the rest.
        learning_rate, weight_decay: of Adam.
    """

    name = "standard"

    def __init__(
        self,
        sequences: Sequence[str],
        classes: Sequence[str] = (),
        healthy: Sequence[int] = (0,),
        target: str | None = None,
        network: str = "attention-unet",
        width: float = 1.0,
        slices: int = 3,
        class_weights: Sequence[float] | None = None,
        learning_rate: float = 2e-4,
        weight_decay: float = 1e-5,
    ) -> None:
        super().__init__(arguments(locals()))
        self.capabilities = Capabilities(
            sequences=tuple(sequences),
            targets=(target,) if target else (),
            classes=tuple(classes),
            healthy=tuple(healthy),
            slices=slices,
            size_multiple=16,
            anatomy_channels=slices,
            style_dim=1,
        )
        self.make_task(slices * len(sequences))

    def encode(self, images: dict[str, Tensor], mask: Tensor | None = None) -> Factors:
        """The images in place of anatomies."""
        return Factors(dict(images), {s: x.new_zeros(len(x), 1) for s, x in images.items()}, mask)

    def fuse(self, factors: Factors) -> Tensor:
        """All channels (B, n * S, H, W), zeros for what is missing."""
        zeros = torch.zeros_like(next(iter(factors.anatomy.values())))
        return torch.cat([factors.anatomy.get(s, zeros) for s in self.capabilities.sequences], dim=1)

    def task_input(self, batch: Batch) -> Tensor:
        present = {}
        for sequence in self.capabilities.sequences:
            if sequence in batch.images:
                there = batch.available[sequence].to(batch.mask.dtype)
                present[sequence] = batch.images[sequence] * there[:, None, None, None]
        if not present:
            raise InputError("A training batch holds none of the sequences of this system.")
        return self.fuse(Factors(present, {}))


def cohort_means(subjects: Sequence[Subject], shape: Sequence[int] = (80, 112, 96)) -> dict[str, np.ndarray]:
    """Voxel-wise mean of every sequence over training subjects (Standard+Avg).

    Subjects are cut to their mask, so their grids differ: each is brought to one box first. Height in the box is
    relative height in the brain, which is what "the same slice" means for subjects in one pose.

    Args:
        subjects: of the training set.
        shape: (K, J, I) of the box.

    Returns:
        sequence -> float32 (K, J, I), over the subjects that have it.
    """
    sums: dict[str, list[np.ndarray]] = {}
    for subject in subjects:
        for sequence, volume in subject.images.items():
            sums.setdefault(sequence, []).append(_resized(volume.astype(np.float32), shape))
    return {sequence: np.mean(volumes, axis=0) for sequence, volumes in sums.items()}


def filled(subject: Subject, missing: Sequence[str], means: Mapping[str, np.ndarray]) -> Subject:
    """A subject whose missing sequences are replaced by :func:`cohort_means` inside its mask.

    Raises:
        InputError: no training subject had the sequence.
    """
    images = dict(subject.images)
    for sequence in missing:
        if sequence not in means:
            raise InputError(f"No training subject has {sequence}, so it has no mean image.")
        volume = _resized(means[sequence], subject.mask.shape)
        images[sequence] = np.where(subject.mask, volume, 0).astype(np.float16)
    return replace(subject, images=images)


def _resized(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    factors = [n / m for n, m in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume, factors, order=1, mode="nearest", grid_mode=True)
