"""Many studies by clicks: what else may run, what is left out, and what a batch makes targets from."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import dialogs

RUN_SECONDS = 300.0


@pytest.fixture
def studies(study_folder: Path, tmp_path: Path) -> Path:
    """A folder with the studies anna and bert, of T1 and FLAIR each."""
    for name in ("anna", "bert"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for sequence in ("T1", "FLAIR"):
            shutil.copy(study_folder / f"{sequence}.nii.gz", tmp_path / "in" / name)
    return tmp_path / "in"


def tools() -> Any:
    """The module of the package that the loaded panel uses."""
    return sys.modules["disentangle.panel.batch_tools"]


def prepare(panel: Any, studies: Path) -> Any:
    """The batch box, with the folder of studies and one for results chosen."""
    box = panel.batchBox
    box.section.collapsed = False
    box.input.currentPath, box.output.currentPath = str(studies), str(studies.parent / "out")
    return box


def states(box: Any) -> list[list[str]]:
    return [row[:2] for row in box.table.texts()]


def report_of(studies: Path, name: str) -> dict[str, Any]:
    return json.loads((studies.parent / "out" / name / "report.json").read_text(encoding="utf-8"))


def tick(panel: Any, click: Any, *targets: str) -> None:
    for name, box in panel.targetBoxes.items():
        if box.checked != (name in targets):
            click(box)


def test_a_batch_is_not_begun_twice_and_keeps_what_was_done_before_it_is_cancelled(
    tiny_models: Any, slicer_bench: Any, load_module: Any, click: Any, wait_until: Any, studies: Path
) -> None:
    panel = load_module("DisentangleSeg")
    box = prepare(panel, studies)
    click(box.runButton)
    batch = box.batch
    assert not box.runButton.enabled
    assert "under way" in box.runButton.toolTip
    box.run()  # as a shortcut of a script would
    assert "A computation is under way" in dialogs.shown.pop().text
    with pytest.raises(sys.modules["disentangle.errors"].InputError, match="under way"):
        panel.logic.batch(str(studies), str(studies.parent / "out"), segment=True)
    assert box.batch is batch
    wait_until(lambda: batch.entries[0].status == "done", RUN_SECONDS, "the first study")
    assert states(box) == [["anna", "done"], ["bert", "running"]]
    panel.onCancel()
    wait_until(lambda: batch.done, RUN_SECONDS, "the end of the batch")
    assert panel.ui.statusLabel.text == "Cancelled; 1 of 2 studies are done, and their results stay."
    with (studies.parent / "out" / "batch.csv").open(newline="", encoding="utf-8") as stream:
        assert [row[:2] for row in csv.reader(stream)][1:] == [["anna", "done"], ["bert", "waiting"]]
    assert box.runButton.enabled


def test_thousands_of_studies_that_fail_at_once_are_all_listed(
    tiny_models: Any, slicer_bench: Any, load_module: Any, tmp_path: Path
) -> None:
    panel = load_module("DisentangleSeg")
    error = sys.modules["disentangle.errors"].InputError("The disk is full.")

    def refuse(*_args: Any, **_more: Any) -> None:
        raise error

    def fail(_job: Any, _wait: bool, ended: Any) -> None:  # begun, and over before it returns
        ended(SimpleNamespace(error=error))

    for work in (refuse, fail):
        logic = SimpleNamespace(runner=SimpleNamespace(busy=False), controller=SimpleNamespace(), work=work)
        entries = [tools().Entry(str(number), tmp_path) for number in range(1500)]
        batch = tools().Batch(logic, entries, panel.wanted(panel.modelBox.bundle), tmp_path / "out")
        batch.start()
        assert batch.done
        assert {(entry.status, entry.message) for entry in entries} == {("failed", "The disk is full.")}


def test_a_synthesis_after_a_segmentation_in_the_same_folder_is_made_and_the_same_again_left_out(
    tiny_models: Any, slicer_bench: Any, load_module: Any, click: Any, wait_until: Any, studies: Path, study: Any
) -> None:
    def run(panel: Any) -> list[list[str]]:
        box = prepare(panel, studies)
        click(box.runButton)
        wait_until(lambda: box.batch.done, RUN_SECONDS, "the end of the batch")
        return states(box)

    shutil.rmtree(studies / "bert")
    assert run(load_module("DisentangleSeg")) == [["anna", "done"]]
    synth = load_module("DisentangleSynth")
    tick(synth, click, "T2")
    assert run(synth) == [["anna", "done"]]
    assert (studies.parent / "out" / "anna" / "synthetic_T2.nii.gz").is_file()
    assert list(report_of(studies, "anna")["inputs"]) == ["T1", "FLAIR"]
    assert run(synth) == [["anna", "done before"]]

    synth.ui.sourceComboBox.setCurrentIndex(synth.ui.sourceComboBox.findText("T1"))
    synth.ui.styleSelector.setCurrentNode(study["T2"])
    assert run(synth) == [["anna", "done"]], "another source and look: other images"
    report = report_of(studies, "anna")
    assert list(report["inputs"]) == ["T1"]
    assert report["asked"]["looks"]
    assert run(synth) == [["anna", "done before"]]
    assert dialogs.shown == []


def test_source_and_look_are_those_of_the_panel_for_patients_of_the_scene_too(
    tiny_models: Any, slicer_bench: Any, load_module: Any, click: Any, study: Any, monkeypatch: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSynth")
    tick(panel, click, "FLAIR")
    panel.ui.sourceComboBox.setCurrentIndex(panel.ui.sourceComboBox.findText("T1"))
    panel.ui.styleSelector.setCurrentNode(study["T2"])
    started: list[tuple[Any, Any]] = []
    monkeypatch.setattr(panel.logic, "start", lambda nodes, *_, examples: started.append((nodes, examples)))
    box = panel.batchBox
    box.section.collapsed = False
    box.source.setCurrentIndex(1)
    click(box.runButton)
    assert started == [({"T1": study["T1"]}, {"FLAIR": study["T2"]})]
    slicer.mrmlScene.RemoveNode(study["T1"])
    started.clear()
    click(box.runButton)
    assert started == []
    assert "The study has no T1" in box.table.texts()[0][3]


def test_a_batch_is_refused_for_what_no_study_could_give(
    tiny_models: Any, slicer_bench: Any, load_module: Any, click: Any, study: Any, studies: Path
) -> None:
    panel = load_module("DisentangleSynth")
    box = prepare(panel, studies)
    tick(panel, click)
    click(box.runButton)
    assert dialogs.shown.pop().text == "Tick at least one sequence to make."
    tick(panel, click, "T1", "FLAIR")
    panel.ui.sourceComboBox.setCurrentIndex(panel.ui.sourceComboBox.findText("T1"))
    click(box.runButton)
    sentence = "T1 cannot be made from itself; untick it, or make the targets from others."
    assert dialogs.shown.pop().text == sentence
    assert panel.ui.applyButton.toolTip == sentence
    assert not panel.ui.applyButton.enabled
    assert box.batch is None


def test_each_visit_of_a_patient_is_a_study_of_its_own(
    tiny_models: Any, slicer_bench: Any, load_module: Any, study: Any, study_folder: Path
) -> None:
    import slicer

    load_module("DisentangleSeg")
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    patients = {"Anna": ("baseline", "follow-up"), "Bert": ("2024",)}
    for name, visits in patients.items():
        patient = tree.CreateSubjectItem(tree.GetSceneItemID(), name)
        for visit in visits:
            node = slicer.util.loadVolume(str(study_folder / "T1.nii.gz"))
            node.SetName(f"T1 of {name} {visit}")
            tree.SetItemParent(tree.GetItemByDataNode(node), tree.CreateStudyItem(patient, visit))
    found = {e.name: [node.GetName() for node in e.nodes.values()] for e in tools().studies_of_scene(("T1", "T2"))}
    assert found == {
        "Scene": ["T1", "T2"],
        "Anna, baseline": ["T1 of Anna baseline"],
        "Anna, follow-up": ["T1 of Anna follow-up"],
        "Bert": ["T1 of Bert 2024"],
    }


def test_volumes_of_nobody_that_are_told_apart_are_studies_of_their_own(
    tiny_models: Any, slicer_bench: Any, load_module: Any, study_folder: Path, tmp_path: Path
) -> None:
    import slicer

    load_module("DisentangleSeg")
    for name in ("sub-01_T1", "sub-02_T1", "sub-02_T2"):
        file = shutil.copy(study_folder / f"{name[-2:]}.nii.gz", tmp_path / f"{name}.nii.gz")
        slicer.util.loadVolume(str(file))
    found = {e.name: [node.GetName() for node in e.nodes.values()] for e in tools().studies_of_scene(("T1", "T2"))}
    assert found == {"sub-01": ["sub-01_T1"], "sub-02": ["sub-02_T1", "sub-02_T2"]}
