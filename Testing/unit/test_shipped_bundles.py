"""The models that are shipped: sound, small, described, and able to do what their cards say."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from disentangle.bundles import Bundle
from disentangle.cli import main
from disentangle.inference import Predictor
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Wanted
from disentangle.metrics.overlap import dice_per_class
from disentangle.phantoms import Phantom, create_phantom
from disentangle.preprocessing import PreparedStudy, PreprocessingConfig, prepare
from disentangle.progress import Progress
from disentangle.study import Study
from tiny_bundle import tiny_bundle

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Models"
SHIPPED = [Bundle.load(folder) for folder in sorted(FOLDER.iterdir()) if folder.is_dir()]
DEMONSTRATIONS = [bundle for bundle in SHIPPED if "Not for patients" in bundle.card["intended_use"]]
UNSEEN = 777
"""Seed of phantoms that no shipped model was trained on."""


def each(bundles: list[Bundle]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bundle", bundles, ids=lambda bundle: bundle.name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user folder of the test's own: the shipped models alone are there, and nobody has agreed to anything."""
    monkeypatch.setenv("DISENTANGLE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DISENTANGLE_MODELS", raising=False)


@cache
def phantom(kind: str, arguments: str) -> Phantom:
    return create_phantom(kind, UNSEEN, **json.loads(arguments))


def phantom_for(bundle: Bundle) -> Phantom:
    """One of the kind that a model was trained on; heads are coarser, since they are resampled anyway."""
    settings = bundle.card["training"]["config"]["data"]["phantoms"]
    arguments = {"spacing": 4.0} if settings["kind"] == "brain" else settings["arguments"]
    return phantom(settings["kind"], json.dumps(arguments))


def shown(name: str, capsys: pytest.CaptureFixture[str]) -> dict:
    """The card as ``disentangle models show`` prints it."""
    assert main(["models", "show", name]) == 0
    return json.JSONDecoder().raw_decode(capsys.readouterr().out)[0]


# -- files and cards ---------------------------------------------------------------------------------------------------


def test_some_are_for_patients_and_some_are_demonstrations():
    assert {"brain-mr", "brain-mr-research"} <= {b.name for b in SHIPPED} - {b.name for b in DEMONSTRATIONS}
    assert {"abdomen-t1-t2", "cardiac-cine-lge"} <= {b.name for b in DEMONSTRATIONS}


@each(SHIPPED)
def test_each_is_sound_and_called_as_its_folder(bundle: Bundle):
    bundle.verify()
    assert bundle.name == bundle.path.name


def test_all_together_are_smaller_than_50_mb():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 50e6


@each(SHIPPED)
def test_each_card_tells_how_the_model_was_made_and_what_it_is_worth(bundle: Bundle):
    card = bundle.card
    for field in ("description", "intended_use", "limitations", "citation"):
        assert card[field].strip(), field
    assert card["license"]["name"]
    assert card["training"]["data"] and all(source["name"] for source in card["training"]["data"])
    quality = card["quality"]
    assert quality["measured_by"] and any(isinstance(figures, dict) and figures for figures in quality.values())
    assert card["training_runs"]
    for run in card["training_runs"]:
        assert "train" in run["command"].split("training/configs")[0]
        assert isinstance(run["seed"], int) and run["commit"] and run["steps"] > 0 and run["minutes"] > 0


@each(SHIPPED)
def test_each_run_is_shown_with_its_last_validation_or_that_none_was_logged(bundle: Bundle, capsys):
    for run in shown(bundle.name, capsys)["training_runs"]:
        told = run["validation"]
        assert told == "not logged" or (told and all(isinstance(figure, float) for figure in told.values()))


def test_a_run_without_validation_is_shown_as_not_logged(tmp_path: Path, capsys):
    runs = [{"run": "a", "validation": {}}, {"run": "b", "validation": {"self": 0.25}}, {"run": "c"}]
    shown_runs = shown(str(tiny_bundle(tmp_path / "tiny", training_runs=runs).path), capsys)["training_runs"]
    assert [run["validation"] for run in shown_runs] == ["not logged", {"self": 0.25}, "not logged"]
    strange = tiny_bundle(tmp_path / "strange", training_runs="many")
    assert shown(str(strange.path), capsys)["training_runs"] == "many"


def test_the_list_marks_the_demonstrations(capsys):
    names = {bundle.name for bundle in DEMONSTRATIONS}
    assert main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert {entry["name"] for entry in listed if entry["demonstration"]} == names
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    marked = {lines[n - 1].split()[0] for n, line in enumerate(lines) if "a demonstration, not for patients" in line}
    assert marked == names


# -- what they do ------------------------------------------------------------------------------------------------------


@each(SHIPPED)
def test_none_was_trained_on_the_phantoms_of_this_file(bundle: Bundle):
    settings = bundle.card["training"]["config"]["data"]["phantoms"]
    first = settings["first_seed"]
    assert UNSEEN not in range(first, first + settings["subjects"] + settings["validation"])
    assert not any(
        low <= UNSEEN <= high for low, high in (d["seeds"] for d in bundle.card["training"]["data"] if "seeds" in d)
    )


@each(DEMONSTRATIONS)
def test_a_demonstration_segments_a_phantom_that_it_was_not_trained_on(bundle: Bundle):
    subject, first = phantom_for(bundle), bundle.sequences[0]
    found = Predictor(bundle, device="cpu").run(Study({name: subject.study[name] for name in bundle.sequences}))
    truth = subject.sequence_labels.get(first, subject.labels)
    classes = {info.value: info.name for info in bundle.classes if info.value}
    scores = dice_per_class(found.segmentation.array, truth, classes)
    assert np.mean(list(scores.values())) > 0.6, scores


def middle_slices(bundle: Bundle, count: int = 5) -> tuple[PreparedStudy, slice]:
    """The phantom's first sequence as the model reads it, and its middle slices."""
    subject, first = phantom_for(bundle).study, bundle.sequences[0]
    # How a head lies makes no difference here, and finding that out takes half of the time.
    config = replace(PreprocessingConfig.from_dict(bundle.preprocessing), pose="reference")
    prepared = prepare(Study({first: subject[first]}, masks=subject.masks), config)
    start = (len(prepared.mask) - count) // 2
    return prepared, slice(start, start + count)


@each([bundle for bundle in SHIPPED if bundle.targets])
def test_one_anatomy_looks_different_in_each_target_that_a_model_offers(bundle: Bundle):
    bundle.agree()
    prepared, middle = middle_slices(bundle)
    images = {name: image[middle] for name, image in prepared.images.items()}
    engine = Engine(EagerNetwork(bundle.system()), 8, pytest.fail, prepared.config.background)
    made = engine.run(images, prepared.mask[middle], Wanted(segment=False, targets=bundle.targets), Progress())
    inside = {name: image[prepared.mask[middle]] for name, image in made.synthesized.items()}
    for one, other in itertools.combinations(bundle.targets, 2):
        spread = np.concatenate([inside[one], inside[other]]).std()
        difference = np.abs(inside[one] - inside[other]).mean()
        assert difference > 0.1 * spread, f"{one} and {other} differ by {difference / spread:.3f} of their spread"
