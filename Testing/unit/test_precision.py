"""bfloat16 is for GPUs, for who asks for it, and labels hardly change."""

import numpy as np
import pytest
import torch

from disentangle.errors import InputError
from disentangle.inference import Predictor
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Wanted
from disentangle.inference.plan import in_half
from disentangle.progress import Progress
from tiny_bundle import tiny_bundle, tiny_system


@pytest.mark.parametrize(("device", "half"), [("cuda", True), ("mps", True), ("cpu", False)])
def test_only_a_gpu_computes_in_half_and_only_if_asked(device, half):
    assert in_half("bf16", device) is half
    assert in_half("fp32", device) is False


def test_an_unknown_precision_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no precision 'fp16'; use fp32 or bf16"):
        Predictor(tiny_bundle(tmp_path / "tiny"), precision="fp16")


def test_a_cpu_computes_in_float32_whatever_was_asked(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(EagerNetwork, "_precision", lambda self: made.append(self.half) or torch.autocast("cpu"))
    from disentangle.phantoms import create_phantom

    study = create_phantom("brain", 3, spacing=10.0).study.subset(["T1"])
    bundle = tiny_bundle(tmp_path / "tiny")
    result = Predictor(bundle, device="cpu", backend="torch", precision="bf16").run(study)
    assert made and not any(made)
    assert "bf16 is for PyTorch on a GPU; the networks computed in fp32." in result.report["warnings"]


def test_labels_in_bfloat16_are_nearly_those_of_float32_and_the_weights_stay():
    """The region that a GPU runs, run by the CPU."""
    generator = np.random.default_rng(0)
    coarse = generator.standard_normal((6, 8, 8), dtype=np.float32)
    volume = np.kron(coarse, np.ones((1, 8, 8), np.float32))
    images, mask = {"T1": volume, "T2": -volume}, np.ones(volume.shape, bool)
    wanted = Wanted(targets=("FLAIR",), factors=True)
    found = {}
    for half in (False, True):
        network = EagerNetwork(tiny_system().fold(), half=half)
        handles = network.encode({"T1": volume[:1, None].repeat(3, axis=1)}, mask[:1, None].astype(np.float32))
        assert handles.modality["T1"].dtype is (torch.bfloat16 if half else torch.float32)
        found[half] = Engine(network, 4, print).run(images, mask, wanted, Progress())
        assert all(p.dtype is torch.float32 for p in network.system.parameters())
    exact, near = found[False], found[True]
    assert near.probabilities.dtype == np.float32 and not np.array_equal(near.probabilities, exact.probabilities)
    agree = near.probabilities.argmax(0) == exact.probabilities.argmax(0)
    margin = np.sort(exact.probabilities, axis=0)
    sure = margin[-1] - margin[-2] > 0.05  # an untrained network is sure of little
    assert sure.mean() > 0.2 and agree[sure].mean() > 0.99 and agree.mean() > 0.9
    spread = exact.synthesized["FLAIR"].std()
    assert np.abs(near.synthesized["FLAIR"] - exact.synthesized["FLAIR"]).mean() < 0.05 * spread
