"""Adversarial objectives by name, for the network that is judged and for its discriminator (method-spec 6a).

Scores are a discriminator's output before any activation: one number per image, or a map of them per image. Every
function gives one value per sample (B,), so that samples that lack a sequence can be left out of the mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError


def lsgan(scores: Tensor, real: bool) -> Tensor:
    """Least-squares GAN (Mao et al. 2017): squared distance to 1 for real, to 0 for fake."""
    return (scores - 1.0 if real else scores).square()


def bce(scores: Tensor, real: bool) -> Tensor:
    """The original GAN (Goodfellow et al. 2014): cross-entropy of the logit ``scores``; non-saturating generator."""
    return F.softplus(-scores if real else scores)


def hinge(scores: Tensor, real: bool) -> Tensor:
    """Hinge form of the discriminator (Lim & Ye 2017)."""
    return F.relu(1.0 - scores if real else 1.0 + scores)


def wasserstein(scores: Tensor, real: bool) -> Tensor:
    """Critic of WGAN (Arjovsky et al. 2017): the score itself; needs :func:`gradient_penalty`."""
    return -scores if real else scores


KINDS = {"lsgan": lsgan, "bce": bce, "hinge": hinge, "wasserstein": wasserstein}


def generator_loss(scores: Tensor, kind: str = "lsgan") -> Tensor:
    """What the generator minimises: its images should pass for real.

    Args:
        scores: of generated images, (B,) or (B, ...).
        kind: one of :data:`KINDS`.

    Returns:
        (B,).

    Raises:
        InputError: another kind.
    """
    if kind == "hinge":  # the hinge bounds the discriminator only; the generator follows the score itself
        return _per_sample(-scores)
    return _per_sample(_objective(kind)(scores, real=True))


def discriminator_loss(scores: Tensor, real: bool, kind: str = "lsgan") -> Tensor:
    """What the discriminator minimises on images of one origin.

    Args:
        scores: (B,) or (B, ...).
        real: whether the images are.
        kind: one of :data:`KINDS`.

    Returns:
        (B,).

    Raises:
        InputError: another kind.
    """
    return _per_sample(_objective(kind)(scores, real))


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """(norm of the critic's gradient - 1) squared at random points between real and fake (Gulrajani et al. 2017).

    Args:
        critic: images to scores (B,) or (B, ...), which are summed per image.
        real, fake: (B, C, H, W).

    Returns:
        (B,).
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (torch.flatten(gradient, 1).norm(dim=1) - 1).square()


def confusion_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of the uniform distribution to a classifier's: least where the classifier cannot tell the classes
    apart (log m), which is what the encoders of Conv+Adv want (method-spec 1e).

    Args:
        logits: (B, m).

    Returns:
        (B,).
    """
    return -F.log_softmax(logits, dim=1).mean(dim=1)


def _objective(kind: str):
    if kind not in KINDS:
        raise InputError(f'Unknown adversarial loss "{kind}"; use one of: {", ".join(KINDS)}.')
    return KINDS[kind]


def _per_sample(values: Tensor) -> Tensor:
    return values if values.ndim == 1 else torch.flatten(values, 1).mean(1)
