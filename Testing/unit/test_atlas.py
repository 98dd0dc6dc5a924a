"""The committed atlas: what it holds and where it lies."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.errors import InputError
from disentangle.preprocessing.atlas import load_atlas


@pytest.fixture(params=[2.0, 3.0])
def atlas(request):
    return load_atlas(request.param)


def test_tissue_fractions_sum_to_one_in_the_brain_and_to_nothing_outside(atlas):
    total = atlas.gm + atlas.wm + atlas.csf
    assert np.abs(total[atlas.brain] - 1).max() < 1e-4
    assert total[~atlas.brain].max() == 0


def test_volumes_are_those_of_an_adult_brain(atlas):
    litres_per_voxel = np.prod(atlas.grid.spacing) / 1e6
    assert 1.7 < atlas.brain.sum() * litres_per_voxel < 2.0
    assert 0.35 < atlas.wm.sum() * litres_per_voxel < 0.75
    assert 0.65 < atlas.gm.sum() * litres_per_voxel < 1.1


def test_white_matter_is_bright_and_fluid_dark_on_t1(atlas):
    fluid, grey, white = (atlas.t1[m > 0.9].mean() for m in (atlas.csf, atlas.gm, atlas.wm))
    assert fluid < 0.75 * grey < grey < 0.9 * white


def test_axes_follow_the_patient_in_lps(atlas):
    """The cerebellum, the widest grey matter low in the head, lies posterior (large j) and inferior (small k)."""
    assert np.allclose(atlas.grid.affine[:3, :3], np.diag(atlas.grid.spacing))
    k, j, i = np.nonzero(atlas.brain)
    points = np.stack([i, j, k, np.ones_like(i)], 1) @ atlas.grid.affine.T
    low = points[points[:, 2] < -45]
    assert len(low) > 100
    assert low[:, 1].mean() > 25
    # MNI space: left and right alike, the brain reaches from 108 mm behind the anterior commissure to 73 mm before it.
    assert abs(points[:, 0].mean()) < 2
    assert points[:, 1].min() == pytest.approx(-72, abs=5)
    assert points[:, 1].max() == pytest.approx(108, abs=5)


def test_resolution_does_not_move_the_brain():
    centres = []
    for resolution in (1.5, 2.0, 3.7):
        atlas = load_atlas(resolution)
        k, j, i = np.nonzero(atlas.brain)
        centres.append((np.stack([i, j, k, np.ones_like(i)], 1) @ atlas.grid.affine.T).mean(0)[:3])
    assert np.ptp(centres, axis=0).max() < 0.3


def test_an_impossible_resolution_is_refused():
    with pytest.raises(InputError, match="mm"):
        load_atlas(0.0)
