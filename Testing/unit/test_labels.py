"""Labels of class values."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.inference.labels import most_probable


@pytest.mark.parametrize("classes", [1, 2, 8])
def test_the_most_probable_class_is_that_of_argmax(classes):
    values = np.random.default_rng(classes).random((classes, 5, 6, 7), dtype=np.float32)
    assert np.array_equal(most_probable(values), values.argmax(axis=0))
    assert most_probable(values).dtype == np.uint8


def test_of_equal_classes_the_first_is_taken():
    assert not most_probable(np.full((3, 2, 2, 2), 0.25, np.float32)).any()


def test_the_values_stay_as_they_are():
    values = np.random.default_rng(0).random((4, 3, 3, 3), dtype=np.float32)
    before = values.copy()
    most_probable(values)
    assert np.array_equal(values, before)
