"""A section is one Python file and one .ui file; the panel finds it, binds it and tells it what happens."""

import importlib
import inspect
import shutil
import sys
from typing import get_type_hints

import pytest
from helpers.examples import example_files
from helpers.panel import MODULE, finish
from SlicerDeepRegLib.panel import sections
from SlicerDeepRegLib.panel.section import BaseSection, Section

UI = MODULE.parent / "Resources" / "UI"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The package of sections with one more, in a folder of its own."""
    for name, text in {**example_files("panel/sections"), **example_files("Resources/UI")}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    module = importlib.import_module(f"{sections.__name__}.example")
    module.ExampleSection.ui = str(tmp_path / module.ExampleSection.ui)  # not beside those of the product
    yield tmp_path
    sys.modules.pop(f"{sections.__name__}.example", None)


def test_two_files_add_a_section(desktop, pair, example):
    widget = desktop.open_module(MODULE)
    panel = widget.panel
    here = [name for name, one in panel.sections.items() if one.container == "registerPage"]
    assert here == ["inputs", "example", "guidance", "method", "apply", "series"]
    section = panel.sections["example"]
    assert section.box.text == "Example" and section.box.collapsed and "two files" in section.box.toolTip
    container = widget.ui.registerPage.layout()
    boxes = [container.itemAt(row).widget() for row in range(container.count())]
    assert boxes.index(section.box) == boxes.index(panel.sections["inputs"].root) + 1

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
    desktop.answers.append(True)
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
    shutil.copy(example / "example.py", example / "other.py")
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="named example"):
        sections.section_classes()
    sys.modules.pop(f"{sections.__name__}.other", None)


def test_the_menu_of_display_modes_offers_what_the_review_can_show(desktop):
    from SlicerDeepRegLib.mrml import review
    from SlicerDeepRegLib.panel import display

    assert tuple(display.MODES) == review.MODES and review.MODES[0] == review.DEFAULT_MODE
