"""A result on disk is of one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from disentangle.errors import InputError
from disentangle.inference import Result
from disentangle.study import Image


def result(run: int) -> Result:
    image = Image(np.full((4, 4, 4), run, np.uint8), np.eye(4))
    return Result(segmentation=image, probabilities={"lesion": image}, report={"run": run})


def test_a_result_whose_report_cannot_be_written_leaves_the_segmentation_of_the_run_before(tmp_path: Path) -> None:
    result(1).write(tmp_path)
    (tmp_path / "report.json").unlink()
    (tmp_path / "report.json").mkdir()
    with pytest.raises(InputError, match=r"report\.json is a folder"):
        result(2).write(tmp_path)
    for name in ("segmentation.nii.gz", "probabilities/lesion.nii.gz"):
        assert Image.read(tmp_path / name).array.max() == 1
    assert {path.name for path in tmp_path.iterdir()} == {"probabilities", "report.json", "segmentation.nii.gz"}
