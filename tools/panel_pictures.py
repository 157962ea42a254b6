"""Pictures of the panel for the README: python tools/panel_pictures.py docs

Registers the demo's pair through the real panel on the tests' stand-in for Slicer's desktop and takes a picture of each
step. The stand-in's 3D view is empty; everything else is drawn by the module and by Slicer's own slice views.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "SlicerDeepReg" / "Testing"))

from bench import Bench  # noqa: E402
from SlicerDeepRegLib.teaching.lessons import LESSONS  # noqa: E402

SIZE = (1280, 800)


def add_pair(bench):
    """The demo's patient and template, with the names that a user would give them; and their structures."""
    from SlicerDeepRegLib.commands.demo import synthetic_pair
    from SlicerDeepRegLib.mrml.display import set_range
    from SlicerDeepRegLib.mrml.nodes import add_volume
    from SlicerDeepRegLib.mrml.scene import display_range
    from SlicerDeepRegLib.mrml.segments import add_segmentation

    known = synthetic_pair()
    nodes, segmentations = [], []
    for image, name in ((known.fixed, "Patient"), (known.moving, "Template")):
        node = add_volume(bench.host.scene, image, name)
        set_range(node, *display_range(image))
        nodes.append(node)
    for view in bench.host.views.values():
        view.show(background=nodes[0])
        view.logic.FitSliceToAll()
    for labels, name in ((known.fixed_labels, "Patient, tissue"), (known.moving_labels, "Template, tissue")):
        segmentations.append(add_segmentation(bench.host.scene, labels, name, {1: "gray matter", 2: "white matter"}))
        segmentations[-1].GetDisplayNode().SetVisibility(False)
    return segmentations


def pictures(folder):
    """Write every picture into ``folder``."""
    with tempfile.TemporaryDirectory() as name, Bench(Path(name)) as bench:
        segmentations = add_pair(bench)
        widget = bench.open_module(ROOT / "SlicerDeepReg" / "SlicerDeepReg.py")
        widget.panel.parameters.device = "cpu"
        bench.screenshot(folder / "panel-choose.png", *SIZE)
        widget.panel.parameters.fixedSegmentation, widget.panel.parameters.movingSegmentation = segmentations
        widget.ui.applyButton.click()
        losses = widget.logic.session.job.losses
        bench.wait(lambda: [stage for stage, _ in losses].count("scale 1") > 3, 900)
        bench.screenshot(folder / "panel-running.png", *SIZE)
        bench.wait(lambda: widget.panel._job is None, 900)
        job = widget.logic.session.job
        assert job.state == "done", job.text
        for section in (widget.ui.inputsButton, widget.ui.methodButton):
            section.collapsed = True
        widget.panel.parameters.showGrid = True
        widget.panel.parameters.reviewAmount = 1.0
        bench.screenshot(folder / "panel.png", *SIZE)
        widget.panel.parameters.showGrid = False
        for section in (widget.ui.resultsButton, widget.ui.reviewButton):
            section.collapsed = True
        for section in (widget.ui.judgeButton, widget.ui.motionButton):
            section.collapsed = False
        bench.dark()
        bench.screenshot(folder / "panel-judge.png", *SIZE)  # the theme has come through to every widget after it
        widget.panel.judging.update()
        widget.ui.stageCombo.setCurrentIndex(widget.ui.stageCombo.findText("scale 1/4"))
        bench.screenshot(folder / "panel-judge.png", SIZE[0], 1120)
        bench.light()
        for section in (widget.ui.judgeButton, widget.ui.motionButton):
            section.collapsed = True
        for section in (widget.ui.resultsButton, widget.ui.reviewButton):
            section.collapsed = False
        widget.panel.parameters.reviewMode = "jacobian"
        widget.panel.parameters.reviewAmount = 0.7
        bench.dark()
        bench.screenshot(folder / "panel-jacobian.png", *SIZE)
        bench.light()
        teach(bench, widget, folder / "panel-teaching.png")


def teach(bench, widget, path):
    """The second lesson at the step that has the slider."""
    for section in (widget.ui.resultsButton, widget.ui.reviewButton):
        section.collapsed = True
    widget.ui.teachingButton.collapsed = False
    teaching = widget.panel.teaching
    teaching.open(LESSONS["regularity"])
    bench.wait(lambda: not teaching.running, 300)
    teaching.go(len(LESSONS["regularity"].steps) - 1)
    bench.screenshot(path, *SIZE)
    teaching.end()


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
