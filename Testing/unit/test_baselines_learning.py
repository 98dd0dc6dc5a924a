"""Baselines train, resume, export and run through inference like systems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from balls import ball, load_balls

from disentangle.errors import InputError
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Wanted
from disentangle.learning import train as training
from disentangle.learning.checkpoints import load_checkpoint, system_from_checkpoint
from disentangle.learning.export import export
from disentangle.learning.scoring import evaluate_subject
from disentangle.learning.summaries import summary, table
from disentangle.progress import Progress

NONE = {"classes": [], "healthy": [0]}
SYSTEMS = {
    "conv-adv": {"name": "margindis", "width": 0.05, "decoder_hidden": 16, "head_channels": [4, 4]}
    | {"conditioning": "separate", "weights": {"adversarial": 0.1, "anatomy_margin": 0, "style_margin": 0}},
    "unet": {"name": "unet", "width": 0.05},
    "dualstream": {"name": "dualstream", "width": 0.05},
    "sdnet": {"name": "sdnet", "width": 0.05, "size": [64, 64], "pooled_discriminator": True, "output": "linear"},
    "standard": {"name": "standard", "width": 0.05, "network": "unet"},
    "synthesis": {"name": "standard", "width": 0.05, "network": "unet", "sequences": ["T1"], "target": "T2", **NONE},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Trains one of the systems on four balls; gives the path of final.ckpt."""
    monkeypatch.setattr(training, "load_data", load_balls)

    def go(name: str, system: dict, **settings):
        steps = {"steps": 2, "warmup": 1, "log_every": 1, "validate_every": 2, "validation_batches": 1}
        config = {
            "name": name,
            "output": str(tmp_path),
            "system": {"sequences": ["T1", "T2"], **system},
            "sampling": {"batch": 2, "sizes": [[64, 64]]},
            "training": {**steps, "images_every": 2, "schedule": "constant", "ema": None, **settings},
        }
        return training.train(config, quiet=True)

    return go


def infer(system):
    """A ball through the inference engine: everything that the system can make."""
    one, abilities = ball(20), system.capabilities
    images = {s: one.images[s].astype(np.float32) for s in abilities.sequences}
    wanted = Wanted(segment=abilities.segments, targets=abilities.targets)
    return Engine(EagerNetwork(system.fold()), 4, print).run(images, one.mask, wanted, Progress())


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_baseline_trains_resumes_exports_and_answers_inference(name, run, tmp_path):
    path = run(name, SYSTEMS[name])
    run(f"{name}-parts", SYSTEMS[name], steps=1)
    resumed = run(f"{name}-parts", SYSTEMS[name], resume=True)
    whole, parts = load_checkpoint(path)["weights"], load_checkpoint(resumed)["weights"]
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, msg=key)
    assert (path.parent / "best.ckpt").exists() and list((path.parent / "images").glob("*.png"))

    system = system_from_checkpoint(load_checkpoint(path))
    again = export(path, tmp_path / "bundle", half=False).system()
    expected, found = infer(system), infer(again)
    if system.capabilities.segments:
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    for target in system.capabilities.targets:
        np.testing.assert_allclose(found.synthesized[target], expected.synthesized[target], atol=1e-3)

    scores = evaluate_subject(system, ball(20))
    assert bool(scores["dice"]) == system.capabilities.segments
    assert set(scores["imputation"]) == set(system.capabilities.targets)
    assert table(summary([scores]))


def test_a_task_takes_its_representation_from_the_run_that_it_starts_from(run, tmp_path):
    first = run("representation", {**SYSTEMS["conv-adv"], "weights": {"adversarial": 0.0}})
    task = {"name": "downstream", "width": 0.05, "network": "unet"}
    path = run("task", task, init_from=str(first))
    before, after = load_checkpoint(first)["weights"], load_checkpoint(path)["weights"]
    for key, value in before.items():
        torch.testing.assert_close(after[f"representation.{key}"], value, msg=key)
    bundle = export(path, tmp_path / "task", half=False)
    found = infer(bundle.system())
    assert found.probabilities.shape[0] == len(bundle.classes)
    scores = evaluate_subject(bundle.system(), ball(20))
    assert set(scores["dice"]) == {"T1+T2", "T1", "T2"} and not scores["cross"]
    with pytest.raises(InputError, match="init_from"):
        run("nothing", task)


def test_a_target_that_is_no_input_is_a_target_of_the_bundle(run, tmp_path):
    bundle = export(run("synthesis", SYSTEMS["synthesis"]), tmp_path / "synthesis")
    bundle.verify()
    assert bundle.sequences == ("T1",) and bundle.targets == ("T2",)
