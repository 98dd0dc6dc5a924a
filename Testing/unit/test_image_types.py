"""Voxels of an image, whatever type of number a file or a caller had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from disentangle.study import Image

VALUES = np.arange(60).reshape(3, 4, 5)


@pytest.mark.parametrize("kind", [">f4", "<f4", ">i2", "<i2", ">u4"])
def test_voxels_in_any_byte_order_reach_itk_and_files_as_they_are(kind: str, tmp_path: Path) -> None:
    image = Image(VALUES.astype(kind), np.eye(4))
    assert image.array.dtype == np.dtype(kind).newbyteorder("=")
    assert np.array_equal(sitk.GetArrayFromImage(image.to_sitk()), VALUES)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        assert np.array_equal(Image.read(image.write(tmp_path / f"a{suffix}")).array, VALUES)


@pytest.mark.parametrize("kind", [np.float32, np.int16, bool])
def test_voxels_that_need_no_swap_are_not_copied(kind: type) -> None:
    array = VALUES.astype(kind)
    assert Image(array, np.eye(4)).array is array
