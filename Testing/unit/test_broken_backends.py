"""Compiled programs that cannot be used stop nobody who did not ask for them by name: PyTorch answers, and says why."""

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from converted import pretend_converted

from disentangle.bundles import add_fast_mode
from disentangle.errors import InputError
from disentangle.inference import Predictor, brain
from disentangle.inference.backends import store, unusable
from disentangle.inference.networks import Networks
from disentangle.inference.plan import choose_plan, worth_converting
from disentangle.inference.report import RunReport
from disentangle.phantoms import create_phantom
from disentangle.study import Image
from tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def study():
    return create_phantom("brain", 3, spacing=10.0).study.subset(["T1", "T2"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return add_fast_mode(tiny_bundle(folder), b"PK", {"programs": ["segment"], "measured": {}})


@pytest.fixture
def programs(bundle, tmp_path, monkeypatch):
    """The folder of programs that the bundle was, it seems, converted to, and that were faster than PyTorch."""
    folder = tmp_path / "programs"
    pretend_converted(bundle, folder, monkeypatch)(torch=30.0, openvino=12.0, fast=6.0)
    (folder / "segment.bin").write_bytes(bytes(1000))
    store.seal(folder)
    unusable._log_once.cache_clear()
    return folder


def cut(folder):
    (folder / "segment.bin").write_bytes(bytes(500))


def change(folder):
    (folder / "segment.bin").write_bytes(bytes(999) + b"x")


def cut_checksums(folder):
    (folder / "checksums.json").write_text('{"segment.bin"')


def no_library(monkeypatch):
    """As where a library that OpenVINO needs is missing."""
    monkeypatch.setitem(sys.modules, "openvino", None)


def remains_of_a_library(monkeypatch):
    """As after an installation that was removed by half: the folder is there, and what it held is not."""
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace())


def library_that_reads_nothing(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("Exception from src/core.cpp:84:\nUnable to read the model.\n")

    core = SimpleNamespace(read_model=refuse)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=lambda: core, __version__="2026.4.1"))


def told(bundle, study, **wishes):
    """The warnings about the backend, and what computed."""
    report = Predictor(bundle, device="cpu", **wishes).run(study).report
    return [w for w in report["warnings"] if "compiled backend" in w], report["backend"]


@pytest.mark.parametrize("damage", [cut, change, cut_checksums])
@pytest.mark.parametrize("fast", [False, True])
def test_damaged_programs_are_deleted_and_torch_goes_on(bundle, study, programs, damage, fast, caplog, monkeypatch):
    monkeypatch.setattr(type(bundle), "fast_programs", lambda self: None)
    damage(programs)
    with caplog.at_level(logging.WARNING, logger=unusable.__name__):
        warnings, backend = told(bundle, study, fast=fast)
    name = "checksums.json" if damage is cut_checksums else "segment.bin"
    sentence = f"The compiled backend could not be used ({name} in the cache was damaged); went on with PyTorch."
    assert warnings == [sentence] == [r.getMessage() for r in caplog.records if "compiled" in r.getMessage()]
    assert backend == {"name": "torch", "reason": "the compiled backend could not be used"}
    assert not programs.exists() and worth_converting(bundle, "cpu")


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (no_library, "import of openvino halted; None in sys.modules"),
        (remains_of_a_library, "'types.SimpleNamespace' object has no attribute 'Core'"),
        (library_that_reads_nothing, "Unable to read the model"),
    ],
)
def test_where_the_library_fails_torch_goes_on_and_intact_programs_stay(
    bundle, study, programs, trouble, reason, caplog, monkeypatch
):
    trouble(monkeypatch)
    with caplog.at_level(logging.WARNING, logger=unusable.__name__):
        warnings, backend = told(bundle, study)
    assert warnings == [f"The compiled backend could not be used ({reason}); went on with PyTorch."]
    assert backend["name"] == "torch"
    assert [r.getMessage() for r in caplog.records if r.name == unusable.__name__] == warnings
    assert store.read(bundle) is not None


def test_a_library_that_failed_is_not_tried_again_by_the_same_predictor(bundle, study, programs, monkeypatch):
    no_library(monkeypatch)
    predictor = Predictor(bundle, device="cpu")
    first = predictor.run(study)
    network = predictor.networks.network
    library_that_reads_nothing(monkeypatch)
    second = predictor.run(study)
    assert predictor.networks.network is network
    assert second.report["warnings"] == first.report["warnings"]
    assert second.report["backend"] == first.report["backend"]


def test_who_asked_for_openvino_by_name_is_told_in_a_sentence_what_to_do(bundle, study, programs, monkeypatch):
    no_library(monkeypatch)
    with pytest.raises(
        InputError, match=r"^OpenVINO cannot be used \(import .*\); install it again, or use .* torch\.$"
    ):
        Predictor(bundle, device="cpu", backend="openvino").run(study)
    assert programs.exists()
    cut(programs)
    with pytest.raises(InputError, match=r"^The compiled programs .* and were deleted; run again, .* backend torch\.$"):
        Predictor(bundle, device="cpu", backend="openvino").run(study)
    assert not programs.exists()


def test_a_fast_mode_that_cannot_be_converted_gives_way_with_a_warning(bundle, programs, monkeypatch):
    no_library(monkeypatch)
    (programs / "network.json").unlink()
    found = choose_plan(bundle, "cpu", fast=True)
    assert found.converted is None
    assert found.warning.startswith("There is no fast mode here: OpenVINO cannot be used (import of openvino halted")
    with pytest.raises(InputError, match="OpenVINO cannot be used"):
        choose_plan(bundle, "cpu", "openvino", fast=True)


@pytest.fixture
def compiled_brain(tmp_path, monkeypatch):
    """The program of the brain mask's network, it seems."""
    program = tmp_path / "brain" / "brain.xml"
    program.parent.mkdir()
    program.write_text("<net/>")
    program.with_suffix(".bin").write_bytes(bytes(100))
    store.seal(program.parent)
    monkeypatch.setattr(brain, "openvino_version", lambda: "2026.4.1")
    monkeypatch.setattr(brain, "brain_program", lambda: program)
    monkeypatch.setattr(store, "brain_program", lambda: program)
    monkeypatch.setattr(brain, "notes", [])
    unusable._log_once.cache_clear()
    return program


@pytest.fixture
def asked_torch(monkeypatch):
    """How often PyTorch's brain network was asked; it finds nothing."""
    asked = []
    monkeypatch.setattr(brain, "_torch_logits", lambda array: asked.append(array) or np.full(array.shape, -9.0))
    return asked


HEAD = Image(np.random.default_rng(0).random((20, 20, 20), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))


def test_a_damaged_brain_network_is_deleted_and_torch_answers(compiled_brain, asked_torch, bundle, study, monkeypatch):
    monkeypatch.setattr(store, "openvino_version", lambda: "2026.4.1")
    monkeypatch.setattr(store, "read", lambda bundle: "converted")
    assert not worth_converting(bundle, "cpu")
    compiled_brain.with_suffix(".bin").write_bytes(bytes(50))
    for _ in range(2):
        brain.find_brain(HEAD)
    assert len(asked_torch) == 2
    assert brain.notes == [
        "The compiled backend could not be used (brain.bin in the cache was damaged); went on with PyTorch."
    ]
    assert not compiled_brain.parent.exists() and worth_converting(bundle, "cpu")


def test_where_the_library_fails_torch_finds_the_brain_and_the_next_report_tells(
    compiled_brain, asked_torch, bundle, study, monkeypatch
):
    no_library(monkeypatch)
    brain.find_brain(HEAD)
    assert len(asked_torch) == 1 and compiled_brain.is_file()
    networks = Networks(bundle, "cpu", "torch")
    reports = [RunReport(bundle, study) for _ in range(2)]
    for report in reports:
        networks.load(report)
    assert [w for w in reports[0].warnings if "compiled backend" in w] and not reports[1].warnings
