"""Intensities are normalised alike in whatever units they come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from disentangle.errors import InputError
from disentangle.preprocessing import PreprocessingConfig, normalization, prepare
from disentangle.study import Image, Study

KINDS = ("zscore_mask", "percentile", "slice_percentile", "slice", "max")


def volume() -> np.ndarray:
    """(K, J, I) intensities of about 100 to 300; slice 2 is constant."""
    values = np.random.default_rng(4).normal(200.0, 30.0, (6, 20, 20)).astype(np.float32)
    values[2] = 150.0
    return values


def normalised(values: np.ndarray, kind: str) -> np.ndarray:
    everywhere, config = np.ones(values.shape, bool), PreprocessingConfig(normalization=kind)
    return normalization.apply(values, *normalization.measure(values, everywhere, config))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6])
def test_the_unit_of_the_intensities_does_not_matter(kind, unit):
    values = volume()
    assert normalised(values * np.float32(unit), kind) == pytest.approx(normalised(values, kind), abs=0.01)


@pytest.mark.parametrize("corrected", [False, True])
def test_a_map_in_si_units_is_prepared_as_any_other_image(corrected):
    ball = np.linalg.norm(np.indices((24, 24, 24)) - 12.0, axis=0) < 9.0
    values = np.random.default_rng(5).normal(100.0, 20.0, ball.shape)
    t1 = Image(np.where(ball, values, 0.0).astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]), sequence="T1")
    small = replace(t1, array=t1.array * np.float32(1e-9))
    config = PreprocessingConfig(spacing=(3, 3, 3), pose="reference", registration="none", bias_field=corrected)
    usual, found = (prepare(Study({"T1": image}), config).images["T1"] for image in (t1, small))
    assert found == pytest.approx(usual, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_a_constant_image_is_refused_in_any_unit_and_up_to_rounding(kind, unit):
    values = np.full((4, 9, 9), 150.0, np.float32)
    values[::2] = np.nextafter(values[::2], np.float32(1000.0))
    with pytest.raises(InputError, match="is constant"):
        normalised(values * np.float32(unit), kind)
    with pytest.raises(InputError, match="is constant"):
        normalised(np.zeros_like(values), kind)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("kind", ["slice", "slice_percentile"])
def test_a_slice_of_rounding_alone_becomes_the_least_value_and_is_not_stretched(kind, unit):
    values = volume()
    values[2, ::2] = np.nextafter(values[2, ::2], np.float32(1000.0))
    done = normalised(values * np.float32(unit), kind)
    assert done[2] == pytest.approx(-1.0, abs=0.1)
    assert done[3].max() - done[3].min() > 1.99


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("kind", ["slice", "slice_percentile"])
def test_what_is_drawn_in_a_constant_slice_has_intensities_like_the_image(kind, unit):
    values, config = volume() * np.float32(unit), PreprocessingConfig(normalization=kind)
    offset, scale = normalization.measure(values, np.ones(values.shape, bool), config)
    drawn = normalization.invert(np.ones(values.shape, np.float32), offset, scale)
    assert values[2].max() < drawn[2].max() < 3 * values.max()


@pytest.mark.parametrize("kind", ["zscore_mask", "percentile", "slice"])
def test_a_wild_voxel_of_a_fitted_map_does_not_make_all_others_rounding(kind):
    values = volume()
    expected = normalised(values, kind)
    values[0, 0, 0] = 1e12
    done = normalised(values, kind)
    assert done[1:] == pytest.approx(expected[1:], abs=0.1)
    assert done[3].std() > 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_zero_nearly_everywhere_has_finite_values(kind):
    values = np.zeros((5, 40, 40), np.float32)
    values[2, 10, 10] = 7.0
    assert np.isfinite(normalised(values, kind)).all()
