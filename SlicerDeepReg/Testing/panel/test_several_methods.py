"""Several methods in the panel, one after another, and their runs side by side."""

import json

import pytest
import slicer.util
import vtk
from helpers.panel import PretendedClient, finish, scene_state
from SlicerDeepRegLib.mrml.layouts import SIDE_BY_SIDE
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.mrml.side_by_side import cells_of
from SlicerDeepRegLib.types import InputError

METHODS = ["svf", "demons"]


@pytest.fixture
def opened(widget):
    """The panel with the page open, demons quick."""
    widget.panel.open_page("compare")
    return widget


def items(widget):
    """The methods of the list by name, and the titles of its groups."""
    tree = widget.ui.methodsTree
    return widget.panel.sections["several_methods"]._items, [
        tree.topLevelItem(n).text(0) for n in range(tree.topLevelItemCount)
    ]


@pytest.fixture
def with_views(desktop, opened):
    """The desktop makes the views of a layout by itself; here they are made when they are asked for."""

    def arranged(cells):
        for cell in cells:
            if cell.name not in desktop.host.views:
                desktop.host.add_view(cell.name, cell.plane, (160, 160))

    opened.panel.context.layouts.arranged = arranged
    return opened


def round_of(desktop, widget, seconds=120):
    desktop.wait(
        lambda: not widget.panel.sections["several_methods"].running and not widget.logic.session.busy, seconds
    )


def arrangement(desktop):
    nodes = slicer.util.getNodesByClass("vtkMRMLLayoutNode", desktop.host.scene)
    return nodes[0].GetViewArrangement() if nodes else None


def test_methods_are_listed_run_and_shown_side_by_side(desktop, with_views, pair):
    widget, parameters = with_views, with_views.panel.parameters
    parameters.device, parameters.preset = "cpu", "fast"
    assert not widget.ui.runMethodsButton.enabled
    import qt  # the stand-in's: it is there with the desktop

    listed, groups = items(widget)
    assert groups[:2] == ["With trained weights", "For any pair, without training"] and "niftyreg" not in listed
    listed["demons"].setCheckState(0, qt.Qt.Checked)
    parameters.method, parameters.settings = "demons", '{"iterations": 10}'  # the parameters of the page Register
    listed["svf"].setCheckState(0, qt.Qt.Checked)
    assert json.loads(parameters.methods) == METHODS and widget.ui.runMethodsButton.enabled
    assert "moving to fixed, preset Fast (change it" in widget.ui.severalLabel.text
    widget.ui.runMethodsButton.click()
    assert widget.ui.runMethodsButton.text == "Cancel" and not widget.ui.sideBySideButton.enabled
    round_of(desktop, widget)
    made = runs(desktop.host.scene)
    assert [run.facts["method"] for run in made] == ["svf", "demons"]
    assert [len(run.facts["stages"]) > 0 for run in made] == [True, True]
    assert widget.panel.sections["side_by_side"].views.shown == tuple(made) and arrangement(desktop) == SIDE_BY_SIDE
    assert desktop.host.views[cells_of(2)[1][0].name].composite.GetBackgroundVolumeID() == made[1].get("warped").GetID()
    widget.ui.leaveSideBySideButton.click()
    assert arrangement(desktop) != SIDE_BY_SIDE and not widget.ui.leaveSideBySideButton.enabled
    assert widget.ui.sideBySideButton.enabled  # both are ticked
    widget.ui.sideBySideButton.click()
    assert arrangement(desktop) == SIDE_BY_SIDE
    widget.panel.context.select(made[0])
    desktop.answers.append(True)
    widget.ui.deleteButton.click()
    assert arrangement(desktop) != SIDE_BY_SIDE and widget.ui.sideBySideButton.enabled  # the other one is still ticked
    widget.ui.clearMethodsButton.click()
    assert json.loads(parameters.methods) == [] and not widget.ui.runMethodsButton.enabled


def test_a_method_that_fails_does_not_end_the_round(desktop, with_views, pair, monkeypatch):
    widget = with_views
    widget.panel.parameters.device = "cpu"
    widget.panel.parameters.methods = json.dumps(["lku-net", "demons"])
    begin = widget.panel.context.begin

    def refused(choice, name="", attended=True):
        if choice.method == "lku-net":
            raise InputError("No room for it.")
        return begin(choice, name, attended)

    monkeypatch.setattr(widget.panel.context, "begin", refused)
    widget.ui.runMethodsButton.click()
    round_of(desktop, widget)
    assert [run.facts["method"] for run in runs(desktop.host.scene)] == ["demons"]
    assert "LKU-Net: No room" in widget.ui.severalLabel.text and "LKU-Net" in widget.ui.stageLabel.text


def test_cancel_ends_the_round_and_the_scene_is_as_it_was(desktop, opened, pair):
    widget = opened
    widget.panel.session.client.close()
    client = PretendedClient()
    widget.panel.session.client = client
    before = scene_state(desktop.host.scene)
    widget.panel.parameters.methods = json.dumps(METHODS)
    widget.ui.runMethodsButton.click()
    assert len(client.requests) == 1
    assert widget.ui.runMethodsButton.text == "Cancel" == widget.ui.applyButton.text
    widget.ui.runMethodsButton.click()
    finish(desktop, widget, 10)
    assert len(client.requests) == 1 and not widget.panel.sections["several_methods"].running
    assert scene_state(desktop.host.scene) == before


def test_a_result_that_is_deleted_while_it_is_measured_does_not_end_the_round(desktop, opened, pair):
    widget = opened
    widget.panel.session.client.close()
    widget.panel.session.client = client = PretendedClient()
    widget.panel.parameters.methods = json.dumps(METHODS)
    widget.ui.runMethodsButton.click()
    job = widget.logic.session.job
    job.state, job.text = "canceled", "The result was deleted before it was measured."
    widget.panel.poll()
    assert len(client.requests) == 2 and widget.panel.sections["several_methods"].running
    widget.ui.runMethodsButton.click()
    finish(desktop, widget, 10)
    assert len(client.requests) == 2 and not widget.panel.sections["several_methods"].running


def test_what_a_round_does_not_use_does_not_stop_it_and_what_it_said_goes_with_its_pair(desktop, opened, pair):
    widget, parameters, fixed = opened, opened.panel.parameters, opened.panel.parameters.fixed
    parameters.methods = json.dumps(["svf"])
    parameters.outputVolume = fixed  # refused on the page Register, and used by no round
    assert not widget.ui.applyButton.enabled and widget.ui.runMethodsButton.enabled
    assert "moving to fixed" in widget.ui.severalLabel.text
    several = widget.panel.sections["several_methods"]
    several._failed = ["LKU-Net: No room for it."]
    several._end()
    assert "No room" in widget.ui.severalLabel.text
    parameters.preset = "thorough"
    assert "moving to fixed" in widget.ui.severalLabel.text
    parameters.moving = fixed
    assert not widget.ui.runMethodsButton.enabled and "the same" in widget.ui.severalLabel.text


def test_a_list_that_was_edited_by_hand_does_no_harm(desktop, opened, pair):
    widget = opened
    for text in ("nonsense", "{}", '[1, {"method": "svf"}, "taken-away"]'):
        widget.panel.parameters.methods = text
        assert widget.panel.sections["several_methods"].methods() == [] and not widget.ui.runMethodsButton.enabled


def table_named(desktop, name):
    nodes = slicer.util.getNodesByClass("vtkMRMLTableNode", desktop.host.scene)
    return next((node.GetTable() for node in nodes if node.GetName() == name), None)


def test_a_blind_reading_hides_names_and_keeps_the_ranking(desktop, with_views, pair, monkeypatch):
    widget = with_views
    ui, views = widget.ui, widget.panel.sections["side_by_side"].views
    widget.panel.parameters.device = "cpu"
    widget.panel.parameters.methods = json.dumps(METHODS)
    ui.blindedCheck.checked = True
    monkeypatch.setattr("SlicerDeepRegLib.panel.sections.side_by_side.shuffled", lambda runs: list(reversed(runs)))
    assert not ui.saveRankingButton.enabled
    ui.runMethodsButton.click()
    round_of(desktop, widget)
    made = runs(desktop.host.scene)
    assert views.shown == tuple(reversed(made))
    assert [run.get("warped").GetName() for run in views.shown] == ["A: warped", "B: warped"]
    shown = table_named(desktop, "DeepReg comparison")
    assert shown.GetNumberOfColumns() == 1 and [shown.GetColumn(0).GetValue(n) for n in range(2)] == ["1: A", "2: B"]
    ui.rankingEdit.text = "A A"
    ui.saveRankingButton.click()
    assert "each of A, B once" in desktop.messages[-1] and table_named(desktop, "DeepReg rankings") is None
    widget.panel.context.display.show(made[0])  # as after a registration; then the same reading again
    widget.panel.context.check(made)
    ui.sideBySideButton.click()
    ui.runsTable.selectRow(1 - ui.runsTable.currentRow())
    assert views.shown == tuple(reversed(made)), "selecting a result ended the reading"
    assert [run.get("warped").GetName() for run in views.shown] == ["A: warped", "B: warped"]
    ui.rankingEdit.text = "b, a"
    ui.saveRankingButton.click()
    kept = table_named(desktop, "DeepReg rankings")
    assert kept.GetNumberOfRows() == 1
    assert [made[0].name in kept.GetColumn(1).GetValue(0), made[1].name in kept.GetColumn(2).GetValue(0)] == [
        True,
        True,
    ]
    assert made[0].name in ui.compareLabel.text and not ui.saveRankingButton.enabled
    assert table_named(desktop, "DeepReg comparison").GetNumberOfColumns() > 2  # the names are told
    assert made[0].get("warped").GetName() == f"{made[0].name}: warped"


def test_any_order_may_come_out_of_a_shuffle():
    from SlicerDeepRegLib.panel.blinded import read_ranking, shuffled

    assert len({tuple(shuffled("ABC")) for _ in range(300)}) == 6
    assert read_ranking("C > A > B", 3) == [2, 0, 1]


def test_a_table_of_rankings_that_somebody_changed_is_left_alone(desktop):
    from SlicerDeepRegLib.panel.blinded import TABLE, save_ranking

    scene = desktop.host.scene
    mine = scene.AddNewNodeByClass("vtkMRMLTableNode", TABLE)
    mine.AddColumn(vtk.vtkDoubleArray())
    first = save_ranking(scene, ["one", "two"])
    assert first is not mine and mine.GetNumberOfColumns() == 1
    assert save_ranking(scene, ["two", "one"]) is first and first.GetNumberOfRows() == 2
