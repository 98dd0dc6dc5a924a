"""Pairs of unregistered slices: whose partners they are, which candidates they get, who is annotated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentangle.datasets.pairs import PairSampler, PairSamplingConfig
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning.config import load_config
from disentangle.learning.data import Data, samplers
from disentangle.losses import UNLABELLED
from disentangle.systems.base import Batch, Capabilities

SEQUENCES = ("cine", "LGE")


def subject(number: int, slices: int = 9, about: dict | None = None, sequences=SEQUENCES) -> Subject:
    """Every pixel of a slice tells subject and slice: cine number + slice / 16, LGE its negative."""
    value = number + np.arange(slices)[:, None, None] / 16 + np.zeros((1, 40, 36))
    images = {s: (value if s == "cine" else -value).astype(np.float16) for s in sequences}
    labels = np.zeros(value.shape, np.uint8)
    labels[:, 10:20, 10:20] = 1
    labels[4, 12:14, 12:14] = 2
    own = {"cine": labels, "LGE": np.roll(labels, 3, axis=1)}
    return Subject(
        f"s{number}", f"s{number}", images, np.ones(value.shape, bool), labels, (1.0,) * 3, "study", about or {}, own
    )


def slices_of(values: torch.Tensor) -> list[int]:
    """Slice indices that the images show."""
    return ((values.abs() % 1) * 16).round().int().tolist()


def sampler(config: dict | None = None, count: int = 6, seed: int = 0, **kwargs) -> PairSampler:
    settings = {"batch": 3, "sizes": ((32, 32),), "rotation": 0, **(config or {})}
    return PairSampler(
        [subject(n, **kwargs) for n in range(1, count + 1)], SEQUENCES, (2,), PairSamplingConfig(**settings), seed
    )


def test_a_batch_holds_one_pair_of_each_person_at_one_index_with_the_labels_of_each_slice():
    for number in range(10):
        batch = Batch(**sampler().batch(number))
        cine, lge = batch.images["cine"], batch.images["LGE"]
        assert cine.shape == lge.shape == (3, 1, 32, 32)
        assert torch.equal(cine, -lge)
        assert len(set(batch.subject.tolist())) == 3
        assert batch.labels is None and batch.candidates is None and batch.mask.all()
        assert batch.labels_of("cine").shape == (3, 32, 32)
        assert torch.equal(batch.labels_of("LGE")[:, 3:], batch.labels_of("cine")[:, :-3])
        assert set(batch.labels_of("cine").unique().tolist()) <= {0, 1, 2}


def test_a_batch_is_a_function_of_seed_and_number_alone():
    turned = {"rotation": 20, "candidates": 3, "intensity": {}}
    one, two = sampler(turned), sampler(turned)
    one.batch(0)
    assert torch.equal(one.batch(5)["candidates"]["LGE"], two.batch(5)["candidates"]["LGE"])
    assert not torch.equal(one.batch(5)["images"]["LGE"], sampler(turned, seed=1).batch(5)["images"]["LGE"])


def test_a_pair_table_names_the_partners():
    table = {"pairs": {"cine": [1, 3, 8], "LGE": [0, 2, 5]}}
    partner = {1: 0, 3: 2, 8: 5}
    for number in range(5):
        images = sampler(about=table).batch(number)["images"]
        shown = [slices_of(images[s][:, 0, 0, 0]) for s in SEQUENCES]
        assert [partner[c] for c in shown[0]] == shown[1]
    with pytest.raises(InputError, match="does not name as many slices"):
        sampler(about={"pairs": {"cine": [1, 2], "LGE": [1]}})
    with pytest.raises(InputError, match="outside its volume"):
        sampler(about={"pairs": {"cine": [1], "LGE": [9]}})


def test_random_pairing_moves_the_second_slice_by_up_to_two_and_always_alike():
    one = sampler({"pairing": "random"})
    offsets = {}
    for index in range(6):
        for position in range(9):
            found = one.partners(index, position)
            assert found["cine"] == position
            offsets[index, position] = found["LGE"] - position
    assert set(offsets.values()) == {-2, -1, 0, 1, 2}
    again = sampler({"pairing": "random"}, seed=7)
    assert all(again.partners(*key)["LGE"] - key[1] == o for key, o in offsets.items())


def test_the_mask_of_a_pair_is_that_of_either_slice():
    one = subject(1)
    one.mask[::2, :, 18:] = False  # even slices: the left half
    one.mask[1::2, :, :18] = False  # odd slices: the right half
    config = PairSamplingConfig(batch=1, sizes=((40, 36),), rotation=0, pairing="random")
    chosen = PairSampler([one], SEQUENCES, (), config)
    shares = {True: [], False: []}
    for number in range(20):
        batch = chosen.batch(number)
        # Where its mask is, an image tells its slice; outside it goes on as stored.
        cine, lge = (slices_of(batch["images"][s][:, 0, 20, 18])[0] for s in SEQUENCES)
        shares[(cine - lge) % 2 == 1].append(float(batch["mask"].mean()))
    assert min(shares[True]) > 0.9
    assert max(shares[False]) < 0.6


def test_candidates_hold_the_true_partner_once_among_neighbours_in_random_order():
    one, places = sampler({"candidates": 3, "reach": 2}), set()
    for number in range(12):
        batch = one.batch(number)
        anchors = slices_of(batch["images"]["cine"][:, 0, 0, 0])
        for sequence in SEQUENCES:
            candidates = batch["candidates"][sequence]
            assert candidates.shape == (3, 3, 1, 32, 32)
            for anchor, row in zip(anchors, candidates[:, :, 0, 0, 0], strict=True):
                shown = slices_of(row)
                assert shown.count(anchor) == 1 and len(set(shown)) == 3
                assert all(abs(c - anchor) <= 2 for c in shown)
                places.add(shown.index(anchor))
    assert places == {0, 1, 2}
    with pytest.raises(InputError, match="candidates need"):
        PairSamplingConfig(candidates=3, pairing="random")


def test_annotations_are_dropped_by_person_and_smaller_fractions_are_subsets():
    def annotated(fraction: float) -> set[str]:
        return sampler({"annotated": {"LGE": fraction}}, count=8, seed=int(10 * fraction)).annotated["LGE"]

    assert [len(annotated(f)) for f in (0, 0.125, 0.25, 0.5, 1)] == [0, 1, 2, 4, 8]
    assert annotated(0.125) < annotated(0.25) < annotated(0.5)
    batch = sampler({"annotated": {"LGE": 0.0}}).batch(0)
    assert (batch["sequence_labels"]["LGE"] == UNLABELLED).all()
    assert (batch["sequence_labels"]["cine"] != UNLABELLED).all()
    with pytest.raises(InputError, match="between 0 and 1"):
        PairSamplingConfig(annotated={"LGE": 50})
    with pytest.raises(InputError, match="names T1"):
        sampler({"annotated": {"T1": 0.5}})


def labelled(batch: dict) -> list[bool]:
    """Whose LGE has labels in a batch."""
    return [bool((x != UNLABELLED).any()) for x in batch["sequence_labels"]["LGE"]]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_a_share_of_every_batch_is_annotated_where_few_persons_are(share, expected):
    chosen = sampler({"annotated": {"LGE": 0.5}, "annotated_share": share, "batch": 4}, count=10)
    batches = [chosen.batch(n) for n in range(40)]
    assert {sum(labelled(b)) for b in batches} == {expected}
    assert all(len(set(b["subject"].tolist())) == 4 for b in batches)
    # Everyone's turn comes, at any place of the batch.
    drawn = [p for b in batches for p in b["subject"].tolist()]
    assert len(set(drawn)) == (10 if share == 0.5 else 5)
    if share == 0.5:
        assert all(any(labelled(b)[place] for b in batches) for place in range(4))


def test_a_batch_is_filled_from_the_others_where_too_few_persons_are_annotated_or_not():
    few = sampler({"annotated": {"LGE": 0.1}, "annotated_share": 1, "batch": 4}, count=10)
    assert {sum(labelled(few.batch(n))) for n in range(10)} == {1}
    many = sampler({"annotated": {"LGE": 0.9}, "annotated_share": 0, "batch": 4}, count=10)
    assert {sum(labelled(many.batch(n))) for n in range(10)} == {3}
    with pytest.raises(InputError, match="annotated_share"):
        PairSamplingConfig(annotated_share=2)


def test_persons_without_labels_of_their_own_count_as_not_annotated():
    people = [subject(n) for n in range(1, 11)]
    for person in people[2:]:
        person.sequence_labels["LGE"] = np.full_like(person.labels, UNLABELLED)
    config = PairSamplingConfig(batch=4, sizes=((32, 32),), rotation=0)
    chosen = PairSampler(people, SEQUENCES, (), config)
    assert {sum(labelled(chosen.batch(n))) for n in range(20)} == {2}


def test_where_all_or_none_are_annotated_everyone_is_drawn_alike():
    plain = [sampler().batch(n)["subject"].tolist() for n in range(10)]
    assert plain == [sampler({"annotated": {"LGE": 0.0}}).batch(n)["subject"].tolist() for n in range(10)]


def test_both_slices_of_a_pair_turn_alike_and_whole_slices_go_on_at_their_border():
    batch = sampler({"rotation": 20, "sizes": ((48, 48),)}).batch(3)
    assert torch.equal(batch["images"]["cine"], -batch["images"]["LGE"])
    assert (batch["images"]["cine"] > 0.5).all() and batch["mask"].all()
    plain = sampler({"sizes": ((48, 48),)}).batch(3)
    assert not torch.equal(batch["sequence_labels"]["cine"], plain["sequence_labels"]["cine"])


def test_lesions_attract_slices_and_a_missing_sequence_is_not_available():
    images = sampler({"lesions": 1.0}).batch(0)["images"]["cine"]
    assert slices_of(images[:, 0, 0, 0]) == [4, 4, 4]
    batch = sampler(sequences=("cine",)).batch(0)
    assert not batch["available"]["LGE"].any() and not batch["images"]["LGE"].any()
    assert (batch["sequence_labels"]["LGE"] == UNLABELLED).all()


def test_inside_a_mask_that_is_not_everything_the_label_zero_is_unknown():
    one = subject(1)
    one.mask[:, :5] = False
    config = PairSamplingConfig(batch=1, sizes=((40, 36),), rotation=0)
    batch = PairSampler([one], SEQUENCES, (), config).batch(0)
    inside = batch["mask"][0, 0] > 0
    labels = batch["sequence_labels"]["cine"][0]
    assert inside.any() and not inside.all()
    assert (labels[inside] > 0).all() and (labels[inside] == UNLABELLED).any()
    assert not labels[~inside].any()


def test_the_configuration_chooses_the_sampler():
    data = Data([subject(n) for n in range(1, 5)], [subject(n) for n in (8, 9)])
    abilities = Capabilities(SEQUENCES, SEQUENCES, ("background", "heart", "infarct"), (0, 1), slices=1)
    settings = ["sampling.kind=pairs", "sampling.batch=3", "sampling.annotated={LGE: 0}", "sampling.sizes=[[32, 32]]"]
    training, validation = samplers(load_config({}, settings), data, abilities)
    assert isinstance(training, PairSampler) and training.config.batch == 3
    batch = validation.batch(0)
    assert batch["images"]["LGE"].shape[0] == 2
    assert (batch["sequence_labels"]["LGE"] != UNLABELLED).all()
    with pytest.raises(InputError, match='kind "tripels"'):
        samplers(load_config({}, ["sampling.kind=tripels"]), data, abilities)
    with pytest.raises(InputError, match="section sampling"):
        samplers(load_config({}, ["sampling.kind=pairs", "sampling.heights=3"]), data, abilities)


def test_too_few_persons_are_named():
    with pytest.raises(InputError, match="there are 2"):
        sampler(count=2)
