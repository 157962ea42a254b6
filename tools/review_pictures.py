"""Draw the layouts for docs/review.md: python tools/review_pictures.py docs

Registers the demo's pair with two methods and draws each layout as Slicer's slice views do, without Slicer's desktop.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import slicer
from SlicerDeepRegLib.commands.demo import synthetic_pair
from SlicerDeepRegLib.mrml.add_run import add_run
from SlicerDeepRegLib.mrml.display import set_range
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.layouts import LAYOUTS, SHOWS, Cell, Layouts, cells_of
from SlicerDeepRegLib.mrml.motion import Morph, keep_motion
from SlicerDeepRegLib.mrml.nodes import add_volume
from SlicerDeepRegLib.mrml.png import write_png
from SlicerDeepRegLib.mrml.review import Review
from SlicerDeepRegLib.mrml.runs import Run
from SlicerDeepRegLib.mrml.scene import display_range
from SlicerDeepRegLib.mrml.side_by_side import SideBySide
from SlicerDeepRegLib.mrml.side_by_side import cells_of as rows_of_runs
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.report.facts import facts_of
from SlicerDeepRegLib.report.movie import write_gif
from SlicerDeepRegLib.types import Request

SIZE = (330, 330)
NAMES = {1: "gray matter", 2: "white matter"}


def main(folder: Path) -> None:
    """Register, and draw every layout into the folder."""
    known = synthetic_pair()
    given = {"fixed_labels": known.fixed_labels, "moving_labels": known.moving_labels}
    results = [
        register(Request(known.fixed, known.moving, method=name, preset="fast", **given)) for name in ("svf", "demons")
    ]
    with Host() as host:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, known.fixed, "Patient"), add_volume(host.scene, known.moving, "Template")
        for node, image in ((fixed, known.fixed), (moving, known.moving)):
            set_range(node, *display_range(image))
        runs = []
        for result in results:
            facts = facts_of(result, NAMES)
            runs.append(add_run(host.scene, result, facts["title"], facts, fixed, moving))
            keep_motion(host.scene, runs[-1], result)

        def arranged(cells):
            for cell in cells:
                if cell.name not in host.views:
                    host.add_view(cell.name, cell.plane, SIZE)

        review = Review(host.scene, host.application.GetSliceLogics())
        layouts = Layouts(host.scene, review, arranged)
        for name in LAYOUTS:
            layouts.show(name, runs[0])
            draw(host, cells_of(name), [""] * 3, folder / f"review-{name.replace('_', '-')}.png")
        layouts.restore()
        beside = SideBySide(layouts)
        beside.show(runs)
        draw(host, rows_of_runs(2), [run.name.partition(" (")[0] for run in runs], folder / "review-side-by-side.png")
        beside.restore()
        animate(host, review, runs[0], folder / "review-time.gif")


def draw(host: Host, rows: list[list[Cell]], titles: list[str], path: Path) -> None:
    """Draw the views of a layout in rows, each labeled with what it shows."""
    lines = []
    for title, row in zip(titles, rows):
        pictures = []
        for cell in row:
            view = host.views[cell.name]
            view.render()
            view.annotate(SHOWS[cell.shows][1], title if cell is row[0] else "")
            pictures.append(view.picture())
        lines.append(np.concatenate(pictures, axis=1))
    write_png(np.concatenate(lines, axis=0), path)


def animate(host: Host, review: Review, run: Run, path: Path) -> None:
    """Animate the deformation from moving to warped and back, in a sagittal view."""
    view = host.add_view("Animation", "Sagittal", (300, 300))
    morph = Morph(host.scene, run)
    review.show_alone(run, morph.node)
    review.fit(run)
    frames = []
    forth = [step / 12 for step in range(13)]
    for time in [*forth, *reversed(forth[1:-1])]:
        morph.show(time)
        view.annotate(f"deformation amount {time:.2f}")
        frames.append(view.picture())
    write_gif(frames, path, 0.12)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
