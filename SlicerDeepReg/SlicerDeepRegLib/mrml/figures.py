"""The planes of a run that a figure shows, from its nodes. No Qt."""

from __future__ import annotations

import numpy as np
import slicer

from ..geometry.grids import on_grid
from ..types import Image
from .nodes import image_from_node, resampled
from .runs import Run, field_of, moving_is_where_it_was, remove_node


def images_of(scene: slicer.vtkMRMLScene, run: Run) -> tuple[dict[str, Image], np.ndarray | None]:
    """Return the images of a run on its fixed grid by name, and where its transform leads, (K, J, I, 3) LPS mm or None.

    Names are those of ``report.figures.write_figures``; "linear", the moving image before, is left out where its volume
    is gone or was moved.

    Raises:
        ValueError: a node of the run is gone.
    """
    run.need("fixed", "warped", "jacobian")
    warped = image_from_node(run.get("warped"))
    fixed = image_from_node(run.get("fixed"))
    if fixed.grid.size_ijk != warped.grid.size_ijk:
        raise ValueError(f"{run.name}: the fixed volume was changed since. Register again.")
    images = {"fixed": Image(fixed.values, warped.grid, "fixed")}  # where it was, under its transform
    if moving_is_where_it_was(run):
        before = resampled(run.get("moving"), run.get("warped"), None, "before")
        try:
            images["linear"] = image_from_node(before)
        finally:
            remove_node(scene, before)
    images.update(warped=warped, jacobian=image_from_node(run.get("jacobian")))
    field = field_of(run)
    shift = None if field is None else on_grid(field, warped.grid).displacement_lps_mm
    return images, shift
