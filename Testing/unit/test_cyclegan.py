"""CycleGAN and TD-GAN: terms, updates, and what each of them segments."""

from __future__ import annotations

import json

import pytest
import torch
from unpaired_batches import (
    CLASSES,
    a_resumed_run_goes_on_as_if_uninterrupted,
    labels_without_annotation_change_nothing,
    moved,
    unpaired_batch,
    with_labels,
)

from disentangle import registry
from disentangle.errors import InputError
from disentangle.losses import HEALTHY, UNLABELLED

TINY = {"sequences": ("CT", "T1in"), "classes": CLASSES, "width": 0.05, "blocks": 1}
NAMES = ("cyclegan", "tdgan")
SEGMENTOR = {"segmentor.encoder", "segmentor.decoder"}


def tiny(name: str, **changes):
    torch.manual_seed(0)
    return registry.create(name, **{**TINY, **changes})


def constant_score(network: torch.nn.Module, value: float) -> None:
    torch.nn.init.zeros_(network[-1].weight)
    torch.nn.init.constant_(network[-1].bias, value)


def l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_rebuilt_from_its_configuration(name):
    system = tiny(name)
    config = json.loads(json.dumps(system.config))
    again = registry.create(name, **config)
    again.load_state_dict(system.state_dict())
    assert again.config == config and again.capabilities == system.capabilities


def test_target_images_are_segmented_as_source_images_and_can_be_led_back():
    system, image = tiny("cyclegan"), torch.tanh(torch.randn(2, 1, 32, 32))
    factors = system.encode({"CT": image, "T1in": image})
    assert factors.anatomy["CT"] is image
    as_ct = system.generators["CT"](image)
    torch.testing.assert_close(factors.anatomy["T1in"], as_ct)
    torch.testing.assert_close(system.segment(system.fuse(factors.subset(["T1in"]))), system.segmentor(as_ct))
    torch.testing.assert_close(system.decode(as_ct, factors.modality["T1in"]), system.generators["T1in"](as_ct))
    torch.testing.assert_close(system.decode(image, "CT"), image)
    other = tiny("cyclegan", home="target")
    assert other.home == "T1in" and other.encode({"T1in": image}).anatomy["T1in"] is image


@pytest.mark.parametrize("identity", [0.0, 5.0])
def test_the_generators_terms_are_those_of_the_paper(identity):
    system, batch = tiny("cyclegan", weights={"identity": identity}), unpaired_batch()
    to_ct, to_mr = system.generators["CT"], system.generators["T1in"]
    x, y = batch.images["CT"][:2], batch.images["T1in"][2:]
    for discriminator in system.discriminators.values():
        constant_score(discriminator, 0.3)
    found = system.generator_loss(batch)
    assert found["adversarial"].item() == pytest.approx(2 * 0.49)
    torch.testing.assert_close(found["cycle"], 10 * (l1(to_ct(to_mr(x)), x) + l1(to_mr(to_ct(y)), y)))
    assert ("identity" in found) == bool(identity)
    if identity:
        torch.testing.assert_close(found["identity"], 5 * (l1(to_ct(x), x) + l1(to_mr(y), y)))
    judged = system.discriminator_loss(batch)
    assert {name: value.item() for name, value in judged.items()} == pytest.approx(
        {"discriminator_CT": 0.29, "discriminator_T1in": 0.29}
    )


def test_each_discriminator_sees_real_images_of_its_domain_and_translations_into_it():
    system, batch, seen = tiny("cyclegan"), unpaired_batch(), []
    system.discriminators["CT"].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    system.discriminator_loss(batch)
    x, y = batch.images["CT"][:2], batch.images["T1in"][2:]
    torch.testing.assert_close(seen, [x, system.generators["CT"](y)])


@pytest.mark.parametrize("name", NAMES)
def test_generators_discriminators_and_the_u_net_take_turns(name):
    changes = moved(tiny(name), unpaired_batch(), depth=1)
    judges = {"discriminators"} | ({"pair_discriminator"} if name == "tdgan" else set())
    assert changes == {"generator": {"generators"}, "discriminator": judges, "segmentation": {"segmentor"}}


@pytest.mark.parametrize(("home", "annotated"), [("source", ("CT",)), ("source", ("CT", "T1in")), ("target", ("CT",))])
def test_the_u_net_learns_from_annotated_images_as_they_are_segmented(home, annotated):
    system, batch = tiny("cyclegan", home=home, annotated=annotated), unpaired_batch()
    x, y, n = batch.images["CT"][:2], batch.images["T1in"][2:], 2 * len(annotated)
    images = [x, system.generators["CT"](y)] if home == "source" else [system.generators["T1in"](x)]
    logits = system.segmentor(torch.cat(images)[:n])
    expected = torch.nn.functional.cross_entropy(logits, batch.labels[:n])
    torch.testing.assert_close(system.segmentation_loss(batch)["segmentation"], expected)


def test_the_task_is_the_segmentation_of_source_images_after_the_way_there_and_back():
    system, batch = tiny("tdgan"), unpaired_batch()
    x, y = batch.images["CT"][:2], batch.images["T1in"][2:]
    constant_score(system.pair_discriminator, 0.3)
    found = system.generator_loss(batch)
    back = system.generators["CT"](system.generators["T1in"](x))
    expected = torch.nn.functional.cross_entropy(system.segmentor(back), batch.labels[:2])
    torch.testing.assert_close(found["task"], expected)
    assert found["pair_adversarial"].item() == pytest.approx(0.49)

    seen = []
    system.pair_discriminator.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    labels = batch.labels.clone()
    labels[0, 0, 0], labels[0, 0, 1] = HEALTHY, UNLABELLED
    system.discriminator_loss(with_labels(batch, labels))
    masks = torch.stack([labels[:2] == 1, labels[:2] == 2], 1).float()
    fake = system.generators["CT"](y)
    torch.testing.assert_close(seen[0], torch.cat([x, masks], 1))
    torch.testing.assert_close(seen[1], torch.cat([fake, system.segmentor(fake).softmax(1)[:, 1:]], 1))


def test_mistakes_are_named():
    with pytest.raises(InputError, match="two domains"):
        tiny("cyclegan", sequences=("CT", "T1in", "T2SPIR"))
    with pytest.raises(InputError, match="annotated source"):
        tiny("tdgan", home="target")
    with pytest.raises(InputError, match="nowhere"):
        tiny("cyclegan", home="nowhere")


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_a_domain_without_annotation_never_reach_a_loss(name):
    labels_without_annotation_change_nothing(lambda: tiny(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_meets_the_losses_that_it_would_have_met(name):
    a_resumed_run_goes_on_as_if_uninterrupted(lambda: tiny(name))
