"""What GPUs of other makers compute, and older versions of PyTorch refuse."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from disentangle.inference import Predictor, corrections
from disentangle.inference.backends import eager
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine
from disentangle.inference.framing import Frame
from disentangle.inference.learner import Learner
from disentangle.inference.networks import Networks
from disentangle.networks import devices
from disentangle.networks.sequence_classifier import SequenceClassifier
from disentangle.networks.stn import SpatialTransformer, ThinPlateSpline
from disentangle.networks.style import AnatomyStyleEncoder, StyleEncoder
from disentangle.phantoms import create_phantom
from disentangle.progress import Progress
from disentangle.systems import create
from disentangle.systems.factors import Factors
from tiny_bundle import tiny_bundle, tiny_system


@pytest.mark.parametrize("extent", [(8, 6), (5, 6), (3, 4), (13, 29)])
@pytest.mark.parametrize("size", [(5, 6), (11, 11), (1, 1)])
def test_pooling_by_matrices_gives_the_means_of_adaptive_pooling(extent, size):
    x = torch.randn(2, 3, *extent)
    assert torch.allclose(devices.pool_by_matrices(x, size), F.adaptive_avg_pool2d(x, size), atol=1e-6)


@pytest.mark.parametrize("size", [(128, 96), (128, 128)])
def test_every_network_that_pools_answers_the_same_where_extents_must_divide(size, monkeypatch):
    image, anatomy = torch.randn(2, 3, *size), torch.rand(2, 4, *size)
    transformer = SpatialTransformer(4, size=(96, 96), width=0.25)
    torch.nn.init.normal_(transformer.offsets.weight, std=0.01)
    networks = (
        (StyleEncoder(3, 16, width=0.25), (image,)),
        (AnatomyStyleEncoder(4, 3, 8, width=0.25, size=(96, 96)), (anatomy, image)),
        (SequenceClassifier(4, 3), (anatomy,)),
        (transformer.displacements, (anatomy, anatomy.flip(-1))),
    )
    expected = [network(*inputs) for network, inputs in networks]

    def refuse(x, size):
        raise NotImplementedError("Adaptive pool MPS: input sizes must be divisible by output sizes")

    monkeypatch.setattr(F, "adaptive_avg_pool2d", refuse)
    monkeypatch.setattr(devices, "_must_divide", lambda device: True)
    for (network, inputs), before in zip(networks, expected, strict=True):
        after = network(*inputs)
        pairs = zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]
        for a, b in pairs:
            assert (a is None and b is None) or torch.allclose(a, b, atol=1e-5)


def without_autocast_on(kind: str, monkeypatch) -> None:
    """PyTorch 2.2 to 2.4, which refuse the name of the device even to switch autocast off there."""
    whole = torch.autocast

    def autocast(device_type, *arguments, **settings):
        if device_type == kind:
            raise RuntimeError(f"User specified an unsupported autocast device_type '{kind}'")
        return whole(device_type, *arguments, **settings)

    monkeypatch.setattr(torch, "autocast", autocast)


def test_an_older_pytorch_that_knows_no_autocast_on_a_device_computes_there(monkeypatch):
    image, mask = np.zeros((1, 3, 32, 32), np.float32), np.ones((1, 1, 32, 32), np.float32)
    spline, maps, still = ThinPlateSpline((32, 32)), torch.rand(1, 2, 32, 32), torch.zeros(1, 25, 2)
    before = EagerNetwork(tiny_system()).encode({"T1": image}, mask), spline(maps, still)
    without_autocast_on("cpu", monkeypatch)
    after = EagerNetwork(tiny_system()).encode({"T1": image}, mask), spline(maps, still)
    assert torch.equal(before[0].anatomy["T1"], after[0].anatomy["T1"]) and torch.equal(before[1], after[1])


def test_the_head_learns_on_the_device_of_the_network_and_in_float32(monkeypatch):
    shape, learnt = (6, 32, 32), []
    mask, labels, spots = np.ones(shape, bool), np.zeros(shape, np.uint8), np.zeros(shape, bool)
    spots[3, 5:9, 5:9], labels[3, 5:9, 5:9] = True, 1
    monkeypatch.setattr(corrections, "train_head", lambda head, answer, *tensors: learnt.extend(tensors) or {})
    with torch.device("meta"):  # any device that is not that of arrays
        system = create("margindis", sequences=["T1", "T2"], classes=["background", "a"], width=0.25)

    def factors_of(k: int) -> Factors:
        half = {name: torch.empty(1, 4, 32, 32, device="meta", dtype=torch.bfloat16) for name in ("T1", "T2")}
        return Factors(half, {}, torch.empty(1, 1, 32, 32, device="meta"))

    network, prepared = SimpleNamespace(system=system), SimpleNamespace(mask=mask)
    session = SimpleNamespace(network=network, prepared=prepared, factors_of=factors_of, frame=Frame(mask, 32, None))
    Learner(session, None)._train(system.head, np.array([3]), labels, spots, Progress())
    target, weight, marked, _ = learnt
    assert {x.device.type for x in (target, weight, marked)} == {"meta"}
    assert (target.dtype, weight.dtype) == (torch.int64, torch.float32)
    assert target.shape == weight.shape and target.shape[1:] == (32, 32) and marked.shape == (1, 32, 32)


def test_a_domain_agnostic_image_is_drawn_of_an_anatomy_in_bfloat16():
    system = create("dalace", sequences=["T1", "T2"], classes=["background", "liver"], width=0.125, slices=1).eval()
    network = EagerNetwork(system, half=True)
    image, mask = (
        np.random.default_rng(0).standard_normal((1, 1, 64, 64), np.float32),
        np.ones((1, 1, 64, 64), np.float32),
    )
    anatomy = network.encode({"T1": image}, mask).anatomy["T1"]
    assert anatomy.dtype is torch.bfloat16
    assert np.isfinite(network.array(network.agnostic_image(anatomy, "T1"))).all()


class OnGPU:
    """A network that was on a GPU."""

    name, device, half = "torch", "cuda:0", False

    def __init__(self) -> None:
        self.torch_device, self.full = torch.device("cuda:0"), False

    def place(self, device) -> None:
        if self.full and torch.device(device).type == "cuda":
            raise RuntimeError("CUDA out of memory.")
        self.torch_device = torch.device(device)


def taken(network: OnGPU, note: str | None = None) -> Networks:
    from disentangle.parallel import in_a_thread

    networks = Networks(None, "cuda", "torch")
    networks._loading = in_a_thread(lambda: (network, note))
    networks.begin = lambda *arguments: None
    return networks


def told_by(networks: Networks) -> list[str]:
    warnings: list[str] = []
    networks.load(SimpleNamespace(study=None, warn=warnings.append))
    return warnings


def test_a_gpu_that_ran_out_of_memory_is_tried_again_in_the_next_run():
    network = OnGPU()
    networks = taken(network)
    assert told_by(networks) == []
    network.place("cpu")  # what the engine does when memory runs out
    assert told_by(networks) == [] and network.torch_device == torch.device("cuda:0")
    network.place("cpu")
    network.full = True
    assert "the CPU computed instead" in told_by(networks)[0] and network.torch_device == torch.device("cpu")
    network.full = False
    assert told_by(networks) == [] and network.torch_device == torch.device("cuda:0")


def test_the_report_names_the_device_that_finished(tmp_path, monkeypatch):
    whole = Engine.run

    def run_out(self, *arguments):
        monkeypatch.setattr(eager, "describe_device", lambda device: "the processor")
        self.network.place("cpu")
        return whole(self, *arguments)

    monkeypatch.setattr(eager, "describe_device", lambda device: "a GPU")
    monkeypatch.setattr(Engine, "run", run_out)
    study = create_phantom("brain", 3, spacing=10.0).study.subset(["T1"])
    result = Predictor(tiny_bundle(tmp_path / "tiny"), device="cpu", backend="torch").run(study)
    assert result.report["device"] == "the processor"


def test_every_run_says_that_the_gpu_asked_for_is_not_there():
    networks = taken(OnGPU(), "There is no GPU here; the CPU was used instead.")
    first = told_by(networks)
    assert "the CPU was used instead" in first[0] and told_by(networks) == first


@pytest.fixture
def allowing_tf32(monkeypatch):
    """TF32 is allowed everywhere in this process, as a user may have it."""
    switches = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield lambda: [switch.allow_tf32 for switch in switches]
    for switch, allowed in zip(switches, before, strict=True):
        switch.allow_tf32 = allowed


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(
    ("kind", "half", "allowed"), [("cuda", False, False), ("cuda", True, True), ("cpu", False, True)]
)
def test_float32_on_a_gpu_is_no_tf32_and_the_process_keeps_its_own_settings(allowing_tf32, kind, half, allowed):
    network, seen = EagerNetwork(tiny_system(), half=half), []
    anatomies = network.system.anatomies
    network.system.anatomies = lambda *given: seen.append(allowing_tf32()) or anatomies(*given)
    network.system.segment = lambda fused: seen.append(allowing_tf32()) or torch.zeros(1, 5, 32, 32)
    network._tensor = torch.from_numpy  # what is computed stays on the CPU
    network.torch_device = torch.device(kind)
    network.replays = lambda name, function, *given: function(*given)
    image, mask = np.zeros((1, 3, 32, 32), np.float32), np.ones((1, 1, 32, 32), np.float32)
    network.probabilities(network.encode({"T1": image}, mask, styles=False))
    assert seen == [[allowed, allowed]] * 2
    assert allowing_tf32() == [True, True]


def test_who_has_set_precisions_by_operator_keeps_them(monkeypatch):
    class Mixed:
        @property
        def allow_tf32(self):
            raise RuntimeError("a mix of the legacy and new APIs")

    monkeypatch.setattr(torch.backends, "cudnn", Mixed())
    with eager.exact_float32():
        pass


def test_switching_autocast_off_where_there_is_none_is_nothing(monkeypatch):
    assert isinstance(devices.without_autocast(torch.device("cpu")), torch.autocast)
    without_autocast_on("cpu", monkeypatch)
    assert isinstance(devices.without_autocast(torch.device("cpu")), contextlib.nullcontext)
