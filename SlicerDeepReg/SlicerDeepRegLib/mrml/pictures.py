"""Pictures of a result, drawn by Slicer's own slice views: the same three planes through one point in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..geometry.grids import content_box, overlap_fraction
from ..metrics.content import content_of
from ..types import Image, Result, Transform
from .display import add_legend, diverging_colors, draw_grid, set_range, windowed
from .host import Host
from .nodes import FLIP, add_shown_field, add_transform, add_volume, image_from_node, resampled
from .png import write_png
from .review_volumes import DIFFERENCE_COLORS
from .scene import add_where, display_range

PLANES = (("Axial", 2), ("Coronal", 1), ("Sagittal", 0))  # and the RAS axis along which each is stacked
WIDTH, HEIGHT = 540, 420  # room for the legend beside the anatomy
#: File name, and what the picture shows.
PICTURES = {
    "fixed": "Fixed",
    "moving_before": "Moving, before",
    "warped_after": "Moving, warped",
    "difference_before": "Difference before",
    "difference_after": "Difference after",
    "grid": "Deformation grid on warped",
    "jacobian": "Jacobian on fixed",
}


def draw(host: Host, result: Result, nodes: dict[str, Any], folder: Path) -> list[str]:
    """Draw every picture of :data:`PICTURES` and an overview of all; return the file names.

    Volumes that are only needed for a picture are removed again; the scene keeps the result's nodes.
    """
    center_ras, field_of_view_mm = _aim(result.fixed)
    views = _views(host, result.fixed, center_ras, field_of_view_mm)
    extra = _extra_nodes(host, result, nodes, field_of_view_mm)
    layers = {
        "fixed": {"background": nodes["fixed"]},
        "moving_before": {"background": extra["before"]},
        "warped_after": {"background": nodes["warped"]},
        "difference_before": {"background": extra["difference_before"]},
        "difference_after": {"background": extra["difference_after"]},
        "grid": {"background": nodes["warped"]},
        "jacobian": {"background": nodes["fixed"], "foreground": extra["jacobian"], "opacity": 0.7},
    }
    rows: list[np.ndarray] = []
    for name, shown in layers.items():
        extra["grid"].GetDisplayNode().SetVisibility2D(name == "grid")
        pictures = []
        for view, plane, axis in views:
            view.show(labels=_labels(nodes, name), **shown)
            view.annotate(_title(name, extra), f"{plane}, {'RAS'[axis]} {center_ras[axis]:.0f} mm")
            pictures.append(view.picture())
        rows.append(np.concatenate(pictures, axis=1))
        write_png(rows[-1], folder / f"{name}.png")
    write_png(_overview(rows), folder / "overview.png")
    for view, _, _ in views:
        view.show(background=nodes["fixed"], foreground=nodes["warped"])
    for node in extra["remove"]:
        host.scene.RemoveNode(node)
    return [f"{name}.png" for name in (*layers, "overview")]


def _labels(nodes: dict[str, Any], name: str) -> slicer.vtkMRMLVolumeNode | None:
    if name == "fixed":
        return nodes.get("fixed_labels")
    return nodes.get("warped_labels") if name == "warped_after" else None


def _title(name: str, extra: dict[str, Any]) -> str:
    return PICTURES[name] + (extra["before_note"] if name in ("moving_before", "difference_before") else "")


def _aim(fixed: Image) -> tuple[np.ndarray, float]:
    """Return the RAS point in the middle of the fixed image's content, and the field of view that holds it, mm."""
    content = content_of(fixed.values)
    if content.mean() > 0.9:  # no background to tell apart: the whole image
        content[:] = True
    low, high = content_box(content)
    matrix = FLIP @ fixed.grid.ijk_to_lps
    center = matrix[:3, :3] @ ((low + high) / 2).round() + matrix[:3, 3]
    corners = np.array([[(low, high)[bit][c] for c, bit in enumerate(bits)] for bits in np.ndindex(2, 2, 2)])
    extent = np.ptp(corners @ matrix[:3, :3].T, axis=0)
    return center, float(extent.max() * 1.18 + 2 * fixed.grid.spacing_mm.min())


def _views(host: Host, fixed: Image, center_ras: np.ndarray, field_of_view_mm: float) -> list[tuple]:
    """Return the views of the three planes, or for a single slice only of the one that it lies in."""
    planes = PLANES
    if fixed.grid.is_planar:
        thin = int(np.argmin(fixed.grid.size_ijk))
        normal = np.abs(fixed.grid.direction[:, thin])
        planes = [entry for entry in PLANES if entry[1] == int(np.argmax(normal))]
    views = []
    for plane, axis in planes:
        view = host.views.get(plane) or host.add_view(plane, plane, (WIDTH, HEIGHT))
        view.center(center_ras, field_of_view_mm)
        views.append((view, plane, axis))
    return views


def _extra_nodes(host: Host, result: Result, nodes: dict[str, Any], field_of_view_mm: float) -> dict[str, Any]:
    """Add what only the pictures need: the moving volume before registration, the differences, the field to draw."""
    scene = host.scene
    start, note = _starting_position(result)
    move = add_transform(scene, start, "start")
    before = resampled(nodes["moving"], nodes["fixed"], move, "before")
    before.CreateDefaultDisplayNodes()
    set_range(before, *display_range(result.moving))
    colors = diverging_colors(scene, DIFFERENCE_COLORS, middle=0.0)
    remove = [move, before]
    extra: dict[str, Any] = {"before": before, "before_note": note, "remove": remove}
    for name, moved in (("difference_before", image_from_node(before)), ("difference_after", result.warped)):
        values = windowed(moved.values, *display_range(result.moving))
        values -= windowed(result.fixed.values, *display_range(result.fixed))
        extra[name] = add_volume(scene, Image(values, result.fixed.grid), name)
        set_range(extra[name], -0.5, 0.5, colors)
        remove.append(add_legend(extra[name], "Warped - fixed" if name.endswith("after") else "Moving - fixed"))
        remove.append(extra[name])
    extra["jacobian"] = add_where(scene, result.jacobian, content_of(result.fixed.values), nodes["jacobian"])
    remove += [add_legend(extra["jacobian"], "Jacobian"), extra["jacobian"], colors]
    extra["grid"] = add_shown_field(scene, result.transform, "field to draw")
    spacing_mm = max(field_of_view_mm / 24, 2 * float(np.median(result.fixed.grid.spacing_mm)))
    draw_grid(extra["grid"], nodes["fixed"], spacing_mm)
    remove.append(extra["grid"])
    return extra


def _starting_position(result: Result) -> tuple[Transform, str]:
    """Return the identity, or a translation of center to center if the images hardly overlap."""
    matrix = np.eye(4)
    if overlap_fraction(result.fixed.grid, result.moving.grid) >= 0.25:
        return Transform(matrix), ""
    matrix[:3, 3] = result.moving.grid.center_lps_mm - result.fixed.grid.center_lps_mm
    return Transform(matrix), " (centers matched)"


def _overview(rows: list[np.ndarray]) -> np.ndarray:
    """Arrange every picture's planes below one another, the pictures side by side."""
    columns = [
        np.concatenate([row[:, start : start + WIDTH] for start in range(0, row.shape[1], WIDTH)], axis=0)
        for row in rows
    ]
    return np.concatenate(columns, axis=1)
