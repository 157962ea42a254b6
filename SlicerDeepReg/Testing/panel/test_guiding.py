"""Guidance on the Register page, and the loop of correcting and continuing on the Review page."""

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.panel import finish
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.mrml.corrections import corrections_of, lines_of, root_of
from SlicerDeepRegLib.mrml.nodes import FLIP, add_volume, flipped
from SlicerDeepRegLib.mrml.runs import put_under, runs, transform_of
from SlicerDeepRegLib.mrml.segments import add_segment
from SlicerDeepRegLib.types import Image
from vtk.util.numpy_support import vtk_to_numpy


def point_list(scene, name, points_lps_mm):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for point in flipped(points_lps_mm):
        node.AddControlPoint(*point)
    return node


def segmentation(scene, name, image, thresholds):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    for segment, low, high in thresholds:
        inside = (image.values > low) & (image.values <= high)
        add_segment(node, segment, (1, 0, 0), inside, FLIP @ image.grid.ijk_to_lps)
    return node


@pytest.fixture
def registered(desktop, widget):
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    return widget, runs(desktop.host.scene)[0]


def draw(widget, run, shown_lps_mm, belongs_lps_mm):
    """Draw a correction as two clicks would."""
    widget.ui.addCorrectionButton.click()
    (line,) = [line for line in lines_of(slicer.mrmlScene, run) if line.GetNumberOfControlPoints() == 0]
    for point in flipped([shown_lps_mm, belongs_lps_mm]):
        line.AddControlPoint(*point)
    widget.panel.update()
    return line


def test_a_result_is_corrected_where_the_user_says_and_undone(desktop, registered, synthetic_case):
    widget, run = registered
    ui, scene = widget.ui, desktop.host.scene
    assert ui.addCorrectionButton.enabled and not ui.updateButton.enabled and not ui.undoCorrectionButton.enabled
    before = transform_of(run)
    belongs = synthetic_case.fixed.grid.center_lps_mm
    shown = belongs + np.array([3.0, -2.0, 1.0])
    line = draw(widget, run, shown, belongs)
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction is None or interaction.GetCurrentInteractionMode() == interaction.Place
    assert ui.updateButton.enabled and ui.correctionsTable.rowCount == 1
    assert ui.correctionsTable.item(0, 1).text() == "3.7"
    ui.updateButton.click()
    assert finish(desktop, widget).state == "done"
    _first, corrected = runs(scene)
    assert corrected.name == f"{run.name}, corrected" and root_of(corrected) == run
    assert widget.panel.context.runs.selected == corrected and widget.panel.page == "review"
    partner = fixed_to_moving(before, shown[None])
    after = transform_of(corrected)
    assert np.linalg.norm(fixed_to_moving(after, belongs[None]) - partner) < 0.5
    corner = synthetic_case.fixed.grid.ijk_to_lps[:3, 3] + 0.1
    np.testing.assert_allclose(fixed_to_moving(after, corner[None]), fixed_to_moving(before, corner[None]), atol=0.05)
    assert len(corrected.facts["corrections"]) == 1 and corrected.facts["metrics"]["guided_tre_mm"] < 0.5
    assert corrected.facts["metrics"]["inverse_error_max_mm"] < 0.5  # the worker still has the way back of the first
    assert any(note.startswith("Correction 1 at") for note in corrected.facts["notes"])
    statuses = {status["name"]: status["color"] for status in corrected.facts["statuses"]}
    assert statuses["Landmarks (TRE)"] == "gray"  # what guided is no measure
    # a line with one end is no correction, and its removal takes no result away
    ui.addCorrectionButton.click()
    lines_of(scene, run)[-1].AddControlPoint(*flipped(shown))
    # a second one goes on from the first result with both, and is taken back by one click
    draw(widget, corrected, shown - [20, 0, 0], belongs - [20, 0, 0])
    assert len(corrections_of(scene, run)) == 2
    ui.updateButton.click()
    assert finish(desktop, widget).state == "done"
    assert len(runs(scene)) == 3 and len(widget.panel.context.runs.selected.facts["corrections"]) == 2
    ui.undoCorrectionButton.click()
    assert runs(scene) == [run, corrected] and widget.panel.context.runs.selected == corrected
    assert len(lines_of(scene, run)) == 2 and ui.correctionsTable.rowCount == 1
    ui.undoCorrectionButton.click()
    assert lines_of(scene, run) == [line] and runs(scene) == [run, corrected]
    ui.undoCorrectionButton.click()
    assert runs(scene) == [run] and lines_of(scene, run) == []
    assert widget.panel.context.runs.selected == run and widget.panel.review.shown == run


def test_corrections_go_with_their_result_and_are_refused_where_they_cannot_be(
    desktop, registered, synthetic_case, caplog
):
    widget, run = registered
    center = synthetic_case.fixed.grid.center_lps_mm
    draw(widget, run, center, center + 2)
    transform = desktop.host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "elsewhere")
    matrix = np.eye(4)
    matrix[0, 3] = 30
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    run.get("moving").SetAndObserveTransformNodeID(transform.GetID())
    widget.ui.updateButton.click()
    assert "not what it was, or not where it was" in caplog.text and len(runs(desktop.host.scene)) == 1
    run.get("moving").SetAndObserveTransformNodeID(None)
    desktop.answers.append(True)
    widget.ui.deleteButton.click()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []


def test_a_deleted_result_comes_back_with_all_that_belonged_to_it(desktop, registered, synthetic_case):
    widget, run = registered
    scene, ui, center = desktop.host.scene, widget.ui, synthetic_case.fixed.grid.center_lps_mm
    draw(widget, run, center, center + 2)
    moving, transform, facts = run.get("moving"), transform_of(run), run.facts
    mine = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "mine")
    moving.SetAndObserveTransformNodeID(mine.GetID())
    put_under(run, [moving], run.get("transform"))
    run.set_permanent(True)
    before = {role: node.GetName() for role, node in run.owned()}
    warped = slicer.util.arrayFromVolume(run.get("warped")).copy()
    assert ui.undoDeleteButton.isHidden()
    desktop.answers.append(True)
    ui.deleteButton.click()
    assert not runs(scene) and moving.GetParentTransformNode() is mine and not ui.undoDeleteButton.isHidden()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []
    ui.undoDeleteButton.click()
    (back,) = runs(scene)
    assert back.name == run.name and back.permanent and back.facts == facts and ui.undoDeleteButton.isHidden()
    assert {role: node.GetName() for role, node in back.owned()}.items() <= before.items()
    assert {"warped", "transform", "jacobian"} <= {role for role, _node in back.owned()}
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(back.get("warped")), warped)
    np.testing.assert_array_equal(transform_of(back).field.displacement_lps_mm, transform.field.displacement_lps_mm)
    assert moving.GetParentTransformNode() is back.get("transform") and len(corrections_of(scene, back)) == 1
    assert back.get("warped").GetDisplayNode() is not None and widget.panel.context.runs.selected == back
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(back.get("warped")))
    assert hierarchy.GetItemName(folder) == back.name
    widget.panel.context.display.show(back)
    assert widget.panel.review.shown == back and ui.legendLabel.text
    desktop.answers.append(True)
    ui.deleteButton.click()
    assert not ui.legendLabel.text  # the views do not show it any more
    assert moving.GetParentTransformNode() is mine
    desktop.host.scene.Clear(0)
    assert ui.undoDeleteButton.isHidden() and not runs(scene)


def test_what_guides_reaches_the_worker(desktop, widget, pretended, pair, synthetic_case):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    center = synthetic_case.fixed.grid.center_lps_mm
    places = center + np.array([[0.0, 0, 0], [8, 0, 0], [0, 8, 0]])
    parameters.guidePoints = True
    assert any("none are chosen" in finding.text for finding in widget.panel.context.findings)
    assert not widget.ui.applyButton.enabled
    parameters.fixedPoints = point_list(scene, "F", places)
    parameters.movingPoints = point_list(scene, "M", places + 2)
    parameters.guidePointsUncertainty, parameters.heldPoints = 2.0, "2"
    shells = [("shell", 20, 60), ("core", 60, 1000)]
    parameters.fixedSegmentation = segmentation(scene, "SF", synthetic_case.fixed, shells)
    parameters.movingSegmentation = segmentation(scene, "SM", synthetic_case.moving, shells[::-1])
    tree = widget.ui.guideStructuresTree
    assert [tree.topLevelItem(row).text(0) for row in range(2)] == ["shell", "core"]
    import qt

    tree.topLevelItem(1).setCheckState(0, qt.Qt.Checked)
    assert parameters.guideStructures == '["core"]'
    excluded = np.zeros(synthetic_case.fixed.grid.shape_kji, np.uint8)
    excluded[8:12, 8:12, 8:12] = 1
    parameters.fixedExcluded = add_volume(scene, Image(excluded, synthetic_case.fixed.grid), "lesion", labels=True)
    parameters.fixedRigid = segmentation(scene, "bones", synthetic_case.fixed, [("core", 60, 1000)])
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    model.SetAndObservePolyData(sphere(flipped(center)))
    parameters.fixedSurface = model
    assert any("A surface of the moving volume is missing" in finding.text for finding in widget.panel.context.findings)
    curve = scene.AddNewNodeByClass("vtkMRMLMarkupsCurveNode", "curve")
    for point in flipped(places):
        curve.AddControlPoint(*point)
    parameters.movingSurface = curve
    assert widget.ui.applyButton.enabled, [finding.sentence for finding in widget.panel.context.findings]
    widget.ui.applyButton.click()
    (request,) = pretended.requests
    assert request.guide_points_mm == 2.0 and request.held_points == ("2",)
    numbers = set(np.unique(request.fixed_labels.values)) - {0}
    assert len(request.guide_structures) == 1 and int(request.guide_structures[0]) in numbers
    assert request.fixed_excluded.values.sum() == 64 and request.fixed_rigid.values.any()
    assert request.fixed_surface.mean(0) == pytest.approx(center, abs=0.5) and len(request.moving_surface) >= 3


def sphere(center):
    import vtk

    source = vtk.vtkSphereSource()
    source.SetCenter(*center)
    source.Update()
    return source.GetOutput()


def test_a_landmark_to_hold_out_that_is_none_is_refused(desktop, widget, pretended, synthetic_case, caplog):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    places = synthetic_case.fixed.grid.center_lps_mm + np.array([[0.0, 0, 0], [8, 0, 0]])
    parameters.fixedPoints, parameters.movingPoints = point_list(scene, "F", places), point_list(scene, "M", places)
    parameters.guidePoints, parameters.heldPoints = True, "nose"
    widget.ui.applyButton.click()
    assert pretended.requests == [] and "no landmark 'nose'" in caplog.text


def test_other_nodes_are_moved_along_in_either_direction(desktop, registered, synthetic_case):
    import qt

    widget, run = registered
    scene, ui = desktop.host.scene, widget.ui
    fixed_points = synthetic_case.fixed.grid.center_lps_mm + np.array([[0.0, 0, 0], [10, 5, -5]])
    moving_points = fixed_to_moving(transform_of(run), fixed_points)
    markups = point_list(scene, "tips", moving_points)
    dose = add_volume(scene, synthetic_case.moving, "dose")
    dose.SetAttribute("DicomRtImport.DoseVolume", "1")
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "tumor")
    model.SetAndObservePolyData(sphere(flipped(moving_points[0])))
    labels = segmentation(scene, "organs", synthetic_case.moving, [("core", 60, 1000)])
    elsewhere = point_list(scene, "elsewhere", moving_points)
    other = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "other")
    elsewhere.SetAndObserveTransformNodeID(other.GetID())
    widget.panel.update()

    def listed():
        return [ui.applyToTree.topLevelItem(row).text(0) for row in range(ui.applyToTree.topLevelItemCount)]

    assert {"moving", "tips", "dose", "tumor", "organs"} <= set(listed())
    assert not {"fixed", "elsewhere"} & set(listed()) and not any(run.name in name for name in listed())
    ui.copyButton.click()  # nothing is checked
    assert "Check what to move" in ui.stageLabel.text
    for row, name in enumerate(listed()):
        if name in ("tips", "dose", "tumor", "organs"):
            ui.applyToTree.topLevelItem(row).setCheckState(0, qt.Qt.Checked)
    away = np.linalg.norm(moving_points - fixed_points, axis=1)
    said = ui.displacementLabel.text
    assert f"tips: moves by {away.mean():.1f} mm on average, at most {away.max():.1f} mm" in said
    assert all(f"{name}: moves by" in said for name in ("dose", "tumor", "organs")) and "moving:" not in said
    ui.copyButton.click()
    tips = flipped(slicer.util.arrayFromMarkupsControlPoints(slicer.util.getNode("tips moved"), world=True))
    np.testing.assert_allclose(tips, fixed_points, atol=0.1)
    center = np.mean(slicer.util.getNode("tumor moved").GetPolyData().GetBounds()[::2])
    assert center == pytest.approx(flipped(fixed_points[0])[0] - 0.5, abs=1.5)
    poly = slicer.util.getNode("tumor moved").GetPolyData()
    lengths = vtk_to_numpy(poly.GetPointData().GetArray("displacement (mm)"))
    assert lengths.mean() == pytest.approx(away[0], abs=1.0)
    moved = slicer.util.getNode("dose moved")
    assert moved.GetAttribute("DicomRtImport.DoseVolume") == "1"
    assert moved.GetImageData().GetDimensions() == run.get("fixed").GetImageData().GetDimensions()
    values, warped = slicer.util.arrayFromVolume(moved), slicer.util.arrayFromVolume(run.get("warped"))
    assert np.corrcoef(values.ravel(), warped.ravel())[0, 1] > 0.98
    assert slicer.util.getNode("organs moved").GetSegmentation().GetNumberOfSegments() == 1
    assert markups.GetTransformNodeID() is None  # the originals stay
    said = ui.displacementLabel.text
    ui.putUnderButton.click()
    assert ui.displacementLabel.text == said  # the same way, also once it is gone
    assert markups.GetTransformNodeID() == run.get("transform").GetID() == labels.GetTransformNodeID()
    moving_row = listed().index("moving")
    ui.applyToTree.topLevelItem(moving_row).setCheckState(0, qt.Qt.Checked)
    said = ui.displacementLabel.text
    run.get("moving").SetAndObserveTransformNodeID(run.get("transform").GetID())
    widget.panel.update()
    assert ui.displacementLabel.text == said and "moving: moves by" in said and "0.0 mm on average" not in said
    run.get("moving").SetAndObserveTransformNodeID(None)
    back = point_list(scene, "targets", fixed_points)
    nodes = scene.GetNumberOfNodes()
    ui.directionCombo.setCurrentIndex(1)
    assert "targets" in listed() and "moving" not in listed()
    ui.applyToTree.topLevelItem(listed().index("targets")).setCheckState(0, qt.Qt.Checked)
    assert "targets: moves by" in ui.displacementLabel.text and scene.GetNumberOfNodes() == nodes
    ui.putUnderButton.click()
    there = flipped(slicer.util.arrayFromMarkupsControlPoints(back, world=True))
    np.testing.assert_allclose(there, moving_points, atol=0.1)
    assert run.get("transform_back") is not None


def test_a_landmark_may_have_a_comma_in_its_name():
    from SlicerDeepRegLib.panel.context import names_in

    known = ["AC, left", "4,5", "PC"]
    assert names_in("PC, AC, left ,7", known) == ("PC", "AC, left", "7")
    assert names_in("4,5", known) == ("4,5",) and names_in("4, 5", known) == ("4", "5")
    assert names_in("AC, leftmost", known) == ("AC", "leftmost") and names_in(" , ", known) == names_in("") == ()


def test_no_end_of_a_correction_that_was_undone_is_placed(desktop, registered):
    widget, run = registered
    scene = desktop.host.scene
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton") or scene.AddNode(slicer.vtkMRMLInteractionNode())
    widget.ui.addCorrectionButton.click()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    widget.ui.undoCorrectionButton.click()
    assert not lines_of(scene, run) and interaction.GetCurrentInteractionMode() != interaction.Place
