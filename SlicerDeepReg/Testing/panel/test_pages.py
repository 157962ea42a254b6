"""The four pages: what is on them, that they fit a small screen, and what leads from one to the next."""

import csv

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.panel import finish
from SlicerDeepRegLib.mrml.nodes import add_transform, add_volume
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.mrml.segments import segments_of
from SlicerDeepRegLib.panel.section import PAGES
from SlicerDeepRegLib.types import Transform

#: Pixels of Slicer's module panel on a screen of 1366 x 768: its height below the module's heading, and its width.
HEIGHT, WIDTH = 600, 430


def bottom(widget, control):
    """How far below the top of its page a control ends, pixels."""
    import qt

    return control.mapTo(getattr(widget.ui, f"{widget.panel.page}Page"), qt.QPoint(0, control.height)).y()


def laid_out(desktop, widget, page):
    widget.panel.open_page(page)
    desktop.screenshot(desktop.folder / "page.png", 1366, 768)


def test_every_section_is_on_a_page_and_each_page_fits_a_small_screen(desktop, done):
    widget, _run = done
    tabs = widget.ui.pagesWidget
    assert [tabs.tabText(n) for n in range(tabs.count)] == ["Register", "Review", "Compare", "Lessons"]
    on_page = {section.container for section in widget.panel.sections.values()}
    assert {f"{name}Page" for name in PAGES} <= on_page
    for page, last in (
        ("register", widget.ui.applyButton),
        ("review", widget.ui.reportButton),
        ("compare", widget.ui.sideBySideButton),
        ("lessons", widget.ui.lessonStartButton),
    ):
        laid_out(desktop, widget, page)
        assert 20 < bottom(widget, last) < HEIGHT, page
        assert getattr(widget.ui, f"{page}Page").minimumSizeHint.width() <= WIDTH
    laid_out(desktop, widget, "review")
    assert bottom(widget, widget.ui.measuresLabel) < HEIGHT / 2  # the verdict is seen without scrolling


def test_applys_end_opens_review_but_not_from_another_page(desktop, widget):
    assert widget.panel.page == "register"
    widget.ui.applyButton.click()
    finish(desktop, widget)
    assert widget.panel.page == "review" and "MEASURED" in widget.ui.summaryLabel.text.upper()
    widget.panel.open_page("register")
    widget.ui.applyButton.click()
    widget.panel.open_page("lessons")
    finish(desktop, widget)
    assert widget.panel.page == "lessons"


def test_segmentations_are_outlines_while_a_result_is_looked_at(desktop, done):
    widget, run = done
    fixed, moving, warped = (
        run.get(role).GetDisplayNode() for role in ("fixed_segmentation", "moving_segmentation", "segmentation")
    )
    assert fixed.GetVisibility2D() and warped.GetVisibility2D() and not moving.GetVisibility2D()
    assert not fixed.GetVisibility2DFill() and not warped.GetVisibility2DFill()
    assert fixed.GetSliceIntersectionThickness() < warped.GetSliceIntersectionThickness()
    widget.ui.beforeButton.click()
    assert moving.GetVisibility2D() and not warped.GetVisibility2D()
    widget.ui.beforeButton.click()
    widget.ui.restoreViewsButton.click()
    assert all(one.GetVisibility2D() and one.GetVisibility2DFill() for one in (fixed, moving))
    fixed.SetVisibility2D(False)  # what the user switched off stays off
    widget.ui.showButton.click()
    assert not fixed.GetVisibility2D() and warped.GetVisibility2D()


def test_only_the_result_that_is_looked_at_has_outlines(desktop, done):
    widget, first = done
    widget.panel.parameters.method = "rigid"
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    second = runs(desktop.host.scene)[1]
    shown = [run.get("segmentation").GetDisplayNode().GetVisibility2D() for run in (first, second)]
    assert shown == [0, 1] and first.get("fixed_segmentation").GetDisplayNode().GetVisibility2D()
    widget.panel.context.display.show(first)
    assert [run.get("segmentation").GetDisplayNode().GetVisibility2D() for run in (first, second)] == [1, 0]


def test_one_structure_or_all_and_none_on_an_animation(desktop, done):
    widget, run = done
    fixed, warped = (run.get(role).GetDisplayNode() for role in ("fixed_segmentation", "segmentation"))
    names = [widget.ui.structuresTable.item(row, 0).text() for row in range(2)]

    def drawn(role):
        node = run.get(role)
        return [name for one, name in segments_of(node) if node.GetDisplayNode().GetSegmentVisibility(one)]

    widget.ui.onlyCheck.checked = True
    widget.ui.structuresTable.selectRow(1)
    assert drawn("fixed_segmentation") == drawn("segmentation") == [names[1]]
    widget.ui.onlyCheck.checked = False
    assert sorted(drawn("fixed_segmentation")) == sorted(names)
    widget.ui.onlyCheck.checked = True
    widget.ui.stagesTable.selectRow(0)
    assert fixed.GetVisibility2D() and not warped.GetVisibility2D()
    widget.ui.restoreViewsButton.click()
    assert sorted(drawn("fixed_segmentation")) == sorted(names) and warped.GetVisibility2D()


def test_restore_views_gives_the_slices_back(desktop, widget):
    nodes = [view.node for view in desktop.host.views.values()]
    for node in nodes:
        node.JumpSliceByCentering(3.0, -2.0, 5.0)
        node.SetFieldOfView(*(0.5 * length for length in node.GetFieldOfView()[:2]), node.GetFieldOfView()[2])

    def places():
        return [(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()).copy(), node.GetFieldOfView()) for node in nodes]

    before = places()
    widget.ui.applyButton.click()
    finish(desktop, widget)
    assert not all(np.allclose(one[0], other[0]) for one, other in zip(before, places()))
    widget.ui.restoreViewsButton.click()
    for one, other in zip(before, places()):
        assert np.allclose(one[0], other[0]) and np.allclose(one[1], other[1])


def test_controls_are_enabled_where_they_act(desktop, done):
    widget, _run = done
    ui, parameters = widget.ui, widget.panel.parameters
    for mode, slider, before in (
        ("fade", True, True),
        ("difference", False, True),
        ("checkerboard", False, False),
        ("jacobian", True, False),
    ):
        parameters.reviewMode = mode
        assert (ui.amountSlider.enabled, ui.beforeButton.enabled) == (slider, before), mode
    assert not ui.spacingSpin.enabled
    ui.gridCheck.click()
    assert ui.spacingSpin.enabled and ui.grid3dCheck.enabled
    names = [ui.structuresTable.item(row, 0).text() for row in range(ui.structuresTable.rowCount)]
    dice = [float(ui.structuresTable.item(row, 1).text().split()[-1]) for row in range(len(names))]
    assert sorted(names) == ["core", "shell"] and dice == sorted(dice)  # the worst first


def test_the_result_goes_into_nodes_of_the_users(desktop, widget, synthetic_case):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    volume, transform = (
        add_volume(scene, synthetic_case.moving, "mine"),
        add_transform(scene, Transform(np.eye(4)), "my transform"),
    )
    parameters.outputVolume, parameters.outputTransform, parameters.applyTransform = volume, transform, True
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    (run,) = runs(scene)
    assert np.array_equal(slicer.util.arrayFromVolume(volume), slicer.util.arrayFromVolume(run.get("warped")))
    place = synthetic_case.fixed.grid.center_lps_mm * [-1, -1, 1]
    there = [node.GetTransformFromParent().TransformPoint(*place) for node in (transform, run.get("transform"))]
    assert np.allclose(*there) and not np.allclose(there[0], place)
    assert run.get("moving").GetParentTransformNode() is run.get("transform")
    assert "under the transform" in widget.ui.stageLabel.text


@pytest.mark.parametrize("which", ["outputVolume", "outputTransform"])
def test_an_input_is_not_overwritten(desktop, widget, which):
    parameters = widget.panel.parameters
    if which == "outputVolume":
        parameters.outputVolume = parameters.moving
    else:
        node = add_transform(desktop.host.scene, Transform(np.eye(4)), "parent")
        parameters.moving.SetAndObserveTransformNodeID(node.GetID())
        parameters.outputTransform = node
    assert not widget.ui.applyButton.enabled and "Create new" in widget.ui.applyButton.toolTip
    setattr(parameters, which, None)
    assert widget.ui.applyButton.enabled


def test_the_table_of_results_sorts_and_is_saved(desktop, done, monkeypatch, tmp_path):
    from slicer_stand_in.wrapping import unwrap
    from SlicerDeepRegLib.panel.sections import side_by_side

    widget, run = done
    ui = widget.ui
    widget.panel.parameters.method = "rigid"
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    titles = [ui.runsTable.horizontalHeaderItem(n).text().replace("\n", " ") for n in range(ui.runsTable.columnCount)]
    column, heading = titles.index("Dice"), unwrap(ui.runsTable.horizontalHeader())

    def dice():
        return [float(ui.runsTable.item(row, column).text()) for row in range(2)]

    heading.sectionClicked.emit(column)
    assert dice() == sorted(dice()) and dice()[0] < dice()[1]
    heading.sectionClicked.emit(column)
    assert dice() == sorted(dice(), reverse=True) and ui.runsTable.item(0, 0).text() == run.name
    ui.runsTable.selectRow(1)
    assert widget.panel.context.runs.selected != run
    assert ui.runsTable.isColumnHidden(titles.index("TRE (mm)"))  # there are no landmarks
    monkeypatch.setattr(side_by_side, "ask_table", lambda: tmp_path / "results.csv")
    ui.saveTableButton.click()
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["Result"] for row in rows] == [one.name for one in runs(desktop.host.scene)]
    assert float(rows[0]["Dice"]) == pytest.approx(run.facts["metrics"]["dice"], abs=1e-5) and rows[1]["TRE (mm)"] == ""
    monkeypatch.setattr(side_by_side, "ask_table", lambda: tmp_path / "gone" / "results.csv")
    ui.saveTableButton.click()
    assert "could not be written" in desktop.messages[-1]


def test_pages_are_usable_with_a_large_font(desktop, done):
    from PySide6.QtWidgets import QApplication

    widget, _run = done
    font = QApplication.font()
    large = QApplication.font()
    large.setPointSizeF(1.5 * font.pointSizeF())
    QApplication.setFont(large)
    try:
        for page, last in (("register", widget.ui.applyButton), ("review", widget.ui.measuresLabel)):
            laid_out(desktop, widget, page)
            assert bottom(widget, last) < HEIGHT, page
            assert getattr(widget.ui, f"{page}Page").minimumSizeHint.width() <= 600
    finally:
        QApplication.setFont(font)


def test_keys_work_while_the_module_is_open(desktop, done):
    widget, _run = done
    panel, ui = widget.panel, widget.ui
    keys = {key for section in panel.sections.values() for key in section.shortcuts}
    assert keys == {"Ctrl+Alt+F", "Ctrl+Alt+B", "Ctrl+Alt+N"} and len(panel.shortcuts) == 3
    assert all(shortcut.isEnabled() for shortcut in panel.shortcuts)
    panel.sections["review"].toggle_before()
    assert ui.beforeButton.checked
    panel.sections["review"].toggle_before()
    panel.parameters.reviewMode = "checkerboard"
    panel.sections["review"].toggle_before()  # it does not act there
    assert not ui.beforeButton.checked
    places = [{"kind": "shrinks", "position_lps_mm": [n, 0, 0], "value": 0.5} for n in (3, 5)]
    panel.sections["findings"]._fill_locations(places)
    rows = []
    for _ in range(ui.locationsTable.rowCount + 1):
        panel.sections["findings"].go_to_next()
        rows.append(ui.locationsTable.currentRow())
    assert rows == [0, 1, 0]
    widget.exit()
    assert not any(shortcut.isEnabled() for shortcut in panel.shortcuts)
    widget.enter()
    assert all(shortcut.isEnabled() for shortcut in panel.shortcuts)


def test_every_page_has_its_documentation_here(desktop, widget):
    assert widget.ui.helpButton.text == "?"
    for page in PAGES:
        widget.panel.open_page(page)
        text = widget.panel.help_path.read_text(encoding="utf-8")
        assert f"<h1>{page.capitalize()}</h1>" in text and "http" not in text
        assert text.count(".html") == 3  # and the way to the others


def test_deleting_asks(desktop, done):
    widget, run = done
    desktop.answers.append(False)
    widget.ui.deleteButton.click()
    assert "Your own volumes are kept" in desktop.messages[-1] and runs(desktop.host.scene) == [run]
