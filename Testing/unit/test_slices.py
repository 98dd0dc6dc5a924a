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
