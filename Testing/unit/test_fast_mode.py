"""The fast mode: programs that a bundle brings take the place of the exact ones, where somebody asked for it."""

import io
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from converted import needs_openvino, pretend_converted

from disentangle.bundles import FAST_FILE, Bundle, add_bundle, add_fast_mode, remove_bundle, write_bundle
from disentangle.errors import InputError
from disentangle.inference import Predictor, plan
from disentangle.inference.backends import store
from disentangle.inference.plan import choose_plan
from disentangle.phantoms import create_phantom
from tiny_bundle import tiny_bundle, tiny_system

MEASURED = {"times_torch": 3.5, "dice": {"loss": 0.004}, "psnr": {"loss": 0.02}}
ABOUT = {"programs": ["segment"], "measured": MEASURED}


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A bundle with a fast mode whose program nobody can read."""
    return add_fast_mode(tiny_bundle(tmp_path / "tiny"), b"PK", ABOUT)


@pytest.fixture
def card(bundle, tmp_path, monkeypatch):
    """The bundle counts as converted; the measured milliseconds are what the test says."""
    return pretend_converted(bundle, tmp_path / "converted", monkeypatch)


def test_the_fast_mode_runs_where_it_was_asked_for_and_is_faster_here(bundle, card):
    card(torch=60.0, openvino=30.0, fast=15.0)
    asked = choose_plan(bundle, "cpu", fast=True)
    assert asked.fast == bundle.path / FAST_FILE and not asked.warning
    assert asked.reason == "fast mode, 15 ms a slice, exact 30 ms"
    assert choose_plan(bundle, "cpu").fast is None


def test_where_there_is_no_fast_mode_the_exact_one_runs_and_a_warning_says_why(bundle, card, monkeypatch, tmp_path):
    def why(of=bundle, device="cpu", backend="auto"):
        found = choose_plan(of, device, backend, fast=True)
        exact = choose_plan(of, device, backend)
        assert found.fast is None and found == replace(exact, warning=found.warning)
        return found.warning

    card(torch=60.0, openvino=30.0, fast=31.0)
    assert why() == "There is no fast mode here: the exact programs are as fast on this machine."
    card(torch=60.0, openvino=30.0, fast=15.0)
    assert "the backend torch was asked for" in why(backend="torch")
    assert "it is for the CPU" in why(device="cuda")
    assert "the model plain has none" in why(of=tiny_bundle(tmp_path / "plain", name="plain"))
    monkeypatch.setattr(store, "openvino_version", lambda: None)
    assert "OpenVINO is not installed" in why()


def test_the_report_warns_where_the_exact_mode_ran_instead(bundle, monkeypatch):
    monkeypatch.setattr(plan.store, "openvino_version", lambda: None)
    study = create_phantom("brain", 3, spacing=10.0).study.subset(["T1", "T2"])
    report = Predictor(bundle, device="cpu", fast=True).run(study).report
    assert "There is no fast mode here: OpenVINO is not installed." in report["warnings"]
    assert report["backend"]["name"] == "torch"


def test_changed_programs_are_refused(bundle, card):
    card(torch=60.0, openvino=30.0, fast=15.0)
    (bundle.path / FAST_FILE).write_bytes(b"PK and more")
    with pytest.raises(InputError, match="fast mode of the model tiny do not have the checksum"):
        choose_plan(bundle, "cpu", fast=True)
    with pytest.raises(InputError, match="checksum"):
        bundle.verify()
    (bundle.path / FAST_FILE).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        bundle.verify()


@pytest.mark.parametrize("fast", ["yes", {}, {"programs": ["segment"]}, {"programs": [], "sha256": "0" * 64}])
def test_a_card_that_describes_no_fast_mode_is_refused(bundle, fast):
    path = bundle.path / "bundle.json"
    path.write_text(json.dumps({**bundle.card, "fast": fast}), encoding="utf-8")
    with pytest.raises(InputError, match=r"'fast' in bundle\.json must be an object with 'programs'"):
        Bundle.load(bundle.path)


def test_a_fast_mode_is_installed_with_its_model_and_goes_when_the_weights_change(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", bundle.path)
    added = add_bundle(packed)
    assert added.fast["measured"] == ABOUT["measured"]
    assert added.fast_programs().read_bytes() == b"PK"
    remove_bundle(added.name)
    assert write_bundle(tmp_path / "other", tiny_system(), bundle.card).fast is None


@needs_openvino
@pytest.mark.parametrize("damage", ["large", "deflate"])
def test_damaged_programs_of_a_stranger_are_a_sentence(tmp_path, monkeypatch, damage):
    from disentangle.inference.backends import compiled

    archive = tmp_path / "fast.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bag:
        bag.writestr("a.xml", "<net/>" * 100)
        bag.writestr("a.bin", bytes(10000))
        begin = bag.getinfo("a.bin").header_offset + 30 + len("a.bin")
    if damage == "large":
        monkeypatch.setattr(compiled, "MAX_BUNDLE_BYTES", 5000)
    else:
        data = bytearray(archive.read_bytes())
        data[begin : begin + 8] = b"\xff" * 8  # no deflated block begins so
        archive.write_bytes(data)
    with pytest.raises(InputError, match=r"do not use this model|get the model again"):
        compiled._unpacked(archive)


@needs_openvino
def test_programs_of_the_bundle_take_the_place_of_the_exact_ones(tmp_path):
    from disentangle.inference.backends.choose import compiled_network
    from disentangle.inference.backends.convert import convert, save_programs

    system = tiny_system(sequences=("T1", "T2"))
    plain = write_bundle(tmp_path / "two", system, {"name": "two", "license": {"name": "x", "permissive": True}})
    (tmp_path / "programs").mkdir()
    # The encoder of T2 poses as that of T1.
    save_programs({"anatomy-T1": plain.system().fold().programs()["anatomy-T2"]}, tmp_path / "programs")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bag:
        for file in (tmp_path / "programs").iterdir():
            bag.write(file, file.name)
    bundle = add_fast_mode(plain, buffer.getvalue(), {"programs": ["anatomy-T1"]})
    assert store.folder_of(bundle) != store.folder_of(plain)
    styled = Bundle(plain.path, {**plain.card, "default_styles": {"T1": [1.0]}})
    assert store.folder_of(styled) != store.folder_of(plain)
    made = convert(bundle)
    assert set(made.milliseconds) == {"torch", "openvino", "fast"}
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 32), dtype=np.float32)
    for fast, name in ((bundle.fast_programs(), "openvino int8"), (None, "openvino")):
        network = compiled_network(made.folder, made.capabilities, made.styles, fast=fast)
        anatomies = network.encode({"T1": image, "T2": image}, np.ones((1, 1, 64, 32), np.float32)).anatomy
        assert np.array_equal(anatomies["T1"], anatomies["T2"]) == (fast is not None)
        assert network.name == name


@needs_openvino
def test_a_file_that_is_no_zip_of_programs_is_refused_in_one_sentence(bundle):
    from disentangle.inference.backends.choose import compiled_network

    with pytest.raises(InputError, match="holds no programs of a fast mode"):
        compiled_network(bundle.path, bundle.system().capabilities, {}, fast=bundle.fast_programs())
