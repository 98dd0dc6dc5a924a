"""Synthetic images against their references: units, slices, histograms, and what cannot be scored."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.errors import InputError
from disentangle.inference.quality import fit_scale, synthesis_quality
from disentangle.metrics.image import match_histogram


def test_scoring_forgives_the_unit_but_not_the_contrast():
    generator = np.random.default_rng(0)
    reference, mask = generator.random((8, 16, 16)).astype(np.float32) * 300, np.ones((8, 16, 16), bool)
    assert np.allclose(fit_scale(0.01 * reference + 7, reference, mask), reference, atol=0.05)
    noisy = reference + 30 * generator.standard_normal(reference.shape)
    scores = synthesis_quality(noisy, reference, {"T1": generator.random(reference.shape), "T2": noisy}, mask)
    assert 10 < scores["psnr"] < 25
    assert scores["nearest_input"]["sequence"] == "T2"
    assert synthesis_quality(reference, reference, {}, mask)["ssim"] == pytest.approx(1.0)


def test_ssim_is_taken_through_the_slices_as_acquired_however_they_are_stored():
    generator = np.random.default_rng(4)
    reference, mask = generator.random((8, 16, 20)).astype(np.float32), np.ones((8, 16, 20), bool)
    made = reference + 0.1 * generator.standard_normal(reference.shape).astype(np.float32)
    wanted = synthesis_quality(made, reference, {"T1": made}, mask, (1.0, 1.0, 4.0))
    stored = [np.ascontiguousarray(np.moveaxis(a, 0, 2)) for a in (made, reference, mask)]
    found = synthesis_quality(stored[0], stored[1], {"T1": stored[0]}, stored[2], (4.0, 1.0, 1.0))
    assert found["ssim"] == wanted["ssim"]
    assert found["nearest_input"]["ssim"] == wanted["nearest_input"]["ssim"]
    # Where the first axis is the coarsest, or none, slices are those of the first.
    assert synthesis_quality(made, reference, {}, mask)["ssim"] == wanted["ssim"]


def test_a_synthetic_image_of_voxels_that_are_no_numbers_has_no_score():
    reference, mask = np.random.default_rng(5).random((3, 9, 9)), np.ones((3, 9, 9), bool)
    with pytest.raises(InputError, match="synthetic image has voxels that are no numbers"):
        synthesis_quality(np.where(reference > 0.9, np.nan, reference), reference, {}, mask)


def test_a_matched_histogram_is_that_of_the_target():
    generator = np.random.default_rng(1)
    image, target = generator.random((6, 20, 20)), generator.gamma(2.0, 50.0, (6, 20, 20))
    matched = match_histogram(image, target, np.ones(image.shape, bool))
    assert np.allclose(np.quantile(matched, [0.1, 0.5, 0.9]), np.quantile(target, [0.1, 0.5, 0.9]), rtol=0.02)
    assert np.corrcoef(image.ravel(), target.ravel())[0, 1] < 0 or np.argmax(matched) == np.argmax(image)
    opposite = match_histogram(-target, target, np.ones(image.shape, bool))
    assert np.allclose(opposite, target, rtol=0.05)
