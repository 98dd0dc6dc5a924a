"""Systems on unregistered sequences train, resume, are scored on every sequence's own slices, and travel as bundles."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from disentangle import Predictor
from disentangle.bundles import Bundle
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint, system_from_checkpoint
from disentangle.learning.data import Data
from disentangle.learning.export import export
from disentangle.learning.module import validation_scores
from disentangle.learning.scoring import evaluate_subject
from disentangle.learning.summaries import summary, table
from disentangle.losses import UNLABELLED
from disentangle.registry import create
from disentangle.study import Image, Study
from disentangle.systems.base import Batch
from disentangle.systems.modes import predict

CONFIG = {
    "name": "pairs",
    "system": {
        "name": "dafnet",
        "sequences": ["cine", "LGE"],
        "classes": ["background", "wall", "pool"],
        "size": [48, 48],
        "width": 0.06,
    },
    "preprocessing": {
        "spacing": [1.5, 1.5, 9],
        "registration": "none",
        "pose": "reference",
        "mask": "none",
        "margin_mm": 0,
        "normalization": "none",
        "size_multiple": 16,
        "background": -1,
    },
    "sampling": {"kind": "pairs", "batch": 2, "sizes": [[48, 48]], "annotated": {"LGE": 0.5}},
    "training": {"steps": 4, "warmup": 1, "log_every": 1, "validate_every": 2, "validation_batches": 1},
}


def subject(seed: int) -> Subject:
    """Rings in four slices of 48 x 48, elsewhere in LGE than in cine."""
    rows, columns = np.mgrid[:48, :48]
    images, labels = {}, {}
    for n, (sequence, grey) in enumerate({"cine": (-0.8, 0.6, 0.0), "LGE": (-0.5, -0.9, 0.8)}.items()):
        centres = 20 + 3 * n + np.random.default_rng([seed, n]).integers(0, 5, (4, 1, 1))
        distance = np.hypot(rows - centres, columns - centres)
        labels[sequence] = ((distance < 14).astype(np.uint8) + (distance < 8)).astype(np.uint8)
        images[sequence] = np.array(grey)[labels[sequence]].astype(np.float16)
    whole = np.ones((4, 48, 48), bool)
    about = {"seed": seed}
    return Subject(f"s{seed}", f"s{seed}", images, whole, labels["cine"], (1.5, 1.5, 9.0), "phantom", about, labels)


def load(config, progress) -> Data:
    return Data([subject(n) for n in range(4)], [subject(n) for n in (8, 9)])


def totals(checkpoint) -> dict[tuple[int, str], float]:
    """(step, update) -> total loss, over all starts of a run."""
    found = {}
    for path in sorted((checkpoint.parent / "logs" / "csv").glob("*/metrics.csv")):
        for row in csv.DictReader(path.open(encoding="utf-8")):
            found |= {(int(row["step"]), k): float(v) for k, v in row.items() if k.endswith("/total") and v}
    return found


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "load_data", load)
    return lambda *overrides: training.train({**CONFIG, "output": str(tmp_path)}, overrides, quiet=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The final.ckpt of one run with a picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "load_data", load)
        config = {**CONFIG, "output": str(tmp_path_factory.mktemp("runs"))}
        return training.train(config, ["training.images_every=4", "training.monitor=dice LGE"], quiet=True)


@pytest.mark.parametrize("system", ["dafnet", "mmsdnet"])
def test_a_resumed_run_meets_the_losses_that_it_would_have_met(run, system):
    fixed = (f"system.name={system}", "training.schedule=constant", "training.validate_every=9")
    run("name=parts", "training.steps=1", *fixed)
    parts = totals(run("name=parts", "training.steps=2", "training.resume=true", *fixed))
    whole = totals(run("name=whole", "training.steps=2", *fixed))
    updates = {"dafnet": 2, "mmsdnet": 3}[system]
    assert len(whole) == 2 * updates and parts.keys() == whole.keys()
    assert [parts[k] for k in whole] == pytest.approx(list(whole.values()), rel=1e-5)


def test_a_run_leaves_pictures_styles_and_the_best_weights(trained):
    assert len(list((trained.parent / "images").glob("*.png"))) == 1
    system = system_from_checkpoint(load_checkpoint(trained))
    assert all(system.default_style(s).abs().sum() > 0 for s in ("cine", "LGE"))
    assert load_checkpoint(trained.parent / "best.ckpt")["best"] <= 0  # minus a Dice
    record = json.loads((trained.parent / "run.json").read_text(encoding="utf-8"))
    assert record["validation"] == ["s8", "s9"]


def test_training_stops_when_the_monitored_score_no_longer_improves(run, monkeypatch):
    monkeypatch.setattr(
        training.Learner, "validation", lambda self: dict.fromkeys(("self", "cross", "imputation"), 1.0)
    )
    content = load_checkpoint(run("training.steps=50", "training.validate_every=2", "training.patience=2"))
    assert content["iteration"] == 6
    with pytest.raises(InputError, match='no validation score "dice CT"'):
        run("name=other", "training.monitor=dice CT")


def test_validation_scores_each_sequence_on_its_own_slices(trained):
    system = system_from_checkpoint(load_checkpoint(trained))
    one = subject(20)
    images = {s: torch.from_numpy(a[:2, None].astype(np.float32)) for s, a in one.images.items()}
    labels = {s: torch.from_numpy(a[:2].astype(np.int64)) for s, a in one.sequence_labels.items()}
    yes = torch.ones(2, dtype=torch.bool)
    batch = Batch(images, {"cine": yes, "LGE": yes}, torch.ones(2, 1, 48, 48), None, torch.arange(2), labels)
    with torch.no_grad():
        scores = validation_scores(system, batch)
        found = {m: predict(system, images, "LGE", m).argmax(1) for m in ("single", "deformed", "fused")}
    for mode, name in {"single": "dice LGE single", "deformed": "dice LGE deformed", "fused": "dice LGE"}.items():
        both = ((found[mode] == labels["LGE"]) & (labels["LGE"] > 0)).sum()
        expected = 2 * both / ((found[mode] > 0).sum() + (labels["LGE"] > 0).sum())
        assert scores[name] == pytest.approx(expected.item())
    labels["LGE"][:] = UNLABELLED
    with torch.no_grad():
        assert not any("LGE" in name for name in validation_scores(system, batch))


def test_evaluation_segments_every_annotated_sequence_and_compares_images_on_their_slices(trained):
    system = system_from_checkpoint(load_checkpoint(trained))
    result = evaluate_subject(system, subject(20))
    assert set(result["dice"]) == {"cine+LGE on cine", "cine+LGE on LGE", "cine on cine", "LGE on LGE"}
    assert set(result["dice"]["LGE on LGE"]) == {"wall", "pool"}
    mean = summary([result])
    assert set(mean["dice"]) == {"all on cine", "all on LGE", "-LGE on cine", "-cine on LGE"}
    assert "all on LGE" in table(mean)
    half = subject(21)
    labels = {**half.sequence_labels, "LGE": np.full_like(half.labels, UNLABELLED)}
    result = evaluate_subject(system, replace(half, sequence_labels=labels))
    assert set(result["dice"]) == {"cine+LGE on cine", "cine on cine"}


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory) -> Bundle:
    return export(trained, tmp_path_factory.mktemp("bundles") / "heart", half=False)


def test_a_bundle_gives_the_same_segmentation(trained, bundle):
    assert bundle.sequences == ("cine", "LGE")
    images = {s: torch.from_numpy(a[:1, None].astype(np.float32)) for s, a in subject(3).images.items()}
    ours, theirs = system_from_checkpoint(load_checkpoint(trained)), bundle.system().eval()
    with torch.no_grad():
        torch.testing.assert_close(predict(theirs, images, "LGE"), predict(ours, images, "LGE"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("names", [("LGE", "cine"), ("LGE",)])
def test_the_predictor_segments_and_synthesises_on_the_slices_of_the_first_input(bundle, names):
    """With another sequence, its anatomy is moved there: the answer is the system's own."""
    affine = np.diag([1.5, 1.5, 9.0, 1.0])
    study = Study({s: Image(subject(5).images[s].astype(np.float32), affine, s) for s in names})
    seen = []
    result = Predictor(bundle, device="cpu").run(
        study, segment=True, synthesize=["cine"], factors=True, progress=lambda *report: seen.append(report)
    )
    assert result.segmentation.array.shape == result.synthesized["cine"].array.shape == (4, 48, 48)
    assert set(result.factors) == set(names) and seen
    system = bundle.system().eval()
    images = {s: torch.from_numpy(subject(5).images[s][:, None].astype(np.float32)) for s in names}
    with torch.no_grad():
        expected = predict(system, images, "LGE").argmax(1).numpy()
    assert (result.segmentation.array == expected).mean() > 0.999


def test_the_transformer_may_learn_at_a_multiple_of_the_rate(run):
    def first_step(rate: float) -> dict[str, torch.Tensor]:
        fixed = ("training.steps=1", "training.ema=0", f"system.transformer_rate={rate}", f"name=rate-{rate}")
        return load_checkpoint(run(*fixed).with_name("last.ckpt"))["weights"]

    usual, slow = first_step(1.0), first_step(0.2)
    # A first step of Adam is as long as the rate; the offsets begin at zero.
    assert usual["transformer.offsets.bias"].abs().max() > 0
    assert torch.allclose(slow["transformer.offsets.bias"], 0.2 * usual["transformer.offsets.bias"], rtol=1e-3)
    others = [name for name in usual if not name.startswith("transformer.")]
    assert all(torch.equal(slow[name], usual[name]) for name in others)


def test_every_update_changes_its_own_parameters_alone_whatever_their_rates():
    system = create("mmsdnet", **{k: v for k, v in CONFIG["system"].items() if k != "name"}, transformer_rate=0.2)
    steps = {step.name: step for step in system.training_steps()}
    for step in steps.values():
        grouped = [p for group in step.groups() for p in group["params"]]
        assert sorted(map(id, grouped)) == sorted(map(id, step.parameters))
    assert {group["factor"] for group in steps["generator"].groups()} == {1.0, 0.2}
    assert {group["factor"] for group in steps["regression"].groups()} == {1.0}
