"""Splits by person are disjoint, complete and stable, and belong to what was split."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disentangle.datasets.cases import Case, ImageFile
from disentangle.datasets.layouts.chaos_pairs import EXPERT_PAIRS, expert_pairs, published_splits
from disentangle.datasets.splits import SplitConfig, annotated_persons, draw_folds, folds_of
from disentangle.errors import InputError


@settings(max_examples=60, deadline=None)
@given(st.integers(12, 80), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.15]), st.integers(0, 2**31), st.randoms())
def test_folds_are_disjoint_complete_and_stable(count, folds, validation, seed, random):
    persons = [f"p{n}" for n in range(count)]
    config = SplitConfig(folds=folds, validation=validation, seed=seed)
    drawn = draw_folds(persons, config)
    for fold in drawn:
        assert sorted(chain.from_iterable(fold.values())) == sorted(persons)
    if folds > 1:
        assert sorted(chain.from_iterable(f["test"] for f in drawn)) == sorted(persons)
    random.shuffle(persons)
    assert draw_folds(persons, config) == drawn


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_annotated_persons_are_nested(count, a, b):
    persons = [str(n) for n in range(count)]
    small, large = (annotated_persons(persons, f) for f in sorted((a, b)))
    assert small <= large and len(large) == round(max(a, b) * count)


def test_a_split_is_written_once_and_refused_for_other_data(tmp_path: Path):
    cases = [Case(f"s{n}", f"s{n}", {"T1": ImageFile(tmp_path / f"s{n}.nii.gz")}) for n in range(10)]
    path, config = tmp_path / "split.json", SplitConfig()
    folds = folds_of(cases, tmp_path, config, path)
    assert folds_of(cases[::-1], tmp_path, config, path) == folds
    with pytest.raises(InputError, match="other subjects or files"):
        folds_of(cases[1:], tmp_path, config, path)
    with pytest.raises(InputError, match="was written with"):
        folds_of(cases, tmp_path, SplitConfig(seed=1), path)
    path.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        folds_of(cases, tmp_path, config, path)


def test_every_expert_list_pairs_one_to_one():
    fitting = {33: (30, 30), 37: (36, 33)}
    pairs = {}
    for volume in EXPERT_PAIRS:
        for t1 in range(20, 60):
            try:
                pairs[volume] = expert_pairs(volume, t1, 45 if volume not in fitting else fitting[volume][1])
                break
            except InputError:
                continue
    assert set(pairs) == set(EXPERT_PAIRS)
    assert sum(len(p[0]) for v, p in pairs.items() if v not in fitting) == 338
    with pytest.raises(InputError, match="volume 38"):
        expert_pairs(38, 20, 30)


def test_published_chaos_splits_cover_all_volumes():
    for fold in published_splits():
        assert sorted(chain.from_iterable(fold.values()), key=int) == [str(v) for v in EXPERT_PAIRS]
        assert len(fold["training"]) == 14
