"""Sample images of a training: the cross-reconstruction matrix with anatomies and segmentation beside it."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import torch

from ..losses import HEALTHY
from ..systems.base import Batch, System


def save_matrix(system: System, batch: Batch, path: Path, sample: int = 0) -> Path:
    """Write a PNG of one sample of a batch.

    Column 0 holds the real sequences; column i + 1 the anatomy of sequence i in the appearance of each row's
    sequence (the diagonal is self-reconstruction); the last column each sequence synthesised from all others in its
    default style; black where the system makes none. Below: arg-max anatomy per sequence, the true labels and the
    fused segmentation. Where sequences are not registered, each row lies on the slice of its sequence, and the labels
    on that of the last one.
    """
    abilities = system.capabilities
    at_hand = [s for s in abilities.known if s in batch.images and bool(batch.available[s][sample])]
    present = [s for s in at_hand if s in abilities.sequences]
    pick = slice(sample, sample + 1)
    images = {s: batch.images[s][pick] for s in at_hand}
    mask = batch.mask[pick]
    with torch.no_grad():
        factors = system.encode({s: images[s] for s in present}, mask)
        middle = next(iter(images.values())).shape[1] // 2
        rows, ends = [], (-1.0, 1.0) if max(x.abs().max() for x in images.values()) <= 1 else (-3.0, 4.0)
        for target in at_hand:
            there = system.align(factors, target) if target in present else factors
            row = [images[target]] + [torch.zeros_like(images[target])] * (len(present) + 1)
            if target in abilities.targets:
                others = [s for s in present if s != target] or present
                row[-1] = system.decode(system.synthesis_anatomy(there.subset(others)), target)
                if target in present:
                    row[1:-1] = [system.decode(there.anatomy[i], factors.modality[target]) for i in present]
            rows.append(np.concatenate([_grey(x[0, middle], *ends) for x in row], axis=1))
        inside = mask[0, 0].cpu().numpy() > 0
        channels = system.capabilities.anatomy_channels
        last = [np.zeros((*inside.shape, 3), np.uint8)]
        for s in present:
            anatomy = system.anatomy_maps(factors.anatomy[s][:1].float(), inside.shape)[0]
            last.append(_coloured(anatomy.argmax(0).cpu().numpy() + 1, inside, channels + 1))
        labels = batch.labels_of(present[-1])
        if system.capabilities.segments and labels is not None:
            classes = len(system.capabilities.classes)
            truth = labels[sample].cpu().numpy()
            last[0] = _coloured(np.where(truth >= HEALTHY, 0, truth), inside, classes)
            found = system.segment(system.fuse(system.align(factors, present[-1])))
            last.append(_coloured(found[0].argmax(0).cpu().numpy(), inside, classes))
        else:
            last.append(np.zeros_like(last[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    matplotlib.image.imsave(path, np.concatenate([*rows, np.concatenate(last, axis=1)], axis=0))
    return path


def _grey(image: torch.Tensor, low: float, high: float) -> np.ndarray:
    """Normalised intensities as 8-bit RGB; both ends are fixed so that images of a matrix can be compared."""
    values = ((image.float().cpu().numpy() - low) / (high - low)).clip(0, 1)
    return np.repeat((values * 255).astype(np.uint8)[..., None], 3, axis=-1)


def _coloured(labels: np.ndarray, inside: np.ndarray, count: int) -> np.ndarray:
    """Label values 0 (black) to ``count - 1`` as distinct colours, black outside."""
    colours = (matplotlib.colormaps["tab10"](np.arange(count) % 10)[:, :3] * 255).astype(np.uint8)
    colours[0] = 0
    return np.where(inside[..., None], colours[labels], 0).astype(np.uint8)
