"""Recordings of what a GPU computes again and again: when they are made and dropped, and that they change no answer."""

import numpy as np
import pytest
import torch

from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.backends.graphs import SWITCH, Replays, mapped, replays_on, signature, tensors_of
from disentangle.inference.devices import GPU_BATCH, MAX_BATCH, memory_per_slice, slices_at_once
from disentangle.systems.base import Factors
from tiny_bundle import SEQUENCES, tiny_agnostic_bundle, tiny_bundle, tiny_system, tiny_translation_bundle


@pytest.fixture(autouse=True)
def switched_on(monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


class Recorder:
    """Records by keeping the function; says how often it recorded and replayed."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse, self.recorded, self.replayed = refuse, 0, 0

    def __call__(self, function, arguments):
        self.recorded += 1
        if self.refuse:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors ...")
        shapes = signature(arguments)

        def replay(given):
            assert signature(given) == shapes
            self.replayed += 1
            return function(*given)

        return replay


def _double(x):
    return {"twice": [2 * x]}


def test_a_shape_is_called_first_recorded_second_and_replayed_from_then_on():
    recorder = Recorder()
    replays = Replays(recorder)
    seen = []
    for n in range(4):
        x = torch.full((2, 3), float(n))
        assert torch.equal(replays("double", _double, x)["twice"][0], 2 * x)
        seen.append((recorder.recorded, recorder.replayed))
    assert seen == [(0, 0), (1, 1), (1, 2), (1, 3)]


def test_other_names_shapes_and_types_are_recorded_on_their_own():
    recorder = Recorder()
    replays = Replays(recorder)
    cases = [("a", torch.zeros(2)), ("b", torch.zeros(2)), ("a", torch.zeros(3)), ("a", torch.zeros(2).double())]
    for name, x in cases * 2:
        replays(name, _double, x)
    assert (recorder.recorded, len(replays)) == (4, 4)


def test_what_cannot_be_recorded_is_called_and_not_tried_again(caplog):
    recorder = Recorder(refuse=True)
    replays = Replays(recorder)
    with caplog.at_level("INFO"):
        for _ in range(4):
            assert replays("double", _double, torch.ones(1))["twice"][0] == 2
    assert (recorder.recorded, len(replays)) == (1, 0)
    assert [r.getMessage() for r in caplog.records] == [
        "double runs without a CUDA graph: operation not permitted when stream is capturing"
    ]


def test_the_recording_not_used_for_longest_goes_first():
    recorder = Recorder()
    replays = Replays(recorder, limit=2)
    for size in (1, 1, 2, 2, 1, 3, 3):  # 2 goes
        replays("double", _double, torch.zeros(size))
    assert (recorder.recorded, len(replays)) == (3, 2)
    replays("double", _double, torch.zeros(1))
    assert recorder.recorded == 3
    replays("double", _double, torch.zeros(2))  # as if never seen
    assert recorder.recorded == 3


def test_forgetting_starts_anew():
    recorder = Recorder()
    replays = Replays(recorder)
    for _ in range(2):
        replays("double", _double, torch.zeros(1))
    replays.forget()
    assert len(replays) == 0
    replays("double", _double, torch.zeros(1))
    assert recorder.recorded == 1


def test_without_a_recorder_every_call_is_the_function_itself():
    x = torch.zeros(2)
    replays = Replays(None)
    for _ in range(3):
        assert replays("same", lambda value: value, x) is x
    assert len(replays) == 0


def test_tensors_are_found_in_factors_lists_and_dictionaries():
    factors = Factors({"T1": torch.ones(1), "T2": torch.full((1,), 2.0)}, {}, torch.zeros(1))
    value = (factors, ["T1", torch.full((1,), 3.0)])
    assert [float(t) for t in tensors_of(value)] == [1, 2, 0, 3]
    changed, (name, last) = mapped(value, lambda t: t + 1)
    assert (float(changed.anatomy["T2"]), changed.images, name, float(last)) == (3, None, "T1", 4)
    without_style = Factors({"T1": torch.ones(1)}, {}, torch.zeros(1))
    assert signature(value) != signature((without_style, value[1]))
    assert hash(signature(value)) == hash(signature(mapped(value, torch.Tensor.clone)))


def _answers(network: EagerNetwork, count: int, seed: int) -> list[torch.Tensor]:
    """Everything that a network computes of slices drawn with a seed."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((count, 1, 64, 96), np.float32)
    mask[:, :, 8:56, 8:88] = 1
    images = {s: (generator.standard_normal((count, 3, 64, 96)) * mask).astype(np.float32) for s in SEQUENCES}
    factors = network.encode(images, mask)
    bare = network.encode(images, mask, styles=False)
    style = generator.standard_normal(16).astype(np.float32)
    decoded = network.decode(network.synthesis_anatomy(factors), ["T1", style, factors.modality["T2"]])
    return [network.probabilities(factors), network.probabilities(bare), *decoded, *tensors_of(factors)]


def test_a_system_of_programs_answers_alike_whether_replayed_or_not():
    network = EagerNetwork(tiny_system().fold())
    plain = [_answers(network, 2, seed) for seed in (1, 2, 3)]
    recorder = Recorder()
    network.replays = Replays(recorder)
    for seed, expected in zip((1, 2, 3), plain, strict=True):
        for found, wanted in zip(_answers(network, 2, seed), expected, strict=True):
            assert torch.equal(found, wanted)
    assert recorder.recorded == 2 * len(SEQUENCES) + 3
    network.place("cpu")
    assert len(network.replays) == 0


@pytest.mark.parametrize("write", [tiny_bundle, tiny_translation_bundle, tiny_agnostic_bundle])
def test_a_folded_system_takes_the_layout_that_gpus_read_and_answers_the_same(write, tmp_path):
    system = write(tmp_path / "bundle").system().fold()
    sequence = system.capabilities.sequences[0]
    image = torch.linspace(-1, 1, system.capabilities.slices * 64 * 96).view(1, -1, 64, 96)
    mask = torch.ones(1, 1, 64, 96)
    with torch.no_grad():
        before = system.encode({sequence: image}, mask).anatomy[sequence]
        system.to(memory_format=torch.channels_last)  # as EagerNetwork.place does on a GPU
        after = system.encode({sequence: image}, mask).anatomy[sequence]
    assert torch.allclose(after, before, rtol=1e-3, atol=1e-4)


def test_a_cpu_takes_few_slices_at_once_and_whatever_is_asked_for():
    per_slice = memory_per_slice(160, 192, 4, 4, 8)
    assert slices_at_once("cpu (2 threads)", per_slice) == MAX_BATCH
    assert slices_at_once("cpu (2 threads)", per_slice, 3) == 3


def test_nothing_is_recorded_on_a_gpu_where_it_is_switched_off(monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    assert replays_on(torch.device("cuda"), static=True).record is None


@needs_cuda
def test_a_gpu_takes_more_slices_at_once_where_its_memory_allows():
    free, _ = torch.cuda.mem_get_info()
    assert slices_at_once("cuda:0 (a GPU)", 1) == GPU_BATCH
    assert slices_at_once("cuda:0 (a GPU)", 1, 5) == 5
    assert slices_at_once("cuda:0 (a GPU)", free // 3) == 2


@needs_cuda
def test_graphs_answer_as_plain_calls_do_and_as_the_cpu_does(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # labels of random weights are close calls
    reference = EagerNetwork(tiny_system().fold())
    plain, network = (EagerNetwork(tiny_system().fold().to("cuda")) for _ in range(2))
    plain.replays = Replays(None)
    for turn in range(4):
        expected = _answers(plain, 2, turn)
        found = _answers(network, 2, turn)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
        labels = found[0].argmax(1).cpu()
        assert (labels == _answers(reference, 2, turn)[0].argmax(1)).float().mean() >= 0.999
    assert len(network.replays) == 2 * len(SEQUENCES) + 3
    assert not network.replays._refused


@needs_cuda
def test_changing_an_answer_of_a_graph_changes_no_other():
    network = EagerNetwork(tiny_system().fold().to("cuda"))
    for _ in range(3):
        first = _answers(network, 1, 1)
    kept = [t.clone() for t in first]
    for tensor in _answers(network, 1, 1):
        tensor.zero_()
    for tensor, wanted in zip(_answers(network, 1, 1), kept, strict=True):
        assert torch.allclose(tensor, wanted, rtol=1e-4, atol=1e-5)


@needs_cuda
def test_graphs_follow_weights_that_change_in_place():
    network = EagerNetwork(tiny_system().fold().to("cuda"))
    before = [_answers(network, 1, 1)[0] for _ in range(3)][-1]
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(1.5)
    after = _answers(network, 1, 1)[0]
    network.replays.forget()
    for _ in range(2):  # recorded anew, in memory that the graphs before have left
        _answers(network, 1, 1)
    assert len(network.replays) == 2 * len(SEQUENCES) + 3
    assert torch.allclose(after, _answers(network, 1, 1)[0], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(after, before, rtol=1e-3, atol=1e-3)
