"""What ends while the user is in another module, and what is gone by then: volumes, results, a whole scene."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import dialogs

RUN_SECONDS = 300.0


def idle(panel: Any, wait_until: Any) -> None:
    wait_until(lambda: not panel.logic.runner.busy, RUN_SECONDS, "the end of the computation")


def said() -> list[str]:
    """What dialogs have said since the last call."""
    texts = [dialog.text for dialog in dialogs.shown]
    dialogs.shown.clear()
    return texts


@pytest.fixture
def seg(tiny_models: Any, study: Any, load_module: Any) -> Any:
    """DisentangleSeg, with the study loaded."""
    return load_module("DisentangleSeg")


def on_screen() -> dict[str, str]:
    """What the Segment Editor edits, and what the red view shows."""
    import slicer

    node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    return {
        "segmentation": node.GetSegmentationNode().GetName(),
        "source": node.GetSourceVolumeNode().GetName(),
        "red": slicer.mrmlScene.GetNodeByID(red.GetBackgroundVolumeID()).GetName(),
        "label": red.GetLabelVolumeID() or "",
    }


def work_elsewhere(study_folder: Path) -> dict[str, str]:
    """Go to another module, and look at and edit something else."""
    import slicer

    slicer.util.selectModule("Volumes")
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my own")
    other = slicer.util.loadVolume(str(study_folder / "T2.nii.gz"), {"name": "another patient"})
    node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    node.SetAndObserveSegmentationNode(mine)
    node.SetAndObserveSourceVolumeNode(other)
    slicer.util.setSliceViewerLayers(background=other)
    return on_screen()


def test_results_of_a_run_that_ends_elsewhere_are_shown_on_return_and_once(
    seg: Any, study_folder: Path, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    click(seg.ui.applyButton)
    before = work_elsewhere(study_folder)
    views = []
    seg.logic.runner.controller.listen(lambda _view: views.append(on_screen()))
    idle(seg, wait_until)
    assert on_screen() == before
    assert all(view == before for view in views)  # no preview either
    slicer.util.selectModule("DisentangleSeg")
    assert on_screen() == {"segmentation": "T1 segmentation", "source": "T1", "red": "T1", "label": ""}
    assert not seg.ui.resultsCollapsibleButton.collapsed
    assert seg.statisticsBox.segmentation is seg.outputs.segmentation
    assert seg.outputs is seg.logic.runner.run.outputs
    before = work_elsewhere(study_folder)
    slicer.util.selectModule("DisentangleSeg")
    assert on_screen() == before


def test_results_are_shown_on_return_where_the_user_leaves_while_they_are_shown(
    seg: Any, study_folder: Path, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    click(seg.ui.applyButton)
    wait_until(lambda: seg._steps is not None and seg.outputs is not None, RUN_SECONDS, "the first step")
    assert seg.logic.runner.busy
    before = work_elsewhere(study_folder)
    idle(seg, wait_until)
    assert on_screen() == before
    slicer.util.selectModule("DisentangleSeg")
    assert on_screen()["segmentation"] == "T1 segmentation"
    assert on_screen()["red"] == "T1"


def test_a_grid_that_is_ready_elsewhere_waits_for_the_return(
    seg: Any, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    click(seg.ui.applyButton)
    idle(seg, wait_until)
    seg.appearanceBox.section.collapsed = False
    click(seg.appearanceBox.uncertaintyButton)
    slicer.util.selectModule("Volumes")
    before = slicer.app.layoutManager().layout
    idle(seg, wait_until)
    assert slicer.app.layoutManager().layout == before
    for later in (True, False):
        slicer.util.selectModule("DisentangleSeg")
        assert (slicer.app.layoutManager().layout != before) == later
        slicer.util.selectModule("Volumes")
        assert slicer.app.layoutManager().layout == before
    assert said() == []


def test_the_uncertainty_of_a_synthesis_is_there_after_a_return(
    tiny_models: Any, study: Any, load_module: Any, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    synth = load_module("DisentangleSynth")
    click(synth.targetBoxes["FLAIR"])
    click(synth.ui.applyButton)
    idle(synth, wait_until)
    outputs = synth.outputs
    slicer.util.selectModule("Volumes")
    slicer.util.selectModule("DisentangleSynth")
    assert synth.outputs is outputs
    before = slicer.app.layoutManager().layout
    click(synth.ui.uncertaintyViewButton)
    slicer.util.selectModule("Volumes")
    idle(synth, wait_until)
    assert slicer.app.layoutManager().layout == before
    slicer.util.selectModule("DisentangleSynth")
    wait_until(lambda: slicer.app.layoutManager().layout != before, 30, "the grid")
    assert said() == []
    # The results of another run are on screen than those whose factors are at hand.
    synth.logic.runner.run.outputs = type(outputs)(run="of the console", synthetic=dict(outputs.synthetic))
    slicer.mrmlScene.RemoveNode(outputs.uncertainty)
    slicer_bench.application.processEvents()
    assert synth.outputs.uncertainty is None
    assert synth.outputs.run == outputs.run
    assert not synth.ui.uncertaintyViewButton.enabled
    synth.onUncertainty()
    assert said() == ["The factors are no longer in memory; press Apply to compute them again."]


def test_removed_results_are_no_longer_offered(seg: Any, click: Any, wait_until: Any, slicer_bench: Any) -> None:
    import slicer

    click(seg.ui.applyButton)
    idle(seg, wait_until)
    run, node = seg.outputs.run, seg.editor.mrmlSegmentEditorNode()
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "my own")
    seg.editor.setSegmentationNode(mine)
    slicer.mrmlScene.RemoveNode(seg.outputs.reconstructions["T2"])
    slicer_bench.application.processEvents()
    assert "T2" not in seg.outputs.reconstructions
    assert node.GetSegmentationNode() is mine  # what the user edits stays
    slicer.mrmlScene.RemoveNode(seg.outputs.segmentation)
    slicer_bench.application.processEvents()
    assert seg.outputs.run == run
    for box in (seg, seg.statisticsBox, seg.editTools, seg.appearanceBox, seg.resultViews):
        assert box.outputs is None or box.outputs.segmentation is None
    assert not seg.statisticsBox.tableButton.enabled
    assert not seg.editTools.learnButton.enabled
    assert seg.appearanceBox.startButton.enabled  # the factors are there
    click(seg.ui.applyButton)
    idle(seg, wait_until)
    assert said() == []
    assert seg.outputs.segmentation is not None


def test_an_input_that_is_removed_during_the_run(
    seg: Any, study: Any, click: Any, wait_until: Any, slicer_bench: Any, study_folder: Path
) -> None:
    import slicer

    click(seg.ui.applyButton)
    wait_until(lambda: (seg.logic.controller.fraction or 0) > 0.02, RUN_SECONDS, "progress")
    slicer.mrmlScene.RemoveNode(study["T2"])  # no result lies with it
    idle(seg, wait_until)
    assert said() == []
    assert list(seg.outputs.inputs) == ["T1", "T1Gd", "FLAIR"]
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    click(seg.ui.applyButton)
    wait_until(lambda: (seg.logic.controller.fraction or 0) > 0.02, RUN_SECONDS, "progress")
    slicer.mrmlScene.RemoveNode(study["T1"])
    idle(seg, wait_until)
    assert said() == ["The volume 'T1' was removed from the scene during the run; load it and press Apply again."]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == count - 1


def test_a_batch_of_files_goes_on_where_the_scene_is_closed(
    seg: Any, study_folder: Path, click: Any, wait_until: Any, slicer_bench: Any, tmp_path: Path
) -> None:
    import slicer

    for name in ("anna", "bert"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for sequence in ("T1", "FLAIR"):
            shutil.copy(study_folder / f"{sequence}.nii.gz", tmp_path / "in" / name)
    box = seg.batchBox
    box.section.collapsed = False
    box.input.currentPath, box.output.currentPath = str(tmp_path / "in"), str(tmp_path / "out")
    click(box.runButton)
    slicer.mrmlScene.Clear(False)
    wait_until(lambda: box.batch.done, RUN_SECONDS, "the end of the batch")
    assert [row[:2] for row in box.table.texts()] == [["anna", "done"], ["bert", "done"]]


def test_a_licence_or_packages_that_are_declined_are_no_error(seg: Any, click: Any, slicer_bench: Any) -> None:
    cancelled = sys.modules["disentangle.errors"].Cancelled

    def decline(*_args: Any, **_more: Any) -> None:
        raise cancelled("The licence of the model was not agreed to.")

    seg.batchBox._agree = decline
    seg.batchBox.section.collapsed = False
    click(seg.batchBox.runButton)  # an exception in a slot fails the test
    assert seg.batchBox.status.text == "The licence of the model was not agreed to."
    seg.logic.drawnUncertainty = seg.logic.liveVolume = decline
    seg.appearanceBox.judge()
    seg.appearanceBox.draw_all()
    assert said() == []


def test_the_model_that_is_shown_is_stored_with_the_scene(
    seg: Any, study_folder: Path, click: Any, wait_until: Any, slicer_bench: Any
) -> None:
    import slicer

    assert seg._parameterNode.bundle == "tiny"  # nobody has chosen it
    seg.modelBox.choose("brain-mr")
    slicer.mrmlScene.Clear(False)
    slicer_bench.application.processEvents()
    slicer.util.loadVolume(str(study_folder / "T1.nii.gz"))
    wait_until(lambda: bool(seg.studyBox.nodes()), 10, "the row")
    wait_until(lambda: seg._parameterNode.bundle == seg.modelBox.bundle.name == "brain-mr", 10, "the stored model")
    seg._parameterNode.bundle = ""
    seg.logic.start = lambda *_args, **_more: None
    click(seg.ui.applyButton)
    assert seg._parameterNode.bundle == "brain-mr"
