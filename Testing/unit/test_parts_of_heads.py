"""A sequence that shows a part of the head only neither leads the others nor cuts the brain that they show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from atlas_brains import T1, T2, brain, named

from disentangle.preprocessing import PreprocessingConfig, prepare
from disentangle.preprocessing.foregrounds import Foregrounds
from disentangle.progress import Progress
from disentangle.study import Image, Study

PLAIN = PreprocessingConfig(spacing=(3, 3, 3), size_multiple=16, pose="reference", registration="none")


def padded(image: Image) -> Image:
    """The same with 45 mm more of background to the left, right, front and back, as images of heads have."""
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [15, 15, 0]
    return replace(image, array=np.pad(image.array, [(0, 0), (15, 15), (15, 15)]), affine=affine)


WHOLE = {"T1": padded(named(brain(T1), "T1")), "T2": padded(named(brain(T2, seed=1), "T2"))}


def upper_half(image: Image) -> Image:
    """What lies above the middle of the brain."""
    count = len(image.array)
    return image.cropped((slice(count // 2, count), *(slice(0, n) for n in image.array.shape[1:])))


def in_air(image: Image) -> Image:
    """The same with the noise of air around it: no skull-stripped image."""
    noise = np.abs(np.random.default_rng(5).normal(0, 4, image.array.shape))
    return replace(image, array=(image.array + noise).astype(np.float32))


def empty(sequence: str, *extent: float, spacing: float = 2.0) -> Image:
    """A volume of some field of view (x, y, z) in mm."""
    size = [round(mm / spacing) for mm in extent[::-1]]
    return Image(np.zeros(size, np.float32), np.diag([spacing] * 3 + [1.0]), sequence=sequence)


def partial(*images: Image) -> set[str]:
    """The sequences that count as parts; heads, whatever they show."""
    return set(Foregrounds(Study({i.sequence: i for i in images}), True, Progress()).partial())


@pytest.mark.parametrize("reference", [None, "T1"])
def test_the_brain_is_that_of_the_sequence_that_shows_all_of_it(reference: str | None) -> None:
    part = Study({"T1": upper_half(WHOLE["T1"]), "T2": WHOLE["T2"]})
    prepared = prepare(part, PLAIN, reference)
    assert prepared.reference == (reference or "T2")
    assert prepared.mask.sum() == pytest.approx((WHOLE["T2"].array != 0).sum(), rel=0.005)
    (warning,) = prepared.warnings
    assert warning.startswith("T1 covers only")


def test_a_brain_that_had_to_be_cut_is_warned_of() -> None:
    part = Study({"T1": upper_half(WHOLE["T1"]), "T2": in_air(WHOLE["T2"])})
    warnings = prepare(part, PLAIN).warnings
    assert warnings == [
        "The brain is cut off where T1 ends, though T2 goes on there: the rest is missing from all results; leave T1 "
        "out, or give one that shows the whole brain."
    ]


def test_no_cut_is_seen_where_the_brain_ends_by_itself_or_no_other_sequence_goes_on() -> None:
    for study in (
        Study({"T1": WHOLE["T1"], "T2": in_air(WHOLE["T2"])}),
        Study({name: upper_half(image) for name, image in WHOLE.items()}),
    ):
        assert prepare(study, PLAIN).reference == "T1"
        assert not prepare(study, PLAIN).warnings


def test_a_slab_is_a_part_of_the_head_and_a_wide_field_of_view_makes_no_part_of_another() -> None:
    head, slab = empty("T1", 240, 240, 150), empty("T2", 240, 240, 60)
    assert partial(head, slab) == {"T2"}
    assert partial(slab) == partial(slab, replace(slab, sequence="FLAIR")) == set()
    assert partial(head, empty("T2", 400, 400, 400)) == set()
    assert partial(empty("T1", 160, 256, 256), empty("T2", 230, 200, 125)) == set()


def test_the_field_of_view_of_a_skull_stripped_image_is_not_compared_with_that_of_a_head() -> None:
    k, j, i = (slice(along.min(), along.max() + 1) for along in np.nonzero(WHOLE["T1"].array))
    close = np.pad(WHOLE["T1"].array[k, j, i], 1)
    study = Study({"T1": replace(WHOLE["T1"], array=close), "T2": in_air(empty("T2", 300, 300, 300, spacing=3.0))})
    assert not Foregrounds(study, False, Progress()).partial()
