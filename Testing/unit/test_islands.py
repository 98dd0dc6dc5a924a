"""Small pieces of a finding that lie apart go; what is large, or near the largest in size, stays."""

from __future__ import annotations

import numpy as np
import pytest

from disentangle.inference.islands import Islands

# Classes: background, tissue, edema, core. Edema and core are one finding.
TUMOUR = Islands((2, 3), share=0.1, ml=0.002)


def certain(labels: np.ndarray, second: int = 1) -> np.ndarray:
    """Probabilities: 0.7 for the label, 0.2 for the second guess, the rest for the background."""
    probabilities = np.zeros((4, *labels.shape), np.float32)
    np.put_along_axis(probabilities, labels[None], 0.7, 0)
    probabilities[second] += 0.2
    probabilities[0] += 0.1
    return probabilities


@pytest.fixture
def head() -> np.ndarray:
    """A tumour of 27 voxels with a core, tissue around."""
    labels = np.ones((8, 8, 16), np.int64)
    labels[1:4, 1:4, 1:4] = 2
    labels[2, 2, 2] = 3
    return labels


def test_a_speck_apart_becomes_the_second_guess_and_probabilities_still_add_up(head: np.ndarray):
    head[5:7, 5, 12] = 3
    probabilities = certain(head)
    assert TUMOUR.suppress(probabilities, 1.0) == pytest.approx(0.002)
    labels = probabilities.argmax(axis=0)
    assert (labels[5:7, 5, 12] == 1).all()
    assert (labels[1:4, 1:4, 1:4] == head[1:4, 1:4, 1:4]).all()
    assert np.allclose(probabilities.sum(axis=0), 1.0)
    assert probabilities[1, 5, 5, 12] == pytest.approx(0.2 / 0.3)


def test_a_core_inside_its_edema_is_no_island(head: np.ndarray):
    probabilities = certain(head)
    before = probabilities.copy()
    assert TUMOUR.suppress(probabilities, 1.0) == 0.0
    assert np.array_equal(probabilities, before)


def test_pieces_that_touch_at_a_corner_are_one(head: np.ndarray):
    head[4, 4, 4] = 2
    assert TUMOUR.suppress(certain(head), 1.0) == 0.0


def test_a_second_tumour_of_some_size_stays(head: np.ndarray):
    head[5, 5, 9:12] = 2  # three of 27 voxels
    assert TUMOUR.suppress(certain(head), 1.0) == 0.0


def test_specks_alone_go_whatever_their_share(head: np.ndarray):
    head[head > 1] = 1
    head[5, 5, 5] = 2
    probabilities = certain(head)
    assert TUMOUR.suppress(probabilities, 1.0) == pytest.approx(0.001)
    assert (probabilities.argmax(axis=0) == 1).all()


def test_what_is_small_is_so_in_millilitres_whatever_the_size_of_a_voxel(head: np.ndarray):
    head[head > 1] = 1
    head[5, 5, 5] = 2
    assert TUMOUR.suppress(certain(head), 2.0) == 0.0, "one voxel of 2 mm3 is as large as is asked for"
    head[5, 5, 5:8] = 2
    assert TUMOUR.suppress(certain(head), 0.5) == pytest.approx(0.0015)
    assert TUMOUR.suppress(certain(head), 1.0) == 0.0


def test_where_nothing_else_was_probable_there_is_background(head: np.ndarray):
    head[5, 5, 12] = 2
    probabilities = np.zeros((4, *head.shape), np.float32)
    np.put_along_axis(probabilities, head[None], 1.0, 0)
    TUMOUR.suppress(probabilities, 1.0)
    assert probabilities[:, 5, 5, 12].tolist() == [1.0, 0.0, 0.0, 0.0]


def test_of_a_slab_only_what_is_an_island_for_certain_goes(head: np.ndarray):
    head[5, 5, 12] = 3  # closed inside the slab
    head[7, 5, 12] = 3  # reaches its last slice
    probabilities = certain(head)
    assert TUMOUR.suppress(probabilities, 1.0, slab=True) == pytest.approx(0.001)
    labels = probabilities.argmax(axis=0)
    assert labels[5, 5, 12] == 1
    assert labels[7, 5, 12] == 3
    assert TUMOUR.among(head, 1.0)[7, 5, 12], "the whole volume tells"
