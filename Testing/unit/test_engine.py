"""Volumes through a system: the frame of its slices, and what is collected from its batches."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.inference.engine import Engine, Wanted
from disentangle.inference.framing import Frame
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
