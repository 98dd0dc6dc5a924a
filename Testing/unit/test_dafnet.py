"""DAFNet has the published networks and losses, and each of its updates moves what it should and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from pair_batches import CLASSES, SIZE, moved, pair_batch, terms_of

from disentangle import losses, systems
from disentangle.errors import InputError
from disentangle.learning.config import load_config
from disentangle.losses import HEALTHY, UNLABELLED
from disentangle.systems.base import Factors
from disentangle.systems.dafnet import DAFNet
from disentangle.systems.modes import MODES, predict, transfer
from disentangle.systems.views import View, draw, select, total

TINY = {"sequences": ("cine", "LGE"), "classes": CLASSES, "size": (SIZE, SIZE), "width": 0.0625}
PUBLISHED = {"sequences": ("cine", "LGE"), "classes": ("background", "a", "b", "c", "d")}


def tiny(**changes) -> DAFNet:
    torch.manual_seed(0)
    system = systems.create("dafnet", **{**TINY, **changes})
    if system.transformer is not None:  # a transformer that moves
        torch.nn.init.normal_(system.transformer.offsets.weight, std=0.02)
    return system


def only(*terms: str) -> dict[str, float]:
    return {name: 1.0 if name in terms else 0.0 for name in DAFNet.WEIGHTS}


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


# -- published sizes ---------------------------------------------------------------------------------------------------


def test_generators_and_discriminators_have_the_published_number_of_parameters():
    with torch.device("meta"):
        system, spade = DAFNet(**PUBLISHED), DAFNet(**PUBLISHED, decoder="spade")
    adversaries = system.adversaries
    assert millions(system.anatomy_decoders) + millions(system.encoders[0]) == pytest.approx(34.53, abs=0.005)
    assert millions(system.segmentor) == pytest.approx(0.042, abs=0.0005)
    assert millions(system) - millions(adversaries) == pytest.approx(43.25, abs=0.005)
    assert millions(adversaries.masks) == pytest.approx(2.94, abs=0.005)
    assert millions(system) == pytest.approx(52.07, abs=0.005)
    assert millions(spade.decoder) == pytest.approx(4.286, abs=0.0005)


# -- the registry and the System interface -----------------------------------------------------------------------------


def test_a_system_is_rebuilt_from_its_configuration():
    system = tiny(decoder="film", weights={"kl": 0.2}, pair_weighting=True).eval()
    again = DAFNet(**json.loads(json.dumps(system.config))).eval()
    again.load_state_dict(system.state_dict())
    images = pair_batch().images
    assert again.config == system.config and again.capabilities == system.capabilities
    torch.testing.assert_close(predict(again, images, "LGE"), predict(system, images, "LGE"))


def test_capabilities_tell_what_it_does():
    one, other = tiny().capabilities, tiny(decoder="spade", size=(64, 64), classes=()).capabilities
    assert one.sequences == one.targets == ("cine", "LGE") and one.aligns and not one.needs_registered_input
    assert (one.slices, one.size_multiple, one.anatomy_channels, one.style_dim) == (1, 16, 8, 8)
    assert other.size_multiple == 32 and not other.segments and other.synthesises


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequences": ("cine", "cine")}, "each once"),
        ({"weights": {"triplet": 1}}, "Unknown loss weight triplet"),
        ({"decoder": "adain"}, 'decoder "adain"'),
        ({"fidelity": "code"}, 'fidelity "code"'),
        ({"size": (50, 50)}, "multiples of 16"),
        ({"size": (32, 32)}, "at least 46 pixels"),
        ({"binarise": "hard"}, 'binarisation "hard"'),
        ({"norm": "layer"}, 'normalisation "layer"'),
        ({"output": "relu"}, 'output "relu"'),
    ],
)
def test_settings_that_make_no_system_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        tiny(**change).encode(pair_batch().images)


def test_fidelity_chooses_between_the_readings_and_a_setting_overrules_it():
    assert (tiny().binarise, tiny().regression_anatomy) == ("argmax", "same")
    paper = tiny(fidelity="paper", binarise="gumbel")
    assert (paper.binarise, paper.regression_anatomy) == ("gumbel", "encoded")
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in paper.encoders.modules())
    assert tiny(fidelity="reference").binarise == "round"


@pytest.mark.parametrize("decoder", ["film", "spade"])
@pytest.mark.parametrize("size", [(64, 64), (96, 64)])
def test_any_subset_of_sequences_and_any_size_is_used_in_every_mode(decoder, size):
    system = tiny(decoder=decoder, size=(64, 64), sequences=("cine", "LGE", "T2")).eval()
    images = {s: torch.rand(1, 1, *size) for s in ("T2", "cine", "LGE")}
    with torch.no_grad():
        for mode in MODES:
            found = predict(system, images, "LGE", mode)
            assert found.shape == (1, 3, *size)
            torch.testing.assert_close(found.sum(1), torch.ones(1, *size))
        assert predict(system, {"T2": images["T2"]}, "T2").shape == (1, 3, *size)
        assert transfer(system, images, "cine", "LGE").shape == (1, 1, *size)
    with pytest.raises(InputError, match='Unknown mode "max"'):
        predict(system, images, "LGE", "max")
    with pytest.raises(InputError, match="another sequence"):
        predict(system, {"LGE": images["LGE"]}, "LGE", "deformed")


def test_alignment_moves_every_anatomy_but_that_of_the_reference():
    system, images = tiny().eval(), pair_batch().images
    factors = system.encode(images)
    on_lge = system.align(factors, "LGE")
    assert torch.equal(on_lge.anatomy["LGE"], factors.anatomy["LGE"])
    expected = system.transformer(factors.anatomy["cine"], factors.anatomy["LGE"])
    torch.testing.assert_close(on_lge.anatomy["cine"], expected)
    assert not torch.equal(expected, factors.anatomy["cine"])
    fixed = tiny(spatial_transformer=False)
    assert torch.equal(fixed.align(factors, "LGE").anatomy["cine"], factors.anatomy["cine"])


def test_fusion_is_the_maximum_whatever_the_order_and_an_absent_sequence_takes_no_part():
    system = tiny(sequences=("cine", "LGE", "T2"))
    a, b = (F.one_hot(torch.randint(0, 8, (1, 6, 6)), 8).movedim(-1, 1).float() for _ in range(2))
    forward = system.fuse(Factors({"cine": a, "LGE": b}, {}))
    assert torch.equal(forward, system.fuse(Factors({"LGE": b, "cine": a}, {})))
    assert torch.equal(forward, torch.maximum(a, b))
    three = {"cine": a, "LGE": b, "T2": torch.ones_like(a)}
    both = Factors(three, {s: torch.zeros(1, 8) for s in three}).subset(["LGE", "cine"])
    assert torch.equal(system.fuse(both), forward)


def test_a_name_decodes_in_its_default_style():
    system, images = tiny().eval(), pair_batch().images
    system.set_default_styles({"LGE": torch.full((8,), 0.7)})
    anatomy = system.encode(images).anatomy["cine"]
    expected = system.decode(anatomy, torch.full((2, 8), 0.7))
    torch.testing.assert_close(system.decode(anatomy, "LGE"), expected)
    torch.testing.assert_close(transfer(system, {"cine": images["cine"]}, "cine", "LGE"), expected)
    with pytest.raises(InputError, match="does not know CT"):
        system.decode(anatomy, "CT")


@pytest.mark.parametrize("decoder", ["film", "spade"])
def test_several_styles_of_one_anatomy_equal_one_at_a_time(decoder):
    system = tiny(decoder=decoder, size=(64, 64)).eval()
    anatomy, styles = torch.rand(1, 8, 64, 64), [torch.randn(1, 8), "LGE", torch.randn(1, 8)]
    for image, style in zip(system.decode_styles(anatomy, styles), styles, strict=True):
        torch.testing.assert_close(image, system.decode(anatomy, style))


def test_one_candidate_fuses_as_the_partner_and_the_weights_mix_the_fusions_of_several():
    system, batch = tiny(pair_weighting=True).eval(), pair_batch(candidates=3)
    images = batch.images
    one = system.segment_candidates(images, "LGE", {"cine": images["cine"][:, None]})
    torch.testing.assert_close(one, predict(system, images, "LGE"))
    three = system.segment_candidates(images, "LGE", {"cine": batch.candidates["cine"]})
    _, weight, _ = system.deformed(
        system._anatomies(batch.candidates["cine"], "cine"), system.anatomy(images["LGE"], "LGE")
    )
    each = [
        predict(system, {**images, "cine": batch.candidates["cine"][:, n]}, "LGE") * weight[:, n, None, None, None]
        for n in range(3)
    ]
    torch.testing.assert_close(three, sum(each))


# -- losses against hand-computed values -------------------------------------------------------------------------------


def test_joint_dice_counts_all_foreground_classes_of_a_sample_together():
    labels = torch.tensor([[[0, 1], [2, 2]], [[0, 0], [0, 1]]])
    p = torch.tensor([0.5, 0.25, 0.25])
    logits = p.log()[None, :, None, None].expand(2, 3, 2, 2)
    # First sample: overlap 3 pixels x 1/4, sizes 4 x 1/2 and 3; second: overlap 1/4, sizes 2 and 1.
    assert losses.joint_dice(logits, labels).tolist() == pytest.approx([1 - 2 * 0.75 / 5, 1 - 2 * 0.25 / 3])


def test_pixels_of_unknown_label_do_not_count_in_the_dice_and_healthy_ones_only_for_lesions():
    labels = torch.tensor([[[UNLABELLED, 1], [HEALTHY, 2]]])
    logits = torch.zeros(1, 3, 2, 2)
    # Class 1 is healthy: known on two pixels; class 2 on three.
    assert losses.joint_dice(logits, labels, healthy=(0, 1)).item() == pytest.approx(1 - 2 * (2 / 3) / (5 / 3 + 2))
    empty = torch.full((1, 2, 2), UNLABELLED)
    assert losses.joint_dice(logits, empty).item() == pytest.approx(0)
    assert losses.annotated(torch.cat([labels, empty])).tolist() == [True, False]


def test_cross_entropy_weighs_a_class_by_the_inverse_of_its_share():
    labels = torch.tensor([[[0, 0], [0, 1]]])
    p = torch.tensor([0.8, 0.2])
    value = losses.balanced_cross_entropy(p.log()[None, :, None, None].expand(1, 2, 2, 2), labels).item()
    assert value == pytest.approx(-(3 * 4 / 3 * math.log(0.8) + 4 * math.log(0.2)) / 4, rel=1e-5)
    # A class of one pixel in a thousand weighs as one of ten.
    rare = torch.zeros(1, 1, 1000, dtype=torch.long)
    rare[..., 0] = 1
    value = losses.balanced_cross_entropy(torch.zeros(1, 2, 1, 1000), rare).item()
    assert value == pytest.approx((999 * 1000 / 999 + 100) * math.log(2) / 1000, rel=1e-4)


def test_classes_of_more_pixels_than_half_precision_can_count_weigh_as_in_full_precision():
    labels = torch.zeros(2, 200, 200, dtype=torch.long)
    labels[:, 80:100, 80:101] = 1
    full, half, double = (
        losses.balanced_cross_entropy(torch.zeros(2, 3, 200, 200, dtype=kind), labels)
        for kind in (torch.float, torch.half, torch.double)
    )
    torch.testing.assert_close(half.float(), full, rtol=1e-3, atol=0)
    assert full.dtype is torch.float and double.dtype is torch.double


def test_views_of_one_branch_are_averaged_and_branches_added():
    def view(target, branch, *share):
        return View(target, branch, torch.zeros(2, 1, 1, 1), torch.tensor(share))

    views = [view("a", "own", 1.0, 1.0), view("a", "deformed", 0.25, 0.0), view("a", "deformed", 0.75, 0.0)]
    values = [torch.tensor([1.0, 3.0]), torch.tensor([4.0, 99.0]), torch.tensor([8.0, 99.0])]
    assert total(views, values).item() == pytest.approx(2 + 7)
    assert total([view("a", "own", 0.0, 0.0)], values[:1]).item() == 0


def test_fakes_are_drawn_from_the_views_that_a_sample_has():
    views = [View("a", "own", torch.zeros(3, 1, 1, 1), torch.tensor(s)) for s in ([1.0, 0, 0], [1.0, 1.0, 0])]
    drawn = torch.stack([draw(views) for _ in range(40)])
    assert set(drawn[:, 0].tolist()) == {0, 1} and set(drawn[:, 1].tolist()) == {1} and set(drawn[:, 2].tolist()) == {0}
    assert select([torch.tensor([1, 2]), torch.tensor([3, 4])], torch.tensor([1, 0])).tolist() == [3, 2]


def test_terms_are_what_the_published_objective_says():
    """Recomputed from the networks, weight by weight, for two sequences."""
    system, batch = tiny(), pair_batch(unannotated={"LGE": [1]})
    generator, discriminators = system.training_steps()
    terms = terms_of(generator, batch)
    s = {n: system.anatomy(x, n) for n, x in batch.images.items()}
    posterior = {n: system.style_encoder(s[n], x) for n, x in batch.images.items()}
    kl = sum(losses.kl_standard_normal(*p).mean() for p in posterior.values())
    assert terms["kl"].item() == pytest.approx(0.1 * kl.item(), rel=1e-4)

    on = {"cine": [s["cine"], system.move(s["LGE"], s["cine"])], "LGE": [s["LGE"], system.move(s["cine"], s["LGE"])]}
    segmentation = adversarial = 0.0
    for name, anatomies in on.items():
        labels = batch.labels_of(name)
        for anatomy in anatomies:
            logits = system.segment(anatomy)
            value = losses.joint_dice(logits, labels) + 0.01 * losses.balanced_cross_entropy(logits, labels)
            segmentation += value.mean() if name == "cine" else value[0]
            adversarial += (system.adversaries.masks(logits.softmax(1)[:, 1:]) - 1).square().mean()
    assert terms["segmentation"].item() == pytest.approx(10 * segmentation.item(), rel=1e-4)
    assert terms["mask_adversarial"].item() == pytest.approx(adversarial.item(), rel=0.05)  # one power iteration on

    torch.manual_seed(0)
    style = {n: m + torch.randn_like(m) * (0.5 * v).exp() for n, (m, v) in posterior.items()}
    reconstruction = sum((system.decode(a, style[n]) - batch.images[n]).abs().mean() for n in on for a in on[n])
    assert terms["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-4)
    assert set(terms) == set(DAFNet.WEIGHTS) - {"displacement"}  # which is not published
    assert set(terms_of(discriminators, batch)) == {"mask_discriminator", "image_discriminators"}


def test_styles_drawn_from_the_prior_are_compared_with_what_is_found_again():
    for regression_anatomy in ("same", "encoded"):
        system = tiny(weights=only("style_regression"), regression_anatomy=regression_anatomy)
        batch = pair_batch()
        found = terms_of(system.training_steps()[0], batch)["style_regression"]
        torch.manual_seed(0)
        torch.randn(2, 8), torch.randn(2, 8)  # the posteriors' draws
        expected = 0.0
        for name, image in batch.images.items():
            s, z = system.anatomy(image, name), torch.randn(2, 8)
            made = system.decode(s, z)
            seen = s if regression_anatomy == "same" else system.anatomy(made, name)
            expected += (z - system.style_encoder(seen, made)[0]).abs().mean()
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_discriminators_see_all_annotated_masks_as_real_and_one_draw_of_each_sequence_as_fake():
    system, batch = tiny(), pair_batch(unannotated={"LGE": [0, 1]})
    judges = system.adversaries.eval()
    torch.manual_seed(0)
    masks, images = system._fakes(batch)
    found = terms_of(system.training_steps()[1], batch)
    real = F.one_hot(batch.labels_of("cine"), 3).movedim(-1, 1)[:, 1:].float()
    fake = torch.stack([judges.masks(masks[n]).square() for n in ("cine", "LGE")]).mean()
    expected = (judges.masks(real) - 1).square().mean() + fake
    assert found["mask_discriminator"].item() == pytest.approx(expected.item(), rel=1e-4)
    expected = sum(
        (judges.of_images(n)(batch.images[n]) - 1).square().mean() + judges.of_images(n)(images[n]).square().mean()
        for n in images
    )
    assert found["image_discriminators"].item() == pytest.approx(expected.item(), rel=1e-4)


# -- who learns what ---------------------------------------------------------------------------------------------------

U = {"encoders", "anatomy_decoders"}
E_M, G, H, STN = {"style_encoder"}, {"decoder"}, {"segmentor"}, {"transformer"}


@pytest.mark.parametrize(
    ("term", "moves"),
    [
        ("kl", U | E_M),
        ("segmentation", U | H | STN),
        ("mask_adversarial", U | H | STN),
        ("reconstruction", U | E_M | G | STN),
        ("image_adversarial", U | E_M | G | STN),
        ("style_regression", U | E_M | G),
    ],
)
def test_each_term_moves_what_it_should_and_nothing_else(term, moves):
    system = tiny(weights=only(term))
    assert moved(system, system.training_steps()[0], pair_batch(), term) == moves


def test_the_discriminators_update_leaves_the_generator_alone_and_the_other_way_round():
    system, batch = tiny(), pair_batch()
    generator, discriminators = system.training_steps()
    assert moved(system, discriminators, batch) == {"adversaries"}
    assert moved(system, generator, batch) == U | E_M | G | H | STN
    assert not {id(p) for p in generator.parameters} & {id(p) for p in discriminators.parameters}
    count = len(generator.parameters) + len(discriminators.parameters)
    assert count == len(list(system.parameters()))
    assert generator.optimizer == {"lr": 1e-4} and generator.clip_norm is None


def test_each_image_discriminator_learns_from_its_sequence():
    system = tiny()
    touched = moved(system, system.training_steps()[1], pair_batch(missing={"LGE": [0, 1]}), depth=3)
    assert {t for t in touched if "images" in t} == {"adversaries.images.0"}


def test_without_target_labels_the_source_labels_still_teach_the_target_encoder():
    system, batch = tiny(weights=only("segmentation")), pair_batch(unannotated={"LGE": [0, 1]})
    touched = moved(system, system.training_steps()[0], batch, "segmentation", depth=2)
    assert {"encoders.0", "encoders.1"} < touched
    system = tiny(weights=only("segmentation"))
    none = pair_batch(unannotated={"LGE": [0, 1], "cine": [0, 1]})
    terms = terms_of(system.training_steps()[0], none)
    assert terms["segmentation"].item() == 0


def test_half_annotated_batches_mix_both_objectives():
    half, full = pair_batch(unannotated={"LGE": [1]}), pair_batch()
    weights = only("segmentation", "reconstruction")
    one, two = (terms_of(tiny(weights=weights).training_steps()[0], b) for b in (half, full))
    assert one["reconstruction"].item() == pytest.approx(two["reconstruction"].item(), rel=1e-6)
    assert one["segmentation"].item() != pytest.approx(two["segmentation"].item(), rel=1e-3)


def test_what_stands_in_place_of_a_missing_sequence_does_not_matter():
    missing = {"LGE": [1]}
    clean, dirty = pair_batch(missing=missing), pair_batch(missing=missing)
    dirty.images["LGE"][1] = 0.9
    one, two = tiny(), tiny()
    for step, again in zip(one.training_steps(), two.training_steps(), strict=True):
        expected, found = terms_of(step, clean), terms_of(again, dirty)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=name)


def test_three_sequences_train_with_all_pairs():
    system = tiny(sequences=("cine", "LGE", "T2"))
    batch = pair_batch(sequences=("cine", "LGE", "T2"), unannotated={"T2": [0, 1]})
    views = system.views(batch)
    assert [(v.target, v.branch) for v in views[:3]] == [("cine", "own"), ("cine", "deformed"), ("cine", "deformed")]
    assert len(views) == 9
    generator, discriminators = system.training_steps()
    assert {"encoders.0", "encoders.1", "encoders.2"} <= moved(system, generator, batch, "segmentation", depth=2)
    assert all(torch.isfinite(x) for x in terms_of(discriminators, batch).values())


def test_pair_weights_are_learnt_from_the_weighted_losses_and_only_the_first_candidate_is_judged():
    system, batch = tiny(pair_weighting=True), pair_batch(candidates=3)
    views = [v for v in system.views(batch) if v.branch == "deformed" and v.target == "LGE"]
    assert len(views) == 3 and [v.judged for v in views] == [True, False, False]
    torch.testing.assert_close(sum(v.share for v in views), torch.ones(2))
    generator, _ = system.training_steps()
    assert "pairing" in moved(system, generator, batch, "segmentation")
    assert "pairing" in moved(system, generator, batch, "reconstruction")
    assert "pairing" not in moved(system, generator, batch, "mask_adversarial")
    assert 1 / 3 <= system.diagnostics["largest_pair_weight"] <= 1


def test_ablations_need_no_discriminator():
    system = tiny(weights={"mask_adversarial": 0, "image_adversarial": 0})
    assert [s.name for s in system.training_steps()] == ["generator"]
    assert set(terms_of(system.training_steps()[0], pair_batch())) == {
        "kl",
        "segmentation",
        "reconstruction",
        "style_regression",
    }
    unsupervised = tiny(classes=())
    assert "mask_adversarial" not in terms_of(unsupervised.training_steps()[0], pair_batch())


@pytest.mark.parametrize("norm", ["batch", "batch_per_sequence"])
def test_batch_statistics_are_shared_or_kept_per_sequence(norm):
    system = tiny(norm=norm)
    terms_of(system.training_steps()[0], pair_batch())
    norms = system.anatomy_decoders[0].bottleneck.norms[0].norms
    assert len(norms) == (2 if norm == "batch_per_sequence" else 1)
    if norm == "batch_per_sequence":
        assert not torch.equal(norms[0].running_mean, norms[1].running_mean)


def test_training_on_one_batch_without_target_labels_learns_to_segment_and_to_reconstruct():
    system = tiny(learning_rate=5e-3, weights={"image_adversarial": 0, "mask_adversarial": 0})
    batch = pair_batch(unannotated={"LGE": [0, 1]})
    (step,) = system.training_steps()
    adam = torch.optim.Adam(step.parameters, **step.optimizer)
    course = []
    for n in range(25):
        terms = terms_of(step, batch, seed=n)
        adam.zero_grad()
        sum(terms.values()).backward()
        adam.step()
        course.append({k: v.item() for k, v in terms.items()})
    assert course[-1]["segmentation"] < 0.7 * course[0]["segmentation"]
    assert course[-1]["reconstruction"] < 0.8 * course[0]["reconstruction"]


def test_the_slim_variant_has_the_published_size_and_a_fiftieth_of_the_weights():
    configs = Path(__file__).resolve().parents[2] / "training" / "configs"
    settings = dict(load_config(configs / "dafnet-heart-slim.yaml", [])["system"])
    with torch.device("meta"):
        slim = systems.create(settings.pop("name"), **settings)
        published = systems.create("dafnet", **{**settings, "width": 1.0})
    assert slim.capabilities.size == (192, 192)
    assert millions(published) / millions(slim) == pytest.approx(54, abs=1)
