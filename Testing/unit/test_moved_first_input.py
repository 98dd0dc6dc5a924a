"""A first input that is not the reference, and between the two scans the head moved: whatever is given away lies where
the first input shows the head."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from disentangle.inference import Predictor, Result
from disentangle.inference.session import Session
from disentangle.phantoms import brain_phantom
from disentangle.preprocessing import prepare
from disentangle.preprocessing.registration import rotation_about
from disentangle.preprocessing.resampling import resample, transform_of
from disentangle.progress import Progress
from disentangle.study import Image, Study
from tiny_bundle import tiny_bundle

MOVED = rotation_about((12.0, -8.0, 20.0), np.zeros(3), np.array([14.0, -11.0, 9.0]))
"""What T1 has at a point, T2 has at this one: turned by 24 degrees, and 20 mm away."""


@dataclass
class Ran:
    before: Result
    """Of the same head that did not move."""
    result: Result
    slab: Image
    session: Session
    brain: Image
    """Where T2 itself shows the brain."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    """A run as after a registration that found exactly how the head moved."""
    coarse = {"spacing": [6.0] * 3, "pose": "reference", "registration": "none"}
    bundle = tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", preprocessing=coarse)
    predictor = Predictor(bundle, device="cpu", backend="torch")
    study = brain_phantom(3, spacing=6.0).study.subset(["T2", "T1"])
    still = prepare(study, predictor.config, reference="T1")
    t2 = replace(study["T2"], affine=MOVED @ study["T2"].affine)
    moved = replace(
        still, study=Study({"T2": t2, "T1": study["T1"]}), transforms={**still.transforms, "T2": transform_of(MOVED)}
    )
    predictor.prepared = lambda *_: still
    before = predictor.run(still.study, factors=True)
    predictor.prepared, predictor._answers = lambda *_: moved, None
    slabs: list[Image] = []
    middle = (t2.affine @ [*(np.array(t2.grid.size) / 2), 1.0])[:3]
    wanted = {"synthesize": ["FLAIR"], "factors": True, "cross_reconstructions": True}
    result = predictor.run(moved.study, point=middle, preview=slabs.append, **wanted)
    mask = still.to_input(still.mask.astype(np.uint8), "T2", "nearest")
    return Ran(before, result, slabs[0], predictor.session, replace(mask, affine=t2.affine))


def on(image: Image, like: Image) -> np.ndarray:
    """An image on the grid of another one, by where both say that they lie."""
    return resample(image.to_sitk(), like.grid, interpolation="nearest")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_factors_of_every_sequence_lie_on_the_brain_of_the_first_input(ran: Ran) -> None:
    for factors in ran.result.factors.values():
        assert dice(on(factors.argmax, ran.brain) > 0, ran.brain.array > 0) > 0.97
        for image in (*factors.anatomy, factors.input, factors.reconstruction):
            assert image.grid.same_as(factors.argmax.grid)


def test_reconstructions_and_redrawn_volumes_lie_where_the_factors_do(ran: Ran) -> None:
    grid = ran.result.factors["T2"].argmax.grid
    drawn = ran.session.redraw("T1", ran.session.styles()["T2"], {"T2": 1.0}, Progress())
    for image in (*ran.result.cross.values(), drawn):
        assert image.grid.same_as(grid)


def test_the_preview_shows_what_the_segmentation_will_show_there(ran: Ran) -> None:
    final, said = on(ran.result.segmentation, ran.slab), ran.slab.array
    assert said.any()
    assert (final == said).mean() > 0.95
    assert (final == said)[said > 0].mean() > 0.8


def test_a_point_on_a_slice_of_a_live_volume_asks_for_that_slice(ran: Ran) -> None:
    image = ran.result.factors["T2"].input
    k, j, i = (n // 2 for n in image.array.shape)
    for slice_number in (k - 3, k, k + 4):
        point = image.affine @ [i, j, slice_number, 1.0]
        assert ran.session.slice_at(point[:3]) == slice_number


def test_the_voxels_are_those_of_a_head_that_did_not_move(ran: Ran) -> None:
    for sequence, factors in ran.result.factors.items():
        before = ran.before.factors[sequence]
        assert np.array_equal(before.argmax.array, factors.argmax.array)
        assert np.allclose(factors.argmax.affine, MOVED @ before.argmax.affine)
    assert (ran.before.segmentation.array == ran.result.segmentation.array).mean() > 0.999
