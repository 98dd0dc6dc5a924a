"""Layouts, linked slice views and their pictures come from the real MRML logics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import screenshots
from bench.places import places as layout_places

GRID = """<layout type="vertical">
 <item><layout type="horizontal">
  <item><view class="vtkMRMLSliceNode" singletontag="SampleA"><property name="orientation" action="default">Axial</property>
   <property name="viewlabel" action="default">A</property><property name="viewgroup" action="default">7</property></view></item>
  <item><view class="vtkMRMLSliceNode" singletontag="SampleB"><property name="orientation" action="default">Axial</property>
   <property name="viewlabel" action="default">B</property><property name="viewgroup" action="default">7</property></view></item>
 </layout></item>
 <item><view class="vtkMRMLSliceNode" singletontag="SampleC"><property name="orientation" action="default">Coronal</property>
  <property name="viewlabel" action="default">C</property><property name="viewgroup" action="default">7</property></view></item>
</layout>"""  # noqa: E501


@pytest.fixture
def grid(slicer_bench: Any) -> Any:
    import slicer

    node = slicer_bench.layout_manager.layoutLogic().GetLayoutNode()
    if not node.IsLayoutDescription(571):
        node.AddLayoutDescription(571, GRID)
    slicer.app.layoutManager().setLayout(571)
    return slicer.app.layoutManager()


@pytest.fixture
def block(slicer_bench: Any) -> Any:
    """40 x 50 x 30 voxels of 2 mm, a bright block inside."""
    import slicer

    array = np.zeros((30, 50, 40), dtype=np.float32)
    array[10:20, 20:40, 10:30] = 100
    node = slicer.util.addVolumeFromArray(array, ijkToRAS=np.diag([-2.0, -2.0, 2.0, 1.0]), name="block")
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    return node


def show(manager: Any, node: Any, *names: str) -> None:
    for name in names:
        manager.sliceWidget(name).mrmlSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
        manager.sliceWidget(name).sliceLogic().FitSliceToBackground()


def test_a_layout_creates_its_views_once(grid: Any) -> None:
    import slicer

    assert {"SampleA", "SampleB", "SampleC"} <= set(grid.sliceViewNames())
    before = grid.sliceWidget("SampleA")
    grid.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    grid.setLayout(571)
    assert grid.sliceWidget("SampleA") == before
    assert grid.layout == 571


def test_linked_views_scroll_together(grid: Any, block: Any) -> None:
    show(grid, block, "SampleA", "SampleB")
    for name in ("SampleA", "SampleB"):
        grid.sliceWidget(name).mrmlSliceCompositeNode().SetLinkedControl(True)
        grid.sliceWidget(name).mrmlSliceCompositeNode().SetHotLinkedControl(True)
    logic = grid.sliceWidget("SampleA").sliceLogic()
    logic.StartSliceNodeInteraction(slicer_offset_flag())
    logic.SetSliceOffset(24.0)
    logic.EndSliceNodeInteraction()
    assert grid.sliceWidget("SampleB").sliceLogic().GetSliceOffset() == pytest.approx(24.0)


def slicer_offset_flag() -> int:
    import slicer

    return slicer.vtkMRMLSliceNode.SliceToRASFlag


def test_a_slice_picture_shows_the_volume_where_it_is(grid: Any, block: Any) -> None:
    show(grid, block, "SampleA")
    logic = grid.sliceWidget("SampleA").sliceLogic()
    logic.SetSliceOffset(30.0)
    image = screenshots.slice_image(logic, (200, 200))
    inside = np.argwhere(image[..., 0] > 200)
    center = inside.mean(axis=0)
    assert len(inside) > 1000
    assert abs(center[1] - 100) < 10  # i 10..30 of 40: the middle
    assert 100 < center[0] < 150  # j 20..40 of 50, j grows towards posterior: below the middle
    logic.SetSliceOffset(2.0)
    assert screenshots.slice_image(logic, (200, 200)).max() < 20


def test_segments_are_drawn_over_the_volume(grid: Any, block: Any) -> None:
    import slicer

    show(grid, block, "SampleA")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "seg")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(block)
    segment = segmentation.GetSegmentation().AddEmptySegment("tumour", "tumour", [1.0, 0.0, 0.0])
    mask = np.zeros((30, 50, 40), dtype=np.uint8)
    mask[10:20, 20:30, 10:30] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, block)
    logic = grid.sliceWidget("SampleA").sliceLogic()
    logic.SetSliceOffset(30.0)
    image = screenshots.slice_image(logic, (200, 200)).astype(int)
    red = np.argwhere(image[..., 0] - image[..., 1] > 60)
    white = np.argwhere(image.min(axis=-1) > 200)
    assert len(red) > 500
    assert red[:, 0].mean() < white[:, 0].mean()  # the segment is the anterior half of the block


def test_the_picture_of_a_layout_follows_its_rows(grid: Any, block: Any, screenshot: Any) -> None:
    from PySide6 import QtGui

    places = layout_places(grid._native.layoutLogic().GetLayoutNode())
    assert places == [
        ("SampleA", 0.0, 0.0, 0.5, 0.5), ("SampleB", 0.5, 0.0, 0.5, 0.5), ("SampleC", 0.0, 0.5, 1.0, 0.5)
    ]  # fmt: skip
    show(grid, block, "SampleA", "SampleB", "SampleC")
    path: Path = screenshot("sample-views")
    assert QtGui.QImage(str(path)).size().toTuple() == (1600, 900)


def test_scenes_are_saved_and_opened_again(slicer_bench: Any, block: Any, tmp_path: Path) -> None:
    import slicer

    for file in ("scene.mrb", "scene.mrml"):
        folder = tmp_path / file.partition(".")[2]
        folder.mkdir()
        if file.endswith("mrml"):
            slicer.util.saveNode(slicer.util.getNode("block"), str(folder / "block.nrrd"))
        assert slicer.util.saveScene(str(folder / file))
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(str(folder / file))
        node = slicer.util.getNode("block")
        assert slicer.util.arrayFromVolume(node).max() == 100
        assert node.GetDisplayNode().GetWindow() == 100


def test_volumes_are_loaded_from_files(slicer_bench: Any, tmp_path: Path) -> None:
    import SimpleITK as sitk
    import slicer

    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    image.SetOrigin((10.0, 20.0, 30.0))
    sitk.WriteImage(image, str(tmp_path / "t1.nii.gz"))
    node = slicer.util.loadVolume(str(tmp_path / "t1.nii.gz"))
    assert node.GetOrigin() == pytest.approx((-10.0, -20.0, 30.0))
    assert slicer.util.arrayFromVolume(node).tolist() == sitk.GetArrayFromImage(image).tolist()
    with pytest.raises(RuntimeError, match="not found"):
        slicer.util.loadVolume(str(tmp_path / "missing.nii.gz"))
