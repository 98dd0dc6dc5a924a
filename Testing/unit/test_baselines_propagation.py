"""Copy, register and active contour on shapes whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from disentangle.baselines import registration
from disentangle.baselines.active_contour import refined
from disentangle.baselines.copying import copied, propagate
from disentangle.baselines.registration import registered
from disentangle.metrics.overlap import dice, joint_dice

CONTRASTS = {"cine": (0.0, 0.3, 0.9, 0.2), "LGE": (0.0, 0.6, 0.8, 0.1)}
"""Intensity of air, body, blood pool and myocardium."""


def heart(contrast: str, angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), size: int = 80):
    """Image and labels (1 blood, 2 myocardium) of a body with an off-centre ring, rotated and shifted."""
    y, x = np.mgrid[:size, :size] - size / 2
    y, x = y - shift[0], x - shift[1]
    turn = np.deg2rad(angle)
    u, v = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    body = np.hypot(u / 1.3, v / 1.1) < 0.36 * size
    ring = np.hypot((u - 4) / 1.25, v - 3)
    labels = np.select([ring < 0.12 * size, ring < 0.2 * size], [1, 2], 0).astype(np.uint8)
    values = np.array(CONTRASTS[contrast])
    image = ndimage.gaussian_filter(values[np.where(labels > 0, labels + 1, body.astype(int))], 0.7)
    return image + np.random.default_rng(0).normal(0, 0.02, image.shape), labels


def test_the_copy_is_the_source_and_not_the_same_array():
    image, labels = heart("cine")
    found = copied(image, labels, image)
    assert np.array_equal(found, labels) and found is not labels and found.dtype == labels.dtype


def test_registration_beats_the_copy_on_a_turned_and_shifted_heart_of_another_contrast():
    source, labels = heart("cine")
    target, truth = heart("LGE", angle=12, shift=(5, -4))
    copy = joint_dice(copied(source, labels, target), truth)
    affine = joint_dice(registered(source, labels, target, deformable=False), truth)
    both = joint_dice(registered(source, labels, target), truth)
    assert copy < 0.75 and affine > 0.9 and both > 0.9
    assert both > copy + 0.2


def test_the_dense_stage_follows_what_no_affine_map_can():
    source, labels = heart("cine")
    image, truth = heart("LGE")
    rows, columns = np.mgrid[:80, :80].astype(float)
    bent = [rows + 3 * np.sin(columns / 8), columns]
    target, truth = ndimage.map_coordinates(image, bent, order=1), ndimage.map_coordinates(truth, bent, order=0)
    affine = joint_dice(registered(source, labels, target, deformable=False), truth)
    assert joint_dice(registered(source, labels, target), truth) > affine + 0.02


def test_the_dense_stage_moves_both_images_and_folds_nothing():
    random = np.random.default_rng(2)
    source, _ = heart("cine", size=64)
    noisy = source + random.normal(0, 0.2, source.shape)
    target, _ = heart("LGE", angle=8, shift=(2, 1), size=64)
    fixed, moving = (sitk.GetImageFromArray(registration._scaled(x)) for x in (target, noisy))
    there = registration._dense(fixed, moving, registration._affine(fixed, moving))
    _, *fields = (there.GetNthTransform(n) for n in range(3))
    for field in fields:
        field = sitk.DisplacementFieldTransform(field).GetDisplacementField()
        moved = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)
        assert moved.max() > 0.3
        assert sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).min() > 0


def test_registration_gives_the_same_labels_every_time_and_copies_where_there_is_nothing_to_see():
    source, labels = heart("cine", size=48)
    target, _ = heart("LGE", angle=5, size=48)
    assert np.array_equal(registered(source, labels, target), registered(source, labels, target))
    assert np.array_equal(registered(source, labels, np.zeros_like(target)), labels)


@pytest.mark.parametrize("contrast", ["cine", "LGE"])
def test_the_active_contour_improves_a_shifted_start_on_a_blurred_disc(contrast):
    y, x = np.mgrid[:64, :64] - 32.0
    truth = np.hypot(y, x) < 14
    background, disc = CONTRASTS[contrast][1], CONTRASTS[contrast][3]
    image = ndimage.gaussian_filter(np.where(truth, disc, background), 2.0)
    start = (np.hypot(y - 4, x + 3) < 12).astype(np.uint8)
    found = refined(image, start, image)
    assert dice(start > 0, truth) < 0.8
    assert dice(found > 0, truth) > 0.95


def test_the_active_contour_keeps_structures_apart_and_within_the_band():
    source, labels = heart("cine")
    target, truth = heart("LGE", shift=(2, -1))
    found = refined(source, labels, target)
    assert set(np.unique(found)) <= {0, 1, 2} and found.dtype == labels.dtype
    assert dice(found == 1, truth == 1) > dice(labels == 1, truth == 1)
    far = ndimage.distance_transform_edt(labels == 0) > 9
    assert not found[far].any()
    assert np.array_equal(refined(source, labels, np.zeros_like(target)), labels)


def test_volumes_are_propagated_slice_by_slice_and_empty_slices_stay_empty():
    image, labels = heart("cine", size=32)
    seen = []

    def method(source, labels, target):
        seen.append(source)
        return labels + 1

    volume, empty = np.stack([image, image]), np.stack([labels, np.zeros_like(labels)])
    found = propagate(method, volume, empty, volume)
    assert len(seen) == 1 and np.array_equal(found[0], labels + 1) and not found[1].any()
