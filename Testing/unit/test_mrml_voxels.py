"""Voxels of results in real MRML (slicer-core): their types, and what a user has edited."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from disentangle.mrml.segments import kept  # noqa: E402
from disentangle.mrml.volumes import fill_volume  # noqa: E402


@pytest.mark.parametrize(
    "kind, values, stored",
    [
        (np.int64, (-(2**31), 2**31 - 1), np.int32),
        (np.int64, (0, 2**31), np.uint32),
        (np.int64, (-1, 2**32 - 1), np.float64),
        (np.int64, (-(2**31) - 1, 0), np.float64),
        (np.uint64, (0, 2**31 - 1), np.int32),
        (np.uint64, (0, 2**32 - 1), np.uint32),
        (np.uint64, (0, 2**40), np.float64),
    ],
)
def test_integers_of_64_bits_keep_their_values_in_a_volume(kind, values, stored) -> None:
    array = np.full((3, 4, 5), values[0], kind)
    array[1, 2, 3] = values[1]
    node = slicer.vtkMRMLScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    fill_volume(node, array, np.eye(4))
    found = slicer.util.arrayFromVolume(node)
    assert found.dtype == stored
    assert [int(found[0, 0, 0]), int(found[1, 2, 3])] == list(values)


def test_what_the_user_erased_of_a_class_is_not_filled_again_by_a_new_run() -> None:
    new = np.array([[[1, 1, 2, 2, 0, 3]]], np.uint8)
    edited = np.array([[[1, 0, 0, 2, 1, 0]]], np.uint8)  # the user cut class 1 and drew some of it elsewhere
    found = kept(new, edited, [1])
    assert found.dtype == np.uint8
    assert found.tolist() == [[[1, 0, 2, 2, 1, 3]]]


def test_an_edited_class_lies_over_what_a_new_run_found_there() -> None:
    new = np.array([[[2, 2, 2]]], np.uint8)
    edited = np.array([[[0, 1, 3]]], np.uint8)
    assert kept(new, edited, [1]).tolist() == [[[2, 1, 2]]]
