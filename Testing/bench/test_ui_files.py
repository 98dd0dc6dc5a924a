"""Panels come from .ui files through slicer.util.loadUI, as in Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Sample</class>
 <widget class="qMRMLWidget" name="Sample">
  <layout class="QVBoxLayout" name="verticalLayout">
   <item>
    <widget class="ctkCollapsibleButton" name="inputs">
     <property name="text"><string>Inputs</string></property>
     <layout class="QFormLayout" name="form">
      <item row="0" column="0"><widget class="QLabel" name="label"><property name="text"><string>Volume:</string></property></widget></item>
      <item row="0" column="1">
       <widget class="qMRMLNodeComboBox" name="selector">
        <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
        <property name="noneEnabled"><bool>true</bool></property>
        <property name="SlicerParameterName" stdset="0"><string>volume</string></property>
       </widget>
      </item>
      <item row="1" column="1">
       <widget class="ctkSliderWidget" name="threshold">
        <property name="maximum"><double>1.000000000000000</double></property>
        <property name="singleStep"><double>0.100000000000000</double></property>
        <property name="SlicerParameterName" stdset="0"><string>threshold</string></property>
       </widget>
      </item>
     </layout>
    </widget>
   </item>
   <item><widget class="QPushButton" name="run"><property name="text"><string>Run</string></property></widget></item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header><container>1</container></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>qMRMLNodeComboBox.h</header></customwidget>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><header>ctkCollapsibleButton.h</header><container>1</container></customwidget>
  <customwidget><class>ctkSliderWidget</class><extends>QWidget</extends><header>ctkSliderWidget.h</header></customwidget>
 </customwidgets>
 <resources/>
 <connections>
  <connection>
   <sender>Sample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""  # noqa: E501


@pytest.fixture
def ui_file(tmp_path: Path, slicer_bench: Any) -> Path:
    path = tmp_path / "Sample.ui"
    path.write_text(UI, encoding="utf-8")
    return path


def test_widgets_and_connections_come_from_the_file(ui_file: Path) -> None:
    import slicer

    widget = slicer.util.loadUI(str(ui_file))
    ui = slicer.util.childWidgetVariables(widget)
    assert type(ui.selector) is slicer.qMRMLNodeComboBox
    assert ui.selector.nodeTypes == ["vtkMRMLScalarVolumeNode"]
    assert (ui.inputs.text, ui.run.text, ui.threshold.maximum) == ("Inputs", "Run", 1.0)
    assert ui.selector.mrmlScene() is None
    widget.setMRMLScene(slicer.mrmlScene)
    assert ui.selector.mrmlScene() is slicer.mrmlScene


def test_a_parameter_node_connects_to_the_widgets(ui_file: Path) -> None:
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    hints = {"volume": slicer.vtkMRMLScalarVolumeNode, "threshold": float}
    Parameters = parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints, "threshold": 0.25}))
    widget = slicer.util.loadUI(str(ui_file))
    widget.setMRMLScene(slicer.mrmlScene)
    ui = slicer.util.childWidgetVariables(widget)
    parameters = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    tag = parameters.connectGui(ui)
    assert ui.threshold.value == 0.25
    ui.threshold.value = 0.5
    assert parameters.threshold == 0.5
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "t1")
    parameters.volume = node
    assert ui.selector.currentNode() is node
    parameters.disconnectGui(tag)
    ui.threshold.value = 0.75
    assert parameters.threshold == 0.5


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name="noneEnabled"', 'name="noneAllowed"', "noneAllowed"),
        ("<sender>Sample</sender>", "<sender>Other</sender>", "Other"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "mrmlSceneSet(vtkMRMLScene*)", "no signal"),
        ("setMRMLScene(vtkMRMLScene*)", "setScene(vtkMRMLScene*)", "setScene"),
    ],
)
def test_names_that_slicer_does_not_have_are_refused(ui_file: Path, before: str, after: str, message: str) -> None:
    import slicer

    ui_file.write_text(UI.replace(before, after), encoding="utf-8")
    with pytest.raises(AttributeError, match=message):
        slicer.util.loadUI(str(ui_file))


def test_a_picture_of_a_panel_has_text_in_it(ui_file: Path, screenshot: Any) -> None:
    import slicer
    from PySide6 import QtGui

    widget = slicer.util.loadUI(str(ui_file))
    widget.setMRMLScene(slicer.mrmlScene)
    image = QtGui.QImage(str(screenshot("sample-panel", widget)))
    assert image.width() == 460
    dark = sum(image.pixelColor(x, y).lightness() < 90 for x in range(0, 200) for y in range(image.height()))
    assert dark > 100, "no dark pixels: the text was not drawn"
