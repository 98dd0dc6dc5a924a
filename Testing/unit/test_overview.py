"""The overview of a run: captioned tiles of the slice that shows most, written as a PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from disentangle.inference.overview import best_slice, compose
from disentangle.inference.png import draw_text, write_png


def test_a_png_holds_the_pixels_that_were_written(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png")))
    assert np.array_equal(found, pixels)


def test_captions_are_drawn_and_cut_at_the_border():
    pixels = np.zeros((12, 30, 3), np.uint8)
    draw_text(pixels, 1, 1, "T1")
    drawn = pixels.any(axis=2)
    assert drawn[1:11, 1:15].any()
    assert not drawn[:, 16:].any()
    draw_text(pixels, 8, 26, "FLAIR")
    assert pixels[8:, 26:].any()


def test_tiles_stand_in_rows_with_their_captions():
    tile = np.full((40, 40, 3), 200, np.uint8)
    picture = compose([("T1", [("input", tile), ("rebuilt", tile)]), ("T2", [("input", tile)])])
    assert (picture == 200).all(axis=2).sum() == 3 * 40 * 40 * 4 * 4  # three tiles, magnified four times
    assert picture.dtype == np.uint8


def test_the_slice_shown_is_that_of_the_largest_lesion():
    mask = np.zeros((5, 4, 4), bool)
    mask[1], mask[3, 0] = True, True
    labels = np.zeros(mask.shape, int)
    assert best_slice(mask) == 1
    assert best_slice(np.ones((5, 4, 4), bool)) == 2
    labels[3, 0, :2] = 4
    assert best_slice(mask, labels, [4]) == 3
