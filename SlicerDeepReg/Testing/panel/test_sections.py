"""A section is one Python file and one .ui file; the panel finds it, binds it and tells it what happens."""

import importlib
import inspect
import sys
from typing import get_type_hints

import pytest
from helpers.panel import MODULE, finish
from SlicerDeepRegLib.panel import sections
from SlicerDeepRegLib.panel.section import BaseSection, Section

UI = MODULE.parent / "Resources" / "UI"
EXAMPLE = """
from pathlib import Path
from typing import Annotated

from slicer.parameterNodeWrapper import WithinRange
from SlicerDeepRegLib.panel.section import BaseSection


class ExampleSection(BaseSection):
    name = "example"
    title = "Example"
    ui = str(Path(__file__).with_suffix(".ui"))
    order = 15
    collapsed = True
    tool_tip = "A section that was added by two files."

    class Parameters:
        exampleRatio: Annotated[float, WithinRange(0, 2)] = 0.5

    def __init__(self, context, root):
        super().__init__(context, root)
        self.events = []

    def update(self):
        selected = self.context.runs.selected
        self.widgets.exampleLabel.text = "nothing" if selected is None else selected.name

    def started(self, job):
        self.events.append("started")

    def finished(self, job):
        self.events.append(job.state)

    def run_about_to_be_removed(self, run):
        self.events.append("removed")

    def close(self):
        self.events.append("closed")
"""
EXAMPLE_UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Example</class>
 <widget class="qMRMLWidget" name="Example">
  <layout class="QVBoxLayout" name="exampleLayout">
   <item><widget class="QLabel" name="exampleLabel"/></item>
   <item>
    <widget class="QDoubleSpinBox" name="exampleSpin">
     <property name="SlicerParameterName" stdset="0"><string>exampleRatio</string></property>
    </widget>
   </item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget>
   <class>qMRMLWidget</class>
   <extends>QWidget</extends>
   <header>qMRMLWidget.h</header>
   <container>1</container>
  </customwidget>
 </customwidgets>
 <resources/>
 <connections/>
</ui>
"""


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The package of sections with one more, in a folder of its own."""
    (tmp_path / "example.py").write_text(EXAMPLE, encoding="utf-8")
    (tmp_path / "example.ui").write_text(EXAMPLE_UI, encoding="utf-8")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop(f"{sections.__name__}.example", None)


def test_two_files_add_a_section(desktop, pair, example):
    widget = desktop.open_module(MODULE)
    panel = widget.panel
    assert list(panel.sections)[:3] == ["inputs", "example", "method"]
    section = panel.sections["example"]
    assert section.box.text == "Example" and section.box.collapsed and "two files" in section.box.toolTip
    container = widget.ui.sectionsWidget.layout()
    boxes = [container.itemAt(row).widget() for row in range(container.count())]
    assert boxes.index(section.box) == boxes.index(panel.sections["inputs"].box) + 1

    assert widget.ui.exampleSpin.value == panel.parameters.exampleRatio == 0.5 and widget.ui.exampleSpin.maximum == 2
    widget.ui.exampleSpin.value = 1.5
    assert panel.parameters.exampleRatio == 1.5
    panel.parameters.exampleRatio = 1.0
    assert widget.ui.exampleSpin.value == 1.0

    panel.parameters.preset, panel.parameters.device = "fast", "cpu"
    assert widget.ui.exampleLabel.text == "nothing"
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    panel.update()
    assert widget.ui.exampleLabel.text == "moving to fixed"
    widget.ui.deleteButton.click()
    desktop.close_module(widget)
    assert section.events == ["started", "done", "removed", "closed"]


def test_sections_implement_the_protocol(desktop):
    events = {name: member for name, member in vars(Section).items() if callable(member) and not name.startswith("_")}
    assert {"bind", "update", "finished", "close"} <= set(events)
    for section in (BaseSection, *sections.section_classes()):
        for name, event in events.items():
            expected, found = inspect.signature(event), inspect.signature(getattr(section, name))
            assert list(found.parameters) == list(expected.parameters), (section, name)
        for name in set(Section.__annotations__) - {"root", "widgets", "box"}:
            assert hasattr(section, name), (section, name)


def test_every_ui_file_belongs_to_a_section(desktop):
    names = [section.ui for section in sections.section_classes()]
    assert sorted([*names, "SlicerDeepReg.ui"]) == sorted(path.name for path in UI.glob("*.ui"))


def test_parameters_come_from_the_sections(desktop):
    from SlicerDeepRegLib.panel.parameters import parameter_node_class  # needs the stand-in for Slicer's wrapper

    classes = sections.section_classes()
    made = parameter_node_class(classes)
    declared = [name for section in classes for name in get_type_hints(section.Parameters)]
    assert sorted(made.allParameters) == sorted(declared) and "fixed" in declared and "reviewMode" in declared
    assert parameter_node_class(sections.section_classes()) is made  # not made again each time

    class Again(BaseSection):
        name = "again"

        class Parameters:
            method: str = "svf"

    with pytest.raises(ValueError, match="parameter method of the section again"):
        parameter_node_class((*classes, Again))


def test_two_sections_of_one_name_are_refused(desktop, example):
    (example / "other.py").write_text(EXAMPLE, encoding="utf-8")
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="named example"):
        sections.section_classes()
    sys.modules.pop(f"{sections.__name__}.other", None)
