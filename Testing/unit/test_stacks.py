"""Unregistered stacks of slices as subjects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from disentangle.datasets.pairs import PairSampler, PairSamplingConfig
from disentangle.datasets.phantoms import load_phantoms, preprocessing_of
from disentangle.datasets.stacks import STACKED, stack_subject
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.inference.framing import Frame
from disentangle.losses import UNLABELLED
from disentangle.phantoms import create_phantom
from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.preprocessing.bias import bias_field
from disentangle.preprocessing.planes import turned
from disentangle.preprocessing.resampling import slice_axes
from disentangle.study import Image, Study


def config(pixel: float = 1.0, normalization: str = "slice", **settings) -> PreprocessingConfig:
    return PreprocessingConfig.from_dict(
        STACKED | {"spacing": [pixel, pixel, 1.0], "normalization": normalization} | settings
    )


def ramp(slices: int, rows: int, columns: int) -> np.ndarray:
    return np.arange(slices * rows * columns, dtype=np.float32).reshape(slices, rows, columns)


def test_crop_and_pad_keep_pixels():
    image = ramp(3, 10, 12)
    labels = (image % 5).astype(np.uint8)
    subject = stack_subject(
        "a", "a", {"LGE": image}, {"LGE": labels}, (1, 1, 8), config(1.0, "none", clip=None), (8, 16)
    )
    assert np.array_equal(subject.images["LGE"][:, :, 2:14].astype(np.float32), image[:, 1:9].astype(np.float16))
    assert (subject.images["LGE"][:, :, :2] == -1).all() and (subject.images["LGE"][:, :, 14:] == -1).all()
    assert np.array_equal(subject.sequence_labels["LGE"][:, :, 2:14], labels[:, 1:9])
    assert (subject.sequence_labels["LGE"][:, :, :2] == 0).all()
    assert subject.mask.all() and subject.spacing == (1.0, 1.0, 8.0)


def test_each_slice_fills_the_range():
    image = ramp(4, 8, 8) * np.array([1, 10, 100, 0], np.float32)[:, None, None]
    subject = stack_subject("a", "a", {"cine": image}, {}, (1, 1, 8), config())
    values = subject.images["cine"].astype(np.float32)
    assert np.allclose(values[:3].min((1, 2)), -1) and np.allclose(values[:3].max((1, 2)), 1)
    assert (values[3] == -1).all()


def test_sequences_with_other_pixels_meet_on_one_grid():
    fine, coarse = np.zeros((2, 40, 40), np.float32), np.zeros((2, 20, 20), np.float32)
    fine[:, 10:30, 10:30] = 1
    coarse[:, 5:15, 5:15] = 7
    spacing = {"T1in": (1, 1, 5), "T2SPIR": (2, 2, 5)}
    labels = {"T2SPIR": (coarse > 0).astype(np.uint8)}
    subject = stack_subject("a", "p", {"T1in": fine, "T2SPIR": coarse}, labels, spacing, config(2.0), (16, 16))
    a, b = subject.images["T1in"] > 0, subject.images["T2SPIR"] > 0
    assert subject.spacing == (2.0, 2.0, 5.0)
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9
    assert (subject.sequence_labels["T1in"] == UNLABELLED).all()
    assert np.array_equal(subject.labels, subject.sequence_labels["T2SPIR"])


def test_centre_moves_the_crop():
    image = np.zeros((1, 20, 20), np.float32)
    image[0, 4, 15] = 1
    subject = stack_subject("a", "a", {"LGE": image}, {}, (1, 1, 1), config(), (6, 6), {"LGE": (4, 15)})
    assert subject.images["LGE"][0, 3, 3] == 1 and (subject.images["LGE"] == 1).sum() == 1
    coarse = stack_subject("a", "a", {"LGE": image}, {}, (1, 1, 1), config(0.5), (6, 6), {"LGE": (4, 15)})
    assert coarse.images["LGE"][0, 3, 3] == 1


def test_sequences_of_other_extents_are_padded_to_the_largest():
    images = {"cine": ramp(2, 6, 10), "LGE": ramp(2, 8, 4)}
    subject = stack_subject("a", "a", images, {}, (1, 1, 8), config())
    assert subject.images["cine"].shape == subject.images["LGE"].shape == (2, 8, 10)
    assert (subject.images["LGE"][:, :, :3] == -1).all() and (subject.images["cine"][:, 0] == -1).all()


@pytest.mark.parametrize("black", [False, True])
@pytest.mark.parametrize("normalization", ["slice", "slice_percentile", "percentile", "window"])
def test_training_sees_what_inference_prepares(normalization, black):
    k, j, i = np.mgrid[:4, :20, :24]
    array = np.rint(300 * np.sin(j / 5 + k) + 400 * np.cos(i / 7 - k) + 90 * k).astype(np.int16)
    if black:  # as skull-stripped brains are
        array[(np.abs(j - 9) > 5) | (np.abs(i - 11) > 6)] = 0
    # Columns run to the right and rows to the front: both paths turn them as slices are usually shown.
    image = Image(array, np.diag([-0.8, -0.8, 6.0, 1.0]) @ np.diag([1, 1, -1, 1.0]), "T2SPIR")
    settings = config(0.8, normalization, size_multiple=1)
    prepared = prepare(Study({"T2SPIR": image}, "a"), settings)
    shown = turned(image, slice_axes(image.grid.direction, image.spacing))
    subject = stack_subject("a", "a", {"T2SPIR": shown.array}, {}, tuple(shown.spacing), settings)
    there, here = prepared.images["T2SPIR"], subject.images["T2SPIR"].astype(np.float32)
    assert here.min() >= -1 and here.max() <= 1 and here.std() > 0.1
    assert np.allclose(there, here, atol=2e-3)


HALF = 2.0**-12
"""What storing values of [-1, 1] in half precision may change."""


@pytest.mark.parametrize("size", [None, (48, 32)])
@pytest.mark.parametrize("shape", [(40, 40), (41, 33), (60, 71)])
@pytest.mark.parametrize(("old", "new"), [(1.5, 1.5), (1.5, 2.0), (2.1, 1.6)])
def test_inference_reads_the_pixels_that_training_reads(old, new, shape, size):
    """Whatever the pixels and their number: the frame cuts and pads both alike, down to the rounding of storage."""
    array = ndimage.gaussian_filter(np.random.default_rng(1).normal(400, 3000, (3, *shape)), (0, 2, 2))
    image = Image(np.rint(array).astype(np.int16), np.diag([-old, old, 8.0, 1.0]), "LGE")
    settings = config(new, "slice_percentile")
    shown = turned(image, slice_axes(image.grid.direction, image.spacing))
    subject = stack_subject("a", "a", {"LGE": shown.array}, {}, tuple(shown.spacing), settings, size)
    prepared = prepare(Study({"LGE": image}, "a"), settings)
    there = Frame(prepared.mask, 16, size).into(prepared.images["LGE"], settings.background)
    here = subject.images["LGE"].astype(np.float32)
    if size is None:
        rows, columns = ((n - m) // 2 for n, m in zip(there.shape[1:], here.shape[1:], strict=True))
        there = there[:, rows : rows + here.shape[1], columns : columns + here.shape[2]]
    assert here.std() > 0.2
    assert np.abs(there - here).max() <= HALF + 1e-5
    # And the way back: what was found lies on the pixels of the input.
    back = prepared.to_input(prepared.images["LGE"], "LGE")
    assert back.grid.same_as(image.grid)
    inner = np.s_[:, 4:-4, 4:-4]
    assert np.corrcoef(back.array[inner].ravel(), image.array[inner].ravel())[0, 1] > 0.9


def body(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of three tissues in air, and a field that doubles from one corner to the other."""
    k, j, i = np.mgrid[:5, :40, :48]
    organs = 300 + 60 * (np.hypot(j - 20, i - 18) < 6) - 80 * (np.hypot(j - 16, i - 32) < 5)
    noise = np.random.default_rng(seed).normal(0, 8, organs.shape)
    image = np.where(np.hypot((j - 20) / 15, (i - 24) / 19) < 1, organs, 12) + noise
    return np.abs(image).astype(np.float32), np.exp(0.7 * (j / 40 + i / 48 + k / 50 - 1)).astype(np.float32)


def test_the_bias_field_of_whole_slices_is_that_of_what_they_show():
    image, field = body()
    whole = np.ones(image.shape, bool)
    found, without = (np.log(bias_field(x, whole, (4.0, 4.0, 8.0), True))[image > 100] for x in (image * field, image))
    slope, _ = np.polyfit(np.log(field)[image > 100], found - without, 1)
    assert 0.8 < slope < 1.2
    assert np.allclose(bias_field(np.full_like(image, 7), whole, (4.0, 4.0, 8.0), True), 1, atol=1e-3)


def test_training_and_inference_correct_the_same_field_of_mr_and_none_of_ct():
    image, field = body()
    settings = config(4.0, "percentile", bias_field=True)
    fields = {}
    for sequence in ("T1in", "CT"):
        given = Image(np.rint(image * field), np.diag([4.0, 4.0, 8.0, 1.0]), sequence)
        subject = stack_subject("a", "a", {sequence: given.array}, {}, tuple(given.spacing), settings)
        prepared = prepare(Study({sequence: given}, "a"), settings)
        assert np.abs(prepared.images[sequence] - subject.images[sequence].astype(np.float32)).max() <= HALF + 1e-5
        fields[sequence] = prepared.bias.get(sequence)
    assert fields["CT"] is None and np.ptp(np.log(fields["T1in"])) > 0.5


def test_bias_fields_of_phantom_stacks_are_corrected_where_the_model_will_be_used_so(tmp_path):
    arguments = {"size": [32, 32], "spacing": [6.0, 6.0, 12.0], "slices": 3}
    plain = preprocessing_of("heart", arguments)
    both = [PreprocessingConfig.from_dict(plain | {"bias_field": wanted}) for wanted in (False, True)]
    one, two = (load_phantoms([3], arguments, [], settings, tmp_path, kind="heart")[0] for settings in both)
    assert not np.array_equal(one.images["LGE"], two.images["LGE"])


def test_phantoms_smaller_than_a_network_reads_get_the_border_of_inference(tmp_path):
    arguments = {"size": [33, 40], "spacing": [4.0, 4.0, 12.0], "slices": 3}
    settings = PreprocessingConfig.from_dict(preprocessing_of("heart", arguments))
    (subject,) = load_phantoms([3], arguments, [], settings, tmp_path, kind="heart", size=(48, 32))
    assert subject.mask.shape == (3, 48, 33) and subject.mask.all()
    prepared = prepare(Study(create_phantom("heart", 3, **arguments).study.images), settings, "LGE")
    frame = Frame(prepared.mask, 16, (48, 32))
    batch = PairSampler([subject], ("LGE",), (), PairSamplingConfig(1, [(48, 32)], rotation=0)).batch(0)
    shown = torch.from_numpy(frame.into(prepared.images["LGE"], settings.background))
    assert min(float((batch["images"]["LGE"][0, 0] - plane).abs().max()) for plane in shown) <= HALF + 1e-5


def test_turned_images_keep_their_places_in_space():
    image = Image(ramp(2, 3, 4), np.diag([-1.0, 2.0, -5.0, 1.0]) @ np.eye(4)[:, [1, 0, 2, 3]], "T1")
    result = turned(image, np.eye(3))
    assert np.allclose(result.grid.direction, np.eye(3)) and result.array.shape == (2, 4, 3)
    for index in ((0, 0, 0), (1, 2, 1), (1, 3, 2)):
        point = result.affine @ [*index[::-1], 1]
        i, j, k = np.rint(np.linalg.inv(image.affine) @ point).astype(int)[:3]
        assert result.array[index] == image.array[k, j, i]


def test_slices_that_do_not_agree_are_refused():
    with pytest.raises(InputError, match=r"do not agree \(cine 2 x 8 x 8, LGE 3 x 8 x 8\)"):
        stack_subject("a", "a", {"cine": ramp(2, 8, 8), "LGE": ramp(3, 8, 8)}, {}, (1, 1, 8), config())


def test_survives_the_cache(tmp_path):
    images, labels = {"LGE": ramp(2, 8, 8)}, {"LGE": np.ones((2, 8, 8))}
    subject = stack_subject("a", "p", images, labels, (1, 1, 8), config(), about={"x": 1})
    subject.save(tmp_path / "a.npz")
    loaded = Subject.load(tmp_path / "a.npz")
    assert np.array_equal(loaded.sequence_labels["LGE"], subject.sequence_labels["LGE"])
    assert loaded.about == {"x": 1} and loaded.group == "p"
