"""Protocols on published data sets: subjects keep their labels, phantoms stay away, and data may move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from set_trees import write_brats

from disentangle.errors import InputError
from disentangle.learning import reuse
from disentangle.learning.config import load_config, save_config
from disentangle.learning.data import load_data
from disentangle.learning.protocols import cohort, create
from disentangle.learning.protocols.runs import Repetition, Runs
from disentangle.learning.protocols.settings import Method

COMPLETED = Path(__file__).resolve().parents[2] / "training" / "configs" / "e002-table2.yaml"
"""Its first methods are translators, which have no classes; those after them learn on other phantoms."""
OTHERS = "UCD completed"


def completed(folder, *overrides: str):
    """The protocol on BraTS 2018, as the header of its file says."""
    chosen = f"data.dataset={{layout: brats2018, folder: '{folder}'}}"
    return create(COMPLETED, [chosen, "data.phantoms=null", "test={}", "folds=[0]", *overrides])


def config_of(protocol, method: Method) -> dict:
    checkpoints = dict.fromkeys(method.needs(), "x.ckpt")
    condition = protocol.settings.conditions[0]
    return Runs(protocol.settings, print).config(method, condition, Repetition(1), checkpoints=checkpoints)


def test_subjects_keep_their_labels_where_the_first_method_does_not_segment(tmp_path):
    tree = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    for n in range(5):
        write_brats(tree / "HGG" / f"Brats18_X_{n}_1", ("flair", "t1", "t1ce", "t2"))
    coarse = ["preprocessing.spacing=[2,2,2]", "preprocessing.size_multiple=8", "preprocessing.margin_mm=2"]
    protocol = completed(tree, f"data.cache={tmp_path / 'cache'}", f"output={tmp_path}", *coarse)
    config = config_of(protocol, protocol.settings.methods[0])
    assert config["system"]["classes"] == []
    common = cohort.for_all(config, protocol.settings)
    assert common["system"]["classes"] == load_config({})["system"]["classes"]
    (subject,) = cohort.test_subjects(common, {}, 0)
    assert {"T1", "T1Gd", "T2", "FLAIR"} == set(subject.images)
    assert (subject.labels == 7).any(), np.unique(subject.labels)


@pytest.mark.parametrize(("label", "looks"), [("4 x TC-MGAN", True), ("UCD", False)])
def test_a_translator_has_the_tumours_of_its_persons_if_it_looks_at_them(label, looks, tmp_path):
    tree = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    for n in range(5):
        write_brats(tree / "HGG" / f"Brats18_X_{n}_1", ("flair", "t1", "t1ce", "t2"))
    coarse = ["preprocessing.spacing=[2,2,2]", "preprocessing.size_multiple=8", "preprocessing.margin_mm=2"]
    protocol = completed(tree, f"data.cache={tmp_path / 'cache'}", f"output={tmp_path}", *coarse)
    method = next(m for m in protocol.settings.methods if m.label == label)
    training = load_data(config_of(protocol, method)).training
    assert [s.labels is not None and bool((s.labels == 7).any()) for s in training] == [looks] * len(training)


def test_without_any_method_that_segments_there_are_no_classes():
    protocol = create(COMPLETED.with_name("e002-table1.yaml"))
    config = config_of(protocol, protocol.settings.methods[0])
    assert cohort.for_all(config, protocol.settings)["system"]["classes"] == []


def test_phantoms_that_are_not_wanted_do_not_come_back_with_a_method_s_changes(tmp_path):
    for method in (protocol := completed(tmp_path)).settings.methods:
        assert config_of(protocol, method)["data"]["phantoms"] is None, method.label
    protocol = create(COMPLETED)
    phantoms = {m.label: config_of(protocol, m)["data"]["phantoms"] for m in protocol.settings.methods}
    assert phantoms["UCD"]["first_seed"] == 1 and phantoms[OTHERS] == {**phantoms["UCD"], "first_seed": 101}


def test_neither_do_they_with_those_of_a_condition():
    content = {
        "protocol": "E000-1",
        "data": {"phantoms": None, "studies": {"folder": "x"}},
        "methods": {"a": {"changes": {"data": {"studies": {"exclude": ["y"]}}}}},
        "conditions": {"few": {"changes": {"data": {"phantoms": {"subjects": 2}}}}},
    }
    protocol = create(content)
    data = config_of(protocol, protocol.settings.methods[0])["data"]
    assert data["phantoms"] is None and data["studies"]["exclude"] == ["y"]


def test_a_report_says_where_translators_and_segmentors_share_persons(tmp_path):
    notes = [protocol.tables[0].note for protocol in (create(COMPLETED), completed(tmp_path))]
    assert ["on the same persons" in note for note in notes] == [False, True]


@pytest.mark.parametrize("listed", [False, True])
def test_a_run_is_found_again_after_its_data_sets_have_moved(tmp_path, monkeypatch, listed):
    monkeypatch.setattr(reuse, "train", None)

    def config(disk: str, fold: int = 0) -> dict:
        entry = {"layout": "chaos", "folder": f"/{disk}/CHAOS", "pairs": "none", "fold": fold}
        return load_config({"output": str(tmp_path), "data": {"dataset": [entry] if listed else entry}})

    final = tmp_path / "experiment" / "final.ckpt"
    final.parent.mkdir()
    final.touch()
    save_config(config("disk1"), final.with_name("config.yaml"))
    assert reuse.train_once(config("disk2")) == final
    with pytest.raises(InputError, match=r"was made with data\.dataset"):
        reuse.train_once(config("disk2", 1))


def test_data_sets_are_not_taken_for_none(tmp_path, monkeypatch):
    monkeypatch.setattr(reuse, "train", None)
    config = load_config({"output": str(tmp_path), "data": {"phantoms": None, "studies": None}})
    folder = tmp_path / "experiment"
    folder.mkdir()
    save_config(config, folder / "config.yaml")
    sets = [{"layout": "chaos", "folder": "x"}]
    with pytest.raises(InputError, match=r"was made with data\.dataset=None"):
        reuse.train_once(load_config({"output": str(tmp_path), "data": {"dataset": sets}, "preprocessing": {}}))
