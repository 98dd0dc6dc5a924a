"""Stacks of 2-D slices keep their slices; intensities that nobody measured get the units of their modality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from disentangle.bundles.card import default_class
from disentangle.errors import InputError
from disentangle.inference.result import segment_fields
from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.preprocessing.resampling import slice_axes
from disentangle.study import Image, Study

STACKS = PreprocessingConfig(
    spacing=(2.0, 2.0, 1.0),
    own_slices=True,
    pose="reference",
    registration="none",
    mask="none",
    margin_mm=0.0,
    size_multiple=16,
    normalization="slice_percentile",
    window=(-150.0, 250.0),
    clip=(-1.0, 1.0),
    background=-1.0,
)
AXIAL, SAGITTAL = np.eye(3), np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)


def stack(sequence: str, slices: int, step: float, origin: float = 0.0, axes: np.ndarray = AXIAL) -> Image:
    """Noise on 24 x 20 pixels of 2 mm."""
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array([2.0, 2.0, step])
    affine[:3, 3] = origin
    array = np.random.default_rng(slices).random((slices, 20, 24)) * 400 + 100
    return Image(array.astype(np.float32), affine, sequence)


@pytest.mark.parametrize("axes", [AXIAL, SAGITTAL])
def test_slices_are_those_of_the_reference(axes):
    study = Study({"LGE": stack("LGE", 7, 8.0, axes=axes), "cine": stack("cine", 5, 11.0, axes=axes)})
    for name, count, step in (("LGE", 7, 8.0), ("cine", 5, 11.0)):
        prepared = prepare(study, STACKS, name)
        assert len(prepared.grid.shape) == 3
        assert prepared.grid.shape[0] == count
        assert prepared.grid.spacing.tolist() == pytest.approx([2.0, 2.0, step])
        own = prepared.images[name][:, prepared.mask.any(axis=(0, 2))][:, :, prepared.mask.any(axis=(0, 1))]
        own = own if np.linalg.det(axes) > 0 else own[::-1]  # a left-handed stack is read from its other end
        limits = np.percentile(study[name].array, (1, 99), axis=(1, 2))[..., None, None]
        expected = np.clip(2 * (study[name].array - limits[0]) / (limits[1] - limits[0]) - 1, -1, 1)
        assert np.allclose(own, expected, atol=1e-4)  # not a voxel was interpolated
        assert (prepared.images[name][~prepared.mask] == -1).all()


@pytest.mark.parametrize(
    ("axes", "spacing", "expected"),
    [
        (AXIAL, (1, 1, 8), AXIAL),
        (SAGITTAL, (1, 1, 8), np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])),
        (np.diag([-1.0, 1.0, -1.0]), (1, 1, 1), AXIAL),
        (AXIAL[:, [2, 0, 1]], (8, 1, 1), AXIAL),
        (AXIAL, (1, 1, 0.8), AXIAL),
    ],
)
def test_slices_are_turned_as_they_are_usually_shown(axes, spacing, expected):
    found = slice_axes(axes, np.array(spacing, float))
    assert np.allclose(found, expected)
    assert np.linalg.det(found) == pytest.approx(1)


def test_stacks_whose_headers_do_not_overlap_are_laid_over_each_other_with_one_warning():
    study = Study({"cine": stack("cine", 5, 8.0), "LGE": stack("LGE", 5, 8.0, origin=4000.0)})
    prepared = prepare(study, STACKS, "cine")
    (warning,) = prepared.warnings
    assert warning.startswith("LGE and cine do not overlap in space; their middles")
    alone = prepare(Study({"LGE": study["LGE"]}), STACKS)
    assert np.allclose(prepared.images["LGE"], alone.images["LGE"], atol=1e-4)


def test_own_slices_do_not_go_with_the_pose_of_the_atlas():
    with pytest.raises(InputError, match="needs the pose 'reference'"):
        PreprocessingConfig(own_slices=True)


def test_synthetic_intensities_take_the_units_of_their_modality():
    study = Study({"T1": stack("T1", 5, 8.0), "T2": stack("T2", 5, 8.0)})
    prepared = prepare(study, STACKS, "T1")
    ends = np.zeros(prepared.grid.shape, np.float32)
    ends[0], ends[-1] = -1.0, 1.0
    assert prepared.units_of("T2SPIR") == "T1"
    assert prepared.units_of("CT") is None
    assert prepared.denormalize(ends, "CT")[[0, -1], 0, 0].tolist() == [-150.0, 250.0]
    assert prepared.least("CT") == (-150.0, -150.0)
    ct = prepare(Study({"CT": stack("CT", 5, 8.0)}), STACKS)
    assert ct.units_of("T1") is None
    assert ct.denormalize(ends, "T1")[[0, -1], 0, 0].tolist() == [0.0, 1000.0]
    assert ct.least("T1") == (0.0, 0.0)


def test_a_kidney_is_left_or_right_in_the_header_that_slicer_reads():
    left = default_class(1, "left kidney")
    assert left.terminology["modifier"]["meaning"] == "Left"
    fields = segment_fields(stack("CT", 5, 8.0), [default_class(0, "background"), left])
    assert "SCT^64033007^Kidney~SCT^7771000^Left~~^^~^^|" in fields["Segment0_Tags"]


def test_synthetic_pet_is_in_uptake_values_where_the_model_says_which():
    study = Study({"T1": stack("T1", 5, 8.0)})
    prepared = prepare(study, replace(STACKS, suv=(5.0, 2.0)), "T1")
    ends = np.zeros(prepared.grid.shape, np.float32)
    ends[0], ends[-1] = -1.0, 1.0
    assert prepared.units_of("PET") is None
    assert prepared.denormalize(ends, "PET")[[0, -1], 0, 0].tolist() == [3.0, 7.0]
    assert prepared.least("PET") == (0.0, 0.0)
    with pytest.raises(InputError, match="suv is a mean"):
        replace(STACKS, suv=(5.0, 0.0))
