"""Downstream tasks: images stacked or anatomies fused, 2-D and 3-D; what is frozen, what is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from registered_batches import SEQUENCES, make_batch

from disentangle.baselines.standard import cohort_means, filled
from disentangle.datasets.sampling import SamplingConfig, SliceSampler
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.losses import UNLABELLED, marginal_dice
from disentangle.registry import create

CLASSES = ("background", "tissue", "lesion")
REPRESENTATION = {"sequences": list(SEQUENCES), "width": 0.1}
TASKS = {"segmentation": {"classes": CLASSES, "healthy": (0, 1)}, "synthesis": {"target": "PET"}}


def tiny(name: str, task: str = "segmentation", **changes):
    torch.manual_seed(0)
    settings = {"sequences": SEQUENCES, "network": "unet", "width": 0.0625, **TASKS[task], **changes}
    if name == "downstream":
        settings["representation"] = {"name": "margindis", **create("margindis", **REPRESENTATION).config}
    return create(name, **settings)


def batch_with_pet(**options):
    batch = make_batch(2, sequences=(*SEQUENCES, "PET"), **options)
    batch.labels[batch.mask[:, 0] == 0] = 0
    return batch


def total(system, batch) -> torch.Tensor:
    return torch.stack(list(system.training_steps()[0].loss(batch).values())).sum()


@pytest.mark.parametrize("name", ["standard", "downstream"])
@pytest.mark.parametrize("task", TASKS)
def test_tasks_are_rebuilt_from_their_configuration_and_take_any_subset(name, task):
    system = tiny(name, task).eval()
    again = create(name, **json.loads(json.dumps(system.config))).eval()
    again.load_state_dict(system.state_dict())
    assert again.config == system.config and again.capabilities == system.capabilities
    batch = batch_with_pet()
    for names in (("T2",), SEQUENCES):
        for one in (system, again.fold()):
            factors = one.encode({s: batch.images[s] for s in names}, batch.mask)
            if task == "segmentation":
                found = one.segment(one.fuse(factors))
                assert found.shape == (2, 3, 64, 64) and not one.capabilities.synthesises
            else:
                found = one.decode(one.synthesis_anatomy(factors), "PET")
                assert found.shape == (2, 3, 64, 64) and one.capabilities.targets == ("PET",)
            if one is system:
                expected = found
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["standard", "downstream"])
def test_only_the_task_network_learns(name):
    for task in TASKS:
        system, batch = tiny(name, task), batch_with_pet()
        (step,) = system.train().training_steps()
        assert {id(p) for p in step.parameters} == {id(p) for p in system.task.parameters()}
        assert step.optimizer == {"lr": 2e-4, "weight_decay": 1e-5, "amsgrad": True} and step.clip_norm == 1.0
        total(system, batch).backward()
        assert all(p.grad is not None for p in system.task.parameters())
        assert not [n for n, p in system.named_parameters() if p.grad is not None and not n.startswith("task.")]
    if name == "downstream":
        assert system.task.training and not system.representation.training


def test_a_missing_sequence_is_zeros_for_the_stack():
    system, batch = tiny("standard").eval(), batch_with_pet()
    without = system.encode({s: batch.images[s] for s in ("T1", "FLAIR")}, batch.mask)
    zeroed = system.encode({**{s: batch.images[s] for s in SEQUENCES}, "T2": torch.zeros(2, 3, 64, 64)}, batch.mask)
    assert torch.equal(system.fuse(without), system.fuse(zeroed))
    assert torch.equal(system.segment(system.fuse(without)), system.segment(system.fuse(zeroed)))


@pytest.mark.parametrize("name", ["standard", "downstream"])
def test_what_stands_in_place_of_a_missing_sequence_does_not_matter_in_training(name):
    clean, dirty = (batch_with_pet(missing={"T2": [0], "PET": [1]}) for _ in range(2))
    dirty.images["T2"][0], dirty.images["PET"][1] = 7.0, 7.0
    for task in TASKS:
        system = tiny(name, task)
        torch.testing.assert_close(total(system, dirty), total(system, clean))


def test_a_missing_sequence_takes_no_part_in_the_fused_anatomy():
    system, batch = tiny("downstream").eval(), batch_with_pet()
    factors = system.encode({s: batch.images[s] for s in SEQUENCES}, batch.mask)
    some = system.fuse(factors, {s: torch.tensor([s != "T2", True]) for s in SEQUENCES})
    torch.testing.assert_close(some[:1], system.fuse(factors.subset(("T1", "FLAIR")))[:1])
    torch.testing.assert_close(some[1:], system.fuse(factors)[1:])


def test_downstream_starts_from_a_trained_representation_and_still_shows_its_factors():
    system, batch = tiny("downstream"), batch_with_pet()
    trained = create("margindis", **REPRESENTATION)
    system.adopt(trained)
    factors = system.eval().encode({"T1": batch.images["T1"]}, batch.mask)
    expected = trained.eval().encode({"T1": batch.images["T1"]}, batch.mask)
    torch.testing.assert_close(factors.anatomy["T1"], expected.anatomy["T1"])
    shown = system.decode(factors.anatomy["T1"], factors.modality["T1"])
    torch.testing.assert_close(shown, trained.decode(expected.anatomy["T1"], expected.modality["T1"]))
    other = tiny("downstream")
    other.adopt(system)
    torch.testing.assert_close(other.state_dict(), system.state_dict())
    with pytest.raises(InputError, match="init_from"):
        create("downstream", sequences=SEQUENCES, classes=CLASSES)
    with pytest.raises(InputError, match="does not know CT"):
        tiny("downstream", sequences=("CT",))


def test_a_task_is_one_of_both_and_says_what_it_cannot():
    with pytest.raises(InputError, match="either"):
        tiny("standard", target="PET")
    with pytest.raises(InputError, match="cannot be among"):
        tiny("standard", "synthesis", target="T1")
    with pytest.raises(InputError, match="does not segment"):
        tiny("standard", "synthesis").segment(torch.zeros(1, 9, 64, 64))
    with pytest.raises(InputError, match="PET only"):
        tiny("standard", "synthesis").decode(torch.zeros(1, 9, 64, 64), "T2")
    with pytest.raises(InputError, match="network"):
        tiny("standard", network="transformer")
    batch = batch_with_pet()
    batch.labels = None
    with pytest.raises(InputError, match="no labels"):
        total(tiny("standard"), batch)


def test_the_attention_unet_has_the_published_levels():
    system = tiny("standard", network="attention-unet")
    fused = torch.zeros(1, 9, 32, 32)
    assert system.eval().segment(fused).shape == (1, 3, 32, 32)
    with torch.device("meta"):
        full = create("standard", sequences=SEQUENCES, classes=CLASSES)
    widths = {p.shape[0] for n, p in full.task.named_parameters() if n.endswith("conv.weight")}
    assert {64, 128, 256, 512} <= widths


def test_squared_dice_equals_a_hand_computed_value():
    probability = torch.tensor([[0.8, 0.4], [0.5, 0.1]])
    logits = torch.stack([(1 - probability).log(), probability.log()])[None]
    labels = torch.tensor([[[1, 0], [1, UNLABELLED]]])
    expected = 1 - 2 * (0.8 + 0.5) / (0.64 + 0.16 + 0.25 + 2)
    assert marginal_dice(logits, labels, squared=True).item() == pytest.approx(expected, abs=1e-5)


def subject(scale: float, shape: tuple[int, int, int]) -> Subject:
    mask = np.ones(shape, bool)
    ramp = np.broadcast_to(np.linspace(0, scale, shape[0])[:, None, None], shape).astype(np.float16)
    return Subject("one", "one", {"T1": ramp, "T2": -ramp}, mask, np.zeros(shape, np.uint8), (1, 1, 1), "phantom")


def test_the_cohort_mean_stands_at_the_same_relative_height():
    means = cohort_means([subject(1.0, (20, 8, 8)), subject(3.0, (12, 10, 6))], (16, 8, 8))
    assert means["T1"].shape == (16, 8, 8)
    test = subject(0.0, (30, 9, 7))
    del test.images["T2"]
    test.mask[:, 0] = False
    found = filled(test, ["T2"], means).images["T2"]
    assert found.shape == (30, 9, 7) and "T2" not in test.images
    np.testing.assert_allclose(found[:, 4, 3], np.linspace(0, -2, 30), atol=0.15)
    assert not found[:, 0].any()
    with pytest.raises(InputError, match="FLAIR"):
        filled(test, ["FLAIR"], means)


@pytest.fixture(scope="module")
def nvnet():
    torch.manual_seed(0)
    representation = {"name": "margindis", "sequences": ["T1", "T2"], "width": 0.1}
    size = {"size": (32, 32), "depth": 16, "filters": 8, "latent": 4}
    return create("nvnet", sequences=["T1", "T2"], classes=CLASSES, representation=representation, **size)


def test_nvnet_segments_slabs_of_fused_anatomies(nvnet):
    assert nvnet.capabilities.slices == 19 and not nvnet.capabilities.synthesises
    batch = make_batch(1, 32, sequences=("T1", "T2"), slices=19)
    nvnet.eval()
    with torch.no_grad():
        factors = nvnet.encode(batch.images, batch.mask)
        fused = nvnet.fuse(factors)
        assert fused.shape == (1, 16 * 12, 32, 32)
        volume = nvnet.volume_logits(fused)
        assert volume.shape == (1, 3, 16, 32, 32)
        assert torch.equal(nvnet.segment(fused), volume[:, :, 8])
        # The middle slice of the slab is the middle slice of the image: 9 of 19, the centre of block 8.
        middle = nvnet.representation.encode({"T1": batch.images["T1"][:, 8:11]}).anatomy["T1"]
        torch.testing.assert_close(factors.anatomy["T1"].unflatten(1, (16, 4))[:, 8], middle)
    again = create("nvnet", **json.loads(json.dumps(nvnet.config)))
    again.load_state_dict(nvnet.state_dict())


def test_slabs_come_with_the_labels_of_all_their_slices():
    one = subject(1.0, (24, 20, 18))
    one.labels[:] = np.arange(1, 25)[:, None, None]
    settings = {"batch": 1, "sizes": [(32, 32)], "slices": 19, "rotation": 0, "scale": 0, "shift": 0, "lesions": 0}
    slab = SliceSampler([one], ["T1", "T2"], (), SamplingConfig(labelled=16, **settings)).batch(3)
    middle = SliceSampler([one], ["T1", "T2"], (), SamplingConfig(**settings)).batch(3)
    assert slab["labels"].shape == (1, 16, 32, 32) and middle["labels"].shape == (1, 32, 32)
    torch.testing.assert_close(slab["labels"][:, 8], middle["labels"])
    for key in ("mask", "images"):
        torch.testing.assert_close(slab[key], middle[key])
    centre = int(middle["labels"].max())
    for n in range(16):
        label = centre + n - 8
        shown = slab["labels"][0, n][middle["mask"][0, 0] > 0].unique().tolist()
        assert shown == [label if 1 <= label <= 24 else UNLABELLED]


def test_nvnet_learns_from_the_middle_slice_or_from_all(nvnet):
    batch = make_batch(1, 32, sequences=("T1", "T2"), slices=19)
    nvnet.train()
    terms = nvnet.training_steps()[0].loss(batch)
    assert set(terms) == {"segmentation", "autoencoder"}
    sum(terms.values()).backward()
    idle = {n for n, p in nvnet.task.named_parameters() if p.grad is None}
    assert all(n.startswith("vae_fc2") for n in idle)  # MONAI makes it for estimated deviations, which are not used
    assert all(p.grad is None for p in nvnet.representation.parameters())
    batch.labels = torch.zeros(1, 16, 32, 32, dtype=torch.long)
    batch.labels[:, :4, 8:20, 8:20] = 2
    assert 0 < nvnet.training_loss(batch)["segmentation"] < 1
    with pytest.raises(InputError, match="multiple of 16"):
        create("nvnet", **{**nvnet.config, "depth": 10})
