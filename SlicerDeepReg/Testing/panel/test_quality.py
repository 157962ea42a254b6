"""The sections of the panel that judge a run."""

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.panel import finish, scene_state
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.mrml.layouts import LAYOUTS
from SlicerDeepRegLib.mrml.nodes import FLIP
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.mrml.segments import add_segment


@pytest.fixture
def judged(desktop, widget, synthetic_case):
    """A run with landmarks and segmentations, selected; the views of a layout are made when they are asked for."""

    def arranged(cells):
        for cell in cells:
            if cell.name not in desktop.host.views:
                desktop.host.add_view(cell.name, cell.plane, (160, 160))

    widget.panel.context.layouts.arranged = arranged
    scene, parameters = desktop.host.scene, widget.panel.parameters
    fixed = synthetic_case.fixed.grid.center_lps_mm + np.random.default_rng(0).uniform(-8, 8, (4, 3))
    moving = fixed_to_moving(synthetic_case.transform, fixed) + [0, 0, 2.5]
    for name, locations in (("fixedPoints", fixed), ("movingPoints", moving)):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        for place in locations:
            node.AddControlPoint(*(place * [-1, -1, 1]))
        setattr(parameters, name, node)
    for name, image in (("fixedSegmentation", synthetic_case.fixed), ("movingSegmentation", synthetic_case.moving)):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        add_segment(node, "core", (1, 0, 0), image.values > 60, FLIP @ image.grid.ijk_to_lps)
        setattr(parameters, name, node)
    parameters.device, parameters.preset = "cpu", "fast"
    assert not widget.ui.layoutCombo.enabled
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    return widget, runs(scene)[0]


def measures(widget, column):
    """The names of the measures, the words of their statuses, or their values."""
    return [line[column] for line in widget.panel.sections["verdict"].shown]


def cells(table, column):
    return [table.item(row, column).text() for row in range(table.rowCount)]


def test_quality_assessment_gives_statuses_locations_and_structures(desktop, judged):
    widget, run = judged
    ui = widget.ui
    assert measures(widget, 0) == [
        "Landmarks (TRE)",
        "Overlap (Dice)",
        "Surface distance (HD95)",
        "Jacobian",
        "Inverse consistency",
    ]
    assert measures(widget, 1)[:4] == ["Within tolerance"] * 4
    assert any("paired by" in note for note in run.facts["notes"])
    assert "mm" in measures(widget, 2)[0] and "core" in measures(widget, 2)[1]
    assert measures(widget, 1)[4] == "Not measured" or "inverse" in measures(widget, 2)[4]
    assert "WITHIN TOLERANCE" in ui.summaryLabel.text
    dice = next(line for line in ui.measuresLabel.text.split("<br>") if "Dice" in line)
    assert "\u2192" in dice and "core" in dice and "at least 0.8" in ui.measuresLabel.toolTip
    assert widget.panel.page == "review"  # Apply's end opened it
    assert cells(ui.structuresTable, 0) == ["core"] and "\u2192" in cells(ui.structuresTable, 1)[0]
    place = np.array(run.facts["structures"][0]["lps_mm"]) * [-1, -1, 1]
    ui.structuresTable.selectRow(0)
    for view in desktop.host.views.values():
        there = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())) @ [*place, 1]
        assert abs(there[2]) < 1e-6
    ui.landmarkErrorsButton.click()
    assert "Largest landmark errors" in ui.qualityLabel.text and run.get("residuals").GetDisplayNode().GetVisibility()
    ui.restoreViewsButton.click()
    assert not run.get("residuals").GetDisplayNode().GetVisibility()
    ui.landmarkErrorsButton.click()  # over the images that they are about
    assert widget.panel.review.shown == run and run.get("residuals").GetDisplayNode().GetVisibility()


def test_layouts_are_chosen_and_left_and_the_scene_is_as_it_was(desktop, judged):
    widget, run = judged
    ui, scene = widget.ui, desktop.host.scene
    before = scene_state(scene)
    layout = (slicer.util.getNodesByClass("vtkMRMLLayoutNode", scene) or [None])[0]
    layout = layout or scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    arranged = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    layout.SetViewArrangement(arranged)
    for name in LAYOUTS:
        ui.layoutCombo.setCurrentIndex(ui.layoutCombo.findData(name))
        assert widget.panel.context.layouts.shown == (name, run)
    ui.layoutCombo.setCurrentIndex(0)
    assert widget.panel.context.layouts.shown is None
    assert layout.GetViewArrangement() == arranged
    after = scene_state(scene)
    assert {name: after[name][:3] for name in before} == {name: before[name][:3] for name in before}
    ui.layoutCombo.setCurrentIndex(ui.layoutCombo.findData("review"))
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)  # by Slicer's own menu
    widget.panel.context.select(run)
    assert ui.layoutCombo.currentIndex == 0 and widget.panel.context.layouts.shown is None
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    ui.layoutCombo.setCurrentIndex(ui.layoutCombo.findData("before_after"))
    scene.RemoveNode(run.get("moving"))
    ui.layoutCombo.setCurrentIndex(0)
    ui.layoutCombo.setCurrentIndex(ui.layoutCombo.findData("before_after"))
    assert "its moving volume was removed" in ui.legendLabel.text and ui.layoutCombo.currentIndex == 0
    ui.layoutCombo.setCurrentIndex(ui.layoutCombo.findData("review"))
    assert widget.panel.context.layouts.shown == ("review", run)
    desktop.answers.append(True)
    ui.deleteButton.click()
    assert widget.panel.context.layouts.shown is None and not ui.layoutCombo.enabled


def test_a_deformation_moves_and_its_stages_are_shown(desktop, judged):
    widget, run = judged
    ui = widget.ui
    ui.timeSlider.value = 0.5
    assert "0.50" in ui.animationLabel.text and run.get("morphing") is not None
    view = next(iter(desktop.host.views.values()))
    assert view.composite.GetForegroundVolumeID() == run.get("morphing").GetID()
    names = cells(ui.stagesTable, 0)
    assert names[:2] == ["Before registration", "linear"] and len(names) == len(run.facts["stages"]) + 1
    assert "Stages" in ui.findingsTabs.tabText(2) and "TRE" in cells(ui.stagesTable, 2)[-1]
    ui.stagesTable.selectRow(len(names) - 1)
    assert names[-1] in ui.animationLabel.text and " s" in ui.animationLabel.text
    assert view.composite.GetForegroundVolumeID() == run.get("stage_shown").GetID()
    assert names[-1] in ui.legendLabel.text  # on the page, whatever box is closed
    widget.panel.parameters.reviewMode = "difference"
    assert "brighter" in ui.legendLabel.text and not ui.stagesTable.selectedItems()
    ui.stagesTable.selectRow(1)
    ui.timeSlider.value = 0.25  # the mark goes where no stage is shown
    assert not ui.stagesTable.selectedItems()
    desktop.answers.append(True)
    ui.deleteButton.click()
    assert run.node.GetScene() is None
    left = [desktop.host.scene.GetNthNode(n).GetName() or "" for n in range(desktop.host.scene.GetNumberOfNodes())]
    assert not [name for name in left if "morph" in name or "stage" in name]


def test_the_opposite_registration_makes_inverse_consistency_measurable(desktop, judged):
    widget, run = judged
    ui, parameters = widget.ui, widget.panel.parameters
    assert not ui.inverseConsistencyButton.enabled
    fixed, moving = parameters.fixed, parameters.moving
    for name in ("fixedPoints", "movingPoints", "fixedSegmentation", "movingSegmentation"):
        setattr(parameters, name, None)
    parameters.fixed = None
    parameters.moving = fixed
    parameters.fixed = moving
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    widget.panel.context.select(run)
    assert ui.inverseConsistencyButton.enabled
    ui.inverseConsistencyButton.click()
    assert "Inverse consistency with" in ui.qualityLabel.text
    assert "registrations in both directions" in measures(widget, 2)[4] and run.get("consistency") is not None


def test_the_disagreement_of_selected_runs(desktop, judged):
    widget, run = judged
    ui = widget.ui
    assert not ui.disagreementButton.enabled
    widget.panel.parameters.linear = "rigid"
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    widget.panel.context.check(runs(desktop.host.scene))
    assert ui.disagreementButton.enabled
    ui.disagreementButton.click()
    assert "Disagreement of 2 results" in ui.compareLabel.text and run.get("disagreement") is not None


def test_a_run_that_kept_no_stages_says_so(desktop, judged):
    widget, run = judged
    desktop.host.scene.RemoveNode(run.get("moving"))
    widget.ui.timeSlider.value = 0.4
    assert "its moving volume or its transform was removed" in widget.ui.animationLabel.text


def test_one_button_writes_the_report(desktop, judged, monkeypatch, tmp_path):
    from SlicerDeepRegLib.panel.sections import export

    widget, run = judged
    folder = tmp_path / "report"
    folder.mkdir()
    monkeypatch.setattr(export, "ask_folder", lambda text: folder)
    before = [view.composite.GetForegroundVolumeID() for view in desktop.host.views.values()]
    widget.ui.reportButton.click()
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.pdf"}
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png") == 7 and "core" in text and str(folder) in widget.ui.legendLabel.text
    assert [view.composite.GetForegroundVolumeID() for view in desktop.host.views.values()] == before
    manager = slicer.app.layoutManager()
    corners = manager.sliceWidget(manager.sliceViewNames()[0]).sliceView().cornerAnnotation()
    corners.SetText(2, "Doe^Jane 1961")
    written = (folder / "report.pdf").stat().st_mtime_ns
    desktop.answers.append(False)
    widget.ui.reportButton.click()  # nobody agreed that the report that is there goes
    assert (folder / "report.pdf").stat().st_mtime_ns == written
    desktop.answers.append(True)
    widget.ui.reportButton.click()
    assert (folder / "report.pdf").stat().st_mtime_ns != written
    assert (folder / "report.html").read_text(encoding="utf-8") == text and corners.GetVisibility()
    monkeypatch.setattr(export, "ask_folder", lambda text: tmp_path / "gone")
    widget.ui.reportButton.click()
    assert "could not be written" in desktop.messages[-1]
    monkeypatch.setattr(export, "ask_folder", lambda text: None)
    widget.ui.reportButton.click()  # the user thought better of it
    assert len(desktop.messages) == 3  # two questions, and the folder that is gone


def test_one_button_writes_the_figures_of_papers(desktop, judged, monkeypatch, tmp_path):
    from PIL import Image
    from SlicerDeepRegLib.panel.sections import export

    widget, run = judged
    monkeypatch.setattr(export, "ask_folder", lambda text: tmp_path / "figures")
    (tmp_path / "figures").mkdir()
    nodes = desktop.host.scene.GetNumberOfNodes()
    widget.ui.figuresButton.click()
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"montage.png", "montage.pdf", "structures.png", "structures.pdf"}
    assert "montage.png" in widget.ui.legendLabel.text and desktop.host.scene.GetNumberOfNodes() == nodes
    with Image.open(tmp_path / "figures" / "montage.png") as montage:
        assert montage.width > 700 and len(montage.getcolors(1 << 24)) > 200
    assert (tmp_path / "figures" / "montage.pdf").read_bytes()[:5] == b"%PDF-"
    monkeypatch.setattr(export, "ask_folder", lambda text: tmp_path / "gone")
    widget.ui.figuresButton.click()
    assert "The figures could not be written" in desktop.messages[-1]
    desktop.host.scene.RemoveNode(run.get("warped"))
    widget.ui.figuresButton.enabled = True
    widget.panel.sections["export"].save_figures()
    assert "was removed from the scene" in desktop.messages[-1]


def test_flicker_shows_both_in_turn_and_stops(desktop, judged):
    widget, _ = judged
    view = next(iter(desktop.host.views.values()))
    widget.ui.flickerButton.checked = True
    seen = set()

    def both():
        seen.add(view.composite.GetForegroundOpacity())
        return {0.0, 1.0} <= seen

    desktop.wait(both, 10)
    widget.ui.flickerButton.checked = False
    assert view.composite.GetForegroundOpacity() == widget.panel.parameters.reviewAmount


def test_the_tab_that_decides_the_verdict_is_open(judged):
    widget, run = judged
    section, tabs = widget.panel.sections["findings"], widget.ui.findingsTabs

    def opened(**colors):
        given = run.facts["statuses"]
        run.add_facts(statuses=[{**one, "color": colors.get(one["name"].split()[0], "green")} for one in given])
        section.close()
        widget.panel.update()
        return tabs.currentIndex

    assert opened(Overlap="red", Jacobian="amber") == 1
    assert opened(Overlap="amber", Jacobian="red") == 0
    assert opened(Surface="amber") == 1 and opened() == 0
    tabs.setCurrentIndex(2)
    widget.panel.update()
    assert tabs.currentIndex == 2  # where the user went is where he stays


def test_flicker_with_before_shows_what_changed(desktop, judged):
    widget, run = judged
    view = next(iter(desktop.host.views.values()))
    widget.ui.beforeButton.click()
    widget.ui.flickerButton.checked = True
    seen = set()

    def both():
        seen.add((view.composite.GetForegroundVolumeID(), view.composite.GetForegroundOpacity()))
        return {(run.get(role).GetID(), 1.0) for role in ("moving", "warped")} <= seen

    desktop.wait(both, 10)  # fails where they are not seen
    assert run.get("fixed").GetID() not in {name for name, _opacity in seen}
    widget.ui.flickerButton.checked = False


def test_the_way_and_the_stages_are_saved_as_films(desktop, judged, monkeypatch, tmp_path):
    from PIL import Image
    from SlicerDeepRegLib.panel.sections import animation

    widget, run = judged
    ui = widget.ui
    monkeypatch.setattr(animation, "ask_animation", lambda: tmp_path / "way.gif")
    ui.animationButton.click()
    monkeypatch.setattr(animation, "ask_animation", lambda: tmp_path / "stages.gif")
    ui.stagesTable.selectRow(0)
    ui.animationButton.click()
    with Image.open(tmp_path / "way.gif") as way, Image.open(tmp_path / "stages.gif") as stages:
        assert way.n_frames > 20 and stages.n_frames in (len(run.facts["stages"]), len(run.facts["stages"]) + 1)
        first = np.asarray(way.convert("RGB")).astype(int)
        way.seek(16)
        assert np.abs(np.asarray(way.convert("RGB")).astype(int) - first).mean() > 1
    monkeypatch.setattr(animation, "ask_animation", lambda: tmp_path / "gone" / "way.gif")
    ui.animationButton.click()
    assert "could not be written" in ui.animationLabel.text


def test_perturbed_repeats_are_asked_for_and_shown(desktop, widget):
    ui = widget.ui
    assert not ui.uncertaintyButton.enabled
    ui.uncertaintyRunsSpin.value = 1
    assert widget.panel.parameters.uncertainty_runs == 1
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    run = runs(desktop.host.scene)[0]
    assert "Uncertainty" in measures(widget, 0) and ui.uncertaintyButton.enabled
    ui.uncertaintyButton.click()
    metrics = run.facts["metrics"]
    assert f"{metrics['uncertainty_mm']:.2f} mm" in ui.qualityLabel.text
    view = next(iter(desktop.host.views.values()))
    assert view.composite.GetForegroundVolumeID() == run.get("uncertainty").GetID()
    values = slicer.util.arrayFromVolume(run.get("uncertainty"))
    assert 0 < values.mean() < 5


def test_the_transform_goes_to_dicom_where_the_volumes_came_from_there(
    desktop, judged, monkeypatch, tmp_path, synthetic_case
):
    from helpers.dicom import applied, write_series
    from SlicerDeepRegLib.panel.sections import export
    from SlicerDeepRegLib.report.movie import can_write_mp4

    assert can_write_mp4()
    widget, run = judged
    asked = []
    monkeypatch.setattr(export, "ask_dicom", lambda: asked.append(1) or tmp_path / "registration.dcm")
    widget.ui.dicomButton.click()
    assert "was not loaded from Slicer's DICOM database" in desktop.messages[-1] and not asked
    known = {}
    for role, image in (("fixed", synthetic_case.fixed), ("moving", synthetic_case.moving)):
        for file in sorted(write_series(tmp_path / role, image).iterdir()):
            known[f"{role}.{file.stem}"] = str(file)
        uids = " ".join(uid for uid in known if uid.startswith(role))
        run.get(role).SetAttribute("DICOM.instanceUIDs", uids)

    class Database:
        def fileForInstance(self, uid):
            return known.get(uid, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    widget.ui.dicomButton.click()
    assert str(tmp_path / "registration.dcm") in widget.ui.legendLabel.text
    points = synthetic_case.fixed.grid.center_lps_mm + np.random.default_rng(0).uniform(-8, 8, (10, 3))
    found = applied(tmp_path / "registration.dcm", points)
    assert (
        np.abs(found - fixed_to_moving(synthetic_case.transform, points)).max() < 1.5
    )  # that of the pair, not its inverse
    assert np.linalg.norm(found - points, axis=1).mean() > 3
    moved = desktop.host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    run.get("fixed").SetAndObserveTransformNodeID(moved.GetID())
    widget.ui.dicomButton.click()
    assert "is under a transform" in desktop.messages[-1]
