"""A sequence that shows only part of the anatomy says nothing about the rest: the others answer there alone."""

from __future__ import annotations

import numpy as np
import pytest
from test_predictor import Aligning, Echo, _volume

from disentangle.inference import Predictor
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.confidence import confidence, doubts, recognise_study
from disentangle.inference.engine import Engine, Presence, Wanted
from disentangle.inference.session import FUSED
from disentangle.phantoms import create_phantom
from disentangle.preprocessing import Memory, PreprocessingConfig, prepare
from disentangle.preprocessing.gridding import slices_shown
from disentangle.progress import Progress
from disentangle.study import Image, Study
from tiny_bundle import tiny_heart_bundle

SMALL = {"size": (48, 48), "spacing": (2.5, 2.5, 9.0)}
"""Hearts."""


def cut(image: Image, axis: int, first: int, end: int) -> Image:
    """Voxels ``first`` to ``end`` along an array axis."""
    return image.cropped(
        tuple(slice(first, end) if a == axis else slice(0, n) for a, n in enumerate(image.array.shape))
    )


# --- which slices are shown


def test_slices_of_which_less_than_half_of_the_usual_is_seen_are_not_shown():
    mask = np.zeros((8, 10, 10), bool)
    mask[:7] = True
    seen = mask.copy()
    assert slices_shown(seen, mask) is None
    seen[0], seen[1, :6], seen[2, :5] = False, False, False
    assert slices_shown(seen, mask).tolist() == [False, False, *[True] * 6]
    small = mask & (np.arange(10) < 4)  # the whole stack sees 40 % of each slice
    assert slices_shown(small, mask) is None
    small[3:] = False
    assert slices_shown(small, mask).tolist() == [*[True] * 3, *[False] * 4, True]


def test_a_prepared_study_knows_what_its_sequences_lack_and_nothing_where_they_lack_nothing():
    study = create_phantom("heart", 3, **SMALL).study
    config = PreprocessingConfig(
        spacing=(2.5, 2.5, 1.0), own_slices=True, pose="reference", registration="none", mask="none", margin_mm=0.0
    )
    whole = prepare(study, config, "cine")
    assert not whole.shown and not whole.seen and not whole.warnings
    count = len(study["LGE"].array)
    for kept in (count - 1, count - 2):
        part = prepare(Study({"cine": study["cine"], "LGE": cut(study["LGE"], 0, 0, kept)}), config, "cine")
        assert list(part.shown) == ["LGE"]
        assert part.shown["LGE"].sum() == kept
        lacks = f"it is left out of {count - kept} of {count} slices."
        (warning,) = part.warnings
        assert warning.startswith("LGE covers only") and warning.endswith(lacks)
        assert part.seen["LGE"].any(axis=(1, 2)).tolist() == part.shown["LGE"].tolist()


def test_a_sequence_alone_is_read_everywhere_and_all_are_where_none_shows_enough():
    shown = {"T2": np.array([True, False, False, True]), "T1": np.array([True, True, False, False])}
    assert [Presence(["T1"], shown).at(k) for k in range(4)] == [("T1",)] * 4
    presence = Presence(["T2", "T1"], shown)
    assert [presence.at(k) for k in range(4)] == [("T2", "T1"), ("T1",), ("T2", "T1"), ("T2",)]
    assert presence.absent("T1").tolist() == [3]
    assert presence.absent("T1", "T2").tolist() == [1, 3]
    assert presence.alike([0, 2, 1, 3]) == 2


# --- the engine, with systems whose answers are known


LACKS = np.array([True] * 5 + [False] * 4)
"""The slices that T2 shows; the mask has 1 to 7."""


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("first", [None, 2, 5, 7])
def test_slices_that_one_sequence_does_not_show_are_answered_by_the_others(size, first):
    images, mask = _volume()
    images["T2"] *= LACKS[:, None, None]
    wanted = Wanted(targets=("T1",), factors=True, cross=True)
    engine, previews = Engine(EagerNetwork(Echo()), size, pytest.fail, -1.0, {"T2": LACKS}), []
    found = engine.run(images, mask, wanted, Progress(), first, lambda slices, volumes: previews.append(slices))
    assert np.array_equal(previews[0], engine.first_batch(images, mask, first))
    assert first is None or first in previews[0]
    alone = Engine(EagerNetwork(Echo()), 3, pytest.fail, -1.0).run(
        {"T1": images["T1"]}, mask, Wanted(factors=True), Progress()
    )
    both = Engine(EagerNetwork(Echo()), 3, pytest.fail, -1.0).run(images, mask, Wanted(factors=True), Progress())
    assert np.array_equal(found.probabilities[:, ~LACKS], alone.probabilities[:, ~LACKS])
    assert np.array_equal(found.probabilities[:, LACKS], both.probabilities[:, LACKS])
    assert not found.anatomy["T2"][:, ~LACKS].any()
    assert np.array_equal(found.anatomy["T1"], both.anatomy["T1"])
    for volume in (found.rebuilt["T1", "T1"], found.synthesized["T1"]):
        assert (volume[~mask] == -1).all()
    assert (found.rebuilt["T2", "T1"][~LACKS] == -1).all()
    there = mask & LACKS[:, None, None]
    assert np.allclose(found.rebuilt["T2", "T1"][there], images["T2"][there], atol=1e-6)
    assert np.allclose(found.rebuilt["T1", "T1"][mask], images["T1"][mask], atol=1e-6)
    far = mask & (np.arange(9) > 5)[:, None, None]  # no block of a slice with T2 reaches there
    assert np.allclose(found.synthesized["T1"][far], images["T1"][far], atol=1e-6)


def test_the_modality_factor_is_the_mean_over_the_slices_that_the_sequence_shows():
    images, mask = _volume()
    images["T2"] = (mask & LACKS[:, None, None]).astype(np.float32)
    system = Echo()
    volumes = Engine(EagerNetwork(system), 3, pytest.fail, 0.0, {"T2": LACKS}).run(
        images, mask, Wanted(factors=True), Progress()
    )
    # Of the blocks of slices 1 to 4 the first and the last hold an empty slice each.
    assert volumes.modality["T2"][0] == pytest.approx((2 / 3 + 1 + 1 + 2 / 3) / 4, rel=1e-5)
    assert sum(system.sizes) == 7 + 4


def test_where_the_first_sequence_is_not_read_the_next_one_stays_where_it_is():
    images, mask = _volume()
    shown = {"T1": LACKS}
    found = Engine(EagerNetwork(Aligning()), 4, pytest.fail, 0.0, shown).run(images, mask, Wanted(), Progress())
    alone = Engine(EagerNetwork(Aligning()), 4, pytest.fail).run({"T2": images["T2"]}, mask, Wanted(), Progress())
    assert np.array_equal(found.probabilities[:, ~LACKS], alone.probabilities[:, ~LACKS])


def test_short_memory_does_not_mix_the_sequences_of_a_slice():
    images, mask = _volume()
    shown = {"T2": LACKS}
    found = Engine(EagerNetwork(Echo(limit=2)), 8, lambda note: None, 0.0, shown).run(
        images, mask, Wanted(), Progress()
    )
    expected = Engine(EagerNetwork(Echo()), 8, pytest.fail, 0.0, shown).run(images, mask, Wanted(), Progress())
    assert np.array_equal(found.probabilities, expected.probabilities)


# --- whole runs


def test_slices_of_a_heart_without_lge_are_those_of_cine_alone(tmp_path):
    study = create_phantom("heart", 3, **SMALL).study
    study = Study({name: study[name] for name in ("cine", "LGE")})
    kept = len(study["LGE"].array) - 3
    part = Study({"cine": study["cine"], "LGE": cut(study["LGE"], 0, 0, kept)})
    predictor = Predictor(
        tiny_heart_bundle(tmp_path / "heart", **SMALL), device="cpu", backend="torch", memory=Memory()
    )
    whole, alone = (predictor.run(s, probabilities=True) for s in (study, study.subset(["cine"])))
    found = predictor.run(part, factors=True, probabilities=True, uncertainty=True)
    assert any("LGE covers only" in w and w.endswith("slices.") for w in found.report["warnings"])
    for name, image in found.probabilities.items():
        assert np.allclose(image.array[kept:], alone.probabilities[name].array[kept:], atol=1e-6)
        assert np.allclose(image.array[:kept], whole.probabilities[name].array[:kept], atol=1e-6)
    assert not np.array_equal(whole.segmentation.array[kept:], alone.segmentation.array[kept:])
    assert np.array_equal(found.segmentation.array[kept:], alone.segmentation.array[kept:])
    anatomy = np.stack([image.array for image in found.factors["LGE"].anatomy])
    assert anatomy[:, :kept].any() and not anatomy[:, kept:].any()


def test_a_single_slice_without_lge_is_drawn_from_cine_alone(tmp_path):
    study = create_phantom("heart", 3, **SMALL).study
    kept = len(study["LGE"].array) - 3
    part = Study({"cine": study["cine"], "LGE": cut(study["LGE"], 0, 0, kept)})
    predictor = Predictor(
        tiny_heart_bundle(tmp_path / "heart", **SMALL), device="cpu", backend="torch", memory=Memory()
    )
    drawn = {}
    for name, given in (("part", part), ("alone", study.subset(["cine"]))):
        style = predictor.run(given, factors=True).factors["cine"].modality
        session = predictor.session
        drawn[name] = session.draw(kept, FUSED, style, {"cine": 1.0})
        if name == "part":
            assert list(session.factors_of(kept).anatomy) == ["cine"]
            assert list(session.factors_of(0).anatomy) == ["cine", "LGE"]
            assert not session.draw(kept, "LGE", style, {"cine": 1.0}).any()
    assert np.allclose(drawn["part"], drawn["alone"], atol=1e-3)


@pytest.mark.parametrize(("axis", "first", "end"), [(0, 0.4, 1.0), (0, 0.0, 0.65), (2, 0.4, 1.0), (1, 0.0, 0.6)])
def test_a_sequence_that_is_cut_is_recognised_by_what_it_shows(brain, axis, first, end):
    flair, inside = brain["FLAIR"], np.flatnonzero(brain["T1"].array.any(axis=tuple({0, 1, 2} - {axis})))
    low, high = (round(inside[0] + share * (inside[-1] - inside[0])) for share in (first, end))
    prepared = prepare(Study({"T1": brain["T1"], "FLAIR": cut(flair, axis, low, high)}), memory=Memory())
    assert 0.4 < prepared.seen["FLAIR"].sum() / prepared.mask.sum() < 0.9
    recognised = recognise_study(prepared)
    assert recognised["FLAIR"].sequence == "FLAIR"
    assert not list(doubts(recognised))
    assert confidence(recognised, None, prepared.mask)["input"] > 0.9


@pytest.fixture(scope="module")
def brain(shared_data) -> Study:
    """T1 and FLAIR of a real study, in which both show all of the brain."""
    study = Study.from_folder(shared_data / "ms-07").subset(["T1", "FLAIR"])
    study.labels = None
    return study
