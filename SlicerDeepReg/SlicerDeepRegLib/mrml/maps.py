"""Maps of a run's deformation: how far, how much smaller or larger, and where it folds. No Qt."""

from __future__ import annotations

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from ..contracts import Image
from .display import add_legend, colour_table, diverging_colour, set_range
from .nodes import add_volume, grid_of, grid_part, image_from_node
from .runs import Run, own

LOG_COLOURS = "Jacobian by its logarithm: magenta folds, blue shrinks, white keeps, red grows"
WARM_COLOURS = "Distances: black none, yellow far"
#: The largest Jacobian that has a colour of its own; a quarter has that of the other end.
TOP = 4.0
#: Entries of the table. The first is for a Jacobian of 0 or less; as displays have 256 levels, it ends at about 0.01.
COLOURS = 512
FOLD = (1.0, 0.0, 1.0)


def magnitude(scene, run: Run):
    """The length of the displacement in mm at every voxel of the run's grid; the linear part is not in it.

    Raises:
        ValueError: the run's transform is linear, or gone.
    """
    node = run.get("magnitude")
    if node is not None:
        return node
    run.need("transform", "warped")
    grid = grid_part(run.get("transform").GetTransformFromParent())
    if grid is None:
        raise ValueError(f"The transform of {run.name} is linear: no displacement field to show.")
    place = grid_of(run.get("warped"))
    vectors = vtk_to_numpy(grid.GetDisplacementGrid().GetPointData().GetScalars())
    length = np.linalg.norm(vectors, axis=1).reshape(grid.GetDisplacementGrid().GetDimensions()[::-1])
    length = length[tuple(slice(0, n) for n in place.shape_kji)]  # a single slice is there twice
    node = add_volume(scene, Image(length.astype(np.float32), place), "magnitude")
    top = float(np.ceil(np.percentile(length, 99.8))) or 1.0
    set_range(node, 0.0, top, warm_colours(scene))
    add_legend(node, "Length (mm)")
    return own(scene, run, "magnitude", node)


def log_jacobian(scene, run: Run):
    """The Jacobian coloured by its logarithm, from a quarter to four times the volume; folds in magenta."""
    node = run.get("jacobian_log")
    if node is not None:
        return node
    run.need("jacobian")
    node = add_volume(scene, image_from_node(run.get("jacobian")), "log Jacobian")
    set_range(node, 0.0, TOP, _log_colours(scene))
    node.GetDisplayNode().SetInterpolate(False)  # a fold beside growth must not look like no change
    add_legend(node, "Jacobian")
    return own(scene, run, "jacobian_log", node)


def _log_colours(scene):
    jacobians = (np.arange(COLOURS) + 0.5) * TOP / COLOURS
    places = np.clip(np.log(jacobians) / np.log(TOP), -1, 1)
    colours = [(f"{one:.2f}", diverging_colour(place, middle=1.0)) for one, place in zip(jacobians, places)]
    return colour_table(scene, LOG_COLOURS, [("fold", FOLD), *colours[1:]])


def warm_colours(scene):
    """A table from black over purple and red to yellow, for what is 0 or more."""
    anchors = np.array([(0, 0, 0), (0.35, 0.05, 0.45), (0.85, 0.25, 0.25), (0.98, 0.65, 0.1), (1, 1, 0.6)], float)
    known, places = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, 256)
    colours = np.stack([np.interp(places, known, anchors[:, c]) for c in range(3)], axis=1)
    return colour_table(scene, WARM_COLOURS, [(f"{place:.2f}", one) for place, one in zip(places, colours)])
