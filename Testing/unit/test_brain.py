"""The brain of a whole head: the network that is shipped, and who is asked when."""

import numpy as np
import pytest

from disentangle.inference.brain import find_brain
from disentangle.metrics.overlap import dice
from disentangle.phantoms import brain_phantom
from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.study import Image, Study

CONFIG = PreprocessingConfig(spacing=(3.0, 3.0, 3.0))


@pytest.fixture(scope="module")
def head():
    """A digital head with its skull: (images, brain)."""
    study = brain_phantom(78, spacing=3.0, skull=True, lesions="none", sequences=("T1", "T2")).study
    return study.images, study.masks[""].array > 0


@pytest.mark.parametrize("sequence", ["T1", "T2"])
def test_the_network_finds_the_brain_in_a_head_that_it_never_saw(head, sequence):
    images, brain = head
    assert dice(find_brain(images[sequence]), brain) > 0.9


def test_what_has_not_the_size_of_a_brain_is_no_answer():
    assert find_brain(Image(np.zeros((8, 60, 60), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))) is None
    assert find_brain(Image(np.zeros((20, 20, 20), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))) is None


def test_the_finder_is_asked_for_whole_heads_and_its_answer_taken(head):
    images, brain = head
    asked = []

    def finder(image):
        asked.append(image.sequence)
        return brain

    prepared = prepare(Study({"T1": images["T1"]}), CONFIG, find_brain=finder)
    (step,) = [s for s in prepared.steps if s.name == "mask"]
    assert (asked, step.parameters["kind"]) == (["T1"], "found by a network and the atlas")
    assert step.parameters["volume_ml"] == pytest.approx(brain.sum() * 0.027, rel=0.1)


def test_without_an_answer_the_surface_is_taken(head):
    images, _ = head
    prepared = prepare(Study({"T1": images["T1"]}), CONFIG, find_brain=lambda image: None)
    (step,) = [s for s in prepared.steps if s.name == "mask"]
    assert step.parameters["kind"] == "found with the atlas"


def test_nobody_is_asked_about_a_study_with_a_mask(head):
    images, brain = head
    study = Study({"T1": images["T1"]}, masks={"T1": images["T1"].with_array(brain.astype(np.uint8))})
    prepare(study, CONFIG, find_brain=lambda image: pytest.fail("it was asked"))
