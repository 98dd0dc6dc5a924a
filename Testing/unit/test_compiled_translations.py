"""Compiled programs of systems that translate images (UCD) or decode them without style (DALACE) answer as PyTorch."""

import numpy as np
import pytest
from converted import largest_difference, needs_openvino, relative_difference

from disentangle.bundles import Bundle
from disentangle.inference import Predictor
from disentangle.inference.backends import store
from disentangle.phantoms import create_phantom
from tiny_bundle import tiny_agnostic_bundle, tiny_translation_bundle

pytestmark = needs_openvino
WANTED = {"factors": True, "cross_reconstructions": True, "probabilities": True}


@pytest.fixture(scope="module")
def study():
    return create_phantom("brain", 3, spacing=4.0).study.subset(["T1", "T2"])


@pytest.fixture(scope="module", params=["ucd", "ucd, U-Net", "dalace"])
def bundle(request, tmp_path_factory) -> Bundle:
    from disentangle.inference.backends.convert import convert

    folder = tmp_path_factory.mktemp("models") / request.param.split(",")[0]
    if request.param == "dalace":
        found = tiny_agnostic_bundle(folder, width=0.125)
    else:
        unet = {"backbone": "unet128", "levels": 5, "context": True, "discriminator_levels": 4}
        found = tiny_translation_bundle(folder, **(unet if "U-Net" in request.param else {}))
    assert convert(found).note == ""
    return found


def test_every_answer_differs_by_less_than_a_thousandth(bundle, study):
    missing = ["FLAIR"] if "FLAIR" in bundle.targets else ["T2"]
    predictors = [Predictor(bundle, device="cpu", backend=backend) for backend in ("torch", "openvino")]
    expected, found = (predictor.run(study, synthesize=missing, **WANTED) for predictor in predictors)
    assert found.report["backend"]["name"] == "openvino"
    assert np.mean(found.segmentation.array == expected.segmentation.array) >= 0.999
    assert largest_difference(found, expected) < 1e-3


def test_a_slider_finds_its_programs_compiled(bundle, study):
    predictors = [Predictor(bundle, device="cpu", backend=backend) for backend in ("torch", "openvino")]
    for predictor in predictors:
        predictor.run(study)
    sessions = [predictor.session for predictor in predictors]
    sessions[1].factors_of(3)
    sessions[1].expect_drawing().result(timeout=60)
    ready = set(sessions[1].network._compiled)
    style = sessions[0].styles()["T2"]
    drawn = [session.draw(8, "fused", style, {"T2": 1.0}) for session in sessions]
    assert relative_difference(drawn[1], drawn[0]) < 1e-3
    assert set(sessions[1].network._compiled) == ready


def test_what_the_first_slices_need_is_compiled_before_they_come(bundle, study):
    Predictor(bundle, device="cpu", backend="openvino").run(study)  # the size of its slices is remembered
    made = store.read(bundle)
    assert store.last_size(made.folder)
    predictor = Predictor(bundle, device="cpu", backend="openvino")
    predictor.run(study)
    network = predictor.last[0].network
    size = network._foreseen
    ahead = {program for program, _ in network._first_programs(["T1", "T2"], True, size)}
    assert ahead <= {program for program, _ in network._compiled}
