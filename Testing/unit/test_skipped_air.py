"""What holds nothing costs nothing: slices without brain and the air around a head never reach the networks."""

from dataclasses import replace

import numpy as np
import pytest

from disentangle.inference import Predictor
from disentangle.inference.backends.eager import EagerNetwork
from disentangle.inference.engine import Engine, Wanted
from disentangle.phantoms import create_phantom
from disentangle.progress import Progress
from disentangle.study import Image, Study
from tiny_bundle import tiny_bundle, tiny_system


@pytest.fixture
def seen(monkeypatch):
    """The mask (H, W) of each slice that a network encodes."""
    encode, masks = EagerNetwork.encode, []

    def watched(self, images, mask, styles=True):
        masks.extend(mask[:, 0])
        return encode(self, images, mask, styles)

    monkeypatch.setattr(EagerNetwork, "encode", watched)
    return masks


def in_air(image: Image, voxels: int) -> Image:
    """An image in the same place with so many more voxels of air on all sides."""
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, voxels)
    return Image(np.pad(image.array, voxels), affine)


def test_slices_without_brain_are_not_encoded(seen):
    mask = np.zeros((9, 32, 32), bool)
    for k in (2, 3, 6):
        mask[k, 8 : 10 + k, 8:20] = True
    image = np.random.default_rng(0).random(mask.shape, np.float32) * mask
    engine = Engine(EagerNetwork(tiny_system()), 4, pytest.fail)
    volumes = engine.run({"T1": image}, mask, Wanted(), Progress())
    assert [int(m.sum()) for m in seen] == [int(mask[k].sum()) for k in (2, 3, 6)]
    assert np.all(volumes.probabilities[0][~mask] == 1)


def test_air_around_a_head_makes_neither_more_nor_larger_slices(tmp_path, seen):
    study = create_phantom("brain", 3, spacing=10.0).study.subset(["T1"])
    more = Study({"T1": replace(in_air(study["T1"], 12), sequence="T1")}, masks={"": in_air(study.masks[""], 12)})
    predictor = Predictor(tiny_bundle(tmp_path / "tiny"), device="cpu", backend="torch")
    predictor.run(study)
    close, shape = list(seen), predictor.session.prepared.grid.shape
    seen.clear()
    predictor.run(more)
    assert len(seen) == len(close) == np.count_nonzero(predictor.session.prepared.mask.any(axis=(1, 2)))
    assert {m.shape for m in seen} == {m.shape for m in close} and all(m.any() for m in seen)
    assert predictor.session.prepared.grid.shape == shape
    head_mm = 10.0 * np.array(study["T1"].array.shape)
    assert np.all(4.0 * np.array([len(seen), *seen[0].shape]) < head_mm + 4.0 * 32)  # padded to a multiple of 32
