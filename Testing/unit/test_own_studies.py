"""Labels of own studies become the classes of the system that learns from them, prepared or packed, and stay up to
date."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from disentangle.datasets.loading import Loading
from disentangle.datasets.packs import CARD, is_pack
from disentangle.datasets.published import data_sets, load_sets
from disentangle.datasets.volumes import Subject
from disentangle.errors import InputError
from disentangle.learning.config import load_config
from disentangle.learning.data import load_data, pack
from disentangle.phantoms.brain import BRAIN_CLASSES
from disentangle.preprocessing import PreprocessingConfig
from disentangle.study import Image

UNTOUCHED = {"registration": "none", "pose": "reference", "spacing": [1, 1, 1], "size_multiple": 8, "margin_mm": 2}
NAMES = {"1": "edema", "2": "enhancing tumour"}
EDEMA, CORE = 84, 12
"""Voxels of each."""


def write_studies(folder: Path, names: dict[str, str], count: int = 1) -> None:
    """Boxes with an edema around a core that takes contrast."""
    for n in range(count):
        place = folder / f"s{n}"
        image = np.zeros((16, 24, 20), np.int16)
        image[2:14, 4:20, 4:16] = np.random.default_rng(n).integers(100, 900, (12, 16, 12))
        labels = np.zeros(image.shape, np.uint8)
        labels[5:8, 8:12, 6:14] = 1
        labels[6, 9:11, 7:13] = 2
        Image(image, np.eye(4)).write(place / "T1.nii.gz")
        Image(labels, np.eye(4)).write(place / "labels.nii.gz")
        name_labels(folder, names)


def name_labels(folder: Path, names: dict[str, str]) -> None:
    """Write the study.json of all studies."""
    for place in folder.iterdir():
        (place / "study.json").write_text(json.dumps({"name": place.name, "labels": names}), encoding="utf-8")


def configuration(tmp_path: Path, classes, folder: str = "set") -> dict:
    data = {"phantoms": None, "studies": {"folder": str(tmp_path / folder)}, "cache": str(tmp_path / "cache")}
    system = {"sequences": ["T1"], "classes": classes}
    return load_config({"output": str(tmp_path), "system": system, "preprocessing": UNTOUCHED, "data": data})


def shown(subject: Subject, classes) -> dict[str, int]:
    """Class -> voxels."""
    counts = {name: int((subject.labels == value).sum()) for value, name in enumerate(classes) if value}
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (BRAIN_CLASSES, {"peritumoral edema": EDEMA, "enhancing tumour": CORE}),
        (BRAIN_CLASSES[::-1], {"peritumoral edema": EDEMA, "enhancing tumour": CORE}),
        (("background", "enhancing tumour", "edema"), {"enhancing tumour": CORE, "edema": EDEMA}),
        (("background", "whole tumour"), {"whole tumour": EDEMA + CORE}),
    ],
    ids=["brain", "brain backwards", "two", "one"],
)
def test_a_study_shows_the_classes_of_the_system(tmp_path, classes, expected):
    classes = ("background", *(c for c in classes if c != "background"))
    write_studies(tmp_path / "set", NAMES)
    # Whatever another system has left in the cache.
    load_data(configuration(tmp_path, ["background", "whole tumour", "white matter"]))
    (study,) = load_data(configuration(tmp_path, list(classes))).training
    assert shown(study, classes) == expected


def test_a_label_that_is_none_of_the_classes_is_refused_by_name(tmp_path):
    write_studies(tmp_path / "set", NAMES)
    with pytest.raises(InputError, match='label name "edema" is not known; use one of enhancing tumour'):
        load_data(configuration(tmp_path, ["background", "enhancing tumour"]))


def test_a_system_that_does_not_segment_takes_the_studies_of_one_that_does(tmp_path):
    write_studies(tmp_path / "set", NAMES)
    load_data(configuration(tmp_path, "brain"))
    prepared = sorted((tmp_path / "cache").iterdir())
    load_data(configuration(tmp_path, []))
    assert sorted((tmp_path / "cache").iterdir()) == prepared
    pack(configuration(tmp_path, ["background", "whole tumour"]), tmp_path / "pack")
    assert load_data(configuration(tmp_path, [], "pack")).training


def test_a_pack_is_for_the_classes_that_it_was_made_for(tmp_path):
    write_studies(tmp_path / "set", NAMES)
    classes = ["background", "enhancing tumour", "edema"]
    assert is_pack(pack(configuration(tmp_path, classes), tmp_path / "pack"))
    (study,) = load_data(configuration(tmp_path, classes, "pack")).training
    assert shown(study, classes) == {"enhancing tumour": CORE, "edema": EDEMA}
    turned = [classes[0], *classes[:0:-1]]
    with pytest.raises(
        InputError, match=r"packed for the classes .*tumour, edema, not for .*edema, .*; pack them again"
    ):
        load_data(configuration(tmp_path, turned, "pack"))


def test_a_pack_that_does_not_tell_its_classes_has_those_of_brains(tmp_path):
    write_studies(tmp_path / "set", NAMES)
    pack(configuration(tmp_path, "brain"), tmp_path / "pack")
    card = json.loads((tmp_path / "pack" / CARD).read_text(encoding="utf-8"))
    assert card.pop("classes") == list(BRAIN_CLASSES)
    (tmp_path / "pack" / CARD).write_text(json.dumps(card), encoding="utf-8")
    assert load_data(configuration(tmp_path, "brain", "pack")).training
    with pytest.raises(InputError, match="packed for the classes background, cerebrospinal fluid"):
        load_data(configuration(tmp_path, ["background", "whole tumour"], "pack"))


def test_a_data_set_of_studies_is_prepared_again_when_a_description_is_corrected_or_a_mask_is_added(tmp_path):
    classes = ("background", "edema", "enhancing tumour")
    loading = Loading(("T1",), classes, PreprocessingConfig.from_dict(UNTOUCHED))
    sets = data_sets({"layout": "studies", "folder": str(tmp_path / "set"), "folds": 1})

    def first() -> Subject:
        return load_sets(sets, ("training",), loading, tmp_path / "cache", tmp_path / "splits")[0]["training"][0]

    write_studies(tmp_path / "set", {"1": "enhancing tumour", "2": "edema"}, count=3)
    assert shown(first(), classes) == {"edema": CORE, "enhancing tumour": EDEMA}
    name_labels(tmp_path / "set", NAMES)
    corrected = first()
    assert shown(corrected, classes) == {"edema": EDEMA, "enhancing tumour": CORE}
    mask = np.zeros((16, 24, 20), np.uint8)
    mask[3:13, 5:19, 5:15] = 1
    for place in (tmp_path / "set").iterdir():
        Image(mask, np.eye(4)).write(place / "brainmask.nii.gz")
    assert first().mask.sum() == mask.sum() < corrected.mask.sum()
