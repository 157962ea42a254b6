"""How long a reader waits: switching views, scrolling with the grid on, the deformation slider, the report.

    python benchmarks/review.py

On a synthetic pair of 160 x 192 x 224 in three slice views of 500 x 500 pixels, drawn off screen by Slicer's managers,
in milliseconds to the finished picture of all three. "first" makes what is shown, "again" is any later time. Writes the
table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results import put

SIZE = (160, 192, 224)
AGAIN = 5


def synthetic_pair(size=SIZE):
    """A head-like pair of a size (i, j, k) with 1 mm voxels, and labels of its two shells."""
    from SlicerDeepRegLib.types import Grid, Image

    matrix = np.eye(4)
    matrix[:3, 3] = -(np.array(size) - 1) / 2
    grid = Grid(size, matrix)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in size[::-1]], indexing="ij", sparse=True)
    found = []
    for name, shift in (("fixed", 0.05), ("moving", 0.0)):
        x, y, z = i + shift * np.sin(3 * j), j + shift * np.cos(3 * k), k + shift * np.sin(2 * i)
        radius = np.sqrt(x**2 + y**2 + z**2)
        head = 1 / (1 + np.exp((radius - 0.8) * 25))
        values = head * (100 + 30 * np.sin(14 * x) * np.cos(11 * y) + 25 * np.sin(12 * z + 5 * x))
        labels = np.where(radius < 0.45, 2, np.where(radius < 0.75, 1, 0)).astype(np.int16)
        found += [Image(values.astype(np.float32), grid, name), Image(labels, grid, f"{name} labels")]
    return found


class Reader:
    """A scene with a run in three views, and a watch."""

    def __init__(self, host, result):
        import slicer
        from SlicerDeepRegLib.mrml.add_run import add_run
        from SlicerDeepRegLib.mrml.layouts import Layouts
        from SlicerDeepRegLib.mrml.motion import keep_motion
        from SlicerDeepRegLib.mrml.nodes import add_volume
        from SlicerDeepRegLib.mrml.review import Review
        from SlicerDeepRegLib.report.facts import facts_of

        self.host = host
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, result.fixed, "Fixed"), add_volume(host.scene, result.moving, "Moving")
        self.facts = facts_of(result, {1: "mantle", 2: "core"})
        start = time.perf_counter()
        self.run = add_run(host.scene, result, "run", self.facts, fixed, moving)
        keep_motion(host.scene, self.run, result)
        self.adding = time.perf_counter() - start
        self.views = [host.add_view(plane, plane, (500, 500)) for plane in ("Axial", "Coronal", "Sagittal")]
        self.review = Review(host.scene, host.application.GetSliceLogics())
        self.layouts = Layouts(host.scene, self.review, self._arranged)
        self.review.show(self.run)
        self.review.fit(self.run)
        self.draw()

    def _arranged(self, cells):
        for cell in cells:
            if cell.name not in self.host.views:
                self.host.add_view(cell.name, cell.plane, (330, 330))

    def draw(self, views=None):
        for view in views or self.views:
            view.render()
            view.window.WaitForCompletion()

    def timed(self, act, views=None):
        """Milliseconds to do it and draw."""
        start = time.perf_counter()
        act()
        self.draw(views)
        return 1000 * (time.perf_counter() - start)

    def switching(self):
        """(what, first, again) for every way to look and every layout."""
        from SlicerDeepRegLib.mrml.layouts import LAYOUTS, cells_of
        from SlicerDeepRegLib.mrml.review import MODES

        acts = {mode: lambda mode=mode: self.review.show(self.run, mode) for mode in MODES}
        first = {mode: self.timed(act) for mode, act in acts.items()}
        found = []
        for mode, act in acts.items():
            again = [(self.review.show(self.run), self.draw(), self.timed(act))[-1] for _ in range(AGAIN)]
            found.append((mode, first[mode], float(np.median(again))))
        for name in LAYOUTS:
            act = lambda name=name: self.layouts.show(name, self.run)  # noqa: E731
            begin = time.perf_counter()
            act()
            views = [self.host.views[cell.name] for row in cells_of(name) for cell in row]
            self.draw(views)
            before = 1000 * (time.perf_counter() - begin)
            again = [(self.layouts.restore(), self.timed(act, views))[-1] for _ in range(AGAIN)]
            found.append((f"layout {name} ({len(views)} views)", before, float(np.median(again))))
        self.layouts.restore()
        return found

    def scrolling(self):
        """Milliseconds of a frame of one view, plain and with the grid, as it is scrolled."""
        found = []
        for grid in (False, True):
            self.review.show(self.run)
            self.review.overlay(self.run, grid, False)
            self.draw()
            logic, view = self.views[0].logic, self.views[0]
            frames = [self.timed(lambda k=k, logic=logic: logic.SetSliceOffset(k), [view]) for k in range(-20, 20, 2)]
            found.append(float(np.median(frames)))
        self.review.overlay(self.run, False, False)
        return found

    def sliding(self):
        """Milliseconds of a step of the deformation slider in three views; and to make the stages, and to show one."""
        from SlicerDeepRegLib.mrml.motion import Morph, Stages

        morph = Morph(self.host.scene, self.run)
        self.review.show_alone(self.run, morph.node)
        self.timed(lambda: morph.show(0.5))
        steps = [self.timed(lambda time=time: morph.show(time)) for time in np.linspace(0.05, 0.95, 10)]
        morph.remove()
        begin = time.perf_counter()
        stages = Stages(self.host.scene, self.run)
        making = 1000 * (time.perf_counter() - begin)
        self.review.show_alone(self.run, stages.node)
        shown = [self.timed(lambda n=n: stages.show(n)) for n in range(len(stages.names))]
        return float(np.median(steps)), making, float(np.median(shown)), morph.how

    def reporting(self, folder):
        """Seconds to take the pictures and write page and PDF."""
        from SlicerDeepRegLib.mrml.shots import shots
        from SlicerDeepRegLib.report.content import Picture, content_of
        from SlicerDeepRegLib.report.page import page
        from SlicerDeepRegLib.report.paper import write_pdf

        begin = time.perf_counter()
        taken = shots(self.review, self.run, [view.picture for view in self.views])
        content = content_of(self.facts, [Picture(*one) for one in taken])
        (folder / "report.html").write_text(page(content), encoding="utf-8")
        write_pdf(content, folder / "report.pdf")
        return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    import vtk
    from SlicerDeepRegLib.mrml.host import NO_OPENGL, Host, opengl_works
    from SlicerDeepRegLib.pipeline import register
    from SlicerDeepRegLib.types import Request

    if not opengl_works():
        sys.exit(NO_OPENGL)
    fixed, fixed_labels, moving, moving_labels = synthetic_pair()
    given = {"fixed_labels": fixed_labels, "moving_labels": moving_labels}
    result = register(Request(fixed, moving, preset="fast", device="cpu", **given))
    with Host() as host, tempfile.TemporaryDirectory() as name:
        reader = Reader(host, result)
        switched, (plain, grid) = reader.switching(), reader.scrolling()
        step, making, stage, how = reader.sliding()
        seconds = reader.reporting(Path(name))
    lines = [
        f"Command: `python benchmarks/review.py`. Date: {datetime.date.today()}. Machine: {os.cpu_count()} cores, no "
        f"GPU (Mesa draws on the CPU), {platform.system()}, Python {platform.python_version()}, VTK "
        f"{vtk.vtkVersion.GetVTKVersion()}. Synthetic pair of {' x '.join(map(str, SIZE))}, three views of 500 x 500, "
        "milliseconds until all are drawn.",
        "",
        "| what is shown | first ms | again ms |",
        "| --- | --- | --- |",
        *[f"| {what} | {first:.0f} | {again:.0f} |" for what, first, again in switched],
        "",
        "| | |",
        "| --- | --- |",
        f"| a frame of one view while scrolling, without the grid | {plain:.0f} ms |",
        f"| the same with the grid | {grid:.0f} ms |",
        f"| a step of the slider from moving to warped, three views ({how}) | {step:.0f} ms |",
        f"| the stages made, once | {making:.0f} ms |",
        f"| another stage, three views | {stage:.0f} ms |",
        f"| a run put into the scene with its stages and path | {1000 * reader.adding:.0f} ms |",
        f"| the report, page and PDF, 7 pictures | {seconds:.1f} s |",
    ]
    print("\n".join(lines))
    put("review", "How long a reader waits", lines)


if __name__ == "__main__":
    main()
