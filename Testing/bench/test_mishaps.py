"""What can go wrong beside the user's input: a worker that dies, two subjects in a scene, another Python; and volumes
that come while the panel is open."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench import dialogs

RUN_SECONDS = 300.0


def idle(panel: Any, wait_until: Any) -> None:
    wait_until(lambda: not panel.logic.runner.busy, RUN_SECONDS, "the end of the computation")


def names(panel: Any) -> dict[str, str]:
    return {sequence: node.GetName() for sequence, node in panel.studyBox.nodes().items()}


def test_a_worker_that_dies_is_told_in_one_sentence_and_the_next_run_works(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    panel = load_module("DisentangleSeg")
    before = slicer_bench.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    click(panel.ui.applyButton)
    wait_until(lambda: (panel.logic.controller.fraction or 0) > 0.02, RUN_SECONDS, "progress")
    os.kill(panel.logic.runner.link.client.pid, signal.SIGKILL)
    idle(panel, wait_until)
    assert len(dialogs.shown) == 1
    text = dialogs.shown.pop().text
    assert "\n" not in text.strip()
    assert text.endswith(".")
    assert panel.ui.statusLabel.text == text
    assert slicer_bench.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == before
    click(panel.ui.applyButton)
    idle(panel, wait_until)
    assert dialogs.shown == []
    assert panel.outputs is not None


def test_volumes_that_come_later_fill_the_rows_that_are_empty(
    tiny_models: Any, study_folder: Path, load_module: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    assert names(panel) == {}
    slicer.util.loadVolume(str(study_folder / "T1.nii.gz"))
    slicer.util.loadVolume(str(study_folder / "FLAIR.nii.gz"))
    wait_until(lambda: names(panel) == {"T1": "T1", "FLAIR": "FLAIR"}, 10, "the rows")
    assert panel.ui.applyButton.enabled
    again = slicer.util.loadVolume(str(study_folder / "T1.nii.gz"), {"name": "T1 of later"})
    slicer.util.loadVolume(str(study_folder / "T2.nii.gz"))
    wait_until(lambda: names(panel).get("T2") == "T2", 10, "the third row")
    assert again.GetName() not in names(panel).values()  # what the user has is not replaced


def put(node: Any, patient: str, study: str) -> None:
    """Put a volume into a study of a patient, as the DICOM browser does."""
    import slicer

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    owner = tree.GetItemByName(patient) or tree.CreateSubjectItem(tree.GetSceneItemID(), patient)
    visit = tree.GetItemChildWithName(owner, study) or tree.CreateStudyItem(owner, study)
    tree.SetItemParent(tree.GetItemByDataNode(node), visit)


def test_of_two_subjects_the_volumes_of_one_visit_are_taken(
    tiny_models: Any, study: Any, study_folder: Path, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    for sequence, node in study.items():
        put(node, "Anna", "May" if sequence != "FLAIR" else "June")
    bert = {s: slicer.util.loadVolume(str(study_folder / f"{s}.nii.gz"), {"name": f"B {s}"}) for s in ("T1", "FLAIR")}
    for node in bert.values():
        put(node, "Bert", "May")
    slicer.util.setSliceViewerLayers(background=study["T1"])  # a module that is opened takes the patient on screen
    panel = load_module("DisentangleSeg")
    assert names(panel) == {"T1": "T1", "T1Gd": "T1Gd", "T2": "T2"}  # Anna in May
    panel.studyBox.rows["FLAIR"].combo.setCurrentNode(study["FLAIR"])
    assert "different studies" in panel.ui.missingLabel.text
    assert "FLAIR of June" in panel.ui.missingLabel.text
    assert panel.ui.applyButton.enabled
    panel.studyBox.rows["FLAIR"].combo.setCurrentNode(bert["FLAIR"])
    assert "FLAIR of Bert" in panel.ui.applyButton.toolTip
    click(panel.ui.assignButton)  # the others of Bert, since one of his was chosen last
    assert names(panel) == {"T1": "B T1", "FLAIR": "B FLAIR"}
    click(panel.ui.applyButton)
    idle(panel, wait_until)
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    segmentation = tree.GetItemByDataNode(panel.outputs.segmentation)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    assert tree.GetItemName(tree.GetItemAncestorAtLevel(segmentation, level)) == "Bert"


def test_label_maps_and_several_values_per_voxel_are_no_inputs(
    tiny_models: Any, study: Any, load_module: Any, slicer_bench: Any
) -> None:
    import slicer

    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "T1 labels")
    slicer.modules.volumes.logic().CreateLabelVolumeFromVolume(slicer.mrmlScene, label, study["T1"])
    vector = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "T2 colours")
    panel = load_module("DisentangleSeg")
    combo = panel.studyBox.rows["T1"].combo
    offered = {combo.nodeFromIndex(n).GetName() for n in range(combo.nodeCount())}
    assert offered == {"T1", "T1Gd", "T2", "FLAIR"}
    from disentangle.mrml.studies import objection

    assert "is not an image" in objection({"T1": label})
    assert "is not an image" in objection({"T2": vector}) or "no voxels" in objection({"T2": vector})


@pytest.fixture
def incomplete_python(tmp_path: Path) -> Path:
    """A Python that lacks torch."""
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nexec "{sys._base_executable}" -S "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    return launcher


@pytest.mark.skipif(sys.platform == "win32", reason="the other Python is a shell script")
def test_another_python_is_checked_before_it_computes(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, worker: Any, slicer_bench: Any,
    incomplete_python: Path,
) -> None:  # fmt: skip
    panel = load_module("DisentangleSeg")
    panel.computationBox.section.collapsed = False
    click(panel.computationBox.checkButton)
    idle(panel, wait_until)
    assert "has everything that is needed" in panel.computationBox.status.text
    assert "cpu (" in panel.computationBox.status.text
    worker.end()
    worker._client = None
    panel.computationBox.path.currentPath = str(incomplete_python)
    click(panel.ui.applyButton)
    idle(panel, wait_until)
    text = dialogs.shown.pop().text
    assert str(incomplete_python.name) in text or "lacks" in text
    assert "torch" in text
    panel.computationBox.path.currentPath = ""
    worker.end()
    worker._client = None
    click(panel.ui.applyButton)
    idle(panel, wait_until)
    assert dialogs.shown == []
    assert panel.outputs is not None


def test_a_failed_installation_is_told_in_one_sentence(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    import qt

    panel = load_module("DisentangleSeg")
    dependencies = sys.modules["disentangle.panel.dependencies"]
    report = {"ok": False, "missing": ["safetensors>=0.4"], "message": "no safetensors"}
    monkeypatch.setattr(dependencies, "check_interpreter", lambda devices=False: report)

    def fail(_requirements: list[str]) -> None:
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(dependencies, "_install", fail)
    dialogs.answer(qt.QMessageBox.Ok)
    click(panel.ui.applyButton)
    assert "safetensors" in dialogs.shown[0].text
    assert "The installation failed" in dialogs.shown[1].text
    assert not panel.logic.runner.busy


def test_polls_are_frequent_while_a_thread_handles_files_and_end_when_all_is_done(
    tiny_models: Any, load_module: Any, wait_until: Any
) -> None:
    logic, done, may = load_module("DisentangleSeg").logic, [], threading.Event()
    quick, slow = 15, 50
    logic.runner.connect()
    folder = logic.runner.link.folder()
    (folder / "0.npy").write_bytes(b"")
    logic.runner._background.start(lambda: may.wait(5), done.append, done.append)
    logic._follow()
    assert logic._timer.interval == quick
    logic.runner.link.ask({"request": "check", "devices": False}, lambda _event: logic.runner.link.discard([folder]))
    may.set()
    wait_until(lambda: bool(done), 10, "the end of the thread")
    assert logic._timer.interval == slow
    wait_until(lambda: not logic._timer.active, 60, "the end of the polls")
    assert not folder.exists()


def test_names_and_cards_of_strangers_are_shown_as_they_are(tiny_models: Any, load_module: Any) -> None:
    """As rich text, an image of a tooltip is loaded from wherever its address says."""
    import sys

    import slicer

    panel = load_module("DisentangleSeg")
    evil = '<img src="file://10.0.0.9/x.png">\nT1'
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", evil)
    node.SetAndObserveImageData(None)
    row = panel.studyBox.rows["T1"]
    row.combo.setCurrentNode(node)
    assert "&lt;img" in row.guess.toolTip and "<img" not in row.guess.toolTip
    labels = (panel.ui.resultsLabel, panel.ui.statusLabel, panel.ui.bundleLabel, panel.ui.missingLabel)
    import qt

    assert all(label.textFormat == qt.Qt.PlainText for label in labels)
    plain = sys.modules["disentangle.panel.parts"].plain
    assert plain("no markup & two\nlines") == "no markup & two\nlines"
    assert plain("a < b\nc") == "<span>a &lt; b<br>c</span>"
