"""The Study box: what it sees in the images before a run, and rows that change places."""

from __future__ import annotations

from typing import Any

import pytest

LOOK_SECONDS = 120.0


@pytest.fixture
def seg(tiny_models: Any, study: Any, load_module: Any, slicer_bench: Any) -> Any:
    """DisentangleSeg with T1 and T2 in each other's row, under names that tell nothing."""
    import slicer

    for name in ("T1Gd", "FLAIR"):
        slicer.mrmlScene.RemoveNode(study.pop(name))
    panel = load_module("DisentangleSeg")
    for number, node in enumerate(study.values()):
        node.SetName(f"series {number}")
        node.GetStorageNode().SetFileName("")
    with panel.studyBox.as_stored():
        panel.studyBox.rows["T1"].combo.setCurrentNode(study["T2"])
        panel.studyBox.rows["T2"].combo.setCurrentNode(study["T1"])
    return panel


def nodes(panel: Any) -> dict[str, Any]:
    return panel.studyBox.nodes()


def test_images_in_each_others_row_are_noticed_before_a_run_and_change_places_by_a_click(
    seg: Any, study: Any, click: Any, wait_until: Any, screenshot: Any
) -> None:
    import slicer

    rows = seg.studyBox.rows
    assert "no idea" in rows["T1"].guess.text
    seg.computationBox.section.collapsed = False
    click(seg.computationBox.look)  # the bench has it off
    seg.onStudyChanged()
    wait_until(lambda: "looks like" in rows["T1"].guess.text, LOOK_SECONDS, "what the worker sees")
    assert (rows["T1"].guess.text, rows["T2"].guess.text) == ("✕ looks like T2", "✕ looks like T1")
    assert "The image given as T1 looks like T2" in seg.ui.missingLabel.text
    assert seg.ui.applyButton.enabled, "a doubt is no refusal"
    seg.computationBox.section.collapsed = True
    screenshot("seg-study-doubts", slicer.modules.disentangleseg.widgetRepresentation())
    click(rows["T1"].use_as)
    assert nodes(seg) == study
    assert seg._parameterNode.inputT1 is study["T1"]
    assert "seen" in rows["T1"].guess.text
    assert "seen" in rows["T2"].guess.text
    assert seg.ui.missingLabel.text.count("looks like") == 0
    slicer.util.arrayFromVolume(study["T1"])[:] = 0  # another content: nothing is known of it
    slicer.util.arrayFromVolumeModified(study["T1"])
    assert seg.logic.recognizer.looks_of(study["T1"]) is None


def looks_like(sequence: str) -> dict[str, Any]:
    """What the worker says of an image that looks, surely, like a sequence."""
    others = {name: 0.0 for name in ("T1", "T1Gd", "T2", "FLAIR") if name != sequence}
    return {
        "sequence": sequence, "confidence": 1.0, "probabilities": {sequence: 1.0, **others}, "distance": 0.5,
        "orientation": "upright", "agreement": 0.2,
    }  # fmt: skip


def test_an_image_does_not_overrule_a_name_and_its_doubt_is_put_aside_by_a_click(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any, screenshot: Any,
    tmp_path: Any,
) -> None:  # fmt: skip
    import slicer

    panel = load_module("DisentangleSeg")
    for name, image in (("T1", "T1"), ("T1Gd", "FLAIR"), ("T2", "T2"), ("FLAIR", "FLAIR")):
        panel.logic.recognizer.remember(study[name], looks_like(image))
    click(panel.ui.assignButton)
    panel.studyBox.take_seen()
    row = panel.studyBox.rows["T1Gd"]
    assert nodes(panel) == study, "nothing changes places by itself"
    assert row.guess.text == "◐ looks like FLAIR"
    sentence = "T1Gd is called T1Gd and used as such, but its image looks like FLAIR (100 %)."
    assert panel.ui.missingLabel.text == sentence
    assert panel.ui.applyButton.enabled
    assert not row.use_as.isHidden()
    screenshot("seg-study-name-against-image", slicer.modules.disentangleseg.widgetRepresentation())
    unsure = looks_like("T1") | {"probabilities": {"T1": 0.64, "T1Gd": 0.36, "T2": 0.0, "FLAIR": 0.0}}
    panel.logic.recognizer.remember(study["T1Gd"], unsure)
    panel.studyBox.refresh()
    assert (row.guess.text, panel.ui.missingLabel.text) == ("● by its name", "")
    panel.logic.recognizer.remember(study["T1Gd"], looks_like("FLAIR"))
    panel.studyBox.refresh()
    click(row.keep)
    assert nodes(panel) == study
    assert row.guess.text == "● kept"
    assert (panel.ui.missingLabel.text, row.keep.isHidden(), row.use_as.isHidden()) == ("", True, True)
    panel.studyBox.exchange(row, panel.studyBox.rows["T2"])  # in another row it is a doubt again
    assert panel.studyBox.rows["T2"].guess.text == "✕ looks like FLAIR"
    assert row.guess.text == "✕ looks like T2"
    panel.studyBox.exchange(row, panel.studyBox.rows["T2"])
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer_bench.application.processEvents()
    assert panel.studyBox.rows["T1Gd"].guess.text == "● kept"
    click(panel.ui.applyButton)
    assert panel.logic.runner.run.wanted.confirmed == ("T1Gd",), "no note of the run doubts it"
    click(panel.ui.applyButton)
    wait_until(lambda: not panel.logic.runner.busy, LOOK_SECONDS, "the end of the cancelled run")


def test_an_image_that_fits_its_row_does_not_hide_that_its_name_says_otherwise(
    tiny_models: Any, study: Any, load_module: Any, click: Any
) -> None:
    panel = load_module("DisentangleSeg")
    rows = panel.studyBox.rows
    with panel.studyBox.as_stored():
        rows["T2"].combo.setCurrentNode(None)
        rows["FLAIR"].combo.setCurrentNode(study["T2"])
    panel.logic.recognizer.remember(study["T2"], looks_like("FLAIR"))
    panel.studyBox.take_seen()
    assert rows["FLAIR"].guess.text == "◐ named T2"
    click(rows["FLAIR"].use_as)
    assert nodes(panel)["T2"] is study["T2"]


def test_nothing_is_looked_at_where_the_worker_lacks_something(
    seg: Any, study: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seg.logic.recognizer, "_ready", lambda: False)
    told: list[bool] = []
    assert seg.logic.recognize(study.values(), wait=False, onSeen=lambda: told.append(True)) == {}
    wait_until(lambda: bool(told), 10, "the end of looking")
    assert not seg.logic.recognizer.busy
    assert "no idea" in seg.studyBox.rows["T1"].guess.text


def test_volumes_without_names_are_proposed_by_their_images(seg: Any, study: Any, wait_until: Any) -> None:
    with seg.studyBox.as_stored():
        for row in seg.studyBox.rows.values():
            row.combo.setCurrentNode(None)
    seg.computationBox.look.click()
    seg.ui.assignButton.click()
    assert nodes(seg) == {}, "their names tell nothing"
    wait_until(lambda: nodes(seg) == study, LOOK_SECONDS, "the proposals")
    assert "seen" in seg.studyBox.rows["T2"].guess.text
    assert seg._parameterNode.inputT2 is study["T2"]
    assert seg.ui.applyButton.enabled


def test_a_name_dragged_onto_another_row_exchanges_the_volumes(seg: Any, study: Any, slicer_bench: Any) -> None:
    from PySide6 import QtCore, QtGui, QtTest

    rows = seg.studyBox.rows
    window = seg.parent._native.window()
    window.resize(500, 900)
    window.show()
    slicer_bench.application.processEvents()

    def drag(first: str, second: str) -> None:
        source, target = rows[first].label._native, rows[second].combo._native
        place = target.mapToGlobal(target.rect().center())
        there = source.mapFromGlobal(place)
        left = QtCore.Qt.MouseButton.LeftButton
        QtTest.QTest.mousePress(source, left)
        QtGui.QCursor.setPos(place)  # QtTest sends events, the cursor stays
        QtTest.QTest.mouseMove(source, there)
        QtTest.QTest.mouseRelease(source, left, pos=there)
        slicer_bench.application.processEvents()

    drag("T1", "T2")
    assert nodes(seg) == study
    assert seg._parameterNode.inputT2 is study["T2"]
    drag("T2", "FLAIR")  # an empty row takes it
    assert nodes(seg) == {"T1": study["T1"], "FLAIR": study["T2"]}
    drag("T1", "T1")
    assert nodes(seg) == {"T1": study["T1"], "FLAIR": study["T2"]}


def stored(panel: Any) -> dict[str, Any]:
    """What the parameter node has."""
    found = {name: getattr(panel._parameterNode, f"input{name}") for name in panel.studyBox.rows}
    return {name: node for name, node in found.items() if node is not None}


@pytest.mark.parametrize("sequence", ["T1", "T2", "FLAIR"])
def test_the_row_of_a_deleted_volume_is_left_empty(
    sequence: str, tiny_models: Any, study: Any, load_module: Any, slicer_bench: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    assert nodes(panel) == study
    slicer.mrmlScene.RemoveNode(study.pop(sequence))
    slicer_bench.application.processEvents()
    assert nodes(panel) == study, "QComboBox goes to a neighbour, the row does not"
    assert stored(panel) == study
    row = panel.studyBox.rows[sequence]
    assert (row.before, row.guess.text) == (None, "○ not given")
    for node in study.values():
        slicer.mrmlScene.RemoveNode(node)
    slicer_bench.application.processEvents()
    assert (nodes(panel), stored(panel)) == ({}, {})
    assert not panel.ui.applyButton.enabled


def test_a_volume_deleted_before_it_has_changed_places_leaves_the_other_row_empty(
    tiny_models: Any, study: Any, load_module: Any, slicer_bench: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    panel.studyBox.rows["T1"].combo.setCurrentNode(study["T2"])  # the T1 volume goes to the T2 row a turn later
    slicer.mrmlScene.RemoveNode(study.pop("T1"))
    slicer_bench.application.processEvents()
    expected = {"T1": study["T2"], "T1Gd": study["T1Gd"], "FLAIR": study["FLAIR"]}
    assert nodes(panel) == expected
    assert stored(panel) == expected


def unnamed(node: Any, name: str) -> None:
    """Give a volume a name that tells nothing."""
    node.SetName(name)
    node.GetStorageNode().SetFileName("")


def test_assigning_keeps_what_the_user_has_chosen(
    tiny_models: Any, study: Any, load_module: Any, click: Any, slicer_bench: Any
) -> None:
    unnamed(study["T1"], "Series 5")
    unnamed(study["FLAIR"], "Series 9")
    panel = load_module("DisentangleSeg")
    rows = panel.studyBox.rows
    assert nodes(panel) == {"T1Gd": study["T1Gd"], "T2": study["T2"]}
    rows["FLAIR"].combo.setCurrentNode(study["FLAIR"])
    rows["T1"].combo.setCurrentNode(study["T1"])
    rows["T2"].combo.setCurrentNode(None)
    slicer_bench.application.processEvents()
    click(panel.ui.assignButton)
    assert nodes(panel) == study, "the one chosen last, and one that nothing is known of"
    assert stored(panel) == study
    rows["T2"].combo.setCurrentNode(study["T1"])
    slicer_bench.application.processEvents()
    assert (nodes(panel)["T1"], nodes(panel)["T2"]) == (study["T2"], study["T1"])
    click(panel.ui.assignButton)
    expected = {"T1Gd": study["T1Gd"], "T2": study["T1"], "FLAIR": study["FLAIR"]}
    assert nodes(panel) == expected, "chosen last: stays, although there is one with a better name"


def test_assigning_undoes_a_swap_against_the_names(
    tiny_models: Any, study: Any, load_module: Any, click: Any, slicer_bench: Any
) -> None:
    panel = load_module("DisentangleSeg")
    rows = panel.studyBox.rows
    rows["T1"].combo.setCurrentNode(study["FLAIR"])
    slicer_bench.application.processEvents()
    assert (nodes(panel)["T1"], nodes(panel)["FLAIR"]) == (study["FLAIR"], study["T1"])
    click(panel.ui.assignButton)
    assert nodes(panel) == study, "their names surely tell, and no volume is lost"
    rows["T1"].combo.setCurrentNode(study["FLAIR"])
    slicer_bench.application.processEvents()
    click(rows["T1"].keep)
    click(panel.ui.assignButton)
    assert nodes(panel) == {"T1": study["FLAIR"], "T1Gd": study["T1Gd"], "T2": study["T2"]}, "the user insists"


def test_assigning_empties_rows_of_other_studies_and_of_volumes_that_are_something_else(
    tiny_models: Any, study: Any, load_module: Any, click: Any, slicer_bench: Any
) -> None:
    import slicer

    unnamed(study["T1"], "Series 5")
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    owner = tree.CreateSubjectItem(tree.GetSceneItemID(), "Anna")
    tree.SetItemParent(tree.GetItemByDataNode(study["FLAIR"]), owner)
    study["FLAIR"].SetName("Series 9")
    panel = load_module("DisentangleSeg")
    rows = panel.studyBox.rows
    with panel.studyBox.as_stored():
        rows["FLAIR"].combo.setCurrentNode(study["FLAIR"])
        rows["T1"].combo.setCurrentNode(study["T2"])
        rows["T2"].combo.setCurrentNode(None)
    click(panel.ui.assignButton)
    assert nodes(panel) == {"T1Gd": study["T1Gd"], "T2": study["T2"]}
