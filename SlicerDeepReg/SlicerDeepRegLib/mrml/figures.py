"""The planes of a run that a figure shows, from its nodes. No Qt."""

from __future__ import annotations

import numpy as np
import slicer

from ..geometry.grids import on_grid
from ..types import Image
from .nodes import image_from_node
from .runs import Run, check_fixed_place, field_of, moving_is_where_it_was
from .world import values_on_grid


def images_of(scene: slicer.vtkMRMLScene, run: Run) -> tuple[dict[str, Image], np.ndarray | None]:
    """Return the images of a run on its fixed grid by name, and where its transform leads, (K, J, I, 3) LPS mm or None.

    Names are those of ``report.figures.write_figures``; "linear", the moving image before, is left out where its volume
    is gone or was moved.

    Raises:
        ValueError: a node of the run is gone, or the fixed volume was changed since.
    """
    run.need("fixed", "warped", "jacobian")
    check_fixed_place(run)
    warped = image_from_node(run.get("warped"))
    fixed = values_on_grid(scene, run.get("fixed"), run.get("warped"))
    images = {"fixed": Image(fixed, warped.grid, "fixed")}
    if moving_is_where_it_was(run):
        before = values_on_grid(scene, run.get("moving"), run.get("warped"))
        images["linear"] = Image(before, warped.grid, "before")
    images.update(warped=warped, jacobian=image_from_node(run.get("jacobian")))
    field = field_of(run)
    shift = None if field is None else on_grid(field, warped.grid).displacement_lps_mm
    return images, shift
