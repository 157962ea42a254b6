"""What the user chose, as nodes, and what is wrong with it, in words. No Qt, no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np

from ..catalog import card
from ..geometry.grids import overlap_fraction
from ..mrml.segments import segments_of
from ..mrml.world import Placed, grid_in_world, labels_of, placed_volume, points_in_world
from ..preparation import plan
from ..types import Image, InputError, Request

#: Below this part of the fixed volume inside the moving one, people are warned.
LITTLE_OVERLAP = 0.25


@dataclass(frozen=True, eq=False)
class Choice:
    """Everything the panel asks for. Nodes are MRML nodes or None; the rest is as in ``Request``."""

    fixed: Any = None
    moving: Any = None
    fixed_mask: Any = None
    moving_mask: Any = None
    fixed_segmentation: Any = None
    moving_segmentation: Any = None
    fixed_points: Any = None
    moving_points: Any = None
    initial: Any = None
    method: str = Request.method
    linear: str = Request.linear
    preset: str = Request.preset
    similarity: str = Request.similarity
    device: str = Request.device
    uncertainty_runs: int = Request.uncertainty_runs
    settings: Dict[str, Any] = dataclasses.field(default_factory=dict)

    def nodes(self) -> List[Any]:
        """Every node that the run depends on."""
        values = [getattr(self, f.name) for f in dataclasses.fields(self)]
        return [value for value in values if hasattr(value, "GetID")]


@dataclass(frozen=True)
class Finding:
    """One thing to know before Apply: "error" forbids it, "warning" asks, "note" only says."""

    level: str
    text: str


def findings(
    choice: Choice, devices: Optional[List[Dict[str, Any]]] = None, free_bytes: int = 1 << 62
) -> List[Finding]:
    """What is to be said about a choice, without reading voxels: errors first.

    Args:
        devices: as the worker names them; None before it was asked.
        free_bytes: of this computer's memory.
    """
    missing = [name for name, node in (("fixed", choice.fixed), ("moving", choice.moving)) if node is None]
    if missing:
        return [Finding("error", f"Choose a {' and a '.join(missing)} volume.")]
    if choice.fixed is choice.moving:
        return [Finding("error", "Fixed and moving are the same volume. Choose another for one of them.")]
    try:
        fixed, moving = grid_in_world(choice.fixed), grid_in_world(choice.moving, choice.initial)
    except InputError as error:  # a geometry that is none
        return [Finding("error", str(error))]
    for grid, node in ((fixed, choice.fixed), (moving, choice.moving)):
        if grid is None:
            return [Finding("error", f"{node.GetName()} holds no voxels. Load it again, or choose another volume.")]
        components = node.GetImageData().GetNumberOfScalarComponents()
        if components != 1:
            text = (
                f"{node.GetName()} has {components} values for each voxel; one is needed. Convert it to a scalar volume"
            )
            return [Finding("error", f"{text} (module Vector to Scalar Volume).")]
    found = [*_about_transforms(choice), *_about_shapes(choice, fixed, moving)]
    found += _about_pairs(choice)
    if not any(finding.level == "error" for finding in found):
        found += _about_contrast(choice)
        found += _about_memory(choice, fixed, devices, free_bytes)
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.level))


def _about_transforms(choice: Choice) -> List[Finding]:
    found = []
    for node, role in ((choice.fixed, "fixed"), (choice.moving, "moving")):
        parent = node.GetParentTransformNode()
        if parent is None:
            continue
        text = f"The {role} volume is under {parent.GetName()}; it is registered where that puts it."
        if not parent.IsTransformToWorldLinear():
            text = f"The {role} volume is under {parent.GetName()}, which is not linear; it will be resampled first."
        found.append(Finding("note", text))
    return found


def _about_shapes(choice: Choice, fixed, moving) -> List[Finding]:
    if fixed.is_planar != moving.is_planar:
        flat, solid = ("fixed", "moving") if fixed.is_planar else ("moving", "fixed")
        text = f"The {flat} volume is a single slice and the {solid} one is not. Choose two volumes or two slices."
        return [Finding("error", text)]
    found = []
    if fixed.is_planar:
        found.append(Finding("note", "Both are single slices: they are registered in their plane."))
    part = overlap_fraction(fixed, moving)
    if part == 0 and choice.linear == "none":
        text = (
            "The volumes do not overlap, and the linear stage is off. Choose a linear stage, or an initial transform."
        )
        found.append(Finding("error", text))
    elif part < LITTLE_OVERLAP and choice.linear == "none":
        text = f"Only {100 * part:.0f} % of the fixed volume overlaps the moving one, and the linear stage is off."
        found.append(Finding("warning", text))
    elif part < LITTLE_OVERLAP:
        text = f"{100 * part:.0f} % of the fixed volume overlaps the moving one; their centers are matched first."
        found.append(Finding("note", text))
    for grid, role in ((fixed, "fixed"), (moving, "moving")):
        spacing = grid.spacing_mm[np.array(grid.size_ijk) > 1]
        if spacing.max() > 4 * spacing.min():
            text = f"The {role} volume has thick slices ({spacing.max():.1f} mm); between them little can be known."
            found.append(Finding("note", text))
    return found


def _about_pairs(choice: Choice) -> List[Finding]:
    found = []
    if (choice.fixed_points is None) != (choice.moving_points is None):
        found.append(Finding("error", "Landmarks are needed in both volumes: choose both lists, or none."))
    elif choice.fixed_points is not None:
        counts = [node.GetNumberOfControlPoints() for node in (choice.fixed_points, choice.moving_points)]
        if counts[0] != counts[1] or not counts[0]:
            text = f"The landmark lists have {counts[0]} and {counts[1]} points; each fixed point needs its partner."
            found.append(Finding("error", text))
    for node, volume in (
        (choice.fixed_mask, choice.fixed),
        (choice.moving_mask, choice.moving),
        (choice.fixed_segmentation, choice.fixed),
        (choice.moving_segmentation, choice.moving),
    ):
        if node is not None and node.GetParentTransformNode() is not volume.GetParentTransformNode():
            text = (
                f"{node.GetName()} and {volume.GetName()} are under different transforms. Put both under the same one."
            )
            found.append(Finding("error", text))
        elif node is not None and node.IsA("vtkMRMLSegmentationNode") and not segments_of(node):
            found.append(Finding("error", f"{node.GetName()} has no segment. Draw one, or choose None."))
    return found


def _about_contrast(choice: Choice) -> List[Finding]:
    """CT is told by air at -1000 HU; other contrasts cannot be told from their numbers."""
    kinds = []
    for node in (choice.fixed, choice.moving):
        low, high = node.GetImageData().GetScalarRange()
        if low == high:
            text = f"{node.GetName()} is constant: every voxel is {low:g}. Choose another volume."
            return [Finding("error", text)]
        kinds.append("CT" if low <= -900 and high >= 200 else "another kind")
    if kinds[0] != kinds[1] and choice.similarity == "lncc":
        text = "One volume looks like CT and the other does not: choose the similarity MIND, or automatic."
        return [Finding("warning", text)]
    return []


def _about_memory(choice: Choice, fixed, devices, free_bytes: int) -> List[Finding]:
    similarity = "mind" if choice.similarity == "mind" else "lncc"
    needs = _bytes_per_voxel(choice) or similarity
    gpu = next((device for device in devices or [] if device["name"] == "cuda"), None)
    if choice.device not in ("auto", "cuda"):
        gpu = None
    found = []
    needed = plan.estimated_bytes(fixed, choice.preset, 0 if gpu else needs)
    if needed > free_bytes:
        text = f"This needs about {needed / 1e9:.1f} GB of memory and {free_bytes / 1e9:.1f} GB are free."
        found.append(Finding("warning", f"{text} A smaller preset needs less."))
    wanted = plan.estimated_bytes(fixed, choice.preset, needs, on_gpu=True)
    if gpu and wanted > (gpu.get("free_bytes") or wanted):
        text = f"The GPU has {gpu['free_bytes'] / 1e9:.1f} GB free and this needs about {wanted / 1e9:.1f} GB."
        found.append(Finding("warning", f"{text} A smaller plan will be tried."))
    return found


def _bytes_per_voxel(choice: Choice) -> Optional[int]:
    """What a network needs at least, from its card; None for another method."""
    try:
        chosen = card(choice.method)
    except InputError:  # a scene of another version, or a model that was taken away
        return None
    fitted = float(choice.settings.get("instance_steps", chosen.settings.get("instance_steps", 1))) > 0
    return chosen.bytes_per_voxel.get("checkpointed" if fitted else "infer")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request made from nodes, and what is needed to put its result back into the scene."""

    request: Request
    fixed: Placed
    moving: Placed
    label_names: Dict[int, str]


def prepare(choice: Choice) -> Prepared:
    """Read the nodes of a choice. The scene is only read.

    Raises:
        InputError: an error of ``findings``, or one that shows in the voxels.
    """
    errors = [finding.text for finding in findings(choice) if finding.level == "error"]
    if errors:
        raise InputError(errors[0])
    fixed, moving = placed_volume(choice.fixed), placed_volume(choice.moving, choice.initial)
    given: Dict[str, Any] = {}
    for role, node, volume, placed in (
        ("fixed_mask", choice.fixed_mask, choice.fixed, fixed),
        ("moving_mask", choice.moving_mask, choice.moving, moving),
    ):
        if node is not None:
            labels, _ = labels_of(node, volume, placed)
            given[role] = Image((labels.values > 0).astype(np.uint8), labels.grid, node.GetName())
    numbers = _numbers(choice)
    names: Dict[int, str] = {}
    for role, node, volume, placed in (
        ("fixed_labels", choice.fixed_segmentation, choice.fixed, fixed),
        ("moving_labels", choice.moving_segmentation, choice.moving, moving),
    ):
        if node is not None:
            given[role], found = labels_of(node, volume, placed, numbers)
            names.update(found)
    if choice.fixed_points is not None:
        given["fixed_points"] = points_in_world(choice.fixed_points)
        given["moving_points"] = points_in_world(choice.moving_points, choice.initial)
    request = Request(
        fixed=fixed.image,
        moving=moving.image,
        method=choice.method,
        linear=choice.linear,
        preset=choice.preset,
        similarity=choice.similarity,
        device=choice.device,
        uncertainty_runs=choice.uncertainty_runs,
        settings=dict(choice.settings),
        **given,
    )
    return Prepared(request, fixed, moving, names)


def _numbers(choice: Choice) -> Dict[str, int]:
    """One label for each segment name of either segmentation, so that equal names are compared."""
    names: List[str] = []
    for node in (choice.moving_segmentation, choice.fixed_segmentation):
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            names += [name for _, name in segments_of(node) if name not in names]
    return {name: number for number, name in enumerate(names, start=1)}
