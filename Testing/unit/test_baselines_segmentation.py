"""U-Net, DualStream and SDNet: published sizes, what each update moves, samples that do not count."""

from __future__ import annotations

import json

import pytest
import torch
from registered_batches import make_batch

from disentangle.errors import InputError
from disentangle.losses import UNLABELLED
from disentangle.registry import create
from disentangle.systems.base import Batch

SEQUENCES = ("cine", "LGE")
CLASSES = ("background", "myocardium", "blood pool")
WIDTH = 0.0625
NAMES = ("unet", "dualstream", "sdnet")


def tiny(name: str, **changes):
    torch.manual_seed(0)
    settings = {"sequences": SEQUENCES, "classes": CLASSES, "width": WIDTH, **changes}
    if name == "sdnet":
        settings = {"size": (64, 64), "pooled_discriminator": True, **settings}
    return create(name, **settings)


def pairs(unlabelled: tuple[str, ...] = (), samples: int = 2) -> Batch:
    """Slices of two sequences that are not registered, each with its own labels."""
    batch = make_batch(samples, sequences=SEQUENCES, slices=1)
    generator = torch.Generator().manual_seed(2)
    shape = (samples, 64, 64)
    own = {s: torch.randint(0, 3, shape, generator=generator) for s in SEQUENCES}
    for sequence in unlabelled:
        own[sequence] = torch.full(shape, UNLABELLED)
    batch.labels, batch.sequence_labels = None, own
    return batch


def loss(system, step: int, batch: Batch) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.stack(list(system.training_steps()[step].loss(batch).values())).sum()


def moved(system) -> set[str]:
    """Modules with a gradient, two levels deep."""
    found = [n for n, p in system.named_parameters() if p.grad is not None and bool(p.grad.any())]
    return {".".join(n.split(".")[:2]) if n.split(".")[1].isdigit() else n.split(".")[0] for n in found}


def elements(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_those_that_are_published():
    with torch.device("meta"):
        settings = {"sequences": SEQUENCES, "classes": [str(n) for n in range(8)]}
        unet, streams, sdnet = (create(name, **settings) for name in NAMES)
    assert elements(unet) == pytest.approx(34.53e6, rel=1e-3)  # 2e: "35"
    assert elements(streams) == pytest.approx(54.9e6, rel=2e-3)  # "approximately 56"
    assert elements(streams.decoders[0].bottleneck) == 512 * 1024 * 9 + 1024 * 1024 * 9 + 6 * 1024
    assert elements(sdnet) - elements(sdnet.adversaries) == pytest.approx(35e6, rel=0.015)  # "35"


@pytest.mark.parametrize("name", NAMES)
def test_they_are_rebuilt_from_their_configuration_and_answer_like_systems(name):
    system = tiny(name).eval()
    again = create(name, **json.loads(json.dumps(system.config))).eval()
    again.load_state_dict(system.state_dict())
    assert again.config == system.config and again.capabilities == system.capabilities
    batch = pairs()
    for names in (("LGE",), SEQUENCES):
        images = {s: batch.images[s] for s in names}
        found = system.segment(system.fuse(system.encode(images, batch.mask)))
        assert found.shape == (2, 3, 64, 64)
        torch.testing.assert_close(again.segment(again.fuse(again.encode(images, batch.mask))), found)
    assert not system.capabilities.needs_registered_input
    with pytest.raises(InputError, match="each once"):
        tiny(name, sequences=("cine", "cine"))
    with pytest.raises(InputError, match="classes"):
        tiny(name, classes=())


def test_a_single_image_is_segmented_by_the_logits_of_the_unet():
    system, batch = tiny("unet").eval(), pairs()
    logits = system.logits(batch.images["LGE"], "LGE")
    found = system.segment(system.fuse(system.encode({"LGE": batch.images["LGE"]})))
    torch.testing.assert_close(found, logits.log_softmax(1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["unet", "dualstream"])
def test_what_only_segments_says_so(name):
    assert not tiny(name).capabilities.synthesises
    with pytest.raises(InputError, match="segments only"):
        tiny(name).decode(torch.zeros(1, 3, 64, 64), "LGE")


@pytest.mark.parametrize("name", ["unet", "sdnet"])
def test_a_sequence_without_labels_does_not_move_the_segmentation(name):
    weights = {} if name == "unet" else {"weights": dict.fromkeys(("mask_adversarial", "kl", "style_regression"), 0.0)}
    system, alone = tiny(name, **weights), tiny(name, **weights, sequences=("cine",))
    terms = system.training_steps()[0].loss(pairs(unlabelled=("LGE",)))
    torch.testing.assert_close(terms["segmentation"], alone.training_steps()[0].loss(pairs())["segmentation"])
    none = tiny(name, **weights)
    assert none.training_steps()[0].loss(pairs(unlabelled=SEQUENCES))["segmentation"] == 0


def test_labels_common_to_all_sequences_serve_as_well():
    batch = make_batch(2, sequences=SEQUENCES, slices=1)
    assert loss(tiny("unet"), 0, batch) > 0 and loss(tiny("sdnet"), 0, batch) > 0


def test_samples_that_lack_a_sequence_do_not_count_for_it():
    clean, dirty = pairs(), pairs()
    for batch in (clean, dirty):
        batch.available["LGE"][0] = False
    dirty.images["LGE"][0] = 7.0
    torch.testing.assert_close(loss(tiny("unet"), 0, dirty), loss(tiny("unet"), 0, clean))
    batch = pairs()
    del batch.images["cine"], batch.images["LGE"]
    with pytest.raises(InputError, match="sequence of this system"):
        loss(tiny("unet"), 0, batch)


def test_each_stream_of_dualstream_has_an_update_that_leaves_the_other_alone():
    system = tiny("dualstream")
    assert [step.name for step in system.training_steps()] == list(SEQUENCES)
    loss(system, 1, pairs()).backward()
    own = {id(p) for p in system.training_steps()[1].parameters}
    assert {id(p) for p in system.parameters() if p.grad is not None} == own
    assert moved(system) == {"encoders.1", "decoders.1", "decoders.0"}
    shared = {id(p) for p in system.decoders[0].bottleneck.parameters()}
    assert {id(p) for p in system.decoders[0].parameters() if p.grad is not None} == shared


def test_dualstream_sends_sequences_without_labels_through_the_annotated_stream():
    system, batch = tiny("dualstream", annotated=["cine"]).eval(), pairs()
    assert len(system.training_steps()) == 1
    image = batch.images["LGE"]
    assert torch.equal(system.logits(image, "LGE"), system.logits(image, "cine"))
    with pytest.raises(InputError, match="annotated"):
        tiny("dualstream", annotated=["T1"])


PARTS = {"anatomy_encoder", "style_encoder", "decoder", "segmentor"}


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("segmentation", {"anatomy_encoder", "segmentor"}),
        ("reconstruction", {"anatomy_encoder", "style_encoder", "decoder"}),
        ("kl", {"anatomy_encoder", "style_encoder"}),
        ("style_regression", {"anatomy_encoder", "style_encoder", "decoder"}),
        ("mask_adversarial", {"anatomy_encoder", "segmentor", "adversaries"}),
    ],
)
def test_each_term_of_sdnet_moves_what_it_should(term, expected):
    system = tiny("sdnet")
    torch.manual_seed(0)
    system.generator_loss(pairs())[term].backward()
    assert moved(system) == expected


def test_supervision_of_sdnet_is_summed_over_the_sequences_as_its_other_terms_are():
    def segmentation(batch):
        torch.manual_seed(0)
        return tiny("sdnet").eval().generator_loss(batch)["segmentation"].item()

    single = [segmentation(pairs(unlabelled=(other,))) for other in ("LGE", "cine")]
    assert segmentation(pairs()) == pytest.approx(sum(single), rel=1e-4)


def test_the_updates_of_sdnet_are_apart():
    system = tiny("sdnet")
    generator, discriminator = system.training_steps()
    judges = {id(p) for p in discriminator.parameters}
    assert judges == {id(p) for p in system.adversaries.parameters()}
    assert {id(p) for p in generator.parameters} == {id(p) for p in system.parameters()} - judges
    assert generator.optimizer == {"lr": 1e-4, "betas": (0.5, 0.999)}
    loss(system, 1, pairs(unlabelled=("LGE",))).backward()
    assert moved(system) == {"adversaries"}


def test_sdnet_carries_published_weights_and_shows_an_anatomy_in_any_style():
    plain = dict.fromkeys(("segmentation", "mask_adversarial", "reconstruction", "kl", "style_regression"), 1.0)
    torch.manual_seed(0)
    one = tiny("sdnet", weights=plain).generator_loss(pairs())
    torch.manual_seed(0)
    published = tiny("sdnet").generator_loss(pairs())
    for name, weight in {"segmentation": 10, "mask_adversarial": 10, "reconstruction": 1, "kl": 0.01}.items():
        assert published[name].item() == pytest.approx(weight * one[name].item(), rel=1e-3)
    system = tiny("sdnet").eval()
    system.set_default_styles({"LGE": torch.ones(8)})
    factors = system.encode({"cine": pairs().images["cine"]})
    assert set(factors.anatomy["cine"].unique().tolist()) == {0.0, 1.0}
    shown = system.decode(system.synthesis_anatomy(factors), "LGE")
    assert shown.shape == (2, 1, 64, 64)
    assert not torch.equal(shown, system.decode(factors.anatomy["cine"], "cine"))


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_segmentation_loss(name):
    torch.manual_seed(0)
    system, batch = tiny(name, sequences=("cine",), learning_rate=1e-2), pairs()
    shape = torch.zeros(2, 64, 64, dtype=torch.long)
    shape[:, 16:40, 16:40], shape[:, 24:32, 24:32] = 1, 2
    batch.images["cine"], batch.sequence_labels["cine"] = shape[:, None].float() - 1, shape
    step = system.training_steps()[0]
    adam = torch.optim.Adam(step.parameters, **step.optimizer)
    course = []
    for _ in range(20):
        terms = step.loss(batch)
        adam.zero_grad()
        sum(terms.values()).backward()
        adam.step()
        course.append(terms["segmentation"].item())
    assert course[-1] < 0.93 * course[0]
