"""Training is repeatable and resumable, keeps updates apart, and its figures mean what they say."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from balls import SMALLEST, ball, load_balls
from torch import nn

from disentangle.datasets.labels import HEALTHY, UNLABELLED
from disentangle.errors import Cancelled, InputError
from disentangle.inference.detail import Detail
from disentangle.inference.islands import Islands
from disentangle.inference.rules import Rules
from disentangle.inference.sensitivity import Sensitivity
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint, system_from_checkpoint
from disentangle.learning.config import load_config
from disentangle.learning.evaluation import evaluate_subjects
from disentangle.learning.export import export, license_of
from disentangle.learning.factors import mean_styles, slice_stacks, unpadded
from disentangle.learning.module import Average, Learner
from disentangle.learning.scoring import class_dice, evaluate_subject
from disentangle.learning.summaries import summary, table
from disentangle.metrics.image import image_quality, match_histogram
from disentangle.phantoms.brain import BRAIN_CLASSES
from disentangle.progress import Progress
from disentangle.registry import create
from disentangle.systems.base import Batch, Capabilities, System, TrainingStep

CONFIG = {
    "name": "tiny",
    "system": SMALLEST,
    "sampling": {"batch": 2, "sizes": [[32, 32]]},
    "training": {"steps": 4, "warmup": 1, "log_every": 1, "validate_every": 2, "validation_batches": 1},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains the tiny configuration on four balls; takes overrides, gives the path of final.ckpt."""
    monkeypatch.setattr(training, "load_data", load_balls)
    config = {**CONFIG, "output": str(tmp_path)}
    return lambda *overrides, **kwargs: training.train(config, overrides, quiet=True, **kwargs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The final.ckpt of one run of the tiny configuration with two pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "load_data", load_balls)
        config = {**CONFIG, "output": str(tmp_path_factory.mktemp("runs"))}
        return training.train(config, ["training.images_every=2", "seed=6"], quiet=True)


def losses(checkpoint) -> dict[int, float]:
    """Step -> total loss, over all starts of a run."""
    found = {}
    for path in sorted((checkpoint.parent / "logs" / "csv").glob("*/metrics.csv")):
        with path.open(encoding="utf-8") as file:
            rows = csv.DictReader(file)
            found |= {int(r["step"]): float(r["generator/total"]) for r in rows if r.get("generator/total")}
    return found


def test_a_resumed_run_meets_the_losses_that_it_would_have_met(run):
    run("name=parts", "training.steps=2", "training.schedule=constant")
    parts = losses(run("name=parts", "training.steps=4", "training.resume=true", "training.schedule=constant"))
    constant = losses(run("name=constant", "training.schedule=constant"))
    assert sorted(parts) == [1, 2, 3, 4]
    assert [parts[n] for n in range(1, 5)] == pytest.approx([constant[n] for n in range(1, 5)], rel=1e-5)


def test_a_run_folder_tells_how_to_repeat_it_and_shows_what_was_learnt(trained):
    record = json.loads((trained.parent / "run.json").read_text(encoding="utf-8"))
    assert record["seed"] == 6
    assert record["overrides"] == ["training.images_every=2", "seed=6"]
    assert record["command"]
    assert load_config(trained.parent / "config.yaml")["training"]["steps"] == 4
    assert len(list((trained.parent / "images").glob("*.png"))) == 2
    assert list((trained.parent / "logs" / "tensorboard").glob("*/events*"))
    assert (trained.parent / "best.ckpt").exists()


def test_a_second_run_of_the_same_name_leaves_the_first_alone(run):
    assert run().parent.name == "tiny"
    assert run().parent.name == "tiny-2"


def test_the_final_checkpoint_carries_the_mean_style_of_each_sequence(trained):
    system = system_from_checkpoint(load_checkpoint(trained))
    expected = mean_styles(system, [ball(n) for n in range(4)])
    for sequence in ("T1", "T2"):
        assert torch.allclose(system.default_style(sequence), expected[sequence], atol=1e-5)
        assert system.default_style(sequence).abs().sum() > 0


@pytest.mark.parametrize("name", ["ucd", "pix2pix", "cyclegan"])
def test_constant_styles_are_the_means_that_nobody_takes(name):
    settings = {"classes": ("background", "tissue")} if name == "cyclegan" else {}
    system = create(name, sequences=("T1", "T2"), width=1 / 16, **settings)
    found = mean_styles(system, [ball(0), ball(1)])
    assert system.constant_styles and all(torch.equal(found[s], system.default_style(s)) for s in ("T1", "T2"))


def test_persons_of_other_domains_have_no_part_in_the_mean_styles(trained):
    system = system_from_checkpoint(load_checkpoint(trained))
    other = replace(ball(1), images={"CT": ball(1).images["T1"]})
    expected, found = mean_styles(system, [ball(0)]), mean_styles(system, [ball(0), other])
    assert all(torch.equal(found[s], expected[s]) for s in expected)


def test_cancelling_keeps_what_was_learnt_so_far(run, tmp_path):
    reported = []

    def callback(stage, fraction, message):
        reported.append(message)

    with pytest.raises(Cancelled):
        run(progress=Progress(callback, cancelled=lambda: sum("step" in m for m in reported) >= 2))
    assert load_checkpoint(tmp_path / "tiny" / "last.ckpt")["iteration"] in (2, 3)


def test_a_time_limit_ends_a_run_in_good_order(run):
    content = load_checkpoint(run("training.steps=100000", "training.max_minutes=0.01"))
    assert 0 < content["iteration"] < 1000


def test_weights_of_another_run_or_a_bundle_are_a_start_when_the_architecture_is_the_same(run, tmp_path):
    first = run("name=first")
    settings = (f"training.init_from={first}", "training.steps=1", "training.warmup=1000")
    second = load_checkpoint(run("name=second", *settings))
    one, two = load_checkpoint(first)["weights"], second["weights"]
    name = "decoder.out.weight"
    assert torch.allclose(one[name], two[name], atol=1e-4)
    bundle = export(first, tmp_path / "first", half=False)
    third = load_checkpoint(run("name=from-bundle", f"training.init_from={bundle.path.as_posix()}", *settings[1:]))
    assert torch.allclose(one[name], third["weights"][name], atol=1e-4)
    with pytest.raises(InputError, match="another architecture"):
        run("name=third", f"training.init_from={first}", "system.width=0.1")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.stpes=3", 'no setting "training.stpes"'),
        ("training.steps", "write key=value"),
        ("training.steps=[1", "not valid YAML"),
        ("sampling.bach=3", "section sampling"),
        ("sampling.sizes=[[32,48]]", "has 32 x 48 pixels; the system takes multiples of 32 only"),
        ("system.wdith=3", "wdith"),
        ("training.device=tpu", "no device"),
    ],
)
def test_mistakes_in_a_configuration_are_one_sentence(run, override, message):
    with pytest.raises(InputError, match=message):
        run(override)


def test_defaults_fill_a_configuration_and_brain_names_the_classes():
    config = load_config({"name": "x"}, ["training.steps=7", "data.studies=null"])
    assert config["training"]["steps"] == 7
    assert config["data"]["studies"] is None
    assert config["system"]["classes"] == list(BRAIN_CLASSES)
    assert config["training"]["accumulate"] == 1


class Duel(System):
    """Two updates over separate parameters, the first of which also depends on the second's."""

    name = "duel"

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        self.config = {}

    def training_steps(self):
        loss = lambda batch: {"product": (self.one * self.two * batch.mask).sum()}  # noqa: E731
        plain = {"lr": 0.0}
        return [TrainingStep("a", [self.one], loss, plain, None), TrainingStep("b", [self.two], loss, plain, None)]


def test_an_update_leaves_no_gradient_on_the_parameters_of_another():
    learner = Learner(Duel(), {**load_config({})["training"], "accumulate": 2, "ema": None}, seed=0)
    learner.manual_backward = lambda loss: loss.backward()
    batch = Batch({}, {}, torch.full((1, 1, 1, 1), 3.0))
    learner.training_step(batch, 0)
    # Half the gradient of one loss each: averaged over two batches, and nothing from the other's update.
    assert learner.system.one.grad.item() == pytest.approx(1.5)
    assert learner.system.two.grad.item() == pytest.approx(1.5)
    learner.training_step(batch, 1)
    assert learner.system.one.grad is None


def test_an_update_may_take_place_in_a_part_of_the_run_only():
    settings = {**load_config({})["training"], "stages": {"b": [1, 2]}, "ema": None}
    learner = Learner(Duel(), settings, seed=0)
    learner.manual_backward = lambda loss: loss.backward()
    seen = []
    for n in range(3):
        learner.training_step(Batch({}, {}, torch.ones(1, 1, 1, 1)), n)
        seen.append({name.split("/")[0] for name in learner.take_recent()})
    assert seen == [{"a"}, {"a", "b"}, {"a"}]
    with pytest.raises(InputError, match="updates are a, b"):
        Learner(Duel(), {**settings, "stages": {"c": [0, 1]}}, seed=0)


def test_loss_terms_can_come_in_late():
    settings = {**load_config({})["training"], "ramps": {"latent": [10, 20]}, "ema": None}
    learner = Learner(Duel(), settings, seed=0)
    factors = []
    for learner.iteration in (0, 10, 15, 20, 99):
        factors.append(learner.ramp("latent"))
    assert factors == [0, 0, 0.5, 1, 1]
    assert learner.ramp("cross") == 1


def test_averaged_weights_follow_slowly_and_swap_in_and_out():
    system = Duel()
    average = Average(system, 0.9)
    with torch.no_grad():
        system.one.fill_(2.0)
    average.update(system, iteration=1000)
    kept = average.swap_in(system)
    assert system.one.item() == pytest.approx(1.1)
    system.load_state_dict(kept)
    assert system.one.item() == 2.0


def test_padding_of_slices_is_undone():
    one = ball(1)
    stacks, mask = slice_stacks(one, ["T1"], 3, 32)
    assert stacks["T1"].shape == (8, 3, 32, 32)
    assert mask.shape == (8, 1, 32, 32)
    back = unpadded(stacks["T1"][:, 1].numpy(), one.mask.shape[1:])
    assert np.array_equal(back, one.images["T1"].astype(np.float32))
    assert torch.equal(stacks["T1"][3, 2], stacks["T1"][4, 1])


def test_evaluation_scores_every_target_and_every_subset_but_never_shows_the_target_to_imputation(trained):
    system = system_from_checkpoint(load_checkpoint(trained))
    one = ball(20)
    result = evaluate_subject(system, one)
    assert set(result["cross"]) == set(result["imputation"]) == {"T1", "T2"}
    assert set(result["dice"]) == {"T1+T2", "T1", "T2"}
    assert set(result["dice"]["T1"]) >= {"grey matter", "white matter"}
    stacks, mask = slice_stacks(one, ["T1"], system.capabilities.slices, 32)
    with torch.no_grad():
        factors = system.encode(stacks, mask)
        image = system.decode(system.synthesis_anatomy(factors), "T2")[:, 1].numpy()
    seen = image_quality(unpadded(image, one.mask.shape[1:]), one.images["T2"].astype(np.float32), one.mask)
    assert result["imputation"]["T2"]["psnr"] == pytest.approx(seen.psnr, abs=1e-3)
    assert not result["from"]
    every = evaluate_subject(system, one, "all")
    assert {target: set(sources) for target, sources in every["from"].items()} == {"T1": {"T2"}, "T2": {"T1"}}
    # Of two sequences, the one that is left is all that there is to make the other of.
    assert every["from"]["T2"]["T1"]["psnr"] == pytest.approx(result["imputation"]["T2"]["psnr"], abs=1e-3)
    assert every["hd95"].keys() == every["dice"].keys()
    copied = image_quality(one.images["T1"].astype(np.float32), one.images["T2"].astype(np.float32), one.mask)
    assert every["copy"]["T2"]["psnr"] == pytest.approx(copied.psnr, abs=1e-3)
    found = {(subset, name): value for subset, scores in result["dice"].items() for name, value in scores.items()}
    subset, best = max(found, key=lambda key: found[key])
    rule = Islands((system.capabilities.classes.index(best),), share=0.0, ml=1e6)
    assert found[subset, best] > 0
    ruled = evaluate_subject(system, one, rules=Rules(islands=rule))
    assert ruled["dice"][subset][best] == 0  # taken away before it is scored
    detailed = evaluate_subject(system, one, "all", Rules(detail=Detail(3.0, 0.01)))
    volume, guide = np.where(one.mask, unpadded(image, one.mask.shape[1:]), 0), one.images["T1"].astype(np.float32)
    volume = Detail(3.0, 0.01).refined(volume.astype(np.float32), {"T1": guide}, one.mask, one.spacing)
    seen = image_quality(volume, one.images["T2"].astype(np.float32), one.mask)
    assert detailed["imputation"]["T2"]["psnr"] == pytest.approx(seen.psnr, abs=1e-3)
    assert detailed["from"]["T2"]["T1"]["psnr"] == detailed["imputation"]["T2"]["psnr"]
    assert detailed["cross"] == every["cross"]  # what is no synthesis stays as it is drawn
    text = table(summary([result, every]))
    assert summary([result, every])["from"]["T1"]["T2"] == every["from"]["T1"]["T2"]
    assert "white matter" in text
    assert "-T1" in text


def test_lesions_are_scored_at_other_odds_as_they_would_be_drawn():
    torch.manual_seed(3)
    classes = ["background", "fluid", "edema", "enhancing tumour"]
    system = create("margindis", **{**SMALLEST, "classes": classes, "healthy": [1]}).eval()
    result = evaluate_subject(system, ball(5), rules=Rules())
    assert list(result["sensitivity"])[:2] == ["1/16", "1/8"] and list(result["sensitivity"])[-1] == "64"
    for odds, found in ((1, result["sensitivity"]["1"]), (64, result["sensitivity"]["64"])):
        rules = Rules(sensitivity=Sensitivity.of(system.capabilities, odds))
        drawn = evaluate_subject(system, ball(5), rules=rules)["dice"]["T1+T2"]
        assert found == {name: drawn[name] for name in ("edema", "enhancing tumour", "whole tumour")}
    assert result["sensitivity"]["1"] != result["sensitivity"]["64"]
    assert evaluate_subject(system, ball(5))["sensitivity"] == {}


def test_evaluation_knows_who_is_one_person_and_who_has_all_sequences(trained):
    system = system_from_checkpoint(load_checkpoint(trained))
    one, again = (replace(ball(seed), name=name, group="she") for seed, name in ((20, "first"), (21, "second")))
    half = replace(ball(22), images={"T1": ball(22).images["T1"]})
    report = evaluate_subjects(system, [one, again, half])
    assert report["sequences"] == ["T1", "T2"]
    assert report["mean"]["studies"] == 3
    complete = report["mean"]["complete"]
    assert (complete["studies"], complete["persons"]) == (2, 1)


def test_histogram_matching_finds_inverted_contrast():
    one = ball(1)
    t1, t2 = (one.images[s].astype(np.float32) for s in ("T1", "T2"))
    matched = match_histogram(t1, t2, one.mask)
    assert np.sort(matched[one.mask]) == pytest.approx(np.sort(t2[one.mask]), abs=0.05)
    assert np.corrcoef(matched[one.mask], t2[one.mask])[0, 1] > 0.9


def test_dice_counts_known_voxels_only():
    one = ball(1)
    one.labels[one.mask] = HEALTHY
    one.labels[3, 14:16, 13:15] = 5
    one.labels[4][one.mask[4]] = UNLABELLED
    found = np.where(one.labels == 5, 5, 3).astype(np.uint8)
    found[4][one.mask[4]] = 5
    brain = Capabilities(("T1",), (), BRAIN_CLASSES, healthy=(1, 2, 3))
    assert class_dice(found, one, brain) == {"peritumoral edema": 1.0, "whole tumour": 1.0, "any lesion": 1.0}
    found[3][one.mask[3]] = 5
    assert class_dice(found, one, brain)["whole tumour"] < 0.1


def test_a_bundle_made_of_a_checkpoint_gives_the_same_anatomy(trained, tmp_path):
    bundle = export(trained, tmp_path / "tiny-bundle", {"version": "1.2.3"}, half=False)
    assert (bundle.name, bundle.version, bundle.sequences) == ("tiny-bundle", "1.2.3", ("T1", "T2"))
    images = {"T1": torch.randn(1, 3, 32, 32)}
    systems = system_from_checkpoint(load_checkpoint(trained)), bundle.system()
    ours, theirs = (system.encode(images).anatomy["T1"] for system in systems)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_weights_take_the_licence_of_their_most_restrictive_study():
    by, nc = {"license": "CC BY", "citation": "A 2017"}, {"license": "CC BY-NC-SA 3.0, research only"}
    phantoms = {"name": "8 digital brain phantoms", "seeds": [1, 8]}
    assert license_of([phantoms])["name"] == "Apache-2.0"
    assert license_of([by, phantoms])["permissive"]
    assert "A 2017" in license_of([by])["text"]
    assert license_of([by, nc]) == {"name": nc["license"], "permissive": False}
    assert not license_of([by, {"name": "nobody knows"}])["permissive"]


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path / "y.ckpt")


def test_the_plateau_schedule_lowers_the_rate_after_patience_runs_out():
    learner = Learner(Duel(), {**load_config({})["training"], "schedule": "plateau", "warmup": 1, "ema": None}, seed=0)
    assert learner.follow_plateau(1.0)
    assert not any(learner.follow_plateau(2.0) for _ in range(6))
    assert learner.rate() == pytest.approx(0.1)
    assert math.isclose(learner.best, 1.0)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-04", "1.0e-4", "0.0001"])
def test_a_rate_in_scientific_notation_is_a_number(text: str) -> None:
    config = load_config({}, [f"system.learning_rate={text}"])
    assert config["system"]["learning_rate"] == pytest.approx(1e-4)


def test_batches_that_hold_different_sequences_are_all_scored():
    seen = SimpleNamespace(
        _validated=[{"self": 0.2, "dice liver (T1in)": 0.5}, {"self": 0.4, "dice liver (T1out)": 0.7}]
    )
    expected = {"self": 0.3, "dice liver (T1in)": 0.5, "dice liver (T1out)": 0.7}
    assert Learner.validation(seen) == pytest.approx(expected)
