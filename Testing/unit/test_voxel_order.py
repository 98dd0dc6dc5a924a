"""How a file stores its voxels, mirrored or permuted with its affine, makes no difference to a prepared study."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from disentangle.phantoms import create_phantom
from disentangle.preprocessing import PreparedStudy, PreprocessingConfig, prepare
from disentangle.preprocessing.planes import upright
from disentangle.study import Image, Study


def stored(image: Image, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Image:
    """The same image with its axes (i, j, k) in another order, some of them backwards."""
    affine = image.affine.copy()
    affine[:3, :3] = image.affine[:3, list(order)]
    array = image.array.transpose([2 - order[2 - n] for n in range(3)])
    for axis in np.flatnonzero(flips):
        array = np.flip(array, 2 - axis)
        affine[:3, 3] += affine[:3, axis] * (array.shape[2 - axis] - 1)
        affine[:3, axis] *= -1
    return replace(image, array=np.ascontiguousarray(array), affine=affine)


def stored_study(study: Study, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Study:
    images = {name: stored(image, order, flips) for name, image in study.images.items()}
    return Study(images, labels=stored(study.labels, order, flips))


@pytest.fixture(scope="module")
def brain() -> Study:
    # Sizes that no block of the pyramids divides: the rest is at one end or the other.
    whole = create_phantom("brain", 3, spacing=4.0, lesions="both").study.subset(["T1", "FLAIR"])
    box = tuple(slice(0, size - 1 - size % 2) for size in whole.first.array.shape)
    return Study({s: i.cropped(box) for s, i in whole.images.items()}, labels=whole.labels.cropped(box))


@pytest.fixture(scope="module", params=["reference", "atlas"])
def config(request: pytest.FixtureRequest) -> PreprocessingConfig:
    return PreprocessingConfig(spacing=(3.0, 3.0, 3.0), pose=request.param)


@pytest.fixture(scope="module")
def plain(brain: Study, config: PreprocessingConfig) -> PreparedStudy:
    return prepare(brain, config)


@pytest.mark.parametrize("flips", [f for f in itertools.product((False, True), repeat=3) if any(f)][::2])
def test_a_mirrored_file_is_prepared_as_the_plain_one(brain, config, plain, flips):
    mirrored = prepare(stored_study(brain, (0, 1, 2), flips), config)
    assert mirrored.grid.same_as(plain.grid)
    for name in plain.images:
        assert np.allclose(mirrored.images[name], plain.images[name], atol=1e-4)
    assert np.array_equal(mirrored.labels, plain.labels)


def test_results_still_return_to_the_voxels_of_the_file(brain, config):
    study = stored_study(brain, (0, 1, 2), (True, False, True))
    prepared = prepare(study, config)
    assert prepared.study is study
    back = prepared.to_input(prepared.mask.astype(np.float32), "T1").array
    assert back.shape == study["T1"].array.shape
    assert back[study.labels.array > 0].mean() > 0.9 > 0.1 > back[study["T1"].array == 0].mean()


def test_upright_voxels_count_to_the_left_back_and_head_wherever_they_are_in_space(brain):
    for order in itertools.permutations(range(3)):
        study = upright(stored_study(brain, order, (True, False, True)))
        direction = study.first.grid.direction
        assert all(column[np.abs(column).argmax()] > 0 for column in direction.T)
        again = stored(study.first, tuple(np.argsort(order)), (False, False, False))
        assert np.array_equal(again.array, brain.first.array) and np.allclose(again.affine, brain.first.affine)


def test_upright_images_are_left_alone(brain):
    assert all(a is b for a, b in zip(upright(brain).images.values(), brain.images.values(), strict=True))
