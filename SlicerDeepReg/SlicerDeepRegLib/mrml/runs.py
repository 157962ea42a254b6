"""Runs in the scene: what a registration left there, grouped, found again after loading, renamed and removed.

A run is a hidden node that refers to its volumes, transform and table; it is saved and loaded with the scene.
Nothing of the user's is changed; removing a run is the undo.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..types import Field, Grid, Image, Result, Transform
from .display import add_legend, diverging_colors, set_range
from .facts import scene_facts
from .nodes import FLIP, add_transform, add_volume, flipped, grid_of, grid_part
from .scene import JACOBIAN_COLORS, add_distances, display_range
from .segments import add_segment

MARK = "DeepReg.Run"
#: What a run owns, and what the nodes are called after the run's name.
OWNED = {
    "warped": "warped",
    "transform": "transform",
    "jacobian": "Jacobian",
    "segmentation": "warped segmentation",
    "labels": "warped labels",
    "table": "metrics",
    "uncertainty": "uncertainty",
    "jacobian_shown": "Jacobian where there is content",
    "difference": "difference",
    "difference_before": "difference before",
    "checkerboard": "checkerboard",
    "swipe": "swipe",
    "shown_grid": "deformation, as a grid",
    "shown_arrows": "deformation, as arrows",
    "layout_grid": "deformation, as a grid in a layout",
    "magnitude": "length of the displacement",
    "jacobian_log": "Jacobian, logarithmic",
    "consistency": "there and back",
    "disagreement": "disagreement",
    "residuals": "landmark errors",
    "stages": "stages",
    "path": "path",
    "morphing": "on its way",
    "morph_transform": "on its way, transform",
    "stage_volumes": "stages, as volumes",
    "stage_browser": "stages, player",
    "stage_shown": "stage",
}
#: What it refers to and leaves alone.
USED = ("fixed", "moving")


class Run:
    """One registration in the scene. The object is a view of its node; two of the same node are equal."""

    def __init__(self, node) -> None:
        self.node = node

    def __eq__(self, other) -> bool:
        return isinstance(other, Run) and other.node is self.node

    def __hash__(self) -> int:
        return hash(self.node.GetID())

    @property
    def name(self) -> str:
        return self.node.GetName()

    @property
    def facts(self) -> dict[str, Any]:
        """What the run keeps about itself: ``scene_facts``, and what it was given when it was added.

        The panel gives those of ``report.facts.facts_of``.
        """
        return json.loads(self.node.GetAttribute(MARK) or "{}")

    @property
    def permanent(self) -> bool:
        return self.node.GetAttribute("DeepReg.Permanent") == "1"

    def set_permanent(self, permanent: bool) -> None:
        """A permanent run is not removed by :func:`remove` unless told so."""
        self.node.SetAttribute("DeepReg.Permanent", "1" if permanent else "0")

    def get(self, role: str):
        """The node of a role of ``OWNED`` or ``USED``, or None."""
        return self.node.GetNodeReference(role)

    def set(self, role: str, node) -> None:
        self.node.SetNodeReferenceID(role, node.GetID())

    def add_facts(self, **values: Any) -> None:
        """Keep further facts, plain values."""
        self.node.SetAttribute(MARK, json.dumps({**self.facts, **values}, default=float))

    def need(self, *roles: str) -> None:
        """Raise ValueError where a node of one of the roles is gone."""
        for role in roles:
            if self.get(role) is None:
                raise ValueError(f"{self.name} has lost its {OWNED.get(role, role)} and cannot be shown so.")


def moving_is_where_it_was(run: Run) -> bool:
    """Whether the moving volume is there, and where it was when the run was added.

    Under a transform that is not linear this cannot be told; it is taken to be.
    """
    moving, then = run.get("moving"), run.facts.get("moving_to_world_ras")
    if moving is None or then is None:
        return moving is not None
    now = _to_world(moving)
    return now is not None and all(abs(a - b) < 1e-4 for a, b in zip(sum(now, []), sum(then, [])))


def _to_world(node) -> list[list[float]] | None:
    """The matrix of the transforms that a node is under, RAS mm; None where they are not linear."""
    parent, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if parent is not None:
        if not parent.IsTransformToWorldLinear():
            return None
        parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix).tolist()


def field_of(run: Run) -> Field | None:
    """The run's displacement field, LPS mm of the world, on the voxels on which it is kept; None where it is linear."""
    run.need("transform", "warped")
    oriented = grid_part(run.get("transform").GetTransformFromParent())
    if oriented is None:
        return None
    picture, shown = oriented.GetDisplacementGrid(), grid_of(run.get("warped")).size_ijk
    vectors = vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(*picture.GetDimensions()[::-1], 3)
    matrix = np.eye(4)
    direction = oriented.GetGridDirectionMatrix()
    if direction is not None:
        matrix[:3, :3] = slicer.util.arrayFromVTKMatrix(direction)[:3, :3]
    matrix[:3, :3] *= picture.GetSpacing()
    matrix[:3, 3] = picture.GetOrigin()
    size = tuple(1 if shown[c] == 1 else n for c, n in enumerate(picture.GetDimensions()))  # a slice is there twice
    return Field(flipped(vectors[tuple(slice(0, n) for n in size[::-1])]), Grid(size, FLIP @ matrix))


def transform_of(run: Run) -> Transform:
    """``T`` of the run, LPS mm of the world, without its inverse.

    Raises:
        ValueError: the run was made by an older version, or has lost its transform.
    """
    if run.get("transform") is None or run.facts.get("linear_ras") is None:
        raise ValueError(f"{run.name} has lost its transform, or is of an older version. Register again.")
    return Transform(FLIP @ np.array(run.facts["linear_ras"]) @ FLIP, field_of(run))


def runs(scene) -> list[Run]:
    """Every run of the scene, oldest first."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode", scene)
    return [Run(node) for node in nodes if node.GetAttribute(MARK) is not None]


def free_name(scene, wanted: str) -> str:
    """``wanted``, or with the first number that no run has yet."""
    taken = {run.name for run in runs(scene)}
    if wanted not in taken:
        return wanted
    return next(f"{wanted} {n}" for n in range(2, len(taken) + 3) if f"{wanted} {n}" not in taken)


def add_run(
    scene,
    result: Result,
    name: str,
    facts: dict[str, Any],
    fixed=None,
    moving=None,
    moving_world_to_local: vtk.vtkAbstractTransform | None = None,
    table: Sequence[tuple[str, Sequence[str]]] = (),
    segmentation=None,
    label_names: dict[int, str] | None = None,
) -> Run:
    """Put a result into the scene; on any failure nothing of it stays there.

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
    """
    run = Run(scene.AddNode(_run_node(name)))
    try:
        _add_volumes(scene, run, result, fixed, moving)
        transform = add_transform(scene, result.transform, _title(run, "transform"), moving_world_to_local)
        run.set("transform", transform)
        for role, node in (("fixed", fixed), ("moving", moving)):
            if node is not None:
                run.set(role, node)
                transform.SetNodeReferenceID(f"DeepReg.{role}", node.GetID())
        if result.warped_labels is not None:
            _add_labels(scene, run, result.warped_labels, segmentation, label_names or {})
        if table:
            run.set("table", _add_table(scene, table, _title(run, "table")))
        found = scene_facts(result, moving_world_to_local)
        found["moving_to_world_ras"] = _to_world(moving) if moving is not None else None
        run.node.SetAttribute(MARK, json.dumps({**found, **facts}, default=float))
        _group(scene, run)
    except BaseException:
        remove(scene, run, also_permanent=True)
        raise
    return run


def own(scene, run: Run, role: str, node, save: bool = False):
    """Give a node to a run under a role: it gets its name and place, and goes when the run goes."""
    node.SetName(_title(run, role))
    node.SetSaveWithScene(save)
    if node.IsA("vtkMRMLDisplayableNode"):
        for n in range(node.GetNumberOfDisplayNodes()):  # its legend too
            node.GetNthDisplayNode(n).SetSaveWithScene(save)
    run.set(role, node)
    hierarchy, folder = _folder(scene, run)
    if folder and not node.GetHideFromEditors():
        _put_into(hierarchy, folder, node)
    return node


def rename(scene, run: Run, name: str) -> None:
    """Rename a run and its nodes."""
    run.node.SetName(name)
    for role in OWNED:
        node = run.get(role)
        if node is not None:
            node.SetName(_title(run, role))
    hierarchy, folder = _folder(scene, run)
    if folder:
        hierarchy.SetItemName(folder, name)


def remove(scene, run: Run, also_permanent: bool = False) -> bool:
    """Remove a run and everything it owns; False when it is permanent and stays."""
    if run.permanent and not also_permanent:
        return False
    hierarchy, folder = _folder(scene, run)
    for role in OWNED:
        node = run.get(role)
        if node is not None:
            item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
            if item:  # the desktop does this by itself, the wheel does not
                hierarchy.RemoveItem(item, False, False)
            remove_node(scene, node)
    if folder:
        hierarchy.RemoveItem(folder, False, False)  # what the user put into the folder stays
    scene.RemoveNode(run.node)
    return True


def remove_node(scene, node) -> None:
    """A node with its displays, legends and storage."""
    parts = (
        [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        if node.IsA("vtkMRMLDisplayableNode")
        else []
    )
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", scene):
        if legend.GetPrimaryDisplayNode() in parts:
            scene.RemoveNode(legend)
    if node.IsA("vtkMRMLStorableNode") and node.GetStorageNode() is not None:
        parts.append(node.GetStorageNode())
    scene.RemoveNode(node)
    for part in parts:
        if part is not None and scene.IsNodePresent(part):
            scene.RemoveNode(part)


def _title(run: Run, role: str) -> str:
    return f"{run.name}: {OWNED[role]}"


def _run_node(name: str):
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetAttribute("ModuleName", "SlicerDeepReg.Run")  # not that of the parameter node
    node.SetAttribute(MARK, "{}")
    return node


def _add_volumes(scene, run: Run, result: Result, fixed, moving) -> None:
    warped = add_volume(scene, result.warped, _title(run, "warped"))
    run.set("warped", warped)
    if moving is not None and moving.GetDisplayNode() is not None:
        warped.GetDisplayNode().CopyContent(moving.GetDisplayNode())
        colors = moving.GetDisplayNode().GetColorNodeID()
        if colors:
            warped.GetDisplayNode().SetAndObserveColorNodeID(colors)
    else:
        set_range(warped, *display_range(result.moving))
    jacobian = add_volume(scene, result.jacobian, _title(run, "jacobian"))
    run.set("jacobian", jacobian)
    set_range(jacobian, 0.0, 2.0, diverging_colors(scene, JACOBIAN_COLORS, middle=1.0))
    add_legend(jacobian, "Jacobian")
    if result.uncertainty is not None:
        run.set("uncertainty", add_distances(scene, result.uncertainty, _title(run, "uncertainty"), "Uncertainty (mm)"))


def _add_labels(scene, run: Run, labels: Image, segmentation, names: dict[int, str]) -> None:
    """A segmentation node with the names and colors of the moving one; a label map where there was one."""
    if segmentation is None or not segmentation.IsA("vtkMRMLSegmentationNode"):
        node = add_volume(scene, labels, _title(run, "labels"), labels=True)
        if segmentation is not None and segmentation.GetDisplayNode() is not None:
            node.GetDisplayNode().SetAndObserveColorNodeID(segmentation.GetDisplayNode().GetColorNodeID())
        run.set("labels", node)
        return
    source = segmentation.GetSegmentation()
    colors = {}
    for n in range(source.GetNumberOfSegments()):
        segment = source.GetNthSegment(n)
        colors[segment.GetName()] = segment.GetColor()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", _title(run, "segmentation"))
    run.set("segmentation", node)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(run.get("warped"))
    for label, name in sorted(names.items()):
        color = colors.get(name, (0.5, 0.5, 0.5))
        add_segment(node, name, color, labels.values == label, FLIP @ labels.grid.ijk_to_lps)


def _add_table(scene, rows: Sequence[tuple[str, Sequence[str]]], name: str):
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    columns = [("Figure", [title for title, _ in rows])]
    columns += [(state, [values[n] for _, values in rows]) for n, state in enumerate(("as given", "linear", "result"))]
    for title, values in columns:
        column = vtk.vtkStringArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def _group(scene, run: Run) -> None:
    """A folder for the run in the subject hierarchy, its nodes inside."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), run.name)
    hierarchy.SetItemAttribute(folder, MARK, run.node.GetID())
    for role in OWNED:
        node = run.get(role)
        if node is not None:
            _put_into(hierarchy, folder, node)


def _put_into(hierarchy, folder: int, node) -> None:
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, folder)
    else:
        hierarchy.CreateItem(folder, node)


def _folder(scene, run: Run):
    """The subject hierarchy and the run's folder in it: the parent of its warped volume, when it is ours."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    warped = run.get("warped")
    if hierarchy is None or warped is None:
        return hierarchy, 0
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(warped))
    return hierarchy, folder if folder and hierarchy.HasItemAttribute(folder, MARK) else 0
