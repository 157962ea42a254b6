"""The report of the selected run, by one button. Qt."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from .. import __version__
from ..files.dicom import Series, read_series, write_registration
from ..mrml.png import grab
from ..mrml.review import ARRANGED, Review
from ..mrml.runs import Run, transform_of
from ..mrml.shots import beside, shots
from ..report.content import Picture, content_of
from ..report.movie import can_write_mp4, write_film
from ..report.page import page
from ..report.paper import NO_FPDF, can_write, write_pdf
from ..types import InputError


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
    if "statuses" not in facts or "table" not in facts:
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
    """Where the user wants the film, a .gif or an .mp4, or None."""
    kinds = "GIF (*.gif);;MP4 (*.mp4)" if can_write_mp4() else "GIF (*.gif)"
    chosen = _ask_file(_("Film"), "registration.gif", kinds)
    if chosen is None:
        return None
    return chosen if chosen.suffix.lower() in (".gif", ".mp4") else chosen.with_suffix(".gif")


def ask_dicom() -> Optional[Path]:
    """Where the user wants the DICOM object, or None."""
    chosen = _ask_file(_("DICOM registration"), "registration.dcm", "DICOM (*.dcm)")
    return chosen.with_suffix(".dcm") if chosen is not None else None


def _ask_file(title: str, name: str, kinds: str) -> Optional[Path]:
    chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, kinds)
    chosen = chosen[0] if isinstance(chosen, (tuple, list)) else chosen
    return Path(chosen) if chosen else None


def write_dicom(run: Run, path: Path) -> str:
    """Write a run's transform as a DICOM Deformable Spatial Registration; returns what to say.

    Raises:
        InputError: a volume did not come from DICOM or was moved since, or pydicom is missing. OSError.
    """
    fixed, moving = (_series_of(run.get(role), role) for role in ("fixed", "moving"))
    if run.facts.get("world_to_local_ras") != np.eye(4).tolist():
        raise InputError(_("The moving volume was registered under a transform; DICOM knows nothing of that."))
    write_registration(transform_of(run), fixed, moving, path, __version__)
    return _("The DICOM object is {path}").format(path=path)


def _series_of(node, role: str) -> Series:
    """The DICOM series that a volume was loaded from."""
    if node is None:
        raise InputError(_("The run has lost its volumes. Register again."))
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not uids or not all(files):
        text = _("{name} was not loaded from the DICOM database, so no DICOM object can refer to it.")
        raise InputError(text.format(name=node.GetName()))
    if node.GetParentTransformNode() is not None:
        text = _("{name} is under a transform; DICOM knows it only where it was made.")
        raise InputError(text.format(name=node.GetName()))
    return read_series([Path(file) for file in files], f"{role} volume")


def film(path: Path, steps: Sequence[Any], show: Callable[[Any], None], seconds: float) -> None:
    """Show each step, take its picture, write them as a GIF or an MP4.

    Raises:
        InputError, OSError: it could not be written.
    """
    taken, eyes = [], cameras()
    for step in steps:
        show(step)
        taken.append(beside(eyes))
    write_film(taken, path, seconds)


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
