"""Configurations of the demonstrations: what their headers say for real patients is what such a training gets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from disentangle.datasets.published import data_sets
from disentangle.datasets.volumes import Subject
from disentangle.learning.config import load_config
from disentangle.learning.data import Data, samplers
from disentangle.registry import create

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "training" / "configs").glob("dafnet-*-demo.yaml"))


def overrides_in_header(path: Path, folder: Path) -> list[str]:
    """The ``key=value`` of the command line that the header gives for a published set, which lies in a folder."""
    header = re.match(r"(?:#.*\n)+", path.read_text(encoding="utf-8")).group()
    (lines,) = re.findall(r"^# With the .* patients of .*\n((?:#   .*\n)+)", header, re.MULTILINE)
    line = " ".join(line.removeprefix("#").strip() for line in lines.splitlines())
    assert "PATH" in line
    return shlex.split(line.replace("PATH", str(folder)))


def annotated_subject(number: int, sequences: list[str]) -> Subject:
    name, labels = f"s{number}", np.ones((3, 16, 16), np.uint8)
    images = {s: np.zeros(labels.shape, np.float16) for s in sequences}
    own = dict.fromkeys(sequences, labels)
    return Subject(name, name, images, labels > 0, labels, (1.0,) * 3, "study", {}, own)


def test_there_is_one_for_each_demonstration():
    assert [path.stem for path in CONFIGS] == ["dafnet-abdomen-demo", "dafnet-heart-demo"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_command_line_for_patients_withholds_no_labels(path: Path, tmp_path: Path):
    config = load_config(path, overrides_in_header(path, tmp_path))
    (data_set,) = data_sets(config["data"]["dataset"])
    assert (data_set.folder, data_set.annotated) == (str(tmp_path), 1.0)
    assert config["data"]["phantoms"] is None
    # The published width takes seconds to build, and changes nothing of what is drawn.
    abilities = create(**config["system"] | {"width": 0.05}).capabilities
    persons = [annotated_subject(n, config["system"]["sequences"]) for n in range(12)]
    training, _ = samplers(config, Data(persons, []), abilities)
    assert training.annotated == {s: {person.group for person in persons} for s in config["system"]["sequences"]}
