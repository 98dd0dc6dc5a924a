"""Twelve Pix2Pix as one system: every pair on its own, and together they answer as any other system does."""

from __future__ import annotations

import json
import math

import pytest
import torch
from registered_batches import SEQUENCES, make_batch
from torch import Tensor, nn
from unpaired_batches import course, moved

from disentangle import registry
from disentangle.baselines.pix2pix import Pix2Pix
from disentangle.errors import InputError
from disentangle.systems.base import Batch

TINY = {"sequences": SEQUENCES, "width": 1 / 16, "levels": 5}
LABELLED = {"classes": ("background", "tissue", "lesion"), "healthy": (0, 1)}
T1_TO_T2 = {"pairs": [["T1", "T2"]]}


def tiny(**changes) -> Pix2Pix:
    torch.manual_seed(0)
    return registry.create("pix2pix", **{**TINY, **changes})


def batch_of(**changes) -> Batch:
    return make_batch(**{"slices": 1, "size": 32, **changes})


def test_four_sequences_take_twelve_networks_of_the_published_size():
    with torch.device("meta"):
        system = Pix2Pix(("T1", "T1Gd", "T2", "FLAIR"))
    assert len(system.generators) == len(system.discriminators) == 12
    sizes = [sum(p.numel() for p in net.parameters()) / 1e6 for net in system.generators.values()]
    assert sizes == pytest.approx([41.82] * 12, abs=0.01)


class Constant(nn.Module):
    """Answers with one number everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor, source: Tensor | None = None):
        made = self.value.expand_as(image)
        return made if source is None else (image.mean((1, 2, 3), keepdim=True) * self.value, None)


def test_losses_equal_their_values_by_hand():
    system, batch = tiny(**T1_TO_T2), batch_of()
    batch.images["T2"] = 3.0 * batch.mask
    system.generators["0-1"], system.discriminators["0-1"] = Constant(1.0), Constant(2.0)
    share = batch.mask.mean().item()
    real, fake = 2 * 3 * share, 2 * share
    made = system.generator_loss(batch)
    assert made["paired"].item() == pytest.approx(10 * 2)
    assert made["adversarial"].item() == pytest.approx(math.log1p(math.exp(-fake)))
    judged = system.discriminator_loss(batch)["adversarial"].item()
    assert judged == pytest.approx(0.5 * (math.log1p(math.exp(-real)) + math.log1p(math.exp(fake))))


def test_a_step_updates_one_pair_and_leaves_the_others_alone():
    changes = moved(tiny(**LABELLED), batch_of())
    (pair,) = {name.split(".")[1] for name in changes["generator"]}
    assert changes["generator"] == {f"generators.{pair}"}
    assert changes["discriminator"] == {f"discriminators.{pair}"}
    assert {name.split(".")[0] for name in changes["segmentor"]} == {"segmentor"}


def test_all_pairs_can_be_updated_in_one_step():
    changes = moved(tiny(pairs_per_step=None), batch_of())
    assert len(changes["generator"]) == len(changes["discriminator"]) == 6


def test_only_samples_that_have_both_sequences_count():
    clean = batch_of(missing={"T2": [0]})
    dirty = batch_of(missing={"T2": [0]})
    dirty.images["T1"][0], dirty.images["T2"][0] = 7.0, 7.0
    losses = [{k: v.item() for k, v in tiny(**T1_TO_T2).generator_loss(b).items()} for b in (clean, dirty)]
    assert losses[0] == losses[1]
    system, nobody = tiny(**T1_TO_T2), batch_of(missing={"T2": [0, 1, 2]})
    assert sum(system.generator_loss(nobody).values()).item() == 0
    assert system.discriminator_loss(nobody)["adversarial"].item() == 0


def test_a_resumed_training_meets_the_same_losses():
    batches = [batch_of(), batch_of(samples=2), batch_of()]
    _, whole = course(tiny(), batches)
    first, _ = course(tiny(), batches[:2])
    resumed, _ = course(tiny(learning_rate=2e-4), [])
    resumed.restore(first.state())
    assert course(resumed.system, batches[2:], resumed)[1] == pytest.approx(whole[2:], rel=1e-5)


def test_it_answers_like_any_other_system():
    system, batch = tiny(**LABELLED).eval(), batch_of()
    factors = system.encode({s: batch.images[s] for s in ("T1", "T2")}, batch.mask)
    direct = [system.generators[key](batch.images[s]) for key, s in (("0-2", "T1"), ("1-2", "T2"))]
    torch.testing.assert_close(system.decode(factors.anatomy["T1"], "FLAIR"), direct[0])
    code = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, -1)
    torch.testing.assert_close(system.decode(factors.anatomy["T1"], code), direct[0])
    both = system.synthesis_anatomy(factors)
    torch.testing.assert_close(system.decode(both, "FLAIR"), (direct[0] + direct[1]) / 2)
    torch.testing.assert_close(system.decode(both, "T1"), batch.images["T1"], msg="what is there is not made")
    blend = torch.tensor([[0.5, 0.0, 0.5]]).expand(3, -1)
    torch.testing.assert_close(system.decode(factors.anatomy["T1"], blend), (batch.images["T1"] + direct[0]) / 2)
    stack = torch.cat([batch.images["T1"], batch.images["T2"], (direct[0] + direct[1]) / 2 * batch.mask], 1)
    torch.testing.assert_close(system.fuse(factors), stack)
    assert system.segment(stack).shape == (3, 3, 32, 32)


def test_the_segmentors_stacks_are_those_of_inference(monkeypatch):
    system, batch = tiny(**LABELLED).eval(), batch_of()
    kept = torch.tensor([[True, True, False], [False, True, True], [False, False, True]])
    monkeypatch.setattr("disentangle.systems.translation.random_subset", lambda _: kept)
    stack = system.completed(batch)
    for row in range(3):
        images = {s: batch.images[s][row : row + 1] for n, s in enumerate(SEQUENCES) if kept[n, row]}
        factors = system.encode(images, batch.mask[row : row + 1])
        torch.testing.assert_close(stack[row : row + 1], system.fuse(factors), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "changes", [{}, {"fidelity": "paper"}, {"slices": 3, **LABELLED}, {**T1_TO_T2, "l1_weight": 1.0}]
)
def test_every_option_trains_and_is_rebuilt_from_its_configuration(changes):
    system = tiny(**changes)
    batch = batch_of(slices=system.capabilities.slices)
    for step in system.training_steps():
        assert all(torch.isfinite(v) for v in step.loss(batch).values())
    config = json.loads(json.dumps(system.config))
    again = Pix2Pix(**config)
    again.load_state_dict(system.state_dict())
    images = [
        s.eval().decode(s.encode({"T1": batch.images["T1"]}, batch.mask).anatomy["T1"], "T2") for s in (system, again)
    ]
    torch.testing.assert_close(*images)
    assert again.config == config and again.capabilities == system.capabilities


def test_a_pair_that_was_not_learned_is_named():
    system, batch = tiny(**T1_TO_T2), batch_of()
    anatomy = system.encode(batch.images, batch.mask).anatomy["T2"]
    with pytest.raises(InputError, match="does not translate T2 to FLAIR"):
        system.decode(anatomy, "FLAIR")
