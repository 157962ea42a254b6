"""Series in the scene: the frames of a sequence, and what was found of them as sequences that play beside it. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..types import FrameResult, Image, InputError, Transform
from .nodes import add_volume, from_parent, image_from_node, layout_node
from .runs import place_of, remove_node
from .segments import add_segmentation, segments_of


@dataclass(frozen=True, eq=False)
class SeriesNodes:
    """What was found of a series, in the scene.

    Attributes:
        browser: plays the frames and everything that was found of them.
        stabilized: sequence of the frames as the reference lies.
        transforms: sequence of what moves the reference to each frame.
        segmentations: sequence of the reference's segmentation on each frame, or None.
        table: what was measured of each frame.
        charts: its curves, those of volumes and those of motion.
    """

    browser: Any
    stabilized: Any
    transforms: Any
    segmentations: Any
    table: Any
    charts: tuple[Any, ...]


def frames_of(sequence: slicer.vtkMRMLSequenceNode) -> list[Image]:
    """Return the frames of a sequence of volumes, LPS mm.

    Raises:
        InputError: it is none of scalar volumes, or has fewer than two frames.
    """
    name, count = sequence.GetName(), sequence.GetNumberOfDataNodes()
    nodes = [sequence.GetNthDataNode(n) for n in range(count)]
    if count < 2:
        raise InputError(f"{name} has fewer than two frames. Choose a sequence of volumes.", "frames")
    for number, node in enumerate(nodes, 1):
        data = node.GetImageData() if node.IsA("vtkMRMLScalarVolumeNode") else None
        if data is None or data.GetNumberOfPoints() == 0 or data.GetNumberOfScalarComponents() != 1:
            raise InputError(
                f"Frame {number} of {name} is not a volume with one value for each voxel. Choose a sequence of scalar "
                "volumes.",
                "frames",
            )
    images = [image_from_node(node) for node in nodes]
    return [Image(image.values, image.grid, f"{name} {number}") for number, image in enumerate(images, 1)]


def contents_of(sequence: slicer.vtkMRMLSequenceNode) -> tuple[Any, ...]:
    """Return the index value of each frame with where it lies and a checksum of its voxels."""
    return tuple(
        (sequence.GetNthIndexValue(n), place_of(sequence.GetNthDataNode(n)))
        for n in range(sequence.GetNumberOfDataNodes())
    )


def browser_of(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceBrowserNode | None:
    """Return the browser that plays a sequence, or None."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    return next((one for one in browsers if one.IsSynchronizedSequenceNode(sequence, True)), None)


def proxies() -> list[slicer.vtkMRMLNode]:
    """Return the nodes that show the selected item of a sequence; they change with it."""
    return [
        browser.GetProxyNode(sequence)
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
        for sequence in slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        if browser.IsSynchronizedSequenceNode(sequence, True) and browser.GetProxyNode(sequence) is not None
    ]


def shown_volume(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLVolumeNode | None:
    """Return the volume in the scene that shows the frame that is selected, or None."""
    browser = browser_of(sequence)
    return browser.GetProxyNode(sequence) if browser is not None else None


def check_not_moved(sequence: slicer.vtkMRMLSequenceNode) -> None:
    """Check that the frames lie where their own geometry puts them.

    Raises:
        InputError: they are under a transform.
    """
    shown = shown_volume(sequence)
    if shown is not None and shown.GetParentTransformNode() is not None:
        raise InputError(
            f"{shown.GetName()} is under the transform {shown.GetParentTransformNode().GetName()}. Take it out of the "
            "transform, register the series, and put the result under the transform.",
            "frames",
        )


def add_series(
    scene: slicer.vtkMRMLScene,
    sequence: slicer.vtkMRMLSequenceNode,
    found: Sequence[FrameResult],
    names: Mapping[int, str],
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    point_names: Sequence[str] = (),
) -> SeriesNodes:
    """Add what was found of a series, to be played by the browser of its frames; all of it or nothing.

    Args:
        sequence: of the frames.
        found: of each frame, in order.
        names: of the labels.
        colors: of the labels, 0..255.
        point_names: of the points that were followed.
    """
    before = _nodes(scene)
    try:
        return _Making(scene, sequence, found).all(names, colors, point_names)
    except Exception:
        for node in reversed([node for node in _nodes(scene) if node not in before]):
            if scene.IsNodePresent(node):
                remove_node(scene, node)
        raise


def _nodes(scene: slicer.vtkMRMLScene) -> list[Any]:
    return [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]


class _Making:
    """Makes the nodes. The arguments are those of ``add_series``."""

    def __init__(
        self, scene: slicer.vtkMRMLScene, sequence: slicer.vtkMRMLSequenceNode, found: Sequence[FrameResult]
    ) -> None:
        self.scene, self.sequence, self.found, self.name = scene, sequence, found, sequence.GetName()

    def all(
        self,
        names: Mapping[int, str],
        colors: Mapping[int, tuple[int, int, int]] | None,
        point_names: Sequence[str],
    ) -> SeriesNodes:
        """Make everything; see ``add_series``."""
        scene, browser = self.scene, browser_of(self.sequence)
        if browser is None:
            browser = self.add("vtkMRMLSequenceBrowserNode", "browser")
            browser.SetAndObserveMasterSequenceNodeID(self.sequence.GetID())
        stabilized = self.filled("stabilized", lambda one: add_volume(scene, one.stabilized, "stabilized"))
        transforms = self.filled("motion", self._transform)
        segmentations = None
        if all(one.labels is not None for one in self.found):
            segmentations = self.filled(
                "segmentation", lambda one: add_segmentation(scene, one.labels, "segmentation", names, colors)
            )
        titles = {f"volume_{label}_ml": f"{title} (ml)" for label, title in names.items()}
        table = self._table(titles, point_names)
        charts = [self._chart(table, what, unit) for what, unit in (("volumes", "ml"), ("motion", "mm"))]
        for node in (stabilized, transforms, segmentations):
            if node is not None:
                browser.AddSynchronizedSequenceNode(node)
        slicer.vtkSlicerSequencesLogic().UpdateProxyNodesFromSequences(browser)  # the desktop does it too, but later
        shown = tuple(chart for chart in charts if chart is not None)
        return SeriesNodes(browser, stabilized, transforms, segmentations, table, shown)

    def add(self, kind: str, what: str) -> Any:
        """Add a node that is named after the series."""
        node = getattr(slicer, kind)()  # without the desktop the scene does not know all classes by their names
        node.SetName(self.scene.GenerateUniqueName(f"{self.name}: {what}"))
        self.scene.AddNode(node)
        return node

    def filled(self, what: str, item: Callable[[FrameResult], Any]) -> Any:
        """Return a sequence with an item for each frame, which is made in the scene and taken out again."""
        node, sequence = self.add("vtkMRMLSequenceNode", what), self.sequence
        node.SetIndexName(sequence.GetIndexName())
        node.SetIndexUnit(sequence.GetIndexUnit())
        node.SetIndexType(sequence.GetIndexType())
        for one in self.found:
            part = item(one)
            node.SetDataNodeAtValue(part, sequence.GetNthIndexValue(one.number))
            remove_node(self.scene, part)
        return node

    def _transform(self, one: FrameResult) -> Any:
        node = self.scene.AddNewNodeByClass("vtkMRMLTransformNode", "motion")
        node.SetAndObserveTransformFromParent(from_parent(one.transform or Transform(np.eye(4), None)))
        return node

    def _table(self, titles: dict[str, str], point_names: Sequence[str]) -> Any:
        node = self.add("vtkMRMLTableNode", "motion table")
        titles = titles | {f"point_{n}_mm": f"{title} (mm)" for n, title in enumerate(point_names, 1)}
        titles["motion_mm"] = "mean motion of the segments (mm)"
        columns = [("Frame", [float(one.number + 1) for one in self.found])]
        for key, title in titles.items():
            if any(key in one.measured for one in self.found):
                # The reference does not move; elsewhere what is missing is not known.
                missing = [0.0 if one.transform is None else float("nan") for one in self.found]
                values = [float(one.measured.get(key, lacks)) for one, lacks in zip(self.found, missing)]
                columns.append((title, values))
        taken: list[str] = []
        for title, values in columns:
            same = taken.count(title)
            taken.append(title)
            column = vtk.vtkDoubleArray()
            column.SetName(title if not same else title.replace(" (", f" {same + 1} (", 1))
            for value in values:
                column.InsertNextValue(value)
            node.GetTable().AddColumn(column)
        node.Modified()
        return node

    def _chart(self, table: Any, what: str, unit: str) -> Any:
        """Add the chart of the columns of a unit; None where there are none."""
        titles = [table.GetColumnName(n) for n in range(1, table.GetNumberOfColumns())]
        titles = [title for title in titles if title.endswith(f"({unit})")]
        if not titles:
            return None
        chart = self.add("vtkMRMLPlotChartNode", f"{what} chart")
        chart.SetTitle(f"{self.name}: {what}")
        chart.SetXAxisTitle("Frame")
        chart.SetYAxisTitle(unit)
        for title in titles:
            curve = self.add("vtkMRMLPlotSeriesNode", title)
            curve.SetName(title.removesuffix(f" ({unit})"))  # the legend reads it
            curve.SetAndObserveTableNodeID(table.GetID())
            curve.SetXColumnName("Frame")
            curve.SetYColumnName(title)
            curve.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            curve.SetUniqueColor()
            chart.AddAndObservePlotSeriesNodeID(curve.GetID())
        return chart


def show_chart(scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode) -> int:
    """Show curves beside the views; return the layout that was there."""
    layout = layout_node(scene)
    before: int = layout.GetViewArrangement()
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    if selection is not None:
        selection.SetActivePlotChartID(chart.GetID())
    for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode", scene):  # a view does not follow the selection
        view.SetPlotChartNodeID(chart.GetID())
    return before


def hide_charts(scene: slicer.vtkMRMLScene, layout: int) -> None:
    """Give the views a layout back, unless the user has chosen another one since."""
    node = layout_node(scene)
    if node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView:
        node.SetViewArrangement(layout)


def colors_of(node: slicer.vtkMRMLNode, names: Mapping[int, str]) -> dict[int, tuple[int, int, int]]:
    """Return the color of each label that is a segment of a segmentation node, 0..255."""
    segmentation, found = node.GetSegmentation(), dict(segments_of(node))
    of_name = {name: segmentation.GetSegment(identifier).GetColor() for identifier, name in found.items()}
    return {
        label: tuple(round(255 * part) for part in of_name[name]) for label, name in names.items() if name in of_name
    }
