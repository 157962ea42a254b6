"""How results look in Slicer: ranges, colors, legends, deformation grids and glyphs."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import slicer
import slicer.util
import vtk

#: Ends of the diverging tables: below the middle blue, above it red.
_BLUE, _RED = (0.15, 0.40, 0.95), (0.92, 0.15, 0.15)
WARM_COLORS = "Distances: black none, yellow far"


#: The attribute of a color node that belongs to one display alone, and goes with it.
OWN_COLORS = "DeepReg.own_colors"


def set_range(
    volume: slicer.vtkMRMLVolumeNode, low: float, high: float, colors: slicer.vtkMRMLColorNode | None = None
) -> None:
    """Show ``low`` as the first color and ``high`` as the last; gray unless a color node is given."""
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(low, high)
    if colors is not None:
        display.SetAndObserveColorNodeID(colors.GetID())


def show_alike(node: slicer.vtkMRMLNode, other: slicer.vtkMRMLVolumeNode) -> None:
    """Show a volume with the window, level and colors of another."""
    node.GetDisplayNode().CopyContent(other.GetDisplayNode())
    if other.GetDisplayNode().GetColorNodeID():
        node.GetDisplayNode().SetAndObserveColorNodeID(other.GetDisplayNode().GetColorNodeID())


def window_of(node: slicer.vtkMRMLVolumeNode) -> tuple[float, float] | None:
    """Return a volume's window, lowest and highest value; None where it has none that shows anything.

    Slicer's own choice is not a number in a volume with infinite values, and upside down in one of 64-bit integers.
    """
    display = node.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return (low, high) if np.isfinite([low, high]).all() and high > low else None


def windowed(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values as float32, ``low`` as 0 and ``high`` as 1, cut at both ends."""
    return np.clip((values.astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)


def color_table(
    scene: slicer.vtkMRMLScene, name: str, colors: Sequence[tuple[str, Sequence[float]]]
) -> slicer.vtkMRMLColorTableNode:
    """Return a color table node, an existing one of that name if there is one.

    Args:
        colors: name, and red, green and blue (0 to 1) of each entry.
    """
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetName() == name:
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(name)
    node.SetNumberOfColors(len(colors))
    for index, (title, (red, green, blue)) in enumerate(colors):
        node.SetColor(index, title, float(red), float(green), float(blue), 1.0)
    return scene.AddNode(node)


def diverging_colors(scene: slicer.vtkMRMLScene, name: str, middle: float) -> slicer.vtkMRMLColorTableNode:
    """Return a color table from blue to red, which Slicer lacks.

    Args:
        name: of the node.
        middle: gray level of the middle color, 0 black (for differences on black) to 1 white (over an image).
    """
    position = np.linspace(-1, 1, 255)  # odd: the middle entry is exactly the middle color
    return color_table(scene, name, [(f"{place:+.2f}", diverging_color(place, middle)) for place in position])


def diverging_color(position: float, middle: float) -> list[float]:
    """Return red, green and blue at a position from -1 (blue) to 1 (red), with a gray level at 0."""
    strength, end = abs(position), _RED if position > 0 else _BLUE
    return [float(middle + strength * (part - middle)) for part in end]


def warm_colors(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """Return a color table from black over purple and red to yellow, for values of 0 and above."""
    anchors = np.array([(0, 0, 0), (0.35, 0.05, 0.45), (0.85, 0.25, 0.25), (0.98, 0.65, 0.1), (1, 1, 0.6)], float)
    known, locations = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, 256)
    colors = np.stack([np.interp(locations, known, anchors[:, c]) for c in range(3)], axis=1)
    return color_table(scene, WARM_COLORS, [(f"{place:.2f}", color) for place, color in zip(locations, colors)])


def add_legend(
    volume: slicer.vtkMRMLVolumeNode, title: str, label_format: str = "%.2f", labels: int = 5
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """Add a vertical legend at the right edge; VTK drops "|" and "$" from titles, so use words."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetTitleText(title)
    legend.SetNumberOfLabels(labels)
    legend.SetMaxNumberOfColors(255)
    legend.SetLabelFormat(label_format)
    legend.SetUseColorNamesForLabels(False)
    legend.SetOrientation(legend.Vertical)
    legend.SetSize(0.06, 0.36)  # the width also sets the size of the text
    legend.SetPosition(0.99, 0.06)  # below the letter at the right edge
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.SetBold(False)
        text.SetItalic(False)
        text.SetShadow(True)
        text.SetColor(1, 1, 1)
    legend.SetVisibility(True)
    return legend


def renew_legend(volume: slicer.vtkMRMLVolumeNode) -> None:
    """Replace a volume's legend by a new one: views that are newer than a legend never draw it."""
    old = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if old is None:
        return
    title, form, labels = old.GetTitleText(), old.GetLabelFormat(), old.GetNumberOfLabels()
    visible, saved = old.GetVisibility(), old.GetSaveWithScene()
    volume.GetScene().RemoveNode(old)
    new = add_legend(volume, title, form, labels)
    new.SetVisibility(visible)
    new.SetSaveWithScene(saved)


def refresh_legends(scene: slicer.vtkMRMLScene) -> None:
    """Update the legends after views got other volumes: they do not notice that theirs is shown or gone."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", scene):
        legend.Modified()


def draw_grid(
    node: slicer.vtkMRMLNode,
    region: slicer.vtkMRMLNode,
    spacing_mm: float,
    views: Sequence[str] = (),
    color: tuple[float, float, float] | None = (1.0, 0.85, 0.1),
    thickness: int = 1,
    pieces: int = 4,
) -> slicer.vtkMRMLTransformDisplayNode:
    """Draw a transform node as a deformed grid, in the views with those identifiers, or in all if none are given.

    Color None shows the length of the displacement. A line has so many pieces from one crossing to the next: the time
    to draw is that of their number.
    """
    display = _transform_display(node, region, thickness, views)
    display.SetVisualizationMode(display.VIS_MODE_GRID)
    display.SetGridSpacingMm(spacing_mm)
    display.SetGridResolutionMm(spacing_mm / pieces)
    display.SetGridScalePercent(100)
    display.SetGridShowNonWarped(False)
    if color is not None:
        constant = vtk.vtkColorTransferFunction()
        constant.AddRGBPoint(0, *color)
        constant.AddRGBPoint(1000, *color)
        display.SetColorMap(constant)
        made = display.GetColorNode()  # one of its own, which would stand among the user's tables
        if made is not None:
            made.SetAttribute(OWN_COLORS, "1")
            made.SetHideFromEditors(True)
            made.SetSaveWithScene(False)
    return display


def draw_glyphs(
    node: slicer.vtkMRMLNode,
    region: slicer.vtkMRMLNode,
    spacing_mm: float,
    views: Sequence[str] = (),
    thickness: int = 2,
) -> slicer.vtkMRMLTransformDisplayNode:
    """Draw a transform node as arrows, true to scale, colored by length; views as for the grid."""
    display = _transform_display(node, region, thickness, views)
    display.SetVisualizationMode(display.VIS_MODE_GLYPH)
    display.SetGlyphSpacingMm(spacing_mm)
    display.SetGlyphScalePercent(100)
    display.SetGlyphDisplayRangeMinMm(0.05)
    display.SetGlyphDisplayRangeMaxMm(1000)
    return display


def _transform_display(
    node: slicer.vtkMRMLNode, region: slicer.vtkMRMLNode, thickness: int, views: Sequence[str]
) -> slicer.vtkMRMLTransformDisplayNode:
    display = node.GetDisplayNode()
    if display is not None and list(display.GetViewNodeIDs()) != list(views):
        made = display.GetColorNode()
        node.GetScene().RemoveNode(display)
        if made is not None and made.GetAttribute(OWN_COLORS):
            node.GetScene().RemoveNode(made)
        display = None
    if display is None:
        display = slicer.vtkMRMLTransformDisplayNode()
        for view in views:  # before the node has it: views ask only once whether they may draw it
            display.AddViewNodeID(view)
        node.GetScene().AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
    display.SetAndObserveRegionNode(region)
    display.SetSliceIntersectionThickness(thickness)
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)  # the caller may want it
    display.SetSaveWithScene(node.GetSaveWithScene())
    return display


def label_colors(
    scene: slicer.vtkMRMLScene, labels: Sequence[int], name: str = "Labels"
) -> slicer.vtkMRMLColorTableNode:
    """Return a table of well separated colors for the labels; 0 is transparent."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(name)
    node.SetNumberOfColors(max(labels) + 1)
    node.SetColor(0, "background", 0, 0, 0, 0)
    for order, label in enumerate(labels):
        red, green, blue = colorsys.hsv_to_rgb((order * 0.618034) % 1.0, 0.75, 0.95)
        node.SetColor(int(label), str(label), red, green, blue, 1.0)
    return scene.AddNode(node)
