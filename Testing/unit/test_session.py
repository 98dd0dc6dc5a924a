"""A study that stays encoded after its run: other appearances, other subsets, corrections."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from disentangle.bundles import Bundle
from disentangle.errors import Cancelled, InputError
from disentangle.inference import Predictor, corrections
from disentangle.inference.learner import UNTAUGHT
from disentangle.inference.session import FUSED, Session
from disentangle.metrics.embedding import principal_components, tsne_map
from disentangle.phantoms import brain_phantom, create_phantom
from disentangle.preprocessing import normalization
from disentangle.progress import Progress
from disentangle.study import Image
from tiny_bundle import tiny_bundle, tiny_heart_bundle

QUIET = Progress()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def ran(bundle):
    """(predictor after a run, its result)."""
    study = brain_phantom(5, spacing=5.0, lesions="ms").study
    predictor = Predictor(bundle, device="cpu")
    wanted = {"segment": True, "factors": True, "synthesize": ["T1"], "uncertainty": True, "probabilities": True}
    return predictor, predictor.run(study, **wanted)


@pytest.fixture
def session(ran) -> Session:
    return ran[0].session


def test_a_slice_drawn_in_its_own_appearance_is_the_self_reconstruction(ran, session):
    result = ran[1]
    k = session.slice_at((0.0, 0.0, 0.0))
    drawn = session.draw(k, "T2", result.factors["T2"].modality, {"T2": 1.0})
    rebuilt = result.factors["T2"].reconstruction.array[k]  # over three slabs
    assert drawn.shape == rebuilt.shape
    # With random weights the appearances of a slice and of the volume differ somewhat.
    assert np.corrcoef(drawn[drawn != 0], rebuilt[drawn != 0])[0, 1] > 0.85


def test_a_blend_lies_between_its_ends(session):
    k = session.slice_at((0.0, 0.0, 10.0))
    z = session.styles()["T1"]
    ends = [session.draw(k, FUSED, z, {name: 1.0}) for name in ("T1", "FLAIR")]
    middle = session.draw(k, FUSED, z, {"T1": 0.5, "FLAIR": 0.5})
    assert np.allclose(middle, (ends[0] + ends[1]) / 2, rtol=1e-4, atol=1e-2)


def test_a_slider_computes_the_intensities_of_one_slice_alone(session, monkeypatch):
    shapes, invert = [], normalization.invert
    monkeypatch.setattr(
        normalization, "invert", lambda array, *level: shapes.append(array.shape) or invert(array, *level)
    )
    session.draw(session.slice_at((0.0, 0.0, 10.0)), FUSED, session.styles()["T1"], {"T1": 0.5, "FLAIR": 0.5})
    assert shapes == [(1, *session.prepared.grid.shape[1:])] * 2


def test_the_whole_volume_is_the_slices(session):
    z = session.styles()["FLAIR"]
    volume = session.redraw("T1", z, {"FLAIR": 1.0}, QUIET)
    k = session.slice_at((0.0, 0.0, 0.0))
    assert np.allclose(volume.array[k], session.draw(k, "T1", z, {"FLAIR": 1.0}), rtol=1e-3, atol=1e-2)


def test_a_subset_segments_as_a_run_with_that_subset_would(ran, session):
    one = session.segment(["T1"], QUIET)
    assert one.array.shape == ran[1].segmentation.array.shape
    assert not np.array_equal(one.array, ran[1].segmentation.array)
    everything = session.segment(list(session.prepared.images), QUIET)
    assert np.array_equal(everything.array, ran[1].segmentation.array)


def test_uncertainty_is_entropy_between_0_and_1(ran):
    values = ran[1].uncertainty.array
    assert values.shape == ran[1].segmentation.array.shape
    assert 0.0 <= values.min() < 0.5 < values.max() <= 1.0  # an untrained model is unsure


def test_lesion_uncertainty_is_entropy_of_the_sum_of_the_lesions(ran):
    found = ran[1].lesion_uncertainty.array
    lesion = ran[1].probabilities["white-matter lesion"].array
    p = np.clip(lesion, 1e-6, 1 - 1e-6)
    expected = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    inside = ran[1].segmentation.array > 0
    # Interpolated entropy and entropy of interpolated probabilities differ a little.
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.97
    assert 0.0 <= found.min() <= found.max() <= 1.0


def test_a_model_of_organs_alone_has_no_lesion_uncertainty(tmp_path):
    small = {"size": (48, 48), "spacing": (2.5, 2.5, 9.0)}
    predictor = Predictor(tiny_heart_bundle(tmp_path / "heart", **small), device="cpu")
    result = predictor.run(create_phantom("heart", 1, **small).study, segment=True, uncertainty=True)
    assert result.uncertainty is not None
    assert result.lesion_uncertainty is None


def test_disagreement_is_how_far_what_the_sequences_give_lies_apart(session, ran, monkeypatch):
    image = session.disagreement(["T1"], QUIET)
    assert image.array.shape == ran[1].segmentation.array.shape
    assert image.array[image.array > 0].mean() > 0.01
    k = session.slice_at((0.0, 0.0, 0.0))
    anatomy = session.factors_of(k).anatomy
    drawn = [session.network.array(session.network.decode(anatomy[n], ["T1"])[0]) for n in ("T1Gd", "T2", "FLAIR")]
    expected = session.frame.back(np.std(drawn, axis=0), 0.0)[0, 1]  # T1 is not made from itself
    monkeypatch.setattr(type(session.prepared), "to_input", lambda self, volume, *_a, **_k: Image(volume, np.eye(4)))
    working = session.disagreement(["T1"], QUIET).array[k]
    mask = session.prepared.mask[k]
    assert np.allclose(working[mask], expected[mask], atol=1e-4)
    assert not working[~mask].any()


def test_disagreement_is_about_the_appearance_that_was_asked_for(session, monkeypatch):
    monkeypatch.setattr(type(session.prepared), "to_input", lambda self, volume, *_a, **_k: Image(volume, np.eye(4)))
    own = session.styles()["T1"]
    usual = session.disagreement(["T1"], QUIET).array
    other = (own + 2.0).astype(np.float32)
    session.run.looks = {"T1": other}  # as a run with an example leaves it
    asked = session.disagreement(["T1"], QUIET).array
    assert np.abs(asked - usual).max() > 1e-3
    k = session.slice_at((0.0, 0.0, 0.0))
    anatomy = session.factors_of(k).anatomy
    for style, sources, found in ((other, ("T1Gd", "T2", "FLAIR"), asked), (own, tuple(anatomy), None)):
        drawn = [session.network.array(session.network.decode(anatomy[n], [style])[0]) for n in sources]
        expected = session.frame.back(np.std(drawn, axis=0), 0.0)[0, 1]
        found = session.disagreement([], QUIET, style=style.tolist()).array if found is None else found
        mask = session.prepared.mask[k]
        assert np.allclose(found[k][mask], expected[mask], atol=1e-4)
    with pytest.raises(InputError, match="numbers"):
        session.disagreement([], QUIET, style=[0.0])


def test_disagreement_about_several_targets_is_the_mean_of_what_it_is_about_each(session, monkeypatch):
    monkeypatch.setattr(type(session.prepared), "to_input", lambda self, volume, *_a, **_k: Image(volume, np.eye(4)))
    k, mask = session.slice_at((0.0, 0.0, 0.0)), np.zeros_like(session.prepared.mask)
    mask[k] = session.prepared.mask[k]  # one slice is enough
    monkeypatch.setattr(session.prepared, "mask", mask)
    one, other, both = (session.disagreement(names, QUIET).array for names in (["T1"], ["T2"], ["T1", "T2"]))
    assert both == pytest.approx((one + other) / 2, abs=1e-6)
    assert np.abs(one - other).max() > 1e-3


def test_one_sequence_alone_does_not_tell_how_uncertain_it_is(bundle):
    predictor = Predictor(bundle, device="cpu")
    predictor.run(brain_phantom(5, spacing=5.0).study.subset(["T1"]), segment=False, synthesize=["T2"])
    with pytest.raises(InputError, match="One sequence alone"):
        predictor.session.disagreement(["T2"], QUIET)


def test_scores_compare_every_pair_of_sequences(session):
    scores = session.scores(QUIET)
    m, n = len(scores.sequences), len(scores.slices)
    assert scores.anatomy.shape == scores.modality.shape == (m, m)
    assert np.allclose(np.diag(scores.anatomy), 1.0, atol=1e-5)
    assert scores.points.shape == scores.map.shape == (m * n, 2)
    assert set(scores.table) >= {"anatomy similarity", "modality similarity", "distance correlation"}


def corrected(segmentation: Image, k: int, value: int) -> Image:
    array = segmentation.array.copy()
    array[k - 1 : k + 2][array[k - 1 : k + 2] > 0] = value
    return Image(array, segmentation.affine)


def test_corrections_are_learnt_undone_and_saved(ran, session, bundle, tmp_path):
    before = ran[1].segmentation
    k = len(before.array) // 2
    wrong = int(np.bincount(before.array[k].ravel(), minlength=5)[1:].argmin()) + 1  # what it hardly ever says
    correction = corrected(before, k, wrong)
    figures = session.learner.adapt(correction, QUIET)
    assert figures["loss"][1] < figures["loss"][0]
    assert figures["agreement"][1] > figures["agreement"][0]
    array = figures["segmentation"].array
    drawn = correction.array != before.array
    assert np.array_equal(array[drawn], correction.array[drawn])  # what the user drew stays
    assert not np.array_equal(array, np.where(correction.array != before.array, correction.array, before.array))
    saved = session.learner.save(tmp_path / "mine", "mine")
    saved.verify()
    assert saved.card["derived_from"]["name"] == bundle.name
    assert "quality" not in saved.card
    session.learner.undo()
    assert np.array_equal(session.segment(list(session.prepared.images), QUIET).array, before.array)
    with pytest.raises(InputError, match="nothing to undo"):
        session.learner.undo()
    again = Predictor(saved, device="cpu").run(session.run.whole, segment=True)
    untouched = correction.array == before.array
    assert (again.segmentation.array == array)[untouched].mean() > 0.99


@pytest.fixture
def same_steps(monkeypatch):
    """Learning is a number of steps, however busy the machine is."""
    for name, value in {"_STEPS": 6, "_LEARNING_RATE": 1e-2, "_SECONDS": 600.0}.items():
        monkeypatch.setattr(corrections, name, value)


@pytest.fixture
def taught(bundle) -> tuple[Session, Image]:
    """A session of a small study, and its segmentation with the middle slices corrected."""
    predictor = Predictor(bundle, device="cpu")
    answer = predictor.run(brain_phantom(5, spacing=8.0, lesions="ms").study).segmentation
    return predictor.session, corrected(answer, len(answer.array) // 2, rarest(answer))


def parameters(session: Session) -> list[np.ndarray]:
    return [value.numpy().copy() for value in session.network.head.state_dict().values()]


def test_learning_that_is_cancelled_leaves_the_model_as_it_was(taught):
    (session, correction), messages = taught, []
    session.run.use_torch()
    before = parameters(session)
    progress = Progress(lambda stage, fraction, message: messages.append(message), lambda: "step 3" in str(messages))
    with pytest.raises(Cancelled):
        session.learner.adapt(correction, progress)
    assert sum("step" in message for message in messages) == 3
    assert session.learner.learnt == 0
    assert all(map(np.array_equal, parameters(session), before))


def test_learning_that_fails_after_earlier_lessons_leaves_what_they_taught(taught, same_steps, monkeypatch):
    session, correction = taught
    first = session.learner.segmentation
    session.learner.adapt(correction, QUIET)
    before, answer = parameters(session), session.learner.segmentation

    def fail(*_args) -> None:
        raise MemoryError

    monkeypatch.setattr(session, "segment", fail)
    with pytest.raises(MemoryError):
        session.learner.adapt(correction, QUIET, first)
    assert session.learner.learnt == 1 and session.learner.segmentation is answer
    assert all(map(np.array_equal, parameters(session), before))


def test_voxels_of_no_class_are_no_lesson_and_keep_the_models_answer(taught):
    session, _correction = taught
    answer = session.learner.segmentation
    array = answer.array.copy()
    array[len(array) // 2] = UNTAUGHT
    with pytest.raises(InputError, match="Nothing was corrected"):
        session.learner.adapt(Image(array, answer.affine), QUIET)
    first = len(array) // 2 - 2
    array[first][answer.array[first] > 0] = 1
    figures = session.learner.adapt(Image(array, answer.affine), QUIET)
    assert figures["voxels"] == (array != answer.array)[first].sum()
    assert figures["segmentation"].array.max() < UNTAUGHT


def test_corrected_pixels_weigh_five_times_what_the_user_left_and_repeated_slices_weigh_one(taught, monkeypatch):
    (session, correction), given = taught, {}

    def note(head, answer, target, weight, marked, progress) -> dict:
        given.update(weight=weight.numpy(), marked=marked.numpy())
        return {}

    monkeypatch.setattr(corrections, "train_head", note)
    learnt = [k - 1 for k in session.learner.adapt(correction, QUIET)["slices"]]
    weight, marked = given["weight"], given["marked"]
    mask = session.frame.into(session.prepared.mask, False)
    lessons, reminders = weight[: len(learnt)], weight[len(learnt) :]
    assert marked.any() and not marked.all()
    assert np.array_equal(lessons, np.where(marked, 5.0, 1.0) * mask[learnt])
    assert len(reminders) > 0 and set(np.unique(reminders)) == {0.0, 1.0}


def rarest(segmentation: Image) -> int:
    """The class that the middle slice has least of."""
    middle = segmentation.array[len(segmentation.array) // 2]
    return int(np.bincount(middle.ravel(), minlength=5)[1:].argmin()) + 1


def test_what_one_study_taught_is_undone_and_saved_after_its_next_run_and_not_for_another_one(
    bundle, tmp_path, same_steps
):
    study, other = (brain_phantom(seed, spacing=8.0, lesions="ms").study for seed in (5, 6))
    predictor = Predictor(bundle, device="cpu")
    untaught = predictor.run(other).segmentation.array
    first = predictor.run(study)
    correction = corrected(first.segmentation, len(first.segmentation.array) // 2, rarest(first.segmentation))
    predictor.session.learner.adapt(correction, QUIET)
    again = predictor.run(copy.deepcopy(study))  # as if it was read again
    (warning,) = [w for w in again.report["warnings"] if "adapted to your corrections" in w]
    assert warning not in first.report["warnings"]
    assert not np.array_equal(again.segmentation.array, first.segmentation.array)
    assert predictor.session.learner.learnt == 1
    assert predictor.session.learner.save(tmp_path / "mine", "mine").card["derived_from"]["name"] == bundle.name
    predictor.session.learner.adapt(correction, QUIET)
    assert predictor.session.learner.learnt == 2
    predictor.session.learner.undo()
    session = predictor.session
    session.learner.undo()
    assert np.array_equal(session.learner.segmentation.array, first.segmentation.array)
    assert np.array_equal(session.segment(list(session.prepared.images), QUIET).array, first.segmentation.array)
    session.learner.adapt(correction, QUIET)
    elsewhere = predictor.run(other)
    assert np.array_equal(elsewhere.segmentation.array, untaught)
    assert not [w for w in elsewhere.report["warnings"] if "adapted" in w]
    assert elsewhere.report["backend"] == first.report["backend"]
    for ask in (predictor.session.learner.undo, lambda: predictor.session.learner.save(tmp_path / "no", "no")):
        with pytest.raises(InputError, match="as it was installed"):
            ask()
    assert np.array_equal(predictor.run(study).segmentation.array, first.segmentation.array)


def test_a_session_of_an_earlier_study_teaches_the_installed_model(bundle, same_steps):
    study, other = (brain_phantom(seed, spacing=8.0, lesions="ms").study for seed in (5, 6))
    predictor, sessions, answers = Predictor(bundle, device="cpu"), [], []
    for one in (study, other):
        answers.append(predictor.run(one).segmentation)
        sessions.append(predictor.session)
    lessons = [corrected(answer, len(answer.array) // 2, rarest(answer)) for answer in answers]
    alone = sessions[0].learner.adapt(lessons[0], QUIET)
    sessions[1].learner.adapt(lessons[1], QUIET)
    assert [session.learner.learnt for session in sessions] == [0, 1]
    after = sessions[0].learner.adapt(lessons[0], QUIET, answers[0])
    assert [session.learner.learnt for session in sessions] == [1, 0]
    assert after["loss"] == alone["loss"]
    assert np.array_equal(after["segmentation"].array, alone["segmentation"].array)


def test_another_sensitivity_answers_without_the_networks_as_a_run_with_it_would(bundle, monkeypatch):
    study = brain_phantom(5, spacing=5.0, lesions="ms").study
    asked = Predictor(bundle, device="cpu").run(study, segment=True, sensitivity=16.0)
    assert asked.report["sensitivity"] == 16.0
    predictor = Predictor(bundle, device="cpu")
    usual = predictor.run(study, segment=True).segmentation
    session = predictor.session
    monkeypatch.setattr("disentangle.inference.engine.Engine.run", None)
    more = session.segment_again(16.0, usual, QUIET)
    assert np.array_equal(more.array, asked.segmentation.array)
    assert (more.array >= 4).sum() > (usual.array >= 4).sum()
    fewer = session.segment_again(1 / 16, more, QUIET)
    assert (fewer.array >= 4).sum() < (usual.array >= 4).sum()
    assert np.array_equal(session.segment_again(1.0, fewer, QUIET).array, usual.array)


def test_what_was_drawn_stays_whichever_way_the_sensitivity_goes(bundle):
    predictor = Predictor(bundle, device="cpu")
    usual = predictor.run(brain_phantom(5, spacing=5.0, lesions="ms").study, segment=True).segmentation
    session, k = predictor.session, len(usual.array) // 2
    drawn = usual.array.copy()
    drawn[k] = np.where(drawn[k] > 0, 4, 0)  # some of it the model will say, too
    mine = drawn != usual.array
    assert mine.any()
    shown = usual.with_array(drawn)
    for odds in (1024.0, 1 / 1024, 1.0):
        shown = session.segment_again(odds, shown, QUIET)
        assert (shown.array[mine] == 4).all()
    assert np.array_equal(shown.array, drawn)
    erased = shown.array.copy()
    erased[k] = 0
    after = session.segment_again(1024.0, shown.with_array(erased), QUIET)
    assert not after.array[k][shown.array[k] > 0].any()


def test_another_sensitivity_is_of_the_sessions_own_study_whatever_was_run_since(bundle):
    predictor = Predictor(bundle, device="cpu")
    first, second = (brain_phantom(5, spacing=5.0, lesions=kind).study for kind in ("ms", "glioma"))
    usual = predictor.run(first, segment=True).segmentation
    session = predictor.session
    assert not np.array_equal(predictor.run(second, segment=True).segmentation.array, usual.array)
    assert np.array_equal(session.segment_again(1.0, usual, QUIET).array, usual.array)


def test_what_learning_changed_and_its_undoing_gave_back_was_not_drawn(taught, same_steps):
    session, lesson = taught
    answer = session.learner.segmentation
    learnt = session.learner.adapt(lesson, QUIET)["segmentation"]
    mine = lesson.array != answer.array
    assert (learnt.array != lesson.array).any(), "learning changes more than what was drawn"
    session.learner.undo()
    assert np.array_equal(session.segment_again(1.0, lesson, QUIET).array, lesson.array)
    fewer = session.segment_again(1 / 1024, lesson, QUIET)
    assert not (fewer.array[~mine] >= 4).any()
    assert np.array_equal(fewer.array[mine], lesson.array[mine])


def test_a_sensitivity_that_cannot_be_meant_or_is_cancelled_changes_nothing(bundle, monkeypatch):
    predictor = Predictor(bundle, device="cpu")
    usual = predictor.run(brain_phantom(5, spacing=5.0, lesions="ms").study, segment=True).segmentation
    session = predictor.session
    with pytest.raises(InputError, match="sensitivity cannot be 0"):
        session.segment_again(0, usual, QUIET)
    with pytest.raises(InputError, match="grid of the first input"):
        session.segment_again(4.0, Image(usual.array[1:], usual.affine), QUIET)
    session.run.answers._parts.clear()  # as where the volumes were too large to be kept
    with pytest.raises(Cancelled):
        session.segment_again(4.0, usual, Progress(cancelled=lambda: True))
    assert session.run.sensitivity == 1.0
    assert np.array_equal(session.segment(list(session.prepared.images), QUIET).array, usual.array)


def test_a_model_without_findings_says_that_the_sensitivity_has_no_effect(tmp_path):
    small = {"size": (48, 48), "spacing": (2.5, 2.5, 9.0)}
    study = create_phantom("heart", 1, **small).study
    predictor = Predictor(tiny_heart_bundle(tmp_path / "heart", **small), device="cpu")
    usual, asked = predictor.run(study, segment=True), predictor.run(study, segment=True, sensitivity=8.0)
    assert np.array_equal(usual.segmentation.array, asked.segmentation.array)
    assert any("tells no lesions from healthy tissue" in warning for warning in asked.report["warnings"])


def test_nothing_corrected_is_nothing_to_learn(ran, session):
    with pytest.raises(InputError, match="Nothing was corrected"):
        session.learner.adapt(ran[1].segmentation, QUIET)


def test_what_is_looked_at_comes_first(bundle):
    study = brain_phantom(5, spacing=5.0, lesions="ms").study
    predictor, slabs = Predictor(bundle, device="cpu", batch_size=2), []
    whole = predictor.run(study, segment=True)
    point = (0.0, 0.0, 30.0)
    again = predictor.run(study, segment=True, point=point, preview=slabs.append)
    assert np.array_equal(whole.segmentation.array, again.segmentation.array)
    (slab,) = slabs
    k = predictor.session.slice_at(point)
    index = np.linalg.inv(slab.affine) @ predictor.last[0].prepared.grid.affine @ [0, 0, k, 1]
    assert 0 <= round(index[2]) < len(slab.array)
    assert slab.array.any()


def test_a_target_that_is_there_is_made_from_the_others_and_scored(bundle):
    study = brain_phantom(5, spacing=5.0).study
    predictor = Predictor(bundle, device="cpu")
    result = predictor.run(study, segment=False, synthesize=["FLAIR", "T1"], leave_out_target=True)
    alone = predictor.run(study.subset(["T1", "T1Gd", "T2"]), segment=False, synthesize=["FLAIR"])
    assert set(result.differences) == set(result.report["quality"]["synthesis"]) == {"FLAIR", "T1"}
    inside = result.differences["FLAIR"].array != 0
    likeness = np.corrcoef(result.synthesized["FLAIR"].array[inside], alone.synthesized["FLAIR"].array[inside])
    assert likeness[0, 1] > 0.95  # the mask was found with FLAIR, too


def test_a_plane_shows_groups_apart():
    random = np.random.default_rng(3)
    groups = np.concatenate([random.normal(c, 0.1, (20, 6)) for c in (0.0, 3.0)])
    for points in (principal_components(groups)[0], tsne_map(groups)):
        gap = np.linalg.norm(points[:20].mean(0) - points[20:].mean(0))
        assert gap > 2 * points[:20].std()
