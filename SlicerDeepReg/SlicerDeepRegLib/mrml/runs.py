"""Runs in the scene: a registration's nodes, grouped, restored after loading, renamed and removed.

A run is a hidden node that refers to its volumes, transform and table; it is saved and loaded with the scene.
The user's nodes are not changed; to undo a registration, remove its run.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..geometry.points import apply_matrix
from ..types import Field, Grid, Transform
from .display import OWN_COLORS
from .nodes import FLIP, grid_of, grid_part, ijk_to_ras

MARK = "DeepReg.Run"
#: The attribute of a run and of its folder in the subject hierarchy that tells which belong together.
FOLDER = "DeepReg.Folder"
#: Reference of the user's node that was put under a transform of a run, to the transform that it was under before.
_BEFORE = "DeepReg.ParentBefore"
#: About so many voxels tell whether a volume shows what it did.
_COMPARED_VOXELS = 20_000
#: What a run owns, and what the nodes are called after the run's name.
OWNED = {
    "warped": "warped",
    "transform": "transform",
    "transform_back": "transform back",
    "jacobian": "Jacobian",
    "segmentation": "warped segmentation",
    "labels": "warped labels",
    "table": "metrics",
    "uncertainty": "uncertainty",
    "jacobian_shown": "Jacobian without background",
    "difference": "difference",
    "difference_before": "difference before registration",
    "checkerboard": "checkerboard",
    "swipe": "swipe",
    "shown_grid": "deformation grid",
    "shown_arrows": "deformation arrows",
    "layout_grid": "deformation grid in a layout",
    "magnitude": "displacement magnitude",
    "consistency": "inverse consistency error",
    "disagreement": "disagreement",
    "residuals": "landmark errors",
    "stages": "stages",
    "path": "path",
    "morphing": "morph",
    "morph_transform": "morph transform",
    "stage_volumes": "stage volumes",
    "stage_browser": "stage browser",
    "stage_shown": "stage",
}


class Run:
    """One registration in the scene. The object is a view of its node; two of the same node are equal."""

    def __init__(self, node: slicer.vtkMRMLNode) -> None:
        self.node = node

    def __eq__(self, other: object) -> bool:
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
        """Lock or unlock the run; :func:`remove` only removes a locked one if asked to."""
        self.node.SetAttribute("DeepReg.Permanent", "1" if permanent else "0")

    def get(self, role: str) -> slicer.vtkMRMLNode | None:
        """Return the node of a role of ``OWNED``, or of "fixed" or "moving", which are the user's; or None."""
        return self.node.GetNodeReference(role)

    def refers_to(self, node: slicer.vtkMRMLNode) -> bool:
        """Return whether a node, or one that just left the scene, is a volume or the transform of this run."""
        roles = ("fixed", "moving", "warped", "jacobian", "transform")
        return any(self.node.GetNodeReferenceID(role) == node.GetID() for role in roles)

    def set(self, role: str, node: slicer.vtkMRMLNode) -> None:
        self.node.SetNodeReferenceID(role, node.GetID())

    def owned(self) -> list[tuple[str, slicer.vtkMRMLNode]]:
        """Return (role, node) of everything that it owns."""
        nodes = [(role, self.get(role)) for role in OWNED]
        return [(role, node) for role, node in nodes if node is not None]

    def add_facts(self, **values: Any) -> None:
        """Store further facts, plain values."""
        self.node.SetAttribute(MARK, json.dumps({**self.facts, **values}, default=float))

    def need(self, *roles: str) -> None:
        """Raise ValueError where a node of one of the roles is gone."""
        for role in roles:
            if self.get(role) is None:
                raise ValueError(
                    f"{self.name} cannot be shown this way: its {OWNED.get(role, role)} was removed from the scene. "
                    "Register again."
                )


def place_of(node: slicer.vtkMRMLVolumeNode) -> dict[str, Any]:
    """Return where a volume lies, plain values.

    Returns:
        to_world_ras, the (4, 4) matrix of its parent transforms, RAS mm, None if they are not linear; then points_ras,
        where they take some points of its box, (27, 3) RAS mm; ijk_to_ras, that from its voxels to its own coordinates;
        its size_ijk; and voxels, a checksum of some of them.
    """
    return {**_geometry_of(node), "voxels": _voxels(node.GetImageData())}


def _geometry_of(node: slicer.vtkMRMLVolumeNode) -> dict[str, Any]:
    """Return what ``place_of`` does, but for the voxels."""
    image, matrix, to_ras = node.GetImageData(), matrix_to_world(node), ijk_to_ras(node)
    size = list(image.GetDimensions()) if image is not None else [0, 0, 0]
    place = {"to_world_ras": matrix, "ijk_to_ras": to_ras.tolist(), "size_ijk": size}
    if matrix is None:
        place["points_ras"] = _points_in_world(node, apply_matrix(to_ras, _corners(size)))
    return place


def _corners(size_ijk: Sequence[int]) -> np.ndarray:
    """Return the corners of a box of voxels and what lies halfway between them, (27, 3)."""
    steps = [np.linspace(0, max(0, n - 1), 3) for n in size_ijk]
    return np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)


def _points_in_world(node: slicer.vtkMRMLVolumeNode, points_ras: np.ndarray) -> list[list[float]]:
    to_world = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(to_world)
    return [list(to_world.TransformPoint(point)) for point in points_ras]


def _voxels(image: vtk.vtkImageData | None) -> int:
    """Return a checksum of voxels that are spread over an image."""
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None:
        return 0
    values = vtk_to_numpy(scalars).ravel()
    some = values[:: max(1, len(values) // _COMPARED_VOXELS)]
    return zlib.crc32(some.astype(np.float32).tobytes())  # files may keep them in another type


def is_where_it_was(run: Run, role: str) -> bool:
    """Return whether the run's "fixed" or "moving" volume exists and lies where it was registered, in the world."""
    node, then = run.get(role), run.facts.get("places", {}).get(role)
    if node is None or then is None:
        return node is not None
    return _alike(_geometry_of(node), then)


def shows_what_it_did(run: Run, role: str) -> bool:
    """Return whether the run's "fixed" or "moving" volume, if it exists, has the voxels that were registered.

    They are others where a sequence shows another frame, or where somebody edited many.
    """
    node, then = run.get(role), run.facts.get("places", {}).get(role, {}).get("voxels")
    return node is None or then is None or _voxels(node.GetImageData()) == then


def moving_is_where_it_was(run: Run) -> bool:
    """Return whether the moving volume exists, lies where it was registered, and shows what it did."""
    return is_where_it_was(run, "moving") and shows_what_it_did(run, "moving")


def check_own_coordinates(run: Run, role: str) -> None:
    """Raise ValueError where the run's "fixed" or "moving" volume has other coordinates of its own than then.

    Hardening a linear transform changes them, though the volume stays where it is in the world: what leads from or to
    its own coordinates leads elsewhere then.
    """
    node, then = run.get(role), run.facts.get("places", {}).get(role)
    if node is not None and then is not None and not np.allclose(ijk_to_ras(node), then["ijk_to_ras"], atol=1e-4):
        raise ValueError(
            f"A transform was hardened on {node.GetName()}, or its geometry was changed, since {run.name} was "
            "registered. Undo that, or register again."
        )


def check_moving_is_the_same(run: Run) -> None:
    """Raise ValueError where the moving volume cannot be resampled as it was.

    It has other coordinates of its own (see ``check_own_coordinates``) or other voxels, as of another frame.
    """
    check_own_coordinates(run, "moving")
    if not shows_what_it_did(run, "moving"):
        raise ValueError(
            f"{run.get('moving').GetName()} has other voxels than when {run.name} was registered. Show what it was "
            "(another frame of a sequence, say), or register again."
        )


def lay_alike(run: Run, other: Run, opposite: bool = False) -> bool:
    """Return whether the two volumes of both runs were the same, at the same places, when they were registered.

    An initial transform moves the moving volume, by what the results do not say: such ones are not alike.

    Args:
        opposite: the other run's fixed volume is this one's moving volume.
    """
    if run.facts.get("had_initial") or other.facts.get("had_initial"):
        return False
    roles = ("fixed", "moving")
    first, second = (one.facts.get("places", {}) for one in (run, other))
    pairs = [(first.get(a), second.get(b)) for a, b in zip(roles, roles[::-1] if opposite else roles)]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return all(_alike(a, b) and a.get("voxels") == b.get("voxels") for a, b in known)


def _alike(first: dict[str, Any], second: dict[str, Any]) -> bool:
    if first["size_ijk"] != second["size_ijk"]:
        return False
    if first["to_world_ras"] is None or second["to_world_ras"] is None:
        alike = first["to_world_ras"] is second["to_world_ras"]
        points = [place.get("points_ras") for place in (first, second)]  # older results have none
        alike = alike and (None in points or bool(np.allclose(*points, atol=1e-2)))
        return alike and bool(np.allclose(first["ijk_to_ras"], second["ijk_to_ras"], atol=1e-4))
    matrices = [np.array(place["to_world_ras"]) @ place["ijk_to_ras"] for place in (first, second)]
    return bool(np.allclose(*matrices, atol=1e-4))


def check_fixed_place(run: Run) -> None:
    """Raise ValueError where the fixed or the warped volume lies elsewhere than after the registration, or is another.

    Also where both were moved alike: maps, places and the transform would not have been.
    """
    if not shows_what_it_did(run, "fixed"):
        raise ValueError(
            f"{run.get('fixed').GetName()} has other voxels than when {run.name} was registered. Show what it was "
            "(another frame of a sequence, say), or register again."
        )
    fixed, warped, then = run.get("fixed"), run.get("warped"), run.facts.get("places", {}).get("fixed")
    moved = [node for node in (fixed, warped) if node is not None]
    if fixed is not None and is_where_it_was(run, "fixed"):
        moved.remove(fixed)
    if warped is not None and _has_not_moved(warped, then):
        moved.remove(warped)
    if moved:
        raise ValueError(
            f"{moved[0].GetName()} is not where it was when {run.name} was registered. Put it back there, or register "
            "again."
        )


def _has_not_moved(warped: slicer.vtkMRMLVolumeNode, fixed_then: dict[str, Any] | None) -> bool:
    now = _geometry_of(warped)
    if now["to_world_ras"] is None or not np.allclose(now["to_world_ras"], np.eye(4), atol=1e-4):
        return False
    if fixed_then is None or fixed_then["to_world_ras"] is None or fixed_then["size_ijk"] != now["size_ijk"]:
        return True  # it was resampled, and has a grid of its own
    return _alike(now, fixed_then)


def matrix_to_world(node: slicer.vtkMRMLNode) -> list[list[float]] | None:
    """Return the matrix of a node's parent transforms, RAS mm; None if they are not linear."""
    parent, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if parent is not None:
        if not parent.IsTransformToWorldLinear():
            return None
        parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix).tolist()


def is_deformed(run: Run) -> bool:
    """Return whether a run has a displacement field, not a matrix alone."""
    transform = run.get("transform")
    return transform is not None and grid_part(transform.GetTransformFromParent()) is not None


def field_of(run: Run) -> Field | None:
    """Return the run's displacement field, world LPS mm, on its own grid; None if the transform is linear."""
    run.need("transform", "warped")
    oriented = grid_part(run.get("transform").GetTransformFromParent())
    if oriented is None:
        return None
    displacement, shown = oriented.GetDisplacementGrid(), grid_of(run.get("warped")).size_ijk
    vectors = vtk_to_numpy(displacement.GetPointData().GetScalars()).reshape(*displacement.GetDimensions()[::-1], 3)
    matrix = np.eye(4)
    direction = oriented.GetGridDirectionMatrix()
    if direction is not None:
        matrix[:3, :3] = slicer.util.arrayFromVTKMatrix(direction)[:3, :3]
    matrix[:3, :3] *= displacement.GetSpacing()
    matrix[:3, 3] = displacement.GetOrigin()
    size = tuple(
        1 if shown[c] == 1 else n for c, n in enumerate(displacement.GetDimensions())
    )  # a slice is stored twice
    to_lps = np.diag(FLIP)[:3].astype(vectors.dtype)  # ``flipped`` would make doubles of millions of vectors
    return Field(vectors[tuple(slice(0, n) for n in size[::-1])] * to_lps, Grid(size, FLIP @ matrix))


def transform_of(run: Run) -> Transform:
    """Return ``T`` of the run, world LPS mm, without its inverse.

    Raises:
        ValueError: the run was made by an older version, or has lost its transform.
    """
    return Transform(FLIP @ linear_ras(run) @ FLIP, field_of(run))


def linear_ras(run: Run) -> np.ndarray:
    """Return the (4, 4) linear part of ``T`` of the run, world RAS mm; raise ValueError as ``transform_of`` does."""
    if run.get("transform") is None or run.facts.get("linear_ras") is None:
        raise ValueError(
            f"The transform of {run.name} was removed from the scene, or is of an older version. Register again."
        )
    return np.array(run.facts["linear_ras"])


def runs(scene: slicer.vtkMRMLScene) -> list[Run]:
    """Return every run of the scene, oldest first."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode", scene)
    return [Run(node) for node in nodes if node.GetAttribute(MARK) is not None]


def free_name(scene: slicer.vtkMRMLScene, wanted: str) -> str:
    """Return ``wanted``, with the first free number if a run has that name."""
    taken = {run.name for run in runs(scene)}
    if wanted not in taken:
        return wanted
    return next(f"{wanted} {n}" for n in range(2, len(taken) + 3) if f"{wanted} {n}" not in taken)


def own(
    scene: slicer.vtkMRMLScene, run: Run, role: str, node: slicer.vtkMRMLNode, save: bool = False
) -> slicer.vtkMRMLNode:
    """Give a node to a run under a role: it is named after the run, grouped with it and removed with it."""
    node.SetName(node_name(run, role))
    node.SetSaveWithScene(save)
    if node.IsA("vtkMRMLDisplayableNode"):
        for n in range(node.GetNumberOfDisplayNodes()):  # its legend too
            node.GetNthDisplayNode(n).SetSaveWithScene(save)
    run.set(role, node)
    hierarchy, folder = _folder(scene, run)
    if folder and not node.GetHideFromEditors():
        put_into(hierarchy, folder, node)
    return node


def rename(scene: slicer.vtkMRMLScene, run: Run, name: str) -> None:
    """Rename a run and its nodes."""
    run.node.SetName(name)
    for role, node in run.owned():
        node.SetName(node_name(run, role))
    hierarchy, folder = _folder(scene, run)
    if folder:
        hierarchy.SetItemName(folder, name)


def put_under(run: Run, nodes: Iterable[slicer.vtkMRMLNode], transform: slicer.vtkMRMLTransformNode) -> None:
    """Put nodes of the user's under a transform of a run, in place of the one that they are under.

    With the run's removal they are under that one again.
    """
    for node in nodes:
        parent = node.GetParentTransformNode()
        if parent not in (run.get("transform"), run.get("transform_back")):
            node.SetNodeReferenceID(_BEFORE, parent.GetID() if parent is not None else None)
        node.SetAndObserveTransformNodeID(transform.GetID())


def _take_from_under(scene: slicer.vtkMRMLScene, run: Run) -> None:
    """Put what is under the transforms of a run back under what it was under before."""
    ours = [node for role in ("transform", "transform_back") if (node := run.get(role)) is not None]
    for node in slicer.util.getNodesByClass("vtkMRMLTransformableNode", scene):
        if node.GetParentTransformNode() in ours:
            before = node.GetNodeReference(_BEFORE)
            node.SetAndObserveTransformNodeID(before.GetID() if before is not None else None)
            node.SetNodeReferenceID(_BEFORE, None)


def remove(scene: slicer.vtkMRMLScene, run: Run, also_permanent: bool = False) -> bool:
    """Remove a run and everything it owns; False when it is permanent and stays.

    What was put under its transforms is again where it was before.
    """
    if run.permanent and not also_permanent:
        return False
    _take_from_under(scene, run)
    hierarchy, folder = _folder(scene, run)
    for _role, node in run.owned():
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:  # the desktop does this by itself, the wheel does not
            hierarchy.RemoveItem(item, False, False)
        remove_node(scene, node)
    if folder:
        hierarchy.RemoveItem(folder, False, False)  # what the user put into the folder stays
    scene.RemoveNode(run.node)
    return True


def remove_node(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    """Remove a node with its displays, their legends and colors, and its storage."""
    parts = parts_of(node)
    colors = [part.GetColorNode() for part in parts if part.IsA("vtkMRMLTransformDisplayNode")]
    parts += [color for color in colors if color is not None and color.GetAttribute(OWN_COLORS)]
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", scene):
        if legend.GetPrimaryDisplayNode() in parts:
            scene.RemoveNode(legend)
    scene.RemoveNode(node)
    for part in parts:
        if scene.IsNodePresent(part):
            scene.RemoveNode(part)


def parts_of(node: slicer.vtkMRMLNode) -> list[Any]:
    """Return the display and storage nodes of a node."""
    parts = []
    if node.IsA("vtkMRMLDisplayableNode"):
        parts += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        parts.append(node.GetStorageNode())
    return [part for part in parts if part is not None]


def node_name(run: Run, role: str) -> str:
    """Return the name of the run's node of a role."""
    return f"{run.name}: {OWNED[role]}"


def put_into(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, folder: int, node: slicer.vtkMRMLNode) -> None:
    """Move a node into a folder of the subject hierarchy."""
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, folder)
    else:
        hierarchy.CreateItem(folder, node)


def _folder(scene: slicer.vtkMRMLScene, run: Run) -> tuple[slicer.vtkMRMLSubjectHierarchyNode | None, int]:
    """Return the subject hierarchy and the run's own folder in it, 0 where none of its nodes lies there.

    The user may move a node into the folder of another run: the two have a mark in common.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    mark = run.node.GetAttribute(FOLDER)
    if hierarchy is None or not mark:
        return hierarchy, 0
    for _role, node in run.owned():
        item = hierarchy.GetItemByDataNode(node)
        folder = hierarchy.GetItemParent(item) if item else 0
        if folder and hierarchy.GetItemAttribute(folder, FOLDER) == mark:
            return hierarchy, folder
    return hierarchy, 0
