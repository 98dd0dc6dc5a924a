"""Both panels with the shipped model on a digital head of clinical resolution: the pictures of README and catalog.

``pytest Testing/bench/test_gallery.py --screenshots Resources/Screenshots`` makes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

RUN_SECONDS = 300.0


@pytest.fixture
def glioma_study(slicer_bench: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A 1.5-mm subject with a glioma, loaded as the user loads files; only the shipped models are on offer."""
    import slicer

    from disentangle.phantoms import create_phantom

    monkeypatch.delenv("DISENTANGLE_MODELS", raising=False)
    folder = tmp_path_factory.mktemp("glioma")
    create_phantom("brain", 4, spacing=1.5, lesions="glioma").study.write(folder)
    sequences = ("T1", "T1Gd", "T2", "FLAIR")
    return {name: slicer.util.loadVolume(str(folder / f"{name}.nii.gz")) for name in sequences}


def run(panel: Any, click: Callable, wait_until: Callable) -> None:
    click(panel.ui.applyButton)
    wait_until(lambda: not panel.logic.controller.busy, RUN_SECONDS, "the end of the run")


def test_segmentation_of_a_glioma(
    glioma_study: dict, load_module: Any, click: Any, wait_until: Any, screenshot: Any
) -> None:
    import slicer

    panel = load_module("DisentangleSeg")
    click(panel.ui.crossCheckBox)
    run(panel, click, wait_until)
    segmentation = panel.outputs.segmentation
    edema = segmentation.GetSegmentation().GetSegmentIdBySegmentName("peritumoral edema")
    assert slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, edema).any()
    screenshot("DisentangleSeg")
    click(panel.ui.factorsViewButton)
    screenshot("DisentangleSeg-factors")
    click(panel.ui.crossViewButton)
    screenshot("DisentangleSeg-cross-reconstructions")
    screenshot("DisentangleSeg-panel", slicer.modules.disentangleseg.widgetRepresentation())


def test_synthesis_of_flair(glioma_study: dict, load_module: Any, click: Any, wait_until: Any, screenshot: Any) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(glioma_study["FLAIR"])
    panel = load_module("DisentangleSynth")
    run(panel, click, wait_until)
    assert "synthetic" in panel.outputs.synthetic["FLAIR"].GetName()
    click(panel.ui.compareViewButton)
    screenshot("DisentangleSynth")
    screenshot("DisentangleSynth-panel", slicer.modules.disentanglesynth.widgetRepresentation())
