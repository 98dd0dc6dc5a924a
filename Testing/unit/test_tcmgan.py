"""TC-MGAN per source as one system: its terms by hand, its three updates, and a System like any other."""

from __future__ import annotations

import json
import math

import pytest
import torch
from registered_batches import SEQUENCES, make_batch
from torch import Tensor, nn
from unpaired_batches import course, moved

from disentangle import registry
from disentangle.baselines.tcmgan import TCMGAN, soft_dice_loss
from disentangle.errors import InputError
from disentangle.losses import UNLABELLED
from disentangle.systems.base import Batch

LABELLED = {"classes": ("background", "tissue", "lesion"), "healthy": (0, 1)}
TINY = {"sequences": SEQUENCES, "width": 1 / 16, "levels": 5, "discriminator_levels": 3, **LABELLED}
FROM_T2 = {"translate_from": ["T2"], "classes": (), "tumour_values": [2]}


def tiny(**changes) -> TCMGAN:
    torch.manual_seed(0)
    return registry.create("tcmgan", **{**TINY, **changes})


def batch_of(**changes) -> Batch:
    return make_batch(**{"slices": 1, "size": 32, **changes})


def test_the_networks_have_the_published_size():
    with torch.device("meta"):
        system = TCMGAN(("T1", "T1Gd", "T2", "FLAIR"), tumour_values=[1], translate_from=["T2"])
    networks = system.generators["2"], system.critics["2"], system.tumour_networks["2"]
    sizes = [sum(p.numel() for p in net.parameters()) / 1e6 for net in networks]
    assert sizes == pytest.approx([41.82, 11.2, 6.13], abs=0.005)
    assert networks[0].encoder.convs[0].in_channels == networks[2].down[0][0].in_channels == 1 + 3
    assert networks[1].convs[0].in_channels == 2


def test_the_code_counts_the_other_sequences():
    codes = tiny().other_code(1, torch.tensor([0, 2]), torch.zeros(1))
    assert codes.tolist() == [[1, 0], [0, 1]]


def test_soft_dice_of_images_by_hand():
    logits = torch.tensor([[[100.0, 100.0, -100.0, 100.0]]])
    truth = torch.tensor([[[True, False, True, True]]])
    known = torch.tensor([[[True, True, True, False]]])
    # Known: found 2, true 2, both 1: (2 + 1) / (2 + 2 + 1).
    assert soft_dice_loss(logits, truth, known).item() == pytest.approx(1 - 3 / 5)
    nothing = torch.zeros_like(truth)
    assert soft_dice_loss(logits, truth, nothing).item() == 0


class Shifted(nn.Module):
    """Generator: the image plus ``value``."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        return image + self.value


class Linear(nn.Module):
    """Critic: ``value`` times every pixel as its patch scores, and even logits."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        return self.value * image, image.new_zeros(len(image), 2) + 0 * self.value


def test_losses_equal_their_values_by_hand():
    """fake = x + 1 inside the mask, real = x: the critic's scores are summed, its gradient is 0.5 everywhere."""
    system, batch = tiny(**FROM_T2), batch_of()
    batch.images["T1"] = batch.images["FLAIR"] = batch.images["T2"]
    system.generators["1"], system.critics["1"] = Shifted(1.0), Linear(0.5)
    pixels, inside = 32 * 32, batch.mask[0].sum().item()
    judged = system.critic_loss(batch)
    assert judged["adversarial"].item() == pytest.approx(0.5 * inside, rel=1e-4)
    assert judged["classification"].item() == pytest.approx(20 * math.log(2))
    assert judged["gradient_penalty"].item() == pytest.approx(100 * (0.5 * math.sqrt(pixels) - 1) ** 2, rel=1e-4)
    made = system.generator_loss(batch)
    expected = -(0.5 * (batch.images["T2"] + batch.mask)).flatten(1).sum(1).mean().item()
    assert made["adversarial"].item() == pytest.approx(expected, rel=1e-3)
    assert made["classification"].item() == pytest.approx(20 * math.log(2))
    assert made["paired"].item() == pytest.approx(0.1 * 0.1 * 128 * 128 * 1.0, rel=1e-4)


def test_the_tumour_network_learns_on_both_kinds_of_images():
    system, batch = tiny(**FROM_T2), batch_of()
    batch.labels[:] = 2
    for p in system.tumour_networks.parameters():
        nn.init.zeros_(p)  # every pixel has probability 1/2
    system.critic_loss(batch)
    dice = (2 * 512 + 1) / (512 + 1024 + 1)
    assert system.generator_loss(batch)["tumour"].item() == pytest.approx(1 - dice, rel=1e-4)
    terms = system.tumour_loss(batch)
    assert terms["synthetic"].item() == pytest.approx(0.7 * (1 - dice), rel=1e-4)
    assert terms["real"].item() == pytest.approx(0.3 * (1 - dice), rel=1e-4)
    batch.labels[:] = UNLABELLED
    system.critic_loss(batch)
    assert sum(system.tumour_loss(batch).values()).item() == 0
    batch.labels = None
    system.critic_loss(batch)
    assert sum(system.tumour_loss(batch).values()).item() == 0


def test_three_updates_in_the_published_order_each_change_one_network():
    changes = moved(tiny(), batch_of())
    assert list(changes) == ["critic", "generator", "tumour network", "segmentor"]
    (source,) = {name.split(".")[1] for name in changes["generator"]}
    assert changes["critic"] == {f"critics.{source}"}
    assert changes["generator"] == {f"generators.{source}"}
    assert changes["tumour network"] == {f"tumour_networks.{source}"}


def test_without_a_tumour_to_tell_there_is_no_tumour_term():
    for changes in ({"classes": (), "healthy": (0,)}, {"weights": {"tumour": 0}}):
        system = tiny(**changes)
        assert "tumour network" not in [s.name for s in system.training_steps()]
        system.critic_loss(batch_of())
        assert "tumour" not in system.generator_loss(batch_of())


def test_samples_without_the_pair_do_not_count():
    losses = []
    for value in (0.0, 7.0):
        batch = batch_of(missing={"T2": [0]})
        batch.images["T2"][0] = value
        torch.manual_seed(3)
        system = tiny(**FROM_T2)
        terms = [*system.critic_loss(batch).values(), *system.generator_loss(batch).values()]
        losses.append([t.item() for t in terms])
    assert losses[0] == losses[1]
    nobody = batch_of(missing={"T2": [0, 1, 2]})
    assert sum(t.item() for step in tiny(**FROM_T2).training_steps()[:3] for t in step.loss(nobody).values()) == 0


def test_a_resumed_training_meets_the_same_losses():
    batches = [batch_of(), batch_of(samples=2), batch_of()]
    _, whole = course(tiny(), batches)
    first, _ = course(tiny(), batches[:2])
    resumed, _ = course(tiny(), [])
    resumed.restore(first.state())
    assert course(resumed.system, batches[2:], resumed)[1] == pytest.approx(whole[2:], rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"fidelity": "paper"}, {"slices": 3, "sources_per_step": None}, FROM_T2],
)
def test_every_option_trains_translates_and_is_rebuilt_from_its_configuration(changes):
    system = tiny(**changes)
    batch = batch_of(slices=system.capabilities.slices)
    for step in system.training_steps():
        assert all(torch.isfinite(v) for v in step.loss(batch).values())
    config = json.loads(json.dumps(system.config))
    again = TCMGAN(**config)
    again.load_state_dict(system.state_dict())
    images = []
    for one in (system.eval(), again.eval()):
        anatomy = one.encode({"T2": batch.images["T2"]}, batch.mask).anatomy["T2"]
        images.append(one.decode(anatomy, "FLAIR"))
        code = torch.tensor([[0.0, 0.0, 1.0]]).expand(3, -1)
        torch.testing.assert_close(one.decode(anatomy, code), images[-1])
    torch.testing.assert_close(*images)
    assert again.config == config and again.capabilities == system.capabilities


def test_a_source_that_was_not_learned_is_named():
    system, batch = tiny(**FROM_T2), batch_of()
    with pytest.raises(InputError, match="does not translate from T1"):
        system.decode(system.encode(batch.images, batch.mask).anatomy["T1"], "FLAIR")
    with pytest.raises(InputError, match="learn all"):
        tiny(translate_from=["T2"])
    with pytest.raises(InputError, match="Unknown loss weight"):
        tiny(weights={"style": 1})
