"""From a configuration to a bundle to results, by the commands that a user gives: every system, and two baselines."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import disentangle
from disentangle.bundles import Bundle
from disentangle.cli import main
from disentangle.datasets.phantoms import load_phantoms, preprocessing_of
from disentangle.errors import InputError
from disentangle.inference import Predictor
from disentangle.learning.checkpoints import load_checkpoint
from disentangle.learning.module import Learner
from disentangle.metrics.overlap import dice
from disentangle.phantoms import create_phantom
from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.study import Image, Study
from disentangle.worker.codec import read_study, write_study

PACKAGE = Path(disentangle.__file__).parent
BRAIN = {"spacing": 8.0, "lesions": "ms", "sequences": ["T1", "T2", "FLAIR"], "common_grid": True}
HEART = {"size": [48, 48], "spacing": [3.0, 3.0, 12.0], "slices": 3}
ABDOMEN = {"size": [64, 48], "spacing": [6.5, 6.5, 14.0], "slices": 3, "sequences": ["CT", "T1"]}
ARGUMENTS = {"brain": BRAIN, "heart": HEART, "abdomen": ABDOMEN}
COARSE = {"spacing": [8.0, 8.0, 8.0], "pose": "reference", "registration": "none"}


@dataclass(frozen=True)
class Case:
    """A system as small as it can be, and what it is trained on."""

    kind: str
    sequences: tuple[str, ...]
    settings: dict[str, Any]
    sampling: dict[str, Any]
    variants: list[dict[str, Any]] = field(default_factory=list)


PAIRS = {"kind": "pairs", "sizes": [[48, 48]]}
CARDIAC = {"size": [48, 48], "width": 1 / 16}
UNPAIRED = {"kind": "unpaired", "sizes": [[48, 64]], "domains": {"CT": ["CT"], "T1": ["T1"]}}
REGISTERED = {"sizes": [[32, 32]]}
CASES = {
    "margindis": Case(
        "brain",
        ("T1", "T2", "FLAIR"),
        {"width": 1 / 16, "decoder_hidden": 8, "head_channels": [4, 4], "pool_size": 8},
        REGISTERED,
    ),
    "dafnet": Case("heart", ("cine", "LGE"), CARDIAC, PAIRS),
    "mmsdnet": Case("heart", ("cine", "LGE"), CARDIAC, PAIRS),
    "ucd": Case("brain", ("T1", "T2", "FLAIR"), {"width": 1 / 16, "discriminator_levels": 3}, REGISTERED),
    "dalace": Case(
        "abdomen",
        ("CT", "T1"),
        {"width": 1 / 16, "scales": 1, "layers": 3},
        {**UNPAIRED, "annotated": ["CT"]},
        [{"sequences": ["CT"]}, {"sequences": ["T1"]}],
    ),
    "unet": Case("heart", ("cine", "LGE"), {"width": 1 / 16}, PAIRS),
    "sdnet": Case("heart", ("cine", "LGE"), CARDIAC, PAIRS),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs, bundles, studies, and the cache of subjects that all trainings share."""
    return tmp_path_factory.mktemp("systems")


@pytest.fixture(scope="module", autouse=True)
def own_home(folder: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISENTANGLE_HOME", str(folder / "home"))
        yield


def config_of(name: str, folder: Path) -> Path:
    """The configuration file of a case: three steps."""
    case = CASES[name]
    content = {
        "name": name,
        "output": str(folder / "runs"),
        "seed": 3,
        "system": {"name": name, "sequences": list(case.sequences), "classes": case.kind, **case.settings},
        "preprocessing": COARSE if case.kind == "brain" else {},
        "data": {
            "cache": str(folder / "cache"),
            "phantoms": {
                "kind": case.kind,
                "subjects": 2,
                "validation": 0,
                "first_seed": 2,
                "arguments": ARGUMENTS[case.kind],
                "variants": case.variants,
            },
            "studies": None,
        },
        "sampling": {"batch": 1 if case.variants else 2, **case.sampling},
        "training": {
            "steps": 3,
            "schedule": "constant",
            "warmup": 1,
            "log_every": 1,
            "validate_every": 3,
            "validation_batches": 1,
            "checkpoint_minutes": 0,
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def study_of(kind: str, folder: Path) -> Path:
    """A phantom study on disk that no training has seen, in the order of its sequences."""
    place = folder / f"study-{kind}"
    if not place.exists():
        create_phantom(kind, 9, **ARGUMENTS[kind]).study.write(place)
    return place


@pytest.fixture(scope="module")
def bundle_of(folder: Path):
    """``bundle_of("dafnet")``: trained and exported by the commands, once."""
    made: dict[str, Bundle] = {}

    def make(name: str) -> Bundle:
        if name not in made:
            assert main(["train", str(config_of(name, folder)), "--quiet"]) == 0
            bundle = folder / "bundles" / f"{name}-{CASES[name].kind}"
            assert main(["export", str(folder / "runs" / name / "final.ckpt"), "-o", str(bundle), "--quiet"]) == 0
            made[name] = Bundle.load(bundle)
        return made[name]

    return make


def losses(run: Path) -> dict[tuple[int, str], float]:
    """(step, term) -> value, of the last start of a run."""
    found = {}
    for path in sorted((run / "logs" / "csv").glob("*/metrics.csv"))[-1:]:
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found |= {(int(row["step"]), k): float(v) for k, v in row.items() if k.endswith("/total") and v}
    return found


NURSERY = """
import json, os, signal, sys
import disentangle.learning.train  # the costly part, once for all
from disentangle.cli import main
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(main(json.loads(line)))
    print(child, flush=True)
    sys.stdin.readline()
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def start():
    """``kill = start(["train", ...])``: a process of its own that runs a command until ``kill()``.

    ``kill`` comes back when the process is gone: one that is told to die still ends the renaming of a file.
    """
    if not hasattr(os, "fork"):
        pytest.skip("no processes can be forked and killed here")
    place = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=place) as nursery:

        def say(line: str) -> int:
            nursery.stdin.write(line + "\n")
            nursery.stdin.flush()
            return int(nursery.stdout.readline())

        def send(arguments: list[str]) -> Callable[[], None]:
            say(json.dumps(arguments))

            def kill() -> None:
                assert say("kill") == signal.SIGKILL, "the process had ended by itself"

            return kill

        yield send
        nursery.kill()


@pytest.fixture
def one_thread():
    """As the killed process has: mmsdnet's losses of one and of two threads are up to a thousandth apart."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def iteration(checkpoint: Path) -> int:
    return load_checkpoint(checkpoint)["iteration"] if checkpoint.exists() else 0


@pytest.mark.parametrize("name", CASES)
def test_a_killed_run_goes_on_with_the_losses_that_it_would_have_met(name, folder, start, one_thread, capsys):
    """SIGKILL, at a moment that nobody chose: between two steps, within one, or while a checkpoint is written."""
    config, last = str(config_of(name, folder)), folder / "runs" / f"{name}-killed" / "last.ckpt"
    kill = start(["train", config, f"name={name}-killed", "training.steps=100000", "--quiet"])
    patience = time.monotonic() + 120
    try:
        while iteration(last) < 2:
            assert time.monotonic() < patience
            time.sleep(0.05)
    finally:
        kill()
    done = iteration(last)
    steps = f"training.steps={done + 2}"
    assert main(["train", config, f"name={name}-killed", steps, "training.resume=true", "--quiet"]) == 0
    assert main(["train", config, f"name={name}-whole", steps, "--quiet"]) == 0
    resumed, whole = losses(folder / "runs" / f"{name}-killed"), losses(folder / "runs" / f"{name}-whole")
    assert {n for n, _ in resumed} == {done + 1, done + 2}
    assert {n for n, _ in whole} == set(range(1, done + 3))
    assert resumed == pytest.approx({k: v for k, v in whole.items() if k[0] > done}, rel=1e-4)


@pytest.mark.parametrize("name", ["dafnet", "mmsdnet", "ucd", "dalace"])
def test_a_training_starts_from_a_bundle_with_new_discriminators(name, folder, bundle_of, capfd):
    bundle = bundle_of(name)
    left_out = bundle.left_out(bundle.system())
    assert left_out and all("discriminator" in tensor or "adversaries." in tensor for tensor in left_out)
    capfd.readouterr()
    goes_on = ["train", str(config_of(name, folder)), f"name={name}-more", f"training.init_from={bundle.path}"]
    assert main([*goes_on, "training.steps=1", "training.warmup=100000"]) == 0
    assert f"The model {bundle.name} comes without the discriminators" in capfd.readouterr().out
    weights = load_checkpoint(folder / "runs" / f"{name}-more" / "final.ckpt")["weights"]
    old = bundle.system().state_dict()
    kept = [n for n, _ in bundle.system().named_parameters() if n not in left_out]
    assert [n for n in kept if not torch.allclose(weights[n], old[n], atol=1e-2)] == []


def test_a_run_that_fails_keeps_its_last_step(folder, monkeypatch, capsys):
    step = Learner.training_step

    def failing(self, batch, number):
        if self.iteration == 2:
            raise RuntimeError("no space left")
        step(self, batch, number)

    monkeypatch.setattr(Learner, "training_step", failing)
    hourly = "training.checkpoint_minutes=60"
    assert main(["train", str(config_of("unet", folder)), "name=unet-failed", hourly, "--quiet"]) == 1
    assert iteration(folder / "runs" / "unet-failed" / "last.ckpt") == 2


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "one missing"])
def test_segment_synthesize_and_factors(name, missing, folder, bundle_of, tmp_path, capsys):
    bundle, place = bundle_of(name), study_of(CASES[name].kind, folder)
    given = CASES[name].sequences[: -1 if missing else None]
    target = CASES[name].sequences[-1]
    first = Image.read(place / f"{given[0]}.nii.gz")
    inputs = ["--model", str(bundle.path), "--input", *(f"{s}={place / s}.nii.gz" for s in given), "--quiet"]
    if CASES[name].kind == "brain":
        inputs += ["--mask", str(place / "brainmask.nii.gz")]

    assert main(["segment", *inputs, "-o", str(tmp_path / "seg.nii.gz"), "--json", str(tmp_path / "r.json")]) == 0
    segmentation = Image.read(tmp_path / "seg.nii.gz")
    assert segmentation.grid.same_as(first.grid)
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [s for s, entry in report["inputs"].items() if entry["used"]] == list(given)

    made = main(["synthesize", *inputs, "--target", target, "-o", str(tmp_path / "made")])
    if target in bundle.targets:
        assert made == 0
        image = Image.read(tmp_path / "made" / f"synthetic_{target}.nii.gz")
        assert image.grid.same_as(first.grid)
        assert np.isfinite(image.array).all() and np.ptp(image.array) > 0
    else:
        assert made == 2
        assert f"cannot synthesise {target}" in capsys.readouterr().err

    assert main(["factors", *inputs, "-o", str(tmp_path / "factors")]) == 0
    for sequence in given:
        shown = tmp_path / "factors" / "factors" / sequence
        channels = len(list(shown.glob("anatomy_*.nii.gz")))
        assert 2 <= channels <= 8
        assert (shown / "reconstruction.nii.gz").exists() == (sequence in bundle.targets)
        assert (shown / "agnostic.nii.gz").exists() == (name == "dalace")
    drawn = len(list((tmp_path / "factors").glob("cross/*.nii.gz")))
    assert drawn == (len(given) ** 2 if bundle.targets else 0)
    assert (tmp_path / "factors" / "overview.png").stat().st_size > 1000


@pytest.mark.parametrize("name", CASES)
def test_the_card_tells_where_the_model_comes_from_and_what_it_is_for(name, bundle_of):
    bundle = bundle_of(name)
    card = bundle.card
    assert bundle.license == {"name": "Apache-2.0", "permissive": True}
    part = {"brain": "adult brain", "heart": "heart", "abdomen": "abdomen"}[CASES[name].kind]
    assert part in card["intended_use"]
    assert "not for diagnosis" in card["intended_use"]
    assert ("citation" in card) == (name not in ("unet", "sdnet"))
    assert all(info.terminology for info in bundle.classes[1:])
    assert len({info.color for info in bundle.classes}) == len(bundle.classes)
    bundle.verify()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("brain", BRAIN), ("heart", HEART), *(("abdomen", {**ABDOMEN, "sequences": [s]}) for s in ("CT", "T1"))],
)
def test_the_predictor_sees_what_training_saw(kind, arguments, folder):
    wanted = preprocessing_of(kind, arguments) | (COARSE if kind == "brain" else {})
    settings = PreprocessingConfig.from_dict(wanted)
    (subject,) = load_phantoms([2], arguments, [], settings, folder / "cache", kind=kind)
    study = create_phantom(kind, 2, **arguments).study
    # Without the labels, and brought to the first input, as the predictor does where slices are not registered.
    prepared = prepare(Study(study.images, masks=study.masks), settings, study.available[0])
    for sequence, image in subject.images.items():
        trained = image.astype(np.float32)[subject.mask]
        seen = prepared.images[sequence][prepared.mask]
        assert seen.shape == trained.shape
        assert np.allclose(seen, trained, atol=2e-3)


def test_slices_of_a_real_stack_stay_slices(bundle_of, folder):
    """Other pixels, other slices, larger than the model reads, and a second stack whose header is elsewhere."""
    study = Study.from_folder(study_of("heart", folder))
    cine, lge = (study[s].array for s in ("cine", "LGE"))
    fine = np.repeat(np.repeat(cine, 2, 1), 2, 2)
    fine = np.pad(fine, ((0, 0), (30, 30), (10, 10)))
    affine = study["cine"].affine.copy()
    affine[:3, :3] = affine[:3, :3] * np.array([0.5, 0.5, 0.7])
    far = study["LGE"].affine.copy()
    far[:3, 3] += 900
    moved = Study({"cine": Image(fine, affine, "cine"), "LGE": Image(lge, far, "LGE")})
    result = Predictor(bundle_of("dafnet"), device="cpu").run(moved, synthesize=["LGE"], factors=True)
    assert result.segmentation.grid.same_as(moved["cine"].grid)
    shown = result.factors["cine"].input
    assert len(shown.array) == len(fine)
    assert shown.grid.spacing.tolist() == pytest.approx([3.0, 3.0, 0.7 * 12.0])
    warnings = " ".join(result.report["warnings"])
    assert warnings.count("do not overlap") == 1
    assert "reads slices of 48 x 48 pixels" in warnings


def test_a_segmentation_is_scored_with_the_labels_of_the_first_input(bundle_of, folder, tmp_path):
    study = Study.from_folder(study_of("heart", folder))
    predictor = Predictor(bundle_of("dafnet"), device="cpu")
    for sequence in ("cine", "LGE"):
        # Through the worker's wire, as in the panel.
        arrived = read_study(write_study(study.subset([sequence]), tmp_path / sequence))
        result = predictor.run(arrived)
        truth = study.sequence_labels[sequence].array
        found = result.segmentation.array
        expected = {info.name: dice(found == info.value, truth == info.value) for info in result.classes[1:]}
        assert result.report["quality"]["segmentation"] == pytest.approx(expected, abs=1e-3)
        # Drawn on the same slices with a border around them.
        labels = study.sequence_labels[sequence]
        wider = labels.affine.copy()
        wider[:3, 3] -= labels.affine[:3, :2].sum(axis=1) * 5
        arrived.sequence_labels[sequence] = Image(np.pad(truth, ((0, 0), (5, 5), (5, 5))), wider)
        assert predictor.run(arrived).report["quality"]["segmentation"] == pytest.approx(expected, abs=1e-3)
    study.sequence_labels.pop("LGE")
    assert "segmentation" not in predictor.run(study.subset(["LGE", "cine"])).report["quality"]


def test_synthetic_intensities_have_the_units_of_their_modality(bundle_of, folder):
    study = Study.from_folder(study_of("abdomen", folder))
    predictor = Predictor(bundle_of("dalace"), device="cpu")
    ct = predictor.run(study.subset(["T1"]), segment=False, synthesize=["CT"]).synthesized["CT"].array
    assert -150 <= ct.min() < ct.max() <= 250
    t1 = predictor.run(study.subset(["CT"]), segment=False, synthesize=["T1"]).synthesized["T1"].array
    assert 0 <= t1.min() < t1.max() <= 1000


def test_a_model_with_one_style_per_sequence_says_that_it_cannot_take_that_of_an_example(bundle_of, folder):
    study = Study.from_folder(study_of("brain", folder))
    wanted = {"segment": False, "synthesize": ["FLAIR"], "style_images": {"FLAIR": study["FLAIR"]}}
    inputs = study.subset(["T1", "T2"])
    with pytest.raises(InputError, match="has one style per sequence and cannot take that of an example"):
        Predictor(bundle_of("ucd"), device="cpu").run(inputs, **wanted)
    assert "FLAIR" in Predictor(bundle_of("margindis"), device="cpu").run(inputs, **wanted).synthesized
