"""Unregistered stacks of slices as subjects."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.datasets.stacks import normalised, stack_subject
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.losses import UNLABELLED


def ramp(slices: int, rows: int, columns: int) -> np.ndarray:
    return np.arange(slices * rows * columns, dtype=np.float32).reshape(slices, rows, columns)


def test_crop_and_pad_keep_pixels():
    image = ramp(3, 10, 12)
    labels = (image % 5).astype(np.uint8)
    subject = stack_subject("a", "a", {"LGE": image}, {"LGE": labels}, (1, 1, 8), "none", size=(8, 16))
    assert np.array_equal(subject.images["LGE"][:, :, 2:14].astype(np.float32), image[:, 1:9].astype(np.float16))
    assert (subject.images["LGE"][:, :, :2] == -1).all() and (subject.images["LGE"][:, :, 14:] == -1).all()
    assert np.array_equal(subject.sequence_labels["LGE"][:, :, 2:14], labels[:, 1:9])
    assert (subject.sequence_labels["LGE"][:, :, :2] == 0).all()
    assert subject.mask.all() and subject.spacing == (1.0, 1.0, 8.0)


def test_each_slice_fills_the_range():
    image = ramp(4, 8, 8) * np.array([1, 10, 100, 0], np.float32)[:, None, None]
    subject = stack_subject("a", "a", {"cine": image}, {}, (1, 1, 8))
    values = subject.images["cine"].astype(np.float32)
    assert np.allclose(values[:3].min((1, 2)), -1) and np.allclose(values[:3].max((1, 2)), 1)
    assert (values[3] == -1).all()


def test_sequences_with_other_pixels_meet_on_one_grid():
    fine, coarse = np.zeros((2, 40, 40), np.float32), np.zeros((2, 20, 20), np.float32)
    fine[:, 10:30, 10:30] = 1
    coarse[:, 5:15, 5:15] = 7
    spacing = {"T1in": (1, 1, 5), "T2SPIR": (2, 2, 5)}
    labels = {"T2SPIR": (coarse > 0).astype(np.uint8)}
    subject = stack_subject("a", "p", {"T1in": fine, "T2SPIR": coarse}, labels, spacing, size=(16, 16), pixel=2.0)
    a, b = subject.images["T1in"] > 0, subject.images["T2SPIR"] > 0
    assert subject.spacing == (2.0, 2.0, 5.0)
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9
    assert (subject.sequence_labels["T1in"] == UNLABELLED).all()
    assert np.array_equal(subject.labels, subject.sequence_labels["T2SPIR"])


def test_centre_moves_the_crop():
    image = np.zeros((1, 20, 20), np.float32)
    image[0, 4, 15] = 1
    subject = stack_subject("a", "a", {"LGE": image}, {}, (1, 1, 1), size=(6, 6), centres={"LGE": (4, 15)})
    assert subject.images["LGE"][0, 3, 3] == 1


def test_window_and_percentiles():
    values = np.linspace(-1000, 1000, 2001, dtype=np.float32).reshape(1, 1, -1)
    inside = np.ones(values.shape, bool)
    windowed = normalised(values, inside, "window", (-150, 250))[0, 0]
    assert windowed[1050] == pytest.approx(0, abs=1e-6) and windowed[0] == -1 and windowed[-1] == 1
    clipped = normalised(values, inside, "percentile")
    assert (clipped == 1).sum() == pytest.approx(21, abs=1) and np.array_equal(
        clipped, normalised(values, inside, "slice_percentile")
    )
    with pytest.raises(InputError, match="needs the setting window"):
        normalised(values, inside, "window")
    with pytest.raises(InputError, match="not known"):
        normalised(values, inside, "zscore")


def test_slices_that_do_not_agree_are_refused():
    with pytest.raises(InputError, match=r"do not agree \(cine 2 x 8 x 8, LGE 3 x 8 x 8\)"):
        stack_subject("a", "a", {"cine": ramp(2, 8, 8), "LGE": ramp(3, 8, 8)}, {}, (1, 1, 8))


def test_survives_the_cache(tmp_path):
    subject = stack_subject("a", "p", {"LGE": ramp(2, 8, 8)}, {"LGE": np.ones((2, 8, 8))}, (1, 1, 8), about={"x": 1})
    subject.save(tmp_path / "a.npz")
    loaded = Subject.load(tmp_path / "a.npz")
    assert np.array_equal(loaded.sequence_labels["LGE"], subject.sequence_labels["LGE"])
    assert loaded.about == {"x": 1} and loaded.group == "p"
