"""A result in a scene: its volumes, transform and displays."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from ..types import Image, Result
from .display import add_legend, label_colors, set_range, warm_colors
from .maps import show_jacobian
from .nodes import add_transform, add_volume


def add_result(scene: slicer.vtkMRMLScene, result: Result) -> dict[str, Any]:
    """Add the nodes of a result, by name: fixed, moving, warped, jacobian, transform, and labels if any.

    The moving volume is left where it was; put it under the transform node to see it warped.
    """
    nodes = {
        "fixed": add_volume(scene, result.fixed, f"Fixed: {result.fixed.name}"),
        "moving": add_volume(scene, result.moving, f"Moving: {result.moving.name}"),
        "warped": add_volume(scene, result.warped, f"Warped: {result.moving.name}"),
        "jacobian": add_volume(scene, result.jacobian, "Jacobian of the transform"),
        "transform": add_transform(scene, result.transform, "Transform, fixed to moving"),
    }
    moving_range = display_range(result.moving)
    set_range(nodes["fixed"], *display_range(result.fixed))
    set_range(nodes["moving"], *moving_range)
    set_range(nodes["warped"], *moving_range)
    show_jacobian(nodes["jacobian"])
    if result.uncertainty is not None:
        nodes["uncertainty"] = add_distances(scene, result.uncertainty, "Uncertainty", "Uncertainty (mm)")
    maps = {"fixed_labels": result.fixed_labels, "warped_labels": result.warped_labels}
    present = np.unique(np.concatenate([np.unique(m.values) for m in maps.values() if m is not None] or [[0]]))
    if present.any():
        colors = label_colors(scene, present[present > 0].tolist(), "Colors of the labels")
        for name, labels in maps.items():
            if labels is not None:
                nodes[name] = add_volume(scene, labels, name.replace("_", " ").capitalize(), labels=True)
                nodes[name].GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    return nodes


def add_distances(scene: slicer.vtkMRMLScene, image: Image, name: str, title: str) -> slicer.vtkMRMLVolumeNode:
    """Add a volume of distances in mm, black for 0, with a legend."""
    node = add_volume(scene, image, name)
    show_distances(node, image.values)
    add_legend(node, title, "%.1f")
    return node


def show_distances(node: slicer.vtkMRMLNode, values_mm: np.ndarray) -> None:
    """Set the colors to range from 0 to the 99.5th percentile."""
    top = max(1.0, float(np.ceil(np.percentile(values_mm, 99.5))))
    set_range(node, 0.0, top, warm_colors(node.GetScene()))


def display_range(image: Image) -> tuple[float, float]:
    """Return a window for viewing: from the background to the 99.5th percentile above it. NaN does not count."""
    values = image.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        values = values[np.isfinite(values)]
    lowest = float(values.min())
    content = values[values > lowest]
    low, high = np.percentile(content, [0.5, 99.5])
    start = lowest if np.count_nonzero(values == lowest) > values.size / 100 else float(low)
    return start, float(high) if high > start else float(values.max())


def add_where(
    scene: slicer.vtkMRMLScene, image: Image, content: np.ndarray, like: slicer.vtkMRMLVolumeNode
) -> slicer.vtkMRMLVolumeNode:
    """Add a volume of the image's values where ``content`` (K, J, I) is true, transparent elsewhere.

    It is displayed like the volume node ``like``, whose colors have meaning.
    """
    nothing = float(image.values.min()) - 1000
    node = add_volume(scene, Image(np.where(content, image.values, nothing), image.grid), "where there is content")
    display, other = node.GetDisplayNode(), like.GetDisplayNode()
    set_range(node, other.GetWindowLevelMin(), other.GetWindowLevelMax())
    display.SetAndObserveColorNodeID(other.GetColorNodeID())
    display.SetInterpolate(0)  # else the edge would blend into what lies below the threshold
    display.SetAutoThreshold(0)
    display.SetThreshold(nothing + 1, float(image.values.max()) + 1)
    display.SetApplyThreshold(1)
    return node
