"""Every step of the preprocessing has its inverse, whatever the geometry and the intensities."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.preprocessing.config import MASKS, NORMALIZATIONS, POSES, REGISTRATIONS
from disentangle.preprocessing.registration import nearest_rotation, rotation_about
from disentangle.preprocessing.resampling import canonical_axes, matrix_of, resample, transform_of
from disentangle.study import Grid, Image, Study

angles = st.tuples(*[st.floats(-180, 180)] * 3)
small_angles = st.tuples(*[st.floats(-25, 25)] * 3)
points = st.tuples(*[st.floats(-200, 200)] * 3)
spacings = st.tuples(*[st.floats(1.5, 4.0)] * 3)
orders = st.permutations((0, 1, 2))
flips = st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)


def ball(affine: np.ndarray, size: tuple[int, int, int], contrast: float, offset: float) -> Image:
    """A smooth ball of 22 mm radius in the middle of a grid, on a background of its own."""
    grid = Grid(size[::-1], affine)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), axis=-1)
    at = index @ affine[:3, :3].T + affine[:3, 3] - grid.corners().mean(axis=0)
    inside = np.linalg.norm(at, axis=-1) < 22.0
    values = offset + contrast * (2.0 + np.cos(at[..., 0] / 9) + np.sin(at[..., 1] / 11) + np.cos(at[..., 2] / 13))
    return Image(np.where(inside, values, offset - contrast).astype(np.float32).transpose(2, 1, 0), affine)


def random_affine(turn, order, flip, spacing, centre) -> tuple[np.ndarray, tuple[int, int, int]]:
    """An affine with the given axes, and the size that makes its grid about 60 mm wide around ``centre``."""
    size = tuple(int(np.ceil(60 / s)) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = (rotation_about(turn, np.zeros(3), np.zeros(3))[:3, :3] * flip)[:, list(order)] * spacing
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ (np.array(size) - 1) / 2
    return affine, size


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_angles, orders, flips, spacings, points, st.floats(0.5, 500), st.floats(-1000, 1000))
def test_an_input_of_any_geometry_and_intensity_is_given_back(turn, order, flip, spacing, centre, contrast, offset):
    affine, size = random_affine(turn, order, flip, spacing, centre)
    image = ball(affine, size, contrast, offset)
    config = PreprocessingConfig(
        spacing=(1.5, 1.5, 1.5), size_multiple=8, pose="reference", registration="none", clip=None
    )
    prepared = prepare(Study({"T1": image}), config)
    back = prepared.to_input(prepared.denormalize(prepared.images["T1"], "T1"), "T1")
    assert back.grid.same_as(image.grid)
    middle = prepared.to_input(prepared.mask.astype(np.float32), "T1").array > 0.999
    assert middle.sum() > 50
    assert np.abs(back.array - image.array)[middle].mean() < 0.12 * contrast


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(angles, points, st.integers(0, 2**31))
@example(turn=(0.0, 1.890625, 1e-300), shift=(0.0, 0.0, 0.0), seed=0)  # ITK's SVD fails on denormal numbers
def test_what_is_resampled_through_a_transform_returns_through_its_inverse(turn, shift, seed):
    grid = Grid((12, 14, 16), np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = np.random.default_rng(seed).integers(0, 9, grid.shape).astype(np.int16)
    image = Image(labels, grid.affine)
    matrix = rotation_about(turn, grid.corners().mean(axis=0), np.array(shift))
    # The same voxels seen from the other side of the transform.
    elsewhere = Grid(grid.shape, np.linalg.inv(matrix) @ grid.affine)
    moved = resample(image.to_sitk(), elsewhere, matrix, "nearest")
    back = resample(Image(moved, elsewhere.affine).to_sitk(), grid, np.linalg.inv(matrix), "nearest")
    assert np.array_equal(moved, labels) and np.array_equal(back, labels)


@given(angles, orders, flips)
def test_canonical_axes_are_a_rotation_whose_axes_run_to_left_posterior_superior(turn, order, flip):
    axes = (rotation_about(turn, np.zeros(3), np.zeros(3))[:3, :3] * flip)[:, list(order)]
    canonical = canonical_axes(axes)
    assert np.linalg.det(canonical) == pytest.approx(1.0)
    assert canonical.T @ canonical == pytest.approx(np.eye(3), abs=1e-9)
    # The same lines as before, only named and directed anew.
    assert np.sort(np.abs(canonical.T @ axes).round(6), axis=None)[-3:] == pytest.approx(np.ones(3), abs=1e-5)
    assert np.trace(canonical) >= 1.0 or np.abs(axes).max() < 0.8


@given(angles, points, st.floats(0.5, 2.0))
def test_a_matrix_survives_the_transform_and_its_rotation_the_scale(turn, shift, scale):
    matrix = rotation_about(turn, np.zeros(3), np.array(shift))
    assert matrix_of(transform_of(matrix)) == pytest.approx(matrix, abs=1e-9)
    assert nearest_rotation(matrix[:3, :3] * scale) == pytest.approx(matrix[:3, :3], abs=1e-9)


@given(
    spacing=spacings,
    size_multiple=st.integers(1, 64),
    margin_mm=st.floats(0, 30),
    registration=st.sampled_from(REGISTRATIONS),
    pose=st.sampled_from(POSES),
    bias_field=st.booleans(),
    mask=st.sampled_from(MASKS),
    normalization=st.sampled_from(NORMALIZATIONS),
    clip=st.none() | st.just((-3.0, 4.0)),
    background=st.floats(-10, 10),
)
def test_settings_survive_the_bundle(**values):
    config = PreprocessingConfig(window=(-100.0, 200.0), **values)
    assert PreprocessingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
