"""What the user's nodes are in the world: parent transforms are applied, never ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..geometry.labels import label_map
from ..geometry.points import apply_matrix
from ..types import GeometryError, Grid, Image, InputError, PointList
from .nodes import FLIP, add_volume, flipped, grid_of, ijk_to_ras, image_from_node, in_turn, resampled
from .runs import remove_node
from .segments import segment_array, segments_of


@dataclass(frozen=True, eq=False)
class Placed:
    """A volume as it lies in the world.

    Attributes:
        image: its voxels and their place, LPS mm of the world.
        world_to_local: RAS mm, from the world to the node's own coordinates; None where they are the same.
        note: what was done to it, in words, or "".
    """

    image: Image
    world_to_local: vtk.vtkAbstractTransform | None
    note: str = ""


def placed_volume(node: slicer.vtkMRMLNode, initial: slicer.vtkMRMLTransformNode | None = None) -> Placed:
    """Return a volume node's image in world coordinates, moved further by an initial transform node if given.

    Under linear transforms the voxels stay as they are and their grid moves; under others the volume is
    resampled, which is said in the note.

    Raises:
        InputError: the node holds no voxels, or vectors.
    """
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(f"{node.GetName()} has no voxels. Load it again, or choose another volume.")
    if node.GetImageData().GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"{node.GetName()} has {node.GetImageData().GetNumberOfScalarComponents()} values for each voxel; one is "
            "needed. Convert it to a scalar volume (module Vector to Scalar Volume)."
        )
    parents = [parent for parent in (node.GetParentTransformNode(), initial) if parent is not None]
    if not parents:
        return Placed(Image(_values(node).copy(), _grid(node, np.eye(4)), node.GetName()), None)
    names = " and ".join(parent.GetName() for parent in parents)
    if all(parent.IsTransformToWorldLinear() for parent in parents):
        matrix = linear_matrix(parents)
        grid = _grid(node, slicer.util.arrayFromVTKMatrix(matrix))
        back = vtk.vtkTransform()
        matrix.Invert()
        back.SetMatrix(matrix)
        image = Image(_values(node).copy(), grid, node.GetName())
        return Placed(image, back, f"{node.GetName()} is registered where {names} puts it.")
    to_world = local_to_world(node, initial)
    return Placed(
        _resampled_in_world(node, to_world),
        to_world.GetInverse(),
        f"{node.GetName()} was resampled to where {names} puts it: that transform is not linear.",
    )


def values_on_grid(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode, reference: slicer.vtkMRMLVolumeNode
) -> np.ndarray:
    """Return a volume, where it lies in the world, on the grid of another one, which is under no transform."""
    placed = placed_volume(node).image
    if placed.grid.same_as(grid_of(reference)):
        return placed.values
    copy = add_volume(scene, placed, "copy")
    on_grid = resampled(copy, reference, None, "copy on the grid")
    values = image_from_node(on_grid).values
    for temporary in (copy, on_grid):
        remove_node(scene, temporary)
    return values


def grid_in_world(node: slicer.vtkMRMLNode, initial: slicer.vtkMRMLTransformNode | None = None) -> Grid | None:
    """Return a volume's grid in the world, without reading voxels; None for a volume without any.

    Under a transform that is not linear this is the box around it.
    """
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        return None
    parents = [parent for parent in (node.GetParentTransformNode(), initial) if parent is not None]
    if all(parent.IsTransformToWorldLinear() for parent in parents):
        return _grid(node, slicer.util.arrayFromVTKMatrix(linear_matrix(parents)))
    return _box(node, local_to_world(node, initial))


def local_to_world(
    node: slicer.vtkMRMLNode, initial: slicer.vtkMRMLTransformNode | None = None
) -> vtk.vtkGeneralTransform:
    """Return the transform from the node's coordinates to the world, then the initial one, RAS mm."""
    return in_turn(*(_to_world(parent) for parent in (node.GetParentTransformNode(), initial) if parent is not None))


def _to_world(transform: slicer.vtkMRMLTransformNode) -> vtk.vtkGeneralTransform:
    part = vtk.vtkGeneralTransform()
    transform.GetTransformToWorld(part)
    return part


def linear_matrix(parents: Sequence[slicer.vtkMRMLTransformNode]) -> vtk.vtkMatrix4x4:
    """Return the product of linear transform nodes' matrices to the world, the first applied first."""
    matrix = vtk.vtkMatrix4x4()
    for parent in parents:
        step = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(step)
        vtk.vtkMatrix4x4.Multiply4x4(step, matrix, matrix)
    return matrix


def points_in_world(node: slicer.vtkMRMLNode, initial: slicer.vtkMRMLTransformNode | None = None) -> PointList:
    """Return the control points of a point list in world LPS mm, with their labels, without a preview."""
    points = np.array(slicer.util.arrayFromMarkupsControlPoints(node, world=True), float).reshape(-1, 3)
    if initial is not None:
        to_world = _to_world(initial)
        points = np.array([to_world.TransformPoint(point) for point in points]).reshape(-1, 3)
    statuses = np.array([node.GetNthControlPointPositionStatus(n) for n in range(len(points))], int)
    points[statuses != node.PositionDefined] = np.nan
    kept = np.flatnonzero(statuses != node.PositionPreview)  # a preview follows the mouse
    return PointList(flipped(points[kept]), tuple(node.GetNthControlPointLabel(int(n)).strip() for n in kept))


def labels_of(
    node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLVolumeNode, placed: Placed, numbers: dict[str, int] | None = None
) -> tuple[Image, dict[int, str]]:
    """Return a segmentation or label map as labels on the voxels of ``volume``, and the name of each label.

    Args:
        node: vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode, under the same transform as the volume.
        volume: the volume node it belongs to; placed: that volume in the world.
        numbers: label of each segment name, so that two segmentations agree; by order when left out.

    Raises:
        InputError: another transform, or a volume that had to be resampled; segments that overlap or share a name.
    """
    _check_follows(node, volume, placed)
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        labels = _label_map_in_world(node, volume, placed)
        return labels, {int(label): str(label) for label in np.unique(labels.values) if label}
    found = [(name, (numbers or {}).get(name, n), i) for n, (i, name) in enumerate(segments_of(node), start=1)]
    segments = ((name, label, _inside(node, identifier, volume)) for name, label, identifier in found)
    values = label_map(segments, placed.image.grid.shape_kji, node.GetName(), np.int16)
    return Image(values, placed.image.grid, node.GetName()), {label: name for name, label, _ in found}


def mask_of(node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLVolumeNode, placed: Placed) -> Image:
    """Return 1 inside any segment or label and 0 elsewhere; arguments and errors as for :func:`labels_of`.

    Segments may overlap here.
    """
    _check_follows(node, volume, placed)
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        labels = _label_map_in_world(node, volume, placed)
        return Image((labels.values > 0).astype(np.uint8), labels.grid, node.GetName())
    values = np.zeros(placed.image.grid.shape_kji, np.uint8)
    for identifier, _ in segments_of(node):
        values[_inside(node, identifier, volume)] = 1
    return Image(values, placed.image.grid, node.GetName())


def _check_follows(node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLVolumeNode, placed: Placed) -> None:
    if node.GetParentTransformNode() is not volume.GetParentTransformNode():
        raise InputError(
            f"{node.GetName()} and {volume.GetName()} are under different transforms. Put both under the same one."
        )
    if placed.image.grid.size_ijk != tuple(volume.GetImageData().GetDimensions()):
        raise InputError(
            f"{volume.GetName()} is under a transform that is not linear; segmentations cannot follow it. Harden the "
            "transform on both first."
        )


def _label_map_in_world(node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLVolumeNode, placed: Placed) -> Image:
    matrix, local = np.eye(4), _grid(volume, np.eye(4))
    if node.GetParentTransformNode() is not None or not placed.image.grid.same_as(local):
        matrix = FLIP @ placed.image.grid.ijk_to_lps @ np.linalg.inv(local.ijk_to_lps) @ FLIP
    try:
        grid = _grid(node, matrix)
    except GeometryError as error:
        raise InputError(f"{node.GetName()} cannot be used: {error}") from error
    return Image(_values(node).copy(), grid, node.GetName())


def _inside(node: slicer.vtkMRMLNode, identifier: str, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return a segment on the voxels of the volume, (K, J, I) bool."""
    inside = segment_array(node, identifier, volume)
    return np.zeros(volume.GetImageData().GetDimensions()[::-1], bool) if inside is None else inside


def voxels_of(node: slicer.vtkMRMLNode) -> np.ndarray | None:
    """Return the node's own memory, (K, J, I), to be looked at; None where a voxel has several values, or none."""
    scalars = node.GetImageData().GetPointData().GetScalars()
    return _values(node) if scalars is not None and scalars.GetNumberOfComponents() == 1 else None


def _values(node: slicer.vtkMRMLNode) -> np.ndarray:
    """Return the node's own memory, (K, J, I)."""
    image_data = node.GetImageData()
    return vtk_to_numpy(image_data.GetPointData().GetScalars()).reshape(image_data.GetDimensions()[::-1])


def _grid(node: slicer.vtkMRMLNode, local_to_world_ras: np.ndarray) -> Grid:
    return Grid(node.GetImageData().GetDimensions(), FLIP @ local_to_world_ras @ ijk_to_ras(node))


def _box(node: slicer.vtkMRMLNode, to_world: vtk.vtkAbstractTransform) -> Grid:
    """Return a grid along the world's axes around the transformed volume, with the volume's finest spacing."""
    size = np.array(node.GetImageData().GetDimensions())
    to_ras = ijk_to_ras(node)
    steps = [np.linspace(-0.5, n - 0.5, 9) for n in size]
    ijk = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    world = flipped([to_world.TransformPoint(point) for point in apply_matrix(to_ras, ijk)])
    spacing = float(np.linalg.norm(to_ras[:3, :3], axis=0).min())
    low, high = world.min(0), world.max(0)
    lps = np.diag([spacing, spacing, spacing, 1.0])
    lps[:3, 3] = low + spacing / 2
    return Grid(tuple(np.maximum(1, np.ceil((high - low) / spacing)).astype(int)), lps)


def _resampled_in_world(node: slicer.vtkMRMLNode, to_world: vtk.vtkAbstractTransform) -> Image:
    """Resample the volume to the grid around it, by linear interpolation, its lowest value outside."""
    grid = _box(node, to_world)
    to_ras = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(to_ras)
    # From the new grid's voxels to the volume's.
    positions = in_turn(slicer.util.vtkMatrixFromArray(FLIP @ grid.ijk_to_lps), to_world.GetInverse(), to_ras)
    plain = vtk.vtkImageData()  # VTK's own origin and spacing must not be applied a second time
    plain.ShallowCopy(node.GetImageData())
    plain.SetOrigin(0, 0, 0)
    plain.SetSpacing(1, 1, 1)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(plain)
    reslice.SetResliceTransform(positions)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(0, grid.size_ijk[0] - 1, 0, grid.size_ijk[1] - 1, 0, grid.size_ijk[2] - 1)
    reslice.SetBackgroundLevel(float(node.GetImageData().GetScalarRange()[0]))
    reslice.Update()
    values = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).reshape(grid.shape_kji).copy()
    return Image(values, grid, node.GetName())
