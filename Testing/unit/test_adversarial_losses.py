"""The adversarial objectives have the published values and pull scores the right way."""

from __future__ import annotations

import math

import pytest
import torch

from disentangle.adversarial_losses import KINDS, discriminator_loss, generator_loss
from disentangle.errors import InputError

SCORES = torch.tensor([0.0, 1.0, 3.0])


def test_least_squares_asks_for_one_on_real_and_zero_on_fake():
    assert discriminator_loss(SCORES, real=True).tolist() == [1, 0, 4]
    assert discriminator_loss(SCORES, real=False).tolist() == [0, 1, 9]
    assert generator_loss(SCORES).tolist() == [1, 0, 4]


def test_cross_entropy_and_hinge_have_their_textbook_values():
    zero = torch.zeros(1)
    assert discriminator_loss(zero, True, "bce").item() == pytest.approx(math.log(2))
    assert generator_loss(torch.tensor([2.0]), "bce").item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert discriminator_loss(SCORES, True, "hinge").tolist() == [1, 0, 0]
    assert discriminator_loss(SCORES, False, "hinge").tolist() == [1, 2, 4]
    assert generator_loss(SCORES, "hinge").tolist() == [0, -1, -3]


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_pull_a_fake_score_in_opposite_directions(kind):
    score = torch.tensor([0.5], requires_grad=True)
    (up,) = torch.autograd.grad(generator_loss(score, kind).sum(), score)
    (down,) = torch.autograd.grad(discriminator_loss(score, False, kind).sum(), score)
    assert up < 0 < down


def test_maps_of_scores_are_averaged_per_sample():
    maps = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 2.0)])
    assert generator_loss(maps).tolist() == [1, 1]
    assert discriminator_loss(maps, real=False).tolist() == [0, 4]


def test_an_unknown_objective_is_refused():
    with pytest.raises(InputError, match="lsgan, bce, hinge"):
        generator_loss(SCORES, "softplus")
