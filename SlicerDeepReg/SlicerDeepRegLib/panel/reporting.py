"""The report of the selected run, by one button. Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..contracts import InputError
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
        InputError: no view can be pictured, or the run is of an older version. OSError: nothing can be written there.
    """
    if "lights" not in facts or "table" not in facts:
        raise InputError(_("This run was made by an older version, which kept too little. Register again."))
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
    """One for each slice view on the screen that is not of a layout of ours.

    Raises:
        InputError: there is none.
    """
    manager = slicer.app.layoutManager()
    names = [name for name in manager.sliceViewNames() if not name.startswith(ARRANGED)]
    seen = [widget for widget in map(manager.sliceWidget, names) if widget.visible]
    if not seen:
        raise InputError(
            _("Pictures are taken of your own slice views, and none is on the screen. Choose the layout Mine first.")
        )
    return [_camera(widget) for widget in seen]


def _camera(widget) -> Callable[[], np.ndarray]:
    def take() -> np.ndarray:
        view = widget.sliceView()
        corners = view.cornerAnnotation()  # Slicer writes names of volumes there, and patients' of DICOM
        shown = corners.GetVisibility()
        corners.SetVisibility(False)
        try:
            view.forceRender()
            return grab(view.renderWindow())
        finally:
            corners.SetVisibility(shown)
            view.scheduleRender()

    return take
