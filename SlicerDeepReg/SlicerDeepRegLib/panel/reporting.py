"""The report of the selected run, by one button. Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..mrml.png import grab
from ..mrml.review import ARRANGED, Review
from ..mrml.runs import Run
from ..mrml.shots import beside, shots
from ..report.content import Picture, content_of
from ..report.movie import write_gif
from ..report.page import page
from ..report.paper import NO_FPDF, can_write, write_pdf


def ask_folder() -> Optional[Path]:
    """Where the user wants the report, or None."""
    text = _("Folder for report.html and report.pdf")
    chosen = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), text)
    return Path(chosen) if chosen else None


def write(run: Run, facts: Dict[str, Any], review: Review, folder: Path) -> List[str]:
    """Take the pictures, write the report; returns what to say, line by line.

    Names of volumes stay out of it: they may come from DICOM and tell who the patient is.

    Raises:
        OSError: the folder cannot be written to.
    """
    content = content_of(facts, [Picture(png, caption) for png, caption in shots(review, run, cameras())])
    target = folder / "report.html"
    target.write_text(page(content), encoding="utf-8")
    said = [_("The report is {path}").format(path=target)]
    if can_write():
        write_pdf(content, folder / "report.pdf")
        said.append(_("and as a PDF beside it."))
    else:
        said.append(NO_FPDF)
    return said


def ask_film() -> Optional[Path]:
    """Where the user wants the film, or None."""
    chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Film"), "registration.gif", "GIF (*.gif)")
    chosen = chosen[0] if isinstance(chosen, (tuple, list)) else chosen
    return Path(chosen).with_suffix(".gif") if chosen else None


def film(path: Path, steps: Sequence[Any], show: Callable[[Any], None], seconds: float) -> None:
    """Show each step, take its picture, write them as a GIF.

    Raises:
        InputError, OSError: it could not be written.
    """
    taken, eyes = [], cameras()
    for step in steps:
        show(step)
        taken.append(beside(eyes))
    write_gif(taken, path, seconds)


def cameras() -> List[Callable[[], np.ndarray]]:
    """One for each slice view on the screen that is not of a layout of ours."""
    manager = slicer.app.layoutManager()
    return [_camera(manager.sliceWidget(name)) for name in manager.sliceViewNames() if not name.startswith(ARRANGED)]


def _camera(widget) -> Callable[[], np.ndarray]:
    def take() -> np.ndarray:
        view = widget.sliceView()
        view.forceRender()
        return grab(view.renderWindow())

    return take
