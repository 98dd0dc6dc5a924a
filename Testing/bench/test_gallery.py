"""Both panels with the shipped model on a digital head of clinical resolution: the pictures of README and catalog.

``pytest Testing/bench/test_gallery.py --screenshots Resources/Screenshots`` makes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

RUN_SECONDS = 900.0


_truth: list[Any] = []


@pytest.fixture
def glioma_labels(glioma_study: dict) -> Any:
    """The study of :func:`glioma_study` with its labels."""
    return _truth[-1]


@pytest.fixture
def glioma_study(
    slicer_bench: Any,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> dict:
    """A subject with a glioma (1.5 mm, without pictures 3 mm), loaded as the user loads files; only the shipped models
    are on offer."""
    import slicer

    from disentangle.phantoms import create_phantom

    monkeypatch.delenv("DISENTANGLE_MODELS", raising=False)
    folder = tmp_path_factory.mktemp("glioma")
    spacing = 1.5 if request.config.getoption("--screenshots", None) else 3.0
    study = create_phantom("brain", 5, spacing=spacing, lesions="glioma").study
    study.write(folder)
    _truth.append(study)
    sequences = ("T1", "T1Gd", "T2", "FLAIR")
    return {name: slicer.util.loadVolume(str(folder / f"{name}.nii.gz")) for name in sequences}


def run(panel: Any, click: Callable, wait_until: Callable) -> None:
    click(panel.ui.applyButton)
    idle(panel, wait_until)


def idle(panel: Any, wait_until: Callable) -> None:
    wait_until(lambda: not panel.logic.runner.busy, RUN_SECONDS, "the end of the computation")


def test_segmentation_of_a_glioma(
    glioma_study: dict, glioma_labels: Any, load_module: Any, click: Any, wait_until: Any, screenshot: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    jump_to_the_tumour(glioma_labels)
    click(panel.ui.crossCheckBox)
    run(panel, click, wait_until)
    segmentation = panel.outputs.segmentation
    edema = segmentation.GetSegmentation().GetSegmentIdBySegmentName("peritumoral edema")
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, edema).any()
    assert "Confidence" in panel.ui.resultsLabel.text
    assert "seen" in panel.studyBox.rows["T2"].guess.text
    show_two_sequences(glioma_study["T1Gd"], glioma_study["FLAIR"], glioma_labels)
    screenshot("DisentangleSeg")
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    click(panel.ui.factorsViewButton)
    screenshot("DisentangleSeg-factors")
    click(panel.ui.crossViewButton)
    screenshot("DisentangleSeg-cross-reconstructions")
    click(panel.ui.uncertaintyViewButton)
    screenshot("DisentangleSeg-uncertainty")
    screenshot("DisentangleSeg-panel", slicer.modules.disentangleseg.widgetRepresentation())

    statistics = panel.statisticsBox
    statistics.section.collapsed = False
    reference = labels_as_segmentation(glioma_labels, glioma_study["T1"])
    statistics.reference.setCurrentNode(reference)
    click(statistics.compareButton)
    idle(panel, wait_until)
    scores = {row[0]: row[1:] for row in statistics.table.texts()}
    assert float(scores["whole tumour"][1]) > 0.3
    screenshot("DisentangleSeg-statistics", statistics.section)

    box = panel.appearanceBox
    box.section.collapsed = False
    box.anatomy.setCurrentText("T1")
    click(box.startButton)
    box.blend.value = 0.6
    wait_until(lambda: not box.logic._drawing and box.logic._waiting is None, RUN_SECONDS, "the slice")
    screenshot("DisentangleSeg-live")
    box.group.collapsed = False
    screenshot("DisentangleSeg-appearance", box.section)

    page = panel.factorPage
    page.section.collapsed = False
    click(page.computeButton)
    idle(panel, wait_until)
    screenshot("DisentangleSeg-disentanglement", page.section)
    panel.editSection.collapsed = False
    screenshot("DisentangleSeg-edit", panel.editSection)

    panel.studyBox.rows["T1Gd"].combo.setCurrentNode(None)
    assert "T1Gd is missing; Dice: enhancing tumour" in panel.ui.missingLabel.text, "what the card measured without it"


def show_two_sequences(volume: Any, beside: Any, study: Any) -> None:
    """One sequence in three orientations, and an axial slice of another in the quarter of the 3D view: the bench draws
    slices only."""
    import slicer

    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutTwoOverTwoView)
    slicer.util.setSliceViewerLayers(background=volume)
    fourth = manager.sliceWidget("Slice4").mrmlSliceNode()
    fourth.SetOrientationToAxial()
    manager.sliceWidget("Slice4").sliceLogic().GetSliceCompositeNode().SetBackgroundVolumeID(beside.GetID())
    jump_to_the_tumour(study, ("Red", "Green", "Yellow", "Slice4"))


def jump_to_the_tumour(study: Any, views: tuple[str, ...] = ("Red", "Green", "Yellow")) -> None:
    """Move slice views to its middle."""
    import numpy as np
    import slicer

    inside = np.argwhere(study.labels.array == max(study.label_names)).mean(axis=0)[::-1]
    x, y, z = (study.labels.affine @ np.append(inside, 1.0))[:3]
    for name in views:
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().JumpSliceByOffsetting(-x, -y, z)


def labels_as_segmentation(labels: Any, volume: Any) -> Any:
    """The truth of the digital subject, as a segmentation drawn by hand would be."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "truth")
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(False)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for value, name in labels.label_names.items():
        segment = node.GetSegmentation().AddEmptySegment(name, name)
        mask = (labels.labels.array == value).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    return node


def test_a_real_flair_beside_the_synthetic_one(
    glioma_study: dict, load_module: Any, click: Any, wait_until: Any, screenshot: Any
) -> None:
    panel = load_module("DisentangleSynth")
    click(panel.targetBoxes["FLAIR"])
    run(panel, click, wait_until)
    assert "FLAIR: PSNR" in panel.ui.resultsLabel.text
    click(panel.ui.compareViewButton)
    screenshot("DisentangleSynth-difference")


def test_synthesis_of_flair(glioma_study: dict, load_module: Any, click: Any, wait_until: Any, screenshot: Any) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(glioma_study["FLAIR"])
    panel = load_module("DisentangleSynth")
    run(panel, click, wait_until)
    assert "synthetic" in panel.outputs.synthetic["FLAIR"].GetName()
    click(panel.ui.compareViewButton)
    screenshot("DisentangleSynth")
    screenshot("DisentangleSynth-panel", slicer.modules.disentanglesynth.widgetRepresentation())
