"""Runs beside each other: on Slicer's own layout, view and table nodes, without Qt."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import slicer
import slicer.util
from conftest import Case
from SlicerDeepRegLib.contracts import Request
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.nodes import add_volume
from SlicerDeepRegLib.mrml.review import Review
from SlicerDeepRegLib.mrml.runs import add_run, remove
from SlicerDeepRegLib.mrml.side_by_side import LAYOUT, ROWS, SideBySide, layout_description, view_name
from SlicerDeepRegLib.pipeline import register


@pytest.fixture(scope="module")
def results():
    case = Case("oblique-LPS")
    return case, [register(Request(case.fixed, case.moving, method=m, effort="fast", device="cpu")) for m in METHODS]


METHODS = ("optimise", "demons")


@pytest.fixture
def opened(results):
    case, found = results
    with Host() as host:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, case.fixed, "fixed"), add_volume(host.scene, case.moving, "moving")
        runs = []
        for method, result in zip(METHODS, found):
            facts = {"title": method, "effort": "fast", "seconds": 2.5, "figures": {"ncc": 0.9, "dice": None}}
            runs.append(add_run(host.scene, result, f"by {method}", facts, fixed, moving))
        review = Review(host.scene, host.application.GetSliceLogics())

        def arranged(names):
            for name in names:
                if name not in host.views:
                    host.add_view(name, "Axial", (200, 200))

        yield host, SideBySide(host.scene, review, arranged), runs


def layout_of(scene):
    return slicer.util.getNodesByClass("vtkMRMLLayoutNode", scene)[0]


def test_the_layout_has_a_column_for_each_run_and_a_table():
    for columns in (2, 3, 4):
        root = ElementTree.fromstring(layout_description(columns))
        views = [one.get("singletontag") for one in root.iter("view") if one.get("class") == "vtkMRMLSliceNode"]
        assert views == [view_name(c, r) for r in range(len(ROWS)) for c in range(columns)]
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
    assert layout.GetViewArrangement() == LAYOUT and beside.shown == tuple(runs)
    windows = {(d.GetWindowLevelMin(), d.GetWindowLevelMax()) for d in (r.get("warped").GetDisplayNode() for r in runs)}
    assert len(windows) == 1 and (10, 20) not in windows
    for column, run in enumerate(runs):
        composites = [host.views[view_name(column, row)].composite for row in range(3)]
        assert composites[0].GetBackgroundVolumeID() == run.get("warped").GetID()
        assert composites[1].GetBackgroundVolumeID() == run.get("difference").GetID()
        assert composites[2].GetBackgroundVolumeID() == run.get("fixed").GetID()
        jacobian = run.get("jacobian_shown") or run.get("jacobian")  # where there is content, or all of it
        assert composites[2].GetForegroundVolumeID() == jacobian.GetID()
        assert all(composite.GetLinkedControl() and composite.GetHotLinkedControl() for composite in composites)
    groups = {host.views[view_name(c, r)].node.GetViewGroup() for c in range(2) for r in range(3)}
    assert len(groups) == 1 and groups != {0}
    table = next(
        n for n in slicer.util.getNodesByClass("vtkMRMLTableNode", scene) if n.GetName() == "DeepReg comparison"
    )
    titles = [table.GetTable().GetColumn(n).GetName() for n in range(table.GetNumberOfColumns())]
    assert titles == ["Run", "Method", "NCC", "Seconds"]  # Dice was not measured: no column
    assert table.GetTable().GetColumn(0).GetValue(1) == "2: by demons"
    views = slicer.util.getNodesByClass("vtkMRMLTableViewNode", scene)
    assert views[0].GetTableNodeID() == table.GetID()
    beside.restore()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView and not beside.shown
    after = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    assert table.GetID() not in after and before <= after


def test_the_same_place_is_seen_in_every_column(opened, tmp_path):
    host, beside, runs = opened
    beside.show(runs)
    places = [np.array(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())) for view in host.views.values()]
    assert all(np.allclose(place, places[0]) for place in places)
    first, second = (host.views[view_name(column, 0)].picture().astype(int) for column in range(2))
    assert first.max() > 100 and 0 < np.abs(first - second).mean() < 20  # alike, and not the same


def test_too_few_too_many_or_lost_runs_are_refused(opened):
    host, beside, runs = opened
    for chosen in (runs[:1], [*runs, *runs, runs[0]]):
        with pytest.raises(ValueError, match="2 to 4"):
            beside.show(chosen)
    host.scene.RemoveNode(runs[1].get("warped"))
    with pytest.raises(ValueError, match="lost its volumes"):
        beside.show(runs)
    assert not beside.shown


def test_removing_a_shown_run_puts_the_layout_back(opened):
    host, beside, runs = opened
    beside.show(runs)
    beside.forget(runs[0])
    remove(host.scene, runs[0])
    assert not beside.shown and layout_of(host.scene).GetViewArrangement() != LAYOUT
