"""Drive the module end to end in the true 3D Slicer and say by the exit code whether it works.

    Slicer --testing --no-splash --additional-module-paths <repository>/SlicerDeepReg \
        --python-script <repository>/SlicerDeepReg/Testing/slicer/run_in_slicer.py -- [--output FOLDER] [--install]

It opens the module, makes a pair, presses Apply through the panel's own button, waits, checks the nodes and what the
slice views show, drives each page (verdict in sight, layouts and back, a comparison, a report, a lesson), cancels a
second run, closes the scene, and looks for what was left behind. It writes ``result.json`` (every check with its
figure) and pictures of the main window on each page into FOLDER, and exits with 0 when every check passed, 1 when one
failed, 3 when torch is missing and --install was not given. With --install it installs torch and the rest first,
through the module's own installer.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import slicer

CHECKS = []
OUTPUT = Path(tempfile.gettempdir()) / "deepreg-in-slicer"


def check(name, passed, figure=None):
    """Note a check; it goes on after a failure, so that one run tells everything."""
    CHECKS.append({"check": name, "passed": bool(passed), "figure": figure})
    print(f"{'ok    ' if passed else 'FAILED'} {name}" + (f" ({figure})" if figure is not None else ""), flush=True)


def wait(condition, seconds):
    """Let Slicer work until the condition holds; False when it took too long."""
    end = time.time() + seconds
    while time.time() < end:
        slicer.app.processEvents()
        if condition():
            return True
        time.sleep(0.01)
    return False


def picture(name):
    slicer.app.processEvents()
    slicer.util.forceRenderAllViews()
    slicer.app.processEvents()
    path = OUTPUT / f"{name}.png"
    slicer.util.mainWindow().grab().save(str(path))
    check(f"picture {name}", path.exists() and path.stat().st_size > 10_000)


def open_module():
    """The panel, opened the way a user does."""
    window = slicer.util.mainWindow()
    window.resize(1440, 900)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    start = time.time()
    slicer.util.selectModule("SlicerDeepReg")
    slicer.app.processEvents()
    check("the module opens in 2 s, everything included", time.time() - start < 2, round(time.time() - start, 2))
    widget = slicer.modules.SlicerDeepRegWidget
    check("the panel is there", widget.panel is not None)
    check("torch is not loaded into Slicer", "torch" not in sys.modules)
    return widget


def install_if_asked(asked):
    from SlicerDeepRegLib.panel.install import install
    from SlicerDeepRegLib.worker.requirements import listed, unmet

    packages = unmet()
    if packages and asked:
        install(packages, lambda text: print(text, flush=True))
        packages = unmet()
    return listed(packages)


def register(widget):
    """Two made volumes and Apply."""
    from SlicerDeepRegLib.mrml.runs import runs
    from SlicerDeepRegLib.panel.samples import add_synthetic_pair, displayed_distance

    fixed, moving = add_synthetic_pair()
    ui, panel = widget.ui, widget.panel
    check(
        "Apply is enabled once two volumes are there", wait(lambda: ui.applyButton.enabled, 5), ui.applyButton.toolTip
    )
    check("both are chosen", panel.parameters.fixed is fixed and panel.parameters.moving is moving)
    slicer.util.setSliceViewerLayers(background=fixed, fit=True)
    picture("choose")
    panel.parameters.preset = "fast"
    start = time.time()
    ui.applyButton.click()
    check("Apply becomes Cancel", ui.applyButton.text == "Cancel", ui.applyButton.text)
    ended = wait(lambda: panel.job is None and not widget.logic.session.busy, 300)
    job = widget.logic.session.job
    check("the registration ends well", ended and job.state == "done", f"{job.state} {job.text}".strip())
    check("seconds in all", True, round(time.time() - start, 1))
    check("seconds by part", True, {name: round(value, 2) for name, value in job.seconds.items()})
    (run,) = runs(slicer.mrmlScene)
    before, after = displayed_distance(fixed, moving), displayed_distance(fixed, run.get("warped"))
    check("the warped volume is much nearer", after < 0.5 * before, f"{before:.1f} before, {after:.1f} after")
    moving.SetAndObserveTransformNodeID(run.get("transform").GetID())
    under = displayed_distance(fixed, moving)
    check("so is the moving one under the transform", abs(under - after) < 0.1 * before, f"{under:.1f}")
    moving.SetAndObserveTransformNodeID(None)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    shown = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
    check("the views show fixed and warped", shown == (fixed.GetID(), run.get("warped").GetID()), shown)
    check("the run is in the list", ui.runsTable.rowCount == 1)
    ui.gridCheck.checked = True
    picture("result")
    ui.gridCheck.checked = False
    for mode in ("difference", "checkerboard", "jacobian"):
        ui.modeCombo.setCurrentIndex(ui.modeCombo.findData(mode))
        slicer.app.processEvents()
        check(f"view {mode}", panel.parameters.reviewMode == mode)
    picture("review")
    ui.minimumJacobianButton.click()
    check("going to the minimum Jacobian says what is there", "Jacobian" in ui.legendLabel.text, ui.legendLabel.text)
    transform = run.get("transform")
    check("the transform splits into its parts", transform.Split())
    return fixed, moving, run


def in_sight(control):
    """Whether nothing of a control lies outside of what the panel shows now."""
    window = slicer.util.mainWindow()
    below = control.mapTo(window, control.rect.bottomRight())
    return control.isVisible() and 0 < below.y() <= window.height and not control.visibleRegion().isEmpty()


def review(widget, run):
    """The page that Apply's end opened: the verdict in sight, every layout and the way back."""
    panel, ui = widget.panel, widget.ui
    window = slicer.util.mainWindow()
    size = window.size
    check("Apply's end opens Review", panel.page == "review", panel.page)
    check("the verdict is in sight", in_sight(ui.summaryLabel) and in_sight(ui.measuresLabel))
    check("so are the findings", in_sight(ui.findingsTabs))
    check("every measure has its status", len(panel.sections["verdict"].shown) >= 5, panel.sections["verdict"].shown)
    layout = slicer.app.layoutManager().layout
    for row in range(1, ui.layoutCombo.count):
        for time_of in ("first", "second"):
            start = time.time()
            ui.layoutCombo.setCurrentIndex(row)
            slicer.app.processEvents()
            check(
                f"{ui.layoutCombo.itemText(row)}, {time_of} time, seconds",
                panel.context.layouts.shown is not None,
                round(time.time() - start, 2),
            )
            ui.layoutCombo.setCurrentIndex(0)
        picture(f"layout-{ui.layoutCombo.itemData(row)}")
    start = time.time()
    ui.stagesTable.selectRow(ui.stagesTable.rowCount - 1)
    slicer.app.processEvents()
    check("the first stage is shown, seconds", panel.context.display.stage is not None, round(time.time() - start, 2))
    ui.restoreViewsButton.click()
    check("Restore views gives the layout back", slicer.app.layoutManager().layout == layout)
    check("nothing changed the window's size", window.size == size, str(window.size))
    ui.showButton.click()


def export(widget):
    """The report and the figures of the result."""
    from SlicerDeepRegLib.panel.sections import export as section
    from SlicerDeepRegLib.report import figures, paper

    for name in (*paper.FILES, *figures.FILES):  # of an earlier run: the panel would ask, and nobody answers
        (OUTPUT / name).unlink(missing_ok=True)
    asked, section.ask_folder = section.ask_folder, lambda text: OUTPUT
    try:
        widget.ui.reportButton.click()
        widget.ui.figuresButton.click()
    finally:
        section.ask_folder = asked
    report = OUTPUT / "report.html"
    check("the report is written", report.exists() and report.stat().st_size > 10_000)
    check("the figures are written", (OUTPUT / "montage.png").exists() and (OUTPUT / "montage.pdf").exists())


def correct(widget, run):
    """A correction drawn as two clicks would, continued, taken back; then what is moved along."""
    from SlicerDeepRegLib.mrml.corrections import lines_of
    from SlicerDeepRegLib.mrml.nodes import bounds_of
    from SlicerDeepRegLib.mrml.runs import runs

    panel, ui = widget.panel, widget.ui
    panel.open_page("review")
    panel.sections["corrections"].box.collapsed = False
    ui.addCorrectionButton.click()
    (line,) = lines_of(slicer.mrmlScene, run)
    center = bounds_of(run.get("warped")).mean(1)
    for point in (center + [3, -2, 1], center):
        line.AddControlPoint(*[float(value) for value in point])
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    if interaction is not None:
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    panel.update()
    slicer.app.processEvents()
    start = time.time()
    ui.updateButton.click()
    shown = wait(lambda: len(runs(slicer.mrmlScene)) == 2, 60)
    check("a correction is shown, seconds", shown, round(time.time() - start, 2))
    check("and measured", wait(lambda: not widget.logic.session.busy, 60))
    corrected = runs(slicer.mrmlScene)[-1]
    left = corrected.facts["metrics"].get("guided_tre_mm", 9.0)
    check("it was brought to its place, mm left of 3.7", left < 1.0, round(left, 2))
    picture("corrected")
    ui.undoCorrectionButton.click()
    check("undo takes it back", runs(slicer.mrmlScene) == [run] and not lines_of(slicer.mrmlScene, run))
    panel.sections["corrections"].box.collapsed = True


def compare(widget):
    """Two methods, one after the other; their table; side by side."""
    from SlicerDeepRegLib.mrml.runs import runs

    panel, ui = widget.panel, widget.ui
    panel.open_page("compare")
    panel.parameters.methods = json.dumps(["rigid", "demons"])
    check("Run selected is in sight", in_sight(ui.runMethodsButton))
    start = time.time()
    ui.runMethodsButton.click()
    section = panel.sections["several_methods"]
    ended = wait(lambda: not section.running and not widget.logic.session.busy, 300)
    check("two methods were run, seconds", ended and len(runs(slicer.mrmlScene)) == 3, round(time.time() - start, 1))
    check("they are side by side", len(panel.sections["side_by_side"].views.shown) == 2)
    picture("compare")
    ui.leaveSideBySideButton.click()
    check("the table lists all", ui.runsTable.rowCount == 3)
    for run in runs(slicer.mrmlScene)[1:]:
        panel.context.remove(run)
    panel.context.update()


def lesson(widget):
    """The first lesson from its first click to its last."""
    panel, ui = widget.panel, widget.ui
    panel.open_page("lessons")
    teaching, clicks, start = panel.sections["lessons"], 1, time.time()
    ui.lessonStartButton.click()
    check("the lesson's registrations end, seconds", wait(lambda: teaching.ready, 120), round(time.time() - start, 1))
    picture("lessons")
    while ui.lessonNextButton.enabled:
        ui.lessonNextButton.click()
        ui.lessonResetButton.click()
        slicer.app.processEvents()
        clicks += 1
    ui.lessonEndButton.click()
    check("a lesson takes at most 10 clicks", clicks + 1 <= 10 and teaching.lesson is None, clicks + 1)
    panel.open_page("register")


def series(widget, run):
    """Both volumes as the frames of a sequence: registered, and played with what was found."""
    panel, ui, scene = widget.panel, widget.ui, slicer.mrmlScene
    panel.open_page("register")
    sequence = scene.AddNode(slicer.vtkMRMLSequenceNode())
    sequence.SetName("frames")
    for number, role in enumerate(("warped", "fixed")):
        sequence.SetDataNodeAtValue(run.get(role), str(number))
    panel.parameters.seriesSequence, panel.parameters.preset = sequence, "fast"
    panel.sections["series"].box.collapsed = False
    panel.update()
    picture("series")
    start = time.time()
    ui.seriesButton.click()
    ended = wait(lambda: panel.session.follower.job.over, 120)
    check("the series is registered, seconds", ended, round(time.time() - start, 1))
    nodes = panel.session.follower.job.nodes
    check("what was found plays with the frames", nodes is not None and nodes.transforms.GetNumberOfDataNodes() == 2)
    slicer.app.processEvents()
    shown = nodes.browser.GetProxyNode(nodes.stabilized)
    check("a frame is shown stabilized", shown is not None and shown.GetImageData() is not None)
    ui.seriesPlayButton.click()
    check("the frames play", nodes.browser.GetPlaybackActive())
    ui.seriesPlayButton.click()
    panel.sections["series"].box.collapsed = True


def keep_and_delete(widget, run):
    from SlicerDeepRegLib.mrml.runs import runs

    widget.panel.context.confirm = lambda question: True  # with --testing Slicer's dialog always answers no

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(run.get("warped")))
    check("the run has its folder", hierarchy.GetItemName(folder) == run.name, hierarchy.GetItemName(folder))
    path = str(OUTPUT / "scene.mrb")
    check("the scene is saved", slicer.util.saveScene(path))
    widget.ui.deleteButton.click()
    check("deleting removes the run", not runs(slicer.mrmlScene))
    widget.ui.undoDeleteButton.click()
    check("and it can be brought back", runs(slicer.mrmlScene) == [run] and run.get("warped") is not None)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(run.get("warped")))
    check("into a folder of its own", hierarchy.GetItemName(folder) == run.name)
    widget.ui.deleteButton.click()
    slicer.mrmlScene.Clear(False)
    slicer.app.processEvents()
    check("closing the scene empties the panel", widget.panel.parameters.fixed is None)
    check("the scene is loaded", slicer.util.loadScene(path))
    slicer.app.processEvents()
    found = runs(slicer.mrmlScene)
    check("the run comes back with it", len(found) == 1 and found[0].get("warped") is not None, len(found))
    check("so does the choice", widget.panel.parameters.fixed is not None)


def cancel(widget):
    from SlicerDeepRegLib.mrml.runs import runs

    count = len(runs(slicer.mrmlScene))
    widget.panel.parameters.preset = "thorough"
    widget.panel.open_page("register")
    widget.ui.applyButton.click()
    wait(lambda: widget.logic.session.job.fraction > 0.1, 60)
    start = time.time()
    widget.ui.applyButton.click()
    ended = wait(lambda: widget.panel.job is None, 5)
    check("cancel takes less than a second", ended and time.time() - start < 1.0, round(time.time() - start, 2))
    check("and leaves no run", len(runs(slicer.mrmlScene)) == count)


def leave(widget):
    client = widget.logic.session.client
    pid, folder = client.pid, client.folder
    widget.cleanup()
    if pid is not None:
        check("no file is left", wait(lambda: not folder.exists(), 10), str(folder))
    if pid is not None and os.name == "posix":

        def gone():
            try:
                os.kill(pid, 0)
            except OSError:
                return True
            return False

        check("no process is left", wait(gone, 10), pid)


def main():
    """Everything; returns the exit code."""
    global OUTPUT
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--install", action="store_true")
    options, _ = parser.parse_known_args([argument for argument in sys.argv[1:] if argument != "--"])
    OUTPUT = options.output
    OUTPUT.mkdir(parents=True, exist_ok=True)
    try:
        widget = open_module()
        packages = install_if_asked(options.install)
        if packages:
            print(f"Not installed: {', '.join(packages)}. Run again with --install.", flush=True)
            return 3
        _, _, run = register(widget)
        review(widget, run)
        export(widget)
        correct(widget, run)
        compare(widget)
        lesson(widget)
        series(widget, run)
        keep_and_delete(widget, run)
        cancel(widget)
        leave(widget)
    except Exception:
        traceback.print_exc()
        check("no error", False, traceback.format_exc().strip().splitlines()[-1])
    facts = {"slicer": f"{slicer.app.applicationVersion}", "python": sys.version, "checks": CHECKS}
    (OUTPUT / "result.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    failed = [one["check"] for one in CHECKS if not one["passed"]]
    print(f"{len(CHECKS) - len(failed)} of {len(CHECKS)} checks passed; see {OUTPUT}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    slicer.util.exit(main())
