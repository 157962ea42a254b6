"""Add a result to the scene as a run: its volumes, transform, labels and table, in a folder of their own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import slicer.util
import vtk

from ..types import Image, Result
from .display import set_range, show_alike, window_of
from .facts import scene_facts, worst_place
from .maps import show_jacobian
from .nodes import FLIP, add_text_columns, add_transform, add_volume
from .outlines import FIXED, MOVING
from .runs import FOLDER, MARK, Run, node_name, own, place_of, put_into, remove
from .scene import add_distances, display_range
from .segments import add_segment


def add_run(
    scene: slicer.vtkMRMLScene,
    result: Result,
    name: str,
    facts: dict[str, Any],
    fixed: slicer.vtkMRMLVolumeNode | None = None,
    moving: slicer.vtkMRMLVolumeNode | None = None,
    moving_world_to_local: vtk.vtkAbstractTransform | None = None,
    table: Sequence[tuple[str, Sequence[str]]] = (),
    segmentation: slicer.vtkMRMLNode | None = None,
    label_names: dict[int, str] | None = None,
    fixed_segmentation: slicer.vtkMRMLNode | None = None,
    places: Mapping[str, Any] | None = None,
) -> Run:
    """Add a result to the scene; on any failure nothing of it stays there.

    Args:
        result: its volumes in world coordinates.
        name: of the run; its nodes are called after it.
        facts: more of :attr:`Run.facts`, they stand above its own.
        fixed, moving: the user's nodes, referred to; their window, level and colors are taken over.
        moving_world_to_local: where the moving volume is under transforms; then the run's transform node does
            their work too: put under it, in place of those, the volume is shown warped.
        table: (title, figure in each state).
        segmentation: the moving segmentation node whose names and colors the warped one takes.
        label_names: name of each warped label.
        fixed_segmentation: that of the fixed volume, referred to.
        places: of "fixed" and "moving" when they were registered (:func:`runs.place_of`); where they lie now when left
            out.
    """
    run = Run(scene.AddNode(_run_node(name)))
    try:
        _add_volumes(scene, run, result, fixed, moving)
        transform = add_transform(scene, result.transform, node_name(run, "transform"), moving_world_to_local)
        run.set("transform", transform)
        for role, node in (("fixed", fixed), ("moving", moving)):
            if node is not None:
                run.set(role, node)
                transform.SetNodeReferenceID(f"DeepReg.{role}", node.GetID())
        for role, node in ((FIXED, fixed_segmentation), (MOVING, segmentation)):
            if node is not None:
                run.set(role, node)
        if result.warped_labels is not None:
            _add_labels(scene, run, result.warped_labels, segmentation, label_names or {})
        if table:
            run.set("table", _add_table(scene, table, node_name(run, "table")))
        own_facts = scene_facts(result, moving_world_to_local)
        if places is None:
            places = {role: place_of(node) for role, node in (("fixed", fixed), ("moving", moving)) if node is not None}
        own_facts["places"] = places
        run.node.SetAttribute(MARK, json.dumps({**own_facts, **facts}, default=float))
        group_nodes(scene, run)
    except BaseException:
        remove(scene, run, also_permanent=True)
        raise
    return run


def complete_run(
    scene: slicer.vtkMRMLScene,
    run: Run,
    result: Result,
    facts: dict[str, Any],
    table: Sequence[tuple[str, Sequence[str]]],
) -> None:
    """Add to a run what was measured since it was added, and the new facts."""
    if result.uncertainty is not None:
        _add_uncertainty(scene, run, result.uncertainty)
        own(scene, run, "uncertainty", run.get("uncertainty"), save=True)
    if table:
        own(scene, run, "table", _add_table(scene, table, node_name(run, "table")), save=True)
    run.add_facts(**worst_place(result), **facts)


def _run_node(name: str) -> slicer.vtkMRMLScriptedModuleNode:
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetAttribute("ModuleName", "SlicerDeepReg.Run")  # not that of the parameter node
    node.SetAttribute(MARK, "{}")
    return node


def _add_volumes(
    scene: slicer.vtkMRMLScene,
    run: Run,
    result: Result,
    fixed: slicer.vtkMRMLVolumeNode | None,
    moving: slicer.vtkMRMLVolumeNode | None,
) -> None:
    warped = add_volume(scene, result.warped, node_name(run, "warped"))
    run.set("warped", warped)
    if moving is not None and window_of(moving) is not None:
        show_alike(warped, moving)
    else:
        set_range(warped, *display_range(result.moving))
    jacobian = add_volume(scene, result.jacobian, node_name(run, "jacobian"))
    run.set("jacobian", jacobian)
    show_jacobian(jacobian)
    if result.uncertainty is not None:
        _add_uncertainty(scene, run, result.uncertainty)


def _add_uncertainty(scene: slicer.vtkMRMLScene, run: Run, uncertainty: Image) -> None:
    run.set("uncertainty", add_distances(scene, uncertainty, node_name(run, "uncertainty"), "Uncertainty (mm)"))


def _add_labels(
    scene: slicer.vtkMRMLScene, run: Run, labels: Image, segmentation: slicer.vtkMRMLNode | None, names: dict[int, str]
) -> None:
    """Add a segmentation node with the names and colors of the moving one, or a label map if that was one."""
    if segmentation is None or not segmentation.IsA("vtkMRMLSegmentationNode"):
        node = add_volume(scene, labels, node_name(run, "labels"), labels=True)
        if segmentation is not None and segmentation.GetDisplayNode() is not None:
            node.GetDisplayNode().SetAndObserveColorNodeID(segmentation.GetDisplayNode().GetColorNodeID())
        run.set("labels", node)
        return
    source = segmentation.GetSegmentation()
    colors = {}
    for n in range(source.GetNumberOfSegments()):
        segment = source.GetNthSegment(n)
        colors[segment.GetName()] = segment.GetColor()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", node_name(run, "segmentation"))
    run.set("segmentation", node)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(run.get("warped"))
    for label, name in sorted(names.items()):
        color = colors.get(name, (0.5, 0.5, 0.5))
        add_segment(node, name, color, labels.values == label, FLIP @ labels.grid.ijk_to_lps)


def _add_table(
    scene: slicer.vtkMRMLScene, rows: Sequence[tuple[str, Sequence[str]]], name: str
) -> slicer.vtkMRMLTableNode:
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    columns = [("Metric", [title for title, _ in rows])]
    columns += [(state, [values[n] for _, values in rows]) for n, state in enumerate(("before", "linear", "result"))]
    add_text_columns(node, columns)
    return node


def group_nodes(scene: slicer.vtkMRMLScene, run: Run) -> None:
    """Put the run's nodes into a folder of its own in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), run.name)
    mark = uuid.uuid4().hex  # the node's identifier may be another's once the scene is imported into one
    run.node.SetAttribute(FOLDER, mark)
    hierarchy.SetItemAttribute(folder, FOLDER, mark)
    for _role, node in run.owned():
        put_into(hierarchy, folder, node)
