"""The stand-in widgets behave as Slicer documents."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def slicer(slicer_bench: Any) -> Any:
    import slicer

    return slicer


def volume(slicer: Any, name: str, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    return slicer.mrmlScene.AddNewNodeByClass(kind, name)


def selector(slicer: Any, **properties: Any) -> Any:
    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    for name, value in properties.items():
        setattr(combo, name, value)
    combo.setMRMLScene(slicer.mrmlScene)
    return combo


def test_a_selector_takes_the_first_node_and_follows_the_scene(slicer: Any) -> None:
    combo = selector(slicer)
    changes: list[Any] = []
    combo.connect("currentNodeChanged(vtkMRMLNode*)", changes.append)
    combo.connect("currentNodeChanged(bool)", lambda valid: changes.append(valid))
    first = volume(slicer, "first")
    volume(slicer, "second")
    assert combo.currentNode() is first
    assert changes == [first, True]
    assert combo.nodeCount() == 2
    slicer.mrmlScene.RemoveNode(first)
    assert combo.currentNode().GetName() == "second"


def test_a_selector_with_none_waits_for_the_user(slicer: Any) -> None:
    combo = selector(slicer, noneEnabled=True)
    node = volume(slicer, "first")
    assert combo.currentNode() is None
    combo.setCurrentNode(node)
    assert combo.currentNodeID == node.GetID()
    slicer.mrmlScene.Clear(False)
    assert combo.currentNode() is None


def test_a_selector_goes_to_the_neighbour_of_a_node_that_is_removed(slicer: Any) -> None:
    nodes = [volume(slicer, name) for name in ("first", "second", "third")]
    combo = selector(slicer, noneEnabled=True)
    combo.setCurrentNode(nodes[1])
    heard: list[Any] = []
    combo.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", lambda node: heard.append((node, combo.currentNode())))
    combo.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    slicer.mrmlScene.RemoveNode(nodes[1])
    slicer.mrmlScene.RemoveNode(nodes[2])
    slicer.mrmlScene.RemoveNode(nodes[0])
    first, second, third = nodes
    assert heard == [(second, second), third, (third, third), first, (first, first), None], "as Qt 5.15 and 6 do"


def test_a_selector_emptied_while_a_node_goes_stays_so(slicer: Any) -> None:
    nodes = [volume(slicer, name) for name in ("first", "second")]
    combo = selector(slicer, noneEnabled=True)
    combo.setCurrentNode(nodes[0])
    combo.connect("nodeAboutToBeRemoved(vtkMRMLNode*)", lambda _node: combo.setCurrentNode(None))
    slicer.mrmlScene.RemoveNode(nodes[0])
    assert (combo.currentNode(), combo.nodeCount()) == (None, 1)


def test_label_maps_are_volumes_unless_hidden(slicer: Any) -> None:
    plain, hiding = selector(slicer), selector(slicer, hideChildNodeTypes=["vtkMRMLLabelMapVolumeNode"])
    volume(slicer, "labels", "vtkMRMLLabelMapVolumeNode")
    assert (plain.nodeCount(), hiding.nodeCount()) == (1, 0)


def test_attribute_filters(slicer: Any) -> None:
    combo = selector(slicer)
    combo.addAttribute("vtkMRMLScalarVolumeNode", "Disentangle.Sequence", "T1")
    volume(slicer, "other")
    node = volume(slicer, "t1")
    node.SetAttribute("Disentangle.Sequence", "T1")
    combo.setCurrentNode(node)
    assert (combo.nodeCount(), combo.currentNode()) == (1, node)


def test_arguments_are_checked(slicer: Any) -> None:
    combo = selector(slicer)
    with pytest.raises(ValueError, match="overload"):
        combo.setCurrentNode(1)
    with pytest.raises(ValueError, match="overload"):
        combo.addAttribute("vtkMRMLScalarVolumeNode")


def test_the_segment_editor_keeps_its_state_in_its_node(slicer: Any) -> None:
    editor = slicer.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(slicer.mrmlScene)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    editor.setSegmentationNode(segmentation)
    assert editor.segmentationNode() is None  # without parameter node the real one ignores it, too
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(segmentation)
    assert node.GetSegmentationNode() is segmentation
    editor.setActiveEffectByName("Paint")
    assert node.GetActiveEffectName() == "Paint"
    editor.setActiveEffect(None)
    assert not node.GetActiveEffectName()


def test_collapsible_buttons_hide_their_contents(slicer: Any) -> None:
    import ctk
    import qt

    button = ctk.ctkCollapsibleButton()
    button.text = "Advanced"
    label = qt.QLabel("inside")
    qt.QVBoxLayout(button).addWidget(label)
    button.show()
    heard: list[bool] = []
    button.connect("contentsCollapsed(bool)", heard.append)
    button.collapsed = True
    assert (heard, label.visible, button.checked) == ([True], False, False)


def test_slider_widgets_clip_to_their_range(slicer: Any) -> None:
    import ctk

    slider = ctk.ctkSliderWidget()
    slider.maximum = 1
    heard: list[float] = []
    slider.connect("valueChanged(double)", heard.append)
    slider.value = 5
    assert (slider.value, heard) == (1.0, [1.0])


def test_the_subject_hierarchy_has_an_item_for_every_data_node(slicer: Any) -> None:
    node = volume(slicer, "t1")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemByDataNode(node)
    tree = slicer.qMRMLSubjectHierarchyTreeView()
    tree.setMRMLScene(slicer.mrmlScene)
    assert tree.displayedItemCount() == 1
    slicer.mrmlScene.RemoveNode(node)
    assert tree.displayedItemCount() == 0


def test_opening_a_section_shows_only_what_was_not_hidden_for_itself(slicer: Any) -> None:
    import ctk
    import qt

    section = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(section)
    before, meanwhile, always = qt.QLabel("before"), qt.QLabel("meanwhile"), qt.QLabel("always")
    before.visible = False
    for label in (before, meanwhile, always):
        layout.addWidget(label)
    section.show()
    section.collapsed = True
    meanwhile.visible = False
    always.visible = True
    assert always.isHidden(), "its section is closed"
    section.collapsed = False
    assert [label.isHidden() for label in (before, meanwhile, always)] == [True, True, False]
