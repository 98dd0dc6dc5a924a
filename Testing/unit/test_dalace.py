"""DALACE: every update changes what the paper says, and labels of a domain without annotation never matter."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from unpaired_batches import (
    CLASSES,
    a_resumed_run_goes_on_as_if_uninterrupted,
    course,
    labels_without_annotation_change_nothing,
    moved,
    touched,
    unpaired_batch,
    with_labels,
)

from disentangle import registry, systems
from disentangle.errors import InputError
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Wanted
from disentangle.learning.config import load_config
from disentangle.losses import HEALTHY, UNLABELLED
from disentangle.progress import Progress
from disentangle.systems.base import Batch
from disentangle.systems.dalace import Dalace

TINY = {"sequences": ("CT", "T1in"), "classes": CLASSES, "width": 0.05, "scales": 1, "layers": 2, "style_dim": 4}
PHASES = {"CT": ["CT"], "MR": ["T1in", "T1out", "T2SPIR"]}
MIXED = {"sequences": ("CT", "T1in", "T1out", "T2SPIR"), "domains": PHASES}
UPDATES = [
    "reconstruction",
    "domain_discriminator",
    "domain_adversarial",
    "segmentation",
    "pair_discriminator",
    "pair_adversarial",
]


def tiny(**changes) -> Dalace:
    torch.manual_seed(0)
    return systems.create("dalace", **{**TINY, **changes})


def constant_score(network: torch.nn.Module, value: float) -> None:
    """Make a patch discriminator answer the same everywhere."""
    torch.nn.init.zeros_(network[-1].weight)
    torch.nn.init.constant_(network[-1].bias, value)


# -- the System interface ----------------------------------------------------------------------------------------------


def test_the_published_networks_have_46_5_million_parameters_and_a_64_by_64_by_256_anatomy():
    with torch.device("meta"):
        system = Dalace(["CT", "MR"], ["background", "liver"])
        factors = system.encode({"CT": torch.randn(1, 1, 256, 256)})
        assert factors.anatomy["CT"].shape == (1, 256, 64, 64)
        assert system.fuse(factors).shape == (1, 1, 256, 256)
        assert system.segment(system.fuse(factors)).shape == (1, 2, 256, 256)
    count = sum(p.numel() for part in (system.autoencoders, system.discriminators) for p in part.parameters())
    assert count / 1e6 == pytest.approx(46.5, abs=0.05)
    assert system.pair_discriminator[0].in_channels == 2


def test_it_is_rebuilt_from_its_configuration():
    system = tiny(weights={"dice": 1.0}, fidelity="paper", **MIXED)
    config = json.loads(json.dumps(system.config))
    again = type(system)(**config)
    again.load_state_dict(system.state_dict())
    assert again.config == config and again.capabilities == system.capabilities
    image = {"T1out": unpaired_batch().images["CT"]}
    torch.testing.assert_close(again.eval().encode(image).anatomy, system.eval().encode(image).anatomy)


def test_capabilities_tell_what_it_does():
    capabilities = tiny(**MIXED).capabilities
    assert capabilities.sequences == capabilities.targets == MIXED["sequences"]
    assert capabilities.segments and not capabilities.aligns and not capabilities.needs_registered_input
    assert capabilities.slices == 1 and capabilities.size_multiple == 16
    assert capabilities.style_dim == 4 + 2  # a code and its domain


def test_any_subset_is_encoded_fused_segmented_and_decoded():
    system, image = tiny(**MIXED).eval(), torch.randn(3, 1, 48, 32)
    for names in (["CT"], ["T2SPIR", "CT"], list(MIXED["sequences"])):
        factors = system.encode(dict.fromkeys(names, image))
        assert system.segment(system.fuse(factors)).shape == (3, 3, 48, 32)
        assert system.decode(system.synthesis_anatomy(factors), "T1out").shape == (3, 1, 48, 32)
    torch.testing.assert_close(system.fuse(factors), system.fuse(factors.subset(reversed(names))))


def test_what_is_segmented_is_the_anatomy_decoded_without_style_by_its_own_domain():
    system, image = tiny().eval(), torch.randn(2, 1, 32, 32)
    own = system.autoencoders["T1in"]
    factors = system.encode({"T1in": image})
    expected = own.decoder(own.content(image), torch.zeros(2, 4))
    torch.testing.assert_close(system.fuse(factors), expected)
    torch.testing.assert_close(system.segment(expected), system.segmentor(expected))
    shared = tiny(agnostic_by="source").eval()
    factors = shared.encode({"T1in": image})
    torch.testing.assert_close(
        shared.fuse(factors), shared.autoencoders["CT"].decoder(factors.anatomy["T1in"], torch.zeros(2, 4))
    )


def test_modality_transfer_takes_the_generator_of_the_domain_that_the_style_is_from():
    system = tiny().eval()
    image, reference = torch.randn(2, 1, 32, 32), torch.randn(2, 1, 32, 32)
    factors = system.encode({"CT": image, "T1in": reference})
    ct, mr = system.autoencoders["CT"], system.autoencoders["T1in"]
    expected = mr.decoder(ct.content(image), mr.style(reference))
    torch.testing.assert_close(system.decode(factors.anatomy["CT"], factors.modality["T1in"]), expected)
    rebuilt = ct.decoder(ct.content(image), ct.style(image))
    mixed = torch.stack([factors.modality["T1in"][0], factors.modality["CT"][1]])
    found = system.decode(factors.anatomy["CT"], mixed)
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], rebuilt[1], atol=1e-5, rtol=1e-4)


def test_volumes_go_through_the_engine_with_anatomies_on_the_pixels_of_the_images():
    system = tiny().eval()
    mask, volume = np.ones((3, 20, 36), bool), np.random.default_rng(0).normal(size=(3, 20, 36)).astype(np.float32)
    wanted = Wanted(targets=("T1in",), factors=True, cross=True)
    found = Engine(EagerNetwork(system), 2, print).run({"CT": volume, "T1in": volume}, mask, wanted, Progress())
    channels = system.capabilities.anatomy_channels
    assert found.probabilities.shape == (3, 3, 20, 36)
    assert found.anatomy["CT"].shape == (channels, 3, 20, 36)
    assert found.modality["T1in"][-2:].tolist() == [0, 1]
    assert len(found.rebuilt) == 4 and found.synthesized["T1in"].shape == mask.shape


def test_a_style_traversal_changes_the_image_and_default_styles_travel_in_the_weights():
    system, image = tiny(), torch.randn(1, 1, 32, 32)
    factors = system.encode({"CT": image})
    z = factors.modality["CT"]
    walked = [system.decode(factors.anatomy["CT"], z + step * torch.eye(6)[:1]) for step in (-3.0, 0.0, 3.0)]
    assert (walked[0] - walked[2]).abs().mean() > 1e-3
    torch.testing.assert_close(system.decode(factors.anatomy["CT"], z), walked[1])

    system.set_default_styles({"T1in": torch.tensor([1.0, -2.0, 0.5, 0.0, 0.0, 1.0])})
    other = tiny()
    other.load_state_dict(system.state_dict())
    expected = other.autoencoders["T1in"].decoder(factors.anatomy["CT"], torch.tensor([[1.0, -2.0, 0.5, 0.0]]))
    torch.testing.assert_close(other.decode(factors.anatomy["CT"], "T1in"), expected)


# -- losses ------------------------------------------------------------------------------------------------------------


def test_reconstruction_has_the_published_terms_and_weights():
    system, batch = tiny(), unpaired_batch()
    ct, mr = (system.autoencoders[d] for d in ("CT", "T1in"))
    x, y = batch.images["CT"][:2], batch.images["T1in"][2:]
    image = (ct.decoder(ct.content(x), ct.style(x)) - x).abs().mean()
    image = image + (mr.decoder(mr.content(y), mr.style(y)) - y).abs().mean()
    to_mr, to_ct = mr.decoder(ct.content(x), mr.style(y)), ct.decoder(mr.content(y), ct.style(x))
    latent = (mr.content(to_mr) - ct.content(x)).abs().mean() + (mr.style(to_mr) - mr.style(y)).abs().mean()
    latent = latent + (ct.content(to_ct) - mr.content(y)).abs().mean() + (ct.style(to_ct) - ct.style(x)).abs().mean()
    found = system.reconstruction_loss(batch)
    torch.testing.assert_close(found["image"], 2.5 * image)
    torch.testing.assert_close(found["latent"], 0.01 * latent)


@pytest.mark.parametrize(("kind", "judged", "passing"), [("lsgan", 0.49 + 0.09, 0.49), ("bce", None, None)])
def test_adversarial_terms_of_constant_scores_are_those_computed_by_hand(kind, judged, passing):
    if kind == "bce":  # -log D(real) - log(1 - D(fake)) and the non-saturating -log D(fake), D = sigmoid(0.3)
        probability = torch.sigmoid(torch.tensor(0.3))
        judged, passing = float(-probability.log() - (1 - probability).log()), float(-probability.log())
    system, batch = tiny(adversarial=kind, scales=2), unpaired_batch()
    for discriminator in system.discriminators.values():
        for scale in discriminator.scales:
            constant_score(scale, 0.3)
    constant_score(system.pair_discriminator, 0.3)
    # Two domains and two scales; the pair discriminator has one scale and one domain that is not the source.
    assert system.domain_discriminator_loss(batch)["domain_discriminator"].item() == pytest.approx(4 * judged)
    assert system.domain_adversarial_loss(batch)["domain_adversarial"].item() == pytest.approx(4 * passing)
    assert system.pair_discriminator_loss(batch)["pair_discriminator"].item() == pytest.approx(judged)
    assert system.pair_adversarial_loss(batch)["pair_adversarial"].item() == pytest.approx(passing)


def test_cross_entropy_is_that_of_the_source_and_healthy_voxels_ask_for_background():
    system, batch = tiny(), unpaired_batch()
    image = system.fuse(system.encode({"CT": batch.images["CT"][:2]}))
    logits, labels = system.segment(image), batch.labels[:2]
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(system.segmentation_loss(batch)["segmentation"], expected)
    changed = batch.labels.clone()
    changed[changed == 0] = HEALTHY
    changed[0, :8] = UNLABELLED
    rest = labels.clone()
    rest[0, :8] = -100
    expected = torch.nn.functional.cross_entropy(logits, rest)
    torch.testing.assert_close(system.segmentation_loss(with_labels(batch, changed))["segmentation"], expected)
    assert set(tiny(weights={"dice": 0.5}).segmentation_loss(batch)) == {"segmentation", "dice"}


def test_the_pair_discriminator_sees_the_image_beside_its_soft_foreground_masks():
    system, batch, seen = tiny(), unpaired_batch(), []
    system.pair_discriminator.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    system.pair_discriminator_loss(batch)
    for pair, sequence, rows in ((seen[0], "CT", slice(0, 2)), (seen[1], "T1in", slice(2, 4))):
        image = system.fuse(system.encode({sequence: batch.images[sequence][rows]}))
        torch.testing.assert_close(pair, torch.cat([image, system.segment(image).softmax(1)[:, 1:]], 1))


# -- what moves --------------------------------------------------------------------------------------------------------

CT, MR = "autoencoders.CT", "autoencoders.T1in"
SEGMENTOR = {"segmentor.encoder", "segmentor.decoder"}


def test_updates_come_in_the_papers_order_and_change_only_their_own_part():
    changes = moved(tiny(), unpaired_batch())
    assert list(changes) == UPDATES
    pair = changes.pop("pair_discriminator")
    assert {name.split(".")[0] for name in pair} == {"pair_discriminator"}
    assert list(changes.values()) == [
        {CT, MR},
        {"discriminators.CT", "discriminators.T1in"},
        {CT, MR},
        {CT, *SEGMENTOR},
        {MR},
    ]


JOINT = ["generator", "segmentor", "domain_discriminator", "pair_discriminator"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"agnostic_by": "source"}, {"empty": "identity"}, {"empty": "mean"}, {"ce_updates": "segmentor"}],
)
def test_joint_updates_have_the_terms_of_the_single_ones_and_send_each_to_the_same_networks(changes):
    changes = {"weights": {"cycle": 2.0}, **changes}
    single, system, batch = tiny(**changes), tiny(updates="joint", **changes), unpaired_batch()
    terms = {}
    for loss in ("reconstruction", "domain_adversarial", "segmentation", "pair_adversarial"):
        terms |= getattr(single, f"{loss}_loss")(batch)
    joint = system.generator_loss(batch)
    assert set(terms) - set(joint) == ({"segmentation"} if system.ce_updates == "segmentor" else set())
    for name, value in joint.items():
        torch.testing.assert_close(value, terms[name])
    joint["pair_adversarial"].backward(retain_graph=True)
    made = {name for name in touched(system) if not name.startswith("pair_discriminator")}
    assert made == ({MR, CT} if system.agnostic_by == "source" else {MR})
    if system.ce_updates == "all":
        system.zero_grad()
        joint["segmentation"].backward()
        assert touched(system) == {CT}
    system.zero_grad()
    own = system.segmentor_loss(batch)["segmentation"]
    torch.testing.assert_close(own, terms["segmentation"])
    own.backward()
    assert touched(system) == SEGMENTOR


def test_joint_updates_learn_from_the_images_that_were_just_made():
    system, batch = tiny(updates="joint"), unpaired_batch()
    assert [step.name for step in system.training_steps()] == JOINT
    losses = (system.segmentor_loss, system.domain_discriminator_loss, system.pair_discriminator_loss)
    expected = [next(iter(loss(batch).values())) for loss in losses]
    system.generator_loss(batch)
    for parameter in system.autoencoders.parameters():
        torch.nn.init.zeros_(parameter)
    for loss, value in zip(losses, expected, strict=True):
        torch.testing.assert_close(next(iter(loss(batch).values())), value)
    # Another batch is not that one.
    assert not torch.equal(next(iter(system.segmentor_loss(unpaired_batch(seed=2)).values())), expected[0])


def test_images_swapped_may_be_segmented_too_with_the_labels_that_they_had():
    system, batch = tiny(updates="joint", segment_swapped=True, agnostic_by="source"), unpaired_batch()
    real = system.images(batch)
    anatomy = system.contents(real)
    again = system.contents({"T1in": system.swapped(anatomy, system.codes(real))["CT", "T1in"]})["T1in"]
    images = torch.cat([system.agnostic(a, "CT") for a in (anatomy["CT"], again)])
    expected = torch.nn.functional.cross_entropy(system.segment(images), batch.labels[:2].repeat(2, 1, 1))
    torch.testing.assert_close(system.generator_loss(batch)["segmentation"], expected)
    torch.testing.assert_close(system.segmentor_loss(batch)["segmentation"], expected)
    with pytest.raises(InputError, match="updates=joint"):
        tiny(segment_swapped=True)


def test_every_joint_update_changes_its_own_part():
    changes = moved(tiny(updates="joint"), unpaired_batch())
    assert list(changes) == JOINT
    assert {name.split(".")[0] for name in changes.pop("pair_discriminator")} == {"pair_discriminator"}
    assert list(changes.values()) == [{CT, MR}, SEGMENTOR, {"discriminators.CT", "discriminators.T1in"}]


def test_rates_of_joint_updates_are_those_that_were_set():
    rates = {"learning_rate": 1e-3, "segmentor_rate": 2e-3, "discriminator_rate": 3e-3, "pair_learning_rate": 4e-3}
    steps = tiny(updates="joint", **rates).training_steps()
    assert [step.optimizer["lr"] for step in steps] == [1e-3, 2e-3, 3e-3, 4e-3]
    assert [step.optimizer["lr"] for step in tiny(updates="joint").training_steps()] == [1e-3, 1e-3, 1e-3, 1e-4]


def test_the_mean_code_follows_the_codes_seen_and_stands_for_the_missing_style():
    system, batch = tiny(empty="mean", agnostic_by="source"), unpaired_batch()
    system.reconstruction_loss(batch)
    codes = system.codes(system.images(batch))
    torch.testing.assert_close(system.mean_codes, torch.stack([codes[d].mean(0) for d in system.domains]))
    factors = system.encode({"T1in": batch.images["T1in"]})
    code = codes["CT"].mean(0).expand(len(batch.labels), -1)
    torch.testing.assert_close(system.fuse(factors), system.autoencoders["CT"].decoder(factors.anatomy["T1in"], code))
    before = system.mean_codes
    system.follow_codes({d: torch.zeros_like(c) for d, c in codes.items()})
    torch.testing.assert_close(system.mean_codes, 0.9 * before)


def test_the_cycle_goes_there_and_back_in_the_own_style():
    system, batch = tiny(weights={"cycle": 2.0}), unpaired_batch()
    real = system.images(batch)
    anatomy, codes = system.contents(real), system.codes(real)
    expected = 0.0
    for i, j in (("CT", "T1in"), ("T1in", "CT")):
        there = system.autoencoders[j].decoder(anatomy[i], codes[j])
        back = system.autoencoders[i].decoder(system.autoencoders[j].content(there), codes[i])
        expected += 2 * (back - real[i]).abs().mean()
    torch.testing.assert_close(system.reconstruction_loss(batch)["cycle"], expected)


def test_anatomy_updates_leave_the_modality_encoders_alone():
    changes = moved(tiny(), unpaired_batch(), depth=3)
    assert changes["segmentation"] == {f"{CT}.content", f"{CT}.decoder"} | {
        name for name in changes["segmentation"] if name.startswith("segmentor")
    }
    assert changes["pair_adversarial"] == {f"{MR}.content", f"{MR}.decoder"}
    assert changes["domain_adversarial"] >= {f"{MR}.style", f"{CT}.style"}


def test_each_update_collects_gradients_only_where_the_loop_lets_it():
    system, batch = tiny(), unpaired_batch()
    system.domain_discriminator_loss(batch)["domain_discriminator"].backward()
    system.pair_discriminator_loss(batch)["pair_discriminator"].backward()
    assert {name.split(".")[0] for name in touched(system)} == {"discriminators", "pair_discriminator"}


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"weights": {"domain_adversarial": 0}}, {"domain_discriminator", "domain_adversarial"}),
        ({"weights": {"pair_adversarial": 0}}, {"pair_discriminator", "pair_adversarial"}),
    ],
)
def test_ablations_leave_their_updates_out(changes, absent):
    assert [s.name for s in tiny(**changes).training_steps()] == [name for name in UPDATES if name not in absent]


def test_the_papers_equation_moves_the_segmentor_alone():
    system = tiny(fidelity="paper")
    assert (system.adversarial, system.betas) == ("bce", (0.9, 0.999))
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in system.autoencoders["CT"].content.modules())
    assert moved(system, unpaired_batch())["segmentation"] == SEGMENTOR


def test_images_without_masks_have_a_discriminator_of_their_own_where_it_is_asked_for():
    system, batch = tiny(weights={"agnostic_adversarial": 0.5}), unpaired_batch()
    constant_score(system.agnostic_discriminator, 0.3)
    assert system.pair_discriminator_loss(batch)["agnostic_discriminator"].item() == pytest.approx(0.58)
    assert system.pair_adversarial_loss(batch)["agnostic_adversarial"].item() == pytest.approx(0.5 * 0.49)
    names = {name.split(".")[0] for name in moved(system, batch)["pair_discriminator"]}
    assert names == {"pair_discriminator", "agnostic_discriminator"}


# -- domains and labels ------------------------------------------------------------------------------------------------


def test_labels_of_a_domain_without_annotation_never_reach_a_loss():
    labels_without_annotation_change_nothing(lambda: tiny(weights={"dice": 1.0}))


def test_joint_learning_uses_the_labels_of_both():
    batch = unpaired_batch()
    system = tiny(annotated=("CT", "T1in"))
    parts = [system.segment(system.fuse(system.encode({s: batch.images[s][r]}))) for s, r in _rows(batch).items()]
    expected = torch.nn.functional.cross_entropy(torch.cat(parts), batch.labels)
    torch.testing.assert_close(system.segmentation_loss(batch)["segmentation"], expected)
    assert moved(system, batch)["segmentation"] == {CT, MR, *SEGMENTOR}


def test_phases_of_one_domain_share_its_networks_and_are_not_told_apart():
    system = tiny(**MIXED)
    assert list(system.autoencoders) == ["CT", "MR"]
    batch = unpaired_batch(MIXED["sequences"], per_domain=1)
    images = system.images(batch)
    assert len(images["CT"]) == 1 and len(images["MR"]) == 3
    torch.testing.assert_close(images["MR"][1], batch.images["T1out"][2])
    assert list(moved(system, batch)) == UPDATES


def test_three_domains_are_swapped_with_each_other():
    system = tiny(sequences=("CT", "T1in", "T2SPIR"))
    batch = unpaired_batch(("CT", "T1in", "T2SPIR"), per_domain=1)
    assert len(system.pairs()) == 6 and system.others == ("T1in", "T2SPIR")
    assert moved(system, batch)["pair_adversarial"] == {MR, "autoencoders.T2SPIR"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"domains": {"CT": ["CT"]}}, "exactly one domain"),
        ({"domains": {"all": ["CT", "T1in"]}}, "two domains"),
        ({"annotated": ["T1in"]}, "source domain CT"),
        ({"annotated": ["CT", "PET"]}, "PET"),
        ({"weights": {"kl": 1.0}}, "kl"),
        ({"ce_updates": "G"}, "segmentor"),
        ({"fidelity": "code"}, "paper"),
        ({"agnostic_by": "nobody"}, "source"),
        ({"classes": ()}, "classes"),
    ],
)
def test_mistakes_are_named(changes, says):
    with pytest.raises(InputError, match=says):
        tiny(**changes)


def test_a_batch_that_lacks_a_domain_or_the_labels_of_the_source_is_refused():
    batch = unpaired_batch(("CT",))
    with pytest.raises(InputError, match="T1in"):
        tiny().reconstruction_loss(batch)
    with pytest.raises(InputError, match="CT has no labels"):
        tiny().segmentation_loss(with_labels(unpaired_batch(), None))


@pytest.mark.parametrize("name", ["dalace", "tdgan", "dadr", "unet"])
def test_the_shipped_configurations_build_and_train(name, repository):
    (path,) = (repository / "training" / "configs").glob(f"{name}-abdomen*-64.yaml")
    config = load_config(path)
    settings = dict(config["system"])
    system = registry.create(settings.pop("name"), **settings)
    assert config["sampling"]["domains"] == settings.get("domains", {"CT": ["CT"], "MR": ["T1in"]})
    assert config["sampling"]["annotated"] == ["CT"] and len(system.capabilities.classes) == 5
    batch = unpaired_batch(("CT", "T1in"), 1, 64)
    batch.labels[1:] = UNLABELLED
    names = {name for step in system.training_steps() for name in step.loss(batch)}
    assert set(config["training"]["ramps"]) <= names


# -- training ----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_meets_the_losses_that_it_would_have_met():
    a_resumed_run_goes_on_as_if_uninterrupted(tiny)


def test_training_on_one_batch_learns_to_rebuild_and_to_segment():
    system = tiny(width=0.1, weights={"latent": 0, "domain_adversarial": 0, "pair_adversarial": 0})
    batch = unpaired_batch(per_domain=1)
    _, totals = course(system, [batch] * 25)
    assert totals[-1] < 0.6 * totals[0]
    assert (
        system.reconstruction_loss(batch)["image"] < 0.6 * tiny(width=0.1).reconstruction_loss(batch)["image"]
    ).all()


def _rows(batch: Batch) -> dict[str, torch.Tensor]:
    return dict(batch.available)
