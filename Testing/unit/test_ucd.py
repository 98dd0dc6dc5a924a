"""UCD translates any sequence into any other, and each of its terms is what the paper says."""

from __future__ import annotations

import io
import json
import math

import pytest
import torch
from registered_batches import SEQUENCES, make_batch
from torch import Tensor, nn
from unpaired_batches import course, moved, touched

from disentangle import registry, systems
from disentangle.errors import InputError
from disentangle.systems.base import Batch, Factors
from disentangle.systems.draws import Translation, draw_translations, random_one
from disentangle.systems.ucd import UCD, WEIGHTS

TINY = {"sequences": SEQUENCES, "width": 1 / 16, "discriminator_levels": 4}
LABELLED = {"classes": ("background", "tissue", "lesion"), "healthy": (0, 1)}


def tiny(**changes) -> UCD:
    torch.manual_seed(0)
    return systems.create("ucd", **{**TINY, **changes})


def batch_of(**changes) -> Batch:
    return make_batch(**{"slices": 1, **changes})


# -- which sequence becomes which --------------------------------------------------------------------------------------


def test_sources_are_balanced_and_targets_are_whatever_a_sample_has():
    torch.manual_seed(0)
    batch = batch_of(samples=6, size=16)
    seen = set()
    for _ in range(30):
        drawn = draw_translations(batch, SEQUENCES)
        assert torch.bincount(drawn.source, minlength=3).tolist() == [2, 2, 2]
        seen |= set(zip(drawn.source.tolist(), drawn.target.tolist(), strict=True))
        for row, (s, t) in enumerate(zip(drawn.source, drawn.target, strict=True)):
            assert torch.equal(drawn.x[row], batch.images[SEQUENCES[s]][row])
            assert torch.equal(drawn.y[row], batch.images[SEQUENCES[t]][row])
    assert len(seen) == 9, "own sequence included"
    drawn = draw_translations(batch, SEQUENCES, count=3)
    assert sorted(drawn.source.view(3, 6).sum(0).tolist()) == [3] * 6, "every sequence of a sample once"


def test_nothing_is_drawn_that_a_sample_lacks():
    torch.manual_seed(0)
    batch = batch_of(samples=4, size=16, missing={"T2": [0, 1], "FLAIR": [1]})
    for _ in range(20):
        drawn = draw_translations(batch, SEQUENCES)
        for index in (drawn.source, drawn.target):
            assert all(batch.available[SEQUENCES[n]][row] for row, n in enumerate(index))
        other = draw_translations(batch, SEQUENCES, own=False)
        assert (other.source != other.target).tolist() == [True, False, True, True]
    kept = random_one(torch.tensor([[True, False], [True, True]]))
    assert kept.sum(0).tolist() == [1, 1] and bool(kept[1, 1])


def test_batches_without_anything_to_translate_are_refused():
    batch = batch_of(samples=2, size=16, missing={s: [1] for s in SEQUENCES})
    with pytest.raises(InputError, match="none of the sequences"):
        draw_translations(batch, SEQUENCES)
    with pytest.raises(InputError, match="none of the sequences"):
        draw_translations(batch, ("PD", "CT"))


# -- losses by hand ----------------------------------------------------------------------------------------------------


class Doubling(nn.Module):
    """Enc doubles an image, Dec adds 1 for the first sequence, 2 for the second, 3 for the third."""

    size_multiple, packed_channels = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.gain * image, image[..., ::2, ::2]]

    def decode(self, maps: list[Tensor], code: Tensor) -> Tensor:
        return maps[0] + (code @ torch.tensor([1.0, 2.0, 3.0]))[:, None, None, None]


class FixedJudge(nn.Module):
    """Scores every patch with the mean of the image, and takes it for the second sequence with logit 1."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, image: Tensor, source: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean = image.mean((1, 2, 3), keepdim=True) + self.bias
        return mean.expand(-1, 1, 2, 2), torch.tensor([[0.0, 1.0, 0.0]]).expand(len(image), -1) + self.bias


@pytest.fixture
def worked(monkeypatch):
    """A system of :class:`Doubling` and :class:`FixedJudge` on x = 1 (T1) whose translation to T2 is y = 3.5.

    Inside the mask, half of the image: Enc(x) = (2, 1), fake = 2 + 2 = 4, Enc(fake) = (8, 4), back = 8 + 1 = 9.
    """

    def build(**changes) -> UCD:
        system = tiny(**{"l1_scale": 10.0, **changes})
        system.translator, system.discriminator = Doubling(), FixedJudge()
        mask = torch.zeros(1, 1, 4, 4)
        mask[..., :2, :] = 1
        one = torch.ones(1, dtype=torch.long)
        drawn = Translation(0 * one, one, mask * 1.0, mask * 3.5, mask)
        monkeypatch.setattr("disentangle.systems.ucd.draw_translations", lambda *_: drawn)
        return system

    return build


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: round(value.item(), 5) for name, value in terms.items()}


CE = math.log(2 + math.e) - 1
"""Cross-entropy of the second class with logits (0, 1, 0)."""


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_the_generators_terms_equal_their_values_by_hand(worked):
    found = values(worked().generator_loss(batch_of()))
    # Over all pixels, half of which are 0: |8 - 2| / 2 = 3 and |4 - 1| / 2 = 1.5 for the translation;
    # |7 - 2| / 2 = 2.5 and |3.5 - 1| / 2 = 1.25 for the true target.
    expected = {"paired": 10 * 0.5, "cycle": 10 * 8.0, "adversarial": 0.5 * softplus(-2), "classification": CE}
    expected["disentanglement"] = ((3 + 1.5) / 2 + (2.5 + 1.25) / 2) / 2
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("on", "value"), [("fake", 2.25), ("real", 1.875), ("both", 2.0625)])
def test_the_encodings_that_must_agree_can_be_chosen(worked, on, value):
    assert values(worked(disen_on=on).generator_loss(batch_of()))["disentanglement"] == pytest.approx(value)


def test_normalised_features_gain_nothing_by_shrinking(worked):
    system = worked(normalize_disen=True)
    one, other = [torch.randn(2, 3, 4, 4)], [torch.randn(2, 3, 4, 4)]
    small = system.feature_distance([0.01 * one[0]], [0.01 * other[0]])
    torch.testing.assert_close(small, system.feature_distance(one, other), rtol=1e-3, atol=0)


def test_the_discriminators_terms_equal_their_values_by_hand(worked):
    """mean(y) = 1.75, mean(fake) = 2."""
    system = worked()
    system.generator_loss(batch_of())
    expected = {"adversarial": softplus(-1.75) + softplus(2), "classification": CE}
    assert values(system.discriminator_loss(batch_of())) == pytest.approx(expected, abs=1e-4)
    assert values(system.discriminator_loss(batch_of())) == pytest.approx(expected, abs=1e-4), "on its own, too"
    as_printed = worked(dis_cls_on_fake=True).discriminator_loss(batch_of())
    assert values(as_printed)["classification"] == pytest.approx(2 * CE, abs=1e-4)
    least_squares = worked(gan="lsgan").discriminator_loss(batch_of())
    assert values(least_squares)["adversarial"] == pytest.approx(0.75**2 + 2**2, abs=1e-4)


def test_the_critic_of_wgan_pays_for_its_gradient(worked):
    found = values(worked(gan="wasserstein").discriminator_loss(batch_of()))
    # The four patch scores are the mean of 16 pixels: their sum has the gradient 4 / 16 in each, a norm of 1.
    assert found["adversarial"] == pytest.approx(2 - 1.75)
    assert found["gradient_penalty"] == pytest.approx(0.0, abs=1e-5)


def test_terms_of_weight_0_are_not_computed():
    system = tiny(weights={"cycle": 0, "disentanglement": 0, "adversarial": 0, "classification": 0})
    assert system.discriminator is None
    assert [s.name for s in system.training_steps()] == ["generator"]
    assert set(system.generator_loss(batch_of())) == {"paired"}


# -- what each update moves --------------------------------------------------------------------------------------------

ENCODER, DECODER = "translator.encoder", "translator.decoder"


def test_each_update_changes_its_own_networks_only():
    changes = moved(tiny(**LABELLED), batch_of(), depth=1)
    assert changes == {"generator": {"translator"}, "discriminator": {"discriminator"}, "segmentor": {"segmentor"}}


def test_gradients_of_the_discriminators_and_the_segmentors_step_stop_at_the_images():
    system, batch = tiny(**LABELLED), batch_of()
    sum(system.discriminator_loss(batch).values()).backward()
    assert touched(system, 1) == {"discriminator"}
    sum(system.segmentor_loss(batch).values()).backward()
    assert touched(system, 1) == {"discriminator", "segmentor"}


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("paired", {ENCODER, DECODER}),
        ("cycle", {ENCODER, DECODER}),
        ("adversarial", {ENCODER, DECODER}),
        ("classification", {ENCODER, DECODER}),
        ("disentanglement", {ENCODER}),
    ],
)
def test_each_term_reaches_what_it_should(term, expected):
    system = tiny(disen_on="real", weights={name: float(name == term) for name in WEIGHTS})
    system.generator_loss(batch_of())[term].backward()
    assert {name for name in touched(system) if name.startswith("translator")} == expected


def test_optimisers_are_the_published_ones():
    steps = {s.name: s.optimizer for s in tiny().training_steps()}
    betas = (0.5, 0.999)
    assert steps == {"generator": {"lr": 1e-3, "betas": betas}, "discriminator": {"lr": 1e-4, "betas": betas}}


def test_what_stands_in_place_of_a_missing_sequence_does_not_matter():
    clean = batch_of(missing={"T2": [0], "FLAIR": [0, 1]})
    dirty = batch_of(missing={"T2": [0], "FLAIR": [0, 1]})
    dirty.images["T2"][0], dirty.images["FLAIR"][:2] = 7.0, 7.0
    found = []
    for batch in (clean, dirty):
        system = tiny(**LABELLED)
        torch.manual_seed(1)
        found.append([values(step.loss(batch)) for step in system.training_steps()])
    assert found[0] == found[1]


def test_a_resumed_training_meets_the_same_losses():
    batches = [batch_of(), batch_of(samples=2), batch_of()]
    _, whole = course(tiny(**LABELLED), batches)
    first, _ = course(tiny(**LABELLED), batches[:2])
    resumed, _ = course(tiny(**LABELLED), [])
    buffer = io.BytesIO()
    torch.save(first.state(), buffer)
    buffer.seek(0)
    resumed.restore(torch.load(buffer, weights_only=True))
    _, rest = course(resumed.system, batches[2:], resumed)
    assert rest == pytest.approx(whole[2:], rel=1e-5)


@pytest.mark.parametrize("changes", [{"learning_rate": 2e-3}, {"backbone": "unet128", "levels": 5}])
def test_training_on_one_batch_tells_the_sequences_apart(changes):
    """Two contrasts of the same blocks: each must come out in its own contrast, whatever went in."""
    torch.manual_seed(0)
    tissue = torch.randint(0, 3, (2, 1, 4, 4)).repeat_interleave(8, -1).repeat_interleave(8, -2)
    contrasts = {"T1": (-1.0, 0.0, 1.0), "T2": (2.0, -2.0, 0.5)}
    looks = {s: torch.tensor(values)[tissue] for s, values in contrasts.items()}
    yes = torch.ones(2, dtype=torch.bool)
    batch = Batch(looks, dict.fromkeys(looks, yes), torch.ones(2, 1, 32, 32), None, torch.arange(2))
    plain = {"adversarial": 0, "classification": 0, "disentanglement": 0.1}
    system = tiny(**{"sequences": ("T1", "T2"), "width": 1 / 8, "weights": plain, "sources": 2, **changes})
    course(system, [batch] * 40)
    system.eval()
    with torch.no_grad():
        factors = system.encode(batch.images, batch.mask)
        for source in looks:
            shown = [system.decode(factors.anatomy[source], target) for target in looks]
            errors = torch.tensor([[(image - look).abs().mean() for look in looks.values()] for image in shown])
            assert errors.argmin(1).tolist() == [0, 1], (source, errors)


# -- the System interface ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        LABELLED,
        {"fidelity": "paper", "levels": 6},
        {"fidelity": "paper", "backbone": "resnet", **LABELLED},
        {"backbone": "unet128", "levels": 5, "code_at": "bottleneck", "slices": 3},
        {"code_at": "bottleneck"},
        {"backbone": "unet128", "levels": 6, "conditional": True, "gan": "wasserstein", "context": True},
        {"disen_on": "fake", "normalize_disen": True, "dis_cls_on_fake": True, "gan": "hinge", "sources": 2},
        {"l1_scale": 16384.0, "gan": "lsgan", "weights": {"disentanglement": 0.0}},
        {**LABELLED, "completion": "one", "class_weights": (1.0, 1.0, 5.0)},
        {**LABELLED, "completion": "none", "slices": 3},
    ],
)
def test_every_option_trains_translates_and_is_rebuilt_from_its_configuration(changes):
    system = tiny(**changes)
    batch = batch_of(slices=system.capabilities.slices, missing={"T2": [0]})
    for step in system.training_steps():
        terms = step.loss(batch)
        assert all(torch.isfinite(v) for v in terms.values()), terms
        sum(terms.values()).backward()
    config = json.loads(json.dumps(system.config))
    again = UCD(**config)
    again.load_state_dict(system.state_dict())
    assert again.config == config and again.capabilities == system.capabilities
    pair = [s.eval().encode({"T1": batch.images["T1"]}, batch.mask) for s in (system, again)]
    images = [s.decode(f.anatomy["T1"], "FLAIR") for s, f in zip((system, again), pair, strict=True)]
    torch.testing.assert_close(*images)
    assert images[0].shape == batch.images["FLAIR"].shape
    maps = system.anatomy_maps(pair[0].anatomy["T1"], (64, 64))
    assert maps.shape == (3, system.capabilities.anatomy_channels, 64, 64) and (maps >= 0).all()


def test_unknown_choices_are_refused_in_one_sentence():
    for setting in ("fidelity", "backbone", "code_at", "disen_on", "gan", "completion"):
        with pytest.raises(InputError, match=f'Unknown {setting} "x"; use one of'):
            tiny(**{setting: "x"})
    with pytest.raises(InputError, match="Unknown loss weight style"):
        tiny(weights={"style": 1.0})
    with pytest.raises(InputError, match="at least two sequences"):
        tiny(sequences=("T1",))


def test_a_name_is_its_one_hot_code_and_blends_lie_between():
    system, batch = tiny().eval(), batch_of()
    factors = system.encode(batch.images, batch.mask)
    anatomy = factors.anatomy["T1"]
    code = torch.tensor([[0.0, 1.0, 0.0]]).expand(3, -1)
    assert torch.equal(factors.modality["T2"], code)
    assert torch.equal(system.decode(anatomy, "T2"), system.decode(anatomy, code))
    blend = system.decode(anatomy, torch.tensor([[0.0, 0.5, 0.5]]).expand(3, -1))
    assert all((blend - system.decode(anatomy, s)).abs().max() > 1e-5 for s in ("T2", "FLAIR"))
    with pytest.raises(InputError, match="does not know CT"):
        system.decode(anatomy, "CT")


def test_feature_maps_are_shown_as_the_size_of_groups_of_channels():
    system = tiny().eval()
    anatomy = torch.zeros(1, 16, 2, 2)
    anatomy[:, 2:4, 0, 1] = torch.tensor([3.0, -4.0])
    maps = system.anatomy_maps(anatomy, (4, 4))
    expected = torch.zeros(1, 8, 4, 4)
    expected[:, 1, :2, 2:] = math.sqrt(12.5)
    torch.testing.assert_close(maps, expected)


def test_several_inputs_give_the_mean_anatomy_in_any_order():
    system, batch = tiny().eval(), batch_of()
    factors = system.encode(batch.images, batch.mask)
    mean = torch.stack([factors.anatomy[s] for s in SEQUENCES]).mean(0)
    torch.testing.assert_close(system.synthesis_anatomy(factors), mean)
    torch.testing.assert_close(system.synthesis_anatomy(factors.subset(["FLAIR", "T2", "T1"])), mean)
    torch.testing.assert_close(system.synthesis_anatomy(factors.subset(["T2"])), factors.anatomy["T2"])


def test_the_encoder_is_not_told_the_sequence():
    system, batch = tiny().eval(), batch_of()
    image = batch.images["T1"]
    factors = system.encode({"T1": image, "T2": image}, batch.mask)
    assert torch.equal(factors.anatomy["T1"], factors.anatomy["T2"])


def test_a_stack_holds_the_real_images_and_translations_of_the_others():
    system, batch = tiny(**LABELLED).eval(), batch_of()
    factors = system.encode(batch.images, batch.mask)
    full = torch.cat([batch.images[s] for s in SEQUENCES], 1)
    torch.testing.assert_close(system.fuse(factors), full)
    torch.testing.assert_close(system.fuse(Factors.joined([factors.subset([s]) for s in SEQUENCES[::-1]])), full)
    alone = factors.subset(["T2"])
    made = system.decode(factors.anatomy["T2"], "FLAIR") * batch.mask
    stack = system.fuse(alone)
    torch.testing.assert_close(stack[:, 1:], torch.cat([batch.images["T2"], made], 1))
    labels = system.segment(stack).argmax(1, keepdim=True)
    assert (labels[batch.mask == 0] == 0).all() and (labels[batch.mask > 0] != 0).any()


@pytest.mark.parametrize("completion", ["subset", "one", "none"])
def test_the_segmentor_learns_on_stacks_completed_as_at_inference(completion, monkeypatch):
    system, batch = tiny(**LABELLED, completion=completion).eval(), batch_of(missing={"T2": [0]})
    kept = torch.tensor([[True, True, False], [False, False, True], [False, True, False]])
    monkeypatch.setattr("disentangle.systems.translation.random_subset", lambda _: kept)
    if completion == "one":
        kept = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
        monkeypatch.setattr("disentangle.systems.translation.random_one", lambda _: kept)
    if completion == "none":
        kept = torch.stack([batch.available[s] for s in SEQUENCES])
    stack = system.completed(batch)
    for row in range(3):
        names = [s for n, s in enumerate(SEQUENCES) if kept[n, row]]
        images = {s: batch.images[s][row : row + 1] for s in names}
        expected = system.fuse(system.encode(images, batch.mask[row : row + 1]))
        torch.testing.assert_close(stack[row : row + 1], expected, atol=1e-5, rtol=1e-4)


def test_the_bounds_of_the_segmentation_are_the_same_segmentor_on_real_sequences():
    for names in (("T2",), SEQUENCES):
        bound = registry.create("standard", sequences=names, network="stack", width=1 / 16, slices=1, **LABELLED)
        batch = batch_of(sequences=names)
        (step,) = bound.training_steps()
        sum(step.loss(batch).values()).backward()
        assert touched(bound, 1) == {"task"}
        assert bound.segment(bound.fuse(bound.encode(batch.images, batch.mask))).shape == (3, 3, 64, 64)


def test_a_frozen_translator_takes_a_checkpoint_without_segmentor_and_trains_the_segmentor_alone():
    translator, system = tiny(), tiny(**LABELLED, frozen=True)
    own = {k: v.clone() for k, v in system.segmentor.state_dict().items()}
    system.adopt(translator)
    for name, value in translator.translator.state_dict().items():
        assert torch.equal(system.translator.state_dict()[name], value)
    for name, value in own.items():
        assert torch.equal(system.segmentor.state_dict()[name], value)
    assert [step.name for step in system.training_steps()] == ["segmentor"]
    with pytest.raises(InputError, match="nothing to learn"):
        tiny(frozen=True)


def test_without_labels_the_segmentor_stays_as_it_is():
    system, batch = tiny(**LABELLED), batch_of()
    batch.labels = None
    assert system.segmentor_loss(batch)["segmentation"].item() == 0
    with pytest.raises(InputError, match="does not segment"):
        tiny().segment(torch.zeros(1, 3, 64, 64))


def test_the_papers_range_and_its_inverse():
    system = tiny(fidelity="paper", levels=6, value_range=(-2.0, 3.0))
    image = torch.tensor([[[[-2.0, 0.5, 3.0, 9.0, 0.0]]]])
    mask = torch.tensor([[[[1.0, 1.0, 1.0, 1.0, 0.0]]]])
    inside = system.to_network(image, mask)
    assert inside.flatten().tolist() == pytest.approx([-1, 0, 1, 1, -1])
    assert system.from_network(inside)[..., :4].flatten().tolist() == pytest.approx([-2, 0.5, 3, 3])
    shown = system.eval().decode(torch.randn(1, system.translator.packed_channels, 8, 8), "T1")
    assert shown.min() >= -2 and shown.max() <= 3, "tanh bounds what is shown"


def test_fidelity_is_what_the_choices_default_to():
    assert tiny().chosen == {
        "backbone": "resnet",
        "code_at": "all",
        "disen_on": "both",
        "dis_cls_on_fake": False,
        "l1_scale": 10.0,
    }
    paper = tiny(fidelity="paper", levels=6, disen_on="real")
    assert paper.chosen["disen_on"] == "real" and paper.chosen["backbone"] == "unet128"
