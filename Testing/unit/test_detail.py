"""Synthesised images follow the finest structures of the inputs that they were made of, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from disentangle.bundles import find_bundle
from disentangle.inference import Predictor, Result
from disentangle.inference.detail import Detail, LinearModel, guides_of, on_first_input
from disentangle.phantoms import brain_phantom
from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.study import Image, Study

SHAPE, SPACING = (12, 40, 36), (1.0, 1.0, 1.5)
DETAIL = Detail(sigma_mm=2.0, epsilon=1e-3)
RULE = {"sigma_mm": 4.0, "epsilon": 0.01}


@pytest.fixture
def mask() -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return (((k - 6) / 5) ** 2 + ((j - 20) / 18) ** 2 + ((i - 18) / 16) ** 2) < 1


def texture(seed: int, sigma: float = 1.0) -> np.ndarray:
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), sigma)
    return (values / values.std()).astype(np.float32)


def distance(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b)[mask] ** 2)))


def test_a_linear_function_of_the_guides_stays_as_it_is(mask: np.ndarray):
    guides = {"T1": texture(0), "T2": texture(1), "FLAIR": texture(2)}
    image = 0.5 * guides["T1"] - 1.5 * guides["T2"] + 0.2 * guides["FLAIR"] + 3.0
    assert distance(DETAIL.refined(image, guides, mask, SPACING), image, mask) < 0.02


def test_the_linear_function_is_found_around_each_voxel_by_itself(mask: np.ndarray):
    guides = {"T1": texture(0), "T2": texture(1)}
    image = guides["T1"] - guides["T2"]
    model = Detail(2.0, 1e-6).model(image, guides, mask, SPACING)
    for slope, expected in ((model.slopes["T1"], 1.0), (model.slopes["T2"], -1.0), (model.offset, 0.0)):
        assert np.abs(slope[mask] - expected).max() < 1e-2


def test_a_blurred_drawing_gets_the_edges_of_its_guide_in_its_own_contrast(mask: np.ndarray):
    guide = np.where(texture(0, 2.0) > 0, 1.0, -1.0).astype(np.float32)
    truth = -2.0 * guide + 1.0
    drawn = gaussian_filter(truth, 1.0)
    refined = DETAIL.refined(drawn, {"T2": guide}, mask, SPACING)
    assert distance(refined, truth, mask) < 0.8 * distance(drawn, truth, mask)


def test_structures_of_a_guide_that_the_drawing_does_not_show_are_not_taken(mask: np.ndarray):
    drawn, other = texture(0, 3.0), texture(1)
    refined = DETAIL.refined(drawn, {"T2": other}, mask, SPACING)
    assert abs(np.corrcoef(refined[mask], other[mask])[0, 1]) < 0.2
    assert np.corrcoef(refined[mask], drawn[mask])[0, 1] > 0.8


def test_what_varies_less_than_noise_is_not_followed(mask: np.ndarray):
    guide = texture(0)
    drawn, faint = guide.copy(), 0.01 * guide
    slope = Detail(2.0, 0.1).model(drawn, {"T1": faint}, mask, SPACING).slopes["T1"]
    assert np.abs(slope[mask] * 0.01).max() < 0.05


def test_outside_the_mask_nothing_changes_and_nothing_is_seen(mask: np.ndarray):
    drawn, guide = texture(0), texture(1)
    refined = DETAIL.refined(drawn, {"T1": guide}, mask, SPACING)
    assert np.array_equal(refined[~mask], drawn[~mask])
    loud = np.where(mask, guide, 1e6).astype(np.float32), np.where(mask, drawn, -1e6).astype(np.float32)
    assert np.array_equal(DETAIL.refined(loud[1], {"T1": loud[0]}, mask, SPACING)[mask], refined[mask])


# -- tissues -----------------------------------------------------------------------------------------------------------

WITHIN = replace(DETAIL, tissue_share={"T1": 1.0})


@pytest.fixture
def halves() -> np.ndarray:
    """Two tissues (2, K, J, I), one on either side."""
    left = np.indices(SHAPE)[2] < 18
    return np.stack([left, ~left]).astype(np.float32)


def test_what_the_drawing_says_of_a_tissue_counts_in_all_of_it(mask: np.ndarray, halves: np.ndarray):
    guides = {"T1": texture(0), "T2": texture(1)}
    truth = np.where(halves[0] > 0, guides["T1"] + 1.0, 2.0 * guides["T2"] - guides["T1"])
    drawn = truth + 2.0 * texture(2, 2.0)  # wrong over several millimetres, right in the mean
    around = distance(DETAIL.refined(drawn, guides, mask, SPACING), truth, mask)
    within = distance(WITHIN.refined(drawn, guides, mask, SPACING, "T1", halves), truth, mask)
    both = distance(
        replace(WITHIN, tissue_share={"T1": 0.5}).refined(drawn, guides, mask, SPACING, "T1", halves), truth, mask
    )
    assert within < both < around and within < 0.5 * around


def test_voxels_of_two_tissues_have_a_function_in_between(mask: np.ndarray, halves: np.ndarray):
    guide = texture(0)
    mixed = np.broadcast_to(np.linspace(0, 1, SHAPE[2], dtype=np.float32), SHAPE)
    tissues = np.stack([mixed, 1 - mixed])
    image = mixed * guide + (1 - mixed) * (3 - guide)
    model = replace(WITHIN, epsilon=1e-6).model(image, {"T1": guide}, mask, SPACING, "T1", tissues)
    assert np.allclose(model.slopes["T1"][mask], (2 * mixed - 1)[mask], atol=1e-3)
    assert np.allclose(model.offset[mask], 3 * (1 - mixed)[mask], atol=1e-3)


def test_lesions_follow_the_drawing_of_their_neighbourhood(mask: np.ndarray, halves: np.ndarray):
    drawn, guides = texture(0, 2.0), {"T1": texture(1)}
    lesion = np.zeros(SHAPE, bool)
    lesion[5:8, 15:25, 10:20] = True
    model = WITHIN.model(drawn, guides, mask, SPACING, "T1", np.where(lesion, 0, halves))
    around = DETAIL.model(drawn, guides, mask, SPACING)
    where = lesion | ~mask
    assert np.array_equal(model.offset[where], around.offset[where])
    assert np.array_equal(model.slopes["T1"][where], around.slopes["T1"][where])
    assert not np.allclose(model.offset[~where], around.offset[~where])


def test_a_tissue_that_is_nowhere_changes_nothing(mask: np.ndarray, halves: np.ndarray):
    drawn, guides = texture(0), {"T1": texture(1)}
    three = np.concatenate([halves, np.zeros((1, *SHAPE), np.float32)])
    two = WITHIN.refined(drawn, guides, mask, SPACING, "T1", halves)
    assert np.allclose(WITHIN.refined(drawn, guides, mask, SPACING, "T1", three), two, atol=1e-5)
    assert np.isfinite(WITHIN.refined(drawn, guides, mask, SPACING, "T1", np.zeros_like(halves))).all()


def test_without_a_segmentation_or_for_another_target_neighbourhoods_count_alone(mask: np.ndarray, halves: np.ndarray):
    drawn, guides = texture(0), {"T1": texture(1)}
    expected = DETAIL.refined(drawn, guides, mask, SPACING)
    assert np.array_equal(WITHIN.refined(drawn, guides, mask, SPACING, "T1"), expected)
    assert np.array_equal(WITHIN.refined(drawn, guides, mask, SPACING, "FLAIR", halves), expected)
    assert np.array_equal(DETAIL.refined(drawn, guides, mask, SPACING, "T1", halves), expected)


# -- in a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study() -> Study:
    return brain_phantom(5, spacing=2.0).study


@pytest.fixture
def predictor() -> Predictor:
    """The shipped model, without detail, on a grid of twice the voxels of the study."""
    bundle = find_bundle("brain-mr")
    card = {name: value for name, value in bundle.card.items() if name != "detail"}
    found = Predictor(replace(bundle, card=card), device="cpu", backend="torch")
    found.config = replace(found.config, spacing=(4.0, 4.0, 4.0))
    return found


def runs(predictor: Predictor, study: Study, **wanted) -> tuple[Result, Result]:
    """Without and with detail."""
    plain = predictor.run(study, segment=False, **wanted)
    predictor.bundle.card["detail"] = RULE
    return plain, predictor.run(study, segment=False, **wanted)


def test_a_synthetic_image_with_detail_is_nearer_to_the_real_one_and_lies_where_it_did(
    predictor: Predictor, study: Study
):
    plain, detailed = runs(predictor, study, synthesize=["T1"], leave_out_target=True)
    one, other = plain.synthesized["T1"], detailed.synthesized["T1"]
    assert other.grid.same_as(one.grid) and other.array.dtype == np.float32
    assert other.sequence == "T1" and other.source == one.source
    # Where both are dark, detail may go down to the intensity 0.
    assert not other.array[one.array == 0].any()
    assert np.count_nonzero(other.array) > 0.999 * np.count_nonzero(one.array)
    before, after = (result.report["quality"]["synthesis"]["T1"] for result in (plain, detailed))
    assert after["ssim"] > before["ssim"] + 0.03 and after["psnr"] > before["psnr"]
    assert "detail" not in plain.report and detailed.report["detail"] == {"T1": ["T1Gd", "T2", "FLAIR"]}


def test_tissues_bring_it_nearer_still_and_are_those_of_the_other_sequences(predictor: Predictor, study: Study):
    asked = {"synthesize": ["T1"], "leave_out_target": True}
    _, detailed = runs(predictor, study, **asked)
    predictor.bundle.card["detail"] = RULE | {"tissue_share": {"T1": 0.75}}
    tissues = predictor.run(study, segment=True, **asked)
    before, after = (result.report["quality"]["synthesis"]["T1"] for result in (detailed, tissues))
    assert after["psnr"] > before["psnr"] + 0.4 and after["ssim"] > before["ssim"] - 0.01
    others = study.subset(["T1Gd", "T2", "FLAIR"])
    alone = predictor.run(others, segment=False, synthesize=["T1"])
    assert alone.segmentation is None
    inside = study.masks[""].array > 0
    there, here = tissues.synthesized["T1"].array[inside], alone.synthesized["T1"].array[inside]
    assert np.corrcoef(there, here)[0, 1] > 0.98  # resampled from and to the grids of T1 and of T1Gd


def test_the_real_image_of_a_target_is_no_guide_of_it(predictor: Predictor, study: Study):
    two = study.subset(["T1", "FLAIR"])
    _, detailed = runs(predictor, two, synthesize=["FLAIR"], leave_out_target=True)
    assert detailed.report["detail"] == {"FLAIR": ["T1"]}


def test_a_target_made_of_itself_alone_has_no_guide(predictor: Predictor, study: Study):
    plain, detailed = runs(predictor, study.subset(["FLAIR"]), synthesize=["FLAIR"])
    assert np.array_equal(detailed.synthesized["FLAIR"].array, plain.synthesized["FLAIR"].array)
    assert "detail" not in detailed.report


def test_a_sequence_that_shows_a_part_of_the_brain_is_no_guide(study: Study):
    t2 = study["T2"]
    half = Image(t2.array[: len(t2.array) // 2], t2.affine, sequence="T2")
    partial = Study({"T1": study["T1"], "T2": half}, masks=study.masks)
    config = PreprocessingConfig(spacing=(4.0, 4.0, 4.0), pose="reference", registration="none")
    assert list(guides_of(prepare(partial, config), "FLAIR")) == ["T1"]


@pytest.mark.parametrize("bias_field", [False, True])
@pytest.mark.parametrize("spacing", [2.0, 3.0])
def test_a_model_that_says_the_first_input_gives_that_input_in_its_own_intensities(study, spacing, bias_field):
    spacings = {"spacing": (spacing,) * 3, "pose": "reference", "registration": "none", "clip": None}
    prepared = prepare(study.subset(["T1", "T2"]), PreprocessingConfig(bias_field=bias_field, **spacings))
    assert bool(prepared.bias) is bias_field
    ones, zeros = np.ones(prepared.grid.shape, np.float32), np.zeros(prepared.grid.shape, np.float32)
    box = prepared.reached("T1")
    told = on_first_input(prepared, LinearModel({"T1": ones}, zeros), "FLAIR", box)
    deep = binary_erosion(study.masks[""].array > 0, iterations=3)[box]
    assert np.allclose(told[deep], study["T1"].array[box][deep], rtol=0.01)


def test_a_guide_in_another_place_is_followed_where_it_lies_on_the_first(predictor: Predictor, study: Study):
    """T2 on a grid of its own says the same as T2 on that of T1."""
    t1, t2 = study["T1"], study["T2"]
    shifted = Image(t2.array[1:, 2:], t2.affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 2], [0, 0, 1, 1], [0, 0, 0, 1.0]]))
    shifted = replace(shifted, sequence="T2")
    predictor.config = replace(predictor.config, registration="none")
    predictor.bundle.card["detail"] = RULE
    images = []
    for moving in (t2, shifted):
        pair = Study({"T1": t1, "T2": moving}, masks=study.masks)
        images.append(predictor.run(pair, segment=False, synthesize=["FLAIR"]).synthesized["FLAIR"].array)
    inside = study.masks[""].array > 0
    inside[:3] = inside[:, :4] = False
    assert np.abs(images[0] - images[1])[inside].max() < 0.02 * np.ptp(images[0])
