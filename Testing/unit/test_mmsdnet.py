"""MMSDNet differs from DAFNet exactly as method-spec, section 4, says."""

from __future__ import annotations

import json

import pytest
import torch
from pair_batches import CLASSES, SIZE, moved, pair_batch, terms_of

from disentangle import losses, systems
from disentangle.networks.fusion import maximum
from disentangle.systems.mmsdnet import MMSDNet
from disentangle.systems.modes import MODES, predict

TINY = {"sequences": ("cine", "LGE"), "classes": CLASSES, "size": (SIZE, SIZE), "width": 0.0625}
BRANCHES = ("own", "deformed", "fused")


def tiny(**changes) -> MMSDNet:
    torch.manual_seed(0)
    system = systems.create("mmsdnet", **{**TINY, **changes})
    torch.nn.init.normal_(system.transformer.offsets.weight, std=0.02)
    return system


def millions(network: torch.nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def test_two_whole_unets_and_one_small_discriminator_have_the_published_size():
    with torch.device("meta"):
        system = MMSDNet(("cine", "LGE"), ("background", "a", "b", "c", "d"))
    assert millions(system.encoders) + millions(system.anatomy_decoders) == pytest.approx(69.05, abs=0.005)
    assert millions(system) - millions(system.adversaries) == pytest.approx(73.09, abs=0.005)
    assert millions(system.adversaries.masks) == pytest.approx(0.023, abs=0.0005)
    assert system.adversaries.images is None
    assert system.config["decoder"] == "film"


def test_it_is_a_system_of_its_own_name_and_configuration():
    system = tiny().eval()
    again = type(system)(**json.loads(json.dumps(system.config))).eval()
    again.load_state_dict(system.state_dict())
    images = pair_batch().images
    assert system.name == "mmsdnet" and system.capabilities.aligns
    for mode in MODES:
        torch.testing.assert_close(predict(again, images, "cine", mode), predict(system, images, "cine", mode))


def test_the_fused_anatomies_are_trained_on_and_have_styles_of_their_own():
    system, batch = tiny(), pair_batch()
    views = system.views(batch)
    assert [(v.target, v.branch) for v in views] == [(t, b) for t in ("cine", "LGE") for b in BRANCHES]
    own, deformed, fused = (v.anatomy for v in views[:3])
    torch.testing.assert_close(fused, torch.maximum(own, deformed))
    posteriors, styles = system.styles(views, batch)
    assert len(posteriors) == len(styles) == 6
    assert not torch.equal(styles[0], styles[1])


def test_terms_are_what_the_published_objective_says():
    system, batch = tiny(), pair_batch(unannotated={"LGE": [0, 1]})
    generator, regression, discriminators = system.training_steps()
    terms = terms_of(generator, batch)
    assert set(terms) == {"kl", "segmentation", "mask_adversarial", "reconstruction"}
    s = {n: system.anatomy(x, n) for n, x in batch.images.items()}
    kl = segmentation = 0.0
    for target, source in (("cine", "LGE"), ("LGE", "cine")):
        deformed = system.move(s[source], s[target])
        for anatomy in (s[target], deformed, maximum([s[target], deformed])):
            posterior = system.style_encoder(anatomy, batch.images[target])
            kl += losses.kl_standard_normal(*posterior).mean()
            if target == "cine":
                segmentation += losses.joint_dice(system.segment(anatomy), batch.labels_of("cine")).mean()
    assert terms["kl"].item() == pytest.approx(0.1 * kl.item(), rel=1e-4)
    assert terms["segmentation"].item() == pytest.approx(10 * segmentation.item(), rel=1e-4)
    assert system.weights["reconstruction"] == 10
    assert set(terms_of(regression, batch)) == {"style_regression"}
    assert set(terms_of(discriminators, batch)) == {"mask_discriminator"}


def test_each_update_moves_its_own_networks():
    system, batch = tiny(), pair_batch()
    generator, regression, discriminators = system.training_steps()
    makers = {"encoders", "anatomy_decoders", "style_encoder", "decoder", "segmentor", "transformer"}
    assert moved(system, generator, batch) == makers
    assert moved(system, regression, batch) == {"decoder", "style_encoder"}
    assert moved(system, discriminators, batch) == {"adversaries"}
    assert moved(system, generator, batch, "segmentation") == {
        "encoders",
        "anatomy_decoders",
        "segmentor",
        "transformer",
    }


def test_each_sequence_has_both_halves_of_its_own():
    system = tiny(weights={"mask_adversarial": 0})
    batch = pair_batch(missing={"LGE": [0, 1]})
    touched = moved(system, system.training_steps()[0], batch, depth=2)
    assert {"encoders.0", "anatomy_decoders.0"} <= touched
    assert not {"encoders.1", "anatomy_decoders.1"} & touched


def test_three_sequences_fuse_with_whatever_is_there():
    names = ("cine", "LGE", "T2")
    system = tiny(sequences=names)
    clean, dirty = (pair_batch(sequences=names, missing={"T2": [1]}) for _ in range(2))
    dirty.images["T2"][1] = 0.5
    fused = [next(v for v in system.views(b) if (v.target, v.branch) == ("LGE", "fused")) for b in (clean, dirty)]
    torch.testing.assert_close(fused[0].anatomy, fused[1].anatomy)
    assert fused[0].share.tolist() == [1, 1]
    assert all(torch.isfinite(x) for step in system.training_steps() for x in terms_of(step, clean).values())
