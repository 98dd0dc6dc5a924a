"""A study becomes normalised volumes on one canonical grid, whatever its geometry, and results find their way back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from atlas_brains import T1, T2, brain, brain_points, named, reoriented

from disentangle.errors import Cancelled, InputError
from disentangle.preprocessing import (
    PreprocessingConfig,
    brain_mask,
    choose_reference,
    head_mask,
    is_skull_stripped,
    prepare,
)
from disentangle.preprocessing import normalization as normalizations
from disentangle.preprocessing.bias import bias_field
from disentangle.preprocessing.masks import filled_planes
from disentangle.preprocessing.pose import align_atlas
from disentangle.preprocessing.registration import displacement, rotation_about
from disentangle.preprocessing.resampling import canonical_axes, matrix_of, resample
from disentangle.progress import Progress
from disentangle.study import Grid, Image, Study

PLAIN = PreprocessingConfig(spacing=(3, 3, 3), size_multiple=16, pose="reference", registration="none")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture(scope="module")
def study() -> Study:
    """T1 and T2 of one brain on one grid, with labels."""
    t1, t2 = named(brain(T1), "T1"), named(brain(T2, seed=1), "T2")
    k, j, i = np.indices(t1.array.shape)
    ball = (k - 30) ** 2 + (j - 30) ** 2 + (i - 25) ** 2 < 15**2
    labels = Image(np.where(ball, 3, 0).astype(np.int16), t1.affine)
    return Study({"T1": t1, "T2": t2}, labels=labels)


@pytest.fixture(scope="module")
def plain(study):
    return prepare(study, PLAIN)


# --- what a prepared study is


def test_images_are_normalised_in_the_mask_and_background_outside(plain):
    for values in plain.images.values():
        assert values.dtype == np.float32 and values.shape == plain.grid.shape
        assert abs(values[plain.mask].mean()) < 0.05 and abs(values[plain.mask].std() - 1) < 0.1
        assert not values[~plain.mask].any()


def test_the_mask_is_the_brain_with_a_margin_and_in_plane_multiples_around_it(plain, study):
    voxel = 27.0
    assert plain.mask.sum() * voxel == pytest.approx((study["T1"].array != 0).sum() * voxel, rel=0.005)
    assert plain.grid.shape[1] % 16 == 0 and plain.grid.shape[2] % 16 == 0
    for axis in range(3):
        inside = np.flatnonzero(plain.mask.any(axis=tuple({0, 1, 2} - {axis})))
        assert min(inside[0], plain.mask.shape[axis] - 1 - inside[-1]) * 3.0 >= 3.0


def test_the_grid_runs_from_inferior_to_superior_anterior_to_posterior_right_to_left(plain):
    assert plain.grid.direction == pytest.approx(np.eye(3))
    assert plain.grid.spacing == pytest.approx([3, 3, 3])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(False, True, False), (True, False, True)])
def test_the_storage_order_of_the_voxels_does_not_matter(study, plain, order, flips):
    turned = Study({s: reoriented(i, order, flips) for s, i in study.images.items()})
    prepared = prepare(turned, PLAIN)
    assert prepared.grid.same_as(plain.grid, 0.1)
    assert np.abs(prepared.images["T2"] - plain.images["T2"])[plain.mask].mean() < 0.01


def test_the_order_of_the_inputs_does_not_matter(study, plain):
    swapped = prepare(study.subset(["T2", "T1"]), PLAIN)
    assert swapped.reference == plain.reference == "T1"
    assert swapped.sequences == ("T2", "T1")
    assert all(np.array_equal(swapped.images[s], plain.images[s]) for s in ("T1", "T2"))


def test_every_step_is_recorded_with_its_time_and_skips_with_their_reason(plain):
    names = [(s.name, s.sequence) for s in plain.steps]
    assert names[0] == ("register", "T2") and ("mask", "T1") in names and ("normalize", "T2") in names
    assert all(s.seconds >= 0 for s in plain.steps)
    assert "switched off" in plain.steps[0].skipped
    json.dumps([s.parameters for s in plain.steps])


# --- geometry: registration, pose, reference


def test_an_aligned_study_on_one_grid_is_not_registered_and_says_why(study):
    prepared = prepare(study, replace(PLAIN, registration="auto"))
    step = prepared.steps[0]
    assert step.skipped.startswith("already on one grid and aligned")
    assert np.array_equal(matrix_of(prepared.transforms["T2"]), np.eye(4))


def test_one_grid_alone_is_no_reason_to_skip(study):
    shift = rotation_about((0, 0, 6), np.zeros(3), np.array([5.0, 4.0, 0.0]))
    moved = Study({"T1": study["T1"], "T2": named(brain(T2, shift, seed=1), "T2")})
    prepared = prepare(moved, replace(PLAIN, registration="auto"))
    assert prepared.steps[0].skipped is None
    assert displacement(matrix_of(prepared.transforms["T2"]), shift, brain_points()) < 1.0
    assert prepared.steps[0].parameters["error_estimate_mm"] < 1.5


def test_a_turned_brain_is_cut_into_canonical_slices(study):
    turn = rotation_about((20, 0, -15), np.zeros(3), np.array([10.0, 0.0, 20.0]))
    image = replace(study["T1"], affine=turn @ study["T1"].affine)
    prepared = prepare(Study({"T1": image}), replace(PLAIN, pose="atlas"))
    difference = prepared.grid.direction.T @ turn[:3, :3]
    assert np.degrees(np.arccos((np.trace(difference) - 1) / 2)) < 4.0
    step = next(s for s in prepared.steps if s.name == "pose")
    assert step.skipped is None and step.parameters["angle_deg"] == pytest.approx(25.0, abs=4.0)


def test_an_upright_brain_keeps_the_axes_of_space(study):
    prepared = prepare(study.subset(["T2"]), replace(PLAIN, pose="atlas"))
    step = next(s for s in prepared.steps if s.name == "pose")
    assert "canonical axial already" in step.skipped
    assert prepared.grid.direction == pytest.approx(np.eye(3))


def test_the_reference_is_the_finest_then_one_with_a_mask_then_t1():
    def image(sequence, thickness):
        return Image(np.ones((4, 4, 4), np.float32), np.diag([1, 1, thickness, 1.0]), sequence=sequence)

    thick, fine = {s: image(s, 5.0) for s in ("T2", "T1", "FLAIR")}, {"T2": image("T2", 1.0)}
    assert choose_reference(Study(thick)) == "T1"
    assert choose_reference(Study({**thick, **fine})) == "T2"
    assert choose_reference(Study(thick, masks={"FLAIR": thick["FLAIR"]})) == "FLAIR"


def test_a_wanted_reference_is_taken_and_an_unknown_one_refused(study):
    assert prepare(study, PLAIN, reference="T2").reference == "T2"
    with pytest.raises(InputError, match="FLAIR is not in the study; it has T1, T2"):
        prepare(study, PLAIN, reference="FLAIR")


def test_the_axes_of_an_oblique_left_handed_grid_become_a_rotation_near_the_patient_axes():
    oblique = rotation_about((17, -3, 5), np.zeros(3), np.zeros(3))[:3, :3]
    axes = canonical_axes(oblique[:, [1, 2, 0]] * [1, -1, 1])
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert axes == pytest.approx(oblique)


# --- resampling


def test_going_coarser_does_not_alias():
    stripes = np.zeros((30, 30, 60), np.float32)
    stripes[..., ::2] = 1.0
    fine = Image(stripes, np.eye(4))
    coarse = Grid((8, 8, 16), np.diag([3.0, 3.0, 3.0, 1.0]))
    values = resample(fine.to_sitk(), coarse)[2:-2, 2:-2, 2:-2]
    assert values.std() < 0.05 and values.mean() == pytest.approx(0.5, abs=0.05)


def test_thick_slices_are_not_smoothed_further():
    thick = Image(np.random.default_rng(0).random((6, 20, 20), dtype=np.float32), np.diag([1.5, 1.5, 6.0, 1.0]))
    assert resample(thick.to_sitk(), thick.grid) == pytest.approx(thick.array, abs=1e-6)


def test_outside_the_source_is_the_default():
    small = Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    far = np.eye(4)
    far[:3, 3] = 100
    assert (resample(small.to_sitk(), Grid((3, 3, 3), far), default=-7) == -7).all()


def test_the_rim_of_a_zscored_brain_does_not_blend_into_its_background(study, plain):
    """The background of BraTS 2013 files is -3 to -6 standard deviations; interpolation must not see it."""
    t1 = study["T1"]
    scored = replace(t1, array=np.where(t1.array != 0, (t1.array - 110) / 40, -4.7).astype(np.float32))
    prepared = prepare(Study({"T1": scored}), PLAIN)
    assert np.abs(prepared.images["T1"] - plain.images["T1"]).max() < 0.05


# --- ways back


def test_labels_are_carried_to_the_grid_and_back(study, plain):
    assert plain.labels.dtype == np.int16 and set(np.unique(plain.labels)) == {0, 3}
    back = plain.to_input(plain.labels, "T2", "nearest")
    assert back.grid.same_as(study["T2"].grid)
    assert dice(back.array == 3, study.labels.array == 3) == 1.0


def test_what_went_to_the_grid_comes_back_in_the_geometry_of_a_turned_input(study):
    turn = rotation_about((10, -8, 14), np.zeros(3), np.array([12.0, 5.0, -6.0]))
    t2 = replace(reoriented(brain(T2, seed=1), (1, 0, 2), (True, False, False)), sequence="T2")
    turned = replace(t2, affine=turn @ t2.affine)
    prepared = prepare(Study({"T1": study["T1"], "T2": turned}), replace(PLAIN, registration="rigid", margin_mm=9.0))
    back = prepared.to_input(prepared.mask.astype(np.uint8), "T2", "nearest")
    assert back.grid.same_as(turned.grid)
    assert dice(back.array > 0, turned.array != 0) > 0.96


def test_the_part_of_an_input_that_voxels_reach_holds_all_of_their_values(plain):
    where = np.zeros(plain.grid.shape, bool)
    where[10:14, 12:20, 9:11] = True
    values = np.where(where, np.float32(2.0), np.float32(0.0))
    whole, box = plain.to_input(values, "T2").array, plain.reached("T2", where)
    assert plain.to_part(values, "T2", box) == pytest.approx(whole[box], abs=1e-6)
    rest = whole.copy()
    rest[box] = 0
    assert whole.any() and not rest.any() and whole[box].size < whole.size / 4


def test_no_voxels_reach_nothing(plain):
    assert plain.reached("T2", np.zeros(plain.grid.shape, bool)) is None


def test_an_input_in_step_with_the_working_grid_is_not_changed(study, plain):
    values = plain.to_grid(study["T1"])
    assert values[plain.mask].sum() == pytest.approx(study["T1"].array.sum(), rel=1e-4)
    assert plain.to_input(values, "T1").array == pytest.approx(study["T1"].array, abs=1e-2)


def test_an_image_beside_an_input_follows_that_input_to_the_grid(study, plain):
    mask = Image((study["T2"].array != 0).astype(np.uint8), study["T2"].affine)
    assert dice(plain.to_grid(mask, "nearest") > 0, plain.mask) > 0.97


def test_normalised_values_return_to_the_intensities_of_the_input(plain):
    intensities = plain.denormalize(plain.images["T1"], "T1")
    assert 30 < np.median(intensities[plain.mask]) < 160
    assert plain.normalize(intensities, "T1") == pytest.approx(plain.images["T1"], abs=1e-4)


def test_a_sequence_that_the_study_lacks_takes_the_units_of_the_reference(plain):
    one = np.ones(plain.grid.shape, np.float32)
    assert np.array_equal(plain.denormalize(one, "FLAIR"), plain.denormalize(one, None))
    assert np.array_equal(plain.denormalize(one, None), plain.denormalize(one, "T1"))


def test_an_unknown_input_is_refused(plain):
    with pytest.raises(InputError, match="The study has no FLAIR; it has T1, T2"):
        plain.to_input(plain.mask, "FLAIR")


# --- masks


def test_a_given_mask_is_used_before_anything_else(study):
    half = study["T1"].array != 0
    half[:, :, : half.shape[2] // 2] = False
    prepared = prepare(Study({"T1": study["T1"]}, masks={"": Image(half.astype(np.uint8), study["T1"].affine)}), PLAIN)
    assert prepared.mask.sum() == pytest.approx(half.sum(), rel=0.005)
    assert next(s for s in prepared.steps if s.name == "mask").parameters["kind"] == "given"


@pytest.mark.parametrize("background", [0.0, -4.755])
def test_skull_stripped_input_is_recognised_on_any_constant_background(study, background):
    t1 = study["T1"]
    image = replace(t1, array=np.where(t1.array == 0, background, t1.array).astype(np.float32))
    assert is_skull_stripped(image)
    assert dice(brain_mask(image), t1.array != 0) > 0.99


@pytest.mark.parametrize("background", [0.0, -4.755])
def test_skull_stripped_input_is_recognised_after_it_was_interpolated(study, background):
    """B-splines ring: most of the background is not constant any more."""
    t1 = study["T1"]
    stripped = sitk.GetImageFromArray(np.where(t1.array == 0, background, t1.array / 40).astype(np.float32))
    shift = sitk.TranslationTransform(3, (0.3, 0.3, 0.3))
    moved = sitk.GetArrayFromImage(sitk.Resample(stripped, shift, sitk.sitkBSpline, background))
    image = replace(t1, array=moved)
    assert np.mean(moved[t1.array == 0] != background) > 0.6
    assert is_skull_stripped(image)
    assert dice(brain_mask(image), t1.array != 0) > 0.95
    rounding = np.random.default_rng(0).normal(0, 1e-5, t1.array.shape)
    assert dice(brain_mask(replace(t1, array=t1.array + rounding)), t1.array != 0) > 0.98


def test_air_with_the_noise_of_a_scanner_is_no_background_of_a_skull_stripped_image(study):
    t1 = study["T1"]
    noisy = np.abs(t1.array + np.random.default_rng(0).normal(0, 1.5, t1.array.shape))
    assert not is_skull_stripped(replace(t1, array=noisy.astype(np.float32)))


def test_a_whole_head_is_not_skull_stripped_even_on_clean_air(shared_data):
    for sequence in ("T1", "T2", "FLAIR"):
        image = Image.read(shared_data / "ms-long-04a" / f"{sequence}.nii.gz")
        assert not is_skull_stripped(image)
        assert not is_skull_stripped(replace(image, array=np.where(head_mask(image), image.array, 0)))
    assert is_skull_stripped(Image.read(shared_data / "brats13-01" / "FLAIR.nii.gz"))


def test_the_head_is_told_from_noisy_air():
    rng = np.random.default_rng(0)
    k, j, i = np.indices((40, 60, 60))
    ball = ((k - 20) / 16) ** 2 + ((j - 30) / 22) ** 2 + ((i - 30) / 20) ** 2 < 1
    values = np.where(ball, 100 + 20 * rng.standard_normal(ball.shape), 8 * np.abs(rng.standard_normal(ball.shape)))
    assert dice(head_mask(Image(values.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))), ball) > 0.93


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_the_holes_of_planes_are_those_that_itk_fills_in_each(share: float):
    planes = np.random.default_rng(3).random((4, 30, 20)) < share
    filled = [sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(p.astype(np.uint8)))) for p in planes]
    assert np.array_equal(filled_planes(planes), np.array(filled) > 0)
    assert share in (0.0, 0.3, 1.0) or filled_planes(planes).sum() > planes.sum()


@pytest.mark.parametrize("sequence", ["T1", "FLAIR"])
def test_the_brain_of_a_whole_head_agrees_with_the_mask_of_the_data_set(shared_data, sequence):
    study = shared_data / "tcga-fg-6692-native"
    image = Image.read(study / f"{sequence}.nii.gz", sequence=sequence)
    given = Image.read(study / f"brainmask_{sequence}.nii.gz").array > 0
    assert dice(brain_mask(image), given) > 0.9


def test_a_clinical_study_of_a_whole_head_has_a_brain_of_plausible_size(shared_data):
    image = Image.read(shared_data / "ms-long-03b" / "FLAIR.nii.gz", sequence="FLAIR")
    pose = align_atlas(image)
    volume = pose.brain_mask(image).sum() * np.prod(image.spacing) / 1000
    assert 1200 < volume < 1800
    assert 12 < pose.angle_deg < 30


# --- intensities


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({"normalization": "percentile", "clip": None}, -1.0, 1.0),
        ({"normalization": "max", "clip": None}, 0.0, 1.0),
        ({"normalization": "window", "window": (0, 400), "clip": (-1, 1)}, -1.0, 1.0),
        ({"normalization": "none", "clip": None}, 0.0, 300.0),
    ],
)
def test_each_normalisation_reaches_its_range_and_returns(settings, low, high):
    config = PreprocessingConfig(**settings)
    values = np.linspace(0, 300, 8000, dtype=np.float32).reshape(20, 20, 20)
    offset, scale = normalizations.measure(values, np.ones(values.shape, bool), config)
    done = normalizations.apply(values, offset, scale, config.clip)
    assert low - 0.05 <= done.min() and done.max() <= high + 0.05
    assert normalizations.invert(done, offset, scale) == pytest.approx(values, abs=1e-3)


def test_the_bias_field_is_found_and_undone(study):
    t1 = study["T1"]
    mask = t1.array != 0
    i = np.linspace(-1, 1, mask.shape[2])
    field = np.exp(0.3 * i)[None, None, :] * np.ones(mask.shape)
    found = bias_field((t1.array * field).astype(np.float32), mask, (3.0, 3.0, 3.0))
    assert np.corrcoef(found[mask], field[mask])[0, 1] > 0.9
    biased = Study({"T1": replace(t1, array=(t1.array * field).astype(np.float32))})
    prepared = prepare(biased, replace(PLAIN, bias_field=True, clip=None))
    assert any(s.name == "bias field" for s in prepared.steps)
    intensities = prepared.denormalize(prepared.images["T1"], "T1")
    assert np.corrcoef(intensities[prepared.mask], prepared.to_grid(biased["T1"])[prepared.mask])[0, 1] > 0.98


def test_a_part_that_a_sequence_does_not_cover_is_background_and_warned_of(study):
    t2 = study["T2"]
    cut = Image(t2.array[: t2.array.shape[0] // 2], t2.affine, sequence="T2")
    prepared = prepare(Study({"T1": study["T1"], "T2": cut}), PLAIN)
    assert any(w.startswith("T2 covers only") for w in prepared.warnings)
    top = prepared.mask.copy()
    top[: top.shape[0] * 3 // 4] = False
    assert not prepared.images["T2"][top].any() and prepared.images["T1"][top].any()


# --- what cannot be prepared


def test_a_constant_image_is_refused_in_one_sentence(study):
    flat = replace(study["T2"], array=np.where(study["T2"].array != 0, 50, 0).astype(np.float32))
    with pytest.raises(InputError, match=r"^T2 is constant inside the brain; check"):
        prepare(Study({"T1": study["T1"], "T2": flat}), PLAIN)


def test_volumes_that_lie_apart_are_refused_even_without_registration(study):
    away = np.eye(4)
    away[:3, 3] = 700
    far = replace(study["T2"], affine=away @ study["T2"].affine)
    with pytest.raises(InputError, match="T2 and T1 do not overlap in space"):
        prepare(Study({"T1": study["T1"], "T2": far}), PLAIN)


def test_an_empty_mask_is_refused(study):
    empty = Image(np.zeros(study["T1"].array.shape, np.uint8), study["T1"].affine)
    with pytest.raises(InputError, match="No brain was found in T1"):
        prepare(Study({"T1": study["T1"]}, masks={"": empty}), PLAIN)


def test_cancelling_stops_the_preparation(study):
    with pytest.raises(Cancelled):
        prepare(study, PLAIN, progress=Progress(cancelled=lambda: True))


def test_progress_runs_forward_to_the_end(study):
    seen: list[float] = []
    prepare(study, PLAIN, progress=Progress(lambda stage, fraction, message: seen.append(fraction)))
    assert seen == sorted(seen) and seen[-1] == 1.0


# --- settings


def test_settings_survive_json():
    config = PreprocessingConfig(spacing=(1, 1, 2), normalization="window", window=(-150, 250), clip=None)
    assert PreprocessingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"speed": 3}, "Unknown preprocessing setting 'speed'"),
        ({"pose": "sideways"}, "setting pose is 'sideways'; use one of atlas, reference"),
        ({"spacing": [1, 0, 1]}, "three lengths above 0"),
        ({"normalization": "window"}, "needs the setting window"),
        ({"size_multiple": 0}, "must be at least 1"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        PreprocessingConfig.from_dict(settings)
