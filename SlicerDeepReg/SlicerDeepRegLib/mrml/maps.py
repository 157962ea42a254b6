"""Maps of a run's deformation: displacement magnitude and volume change, folding marked. No Qt."""

from __future__ import annotations

import numpy as np
import slicer

from ..geometry.grids import on_grid
from ..types import Image
from .display import add_legend, color_table, diverging_color, set_range, warm_colors
from .nodes import add_volume, grid_of
from .runs import Run, field_of, own

JACOBIAN_COLORS = (
    "Jacobian, colors by its logarithm: magenta folding, blue compression to 1/4 and less, white no change, "
    "red expansion to 4 and more"
)
#: The largest Jacobian that has a color of its own; a quarter has that of the other end.
TOP = 4.0
#: Entries of the table. The first is for a Jacobian of 0 or less; as displays have 256 levels, it ends at about 0.01.
COLORS = 512
#: From about so many voxels it is seen how far the colors of the displacement reach.
SAMPLE = 1_000_000
FOLD = (1.0, 0.0, 1.0)


def magnitude(scene: slicer.vtkMRMLScene, run: Run) -> slicer.vtkMRMLVolumeNode:
    """Make a map of the displacement magnitude in mm on the run's grid, without the linear part: 0 of a linear result.

    Raises:
        ValueError: the run's transform is gone.
    """
    node = run.get("magnitude")
    if node is not None:
        return node
    run.need("transform", "warped")
    field = field_of(run)
    grid = grid_of(run.get("warped"))
    length = np.zeros(grid.shape_kji, np.float32)
    if field is not None:
        vectors = on_grid(field, grid).displacement_lps_mm
        length = np.sqrt(np.einsum("...c,...c->...", vectors, vectors)).astype(np.float32)
    node = add_volume(scene, Image(length, grid), "magnitude")
    top = float(np.ceil(np.percentile(length.ravel()[:: max(1, length.size // SAMPLE)], 99.8))) or 1.0
    set_range(node, 0.0, top, warm_colors(scene))
    add_legend(node, "Displacement (mm)")
    return own(scene, run, "magnitude", node)


def show_jacobian(node: slicer.vtkMRMLVolumeNode) -> None:
    """Color a Jacobian by its logarithm, from 1/4 to 4 times the volume; folds are magenta. Adds a legend."""
    set_range(node, 0.0, TOP, _log_colors(node.GetScene()))
    node.GetDisplayNode().SetInterpolate(False)  # a fold beside growth must not look like no change
    add_legend(node, "Jacobian")


def _log_colors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    jacobians = (np.arange(COLORS) + 0.5) * TOP / COLORS
    locations = np.clip(np.log(jacobians) / np.log(TOP), -1, 1)
    colors = [(f"{one:.2f}", diverging_color(place, middle=1.0)) for one, place in zip(jacobians, locations)]
    return color_table(scene, JACOBIAN_COLORS, [("fold", FOLD), *colors[1:]])
