"""Runs beside each other: on Slicer's own layout, view and table nodes, without Qt."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.cases import Case
from SlicerDeepRegLib.mrml.add_run import add_run
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.layouts import SIDE_BY_SIDE, Layouts
from SlicerDeepRegLib.mrml.nodes import add_volume
from SlicerDeepRegLib.mrml.review import Review
from SlicerDeepRegLib.mrml.runs import remove, rename
from SlicerDeepRegLib.mrml.side_by_side import COLUMNS, TABLE, SideBySide, cells_of
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Request


@pytest.fixture(scope="module")
def results():
    case = Case("oblique-LPS")
    return case, [register(Request(case.fixed, case.moving, method=m, preset="fast", device="cpu")) for m in METHODS]


METHODS = ("svf", "demons")


@pytest.fixture
def opened(results):
    case, found = results
    with Host() as host:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, case.fixed, "fixed"), add_volume(host.scene, case.moving, "moving")
        runs = []
        for method, result in zip(METHODS, found):
            facts = {"title": method, "preset": "fast", "seconds": 2.5, "metrics": {"ncc": 0.9, "dice": None}}
            runs.append(add_run(host.scene, result, f"by {method}", facts, fixed, moving))
        review = Review(host.scene, host.application.GetSliceLogics())

        def arranged(cells):
            for cell in cells:
                if cell.name not in host.views:
                    host.add_view(cell.name, cell.plane, (200, 200))

        yield host, SideBySide(Layouts(host.scene, review, arranged)), runs


def test_a_run_that_lost_its_jacobian_is_refused_and_nothing_is_changed(opened):
    host, beside, runs = opened
    before = layout_of(host.scene).GetViewArrangement() if layouts_in(host.scene) else None
    host.scene.RemoveNode(runs[1].get("jacobian"))
    with pytest.raises(ValueError, match="its Jacobian was removed"):
        beside.show(runs, ["A", "B"])
    assert beside.shown == () and beside.blind is None
    assert [run.get("warped").GetName() for run in runs] == ["by svf: warped", "by demons: warped"]
    assert (layout_of(host.scene).GetViewArrangement() if layouts_in(host.scene) else None) == before


def test_the_table_has_the_names_of_now(opened):
    host, beside, runs = opened
    beside.show(runs)
    rename(host.scene, runs[0], "the best")
    beside.refresh()
    node = next(one for one in slicer.util.getNodesByClass("vtkMRMLTableNode", host.scene) if one.GetName() == TABLE)
    assert [node.GetTable().GetColumn(0).GetValue(row) for row in range(2)] == ["1: the best", "2: by demons"]


def layouts_in(scene):
    return slicer.util.getNodesByClass("vtkMRMLLayoutNode", scene)


def layout_of(scene):
    return slicer.util.getNodesByClass("vtkMRMLLayoutNode", scene)[0]


def test_the_layout_has_a_row_for_each_run_and_a_table(opened):
    host, beside, runs = opened
    beside.show(runs)
    root = ElementTree.fromstring(layout_of(host.scene).GetLayoutDescription(SIDE_BY_SIDE))
    views = [one.get("singletontag") for one in root.iter("view") if one.get("class") == "vtkMRMLSliceNode"]
    assert views == [cell.name for row in cells_of(2) for cell in row] and len(set(views)) == 2 * len(COLUMNS)
    assert [one.get("class") for one in root.iter("view")][-1] == "vtkMRMLTableViewNode"


def test_runs_are_shown_beside_each_other_with_common_scales(opened):
    host, beside, runs = opened
    scene = host.scene
    scene.AddNewNodeByClass("vtkMRMLTableViewNode", "DeepReg").SetLayoutName("DeepReg")
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    runs[1].get("warped").GetDisplayNode().SetWindowLevelMinMax(10, 20)
    before = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    beside.show(runs)
    assert layout.GetViewArrangement() == SIDE_BY_SIDE and beside.shown == tuple(runs)
    windows = {(d.GetWindowLevelMin(), d.GetWindowLevelMax()) for d in (r.get("warped").GetDisplayNode() for r in runs)}
    assert len(windows) == 1 and (10, 20) not in windows
    cells = cells_of(2)
    for row, run in zip(cells, runs):
        composites = {cell.shows: host.views[cell.name].composite for cell in row}
        assert composites["warped"].GetBackgroundVolumeID() == run.get("warped").GetID()
        assert composites["difference"].GetBackgroundVolumeID() == run.get("difference").GetID()
        assert composites["jacobian"].GetBackgroundVolumeID() == run.get("fixed").GetID()
        assert composites["jacobian"].GetForegroundVolumeID() == run.get("jacobian_shown").GetID()
        assert all(one.GetLinkedControl() and one.GetHotLinkedControl() for one in composites.values())
        drawn = run.get("layout_grid").GetDisplayNode()
        assert list(drawn.GetViewNodeIDs()) == [host.views[c.name].node.GetID() for c in row if c.shows == "grid"]
    groups = {host.views[cell.name].node.GetViewGroup() for row in cells for cell in row}
    assert len(groups) == 1 and groups != {0}
    table = next(
        n for n in slicer.util.getNodesByClass("vtkMRMLTableNode", scene) if n.GetName() == "DeepReg comparison"
    )
    titles = [table.GetTable().GetColumn(n).GetName() for n in range(table.GetNumberOfColumns())]
    assert titles == ["Run", "Method", "NCC", "Seconds until shown"]  # Dice was not measured: no column
    assert table.GetTable().GetColumn(0).GetValue(1) == "2: by demons"
    views = slicer.util.getNodesByClass("vtkMRMLTableViewNode", scene)
    assert views[0].GetTableNodeID() == table.GetID()
    beside.restore()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView and not beside.shown
    after = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    assert table.GetID() not in after and before <= after


def test_the_same_location_is_seen_in_every_column(opened, tmp_path):
    host, beside, runs = opened
    beside.show(runs)
    locations = [np.array(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())) for view in host.views.values()]
    assert all(np.allclose(place, locations[0]) for place in locations)
    first, second = (host.views[row[0].name].picture().astype(int) for row in cells_of(2))
    assert first.max() > 100 and 0 < np.abs(first - second).mean() < 20  # alike, and not the same


def test_one_run_shows_its_columns(opened):
    host, beside, runs = opened
    beside.show(runs[:1])
    assert beside.shown == tuple(runs[:1])
    shown = host.views[cells_of(1)[0][0].name]
    assert shown.picture().astype(int).max() > 100


def test_too_few_too_many_or_lost_runs_are_refused(opened):
    host, beside, runs = opened
    for chosen in ([], [*runs, *runs, runs[0]]):
        with pytest.raises(ValueError, match="1 to 4"):
            beside.show(chosen)
    host.scene.RemoveNode(runs[1].get("warped"))
    with pytest.raises(ValueError, match="volume was removed from the scene"):
        beside.show(runs)
    assert not beside.shown


def test_removing_a_shown_run_puts_the_layout_back(opened):
    host, beside, runs = opened
    beside.show(runs)
    beside.forget(runs[0])
    remove(host.scene, runs[0])
    assert not beside.shown and layout_of(host.scene).GetViewArrangement() != SIDE_BY_SIDE


def test_a_window_and_a_name_that_the_user_gave_meanwhile_stay(opened):
    host, beside, runs = opened
    runs[0].get("warped").SetName("my own name")
    beside.show(runs, ["A", "B"])
    assert runs[0].get("warped").GetName() == "A: warped"
    runs[1].get("warped").GetDisplayNode().SetWindowLevelMinMax(10, 50)
    beside.restore()
    display = runs[1].get("warped").GetDisplayNode()
    assert runs[0].get("warped").GetName() == "my own name"
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (10, 50)


def test_another_layout_ends_side_by_side(opened):
    host, beside, runs = opened
    name = runs[0].get("warped").GetName()
    beside.show(runs, ["A", "B"])
    beside.layouts.show("review", runs[0])
    assert not beside.shown and beside.blind is None and runs[0].get("warped").GetName() == name
    assert beside.layouts.shown == ("review", runs[0])
