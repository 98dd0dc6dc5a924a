"""What an image looks like: its sequence, whether it lies upright, whether it is a brain at all."""

import numpy as np
import pytest

from disentangle.inference.confidence import confidence, doubts
from disentangle.inference.recognition import Discriminant, Recognition, recognise
from disentangle.phantoms import create_phantom

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
