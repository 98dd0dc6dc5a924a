"""Both modules with models of other systems: unregistered slices of the heart, translation between sequences,
domain-agnostic images, PET without a dose, one sequence and five.

The panels know systems by their cards alone; nothing here is of one system but the expectations.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import dialogs
from bench.places import places as layout_places

RUN_SECONDS = 300.0
HEART = {"size": [64, 48], "spacing": [2.5, 2.5, 10.0], "slices": 5}


@pytest.fixture(scope="session")
def other_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: ``heart`` (dafnet), ``translation`` (ucd), ``agnostic`` (dalace), ``pet``, ``one``, ``five``
    (margindis)."""
    from tiny_bundle import (
        tiny_agnostic_bundle,
        tiny_bundle_of,
        tiny_heart_bundle,
        tiny_pet_bundle,
        tiny_translation_bundle,
    )

    folder = tmp_path_factory.mktemp("other-models")
    tiny_heart_bundle(folder / "heart", **HEART)
    tiny_translation_bundle(folder / "translation")
    tiny_agnostic_bundle(folder / "agnostic")
    tiny_pet_bundle(folder / "pet")
    tiny_bundle_of(folder / "one", "T1")
    tiny_bundle_of(folder / "five", "T1", "T1Gd", "T2", "FLAIR", "PD")
    return folder


@pytest.fixture(scope="session")
def heart_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digital heart on disk."""
    from disentangle.phantoms import create_phantom

    folder = tmp_path_factory.mktemp("heart")
    create_phantom("heart", 4, **HEART).study.write(folder)
    return folder


@pytest.fixture
def hearts(slicer_bench: Any, heart_folder: Path) -> dict[str, Any]:
    """That heart, loaded as the user loads files: sequence -> volume node."""
    import slicer

    return {name: slicer.util.loadVolume(str(heart_folder / f"{name}.nii.gz")) for name in ("cine", "LGE")}


@pytest.fixture
def panel_of(
    other_models: Path,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    load_module: Any,
    click: Any,
    wait_until: Any,
) -> Any:
    """``panel_of("DisentangleSeg", "heart")``: the panel after the model was chosen, the study assigned, Apply pressed
    and the run over."""
    # The worker that all panel tests share keeps the models of the test that started it.
    monkeypatch.setenv("DISENTANGLE_MODELS", os.pathsep.join((str(other_models), str(tiny_folder))))

    def use(module: str, model: str) -> Any:
        panel = load_module(module)
        panel.modelBox.choose(model)
        assert panel.modelBox.bundle.name == model
        click(panel.ui.assignButton)
        if module == "DisentangleSeg":
            click(panel.ui.crossCheckBox)
        click(panel.ui.applyButton)
        wait_until(lambda: not panel.logic.controller.busy, RUN_SECONDS, "the end of the run")
        assert dialogs.shown == []
        return panel

    return use


def cells(slicer_bench: Any) -> list[int]:
    """Views in each row of the present layout."""
    rows: dict[float, int] = {}
    for _name, _x, y, _w, _h in layout_places(slicer_bench.layout_manager.layoutLogic().GetLayoutNode()):
        rows[y] = rows.get(y, 0) + 1
    return list(rows.values())


def test_a_heart_is_segmented_from_unregistered_slices(
    panel_of: Any, hearts: dict[str, Any], click: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer
    import vtk

    panel = panel_of("DisentangleSeg", "heart")
    assert {s: node.GetName() for s, node in panel.studyBox.nodes().items()} == {"cine": "cine", "LGE": "LGE"}
    assert "myocardium, left ventricle" in panel.modelBox.label.text
    outputs = panel.outputs
    segmentation = outputs.segmentation.GetSegmentation()
    first = segmentation.GetNthSegment(0)
    assert first.GetName() == "myocardium"
    assert "74281007" in first.GetTerminology()
    shape = slicer.util.arrayFromVolume(hearts["cine"]).shape
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        outputs.segmentation, segmentation.GetNthSegmentID(0), hearts["cine"]
    )
    assert mask.shape == shape
    # The slices stay what they are: the model's own grid has as many, and as far apart.
    assert len(slicer.util.arrayFromVolume(outputs.aligned["LGE"])) == shape[0]
    assert outputs.aligned["LGE"].GetSpacing()[2] == pytest.approx(HEART["spacing"][2], rel=1e-3)
    assert set(outputs.cross) == {(a, b) for a in hearts for b in hearts}

    click(panel.ui.factorsViewButton)
    assert cells(slicer_bench) == [len(outputs.channels["cine"]) + 2] * 2
    view = slicer_bench.layout_manager.sliceWidget("Disentangle1-1").mrmlSliceNode()
    normal = np.array([view.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
    to_ras = vtk.vtkMatrix4x4()
    hearts["cine"].GetIJKToRASDirectionMatrix(to_ras)
    axis = np.array([to_ras.GetElement(row, 2) for row in range(3)])
    assert abs(normal @ axis) == pytest.approx(1.0, abs=1e-4)  # slices are shown as they were acquired
    window = outputs.channels["cine"][0].GetDisplayNode()
    assert (window.GetWindowLevelMin(), window.GetWindowLevelMax()) == (0.0, 1.0)
    screenshot("seg-heart-factors")
    screenshot("seg-heart-panel", slicer.modules.disentangleseg.widgetRepresentation())
    click(panel.ui.previousLayoutButton)


def test_the_model_follows_the_study(
    other_models: Path, tiny_folder: Path, hearts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, load_module: Any
) -> None:
    monkeypatch.setenv("DISENTANGLE_MODELS", os.pathsep.join((str(tiny_folder), str(other_models))))
    panel = load_module("DisentangleSeg")
    assert panel.modelBox.bundle.name == "heart"
    assert set(panel.studyBox.nodes()) == {"cine", "LGE"}


def test_the_missing_sequence_of_a_heart_is_made(
    panel_of: Any, hearts: dict[str, Any], click: Any, slicer_bench: Any
) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(hearts.pop("LGE"))
    panel = panel_of("DisentangleSynth", "heart")
    made = panel.outputs.synthetic["LGE"]
    assert slicer.util.arrayFromVolume(made).shape == slicer.util.arrayFromVolume(hearts["cine"]).shape
    click(panel.ui.compareViewButton)
    assert cells(slicer_bench) == [2]


def test_a_model_that_translates_segments_the_completed_stack(
    panel_of: Any, study: dict[str, Any], click: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    slicer.mrmlScene.RemoveNode(study.pop("T2"))
    panel = panel_of("DisentangleSeg", "translation")
    outputs = panel.outputs
    assert outputs.segmentation.GetSegmentation().GetNumberOfSegments() == 4
    assert len(outputs.channels["T1"]) == 8  # maps of the many channels of its anatomy
    click(panel.ui.factorsViewButton)
    assert cells(slicer_bench) == [10] * 3
    screenshot("seg-translation-factors")


def test_a_model_that_translates_makes_two_missing_sequences(
    panel_of: Any, study: dict[str, Any], click: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    for sequence in ("T1Gd", "FLAIR"):
        slicer.mrmlScene.RemoveNode(study.pop(sequence))
    panel = panel_of("DisentangleSynth", "translation")
    assert list(panel.outputs.synthetic) == ["T1Gd", "FLAIR"]
    click(panel.ui.compareViewButton)
    assert cells(slicer_bench) == [4]
    screenshot("synth-translation-compare")


def test_domain_agnostic_images_are_shown_below_the_sequences(
    panel_of: Any, study: dict[str, Any], click: Any, slicer_bench: Any, screenshot: Any
) -> None:
    panel = panel_of("DisentangleSeg", "agnostic")
    assert set(panel.outputs.agnostic) == {"T1", "T2"}
    assert panel.outputs.agnostic["T1"].GetAttribute("Disentangle.Synthetic") == "1"
    click(panel.ui.agnosticViewButton)
    assert cells(slicer_bench) == [2, 2]
    screenshot("seg-agnostic")
    click(panel.ui.previousLayoutButton)


def test_pet_without_a_dose_comes_in_uptake_values_and_the_colours_of_pet(
    panel_of: Any, study: dict[str, Any], click: Any, slicer_bench: Any, screenshot: Any
) -> None:
    import slicer

    panel = panel_of("DisentangleSynth", "pet")
    assert panel.targets() == ["PET"]
    made = panel.outputs.synthetic["PET"]
    display = made.GetDisplayNode()
    assert display.GetColorNode().GetName() == "PET-Heat"
    assert display.GetWindowLevelMin() == 0.0
    assert 1.0 < display.GetWindowLevelMax() < 15.0  # SUV of a model whose PET is 4 +- 2
    values = slicer.util.arrayFromVolume(made)
    assert values.min() >= 0.0
    assert "SUV-like" in made.GetDescription()
    click(panel.ui.compareViewButton)
    screenshot("synth-pet")
    click(panel.ui.previousLayoutButton)


def test_a_model_of_one_sequence(panel_of: Any, study: dict[str, Any], click: Any, slicer_bench: Any) -> None:
    panel = panel_of("DisentangleSeg", "one")
    assert list(panel.studyBox.rows) == ["T1"]
    click(panel.ui.factorsViewButton)
    assert len(cells(slicer_bench)) == 1
    click(panel.ui.crossViewButton)
    assert cells(slicer_bench) == [1]
    click(panel.ui.previousLayoutButton)


def test_a_model_of_five_sequences(
    panel_of: Any, study: dict[str, Any], click: Any, slicer_bench: Any, screenshot: Any, study_folder: Path
) -> None:
    import slicer

    slicer.util.loadVolume(str(study_folder / "T2.nii.gz"), {"name": "PD"})
    panel = panel_of("DisentangleSeg", "five")
    assert list(panel.studyBox.nodes()) == ["T1", "T1Gd", "T2", "FLAIR", "PD"]
    click(panel.ui.factorsViewButton)
    assert cells(slicer_bench) == [len(panel.outputs.channels["T1"]) + 2] * 5
    click(panel.ui.crossViewButton)
    assert cells(slicer_bench) == [5] * 5
    screenshot("seg-five-sequences")
    click(panel.ui.previousLayoutButton)
