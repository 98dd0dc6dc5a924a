"""Adversarial objectives by name, for the network that is judged and for its discriminator (method-spec 6a).

Scores are a discriminator's output before any activation: one number per image, or a map of them per image. Every
function gives one value per sample (B,), so that samples that lack a sequence can be left out of the mean.
"""

from __future__ import annotations

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


KINDS = {"lsgan": lsgan, "bce": bce, "hinge": hinge}


def generator_loss(scores: Tensor, kind: str = "lsgan") -> Tensor:
    """What the generator minimises: its images should pass for real.

    Args:
        scores: of generated images, (B,) or (B, ...).
        kind: "lsgan", "bce" or "hinge".

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
        kind: "lsgan", "bce" or "hinge".

    Returns:
        (B,).

    Raises:
        InputError: another kind.
    """
    return _per_sample(_objective(kind)(scores, real))


def _objective(kind: str):
    if kind not in KINDS:
        raise InputError(f'Unknown adversarial loss "{kind}"; use one of: {", ".join(KINDS)}.')
    return KINDS[kind]


def _per_sample(values: Tensor) -> Tensor:
    return values if values.ndim == 1 else torch.flatten(values, 1).mean(1)
