"""Bundles: what is written is what is read, and nothing unsound is ever run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from disentangle import bundles
from disentangle.bundles import Bundle, LicenseError
from disentangle.bundles.card import check_card
from disentangle.bundles.weights import sha256_of
from disentangle.cli import main
from disentangle.errors import InputError
from disentangle.panel.model_facts import quality_lines
from tiny_bundle import SEQUENCES, tiny_bundle, tiny_system, tiny_translation_bundle


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user folder of the test's own, without shipped models."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DISENTANGLE_HOME", str(folder))
    monkeypatch.delenv("DISENTANGLE_MODELS", raising=False)
    monkeypatch.setattr(bundles.store, "resource_path", lambda *parts: tmp_path / "shipped")
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "tiny")


MISSED = {
    "what": "T1 from the others, PSNR in dB",
    "wanted": "> 18.2, that of a copy",
    "measured": 17.137,
    "on": "ms-07, ms-19; models that never saw the person",
    "met": False,
}
MET = {**MISSED, "what": "drop with one missing", "wanted": "<= 0.06", "measured": 0.038, "met": True}


def edit_card(bundle: Bundle, **changes) -> None:
    path = bundle.path / "bundle.json"
    path.write_text(json.dumps({**bundle.card, **changes}), encoding="utf-8")


def test_a_bundle_gives_back_the_system_it_was_written_from(bundle: Bundle):
    original, loaded = tiny_system().eval(), bundle.system()
    image, mask = torch.randn(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    with torch.no_grad():
        expected = original.segment(original.fuse(original.encode({"T1": image}, mask)))
        found = loaded.segment(loaded.fuse(loaded.encode({"T1": image}, mask)))
    assert torch.allclose(found, expected, atol=2e-2)  # kernels were stored in half precision
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_card_describes_the_system(bundle: Bundle):
    assert bundle.sequences == SEQUENCES == bundle.targets
    assert [c.value for c in bundle.classes] == [0, 1, 2, 3, 4]
    assert bundle.classes[2].name == "grey matter"
    assert bundle.classes[2].terminology["type"] == {"scheme": "SCT", "value": "389081007", "meaning": "Gray Matter"}
    style = torch.tensor(bundle.card["default_styles"]["T2"])
    assert torch.allclose(style, tiny_system().default_style("T2"), atol=1e-5)


def test_full_precision_is_exact_and_twice_as_large(tmp_path: Path):
    card = {"name": "full", "license": {"name": "Apache-2.0", "permissive": True}}
    half = bundles.write_bundle(tmp_path / "half", tiny_system(), card)
    full = bundles.write_bundle(tmp_path / "full", tiny_system(), card, half=False)
    expected = tiny_system().state_dict()
    for name, tensor in full.system().state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert full.card["weights"]["bytes"] > 1.8 * half.card["weights"]["bytes"]


def test_discriminators_stay_behind_and_nothing_else_does(tmp_path: Path):
    bundle = tiny_translation_bundle(tmp_path / "ucd")
    weights = bundle.path / "model.safetensors"
    kept = load_file(weights)
    system = bundle.system()
    judges = {name for name in system.state_dict() if name.startswith("discriminator.")}
    assert judges and system.state_dict().keys() - kept.keys() == judges == bundle.left_out(system)
    assert not tiny_bundle(tmp_path / "plain").left_out(tiny_system())

    def stored(state: dict[str, torch.Tensor]) -> Bundle:
        save_file(state, weights)
        entry = {"sha256": sha256_of(weights), "bytes": weights.stat().st_size, "half": True}
        edit_card(bundle, weights=entry)
        return Bundle.load(bundle.path)

    # A bundle of an earlier version has them, and runs.
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    complete = stored(before)
    complete.verify()
    assert not complete.left_out(system)
    needed = next(name for name in before if name not in judges)
    with pytest.raises(InputError, match=f"lack {re.escape(needed)}"):
        stored({name: tensor for name, tensor in kept.items() if name != needed}).verify()


def test_values_too_large_for_half_precision_survive(tmp_path: Path):
    system = tiny_system()
    with torch.no_grad():
        next(p for p in system.parameters() if p.ndim > 1).fill_(1e6)
    card = {"name": "large", "license": {"name": "Apache-2.0", "permissive": True}}
    loaded = bundles.write_bundle(tmp_path / "large", system, card).system()
    assert next(p for p in loaded.parameters() if p.ndim > 1).max() == 1e6


def test_a_changed_weight_is_refused_by_its_checksum(bundle: Bundle):
    path = bundle.path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        bundle.system()


def test_missing_weights_are_one_sentence(bundle: Bundle):
    (bundle.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        bundle.verify()


def test_weights_of_another_width_are_refused_before_building(bundle: Bundle):
    system = {"name": "margindis", "config": {**bundle.card["system"]["config"], "width": 0.25}}
    edit_card(bundle, system=system)
    with pytest.raises(InputError, match=r"has the shape|its weights lack"):
        Bundle.load(bundle.path).system()


def test_a_configuration_of_absurd_size_does_not_exhaust_memory(bundle: Bundle):
    system = {"name": "margindis", "config": {**bundle.card["system"]["config"], "width": 4000.0}}
    edit_card(bundle, system=system)
    with pytest.raises(InputError, match=r"has the shape|its weights lack"):
        Bundle.load(bundle.path).system()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 99}, "Disentangle must be updated"),
        ({"name": "../evil"}, "'name'"),
        ({"name": "con"}, "'name'"),
        ({"sequences": ["T1", "T9"]}, "'sequences'"),
        ({"sequences": ["T1", "T1"]}, "'sequences'"),
        ({"license": {"name": "MIT"}}, "'license.permissive' is missing"),
        ({"classes": [{"value": 1, "name": "x", "color": [0, 0, 0]}]}, "must have the value 0"),
        ({"classes": [{"value": 0, "name": "x", "color": [0, 0, 256]}]}, "must have a color"),
        ({"default_styles": {"T1": ["a"]}}, "the default style of T1"),
        ({"weights": {"sha256": "no"}}, "'weights.sha256'"),
        ({"weights": {"sha256": "0" * 64, "bytes": "many"}}, "'weights.bytes'"),
        ({"description": ["two", "parts"]}, "'description' in .* must be a text"),
        ({"license": {"name": "MIT", "permissive": True, "text": 1}}, "'license.text' in .* must be a text"),
        ({"quality": ["good"]}, "'quality'"),
        ({"quality": {"unseen": {"dice": {"all": {"lesion": "0.80"}}}}}, "'quality' in .* numbers"),
        ({"quality": {"unseen": {"imputation": {"T1": 25.0}}}}, "'quality'"),
        ({"quality": {"targets": [{**MISSED, "measured": "much"}]}}, "'quality.targets' in .* a number 'measured'"),
        ({"quality": {"targets": {"T1": 25.0}}}, "'quality.targets'"),
        ({"fast": {"programs": ["a"], "sha256": "0" * 64, "measured": {"times_torch": "9"}}}, "'fast'"),
        ({"islands": {"classes": [99], "share": 0.1, "ml": 0}}, "'islands.classes'"),
        ({"islands": {"classes": [1], "share": 1.5, "ml": 0}}, "'islands.share'"),
        ({"islands": {"classes": [1], "share": 0.1}}, "'islands.ml'"),
        ({"coherence": [4]}, "'coherence' in .* must be an object"),
        ({"coherence": {"classes": [0], "sigma_mm": 1.5}}, "'coherence.classes'"),
        ({"coherence": {"classes": [1], "sigma_mm": 0}}, "'coherence.sigma_mm'"),
        ({"detail": True}, "'detail' in .* must be an object"),
        ({"detail": {"sigma_mm": 20, "epsilon": 0.01}}, "'detail.sigma_mm'"),
        ({"detail": {"sigma_mm": 2, "epsilon": 0}}, "'detail.epsilon'"),
        ({"detail": {"sigma_mm": 2, "epsilon": 0.01, "tissue_share": {"T1": 2}}}, "'detail.tissue_share'"),
    ],
)
def test_each_defect_of_a_card_has_its_sentence(bundle: Bundle, change: dict, sentence: str):
    edit_card(bundle, **change)
    with pytest.raises(InputError, match=sentence):
        Bundle.load(bundle.path)


def test_an_unknown_system_is_refused(bundle: Bundle):
    edit_card(bundle, system={"name": "magic", "config": {}})
    with pytest.raises(InputError, match="magic"):
        Bundle.load(bundle.path).system()


def test_a_card_that_contradicts_its_system_is_refused(bundle: Bundle):
    edit_card(bundle, classes=bundle.card["classes"][:3])
    with pytest.raises(InputError, match="lists 3 classes"):
        Bundle.load(bundle.path).verify()


def test_not_a_bundle(tmp_path: Path):
    with pytest.raises(InputError, match=r"no bundle\.json"):
        Bundle.load(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        Bundle.load(tmp_path / "absent")


def test_a_card_without_a_licence_is_not_written(tmp_path: Path):
    with pytest.raises(InputError, match="license"):
        bundles.write_bundle(tmp_path / "none", tiny_system(), {"name": "none"})
    assert list(tmp_path.glob("*none*")) == []


def test_a_failed_write_leaves_the_old_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles.weights, "save", fail)
    with pytest.raises(InputError, match="no space left"):
        tiny_bundle(bundle.path)
    monkeypatch.undo()
    bundle.verify()
    assert [p.name for p in bundle.path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_restrictive_licence_asks_once_and_again_when_its_text_changes(tmp_path: Path):
    license = {"name": "CC BY-NC-SA 4.0", "permissive": False, "text": "Not for commerce."}
    bundle = tiny_bundle(tmp_path / "nc", license=license)
    with pytest.raises(LicenseError, match="--accept-license"):
        bundle.system()
    bundle.agree()
    bundle.system()
    assert not Bundle.load(bundle.path).needs_agreement
    edit_card(bundle, license={**license, "text": "Not for anything."})
    assert Bundle.load(bundle.path).needs_agreement


def test_added_from_a_folder_found_listed_and_removed(bundle: Bundle, home: Path):
    added = bundles.add_bundle(bundle.path)
    assert added.path == home / "Models" / "tiny"
    assert bundles.find_bundle("tiny").path == added.path
    assert [b.name for b in bundles.list_bundles()] == ["tiny"]
    with pytest.raises(InputError, match="installed already"):
        bundles.add_bundle(bundle.path)
    bundles.remove_bundle("tiny")
    assert bundles.list_bundles() == []
    assert list((home / "Models").iterdir()) == []


def test_added_from_a_zip_with_a_folder_inside(bundle: Bundle, tmp_path: Path):
    archive = tmp_path / "tiny.zip"
    with zipfile.ZipFile(archive, "w") as bag:
        for path in bundle.path.iterdir():
            bag.write(path, f"tiny-1.0/{path.name}")
        bag.writestr("tiny-1.0/extra.py", "print('never unpacked')")
    added = bundles.add_bundle(archive)
    added.verify()
    assert sorted(p.name for p in added.path.iterdir()) == ["bundle.json", "model.safetensors"]


def test_an_installation_without_shipped_models_says_how_to_get_them(home: Path, monkeypatch, capsys):
    assert main(["models", "list"]) == 0
    assert "No model is installed; add a model with" in capsys.readouterr().out

    def missing(*parts: str) -> Path:
        raise FileNotFoundError(parts)

    monkeypatch.setattr(bundles.store, "resource_path", missing)
    assert main(["models", "list"]) == 0
    assert "holds its Python files alone; install it from its source tree" in capsys.readouterr().out
    with pytest.raises(InputError, match="Python files alone"):
        bundles.default_bundle_name()


def test_a_model_is_shown_with_the_targets_that_it_missed(bundle: Bundle, capsys):
    edit_card(bundle, quality={"measured_by": "a command", "targets": [MET, MISSED]})
    assert main(["models", "show", str(bundle.path)]) == 0
    text = capsys.readouterr().out
    shown = text[text.index("targets missed") :].splitlines()
    assert shown[:3] == [
        "targets missed: 1 of 2",
        "  on ms-07, ms-19; models that never saw the person:",
        "    T1 from the others, PSNR in dB: 17.137, wanted > 18.2, that of a copy",
    ]
    assert shown[3] == "targets met: 1 of 2"
    assert text.count("wanted > 18.2") == 1 and '"wanted"' not in text  # once, and not as JSON
    assert quality_lines(Bundle.load(bundle.path).card) == [
        "Targets met: 1 of 2.",
        "Missed: T1 from the others, PSNR in dB 17.14 (wanted > 18.2).",
    ]


def test_a_model_whose_card_tells_no_targets_is_shown_without(bundle: Bundle, capsys):
    edit_card(bundle, quality={"measured_by": "a command", "disentanglement": {"unseen_phantoms": {"n": 5}}})
    assert main(["models", "show", str(bundle.path)]) == 0
    assert "targets" not in capsys.readouterr().out
    assert quality_lines(Bundle.load(bundle.path).card) == []


def test_all_that_a_card_need_not_have_may_be_left_out(bundle: Bundle):
    card = {key: bundle.card[key] for key in bundle.card if key not in ("quality", "description", "citation")}
    assert check_card({**card, "weights": {"sha256": bundle.checksum}}) == []


@pytest.mark.parametrize("name", ["../e.txt", "/e.txt", "a/../../e.txt", "..\\e.txt", "C:/e.txt"])
def test_a_zip_that_writes_elsewhere_is_refused(bundle: Bundle, tmp_path: Path, home: Path, name: str):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as bag:
        for path in bundle.path.iterdir():
            bag.write(path, path.name)
        bag.writestr(name, "evil")
    with pytest.raises(InputError, match="written elsewhere"):
        bundles.add_bundle(archive)
    assert not (home / "Models" / "tiny").exists()


def test_a_zip_with_damaged_contents_is_one_sentence(bundle: Bundle, tmp_path: Path, home: Path):
    archive = tmp_path / "broken.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bag:
        for path in bundle.path.iterdir():
            bag.write(path, path.name)
        weights = bag.getinfo("model.safetensors")
    data = bytearray(archive.read_bytes())
    begin = weights.header_offset + 30 + len(weights.filename)
    data[begin : begin + 64] = b"\xff" * 64  # no deflated block begins so
    archive.write_bytes(data)
    with pytest.raises(InputError, match="is a damaged zip; get it again"):
        bundles.add_bundle(archive)
    assert not (home / "Models").exists()


def test_a_bundle_that_would_run_in_place_of_a_shipped_one_is_not_added(bundle: Bundle, tmp_path: Path, home: Path):
    tiny_bundle(tmp_path / "shipped" / "anything", name="tiny")
    with pytest.raises(InputError, match=r"is there already, in .*another name"):
        bundles.add_bundle(bundle.path)
    assert not (home / "Models").exists()
    edit_card(bundle, name="tinier")
    assert bundles.add_bundle(bundle.path).path == home / "Models" / "tinier"


def test_a_bundle_of_the_working_directory_is_found_again_by_its_path(tmp_path: Path, home: Path, monkeypatch):
    tiny_bundle(home / "Models" / "tiny", version="user")
    tiny_bundle(tmp_path / "work" / "tiny", version="own")
    monkeypatch.chdir(tmp_path / "work")
    found = bundles.find_bundle("./tiny")
    monkeypatch.chdir(tmp_path)
    assert found.version == bundles.find_bundle(str(found.path)).version == "own"


def test_an_unsound_bundle_is_not_added(bundle: Bundle, home: Path):
    (bundle.path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(InputError):
        bundles.add_bundle(bundle.path)
    assert not (home / "Models").exists()


def test_shipped_bundles_are_not_removed(tmp_path: Path):
    tiny_bundle(tmp_path / "shipped" / "tiny")
    with pytest.raises(InputError, match="not added by you"):
        bundles.remove_bundle("tiny")
    assert bundles.find_bundle("tiny").name == "tiny"


def test_the_environment_comes_before_the_user_and_the_user_before_the_shipped(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    tiny_bundle(tmp_path / "shipped" / "tiny", version="shipped")
    assert bundles.find_bundle("tiny").version == "shipped"
    tiny_bundle(home / "Models" / "tiny", version="user")
    assert bundles.find_bundle("tiny").version == "user"
    tiny_bundle(tmp_path / "env" / "tiny", version="environment")
    monkeypatch.setenv("DISENTANGLE_MODELS", str(tmp_path / "env"))
    assert bundles.find_bundle("tiny").version == "environment"


def test_a_broken_bundle_does_not_hide_the_others(bundle: Bundle, home: Path):
    bundles.add_bundle(bundle.path)
    broken = home / "Models" / "broken"
    broken.mkdir()
    (broken / "bundle.json").write_text("{", encoding="utf-8")
    found, reasons = bundles.scan_bundles()
    assert [b.name for b in found] == ["tiny"]
    assert "not valid JSON" in reasons[broken]
    with pytest.raises(InputError, match="not valid JSON"):
        bundles.find_bundle("broken")


def test_cards_are_read_without_torch(bundle: Bundle):
    code = (
        "import sys; from disentangle.bundles import Bundle, list_bundles; "
        f"print(Bundle.load({str(bundle.path)!r}).classes[1].name, 'torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert output.stdout.strip() == "cerebrospinal fluid False"


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"sequences": ["T1", "T2"]}, "its card lists the sequences T1, T2, its system T1, T1Gd, T2, FLAIR"),
        ({"classes": []}, "its card lists 0 classes, its system 5"),
    ],
)
def test_a_card_that_disagrees_with_its_system_is_not_written(tmp_path: Path, bundle: Bundle, card, words: str):
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for folder in (bundle.path, tmp_path / "new"):
        with pytest.raises(InputError, match=f"{folder.name} cannot be written: {words}; correct the card"):
            tiny_bundle(folder, **card)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
