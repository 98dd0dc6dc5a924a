"""Volumes through a system: the frame of its slices, and what is collected from its batches."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.inference.engine import Engine, Volumes, Wanted
from disentangle.inference.framing import Frame
from disentangle.inference.inside import Inside
from disentangle.progress import Progress
from disentangle.systems.factors import Capabilities, Factors


class Meter:
    """A system whose modality factor of a slice is its largest value, and whose anatomy is the slice."""

    device = "cpu"
    capabilities = Capabilities(("T1",), (), size_multiple=1, anatomy_channels=1, style_dim=1)

    def encode(self, images: dict, mask: np.ndarray, styles: bool = True) -> Factors:
        return Factors(images, {name: image.max(axis=(2, 3)) for name, image in images.items()})

    def anatomy_maps(self, anatomy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return anatomy

    def array(self, values: np.ndarray) -> np.ndarray:
        return values


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_modality_factor_of_a_volume_is_the_mean_over_its_slices_weighted_by_the_area_of_the_mask(batch_size):
    mask = np.zeros((4, 4, 4), bool)
    mask[0, :1, :2] = mask[1, :2, :3] = mask[2, :3, :4] = True  # 2, 6 and 12 pixels, and a slice without any
    values = np.array([10.0, 20.0, 30.0, 500.0], np.float32)
    image = mask * values[:, None, None]
    engine = Engine(Meter(), batch_size, notes=lambda note: None)
    found = engine.run({"T1": image}, mask, Wanted(segment=False, factors=True), Progress())
    assert found.modality["T1"] == pytest.approx([(2 * 10 + 6 * 20 + 12 * 30) / 20])


def test_the_first_batch_is_one_piece_of_the_body():
    mask = np.ones((10, 4, 4), bool)
    middle = np.isin(np.arange(10), [3, 4, 5, 6])
    seen: list[list[int]] = []
    engine = Engine(Meter(), 8, notes=lambda note: None, shown={"T2": middle})
    images = {"T1": mask.astype(np.float32), "T2": mask.astype(np.float32)}
    wanted = Wanted(segment=False, factors=True)
    # The user looks at the top, where T1 is read alone, as it is at the bottom.
    engine.run(images, mask, wanted, Progress(), first=9, on_first=lambda batch, volumes: seen.append(batch.tolist()))
    assert seen == [[7, 8, 9]]


class Painter(Meter):
    """A system of 2.5-D that also segments and draws; it writes down what it is asked for, and may fail once."""

    capabilities = Capabilities(
        ("T1", "T2"), ("T1", "T2"), ("air", "bright"), size_multiple=1, anatomy_channels=2, style_dim=3, slices=3
    )

    def __init__(self, fails_at: str = "") -> None:
        self.asked: list[str] = []
        self.fails_at = fails_at

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if what == self.fails_at:
            self.fails_at = ""
            raise RuntimeError("out of memory")

    def encode(self, images: dict, mask: np.ndarray, styles: bool = True) -> Factors:
        found = super().encode(images, mask, styles)
        return Factors(found.anatomy, found.modality, mask)

    def align(self, factors: Factors, reference: str) -> Factors:
        return factors

    def probabilities(self, factors: Factors) -> np.ndarray:
        self._note("classes")
        bright = 1 / (1 + np.exp(-sum(factors.anatomy.values())[:, 1:2]))
        return np.concatenate([1 - bright, bright], axis=1) * factors.mask

    def anatomy_maps(self, anatomy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        self._note("maps")
        return anatomy[:, :2]

    def synthesis_anatomy(self, factors: Factors) -> np.ndarray:
        self._note("synthesis")
        return sum(factors.anatomy.values())

    def decode(self, anatomy: np.ndarray, styles: list) -> list[np.ndarray]:
        self._note("decoding")
        return [anatomy * (n + 2) for n, _ in enumerate(styles)]


EVERYTHING = Wanted(targets=("T1", "T2"), factors=True, cross=True)


@pytest.fixture
def brain() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Normalised images by sequence, and their mask."""
    random = np.random.default_rng(4)
    mask = np.zeros((9, 8, 8), bool)
    mask[1:8, 2:6, 3:6] = True
    mask[4, 1, 1] = True
    return {name: random.normal(size=mask.shape).astype(np.float32) * mask for name in ("T1", "T2")}, mask


@pytest.mark.parametrize("first", [None, 4, 7])
def test_the_first_slices_are_told_before_anything_is_rebuilt_as_they_will_be(brain, first):
    painter, told = Painter(), []

    def listen(slices: np.ndarray, known: Volumes) -> None:
        told.append((list(painter.asked), slices, known))

    found = Engine(painter, 3, pytest.fail, -1.0).run(*brain, EVERYTHING, Progress(), first, listen)
    (before, slices, classes), (_, _, factors), (then, _, images) = told
    assert before == ["classes"]
    assert then == ["classes", "maps", "maps", "synthesis", "decoding"]
    np.testing.assert_array_equal(classes.probabilities, found.probabilities[:, slices])
    assert factors.anatomy.keys() == found.anatomy.keys() == {"T1", "T2"}
    for name, maps in factors.anatomy.items():
        np.testing.assert_array_equal(maps, found.anatomy[name][:, slices])
    assert images.synthesized.keys() == {"T1", "T2"}
    for target, image in images.synthesized.items():
        # Blocks of 2.5-D that are still to come say the same of the slices at the border, as this system draws them.
        np.testing.assert_allclose(image, found.synthesized[target][slices], rtol=1e-6)
        assert (image[~brain[1][slices]] == -1.0).all()
    for other in (classes.anatomy, classes.synthesized, factors.rebuilt, factors.synthesized, images.anatomy):
        assert not other


def test_a_first_batch_that_is_repeated_for_want_of_memory_is_not_told_twice(brain):
    told = []

    def listen(slices: np.ndarray, known: Volumes) -> None:
        told.append((len(slices), known.probabilities is not None, bool(known.anatomy), bool(known.synthesized)))

    Engine(Painter("synthesis"), 4, lambda note: None).run(*brain, EVERYTHING, Progress(), 4, listen)
    assert told == [(4, True, False, False), (4, False, True, False), (2, False, False, True)]


def test_of_every_output_only_what_lies_inside_the_mask_is_held(brain):
    images, mask = brain
    found = Engine(Painter(), 3, pytest.fail).run(images, mask, EVERYTHING, Progress())
    volume = 4 * int(mask.sum())
    assert (len(found.anatomy), found.anatomy.nbytes) == (2, 2 * 2 * volume)
    assert (len(found.rebuilt), found.rebuilt.nbytes) == (4, 4 * volume)
    assert (len(found.synthesized), found.synthesized.nbytes) == (2, 2 * volume)


@pytest.mark.parametrize("segment", [True, False])
def test_targets_come_with_the_tissues_of_what_they_were_made_of(brain, segment):
    painter, wanted = Painter(), Wanted(segment, ("T1", "T2"), tissues=("T2",))
    found = Engine(painter, 9, pytest.fail).run(*brain, wanted, Progress())
    assert painter.asked.count("classes") == 1
    assert (found.probabilities is not None) is segment
    classes = Engine(Painter(), 9, pytest.fail).run(*brain, Wanted(), Progress()).probabilities
    assert found.tissues.keys() == {"T2"}
    np.testing.assert_array_equal(found.tissues["T2"], np.where(brain[1], classes[:1], 0))
    assert not Engine(Painter(), 9, pytest.fail).run(*brain, EVERYTHING, Progress()).tissues


def test_what_is_held_inside_a_mask_comes_back_complete_and_as_the_takers_own():
    mask = np.random.default_rng(1).random((3, 4, 5)) < 0.4
    volume = np.where(mask, np.arange(60, dtype=np.float32).reshape(3, 4, 5), -2.0)
    held = Inside(mask, -2.0)
    held["a"] = volume
    held["a"][:] = 0
    np.testing.assert_array_equal(held["a"], volume)
    np.testing.assert_array_equal(held.at(np.array([2, 0]))["a"], volume[[2, 0]])
    each = Inside(mask, np.array([1.0, 0.0]))
    each["b"] = np.stack([volume, volume])
    assert (each["b"][0][~mask] == 1).all()
    assert (each["b"][1][~mask] == 0).all()


@pytest.mark.parametrize("size", [None, (40, 20), (20, 80)])
def test_slices_go_into_the_frame_of_a_network_and_back(size):
    mask = np.zeros((2, 33, 64), bool)
    mask[:, 4:30, 10:50] = True
    slices = np.random.default_rng(0).standard_normal((2, 1, 33, 64))
    frame = Frame(mask, 32, size)
    framed = frame.into(slices, -1.0)
    assert framed.shape[-2:] == (size or (64, 64)) == frame.size
    again = frame.back(framed, 7.0)
    assert again.shape == slices.shape
    seen = again != 7.0
    assert np.array_equal(again[seen], slices[seen])
    assert bool(seen.all()) == (size is None)
    if size:  # the middle of the mask is the middle of the frame
        assert np.array_equal(framed[..., size[0] // 2, size[1] // 2], slices[..., 17, 30])
    lost = 1 - seen[0, 0][mask[0]].mean()
    assert frame.lost(mask) == pytest.approx(lost)
