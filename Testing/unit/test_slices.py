"""Single slices of the working grid: found where the user looks, in the intensities of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.inference.slices import intensities_of, nearest_slice
from disentangle.preprocessing import PreparedStudy, PreprocessingConfig
from disentangle.preprocessing.registration import rotation_about
from disentangle.preprocessing.resampling import transform_of
from disentangle.study import Grid, Image, Study

SHAPE = (12, 6, 5)


def prepared(moved: np.ndarray | None = None, **fields) -> PreparedStudy:
    """Slices of 3 mm, the first at z = -9 mm; T2 lies elsewhere than the reference T1; slices 2 to 9 are inside."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[2, 3] = -9.0
    mask = np.zeros(SHAPE, bool)
    mask[2:10] = True
    given = {
        "study": Study({"T1": Image(np.ones(SHAPE, np.float32), affine, sequence="T1")}),
        "config": PreprocessingConfig(),
        "reference": "T1",
        "grid": Grid(SHAPE, affine),
        "images": {},
        "mask": mask,
        "labels": None,
        "transforms": {"T1": transform_of(np.eye(4)), "T2": transform_of(np.eye(4) if moved is None else moved)},
        "normalization": {},
    }
    return PreparedStudy(**given | fields)


def test_the_slice_is_found_from_a_point_of_an_input_that_lies_elsewhere_than_the_reference():
    moved = np.eye(4)
    moved[2, 3] = 6.0  # what T1 has at z, T2 has at z + 6
    assert nearest_slice(prepared(moved), (0.0, 0.0, 12.0), "T2") == 5  # 6 mm in T1
    assert nearest_slice(prepared(moved), (0.0, 0.0, 12.0), "T1") == 7


def test_the_slice_is_found_from_a_point_of_an_input_that_is_turned():
    quarter = rotation_about((90.0, 0.0, 0.0), np.zeros(3), np.zeros(3))  # y becomes z, and z becomes -y
    assert nearest_slice(prepared(quarter), (0.0, -6.0, 1000.0), "T2") == 5


def placed(matrix: np.ndarray) -> PreparedStudy:
    """A study whose first input is not the reference; ``matrix`` takes points of the reference to its own."""
    images = {name: Image(np.ones(SHAPE, np.float32), np.eye(4), name) for name in ("T2", "T1")}
    return prepared(matrix, study=Study(images))


def test_images_that_are_given_away_lie_where_the_grid_does_if_the_first_input_is_the_reference():
    study = prepared(rotation_about((20.0, 0.0, 0.0), np.zeros(3), np.ones(3)))
    assert np.array_equal(study.working_image(study.mask).affine, study.grid.affine)


def test_images_that_are_given_away_turn_with_the_head_of_the_first_input():
    quarter = rotation_about((90.0, 0.0, 0.0), np.zeros(3), np.array([0.0, 5.0, 0.0]))  # z becomes -y
    study = placed(quarter)
    image = study.working_image(study.mask, "T2")
    assert np.allclose(image.affine @ [0, 0, 4, 1], [0.0, 5.0 - 3.0, 0.0, 1.0])  # the reference has slice 4 at z = 3
    slab = study.working_slab(study.mask[4:6], 4, "preview")
    assert np.allclose(slab.affine @ [2, 3, 1, 1], image.affine @ [2, 3, 5, 1])
    assert nearest_slice(study, (slab.affine @ [2, 3, 1, 1])[:3], "T2") == 5
    assert np.array_equal(study.grid.affine, prepared().grid.affine)


def test_of_an_affine_registration_stretch_turn_and_middle_are_kept_and_the_shear_is_lost():
    turn = rotation_about((0.0, 0.0, 30.0), np.zeros(3), np.array([4.0, 5.0, 6.0]))
    stretched = placed(turn @ np.diag([1.1, 0.9, 1.05, 1.0]))
    exact = turn @ np.diag([1.1, 0.9, 1.05, 1.0]) @ stretched.grid.affine
    assert np.allclose(stretched.working_affine, exact)
    shear = np.eye(4)
    shear[0, 2] = 0.2
    sheared, middle = placed(turn @ shear), np.array([2.0, 2.5, 5.5, 1.0])  # of the mask
    found = sheared.working_affine
    assert np.allclose(found @ middle, turn @ shear @ sheared.grid.affine @ middle)
    axes = Grid(SHAPE, found).direction
    assert np.allclose(axes.T @ axes, np.eye(3))
    corners = [found @ [i, j, k, 1] - turn @ shear @ sheared.grid.affine @ [i, j, k, 1] for i in (0, 4) for j in (0, 5)
               for k in (2, 9)]  # fmt: skip
    assert np.linalg.norm(corners, axis=1).max() < 0.2 * 10.5 / np.sqrt(2)  # half the mask's height, half the shear


def test_beyond_the_mask_the_last_slice_inside_is_nearest():
    assert nearest_slice(prepared(), (0.0, 0.0, -500.0), "T1") == 2
    assert nearest_slice(prepared(), (0.0, 0.0, 500.0), "T1") == 9


@pytest.mark.parametrize("by_slice", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_intensities_of_slices_are_those_of_the_whole_volume(by_slice, biased):
    random = np.random.default_rng(6)
    levels = [random.uniform(50, 90, (SHAPE[0], 1, 1)).astype(np.float32) for _ in range(2)]
    study = prepared(
        normalization={"T1": tuple(levels) if by_slice else (120.0, 35.0), "T2": (1.0, 2.0)},
        bias={"T1": random.uniform(0.5, 2.0, SHAPE).astype(np.float32)} if biased else {},
    )
    values, slices = random.normal(size=SHAPE).astype(np.float32), np.array([7, 3, 4])
    for units in ("T1", "T2", "FLAIR"):
        found = intensities_of(study, values[slices], slices, units)
        assert np.array_equal(found, study.denormalize(values, units)[slices])
