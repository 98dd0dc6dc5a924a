"""The brain of a whole head: the network that is shipped, and who is asked when."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from converted import needs_openvino

from disentangle.inference.backends.store import brain_program
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


@needs_openvino
def test_the_compiled_network_finds_the_same_brain_without_torch(head, tmp_path):
    from disentangle.inference.backends.convert import _convert_brain

    image = head[0]["T1"]
    _convert_brain()
    assert brain_program().is_file()
    assert dice(find_brain(image, compiled=True), find_brain(image, compiled=False)) > 0.9999
    image.write(tmp_path / "T1.nii.gz")
    code = (
        "import sys; from disentangle.study import Image; from disentangle.inference.brain import find_brain\n"
        f"print(int(find_brain(Image.read({str(tmp_path / 'T1.nii.gz')!r})).sum()), 'torch' in sys.modules)"
    )
    training = Path(__file__).resolve().parents[2] / "training"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=training, check=False)
    assert done.stdout.split() == [str(int(find_brain(image).sum())), "False"], done.stderr
