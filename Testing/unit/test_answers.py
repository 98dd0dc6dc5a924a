"""A run that asks what was asked before about the same study does not compute it again."""

from dataclasses import replace

import numpy as np
import pytest

from disentangle.inference import Predictor, answers, corrections
from disentangle.inference import predictor as predicting
from disentangle.phantoms import create_phantom
from disentangle.preprocessing import study_key
from disentangle.preprocessing.resampling import resample
from disentangle.progress import Progress
from disentangle.study import Image, Study
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study():
    return create_phantom("brain", 3, spacing=10.0).study.subset(["T1", "T2"])


@pytest.fixture
def predictor(tmp_path):
    """A predictor whose network counts in ``calls`` how often it encodes."""
    found = Predictor(tiny_bundle(tmp_path / "tiny"), device="cpu", backend="torch")
    found.calls = []
    load = found.networks.load

    def counted(*asked):
        network = load(*asked)
        if not hasattr(network, "plain"):
            network.plain = network.encode
            network.encode = lambda *args, **named: found.calls.append(1) or network.plain(*args, **named)
        return network

    found.networks.load = counted
    return found


def test_the_same_run_again_asks_the_network_nothing_and_answers_the_same(predictor, study):
    wanted = {"synthesize": ["T2"], "factors": True, "cross_reconstructions": True, "probabilities": True}
    first = predictor.run(study, **wanted)
    assert predictor.calls
    predictor.calls.clear()
    again = predictor.run(study, **wanted)
    assert not predictor.calls
    np.testing.assert_array_equal(again.segmentation.array, first.segmentation.array)
    np.testing.assert_array_equal(again.synthesized["T2"].array, first.synthesized["T2"].array)
    assert set(again.cross) == set(first.cross) and len(again.cross) == 4
    for pair, image in first.cross.items():
        np.testing.assert_array_equal(again.cross[pair].array, image.array)
    for name, factors in first.factors.items():
        np.testing.assert_array_equal(again.factors[name].modality, factors.modality)
        np.testing.assert_array_equal(again.factors[name].reconstruction.array, factors.reconstruction.array)
    assert again.report["warnings"] == first.report["warnings"]
    assert again.report["anatomy"] == first.report["anatomy"]


def test_only_what_is_new_is_computed(predictor, study):
    first = predictor.run(study)
    predictor.calls.clear()
    more = predictor.run(study, synthesize=["T1"])
    assert predictor.calls and set(more.synthesized) == {"T1"}
    np.testing.assert_array_equal(more.segmentation.array, first.segmentation.array)
    predictor.calls.clear()
    assert set(predictor.run(study, segment=False, synthesize=["T1"]).synthesized) == {"T1"}
    assert not predictor.calls
    styled = predictor.run(study, synthesize=["T1"], style_images={"T1": study["T2"]})
    assert predictor.calls
    assert not np.array_equal(styled.synthesized["T1"].array, more.synthesized["T1"].array)


def test_a_target_made_without_its_own_image_is_known_too_and_is_not_the_one_made_with_it(predictor, study):
    wanted = {"segment": False, "synthesize": ["T1Gd", "T2"]}
    first, slabs = predictor.run(study, leave_out_target=True, **wanted), {}
    predictor.calls.clear()
    again = predictor.run(
        study, leave_out_target=True, preview_images=lambda kind, images: slabs.update(images), **wanted
    )
    assert not predictor.calls and set(slabs) == {"T1Gd", "T2"}
    for target, image in first.synthesized.items():
        np.testing.assert_array_equal(again.synthesized[target].array, image.array)
    assert again.report["quality"] == first.report["quality"]
    read = predictor.run(study, **wanted)
    assert predictor.calls
    np.testing.assert_array_equal(read.synthesized["T1Gd"].array, first.synthesized["T1Gd"].array)
    assert not np.array_equal(read.synthesized["T2"].array, first.synthesized["T2"].array)


def test_factors_come_from_the_cross_reconstructions_that_hold_them_but_not_the_other_way_round(predictor, study):
    predictor.run(study, segment=False, factors=True)
    predictor.calls.clear()
    assert len(predictor.run(study, segment=False, factors=True, cross_reconstructions=True).cross) == 4
    assert predictor.calls
    predictor.calls.clear()
    alone = predictor.run(study, segment=False, factors=True)
    assert not predictor.calls and not alone.cross and len(alone.factors) == 2


def test_another_study_and_a_model_that_has_learnt_are_asked_anew(predictor, study):
    first = predictor.run(study)
    predictor.calls.clear()
    predictor.run(study.subset(["T2"]))
    assert predictor.calls
    predictor.run(study)
    corrected = first.segmentation.array.copy()
    corrected[corrected.shape[0] // 2, 8:10, 8:10] = 3
    predictor.session.learner.adapt(Image(corrected, first.segmentation.affine), Progress())
    predictor.calls.clear()
    adapted = predictor.run(study)
    assert predictor.calls
    assert adapted.report["backend"]["reason"] == "the model was adapted"


def test_nothing_said_by_an_adapted_model_is_an_answer_of_the_installed_one(predictor, study, monkeypatch):
    for name, value in {"_STEPS": 6, "_LEARNING_RATE": 1e-2, "_SECONDS": 600.0}.items():
        monkeypatch.setattr(corrections, name, value)
    first = predictor.run(study)
    taught = first.segmentation.array.copy()
    k = len(taught) // 2
    rarest = int(np.bincount(taught.ravel(), minlength=5)[1:].argmin()) + 1
    taught[k - 1 : k + 2][taught[k - 1 : k + 2] > 0] = rarest
    for forget in (lambda: predictor.session.learner.undo(), lambda: predictor.networks.restore()):
        predictor.session.learner.adapt(Image(taught, first.segmentation.affine), Progress())
        adapted = predictor.run(study)
        assert not np.array_equal(adapted.segmentation.array, first.segmentation.array)
        forget()
        again = predictor.run(study)
        np.testing.assert_array_equal(again.segmentation.array, first.segmentation.array)
        assert again.report["backend"] == first.report["backend"]


def test_a_result_that_its_owner_changes_changes_no_later_answer(predictor, study):
    first = predictor.run(study, factors=True)
    before = first.factors["T1"].anatomy[0].array.copy()
    for _ in range(2):
        for image in predictor.run(study, factors=True).factors["T1"].anatomy:
            image.array[:] = 7
    np.testing.assert_array_equal(predictor.run(study, factors=True).factors["T1"].anatomy[0].array, before)


def test_what_is_known_is_previewed_too(predictor, study):
    slabs = []
    centre = study.first.affine[:3, :3] @ ((np.array(study.first.grid.size) - 1) / 2) + study.first.affine[:3, 3]
    for _ in range(2):
        predictor.run(study, point=centre, preview=slabs.append)
    np.testing.assert_array_equal(slabs[0].array, slabs[1].array)
    np.testing.assert_array_equal(slabs[0].affine, slabs[1].affine)


def test_what_else_is_asked_of_the_slices_on_screen_is_previewed_known_or_not(predictor, study):
    wanted = {"segment": False, "factors": True, "cross_reconstructions": True, "synthesize": ["T1Gd"]}
    centre = study.first.affine[:3, :3] @ ((np.array(study.first.grid.size) - 1) / 2) + study.first.affine[:3, 3]
    told = []
    for _ in range(2):
        found: dict = {}
        again = predictor.run(study, point=centre, preview=pytest.fail, preview_images=found.setdefault, **wanted)
        told.append(found)
    assert [list(found) for found in told] == [["factors", "synthesized"]] * 2
    whole = again.factors["T1"].anatomy[0]
    for found in told:
        assert found["factors"].keys() == {"T1", "T2"}
        assert [len(channels) for channels in found["factors"].values()] == [len(again.factors["T1"].anatomy)] * 2
        slab = found["factors"]["T1"][0]
        k = round((np.linalg.inv(whole.affine) @ slab.affine[:, 3])[2])
        np.testing.assert_array_equal(slab.array, whole.array[k : k + len(slab.array)])
        image = found["synthesized"]["T1Gd"]
        np.testing.assert_array_equal(image.affine, slab.affine)
        synthetic = resample(again.synthesized["T1Gd"].to_sitk(), image.grid)
        assert np.corrcoef(synthetic[1:-1].ravel(), image.array[1:-1].ravel())[0, 1] > 0.9


def test_a_target_that_is_left_out_of_its_own_synthesis_is_previewed(predictor, study):
    found: dict = {}
    predictor.run(study, False, ["T2"], leave_out_target=True, preview_images=found.setdefault)
    assert found["synthesized"].keys() == {"T2"}


def test_answers_hold_what_lies_inside_the_mask(predictor, study):
    predictor.run(study, synthesize=["T1"], factors=True)
    prepared, channels = predictor.last[0].prepared, 4
    voxels = int(prepared.mask.sum())
    kept = predictor.answers(predictor.last[0].network, prepared.mask).nbytes
    assert kept == 4 * voxels * (len(predictor.bundle.classes) + 1 + 2 * channels + 2)


def test_a_study_of_the_same_arrays_is_recognised_without_reading_them_where_nobody_can_have_written(
    predictor, study, monkeypatch
):
    keys = []
    monkeypatch.setattr(predicting, "study_key", lambda study: keys.append(1) or study_key(study))
    own = {name: replace(image, array=image.array.copy()) for name, image in study.images.items()}
    before = predictor.run(Study(own))
    own["T1"].array[:, ::2] = 0
    after = predictor.run(Study(own))
    assert not np.array_equal(before.segmentation.array, after.segmentation.array)
    assert len(keys) == 2
    for image in own.values():
        image.array.setflags(write=False)
    predictor.run(Study(own))
    again = predictor.run(Study(own))
    assert len(keys) == 3
    np.testing.assert_array_equal(after.segmentation.array, again.segmentation.array)


def test_what_does_not_fit_is_computed_again(predictor, study, monkeypatch):
    monkeypatch.setattr(answers, "_MOST_MIB", 0)
    first = predictor.run(study)
    predictor.calls.clear()
    again = predictor.run(study)
    assert predictor.calls
    np.testing.assert_array_equal(again.segmentation.array, first.segmentation.array)


@pytest.mark.parametrize(
    "rule", [{"islands": {"share": 0.0, "ml": 1e6}}, {"coherence": {"sigma_mm": 20.0}}], ids=["islands", "coherence"]
)
def test_a_rule_on_findings_is_followed_once_on_an_answer_that_is_kept(predictor, study, rule):
    plain = predictor.run(study, probabilities=True)
    commonest = int(np.bincount(plain.segmentation.array.ravel(), minlength=5)[1:].argmax()) + 1
    predictor.bundle.card.update({name: {"classes": [commonest], **how} for name, how in rule.items()})
    predictor.run(study.subset(["T2"]))  # only answers about the last study are kept
    first, *later = (predictor.run(study, probabilities=True) for _ in range(3))
    name = predictor.bundle.classes[commonest].name
    assert not np.array_equal(first.probabilities[name].array, plain.probabilities[name].array)
    for again in later:
        assert again.report["islands_ml"] == first.report["islands_ml"]
        np.testing.assert_array_equal(again.segmentation.array, first.segmentation.array)
        for name, image in first.probabilities.items():
            np.testing.assert_array_equal(again.probabilities[name].array, image.array)
