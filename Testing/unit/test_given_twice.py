"""One image given as two sequences is warned of: nothing that differs between sequences can be read from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import numpy as np

from disentangle.study import Image, Study

RNG = np.random.default_rng(4)
T1 = Image(RNG.integers(0, 900, (8, 9, 10)).astype(np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
SENTENCE = "T1 and T1Gd are the same image, voxel for voxel; leave one out or give the right file."


def test_a_copy_of_a_file_under_the_name_of_another_sequence_is_warned_of(tmp_path: Path) -> None:
    T1.write(tmp_path / "T1.nii.gz")
    copyfile(tmp_path / "T1.nii.gz", tmp_path / "T1Gd.nii.gz")
    assert Study.from_folder(tmp_path).warnings == [SENTENCE]
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("T1", "T1Gd")}
    assert SENTENCE in Study.read(paths).warnings


def test_one_image_is_the_same_in_another_number_type() -> None:
    assert Study.from_images({"T1": T1, "T1Gd": T1.with_array(T1.array.astype(np.float32))}).warnings == [SENTENCE]


def test_images_that_differ_in_one_voxel_or_in_their_place_are_two() -> None:
    other = T1.array.copy()
    other[3, 4, 5] += 1
    elsewhere = T1.affine.copy()
    elsewhere[0, 3] += 5.0
    for second in (T1.with_array(other), replace(T1, affine=elsewhere)):
        assert not Study.from_images({"T1": T1, "T1Gd": second}).warnings
