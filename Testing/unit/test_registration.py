"""Registration finds the pose of one sequence against another, says how sure it is, and refuses what cannot work."""

from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from atlas_brains import brain, brain_points, named

from disentangle.errors import Cancelled, InputError
from disentangle.preprocessing import registration
from disentangle.preprocessing.pyramid import Pyramid
from disentangle.preprocessing.registration import (
    displacement,
    nearest_rotation,
    overlap_gap,
    register,
    require_overlap,
    rotation_about,
    search_from_identity,
)
from disentangle.preprocessing.resampling import matrix_of, resample, transform_of
from disentangle.progress import Progress
from disentangle.study import Grid, Image

POSE = rotation_about((8.0, -6.0, 10.0), np.zeros(3), np.array([7.0, -5.0, 9.0]))


@pytest.fixture(scope="module")
def t1() -> Image:
    return named(brain((40, 110, 160)), "T1")


@pytest.fixture(scope="module")
def t2() -> Image:
    """Another contrast of the same brain, lying elsewhere."""
    return named(brain((200, 120, 90), POSE, seed=1), "T2")


@pytest.fixture(scope="module")
def found(t1, t2):
    return register(t2, t1)


def test_a_known_pose_is_found_across_contrasts(found):
    assert displacement(found.matrix, POSE, brain_points()) < 1.0


def test_the_transform_maps_fixed_points_to_moving_points_as_resampling_wants_it(found, t1, t2):
    moved = resample(t2.to_sitk(), t1.grid, found.matrix)
    before = resample(t2.to_sitk(), t1.grid)
    mask = t1.array > 0
    overlap = [2 * np.sum((a > 20) & mask) / (np.sum(a > 20) + mask.sum()) for a in (before, moved)]
    assert overlap[0] < 0.87 and overlap[1] > 0.94


def test_the_error_estimate_is_near_the_error(found):
    assert 0.0 < found.error_estimate_mm < 1.5
    assert found.moved_mm == pytest.approx(displacement(POSE, np.eye(4), brain_points()), abs=1.5)


def test_a_second_run_gives_the_same_numbers(found, t1, t2):
    again = register(t2, t1)
    assert np.array_equal(found.matrix, again.matrix)
    assert found.error_estimate_mm == again.error_estimate_mm


@pytest.mark.parametrize("angles", [(40, 0, 0), (0, 0, -40), (-24, 22, 24)])
def test_forty_degrees_of_rotation_in_the_header_are_found(t1, angles):
    turn = rotation_about(angles, np.zeros(3), np.array([20.0, -15.0, 25.0]))
    straight = brain((200, 120, 90), seed=1)
    turned = Image(straight.array, turn @ straight.affine, sequence="FLAIR")
    found = register(turned, t1)
    assert displacement(found.matrix, turn, brain_points()) < 1.5


def test_affine_registration_finds_a_stretch_that_rigid_cannot(t1):
    stretch = np.diag([1.0, 0.95, 1.07, 1.0])
    moving = brain((200, 120, 90), stretch, seed=1)
    found = register(moving, t1, "affine")
    assert displacement(found.matrix, stretch, brain_points()) < 1.0
    assert abs(np.linalg.det(found.matrix[:3, :3]) - 0.95 * 1.07) < 0.02


def test_a_given_start_is_refined(t1, t2):
    near = rotation_about((6.0, -6.0, 8.0), np.zeros(3), np.array([5.0, -4.0, 7.0]))
    found = register(t2, t1, initial=transform_of(near))
    assert found.start == "given"
    assert displacement(found.matrix, POSE, brain_points()) < 1.0


def test_aligned_images_are_recognised_and_shifted_ones_too(t1):
    shift = rotation_about((0, 0, 0), np.zeros(3), np.array([3.0, 0, 0]))
    straight, shifted = (Pyramid(brain((200, 120, 90), matrix, seed=1), None) for matrix in (None, shift))
    assert search_from_identity(straight, Pyramid(t1, None)).aligned
    assert not search_from_identity(shifted, Pyramid(t1, None)).aligned


def test_an_image_whose_origin_was_lost_is_not_taken_for_aligned_but_found(t1, t2):
    """Only black background lies on the head there, and a search on a flat metric stays where it is."""
    size = np.array(t1.grid.size) * t1.spacing
    lost = t2.affine.copy()
    lost[:3, 3] += 0.75 * size
    moved = replace(t2, affine=lost)
    check = search_from_identity(Pyramid(moved, None), Pyramid(t1, None))
    assert check.moved_mm < registration.ALIGNED_MM and check.metric < registration.UNRELATED_NATS
    assert not check.aligned
    shift = np.eye(4)
    shift[:3, 3] = 0.75 * size
    assert displacement(register(moved, t1).matrix, shift @ POSE, brain_points()) < 1.0


def test_thick_slices_are_not_shrunk_along_the_slice_axis():
    image = Image(np.random.default_rng(0).random((26, 208, 256), dtype=np.float32), np.diag([0.9, 0.9, 5.5, 1.0]))
    pyramid = Pyramid(image, np.ones(image.array.shape, dtype=bool))
    assert [pyramid.level(mm).GetSize()[2] for mm in (8.0, 4.0, 2.0)] == [26, 26, 26]
    assert [208 // pyramid.level(mm).GetSize()[1] for mm in (8.0, 4.0, 2.0)] == [9, 4, 2]
    assert pyramid.level(4.0).GetSpacing() == pytest.approx((3.6, 3.6, 5.5))


def test_levels_are_block_means_as_simpleitk_makes_them():
    affine = rotation_about((10, -20, 5), np.zeros(3), np.array([3.0, 1.0, -7.0])) @ np.diag([0.9, 1.1, 1.5, 1.0])
    image = Image(np.random.default_rng(1).integers(-500, 3000, (61, 77, 83)).astype(np.int16), affine)
    pyramid = Pyramid(image, image.array > 0)
    for mm, factors in ((8.0, [9, 7, 5]), (4.0, [4, 3, 2]), (2.0, [2, 2, 1])):
        level, expected = pyramid.level(mm), sitk.BinShrink(sitk.Cast(image.to_sitk(), sitk.sitkFloat32), factors)
        assert level.GetSize() == expected.GetSize()
        assert level.GetOrigin() == pytest.approx(expected.GetOrigin())
        assert level.GetSpacing() == pytest.approx(expected.GetSpacing())
        values, wanted = sitk.GetArrayFromImage(level), sitk.GetArrayFromImage(expected)
        assert np.allclose(values, wanted, rtol=1e-5, atol=0.01)


def test_images_that_lie_apart_are_refused_in_one_sentence(t1, t2):
    far = Image(t2.array, rotation_about((0, 0, 0), np.zeros(3), np.array([0, 0, 900.0])) @ t2.affine, sequence="T2")
    with pytest.raises(InputError, match=r"^T2 and T1 do not overlap in space \(they are \d+ mm apart\); check"):
        register(far, t1)
    require_overlap(t2, t1)


def test_images_without_common_content_are_refused_in_one_sentence(t1):
    noise = np.random.default_rng(3).random(t1.array.shape, dtype=np.float32)
    with pytest.raises(InputError, match=r"^FLAIR cannot be laid over T1: they show no common content; check"):
        register(Image(noise, t1.affine, sequence="FLAIR"), t1)


def test_an_empty_image_is_refused(t1):
    with pytest.raises(InputError, match="holds the same value everywhere"):
        register(Image(np.zeros(t1.array.shape, np.float32), t1.affine, sequence="T2"), t1)


def test_cancelling_stops_in_the_middle(t1, t2):
    reports: list[float] = []
    progress = Progress(lambda stage, fraction, message: reports.append(fraction), lambda: len(reports) >= 10)
    with pytest.raises(Cancelled):
        register(t2, t1, progress=progress)
    assert len(reports) == 10


@pytest.mark.parametrize("mm", [8.0, 4.0, 2.0])
def test_a_search_stops_at_the_step_at_which_it_is_cancelled(t1, t2, mm):
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked >= 3

    with pytest.raises(Cancelled):
        registration.optimise(
            Pyramid(t1, None), Pyramid(t2, None), np.eye(4), "rigid", mm, Progress(cancelled=cancelled)
        )
    assert asked == 3


def test_nothing_of_a_registration_stays_in_memory(t1, t2, monkeypatch):
    methods = []

    class Watched(sitk.ImageRegistrationMethod):
        def __init__(self) -> None:
            super().__init__()
            methods.append(weakref.ref(self))

    monkeypatch.setattr(sitk, "ImageRegistrationMethod", Watched)
    register(t2, t1)
    gc.collect()
    assert methods
    assert all(method() is None for method in methods)


def test_progress_runs_from_start_to_end_without_going_back(t1):
    reports: list[float] = []
    register(brain((200, 120, 90)), t1, progress=Progress(lambda stage, fraction, message: reports.append(fraction)))
    assert reports[-1] == 1.0
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(reports))


def test_the_nearest_rotation_of_a_rotation_is_itself():
    rotation = rotation_about((10, 20, 30), np.zeros(3), np.zeros(3))[:3, :3]
    assert nearest_rotation(rotation * 1.3) == pytest.approx(rotation)


def test_matrices_and_transforms_are_inverse_to_each_other():
    euler = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3, (4.0, 5.0, 6.0))
    matrix = matrix_of(euler)
    point = (7.0, -8.0, 9.0)
    assert (matrix @ [*point, 1])[:3] == pytest.approx(euler.TransformPoint(point))
    assert matrix_of(transform_of(matrix)) == pytest.approx(matrix)


def test_a_clinical_series_agrees_with_the_data_sets_own_registration(shared_data):
    study = shared_data / "ms-long-03b"
    fixed, moving = (Image.read(study / f"{s}.nii.gz", sequence=s) for s in ("FLAIR", "T1"))
    truth = matrix_of(sitk.ReadTransform(str(study / "T1_to_FLAIR.tfm")))
    found = register(moving, fixed)
    corners = Grid(fixed.array.shape, fixed.affine).corners() * 0.5 + fixed.grid.corners().mean(axis=0) * 0.5
    assert displacement(truth, np.eye(4), corners) > 4.0
    assert displacement(truth, found.matrix, corners) < 1.5


def test_a_strongly_rotated_series_is_laid_over_the_others(shared_data):
    study = shared_data / "tcga-fg-6692-native"
    images = {s: Image.read(study / f"{s}.nii.gz", sequence=s) for s in ("T1", "FLAIR")}
    masks = {s: Image.read(study / f"brainmask_{s}.nii.gz") for s in images}
    found = register(images["FLAIR"], images["T1"])
    moved = resample(masks["FLAIR"].to_sitk(), images["T1"].grid, found.matrix) > 0.5
    other = masks["T1"].array > 0
    assert found.moved_mm > 10.0
    assert 2 * (moved & other).sum() / (moved.sum() + other.sum()) > 0.93


def test_displacement_is_the_mean_distance_between_where_two_matrices_put_points():
    quarter = np.array([[0.0, -1, 0, 0], [1, 0, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]])  # (x, y, z) -> (-y, x - 1, z)
    points = np.array([[1.0, 0, 0], [0, 2, 0]])  # go to (0, 0, 0) and (-2, -1, 0)
    assert displacement(quarter, np.eye(4), points) == pytest.approx((1.0 + np.sqrt(13.0)) / 2)
    assert displacement(quarter, quarter, points) == 0.0


def affine_about(turn: np.ndarray, middle: np.ndarray, half: tuple[float, float, float] = (10.0, 10.0, 10.0)):
    """(4, 4) affine of an image of 1 mm voxels with half its size along (i, j, k), turned, its middle at a point."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, middle - turn @ half
    return affine


def test_images_that_lie_apart_along_the_axes_of_either_of_them_do_not_overlap():
    upright = Image(np.ones((21, 21, 21), np.float32), affine_about(np.eye(3), np.zeros(3)))
    # A sheet across the corner of a cube: as x and y go they overlap, along the diagonal they do not.
    turn = rotation_about((0.0, 0.0, 45.0), np.zeros(3), np.zeros(3))[:3, :3]
    sheet = Image(np.ones((21, 41, 3), np.float32), affine_about(turn, 18.0 * turn[:, 0], (1.0, 20.0, 10.0)))
    apart = 18.0 - 1.0 - 10.0 * np.sqrt(2.0)
    assert overlap_gap(sheet, upright) == overlap_gap(upright, sheet) == pytest.approx(apart)
    with pytest.raises(InputError, match="3 mm apart"):
        require_overlap(sheet, upright)
    near = Image(sheet.array, affine_about(turn, 15.0 * turn[:, 0], (1.0, 20.0, 10.0)))
    assert overlap_gap(near, upright) == overlap_gap(upright, near) == 0.0


def test_the_way_back_that_tells_the_error_starts_4_mm_away(t1, t2, monkeypatch):
    monkeypatch.setattr(registration, "optimise", lambda fixed, moving, matrix, *_args, **_settings: (matrix, 1.0))
    stuck = register(t2, t1, initial=transform_of(POSE))  # no search moves from its start
    assert displacement(stuck.matrix, POSE, brain_points()) < 1e-6
    assert stuck.error_estimate_mm == pytest.approx(4.0, abs=0.5)
