"""Pictures of the panel for the README and the documentation: python tools/panel_pictures.py docs/panel

Registers the two brains of Sample Data through the real panel on the stand-in for Slicer's desktop, and takes a picture
of each page on a small screen, on a larger one and in the dark theme; and the way from two volumes to the verdict as an
animation. The stand-in's 3D view is empty; everything else is drawn by the module and by Slicer's own slice views.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from slicer_stand_in.desktop import Desktop
from SlicerDeepRegLib.teaching.lessons import LESSONS
from small_picture import few_colors, make_small

ROOT = Path(__file__).resolve().parent.parent
#: Screens by the end of their pictures' names.
SCREENS = {"1366": (1366, 768), "1440": (1440, 900)}
#: Of the animation: width in pixels, and the seconds that it takes.
GIF_WIDTH, GIF_S = 760, 10.0


def add_brains(desktop):
    """The pair of Sample Data, as a click there adds it, centered in the views."""
    from SlicerDeepRegLib.panel.samples import add_brains as add

    nodes = add()
    for view in desktop.host.views.values():
        view.show(background=nodes[0])
        view.logic.FitSliceToAll()
    return nodes


def shot(desktop, path, size):
    """Take one picture, in few colors."""
    desktop.screenshot(path, *size)
    make_small(path)


def pictures_of(desktop, folder, page):
    """Take the pictures of a page."""
    for name, size in SCREENS.items():
        shot(desktop, folder / f"{page}-{name}.png", size)
    desktop.dark()
    shot(desktop, folder / f"{page}-dark.png", SCREENS["1366"])  # the theme has come through to every widget after it
    desktop.widgets[0].panel.update()
    shot(desktop, folder / f"{page}-dark.png", SCREENS["1366"])
    desktop.light()


def frame(desktop, path, frames):
    """Add a picture to the animation."""
    desktop.screenshot(path, *SCREENS["1366"])
    with Image.open(path) as picture:
        height = round(picture.height * GIF_WIDTH / picture.width)
        frames.append(picture.convert("RGB").resize((GIF_WIDTH, height)))


def write_gif(frames, path):
    """Write the frames, the first and the last for longer than those between."""
    few = [few_colors(one) for one in frames]
    between = max(1, len(few) - 2)
    lengths = [2000, *[int(1000 * (GIF_S - 5) / between)] * between, 3000]
    stream = io.BytesIO()
    few[0].save(stream, "GIF", save_all=True, append_images=few[1:], duration=lengths, loop=0, optimize=True)
    path.write_bytes(stream.getvalue())


def pictures(folder):
    """Write every picture into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, Desktop(Path(name)) as desktop:
        temporary, frames = Path(name) / "frame.png", []
        add_brains(desktop)
        widget = desktop.open_module(ROOT / "SlicerDeepReg" / "SlicerDeepReg.py")
        panel, ui = widget.panel, widget.ui
        panel.parameters.device, panel.parameters.pair = "cpu", "people"
        for side, letter in (("fixed", "A"), ("moving", "B")):
            node = desktop.host.scene.GetFirstNodeByName(f"Brain {letter} structures")
            node.GetDisplayNode().SetVisibility(True)
            setattr(panel.parameters, f"{side}Segmentation", node)
        pictures_of(desktop, folder, "register")
        frame(desktop, temporary, frames)
        ui.applyButton.click()
        for stage in ("scale 1/8", "scale 1/4", "scale 1/2", "scale 1"):
            desktop.wait(lambda stage=stage: panel.job is None or stage in panel.job.stage, 900)
            frame(desktop, temporary, frames)
        desktop.wait(lambda: panel.job is None or panel.job.run is not None, 900)
        frame(desktop, temporary, frames)
        desktop.wait(lambda: panel.job is None, 900)
        job = widget.logic.session.job
        assert job.state == "done" and panel.page == "review", job.text
        panel.parameters.reviewAmount = 1.0
        frame(desktop, temporary, frames)
        panel.parameters.showGrid = True
        frame(desktop, temporary, frames)
        write_gif(frames, folder / "first-registration.gif")
        pictures_of(desktop, folder, "review")
        panel.parameters.showGrid, panel.parameters.reviewMode, panel.parameters.reviewAmount = False, "jacobian", 0.8
        ui.findingsTabs.setCurrentIndex(1)
        shot(desktop, folder / "jacobian-1366.png", SCREENS["1366"])
        panel.parameters.reviewMode = "fade"
        panel.open_page("compare")
        panel.parameters.methods = '["rigid", "demons"]'
        panel.parameters.preset = "fast"
        ui.runMethodsButton.click()
        desktop.wait(lambda: not panel.sections["several_methods"].running, 900)
        panel.sections["side_by_side"].restore()
        panel.context.display.show(panel.context.runs.runs[0])
        pictures_of(desktop, folder, "compare")
        panel.open_page("lessons")
        picture_of_lesson(desktop, widget, folder)


def picture_of_lesson(desktop, widget, folder):
    """Take pictures of the second lesson at the step that has the slider."""
    lessons = widget.panel.sections["lessons"]
    lessons.open(LESSONS["regularity"])
    desktop.wait(lambda: not lessons.running, 300)
    assert lessons.ready, widget.ui.lessonLabel.text
    lessons.go(len(LESSONS["regularity"].steps) - 1)
    pictures_of(desktop, folder, "lessons")
    lessons.end()


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
