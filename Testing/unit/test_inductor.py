"""torch.compile is there for who asks for it, and gives way to PyTorch as it is where it fails."""

import logging
import shutil

import numpy as np
import pytest
import torch

from disentangle.inference import Predictor
from disentangle.inference.backends.inductor import Compilations
from disentangle.phantoms import create_phantom
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study():
    return create_phantom("brain", 3, spacing=10.0).study.subset(["T1", "T2"])


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_what_is_compiled_answers_the_same(caplog):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)).eval()
    compilations = Compilations()
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        for size in (16, 24):
            image = torch.randn(2, 1, size, size)
            found = compilations("net", lambda x: network(x), image)
            torch.testing.assert_close(found, network(image), rtol=1e-4, atol=1e-5)
    assert not compilations.plain and not caplog.records


def test_without_a_compiler_torch_runs_as_it_is_and_the_log_says_so(tmp_path, study, monkeypatch, caplog):
    def broken(function, **options):
        def fail(*arguments):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

        return fail

    bundle = tiny_bundle(tmp_path / "tiny")
    expected = Predictor(bundle, device="cpu", backend="torch").run(study, synthesize=["FLAIR"])
    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.WARNING):
        found = Predictor(bundle, device="cpu", backend="compile").run(study, synthesize=["FLAIR"])
    assert [r.getMessage() for r in caplog.records if "torch.compile failed" in r.getMessage()] == [
        "torch.compile failed, PyTorch runs as it is: InvalidCxxCompiler: No working C++ compiler found"
    ]
    assert found.report["backend"] == {"name": "torch", "reason": "torch.compile, asked for"}
    np.testing.assert_array_equal(found.segmentation.array, expected.segmentation.array)
    np.testing.assert_array_equal(found.synthesized["FLAIR"].array, expected.synthesized["FLAIR"].array)


def test_memory_that_runs_out_is_the_engines_to_handle():
    compilations = Compilations()
    compilations._compiled["net"] = lambda: (_ for _ in ()).throw(RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        compilations("net", lambda: 1)
    assert not compilations.plain


def test_a_model_that_is_to_learn_is_compiled_no_longer(tmp_path, study, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.append(options) or function)
    predictor = Predictor(tiny_bundle(tmp_path / "tiny"), device="cpu", backend="compile")
    predictor.run(study)
    assert asked and all(options == {"options": {"freezing": True}} for options in asked)
    predictor.session.run.use_torch()
    assert predictor.networks._network.replays.plain
