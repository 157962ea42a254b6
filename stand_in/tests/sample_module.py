"""A small scripted module to try the stand-in with: its .ui file, its code, and a package that it imports."""

from __future__ import annotations

from pathlib import Path

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Small</class>
 <widget class="qMRMLWidget" name="Small"><layout class="QVBoxLayout" name="verticalLayout">
  <item><widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
   <layout class="QFormLayout" name="formLayout">
    <item row="0" column="0"><widget class="QLabel" name="fixedLabel"><property name="text">
      <string>Fixed volume:</string></property></widget></item>
    <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="fixedBox">
      <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
      <property name="noneEnabled"><bool>true</bool></property>
      <property name="SlicerParameterName" stdset="0"><string>fixed</string></property></widget></item>
    <item row="1" column="0"><widget class="QLabel" name="ratioLabel"/></item>
    <item row="1" column="1"><widget class="ctkSliderWidget" name="ratio"><property name="decimals"><number>2</number>
      </property><property name="SlicerParameterName" stdset="0"><string>ratio</string></property></widget></item>
    <item row="2" column="1"><widget class="QCheckBox" name="fast"><property name="text"><string>Fast</string>
      </property><property name="SlicerParameterName" stdset="0"><string>fast</string></property></widget></item>
    <item row="3" column="1"><widget class="QComboBox" name="method"><property name="SlicerParameterName" stdset="0">
      <string>method</string></property></widget></item>
   </layout></widget></item>
  <item><widget class="ctkCollapsibleButton" name="more"><property name="text"><string>Advanced</string></property>
   <property name="collapsed"><bool>true</bool></property><layout class="QVBoxLayout" name="moreLayout">
    <item><widget class="ctkPathLineEdit" name="path"/></item></layout></widget></item>
  <item><widget class="QPushButton" name="apply"><property name="enabled"><bool>false</bool></property>
   <property name="text"><string>Apply</string></property></widget></item>
  <item><widget class="QProgressBar" name="progress"><property name="value"><number>40</number></property>
   </widget></item>
 </layout></widget>
 <customwidgets><customwidget><class>qMRMLWidget</class><extends>QWidget</extends><container>1</container>
  </customwidget><customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><container>1</container>
  </customwidget></customwidgets>
 <connections><connection><sender>Small</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>fixedBox</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>
  <connection><sender>fast</sender><signal>toggled(bool)</signal>
  <receiver>path</receiver><slot>setDisabled(bool)</slot></connection></connections>
</ui>
"""
MODULE = """
import qt
import slicer
from typing import Annotated
from slicer.ScriptedLoadableModule import *
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer import vtkMRMLScalarVolumeNode
from SmallLib.panel import parts


@parameterNodeWrapper
class SmallParameters:
    fixed: vtkMRMLScalarVolumeNode
    ratio: Annotated[float, WithinRange(0, 2)] = 0.5
    fast: bool = True
    method: Annotated[str, Choice(["Best", "Quick"])] = "Quick"


class Small(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Small")
        self.parent.categories = ["Registration"]


class SmallWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        slicer.util.VTKObservationMixin.__init__(self)
        self.left = self.cleaned = self.clicks = 0

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Small.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SmallLogic()
        self.parameters = self.logic.getParameterNode()
        self.parameters.connectGui(self.ui)
        self.ui.apply.connect("clicked(bool)", self.onApply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)

    def onApply(self):
        self.clicks += 1

    def onClosed(self, caller, event):
        self.parameters = self.logic.getParameterNode()

    def exit(self):
        self.left += 1

    def cleanup(self):
        self.removeObservers()
        self.cleaned += 1


class SmallLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return SmallParameters(super().getParameterNode())
"""


def write_module(folder: Path) -> Path:
    """Write the module and its files.

    Returns:
        the path of Small.py.
    """
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Small.ui").write_text(UI, encoding="utf-8")
    (folder / "SmallLib" / "panel").mkdir(parents=True)
    (folder / "SmallLib" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "SmallLib" / "panel" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "SmallLib" / "panel" / "parts.py").write_text("import qt\n", encoding="utf-8")
    (folder / "Small.py").write_text(MODULE, encoding="utf-8")
    return folder / "Small.py"
