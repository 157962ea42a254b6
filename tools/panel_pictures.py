"""Pictures of the panel for the README: python tools/panel_pictures.py docs

Registers the demo's pair through the real panel on the stand-in for Slicer's desktop and takes a picture of each
step. The stand-in's 3D view is empty; everything else is drawn by the module and by Slicer's own slice views.
"""

import sys
import tempfile
from pathlib import Path

from slicer_stand_in.desktop import Desktop
from SlicerDeepRegLib.teaching.lessons import LESSONS

ROOT = Path(__file__).resolve().parent.parent

SIZE = (1280, 800)


def add_pair(desktop):
    """The demo's patient and template, with the names that a user would give them; and their structures."""
    from SlicerDeepRegLib.commands.demo import synthetic_pair
    from SlicerDeepRegLib.mrml.display import set_range
    from SlicerDeepRegLib.mrml.nodes import add_volume
    from SlicerDeepRegLib.mrml.scene import display_range
    from SlicerDeepRegLib.mrml.segments import add_segmentation

    known = synthetic_pair()
    nodes, segmentations = [], []
    for image, name in ((known.fixed, "Patient"), (known.moving, "Template")):
        node = add_volume(desktop.host.scene, image, name)
        set_range(node, *display_range(image))
        nodes.append(node)
    for view in desktop.host.views.values():
        view.show(background=nodes[0])
        view.logic.FitSliceToAll()
    for labels, name in ((known.fixed_labels, "Patient, tissue"), (known.moving_labels, "Template, tissue")):
        segmentations.append(add_segmentation(desktop.host.scene, labels, name, {1: "gray matter", 2: "white matter"}))
        segmentations[-1].GetDisplayNode().SetVisibility(False)
    return segmentations


def pictures(folder):
    """Write every picture into ``folder``."""
    with tempfile.TemporaryDirectory() as name, Desktop(Path(name)) as desktop:
        segmentations = add_pair(desktop)
        widget = desktop.open_module(ROOT / "SlicerDeepReg" / "SlicerDeepReg.py")
        widget.panel.parameters.device = "cpu"
        desktop.screenshot(folder / "panel-choose.png", *SIZE)
        widget.panel.parameters.fixedSegmentation, widget.panel.parameters.movingSegmentation = segmentations
        widget.ui.applyButton.click()
        losses = widget.logic.session.job.losses
        desktop.wait(lambda: [stage for stage, _ in losses].count("scale 1") > 3, 900)
        desktop.screenshot(folder / "panel-running.png", *SIZE)
        desktop.wait(lambda: widget.panel.job is None, 900)
        job = widget.logic.session.job
        assert job.state == "done", job.text
        collapse(widget, "inputs", "method")
        widget.panel.parameters.showGrid = True
        widget.panel.parameters.reviewAmount = 1.0
        desktop.screenshot(folder / "panel.png", *SIZE)
        widget.panel.parameters.showGrid = False
        collapse(widget, "results", "review")
        expand(widget, "quality", "animation")
        desktop.dark()
        desktop.screenshot(folder / "panel-quality.png", *SIZE)  # the theme has come through to every widget after it
        widget.panel.update()
        widget.ui.stageCombo.setCurrentIndex(widget.ui.stageCombo.findText("1/4 resolution"))
        desktop.screenshot(folder / "panel-quality.png", SIZE[0], 1120)
        desktop.light()
        collapse(widget, "quality", "animation")
        expand(widget, "results", "review")
        widget.panel.parameters.reviewMode = "jacobian"
        widget.panel.parameters.reviewAmount = 0.7
        desktop.dark()
        desktop.screenshot(folder / "panel-jacobian.png", *SIZE)
        desktop.light()
        picture_of_lesson(desktop, widget, folder / "panel-lessons.png")


def collapse(widget, *names):
    """Close sections of the panel."""
    for name in names:
        widget.panel.sections[name].box.collapsed = True


def expand(widget, *names):
    """Open sections of the panel."""
    for name in names:
        widget.panel.sections[name].box.collapsed = False


def picture_of_lesson(desktop, widget, path):
    """Take a picture of the second lesson at the step that has the slider."""
    collapse(widget, "results", "review")
    expand(widget, "lessons")
    lessons = widget.panel.sections["lessons"]
    lessons.open(LESSONS["regularity"])
    desktop.wait(lambda: not lessons.running, 300)
    assert lessons.ready, widget.ui.lessonLabel.text
    lessons.go(len(LESSONS["regularity"].steps) - 1)
    desktop.screenshot(path, *SIZE)
    lessons.end()


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
