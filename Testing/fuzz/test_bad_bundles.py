"""Whatever a bundle's files hold, reading it ends in a sound system or in one sentence, never in anything else."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from disentangle.bundles import Bundle, add_bundle, check_card
from disentangle.bundles.weights import read_header
from disentangle.errors import InputError
from tiny_bundle import tiny_bundle

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SLOW = settings(QUICK, max_examples=25)

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["T1", "margindis", "../x", "a" * 64, "NaN"])
)
VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def places(card: Any, path: tuple = ()) -> list[tuple]:
    """The paths of every entry of a card, nested ones included."""
    found = [path] if path else []
    items = card.items() if isinstance(card, dict) else enumerate(card) if isinstance(card, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def ends_well(folder: Path) -> str:
    """Load and build; the sentence of the refusal, "" when it was accepted."""
    try:
        system = Bundle.load(folder).system()
    except InputError as error:
        sentence = str(error)
        assert sentence.endswith(".")
        assert "\n" not in sentence
        return sentence
    assert all(bool(torch.isfinite(t).all()) for t in system.state_dict().values() if t.is_floating_point())
    return ""


@SLOW
@given(data=st.data())
def test_any_entry_of_the_card_may_be_anything(original: Bundle, tmp_path_factory, data):
    card = json.loads(json.dumps(original.card))
    path = data.draw(st.sampled_from(places(card)))
    holder = card
    for key in path[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()):
        del holder[path[-1]]
    else:
        holder[path[-1]] = data.draw(VALUES)
    folder = tmp_path_factory.mktemp("card")
    shutil.copyfile(original.path / "model.safetensors", folder / "model.safetensors")
    (folder / "bundle.json").write_text(json.dumps(card), encoding="utf-8")
    ends_well(folder)


@pytest.mark.parametrize("number", [10**9, 1e300, float("inf"), float("nan")])
def test_a_number_that_would_take_all_memory_is_refused(original: Bundle, tmp_path: Path, number: float):
    card = json.loads(json.dumps(original.card))
    card["system"]["config"]["experts"] = number
    shutil.copyfile(original.path / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "bundle.json").write_text(json.dumps(card), encoding="utf-8")
    assert ends_well(tmp_path)


@QUICK
@given(card=VALUES)
def test_a_card_that_is_no_card_has_defects(card):
    assert check_card(card)


@QUICK
@given(content=st.binary(max_size=200))
def test_a_card_of_any_bytes_is_refused(tmp_path_factory, content: bytes):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "bundle.json").write_bytes(content)
    assert ends_well(folder)


def test_a_card_nested_without_end_is_refused(tmp_path: Path):
    (tmp_path / "bundle.json").write_text("[" * 200_000, encoding="utf-8")
    assert ends_well(tmp_path)


@QUICK
@given(content=st.binary(max_size=300))
def test_a_header_of_any_bytes_is_refused(tmp_path_factory, content: bytes):
    path = tmp_path_factory.mktemp("header") / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_header(path)


@QUICK
@given(header=VALUES, tail=st.binary(max_size=20))
def test_a_header_of_any_json_is_read_or_refused(tmp_path_factory, header, tail: bytes):
    text = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("json") / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + tail)
    try:
        tensors = read_header(path)
    except InputError:
        return
    assert tensors == {}  # only a header without tensors is sound, whatever its metadata
    assert tail == b""


@SLOW
@given(data=st.data())
def test_damaged_weights_with_a_fitting_checksum_are_refused_or_sound(original: Bundle, tmp_path_factory, data):
    """An attacker can compute a checksum too: what is behind it must hold on its own."""
    weights = bytearray((original.path / "model.safetensors").read_bytes())
    header_end = 8 + int.from_bytes(weights[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        region = data.draw(st.sampled_from([8, header_end, len(weights)]))
        weights[data.draw(st.integers(0, region - 1))] = data.draw(st.integers(0, 255))
    weights = weights[: data.draw(st.sampled_from([len(weights), len(weights), len(weights) // 2, header_end, 5]))]
    folder = tmp_path_factory.mktemp("weights")
    (folder / "model.safetensors").write_bytes(weights)
    card = {**original.card, "weights": {"sha256": hashlib.sha256(weights).hexdigest()}}
    (folder / "bundle.json").write_text(json.dumps(card), encoding="utf-8")
    ends_well(folder)


def test_weights_that_are_not_finite_are_refused(original: Bundle, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    state = load_file(str(original.path / "model.safetensors"))
    next(t for t in state.values() if t.is_floating_point()).flatten()[0] = float("nan")
    save_file(state, str(tmp_path / "model.safetensors"))
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    card = {**original.card, "weights": {"sha256": digest}}
    (tmp_path / "bundle.json").write_text(json.dumps(card), encoding="utf-8")
    assert "not finite" in ends_well(tmp_path)


@SLOW
@given(
    names=st.lists(
        st.sampled_from(["bundle.json", "x/bundle.json", "../bundle.json", "model.safetensors", "x/model.safetensors",
                         "/abs", "C:\\w", "..\\w", "x/../../w", "ok.txt", "", "a//b", "."])
        | st.text(max_size=8),
        max_size=6,
    )
)  # fmt: skip
@example(names=["\0", "bundle.json"])
def test_a_zip_of_any_names_writes_nothing_outside(original: Bundle, tmp_path_factory, monkeypatch, names: list[str]):
    place = tmp_path_factory.mktemp("zip")
    monkeypatch.setenv("DISENTANGLE_HOME", str(place / "home"))
    archive = place / "bag.zip"
    with zipfile.ZipFile(archive, "w") as bag:
        for name in dict.fromkeys(names):
            source = original.path / Path(name).name
            # zipfile cuts a name at its first null character, and takes no empty one.
            bag.writestr(
                name.partition("\0")[0] or "empty", source.read_bytes() if name and source.is_file() else b"evil"
            )
    try:
        added = add_bundle(archive)
    except InputError as error:
        assert str(error).endswith(".")
        assert {p.name for p in place.iterdir()} <= {"bag.zip", "home"}
        assert not [p for p in place.rglob("*") if p.is_file() and p != archive]
    else:
        inside = {p.name for p in added.path.iterdir()}
        assert inside == {"bundle.json", "model.safetensors"}
        assert {p for p in place.rglob("*") if p.is_file()} - {archive} == set(added.path.iterdir())


@QUICK
@given(content=st.binary(max_size=400))
def test_a_damaged_zip_is_refused(original: Bundle, tmp_path_factory, content: bytes):
    archive = tmp_path_factory.mktemp("damaged") / "bag.zip"
    with zipfile.ZipFile(archive, "w") as bag:
        bag.write(original.path / "bundle.json", "bundle.json")
    data = bytearray(archive.read_bytes())
    start = len(content) * 7 % max(1, len(data) - len(content))
    data[start : start + len(content)] = content
    archive.write_bytes(data)
    with pytest.raises(InputError):
        add_bundle(archive)
