"""How many slices go through the networks at once: as memory allows, and so few that who cancels is answered soon."""

import sys
from types import SimpleNamespace

import pytest
from converted import pretend_converted

from disentangle.inference import devices, free_memory
from disentangle.inference.devices import MAX_BATCH, slices_at_once
from disentangle.inference.networks import Networks
from disentangle.inference.plan import Plan, choose_plan
from tiny_bundle import tiny_bundle

MEMINFO = "MemTotal:       24684000 kB\nMemFree:          100000 kB\nMemAvailable:     2048000 kB\n"
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                         3000.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                            400.
"""


def test_linux_counts_what_it_would_take_from_its_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    told = tmp_path / "meminfo"
    told.write_text(MEMINFO)
    monkeypatch.setattr(free_memory, "_MEMINFO", told)
    assert free_memory.free_memory() == 2048000 * 1024


def test_macos_counts_pages_that_it_gives_at_once(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(free_memory.subprocess, "run", lambda *asked, **how: SimpleNamespace(stdout=VM_STAT))
    assert free_memory.free_memory() == 33400 * 16384


@pytest.mark.parametrize("answer", [1, 0])
def test_windows_fills_in_a_structure_of_64_bytes(monkeypatch, answer):
    def fill(reference) -> int:
        status = reference._obj
        assert status.dwLength == 64
        status.ullTotalPhys, status.ullAvailPhys = 16 << 30, 5 << 30
        return answer

    kernel = SimpleNamespace(GlobalMemoryStatusEx=fill)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(free_memory.ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert free_memory.free_memory() == (5 << 30 if answer else None)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32", "emscripten"])
def test_a_system_that_tells_nothing_is_no_error(tmp_path, monkeypatch, platform):
    def missing(*asked, **how):
        raise FileNotFoundError(asked)

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(free_memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(free_memory.subprocess, "run", missing)
    monkeypatch.delattr(free_memory.ctypes, "windll", raising=False)
    assert free_memory.free_memory() is None
    assert free_memory.pages_in_bytes("nothing of pages") is None


@pytest.mark.parametrize("device", ["cpu (2 threads)", "cpu (2 threads, OpenVINO 2026.4.1)", "mps"])
def test_what_does_not_fit_into_the_memory_of_the_machine_is_not_taken_at_once(device, monkeypatch):
    def at_once(free, wanted=None):
        monkeypatch.setattr(devices, "free_memory", lambda: free)
        return slices_at_once(device, 100 << 20, wanted)

    assert at_once(8 << 30) == at_once(None) == MAX_BATCH
    assert at_once(300 << 20) == 2
    assert at_once(1 << 20) == 1
    assert at_once(8 << 30, wanted=6) == 6
    assert at_once(300 << 20, wanted=6) == 2


def test_so_few_slices_are_taken_at_once_that_a_step_of_them_ends_within_a_third_of_a_second(monkeypatch):
    monkeypatch.setattr(devices, "free_memory", lambda: None)
    taken = {ms: slices_at_once("cpu", 1, None, ms) for ms in (20.0, 75.0, 100.0, 149.0, 450.0, None)}
    assert taken == {20.0: 4, 75.0: 4, 100.0: 3, 149.0: 2, 450.0: 1, None: 4}


def loaded(name: str, device: str, size: tuple[int, int] | None = None) -> Networks:
    """What computes, on a machine where the conversion measured 60 ms a slice of PyTorch and 20 ms of OpenVINO."""
    networks = Networks(None, "cpu", "auto")
    networks._plan = Plan(None, "", milliseconds={"torch": 60.0, "openvino": 20.0})
    networks._network = SimpleNamespace(name=name, device=device, capabilities=SimpleNamespace(size=size))
    return networks


def test_the_longest_step_is_half_of_what_the_conversion_measured_for_slices_of_that_size():
    assert loaded("torch", "cpu (2 threads)").step_ms((160, 128)) == 30.0
    assert loaded("torch", "cpu (2 threads)").step_ms((320, 256)) == 120.0
    assert loaded("openvino", "cpu (2 threads, OpenVINO 2026.4.1)").step_ms((160, 128)) == 10.0


def test_slices_that_are_brought_to_the_size_of_the_model_take_what_was_measured():
    assert loaded("torch", "cpu", size=(64, 64)).step_ms((512, 512)) == 30.0


def test_the_longest_step_is_not_known_on_a_gpu_or_where_nobody_has_measured():
    assert loaded("torch", "cuda:0 (a GPU)").step_ms((160, 128)) is None
    assert loaded("openvino int8", "cpu").step_ms((160, 128)) is None


def test_a_plan_brings_what_the_conversion_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("DISENTANGLE_CACHE", str(tmp_path / "cache"))  # others convert tiny models of the same weights
    bundle = tiny_bundle(tmp_path / "tiny")
    assert choose_plan(bundle, "cpu", "torch").milliseconds == {}
    pretend_converted(bundle, tmp_path / "programs", monkeypatch)(torch=60.0, openvino=20.0)
    assert choose_plan(bundle, "cpu", "torch").milliseconds == {"torch": 60.0, "openvino": 20.0}
