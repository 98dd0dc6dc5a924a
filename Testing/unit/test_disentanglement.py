"""Probes per dimension, traversal maps, t-SNE and the slice Dice mean what the papers say they do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentangle.errors import InputError
from disentangle.metrics.disentanglement import probe_per_dimension, traversal_maps, tsne
from disentangle.metrics.overlap import dice_per_class, hd95, joint_dice, slice_dice


def test_only_the_dimension_that_carries_the_modality_can_be_read():
    random = np.random.default_rng(0)
    labels = np.tile([0, 1], 60)
    features = random.normal(size=(120, 4))
    features[:, 2] += 8 * labels
    scores = probe_per_dimension(features, labels, groups=np.repeat(np.arange(12), 10))
    assert scores[2] > 0.98
    assert max(scores[:2] + scores[3:]) < 0.7


def test_traversal_maps_show_where_and_in_which_direction_the_image_changes():
    values = np.linspace(-3, 3, 7)
    images = np.full((7, 2, 3), 5.0)
    images[:, 0, 0] += 2 * values
    images[:, 1, 2] -= values**3
    maps = traversal_maps(images, values)
    assert maps.correlation[0, 0] == pytest.approx(1.0)
    assert maps.correlation[1, 2] == pytest.approx(np.corrcoef(-(values**3), values)[0, 1])
    assert maps.correlation[0, 1] == 0
    assert maps.difference[0, 0] == pytest.approx(12)
    assert maps.difference[1, 2] == pytest.approx(-54)
    with pytest.raises(InputError, match="two values"):
        traversal_maps(images, np.zeros(7))


def test_tsne_keeps_separated_groups_apart_and_repeats():
    random = np.random.default_rng(1)
    features = random.normal(size=(30, 6))
    features[15:] += 20
    points = tsne(features, seed=3)
    assert points.shape == (30, 2)
    between = np.linalg.norm(points[:15].mean(0) - points[15:].mean(0))
    assert between > 3 * max(points[:15].std(), points[15:].std()) / 2
    assert np.allclose(points, tsne(features, seed=3))
    with pytest.raises(InputError, match="at least 4"):
        tsne(features[:3])


def test_joint_dice_counts_all_classes_at_once_and_empty_slices_as_one():
    truth = np.array([[1, 1, 2, 2, 0, 0]])
    prediction = np.array([[1, 1, 1, 2, 2, 0]])
    assert joint_dice(prediction, truth) == pytest.approx(2 * 3 / (5 + 4))
    volume_truth = np.stack([truth, truth * 0])
    assert slice_dice(np.stack([prediction, prediction * 0]), volume_truth) == pytest.approx((2 / 3 + 1) / 2)
    assert slice_dice(np.stack([prediction, prediction]), volume_truth) == pytest.approx(1 / 3)


def test_volume_dice_and_hausdorff_distance_agree_with_monai():
    from monai.metrics import compute_dice, compute_hausdorff_distance

    random = np.random.default_rng(4)
    truth = np.zeros((12, 14, 16), bool)
    truth[3:9, 3:10, 4:12] = True
    prediction = np.roll(truth, (1, 2, 0), (0, 1, 2)) & (random.random(truth.shape) > 0.02)
    spacing = (1.0, 1.5, 3.0)  # (i, j, k)
    one, two = (torch.from_numpy(a[None, None]).float() for a in (prediction, truth))
    assert dice_per_class(prediction * 1, truth * 1, {1: "x"})["x"] == pytest.approx(float(compute_dice(one, two)))
    theirs = compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=spacing[::-1])
    assert hd95(prediction, truth, spacing) == pytest.approx(float(theirs), abs=0.75)
