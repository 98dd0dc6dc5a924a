"""Terms that training minimises (method-spec 1b and 6a). All are plain functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

HEALTHY = 254
"""Label value of voxels known to carry no lesion but without a tissue label (real studies)."""
UNLABELLED = 255
"""Label value of voxels about which nothing is known; no loss is computed there."""


def masked_l1(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference inside the mask, per sample.

    Args:
        prediction, target: (B, S, H, W).
        mask: (B, 1, H, W), 0/1.

    Returns:
        (B,); 0 for a sample with an empty mask.
    """
    pixels = mask.sum(dim=(1, 2, 3)).clamp_min(1.0) * prediction.shape[1]
    return ((prediction - target).abs() * mask).sum(dim=(1, 2, 3)) / pixels


def weighted_mean(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Mean of per-sample values (B,) over all samples and list entries whose weight (B,) is not 0.

    It is 0, without gradient, where no sample has the modalities that the term needs.
    """
    weight = torch.stack([w.to(values[0].dtype) for w in weights])
    return (torch.stack(list(values)) * weight).sum() / weight.sum().clamp_min(1e-6)


def latent_consistency(style: Tensor, target: Tensor) -> Tensor:
    """L1 distance, summed over the dimensions, of re-encoded styles (B, Z) to detached targets: (B,)."""
    return (style - target.detach()).abs().sum(dim=1)


def pooled_anatomy(anatomy: Tensor, size: int = 16, kind: str = "max") -> Tensor:
    """f(s) of Ouyang et al.: anatomy (B, C, H, W) pooled by ``size`` and flattened to (B, D).

    ``kind`` is "max" (published) or "avg" (method-spec 1g, g14).
    """
    pool = F.max_pool2d if kind == "max" else F.avg_pool2d
    return pool(anatomy, min(size, *anatomy.shape[-2:])).flatten(1)


def similarity_margin(
    codes: Tensor, available: Tensor, subject: Tensor, closer: str, margin: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Cosine triplet margin between sequences of one subject and subjects of one sequence (Ouyang et al., Eq. 2).

    With w = cos(code_i^p, code_j^p), i != j, and a = cos(code_i^p, code_i^q), p and q different subjects:
    "subject" asks w >= a + margin (anatomies), "sequence" asks a >= w + margin (styles). cos is the similarity and
    i = j is left out (method-spec 1g, g3 and g7). All partners q in the batch take part, not one drawn at random:
    the same expectation at less variance.

    Args:
        codes: (m, B, D) of m sequences and B samples.
        available: (m, B) bool.
        subject: (B,) identity of each sample's subject.
        closer: "subject" or "sequence".
        margin: alpha.

    Returns:
        The loss and the fraction of hinges that are active, both 0 where no triplet is complete.
    """
    unit = F.normalize(codes, dim=-1)
    within = torch.einsum("ipd,jpd->ijp", unit, unit)[:, :, :, None]
    across = torch.einsum("ipd,iqd->ipq", unit, unit)[:, None]
    hinge = F.relu(margin + (across - within if closer == "subject" else within - across))

    other_sequence = ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)[:, :, None, None]
    both = (available[:, None] & available[None])[..., None]
    partner = available[:, None, None, :] & (subject[:, None] != subject[None])
    complete = (other_sequence & both & partner).to(hinge.dtype)
    count = complete.sum().clamp_min(1.0)
    active = ((hinge > 0) * complete).sum() / count
    return (hinge * complete).sum() / count, active.detach()


def kl_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) of (B, Z), summed over the dimensions: (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)


def marginal_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    healthy: Sequence[int] = (0,),
    weight: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with partial labels.

    A voxel labelled HEALTHY (254) asks the *sum* of the probabilities of ``healthy`` to be 1; UNLABELLED (255) asks
    nothing.

    Args:
        logits: (B, L, H, W).
        labels: (B, H, W) int64.
        healthy: class indices that HEALTHY voxels may carry.
        weight: (L,) class weights; HEALTHY voxels weigh 1. The mean is over the weights of the voxels counted.
        mask: (B, 1, H, W), voxels to count; None = all.
    """
    log_p = torch.log_softmax(logits, dim=1)
    is_healthy = labels == HEALTHY
    index = labels.masked_fill(is_healthy | (labels == UNLABELLED), 0)
    own = log_p.gather(1, index[:, None])[:, 0]
    merged = torch.logsumexp(log_p[:, list(healthy)], dim=1)
    counted = (labels != UNLABELLED).to(logits.dtype)
    if mask is not None:
        counted = counted * mask[:, 0]
    if weight is not None:
        counted = counted * torch.where(is_healthy, torch.ones_like(counted), weight.to(logits)[index])
    return -(torch.where(is_healthy, merged, own) * counted).sum() / counted.sum().clamp_min(1.0)


def marginal_dice(
    logits: Tensor,
    labels: Tensor,
    healthy: Sequence[int] = (0,),
    mask: Tensor | None = None,
    squared: bool = False,
) -> Tensor:
    """1 - soft Dice with partial labels: mean over the non-background classes that occur in the batch.

    Intersection and sizes are taken over the whole batch (a small lesion is absent from most slices). A class is
    compared on the voxels about which its label is known: those with a label, and the HEALTHY ones where it is not
    among ``healthy`` (there it is known to be absent). Arguments as of :func:`marginal_cross_entropy`; ``squared``
    takes the sum of squared probabilities for the size of what is predicted.
    """
    p = torch.softmax(logits, dim=1)
    is_healthy, labelled = labels == HEALTHY, labels < HEALTHY
    scores, occurs = [], []
    for c in range(1, logits.shape[1]):
        known = (labelled if c in healthy else labelled | is_healthy).to(p.dtype)
        if mask is not None:
            known = known * mask[:, 0]
        truth = (labels == c) * known
        size, found = truth.sum(), p[:, c].square() if squared else p[:, c]
        scores.append(2 * (p[:, c] * truth).sum() / ((found * known).sum() + size).clamp_min(1e-6))
        occurs.append(size > 0)
    present = torch.stack(occurs).to(p.dtype)
    return ((1 - torch.stack(scores)) * present).sum() / present.sum().clamp_min(1.0)


def marginal_segmentation(
    logits: Tensor,
    labels: Tensor,
    healthy: Sequence[int] = (0,),
    weight: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """:func:`marginal_dice` + :func:`marginal_cross_entropy`."""
    return marginal_dice(logits, labels, healthy, mask) + marginal_cross_entropy(logits, labels, healthy, weight, mask)


def soft_dice(a: Tensor, b: Tensor) -> Tensor:
    """Soft Dice of maps (B, C, H, W) over all channels and pixels jointly: (B,); 1 where both are empty."""
    overlap, size = (a * b).sum(dim=(1, 2, 3)), (a + b).sum(dim=(1, 2, 3))
    return (2 * overlap + 1e-12) / (size + 1e-12)


def annotated(labels: Tensor) -> Tensor:
    """Which samples of labels (B, H, W) have any: (B,) bool."""
    return (labels != UNLABELLED).flatten(1).any(1)


def joint_dice(logits: Tensor, labels: Tensor, healthy: Sequence[int] = (0,)) -> Tensor:
    """1 - soft Dice over all foreground classes jointly, per sample (Chartsias et al.; method-spec 2b).

    Pixels whose label is unknown do not count; HEALTHY ones count for the classes that are not among ``healthy``.

    Args:
        logits: (B, L, H, W), class 0 the background.
        labels: (B, H, W) int64.

    Returns:
        (B,); 0 for a sample without labels.
    """
    labelled, is_healthy = labels < HEALTHY, labels == HEALTHY
    classes = range(1, logits.shape[1])
    truth = torch.stack([labels == c for c in classes], dim=1).to(logits.dtype)
    known = torch.stack([labelled if c in healthy else labelled | is_healthy for c in classes], dim=1)
    return 1 - soft_dice(torch.softmax(logits, dim=1)[:, 1:] * known, truth)


def balanced_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, the weight of a class inverse to its share of the batch's labelled pixels (method-spec 2b, g3).

    A class below 1 % of the pixels weighs as one of 1 %.

    Args:
        logits: (B, L, H, W).
        labels: (B, H, W) int64; HEALTHY and UNLABELLED pixels do not count.

    Returns:
        Mean over the labelled pixels of each sample (B,); 0 for a sample without labels.
    """
    counted = labels < HEALTHY
    index = labels.masked_fill(~counted, 0)
    count = torch.bincount(index[counted], minlength=logits.shape[1])
    # Half precision ends at 65504 pixels, and bfloat16 counts to 256 without gaps.
    count = count.to(torch.promote_types(logits.dtype, torch.float32))
    weight = count.sum().clamp_min(1.0) / torch.maximum(count, 0.01 * count.sum()).clamp_min(1.0)
    own = torch.log_softmax(logits, dim=1).gather(1, index[:, None])[:, 0]
    total = (-own * weight[index] * counted).sum(dim=(1, 2))
    return total / counted.sum(dim=(1, 2)).clamp_min(1)
