"""What an image looks like: its sequence, whether it lies upright, whether it is a brain at all."""

from dataclasses import replace

import numpy as np
import pytest

from disentangle.inference.confidence import confidence, doubts, recognise_study, taken_for_stripped
from disentangle.inference.recognition import Discriminant, Recognition, recognise
from disentangle.phantoms import create_phantom
from disentangle.preprocessing import PreparedStudy, PreprocessingConfig
from disentangle.preprocessing.prepared import Step
from disentangle.study import Grid, Image, Study

MM = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def head():
    """Images and mask of a digital brain that nothing was fitted to."""
    study = create_phantom("brain", 78, spacing=3.0, lesions="random").study
    return {s: i.array.astype(np.float32) for s, i in study.images.items()}, study.masks[""].array > 0


def found(sequence="T1", told=None, p=0.99, distance=0.5, orientation="upright", agreement=0.2):
    others = dict.fromkeys(("T1", "T1Gd", "T2", "FLAIR"), (1 - p) / 3)
    told = told or sequence
    return {sequence: Recognition(told, others | {told: p}, distance, orientation, agreement)}


def found_in(**agreements):
    """Recognitions of one study, with how much each sequence agrees with the atlas."""
    return {name: found(name, agreement=value)[name] for name, value in agreements.items()}


def reversed_in_place(array, mask, axis):
    """The brain turned within the box of its mask, as registration would lay it over the others."""
    box = tuple(slice(index.min(), index.max() + 1) for index in np.nonzero(mask))
    turned = np.zeros_like(array)
    turned[box] = np.flip(np.where(mask, array, 0)[box], axis)
    return turned


def prepared(head, **others):
    """A prepared study of the head; other arrays may stand for some of its sequences."""
    images, mask = head
    images = {s: np.where(mask, image, 0) for s, image in images.items() if s != "T2"} | others
    images = {s: np.where(mask, (i - i[mask].mean()) / i[mask].std(), -3).astype(np.float32) for s, i in images.items()}
    grid = Grid(mask.shape, np.diag((*MM, 1.0)))
    config = PreprocessingConfig(spacing=MM)
    return PreparedStudy(
        Study({"T1": Image(images["T1"], grid.affine)}), config, "T1", grid, images, mask, None, {}, {}
    )


class TestRecognition:
    def test_it_tells_the_four_sequences_of_an_unseen_head(self, head):
        images, mask = head
        assert {s: recognise(image, mask, MM).sequence for s, image in images.items()} == {s: s for s in images}

    def test_units_do_not_matter(self, head):
        images, mask = head
        plain, changed = (recognise(array, mask, MM) for array in (images["T2"], 7 * images["T2"] - 300))
        assert changed.to_dict() == plain.to_dict()

    @pytest.mark.parametrize(("axis", "name"), [(0, "upside down"), (1, "back to front")])
    def test_it_tells_how_a_head_lies_and_which_sequence_it_is_nevertheless(self, head, axis, name):
        images, mask = head
        told = recognise(np.flip(images["T2"], axis), np.flip(mask, axis), MM)
        assert (told.orientation, told.sequence) == (name, "T2")

    def test_noise_in_the_shape_of_a_brain_is_no_brain(self, head):
        images, mask = head
        noise = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
        assert recognise(noise, mask, MM).confidence < 0.3 < recognise(images["T1"], mask, MM).confidence

    def test_an_abdomen_is_no_brain(self):
        image = create_phantom("abdomen", 3).study["T2SPIR"]
        array = image.array.astype(np.float32)
        told = recognise(array, array > np.percentile(array, 30), tuple(image.spacing))
        assert any("does not look like a brain" in sentence for sentence in doubts({"T2": told}))


class TestDiscriminant:
    def test_it_parts_two_clouds_and_survives_being_stored(self):
        random = np.random.default_rng(0)
        figures = np.concatenate([random.normal(0, 1, (40, 3)), random.normal(4, 1, (40, 3))])
        names = ["T1"] * 40 + ["T2"] * 40
        model = Discriminant.fitted(figures, names, np.ones(80), 0.1)
        again = Discriminant.from_json(model.to_json())
        told = [again.sequences[int(again.probabilities(row).argmax())] for row in figures]
        assert np.mean([a == b for a, b in zip(told, names, strict=True)]) > 0.97
        assert np.sqrt(again.squared(np.full(3, 40.0)).min()) > 5 * again.reach


class TestDoubts:
    def test_an_image_that_is_what_it_was_given_as_raises_none(self):
        assert not list(doubts(found()))

    def test_a_wrong_assignment_is_named_with_the_right_one(self):
        assert list(doubts(found("T2", "FLAIR"))) == [
            "The image given as T2 looks like FLAIR (99%); check the assignment."
        ]

    def test_t1_without_visible_contrast_agent_is_no_contradiction_but_an_exchange_is(self):
        assert not list(doubts(found("T1Gd", "T1") | found("T1")))
        exchanged = found("T1Gd", "T1") | found("T1", "T1Gd")
        assert len(list(doubts(exchanged))) == 2
        mask = np.ones((1, 2, 2), bool)
        assert confidence(found("T1Gd", "T1") | found("T1"), None, mask)["input"] > 0.9
        assert confidence(exchanged, None, mask)["input"] < 0.05

    def test_an_unsure_guess_is_kept_back(self):
        assert not list(doubts(found("T2", "FLAIR", p=0.6)))

    def test_a_turned_head_and_a_strange_image_are_told(self):
        assert "upside down" in next(doubts(found(orientation="upside down")))
        assert "no brain MR that this model knows" in next(doubts(found(distance=3.0)))


class TestOneSequenceOfAStudy:
    def test_all_as_they_should_lie_raise_no_doubt(self, head):
        recognised = recognise_study(prepared(head))
        assert not list(doubts(recognised))
        assert confidence(recognised, None, head[1])["input"] > 0.5

    @pytest.mark.parametrize(
        ("name", "axis", "way"), [("T1", 0, "upside down"), ("FLAIR", 0, "upside down"), ("T1", 1, "back to front")]
    )
    def test_one_that_is_turned_is_told_with_how_it_lies(self, head, name, axis, way):
        study = prepared(head, **{name: reversed_in_place(head[0][name], head[1], axis)})
        recognised = recognise_study(study)
        told = list(doubts(recognised))
        assert told == [f"{name} seems to lie {way}, unlike other sequences; check the orientation in its header."]
        assert confidence(recognised, None, study.mask)["input"] == 0

    @pytest.mark.parametrize("name", ["T1", "FLAIR"])
    def test_one_that_shows_nothing_is_told(self, head, name):
        noise = np.random.default_rng(0).normal(size=head[1].shape)
        recognised = recognise_study(prepared(head, **{name: noise}))
        told = list(doubts(recognised))
        assert told == [
            f"{name} does not lie as the other sequences do, or shows something else; "
            "check its orientation and content."
        ]
        assert confidence(recognised, None, head[1])["input"] == 0

    @pytest.mark.parametrize(("axis", "way"), [(0, "upside down"), (1, "back to front")])
    def test_all_that_are_turned_are_told_as_one_head_and_the_input_is_not_trusted(self, head, axis, way):
        upright = prepared(head)
        turned = {name: np.flip(image, axis) for name, image in upright.images.items()}
        study = replace(upright, images=turned, mask=np.flip(upright.mask, axis))
        recognised = recognise_study(study)
        assert list(doubts(recognised)) == [
            f"The head seems to lie {way}; check the orientation in the headers of the images."
        ]
        assert confidence(recognised, None, study.mask)["input"] == 0

    def test_one_that_is_mirrored_is_told(self, head):
        recognised = recognise_study(prepared(head, FLAIR=reversed_in_place(head[0]["FLAIR"], head[1], 2)))
        assert list(doubts(recognised)) == [
            "FLAIR seems to be mirrored left to right against T1; check the headers of both."
        ]
        assert confidence(recognised, None, head[1])["input"] == 0
        again = {name: Recognition.from_dict(looks.to_dict()) for name, looks in recognised.items()}
        assert again["FLAIR"].mirrored_against == "T1"

    def test_the_mirrored_one_is_named_where_all_others_are_mirrored_against_it(self, head):
        (told,) = doubts(recognise_study(prepared(head, T1=reversed_in_place(head[0]["T1"], head[1], 2))))
        assert told.startswith("T1 seems to be mirrored left to right against ")

    def test_little_agreement_alone_is_none_where_all_agree_little(self):
        assert not list(doubts(found_in(T1Gd=0.014, FLAIR=0.035)))
        assert next(doubts(found_in(T1=0.2, FLAIR=0.017))).startswith("FLAIR does not lie as the other sequences do")

    def test_little_agreement_and_nothing_in_common_with_the_reference_is(self):
        recognised = found_in(T1=0.1, FLAIR=0.029)
        assert not list(doubts(recognised))
        recognised["FLAIR"] = replace(recognised["FLAIR"], shared=0.06)
        assert next(doubts(recognised)).startswith("FLAIR does not lie as the other sequences do")

    def test_a_confirmed_one_is_still_compared_and_its_content_is_not_doubted(self):
        recognised = found_in(T1=0.2, FLAIR=0.017)
        assert len(list(doubts(recognised, ["T1"]))) == 1
        assert not list(doubts(recognised, ["FLAIR"]))
        mask = np.ones((1, 2, 2), bool)
        assert confidence(recognised, None, mask, confirmed=["FLAIR"])["input"] > 0.9
        recognised["FLAIR"] = replace(found("FLAIR")["FLAIR"], mirrored_against="T1")
        assert "mirrored" in next(doubts(recognised, ["FLAIR"])), "which sequence it is does not tell how it lies"
        assert confidence(recognised, None, mask, confirmed=["FLAIR"])["input"] == 0


class TestHeadThatLiesWrongAsAWhole:
    mask = np.ones((1, 4, 4), bool)
    sure = np.stack([np.full((1, 4, 4), p) for p in (0.98, 0.01, 0.01)])
    turned = found("T1", orientation="upside down") | found("FLAIR", orientation="upside down")

    def test_a_sure_segmentation_of_it_is_not_trusted(self):
        figures = confidence(self.turned, self.sure, self.mask, ("background", "a", "b"))
        assert (figures["input"], figures["study"]) == (0, 0)

    def test_it_is_not_trusted_until_all_its_sequences_are_confirmed(self):
        assert confidence(self.turned, None, self.mask, confirmed=["T1"])["input"] == 0
        assert "input" not in confidence(self.turned, None, self.mask, confirmed=["T1", "FLAIR"])

    def test_sequences_that_do_not_fit_the_atlas_tell_nothing_of_how_it_lies(self):
        blurred = found("T2", agreement=0.017)
        assert [
            s.split(";")[0] for s in doubts(found("T1", orientation="back to front", agreement=0.045) | blurred)
        ] == ["The head seems to lie back to front"]
        assert not list(doubts(found("T1", agreement=0.045) | found("T2", orientation="upside down", agreement=0.017)))


class TestTakenForStripped:
    heads = found("T1", "FLAIR", distance=1.44, agreement=0.014) | found("FLAIR", "T1", distance=1.4, agreement=0.09)

    def test_what_looks_like_no_brain_then_may_be_a_head(self):
        (told,) = doubts(self.heads, stripped=True)
        assert "whole head rather than a stripped brain; give a brain mask" in told
        assert not any("whole head rather" in sentence for sentence in doubts(self.heads))

    def test_a_weak_brain_or_one_bad_sequence_does_not_make_a_head(self):
        weak = found("T1Gd", distance=1.2, agreement=0.014) | found("FLAIR", distance=1.65, agreement=0.035)
        bad = found("T1", distance=2.0, agreement=0.005) | found("T2")
        for recognised in (weak, bad):
            assert not any("whole head rather" in sentence for sentence in doubts(recognised, stripped=True))

    def test_the_step_tells(self, head):
        study = prepared(head)
        assert not taken_for_stripped(study)
        study.steps.append(Step("mask", "T1", {"kind": "skull-stripped input"}))
        assert taken_for_stripped(study)


class TestConfidence:
    def test_it_is_high_for_a_sure_answer_to_a_known_input_and_low_for_a_doubtful_one(self):
        mask = np.ones((1, 4, 4), bool)
        sure = np.stack([np.full(mask.shape, p) for p in (0.98, 0.01, 0.01)])
        unsure = np.full((3, *mask.shape), 1 / 3)
        high = confidence(found(), sure, mask, ("background", "a", "b"))
        assert high["study"] > 0.85
        assert confidence(found(), unsure, mask)["segmentation"] == pytest.approx(0, abs=1e-3)
        assert confidence(found("T2", "FLAIR"), sure, mask)["study"] < 0.05
        assert confidence(found(distance=2.5), sure, mask)["input"] == 0

    def test_what_could_not_be_judged_is_left_out(self):
        assert confidence({}, None, np.ones((1, 2, 2), bool)) == {}
