"""Any orientation, spacing, handedness and voxel type: a volume lies where it lay, in every format and for ITK too."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from disentangle.study import Grid, Image, Study

finite = st.floats(-1, 1, allow_nan=False, width=32)
TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, optionally mirrored (left-handed axes exist in files), spacing 0.2-8 mm, origin within 1 m."""
    quaternion = np.array([draw(finite) for _ in range(4)]) + [1e-3, 0, 0, 0]
    quaternion /= np.linalg.norm(quaternion)
    rotation = np.array(sitk.VersorTransform([float(v) for v in (*quaternion[1:], quaternion[0])]).GetMatrix())
    axes = rotation.reshape(3, 3)[:, draw(st.permutations([0, 1, 2]))]
    axes = axes * [draw(st.sampled_from([1, -1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = axes * [draw(st.floats(0.2, 8)) for _ in range(3)]
    affine[:3, 3] = [draw(st.floats(-1000, 1000)) for _ in range(3)]
    return affine


@st.composite
def images(draw: st.DrawFn) -> Image:
    shape = tuple(draw(st.integers(3, 9)) for _ in range(3))
    seed = draw(st.integers(0, 2**32 - 1))
    array = np.random.default_rng(seed).normal(0, 100, shape).clip(0, 255).astype(draw(st.sampled_from(TYPES)))
    return Image(array, draw(affines()))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@given(image=images())
@settings(max_examples=40, deadline=None)
def test_every_file_format_keeps_voxels_and_place(tmp_path_factory, suffix: str, image: Image) -> None:
    path = image.write(tmp_path_factory.mktemp("round") / f"T1{suffix}")
    again = Image.read(path)
    assert np.array_equal(again.array, image.array)
    assert again.array.dtype == image.array.dtype
    # NIfTI stores its geometry in single precision: micrometres at a metre from the origin.
    assert again.grid.same_as(image.grid, 2e-3 if ".nii" in suffix else 1e-6)
    seen_by_itk = Image.from_sitk(sitk.ReadImage(str(path)))
    assert seen_by_itk.grid.same_as(again.grid, 1e-9)
    assert np.array_equal(seen_by_itk.array, again.array)


@given(image=images())
@settings(max_examples=60, deadline=None)
def test_simpleitk_and_back_is_exact(image: Image) -> None:
    again = Image.from_sitk(image.to_sitk())
    assert np.array_equal(again.array, image.array)
    assert again.grid.same_as(image.grid, 1e-9)
    reference = image.grid.to_sitk_reference()
    last = [n - 1 for n in image.grid.size]
    assert np.allclose(reference.TransformIndexToPhysicalPoint(last), image.affine[:3] @ [*last, 1], atol=1e-9)


@given(image=images(), shift=st.floats(0, 0.005))
@settings(max_examples=40, deadline=None)
def test_a_grid_is_the_same_within_the_tolerance_only(image: Image, shift: float) -> None:
    moved = image.affine.copy()
    moved[0, 3] += shift
    assert image.grid.same_as(Grid(image.array.shape, moved))
    moved[0, 3] += 0.02
    assert not image.grid.same_as(Grid(image.array.shape, moved))


@given(first=images(), second=affines())
@settings(max_examples=15, deadline=None)
def test_a_study_keeps_each_sequence_in_its_own_geometry(tmp_path_factory, first: Image, second: np.ndarray) -> None:
    study = Study({"T1": first, "FLAIR": Image(first.array[::-1].copy(), second)}, name="fuzz")
    folder = study.write(tmp_path_factory.mktemp("study"))
    for sequence, image in study.images.items():
        again = Image.read(folder / f"{sequence}.nii.gz")
        assert np.array_equal(again.array, image.array)
        assert again.grid.same_as(image.grid, 2e-3)
