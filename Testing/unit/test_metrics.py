"""Metrics agree with hand-computed values, with skimage-like libraries and with the specification's check values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from disentangle.errors import InputError
from disentangle.metrics import frechet
from disentangle.metrics.disentanglement import distance_correlation, linear_probe, silhouette
from disentangle.metrics.image import (
    data_range,
    image_quality,
    mae,
    match_histogram,
    paper_mode,
    psnr,
    slice_axis,
    ssim,
)
from disentangle.metrics.overlap import average_surface_distance, dice, dice_per_class, hd95, surface_distances

FEATURES = [0.827385, 0.081492, 0.084260]
"""First features of a random slice, as this machine found them."""


@pytest.fixture
def volume() -> tuple[np.ndarray, np.ndarray]:
    """A smooth target volume (4, 40, 32) and a mask that leaves a border free."""
    k, j, i = np.mgrid[:4, :40, :32]
    target = np.sin(j / 5) + np.cos(i / 4) + 0.1 * k
    mask = np.zeros(target.shape, bool)
    mask[:, 5:-5, 4:-4] = True
    return target, mask


def test_psnr_of_a_constant_offset_follows_its_definition(volume):
    target, mask = volume
    expected = 20 * math.log10(data_range(target, mask) / 0.1)
    assert psnr(target + 0.1, target, mask) == pytest.approx(expected)
    assert psnr(target, target, mask) == math.inf


def test_only_voxels_inside_the_mask_count(volume):
    target, mask = volume
    spoilt = np.where(mask, target, 1000.0)
    assert psnr(spoilt, target, mask) == math.inf
    assert ssim(spoilt, target, mask) == pytest.approx(1.0)
    assert mae(spoilt, target, mask) == 0
    assert data_range(spoilt, mask) == data_range(target, mask)


def test_one_outlier_does_not_stretch_the_data_range(volume):
    target, mask = volume
    outlier = target.copy()
    outlier[2, 20, 16] = 1e6
    assert data_range(outlier, mask) == pytest.approx(data_range(target, mask), rel=0.05)


def test_ssim_equals_a_direct_computation_over_all_windows(volume):
    import torch
    from torch.nn.functional import avg_pool2d

    target, _ = volume
    noisy = target + np.random.default_rng(0).normal(0, 0.3, target.shape)
    x, y = (torch.tensor(a)[:, None] for a in (noisy, target))
    mean = lambda t: avg_pool2d(t, 7, stride=1)  # noqa: E731
    n = 49 / 48
    covariance = n * (mean(x * y) - mean(x) * mean(y))
    variances = n * (mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2)
    c1, c2 = (0.01 * 4) ** 2, (0.03 * 4) ** 2
    expected = (2 * mean(x) * mean(y) + c1) * (2 * covariance + c2)
    expected /= (mean(x) ** 2 + mean(y) ** 2 + c1) * (variances + c2)
    assert ssim(noisy, target, None, 4.0) == pytest.approx(float(expected.mean()), abs=1e-9)


@given(first=st.tuples(*[st.integers(0, 20)] * 3), size=st.tuples(*[st.integers(1, 21)] * 3))
@settings(max_examples=60, deadline=None)
def test_ssim_of_a_mask_is_the_mean_over_the_windows_centred_in_it_wherever_it_lies(first, size):
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(2, 21, 21, 21))
    mask = np.zeros(x.shape, bool)
    mask[tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))] = True
    x, y = np.where(mask, x, y[mask].min()), np.where(mask, y, y[mask].min())
    centred = mask[:, 3:-3, 3:-3]
    if not centred.any():
        with pytest.raises(InputError, match="touches no complete"):
            ssim(x, y, mask, 4.0)
        return
    a, b = (np.lib.stride_tricks.sliding_window_view(v, (7, 7), (1, 2))[centred].reshape(-1, 49) for v in (x, y))
    mean_a, mean_b, c1, c2 = a.mean(1), b.mean(1), (0.01 * 4) ** 2, (0.03 * 4) ** 2
    covariance = ((a - mean_a[:, None]) * (b - mean_b[:, None])).sum(1) / 48
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (a.var(1, ddof=1) + b.var(1, ddof=1) + c2)
    assert ssim(x, y, mask, 4.0) == pytest.approx(expected.mean(), abs=1e-9)


def test_quality_falls_with_noise(volume):
    target, mask = volume
    noise = np.random.default_rng(1).normal(size=target.shape)
    weak, strong = (image_quality(target + level * noise, target, mask) for level in (0.05, 0.5))
    assert weak.psnr > strong.psnr + 15
    assert weak.ssim > strong.ssim + 0.1
    assert weak.mae < strong.mae


def test_paper_mode_is_inflated_by_its_background(volume):
    target, mask = volume
    noisy = target + np.random.default_rng(2).normal(0, 0.3, target.shape)
    paper_psnr, paper_ssim = paper_mode(noisy, target, mask)
    assert paper_psnr > psnr(noisy, target, mask) + 5
    assert paper_ssim > ssim(noisy, target, mask)


def test_images_that_cannot_be_scored_are_refused_in_one_sentence(volume):
    target, mask = volume
    with pytest.raises(InputError, match="one grid"):
        psnr(target[:, :-1], target)
    with pytest.raises(InputError, match="mask is empty"):
        psnr(target, target, np.zeros_like(mask))
    with pytest.raises(InputError, match="constant"):
        psnr(target, np.ones_like(target))
    with pytest.raises(InputError, match="at least 7 x 7 pixels, and these have 40 x 6"):
        ssim(target[..., :6], target[..., :6])


def test_a_reference_with_voxels_that_are_no_numbers_is_refused_as_such_where_they_count(volume):
    target, mask = volume
    spoilt = target.copy()
    spoilt[1, 20, 16], spoilt[2, 20, 16] = np.nan, np.inf
    with pytest.raises(InputError, match="2 voxels that are no numbers"):
        image_quality(target, spoilt, mask)
    outside = np.where(mask, target, np.nan)
    assert psnr(target, outside, mask) == math.inf


def test_ssim_goes_through_the_slices_of_the_axis_that_is_asked_for(volume):
    target, mask = volume
    noisy = target + np.random.default_rng(3).normal(0, 0.3, target.shape)
    expected = ssim(noisy, target, mask)
    stored = [np.moveaxis(a, 0, 2) for a in (noisy, target, mask)]
    assert ssim(*stored, across=2) == pytest.approx(expected, abs=1e-12)
    assert image_quality(*stored, across=2).ssim == pytest.approx(expected, abs=1e-12)
    with pytest.raises(InputError, match="32 x 4"):
        ssim(*stored)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((5, 1, 1), 0), ((1, 5, 1), 1), ((1, 1, 5), 2), ((1, 1, 1), 0), ((1, 1.05, 1), 0), ((1, 2, 2), 0), ((3, 1, 2), 0)],
)
def test_slices_lie_across_the_coarsest_axis_and_the_first_where_none_stands_out(spacing, axis):
    assert slice_axis(spacing) == axis


def test_a_plateau_takes_the_quantile_in_the_middle_of_its_own():
    target = np.random.default_rng(0).random((3, 20, 20))
    mask = np.ones(target.shape, bool)
    clipped = np.where(target < 0.3, 0.0, target)
    matched = match_histogram(clipped, target, mask)
    assert matched[clipped == 0] == pytest.approx(np.median(target[clipped == 0]), abs=0.005)
    assert matched[clipped > 0] == pytest.approx(target[clipped > 0], abs=0.005)
    # In reverse order, too.
    assert match_histogram(-clipped, target, mask)[clipped == 0] == pytest.approx(matched[clipped == 0], abs=0.005)


def test_dice_of_half_overlapping_boxes_is_one_half():
    a, b = np.zeros((2, 8, 8), bool), np.zeros((2, 8, 8), bool)
    a[:, :, 0:4] = True
    b[:, :, 2:6] = True
    assert dice(a, b) == pytest.approx(0.5)
    assert math.isnan(dice(a & False, b & False))
    assert dice(a & False, b & False, empty=1.0) == 1.0


def test_dice_per_class_ignores_voxels_that_do_not_count():
    truth = np.array([[1, 1, 2, 2]])
    prediction = np.array([[1, 2, 2, 1]])
    scores = dice_per_class(prediction, truth, {1: "a", 2: "b"}, valid=np.array([[True, False, True, False]]))
    assert scores == {"a": 1.0, "b": 1.0}


def test_surface_distance_of_shifted_boxes_is_the_shift_in_millimetres():
    a = np.zeros((20, 20, 20), bool)
    a[5:15, 5:15, 4:14] = True
    b = np.roll(a, 3, axis=2)
    assert hd95(a, b, (2.0, 1.0, 1.0)) == pytest.approx(6.0)
    assert hd95(a, a, (2.0, 1.0, 1.0)) == 0
    assert 0 < average_surface_distance(a, b, (2.0, 1.0, 1.0)) < 6
    forth, back = surface_distances(a, b, (2.0, 1.0, 1.0))
    assert len(forth) == len(back) == 10**3 - 8**3
    assert math.isnan(hd95(a, a & False, (1.0, 1.0, 1.0)))


def test_an_object_at_the_edge_of_the_array_has_its_border_there():
    inner, edge = np.zeros((6, 12, 12), bool), np.zeros((6, 12, 12), bool)
    inner[2:4, 2:6, 2:6] = edge[2:4, 2:6, :4] = True
    # The same box moved by two voxels of 3 mm onto the edge: whole borders, faces at the edge among them, count.
    assert hd95(inner, edge, (3.0, 1.0, 1.0)) == pytest.approx(6.0)
    forth, back = surface_distances(inner, edge, (3.0, 1.0, 1.0))
    assert len(forth) == len(back) == inner.sum()
    whole = np.ones((3, 9, 9), bool)
    assert len(surface_distances(whole, whole, (1.0, 1.0, 1.0))[0]) == 3 * 9 * 9 - 7 * 7


def test_the_mean_surface_distance_is_over_the_border_voxels_of_both():
    line, dot = np.zeros((3, 5, 12), bool), np.zeros((3, 5, 12), bool)
    line[1, 2, 2:8] = True
    dot[1, 2, 2] = True
    # From the line 0, 2, 4, 6, 8, 10 mm, from the dot 0: seven border voxels.
    assert average_surface_distance(line, dot, (2.0, 1.0, 1.0)) == pytest.approx(30 / 7)
    assert average_surface_distance(dot, line, (2.0, 1.0, 1.0)) == pytest.approx(30 / 7)
    # The larger of both directions, whichever is the truth.
    assert hd95(line, dot, (2.0, 1.0, 1.0)) == hd95(dot, line, (2.0, 1.0, 1.0)) == pytest.approx(9.5)


@pytest.mark.parametrize(("n", "plain"), [(50, 0.785), (100, 0.695), (300, 0.547)])
def test_distance_correlation_of_independent_vectors_has_the_known_bias_and_the_correction_removes_it(n, plain):
    random = np.random.default_rng(n)
    results = [
        distance_correlation(random.normal(size=(n, 3000)), random.normal(size=(n, 8)), permutations=20)
        for _ in range(5)
    ]
    assert np.mean([r.plain for r in results]) == pytest.approx(plain, abs=0.02)
    assert abs(np.mean([r.corrected for r in results])) < 0.03
    assert results[0].n == n


def test_distance_correlation_of_a_linear_function_is_one_and_beyond_its_null():
    s = np.random.default_rng(0).normal(size=(60, 5))
    result = distance_correlation(s, 2 * s + 1)
    assert result.plain == pytest.approx(1.0)
    assert result.corrected == pytest.approx(1.0)
    assert result.corrected_root == pytest.approx(1.0)
    assert result.null_95 < 0.3


def test_a_linear_probe_finds_separable_classes_and_only_those():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], 25)
    subjects = np.tile(np.arange(25), 4)
    noise = random.normal(size=(100, 10))
    separable = noise + 8 * np.eye(10)[labels]
    assert linear_probe(separable, labels, subjects) > 0.95
    assert linear_probe(noise, labels, subjects) < 0.5
    assert silhouette(separable, labels) > 0.5 > silhouette(noise, labels)


def test_the_frechet_distance_of_normal_samples_follows_its_formula():
    random = np.random.default_rng(3)
    one = random.normal(0, 1, (40_000, 3)) * (1, 2, 3)
    two = random.normal(0, 1, (40_000, 3)) * (2, 2, 1) + (0.5, 0, -1)
    # Diagonal covariances: squared gaps of means and of standard deviations.
    assert frechet.frechet_distance(one, two) == pytest.approx(0.25 + 1 + 1 + 4, rel=0.02)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    assert frechet.frechet_distance(one @ turn, two @ turn) == pytest.approx(frechet.frechet_distance(one, two))
    assert frechet.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="cannot be compared"):
        frechet.frechet_distance(one, two[:, :2])


def test_random_features_are_the_same_everywhere_and_grow_apart_with_every_kind_of_change():
    random = np.random.default_rng(5)
    slices = [np.tanh(2 * ndimage.gaussian_filter(random.normal(0, 4, (60, 32, 32)), (0, 2, 2)))]
    features = frechet.random_features(slices[0])
    assert features.shape == (60, frechet.FEATURES)
    assert features[0, :3] == pytest.approx(FEATURES, rel=1e-4)
    noise = random.normal(size=slices[0].shape)
    changes = {
        "blur": lambda much: ndimage.gaussian_filter(slices[0], (0, 4 * much, 4 * much)),
        "noise": lambda much: slices[0] + much * noise,
        "brightness": lambda much: slices[0] + much,
        "contrast": lambda much: slices[0] * (1 - much),
    }
    for change in changes.values():
        values = [frechet.fid(slices, [change(much)]) for much in (0, 0.1, 0.2, 0.4)]
        assert values[0] == pytest.approx(0, abs=1e-6) and values == sorted(values) and values[-1] > 0.01
