"""MarginDis behaves as a System, and each of its losses moves what it should and nothing else."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys

import pytest
import torch
from registered_batches import SEQUENCES, make_batch

from disentangle import systems
from disentangle.errors import InputError
from disentangle.systems.base import Batch
from disentangle.systems.draws import random_subset
from disentangle.systems.margindis import WEIGHTS, MarginDis

TINY = {
    "sequences": SEQUENCES,
    "classes": ("background", "tissue", "lesion"),
    "healthy": (0, 1),
    "width": 0.1,
    "head_channels": (4, 8),
}


def tiny(**changes) -> MarginDis:
    torch.manual_seed(0)
    return systems.create("margindis", **{**TINY, **changes})


def loss_of(system: MarginDis, batch: Batch) -> dict[str, torch.Tensor]:
    random.seed(0)
    torch.manual_seed(0)
    return system.training_loss(batch)


def only(*terms: str) -> dict[str, float]:
    return {name: (WEIGHTS[name] or 1.0) if name in terms else 0.0 for name in WEIGHTS}


# -- the registry and the System interface -----------------------------------------------------------------------------


def test_unknown_systems_and_settings_are_refused_in_one_sentence():
    with pytest.raises(InputError, match="margindis"):
        systems.create("nonsense")
    with pytest.raises(InputError, match="no setting colour"):
        systems.create("margindis", sequences=["T1"], colour="red")
    with pytest.raises(InputError, match="weight"):
        tiny(weights={"colour": 1.0})
    for setting, value in (("width", 0), ("width", "wide"), ("slices", -1), ("learning_rate", 0.0)):
        with pytest.raises(InputError, match=f"setting {setting} .* above 0"):
            systems.create("margindis", sequences=["T1"], **{setting: value})


def test_fidelity_chooses_between_the_readings_and_a_setting_overrules_it():
    def batch_norms(system: MarginDis) -> int:
        return sum(isinstance(m, torch.nn.BatchNorm2d) for m in system.anatomy_encoder.modules())

    recommended, paper, reference = tiny(), tiny(fidelity="paper"), tiny(fidelity="reference")
    assert batch_norms(recommended) == 0 and recommended.weights["imputation"] == 2
    assert batch_norms(paper) > 0 and paper.weights["imputation"] == 0
    assert reference.style_encoder.log_variance is not None and paper.style_encoder.log_variance is None
    assert batch_norms(tiny(fidelity="paper", norm="instance")) == 0
    with pytest.raises(InputError, match="fidelity"):
        tiny(fidelity="exact")


def test_a_system_is_rebuilt_from_its_configuration():
    system = tiny(weights={"latent": 0.5}, decoder_hidden=(32, 32, 32, 16, 8, 8))
    config = json.loads(json.dumps(system.config))
    again = type(system)(**config)
    again.load_state_dict(system.state_dict())
    assert again.config == config and again.capabilities == system.capabilities
    images = make_batch().images
    torch.testing.assert_close(again.encode(images).modality["T2"], system.encode(images).modality["T2"])


def test_capabilities_tell_what_it_does():
    capabilities = tiny().capabilities
    assert capabilities.sequences == capabilities.targets == SEQUENCES
    assert capabilities.segments and capabilities.synthesises and not capabilities.aligns
    assert (capabilities.slices, capabilities.size_multiple, capabilities.healthy) == (3, 32, (0, 1))
    assert not tiny(classes=()).capabilities.segments


def test_any_subset_is_encoded_fused_segmented_and_decoded():
    system, batch = tiny().eval(), make_batch()
    for names in (("T1",), ("FLAIR", "T1"), SEQUENCES):
        factors = system.encode({s: batch.images[s] for s in names}, batch.mask)
        assert system.segment(system.fuse(factors)).shape == (3, 3, 64, 64)
        assert system.decode(system.synthesis_anatomy(factors), "T2").shape == (3, 3, 64, 64)


def test_without_a_mask_the_pixels_that_are_not_zero_count_as_inside():
    batch = make_batch()
    torch.testing.assert_close(tiny().encode(batch.images).mask, batch.mask)


def test_outside_the_mask_images_are_zero_and_labels_are_background():
    system, batch = tiny().eval(), make_batch()
    factors = system.encode(batch.images, batch.mask)
    outside = batch.mask == 0
    image = system.decode(factors.anatomy["T1"], factors.modality["T2"])
    assert image[outside.expand_as(image)].abs().max() == 0 and image.abs().max() > 0
    labels = system.segment(system.fuse(factors)).argmax(1, keepdim=True)
    assert (labels[outside] == 0).all() and (labels[~outside] != 0).any()


def test_anatomies_subset_and_consensus_are_consistent():
    system, batch = tiny(), make_batch()
    factors = system.encode(batch.images, batch.mask)
    torch.testing.assert_close(system.synthesis_anatomy(factors.subset(["T2"])), factors.anatomy["T2"])
    torch.testing.assert_close(system.synthesis_anatomy(factors).sum(1, keepdim=True), batch.mask)


def test_a_sequence_name_decodes_in_its_default_style_which_travels_in_the_weights():
    system, batch = tiny(), make_batch()
    styles = {s: torch.randn(16) for s in SEQUENCES}
    system.set_default_styles(styles)
    other = tiny()
    other.load_state_dict(system.state_dict())
    anatomy = other.encode(batch.images, batch.mask).anatomy["T1"]
    expected = other.decode(anatomy, styles["FLAIR"].expand(3, -1))
    torch.testing.assert_close(other.decode(anatomy, "FLAIR"), expected)
    assert (other.decode(anatomy, "T2") - expected).abs().max() > 1e-4


def test_an_unknown_sequence_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="does not know CT; it knows T1, T2, FLAIR"):
        tiny().default_style("CT")


def test_folding_for_inference_changes_no_result():
    system, batch = tiny().eval(), make_batch()
    before = system.encode(batch.images, batch.mask)
    after = system.fold().encode(batch.images, batch.mask)
    for s in SEQUENCES:
        torch.testing.assert_close(after.anatomy[s], before.anatomy[s], atol=1e-5, rtol=1e-4)


def test_several_styles_of_one_anatomy_equal_one_at_a_time():
    system, batch = tiny().eval(), make_batch()
    factors = system.encode(batch.images, batch.mask)
    styles = [factors.modality["T2"], "FLAIR"]
    together = system.decode_styles(factors.anatomy["T1"], styles)
    for image, style in zip(together, styles, strict=True):
        torch.testing.assert_close(image, system.decode(factors.anatomy["T1"], style))


# -- training ----------------------------------------------------------------------------------------------------------


def test_one_step_updates_every_parameter_with_the_published_optimiser():
    system = tiny()
    (step,) = system.training_steps()
    assert step.name == "generator" and step.clip_norm == 1.0
    assert step.optimizer == {"lr": 2e-4, "weight_decay": 1e-5, "amsgrad": True}
    sum(step.loss(make_batch()).values()).backward()
    assert {id(p) for p in step.parameters} == {id(p) for p in system.parameters()}
    assert all(p.grad is not None for p in step.parameters)


def test_terms_carry_the_published_weights():
    plain = loss_of(tiny(weights=dict.fromkeys(WEIGHTS, 1.0)), make_batch())
    weighted = loss_of(tiny(weights={"kl": 1.0}), make_batch())
    published = {"self": 1, "cross": 2, "latent": 0.1, "anatomy_margin": 10, "style_margin": 2}
    for name, weight in published.items():
        assert weighted[name].item() == pytest.approx(weight * plain[name].item(), rel=1e-5)


E_A, E_M, D, HEAD, C = "anatomy_encoder", "style_encoder", "decoder", "head", "classifier"


@pytest.mark.parametrize(
    ("term", "moves", "config"),
    [
        ("self", {E_A, E_M, D}, {}),
        ("cross", {E_A, E_M, D}, {}),
        ("latent", {E_A, E_M, D}, {"weights": only("latent", "self")}),
        ("anatomy_margin", {E_A}, {}),
        ("style_margin", {E_M}, {}),
        ("imputation", {E_A, D}, {}),
        ("segmentation", {E_A, HEAD}, {}),
        ("segmentation", {HEAD}, {"detach_anatomy": True}),
        ("kl", {E_M}, {"variational": True}),
        ("adversarial", {E_A, C}, {}),
    ],
)
def test_each_loss_moves_what_it_should_and_nothing_else(term, moves, config):
    system = tiny(**{"weights": only(term), **config})
    loss_of(system, make_batch())[term].backward()
    touched = {name.split(".")[0] for name, p in system.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == moves


# -- the comparisons of the paper, as configurations (method-spec 1e) --------------------------------------------------


def elements(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_variants_have_the_published_sizes():
    with torch.device("meta"):
        shared, separate, mixed = (
            systems.create("margindis", sequences=SEQUENCES, conditioning=kind)
            for kind in ("shared", "separate", "condconv")
        )
        adversarial = systems.create("margindis", sequences=SEQUENCES, weights={"adversarial": 0.1})
    assert elements(shared.anatomy_encoder) == pytest.approx(3.11e6, rel=2e-3)
    assert elements(shared.style_encoder) == pytest.approx(0.368e6, rel=2e-3)
    assert elements(separate.anatomy_encoder) == 3 * elements(shared.anatomy_encoder)
    assert elements(mixed.anatomy_encoder) == pytest.approx(9.32e6, rel=2e-3)
    # Convolutions 16, 32, 64, 128, 64 of 4x4, four batch norms, 1920 -> 256 -> 3.
    convolutions = 16 * (4 * 16 + 16 * 32 + 32 * 64 + 64 * 128 + 128 * 64) + 304 + 2 * 288
    assert elements(adversarial.classifier) == convolutions + 1920 * 256 + 256 + 256 * 3 + 3
    with pytest.raises(InputError, match="conditioning"):
        tiny(conditioning="none")


def test_separate_encoders_learn_from_their_own_sequence_only():
    system, batch = tiny(conditioning="separate", weights=only("self")), make_batch(missing={"FLAIR": [0, 1, 2]})
    loss_of(system, batch)["self"].backward()
    for encoder in (system.anatomy_encoder, system.style_encoder):
        moved = [any(p.grad is not None and p.grad.any() for p in n.parameters()) for n in encoder.networks]
        assert moved == [True, True, False]
    again = systems.create("margindis", **json.loads(json.dumps(system.config)))
    again.load_state_dict(system.state_dict())
    assert again.fold().encode({"T2": batch.images["T2"]}, batch.mask).anatomy["T2"].shape == (3, 4, 64, 64)


def test_shared_encoders_are_not_told_the_sequence():
    system, batch = tiny(conditioning="shared").eval(), make_batch()
    factors = system.encode({"T1": batch.images["T1"], "T2": batch.images["T1"]}, batch.mask)
    assert torch.equal(factors.anatomy["T1"], factors.anatomy["T2"])


def test_the_classifier_has_a_step_of_its_own():
    system = tiny(weights={"adversarial": 0.1})
    generator, discriminator = system.training_steps()
    own = {id(p) for p in system.classifier.parameters()}
    assert {id(p) for p in discriminator.parameters} == own
    assert {id(p) for p in generator.parameters} == {id(p) for p in system.parameters()} - own
    assert discriminator.optimizer == {"lr": 2e-4}
    sum(discriminator.loss(make_batch(missing={"T2": [0]})).values()).backward()
    touched = {n.split(".")[0] for n, p in system.named_parameters() if p.grad is not None}
    assert touched == {C}


def test_the_classifier_and_the_encoders_pull_in_opposite_directions():
    system, batch = tiny(weights=only("adversarial")), make_batch()
    generator, discriminator = system.training_steps()
    adam = torch.optim.Adam(discriminator.parameters, lr=3e-3)
    for _ in range(20):
        loss = discriminator.loss(batch)["classification"]
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert system.diagnostics["classifier_accuracy"] == 1.0 and loss < 0.5 * math.log(3)
    before = generator.loss(batch)["adversarial"].item()
    assert before > 1.2 * math.log(3)  # log m is what an unsure classifier gives
    adam = torch.optim.Adam(generator.parameters, lr=3e-3)
    for _ in range(20):
        loss = generator.loss(batch)["adversarial"]
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < before


def test_the_classifier_sees_no_sequence_that_is_missing():
    missing = {"T2": [0], "FLAIR": [0, 1]}
    clean, dirty = make_batch(missing=missing), make_batch(missing=missing)
    for sequence, samples in missing.items():
        dirty.images[sequence][samples] = 7.0
    values = [tiny(weights={"adversarial": 1.0}).classifier_loss(b)["classification"] for b in (clean, dirty)]
    torch.testing.assert_close(*values)


def test_what_stands_in_place_of_a_missing_sequence_does_not_matter():
    missing = {"T2": [0], "FLAIR": [0, 1]}
    clean, dirty = make_batch(missing=missing), make_batch(missing=missing)
    for sequence, samples in missing.items():
        dirty.images[sequence][samples] = 7.0
    first, second = tiny(), tiny()
    expected, found = loss_of(first, clean), loss_of(second, dirty)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    torch.testing.assert_close(first.default_styles, second.default_styles)


def test_a_sequence_that_no_sample_has_is_as_good_as_absent():
    batch, without = make_batch(missing={"FLAIR": [0, 1, 2]}), make_batch()
    del without.images["FLAIR"], without.available["FLAIR"]
    expected, found = loss_of(tiny(), without), loss_of(tiny(), batch)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_one_sequence_alone_still_trains():
    batch = make_batch(missing={"FLAIR": [0, 1, 2], "T2": [0, 1, 2]})
    terms = loss_of(tiny(), batch)
    assert "cross" not in terms and terms["self"] > 0 and terms["segmentation"] > 0
    assert terms["anatomy_margin"] == 0 and terms["style_margin"] == 0
    assert all(torch.isfinite(value) for value in terms.values())


def test_unlabelled_batches_train_without_the_segmentation():
    batch = make_batch()
    batch.labels = None
    assert "segmentation" not in loss_of(tiny(), batch)
    assert "segmentation" not in loss_of(tiny(classes=()), make_batch())


@pytest.mark.parametrize(
    ("config", "anatomies", "images", "encoded_again"),
    [
        ({}, 3, 9, 9),
        ({"cross_pairs": 2}, 3, 5, 5),
        ({"cross_pairs": 2, "latent_pairs": 1}, 3, 5, 1),
        ({"sources": 1}, 1, 3, 3),
    ],
)
def test_cost_options_limit_what_is_computed(config, anatomies, images, encoded_again):
    system = tiny(weights=only("self", "cross", "latent"), **config)
    calls = {"modulations": 0, "render": 0, "style": 0, "anatomy": 0}

    def count(owner, method: str, key: str) -> None:
        original = getattr(owner, method)

        def counted(*args):
            calls[key] += 1
            return original(*args)

        setattr(owner, method, counted)

    count(system.decoder, "modulations", "modulations")
    count(system.decoder, "render", "render")
    count(system.style_encoder, "forward", "style")
    count(system.anatomy_encoder, "forward", "anatomy")
    loss_of(system, make_batch())
    assert calls == {"modulations": anatomies, "render": images, "style": 3 + encoded_again, "anatomy": 3}


def test_random_subsets_are_not_empty_and_hold_only_what_is_available():
    torch.manual_seed(0)
    available = torch.tensor([[True, True, False], [True, False, True], [True, False, False]])
    drawn = torch.stack([random_subset(available) for _ in range(300)])
    assert not (drawn & ~available).any()
    assert drawn.any(1).all()
    assert {tuple(d[:, 0].tolist()) for d in drawn} == {
        (a, b, c) for a in (False, True) for b in (False, True) for c in (False, True) if a or b or c
    }


def test_the_fraction_of_active_hinges_is_there_to_be_logged():
    system = tiny()
    loss_of(system, make_batch())
    assert set(system.diagnostics) == {"active_anatomy_hinges", "active_style_hinges"}
    assert all(0 <= v <= 1 and not v.requires_grad for v in system.diagnostics.values())


def test_default_styles_follow_the_styles_seen_in_training_only():
    system, batch = tiny(), make_batch()
    loss_of(system.eval(), batch)
    assert not system.default_styles.any()
    expected = system.encode(batch.images, batch.mask).modality["T2"].mean(0)
    loss_of(system.train(), batch)
    torch.testing.assert_close(system.default_style("T2"), expected)


def test_training_on_one_batch_lowers_the_reconstruction_below_half():
    """Two sequences that show the same blocks in opposite contrast: the method has all it needs."""
    torch.manual_seed(0)
    blocks = torch.randint(0, 2, (2, 1, 4, 4)).float().repeat_interleave(8, -1).repeat_interleave(8, -2)
    image = (2 * blocks - 1).expand(-1, 3, -1, -1)
    yes = torch.ones(2, dtype=torch.bool)
    batch = Batch({"T1": image, "T2": -image}, {"T1": yes, "T2": yes}, torch.ones(2, 1, 32, 32), None, torch.arange(2))
    system = MarginDis(["T1", "T2"], width=0.125, learning_rate=3e-3, weights=only("self", "cross"), style_shift=True)
    (step,) = system.training_steps()
    adam = torch.optim.Adam(step.parameters, **step.optimizer)
    course = []
    for _ in range(20):
        terms = step.loss(batch)
        adam.zero_grad()
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(step.parameters, step.clip_norm)
        adam.step()
        course.append(sum(terms.values()).item())
    assert sum(course[-3:]) / 3 < 0.5 * course[0]


def test_the_registry_imports_a_system_only_when_it_is_asked_for():
    code = "import sys, disentangle.systems; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("fusion", ["max", "attention"])
def test_anatomies_fused_in_other_ways_are_segmented_and_learnt_from(fusion):
    system, batch = tiny(fusion=fusion), make_batch()
    sum(system.training_loss(batch).values()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in system.fusion.parameters())
    system.eval()
    factors = system.encode(batch.images, batch.mask)
    labels = system.segment(system.fuse(factors)).argmax(1)
    assert (labels[batch.mask[:, 0] == 0] == 0).all()


# -- growing -----------------------------------------------------------------------------------------------------------


def made_by(system: MarginDis) -> list[torch.Tensor]:
    """Labels, images and modality factors of a batch with one sequence missing."""
    batch = make_batch()
    images = {s: x for s, x in batch.images.items() if s != "FLAIR"}
    factors = system.eval().encode(images, batch.mask)
    fused = system.segment(system.fuse(factors))
    return [
        fused,
        *system.decode_styles(system.synthesis_anatomy(factors), list(SEQUENCES)),
        *factors.modality.values(),
    ]


LARGER = [
    {"anatomy_channels": 8},
    {"anatomy_channels": 12},
    {"conditioning": "separate"},
    {"conditioning": "separate", "anatomy_channels": 8},
    {"fusion": "attention", "anatomy_channels": 8},
]


@pytest.mark.parametrize("larger", LARGER, ids=lambda c: " ".join(map(str, c.values())))
def test_a_larger_system_begins_by_making_what_the_smaller_one_makes(larger):
    small = tiny(**{k: v for k, v in larger.items() if k == "fusion"})
    small.default_styles.normal_()
    large = tiny(**larger)
    large.adopt(small)
    for ours, theirs in zip(made_by(large), made_by(small), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_channels_that_one_became_are_taught_apart():
    large = tiny(anatomy_channels=8)
    large.adopt(tiny())
    sum(loss_of(large, make_batch()).values()).backward()
    gradient = large.anatomy_encoder.out.weight.grad
    first, second = gradient[:, ::2], gradient[:, 1::2]
    assert (first - second).norm() > 0.1 * (first + second).norm()


@pytest.mark.parametrize("other", [{"anatomy_channels": 6}, {"width": 0.5}, {"hard": True, "anatomy_channels": 8}])
def test_other_differences_are_another_architecture(other):
    with pytest.raises(RuntimeError):
        tiny(**other).adopt(tiny())
    with pytest.raises(RuntimeError):  # nor does anything shrink
        tiny().adopt(tiny(anatomy_channels=8))
