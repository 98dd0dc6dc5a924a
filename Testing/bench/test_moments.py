"""Save, close and reopen the scene at ten different moments: nothing is lost, nothing dangles; and Slicer responds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import dialogs

RUN_SECONDS = 300.0


def idle(panel: Any, wait_until: Any) -> None:
    wait_until(lambda: not panel.logic.runner.busy, RUN_SECONDS, "the end of the computation")


def dangling(scene: Any) -> list[str]:
    """References to nodes that are not there."""
    found = []
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        roles: list[str] = []
        node.GetNodeReferenceRoles(roles)
        for role in roles:
            for index in range(node.GetNumberOfNodeReferences(role)):
                if node.GetNthNodeReferenceID(role, index) and node.GetNthNodeReference(role, index) is None:
                    found.append(f"{node.GetID()}.{role}")
    return found


def contents(scene: Any) -> list[str]:
    """What the user has made, by class and name."""
    kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLTableNode")
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    return sorted(f"{node.GetClassName()} {node.GetName()}" for node in nodes if node.GetClassName() in kinds)


def nothing(panel: Any, click: Any, wait_until: Any) -> None:
    """1: nothing but the volumes."""


def chosen(panel: Any, click: Any, wait_until: Any) -> None:
    """2: other volumes chosen than were proposed."""
    panel.studyBox.rows["T2"].combo.setCurrentNode(None)


def begun(panel: Any, click: Any, wait_until: Any) -> None:
    """3: a run has just begun."""
    click(panel.ui.applyButton)


def under_way(panel: Any, click: Any, wait_until: Any) -> None:
    """4: a run is under way in the worker."""
    click(panel.ui.applyButton)
    wait_until(lambda: (panel.logic.controller.fraction or 0) > 0.05, RUN_SECONDS, "progress")


def previewed(panel: Any, click: Any, wait_until: Any) -> None:
    """5: the first slices are shown."""
    click(panel.ui.applyButton)
    wait_until(lambda: panel.logic.runner._preview is not None, RUN_SECONDS, "the preview")


def building(panel: Any, click: Any, wait_until: Any) -> None:
    """6: some nodes of the result are there, others are not."""
    click(panel.ui.applyButton)
    wait_until(lambda: panel.logic.runner._building is not None, RUN_SECONDS, "the first nodes")


def finished(panel: Any, click: Any, wait_until: Any) -> None:
    """7: a run has finished."""
    click(panel.ui.applyButton)
    idle(panel, wait_until)


def in_a_grid(panel: Any, click: Any, wait_until: Any) -> None:
    """8: its factors are on screen."""
    finished(panel, click, wait_until)
    click(panel.ui.factorsViewButton)


def live(panel: Any, click: Any, wait_until: Any) -> None:
    """9: a slider is being dragged."""
    finished(panel, click, wait_until)
    panel.appearanceBox.section.collapsed = False
    click(panel.appearanceBox.startButton)
    panel.appearanceBox.blend.value = 0.4


def mid_edit(panel: Any, click: Any, wait_until: Any) -> None:
    """10: a tool is active, and drawing is restricted to a factor."""
    finished(panel, click, wait_until)
    panel.editSection.collapsed = False
    panel.editor.setActiveEffectByName("Paint")
    click(panel.editTools.channels[0])
    click(panel.editTools.inside)
    assert panel.outputs.segmentation.GetSegmentation().GetSegment("DisentangleFactor") is not None


MOMENTS = [nothing, chosen, begun, under_way, previewed, building, finished, in_a_grid, live, mid_edit]


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
def test_save_close_and_reopen(
    moment: Callable, tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    import slicer

    panel = load_module("DisentangleSeg")
    moment(panel, click, wait_until)
    running = panel.logic.runner.busy
    chosen_before = {name: node.GetName() for name, node in panel.studyBox.nodes().items()}
    done = panel.outputs is not None
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer_bench.application.processEvents()
    assert not panel.logic.runner.busy
    assert contents(slicer.mrmlScene) == []
    assert dangling(slicer.mrmlScene) == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    slicer_bench.application.processEvents()
    assert dangling(slicer.mrmlScene) == []
    assert {name: node.GetName() for name, node in panel.studyBox.nodes().items()} == chosen_before
    assert (panel.outputs is not None) == done
    if running:  # a scene saved in the middle of a run holds none of its results, or marks them as such
        assert panel.ui.applyButton.enabled
    assert not any("preview" in name for name in contents(slicer.mrmlScene))
    if done:
        assert panel.statisticsBox.segmentation is not None
        assert panel.ui.factorsViewButton.enabled
        assert panel.outputs.segmentation.GetSegmentation().GetNumberOfSegments() in (4, 5)
    click(panel.ui.applyButton)
    idle(panel, wait_until)
    assert panel.outputs is not None
    assert dialogs.shown == []
