"""MUNIT, and DADR and translation that build on it: terms, updates, and a U-Net that changes nothing else."""

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

NETWORKS = {"width": 0.05, "scales": 1, "layers": 2, "style_dim": 4}
TINY = {
    "munit": {"sequences": ("CT", "T1in"), **NETWORKS},
    "dadr": {"sequences": ("CT", "T1in"), "classes": CLASSES, **NETWORKS},
    "translation": {
        "sequences": ("CT", "T1in"),
        "classes": CLASSES,
        "width": 0.05,
        "munit": {k: v for k, v in NETWORKS.items() if k != "width"},
    },
}
SEGMENTOR = {"segmentor.encoder", "segmentor.decoder"}


def tiny(name: str, **changes):
    torch.manual_seed(0)
    return registry.create(name, **{**TINY[name], **changes})


def constant_score(system, value: float) -> None:
    for discriminator in system.discriminators.values():
        for scale in discriminator.scales:
            torch.nn.init.zeros_(scale[-1].weight)
            torch.nn.init.constant_(scale[-1].bias, value)


def test_munit_of_two_domains_has_46_5_million_parameters():
    with torch.device("meta"):
        system = registry.create("munit", sequences=["CT", "MR"])
    assert sum(p.numel() for p in system.parameters()) / 1e6 == pytest.approx(46.5, abs=0.05)


def test_content_only_images_are_drawn_by_one_generator_where_that_is_asked_for():
    system, image = tiny("dadr", agnostic_by="source").eval(), torch.randn(2, 1, 32, 32)
    anatomy = system.encode({"T1in": image}).anatomy["T1in"]
    by_source = system.autoencoders["CT"].decoder(anatomy, torch.zeros(2, 4))
    for sequence in ("CT", "T1in"):
        torch.testing.assert_close(system.agnostic_image(anatomy, sequence), by_source)
    own = tiny("dadr").eval().agnostic_image(anatomy, "T1in")
    assert not torch.allclose(own, by_source)


@pytest.mark.parametrize("name", TINY)
def test_it_is_rebuilt_from_its_configuration(name):
    system = tiny(name)
    config = json.loads(json.dumps(system.config))
    again = registry.create(name, **config)
    again.load_state_dict(system.state_dict())
    assert again.config == config and again.capabilities == system.capabilities
    image = {"T1in": unpaired_batch().images["T1in"]}
    torch.testing.assert_close(again.encode(image).anatomy, system.encode(image).anatomy)


# -- MUNIT -------------------------------------------------------------------------------------------------------------


def test_the_generators_terms_are_those_of_the_paper():
    system, batch = tiny("munit", weights={"cycle": 10.0}), unpaired_batch()
    constant_score(system, 0.3)
    ct, mr = (system.autoencoders[d] for d in ("CT", "T1in"))
    x, y = batch.images["CT"][:2], batch.images["T1in"][2:]
    torch.manual_seed(4)
    found = system.generator_loss(batch)
    torch.manual_seed(4)
    z_ct, z_mr = torch.randn(2, 4), torch.randn(2, 4)
    to_mr, to_ct = mr.decoder(ct.content(x), z_mr), ct.decoder(mr.content(y), z_ct)

    def l1(a, b):
        return (a - b).abs().mean()

    image = l1(ct.decoder(ct.content(x), ct.style(x)), x) + l1(mr.decoder(mr.content(y), mr.style(y)), y)
    content = l1(mr.content(to_mr), ct.content(x)) + l1(ct.content(to_ct), mr.content(y))
    cycle = l1(ct.decoder(mr.content(to_mr), ct.style(x)), x) + l1(mr.decoder(ct.content(to_ct), mr.style(y)), y)
    torch.testing.assert_close(found["image"], 10 * image)
    torch.testing.assert_close(found["content"], content)
    torch.testing.assert_close(found["style"], l1(mr.style(to_mr), z_mr) + l1(ct.style(to_ct), z_ct))
    torch.testing.assert_close(found["cycle"], 10 * cycle)
    assert found["adversarial"].item() == pytest.approx(2 * 0.49)
    assert system.discriminator_loss(batch)["discriminator"].item() == pytest.approx(2 * (0.49 + 0.09))
    assert "cycle" not in tiny("munit").generator_loss(batch)


def test_discriminators_and_generators_take_turns():
    assert moved(tiny("munit"), unpaired_batch(), depth=1) == {
        "discriminator": {"discriminators"},
        "generator": {"autoencoders"},
    }
    step = tiny("munit").training_steps()[0]
    assert step.optimizer == {"lr": 1e-4, "betas": (0.5, 0.999), "weight_decay": 1e-4}


def test_munit_does_not_segment_and_dadr_must():
    with pytest.raises(InputError, match="does not segment"):
        tiny("munit", classes=CLASSES)
    with pytest.raises(InputError, match="classes"):
        tiny("dadr", classes=())
    system = tiny("munit")
    assert not system.capabilities.segments
    with pytest.raises(InputError, match="does not segment"):
        system.segment(torch.zeros(1, 1, 32, 32))


def test_munit_needs_no_labels():
    assert tiny("munit").generator_loss(with_labels(unpaired_batch(), None))["image"] > 0


# -- DADR --------------------------------------------------------------------------------------------------------------


def test_the_u_net_of_dadr_learns_from_content_only_images_and_changes_nothing_else():
    system, batch = tiny("dadr"), unpaired_batch()
    image = system.fuse(system.encode({"CT": batch.images["CT"][:2]}))
    expected = torch.nn.functional.cross_entropy(system.segment(image), batch.labels[:2])
    torch.testing.assert_close(system.segmentation_loss(batch)["segmentation"], expected)
    changes = moved(system, batch)
    assert list(changes) == ["discriminator", "generator", "segmentation"]
    assert changes["segmentation"] == SEGMENTOR
    assert not changes["generator"] & SEGMENTOR


# -- translation -------------------------------------------------------------------------------------------------------


def test_the_u_net_works_on_the_target_and_source_images_are_translated_to_it():
    system, image = tiny("translation"), torch.tanh(torch.randn(2, 1, 32, 32))
    assert (system.source, system.home) == ("CT", "T1in")
    factors = system.encode({"CT": image, "T1in": image})
    assert factors.anatomy["T1in"] is image
    nets = system.translator.autoencoders
    expected = nets["T1in"].decoder(nets["CT"].content(image), torch.zeros(2, 4))
    torch.testing.assert_close(factors.anatomy["CT"], expected)
    back = system.decode(factors.anatomy["CT"], "CT")
    torch.testing.assert_close(back, nets["CT"].decoder(nets["T1in"].content(expected), torch.zeros(2, 4)))
    assert system.segment(system.fuse(factors)).shape == (2, 3, 32, 32)


def test_it_learns_from_translations_in_drawn_styles_with_the_masks_of_the_source():
    system, batch = tiny("translation"), unpaired_batch()
    x, nets = batch.images["CT"][:2], system.translator.autoencoders
    torch.manual_seed(2)
    found = system.segmentation_loss(batch)["segmentation"]
    torch.manual_seed(2)
    image = nets["T1in"].decoder(nets["CT"].content(x), torch.randn(2, 4))
    expected = torch.nn.functional.cross_entropy(system.segmentor(image), batch.labels[:2])
    torch.testing.assert_close(found, expected)
    both = tiny("translation", annotated=("CT", "T1in"))
    torch.manual_seed(2)
    image = torch.cat([image, batch.images["T1in"][2:]])
    expected = torch.nn.functional.cross_entropy(both.segmentor(image), batch.labels)
    torch.testing.assert_close(both.segmentation_loss(batch)["segmentation"], expected)
    assert moved(system, batch)["segmentation"] == SEGMENTOR


# -- common to those that segment --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dadr", "translation"])
def test_labels_of_a_domain_without_annotation_never_reach_a_loss(name):
    labels_without_annotation_change_nothing(lambda: tiny(name))


@pytest.mark.parametrize("name", TINY)
def test_a_resumed_run_meets_the_losses_that_it_would_have_met(name):
    a_resumed_run_goes_on_as_if_uninterrupted(lambda: tiny(name))
