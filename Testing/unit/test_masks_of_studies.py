"""Masks that come with a study: one that cannot be meant is refused by its own name, not by that of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from disentangle.cli import main
from disentangle.errors import InputError
from disentangle.phantoms import brain_phantom
from disentangle.study import Image, Study, check_mask

SHAPE = (20, 22, 24)
RNG = np.random.default_rng(3)


def ball(dtype: type = np.uint8) -> np.ndarray:
    grid = np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2
    return (np.sqrt((grid**2).sum(axis=0)) < 8).astype(dtype)


def shifted(x: float, spacing: float = 1.0) -> np.ndarray:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[0, 3] = x
    return affine


T1 = Image(RNG.integers(1, 900, SHAPE).astype(np.int16), np.eye(4), "T1", "t1.nii.gz")
INTENSITIES = RNG.integers(0, 200, SHAPE)


@pytest.mark.parametrize(
    "array",
    [
        ball(),
        ball(bool),
        255 * ball(),
        ball(np.float32),
        0.99 * ball(np.float32),
        RNG.random(SHAPE, np.float32),
        7 * ball(np.int16) - 3,
        RNG.integers(0, 5, SHAPE, np.uint8),
    ],
    ids=["bytes", "boolean", "255", "float", "probability", "probabilities", "negative outside", "scattered labels"],
)
def test_a_mask_is_anything_that_is_zero_or_less_outside(array: np.ndarray) -> None:
    check_mask(Image(array, np.eye(4)), [T1])


@pytest.mark.parametrize("spacing", [4.0, 6.0])
def test_a_label_map_of_many_structures_is_a_mask_and_an_image_of_the_same_head_is_none(spacing: float) -> None:
    study = brain_phantom(3, spacing=spacing, sequences=("T1",)).study
    parts = study.labels.array.astype(np.int16)
    parts[parts > 0] += 10 * (np.argwhere(parts > 0)[:, 2] // 8)  # 8 voxels wide, as in a parcellation
    assert len(np.unique(parts)) > 8
    check_mask(study.labels.with_array(parts), study.images.values())
    t1 = study["T1"].array
    for image in (t1, np.round(32 * t1 / t1.max())):
        with pytest.raises(InputError, match="is no mask: its values change from voxel to voxel"):
            check_mask(study["T1"].with_array(image), study.images.values())


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (Image(np.zeros(SHAPE, np.uint8), np.eye(4), source="m.nii.gz"), "m.nii.gz marks no voxel as brain"),
        (Image(-INTENSITIES, np.eye(4), source="m.nii.gz"), "m.nii.gz marks no voxel as brain"),
        (Image(np.full(SHAPE, np.nan, np.float32), np.eye(4), source="m.nii.gz"), "m.nii.gz marks no voxel"),
        (Image(INTENSITIES, np.eye(4), source="m.nii.gz"), "m.nii.gz is no mask"),
        (Image(1 - 6 * RNG.random(SHAPE), np.eye(4), source="m.nii.gz"), "m.nii.gz is no mask"),
        (Image(INTENSITIES / 7.0, np.eye(4), source="m.nii.gz"), "m.nii.gz is no mask"),
        (Image(np.where(ball(), np.inf, 0.0), np.eye(4), source="m.nii.gz"), "m.nii.gz is no mask"),
        (Image(ball(), shifted(500), source="m.nii.gz"), r"m.nii.gz does not overlap t1.nii.gz"),
        (Image(ball(), shifted(20), source="m.nii.gz"), r"m.nii.gz does not overlap t1.nii.gz"),
    ],
)
def test_what_cannot_be_meant_as_a_mask_is_refused(mask: Image, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        check_mask(mask, [T1])
    assert str(error.value).endswith(".")


def test_a_mask_overlaps_by_what_it_marks_and_not_by_its_box() -> None:
    check_mask(Image(ball(), shifted(12)), [T1])
    array = np.zeros(SHAPE, np.uint8)
    array[:, :, 12:] = 1
    check_mask(Image(array, shifted(-15)), [T1])
    array[:, :, 12:], array[:, :, :6] = 0, 1
    with pytest.raises(InputError, match="does not overlap"):
        check_mask(Image(array, shifted(-15)), [T1])


def test_the_mask_of_a_study_may_lie_in_the_space_of_any_sequence() -> None:
    far = Image(T1.array, shifted(300), "T2", "t2.nii.gz")
    check_mask(Image(ball(), shifted(300)), [T1, far])
    with pytest.raises(InputError, match=r"does not overlap t1.nii.gz or t2.nii.gz"):
        check_mask(Image(ball(), shifted(900)), [T1, far])


@pytest.mark.parametrize("name", ["brainmask", "brainmask_T1"])
def test_a_wrong_mask_in_the_folder_of_a_study_is_named(name: str, tmp_path: Path) -> None:
    T1.write(tmp_path / "T1.nii.gz")
    Image(ball() * 0, np.eye(4)).write(tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputError, match=rf"{name}\.nii\.gz marks no voxel"):
        Study.from_folder(tmp_path)


def test_the_mask_of_a_sequence_that_is_not_there_is_nobodys_trouble(tmp_path: Path) -> None:
    T1.write(tmp_path / "T1.nii.gz")
    Image(ball(), shifted(500)).write(tmp_path / "brainmask_T2.nii.gz")
    assert Study.from_folder(tmp_path).available == ("T1",)


@pytest.mark.parametrize(
    ("array", "affine", "sentence"),
    [
        (ball() * 0, np.eye(4), "m.nii.gz marks no voxel as brain"),
        (INTENSITIES.astype(np.int16), np.eye(4), "m.nii.gz is no mask"),
        (ball(), shifted(500), "m.nii.gz does not overlap"),
    ],
)
def test_a_wrong_mask_on_the_command_line_is_named(
    array, affine, sentence, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    T1.write("t1.nii.gz")
    Image(array, affine).write("m.nii.gz")
    assert main(["segment", "-i", "T1=t1.nii.gz", "--mask", "m.nii.gz", "-o", "s.nii.gz"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
