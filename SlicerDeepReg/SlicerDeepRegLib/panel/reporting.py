"""Files about a run: the report, the animation, the transform as DICOM. Qt, for the dialogs and the pictures."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from .. import __version__
from ..files.atomic import whole_file
from ..files.dicom import Series, check_patient, read_series, write_registration
from ..mrml.figures import images_of
from ..mrml.nodes import grid_of
from ..mrml.png import grab
from ..mrml.review import ARRANGED, Review
from ..mrml.runs import Run, is_where_it_was, shows_what_it_did, transform_of
from ..mrml.shots import beside, shots
from ..preparation.planes import planes_of
from ..report import paper
from ..report.content import Picture, content_of
from ..report.figures import write_figures
from ..report.movie import can_write_mp4, write_film
from ..types import InputError

#: A volume farther than this from where its DICOM slices were scanned was moved.
MOVED_MM = 0.5


def ask_folder(text: str) -> Path | None:
    """Ask for a folder, with a text for the dialog's title; None if the user cancels."""
    chosen = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), text)
    return Path(chosen) if chosen else None


def write_report(run: Run, facts: dict[str, Any], review: Review, folder: Path) -> list[str]:
    """Take the pictures and write the report.

    Names of volumes are left out: they may come from DICOM and identify the patient.

    Returns:
        What to tell the user, line by line.

    Raises:
        InputError: no slice view is visible, or the run was made by an older version.
        OSError: the folder cannot be written to.
    """
    if "statuses" not in facts or "table" not in facts:
        raise InputError(_("This result was made by an older version and lacks what the report needs. Register again."))
    content = content_of(facts, [Picture(png, caption) for png, caption in shots(review, run, cameras())])
    page, *pdf = paper.write_report(content, folder)
    saved = _("The report was saved as {path}").format(path=folder / page)
    return [saved, _("and as a PDF next to it.") if pdf else paper.NO_FPDF]


def write_run_figures(run: Run, facts: dict[str, Any], folder: Path) -> str:
    """Write the figures of a run as papers print them: a montage, and the overlap of its structures.

    Returns:
        What to tell the user.

    Raises:
        InputError: Pillow is missing. ValueError: a node of the run is gone.
        OSError: the folder cannot be written to.
    """
    images, shift_lps_mm = images_of(slicer.mrmlScene, run)
    names = write_figures(planes_of(images, shift_lps_mm), facts.get("structures", []), folder)
    return _("The figures were saved in {folder}: {names}").format(folder=folder, names=", ".join(names))


def ask_animation() -> Path | None:
    """Ask for the file of an animation, a .gif or an .mp4; None if the user cancels."""
    kinds = "GIF (*.gif);;MP4 (*.mp4)" if can_write_mp4() else "GIF (*.gif)"
    chosen = _ask_file(_("Animation"), "registration.gif", kinds)
    return _ending(chosen, ".gif", ".mp4")


def ask_dicom() -> Path | None:
    """Ask for the file of the DICOM object; None if the user cancels."""
    chosen = _ask_file(_("DICOM registration"), "registration.dcm", "DICOM (*.dcm)")
    return _ending(chosen, ".dcm")


def ask_table() -> Path | None:
    """Ask for the file of a table; None if the user cancels."""
    chosen = _ask_file(_("Table of the results"), "results.csv", "CSV (*.csv)")
    return _ending(chosen, ".csv")


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a table as CSV, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_file(path) as private, open(private, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([_plain(cell) for cell in row] for row in rows)


def _plain(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: names of results are anybody's text."""
    try:
        float(cell)
        return cell
    except ValueError:
        return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def _ending(chosen: Path | None, ending: str, *others: str) -> Path | None:
    """Return a chosen file with an ending that it needs.

    None where the user has not chosen one, or where a file is there with the ending and may not be replaced: the dialog
    asked about the name without it.
    """
    if chosen is None or chosen.suffix.lower() in (ending, *others):
        return chosen
    complete = chosen.with_name(chosen.name + ending)
    question = _("{path} is there already. Replace it?").format(path=complete)
    if complete.exists() and not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("DeepReg")):
        return None
    return complete


def _ask_file(title: str, name: str, kinds: str) -> Path | None:
    chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, kinds)
    chosen = chosen[0] if isinstance(chosen, (tuple, list)) else chosen
    return Path(chosen) if chosen else None


def dicom_series(run: Run) -> tuple[Series, Series]:
    """Return the series of both images, to which a DICOM registration refers.

    Raises:
        InputError: a volume did not come from DICOM or was moved since, both are of different patients, or pydicom is
            missing.
    """
    for role in ("fixed", "moving"):
        node = run.get(role)
        if node is not None and not (is_where_it_was(run, role) and shows_what_it_did(run, role)):
            text = _("{name} is not what it was, or not where it was, when {run} was registered. Register again.")
            raise InputError(text.format(name=node.GetName(), run=run.name))
    fixed, moving = (_series_of(run.get(role), role) for role in ("fixed", "moving"))
    if run.facts.get("world_to_local_ras") != np.eye(4).tolist():
        raise InputError(
            _("The moving volume was under a transform when it was registered; DICOM cannot express that.")
        )
    check_patient(fixed, moving)
    return fixed, moving


def write_dicom(run: Run, series: tuple[Series, Series], path: Path) -> str:
    """Write a run's transform as a DICOM Deformable Spatial Registration.

    Args:
        series: see :func:`dicom_series`.

    Returns:
        What to tell the user.

    Raises:
        OSError: the file cannot be written.
    """
    fixed, moving = series
    write_registration(transform_of(run), fixed, moving, path, __version__)
    return _("The DICOM object was saved as {path}").format(path=path)


def _series_of(node: Any, role: str) -> Series:
    """Return the DICOM series that a volume was loaded from."""
    if node is None:
        raise InputError(_("The volumes of this result were removed from the scene. Register again."))
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    files = [database.fileForInstance(uid) for uid in uids] if database is not None else []
    if not uids or not all(files):
        text = _(
            "A DICOM registration refers to the DICOM series of both volumes, and {name} was not loaded from Slicer's "
            "DICOM database. Import both series in the DICOM module, load them from there, and register again."
        )
        raise InputError(text.format(name=node.GetName()))
    if node.GetParentTransformNode() is not None:
        text = _(
            "{name} is under a transform; DICOM refers to its original position. Remove the transform, and register "
            "again."
        )
        raise InputError(text.format(name=node.GetName()))
    series = read_series([Path(file) for file in files], f"{role} volume")
    if series.off_mm(grid_of(node)) > MOVED_MM:
        text = _(
            "{name} does not lie where its DICOM series was scanned: it was moved, or its slices are not evenly "
            "spaced. If it was moved, load the series again and register that; else use slicerdeepreg register --dicom."
        )
        raise InputError(text.format(name=node.GetName()))
    return series


def write_animation(path: Path, steps: Sequence[Any], show: Callable[[Any], None], seconds: float) -> None:
    """Show each step, take a picture of the slice views, and write the pictures as a GIF or an MP4.

    Args:
        path: of the file.
        steps: what ``show`` is called with, one after another.
        show: makes the views show a step.
        seconds: that each step is shown.

    Raises:
        InputError: no slice view is visible, or the file cannot be encoded.
        OSError: the file cannot be written.
    """
    frames, takers = [], cameras()
    for step in steps:
        show(step)
        frames.append(beside(takers))
    write_film(frames, path, seconds)


def cameras() -> list[Callable[[], np.ndarray]]:
    """Return a function for each visible slice view that takes its picture; views of our layouts are left out.

    Raises:
        InputError: no such view is visible.
    """
    manager = slicer.app.layoutManager()
    names = [name for name in manager.sliceViewNames() if not name.startswith(ARRANGED)]
    visible = [widget for widget in map(manager.sliceWidget, names) if widget.visible]
    if not visible:
        text = _("Pictures are taken of your own slice views, and none is visible. Choose Layout: your own.")
        raise InputError(text)
    return [_camera(widget) for widget in visible]


def _camera(widget: Any) -> Callable[[], np.ndarray]:
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
