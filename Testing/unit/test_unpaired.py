"""Unpaired batches: each domain its own persons, slices and labels, and nothing known of domains without annotation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from disentangle import systems
from disentangle.datasets.unpaired import UnpairedSampler, UnpairedSamplingConfig
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning.data import Data, samplers
from disentangle.learning.module import validation_scores
from disentangle.learning.pictures import save_matrix
from disentangle.losses import UNLABELLED
from disentangle.systems.base import Batch

PHASES = {"CT": ["CT"], "MR": ["T1in", "T1out"]}
SEQUENCES = ("CT", "T1in", "T1out")
STILL = {"rotation": 0, "scale": 0, "shift": 0, "sizes": [(16, 16)], "domains": PHASES, "batch": 2}


def person(number: int, sequences=SEQUENCES) -> Subject:
    """Every image is constant and tells its person, sequence and slice; labels tell the same."""
    values = {s: number / 10 + SEQUENCES.index(s) / 100 + np.arange(4) / 1000 for s in sequences}
    images = {s: np.broadcast_to(v[:, None, None], (4, 16, 16)).astype(np.float16) for s, v in values.items()}
    own = {s: np.full((4, 16, 16), 1 + SEQUENCES.index(s), np.uint8) for s in sequences}
    for labels in own.values():
        labels[0] = 0
    return Subject(
        f"p{number}", f"p{number}", images, np.ones((4, 16, 16), bool), own[sequences[0]], (1.0,) * 3, "phantom",
        {"seed": number}, own,
    )  # fmt: skip


def sampler(subjects, **changes) -> UnpairedSampler:
    settings = {**STILL, **changes}
    return UnpairedSampler(subjects, SEQUENCES, (1, 2, 3), UnpairedSamplingConfig(**settings), seed=5)


def read(batch: dict, sample: int) -> tuple[int, str]:
    """Person and sequence of a sample."""
    (sequence,) = [s for s in SEQUENCES if batch["available"][s][sample]]
    value = float(batch["images"][sequence][sample, 0, 8, 8])
    return int(value * 10 + 1e-3), sequence


def test_every_sample_is_one_image_of_one_domain_and_each_domain_has_its_part():
    draw = sampler([person(n) for n in range(1, 9)])
    for number in range(6):
        batch = draw.batch(number)
        assert [read(batch, b)[1] == "CT" for b in range(4)] == [True, True, False, False]
        for s in SEQUENCES:
            absent = ~batch["available"][s]
            assert batch["images"][s].shape == (4, 1, 16, 16) and not batch["images"][s][absent].any()
        assert len(set(batch["subject"].tolist())) == 4
        Batch(**batch)


def test_a_person_serves_one_domain_only_and_all_phases_are_drawn():
    draw = sampler([person(n) for n in range(1, 9)])
    seen = {}
    for number in range(40):
        batch = draw.batch(number)
        for b in range(4):
            who, sequence = read(batch, b)
            seen.setdefault("CT" if sequence == "CT" else "MR", set()).add(who)
            seen.setdefault("sequences", set()).add(sequence)
    assert not seen["CT"] & seen["MR"] and seen["sequences"] == set(SEQUENCES)
    assert len(seen["CT"]) == len(seen["MR"]) == 4


def test_persons_with_one_domain_stay_there():
    draw = sampler([person(n, ["CT"]) for n in (1, 2)] + [person(n, ["T1out"]) for n in (3, 4)])
    batch = draw.batch(0)
    assert {read(batch, b) for b in range(4)} == {(1, "CT"), (2, "CT"), (3, "T1out"), (4, "T1out")}


def test_labels_are_those_of_the_own_slice_and_unknown_without_annotation():
    draw = sampler([person(n) for n in range(1, 9)], annotated=["MR"], lesions=1.0)
    for number in range(5):
        labels = draw.batch(number)["labels"]
        assert (labels[:2] == UNLABELLED).all()
        assert all((labels[b] == 1 + SEQUENCES.index(read(draw.batch(number), b)[1])).all() for b in (2, 3))


def test_the_choice_of_slices_does_not_look_at_labels_that_are_not_handed_out():
    subjects = [person(n) for n in range(1, 9)]
    blank = [person(n) for n in range(1, 9)]
    for subject in blank:
        for sequence in ("T1in", "T1out"):
            subject.sequence_labels[sequence][:] = 0
    for number in range(5):
        one, other = (sampler(s, lesions=1.0).batch(number) for s in (subjects, blank))
        for s in SEQUENCES:
            assert torch.equal(one["images"][s], other["images"][s])
        assert torch.equal(one["labels"], other["labels"])


def test_a_batch_depends_on_seed_and_number_alone():
    subjects = [person(n) for n in range(1, 9)]
    changes = {"rotation": 10, "shift": 2, "sizes": [(16, 16), (16, 32)], "intensity": {}}
    one, again = sampler(subjects, **changes), sampler(subjects, **changes)
    first = again.batch(7)
    for number in (3, 7):
        expected = one.batch(number)
    for s in SEQUENCES:
        assert torch.equal(first["images"][s], expected["images"][s])
    assert {one.batch(n)["mask"].shape[-1] for n in range(12)} == {16, 32}
    assert not torch.equal(one.batch(3)["images"]["CT"], one.batch(4)["images"]["CT"])


def test_mistakes_are_named():
    with pytest.raises(InputError, match="MR cannot fill its part"):
        sampler([person(1, ["CT"]), person(2, ["CT"])])
    with pytest.raises(InputError, match="T2SPIR"):
        sampler([person(1)], domains={"CT": ["CT"], "MR": ["T2SPIR"]})
    with pytest.raises(InputError, match="PET"):
        sampler([person(n) for n in range(8)], annotated=["PET"])


def test_validation_hands_out_all_labels_and_scores_domains_apart(tmp_path):
    system = systems.create(
        "dalace", sequences=SEQUENCES, domains=PHASES, classes=("background", "liver", "kidneys", "spleen"),
        width=0.05, scales=1, layers=2,
    )  # fmt: skip
    config = {"sampling": {"kind": "unpaired", **STILL}, "seed": 0}
    data = Data([person(n) for n in range(1, 9)], [person(n) for n in (10, 11)])
    training, validation = samplers(config, data, system.capabilities)
    assert (training.batch(0)["labels"][2:] == UNLABELLED).all()
    batch = Batch(**validation.batch(1))
    assert len(batch.mask) == 2 and (batch.labels != UNLABELLED).all()
    with torch.no_grad():
        scores = validation_scores(system.eval(), batch)
    assert scores["self"] > 0 and math.isnan(scores["cross"])
    assert {"dice liver", "dice liver (CT)"} <= set(scores)
    assert save_matrix(system, batch, tmp_path / "picture.png").exists()
