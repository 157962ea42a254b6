"""Images and transforms to MRML nodes and back. Slicer is RAS millimeters; we are LPS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..types import Field, Grid, Image, Transform

#: LPS to RAS and back: x and y change sign.
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def flipped(points_mm: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Convert points or vectors (..., 3) from LPS to RAS, or back."""
    return np.asarray(points_mm, float) @ FLIP[:3, :3]


def add_volume(scene: slicer.vtkMRMLScene, image: Image, name: str, labels: bool = False) -> slicer.vtkMRMLVolumeNode:
    """Add a scalar volume node (or label map node) with the image's voxels and geometry and default display.

    Any invertible geometry is kept as it is, left-handed and sheared ones too.
    """
    kind = "vtkMRMLLabelMapVolumeNode" if labels else "vtkMRMLScalarVolumeNode"
    node = scene.AddNewNodeByClass(kind, name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(FLIP @ image.grid.ijk_to_lps))
    values = image.values
    if labels:
        values = values.astype(np.int16 if values.max() < 32768 else np.int32)
    elif values.dtype == bool:
        values = values.astype(np.uint8)
    elif values.dtype.kind in "iu" and values.dtype.itemsize == 8:  # which not all of Slicer can show
        fits = values.size == 0 or (values.min() >= -(2**31) and values.max() < 2**31)
        values = values.astype(np.int32 if fits else np.float64)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values))
    node.CreateDefaultDisplayNodes()
    return node


def ijk_to_ras(node: slicer.vtkMRMLNode) -> np.ndarray:
    """Return the (4, 4) matrix from a volume node's voxels to its own coordinates, RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def grid_of(node: slicer.vtkMRMLNode) -> Grid:
    """Return the grid of a volume node, LPS mm. A transform on the node is not applied."""
    return Grid(node.GetImageData().GetDimensions(), FLIP @ ijk_to_ras(node))


def bounds_of(node: slicer.vtkMRMLNode) -> np.ndarray:
    """Return the (3, 2) least and largest coordinates of a volume node in the world, RAS mm."""
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    return np.reshape(bounds, (3, 2))


def image_from_node(node: slicer.vtkMRMLNode) -> Image:
    """Return the voxels (copied) and the geometry of a volume node. A transform on the node is not applied."""
    return Image(slicer.util.arrayFromVolume(node).copy(), grid_of(node), node.GetName())


def add_transform(
    scene: slicer.vtkMRMLScene, transform: Transform, name: str, then: vtk.vtkAbstractTransform | None = None
) -> slicer.vtkMRMLTransformNode:
    """Add a transform node that shows the moving volume warped when the volume is put under it.

    What it holds is "from parent": points of the fixed image (the parent's space) to points of the
    moving image (the volume's), which is what a registration finds. Slicer's own "split" parts it into the
    linear transform and the displacement field.

    Args:
        then: applied after it, RAS mm: from the world to the moving volume's own coordinates.
    """
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformFromParent(from_parent(transform, then))
    return node


def from_parent(transform: Transform, then: vtk.vtkAbstractTransform | None = None) -> vtk.vtkAbstractTransform:
    """Return ``T`` as one VTK transform in RAS mm; the grid is applied first, then the linear part, then ``then``."""
    linear = vtk.vtkTransform()
    linear.SetMatrix(slicer.util.vtkMatrixFromArray(FLIP @ transform.linear_lps @ FLIP))
    if transform.field is None and then is None:
        return linear
    return in_turn(grid_transform(transform.field) if transform.field is not None else None, linear, then)


def in_turn(*parts: vtk.vtkAbstractTransform | vtk.vtkMatrix4x4 | None) -> vtk.vtkGeneralTransform:
    """Return transforms and matrices as one VTK transform, the first applied first; None counts for nothing."""
    together = vtk.vtkGeneralTransform()
    together.PostMultiply()
    for part in parts:
        if part is not None:
            together.Concatenate(part)
    return together


def add_shown_field(scene: slicer.vtkMRMLScene, transform: Transform, name: str) -> slicer.vtkMRMLTransformNode:
    """Add a node for drawing only: grids and glyphs draw "to parent", so this one holds the field in that direction."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformToParent(
        grid_transform(transform.field) if transform.field is not None else from_parent(transform)
    )
    node.SetSaveWithScene(False)
    return node


def grid_transform(field: Field) -> vtk.vtkAbstractTransform:
    """Return the displacement field as Slicer's oriented grid transform, linear interpolation, RAS mm."""
    grid = _thick(field)
    matrix = FLIP @ grid.grid.ijk_to_lps
    spacing_mm = grid.grid.spacing_mm
    vectors = grid.displacement_lps_mm * np.array([-1, -1, 1], np.float32)
    image_data = vtk.vtkImageData()
    image_data.SetDimensions(*grid.grid.size_ijk)
    image_data.SetSpacing(*spacing_mm)
    image_data.SetOrigin(*matrix[:3, 3])
    image_data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(vectors).reshape(-1, 3), deep=True))
    direction = np.eye(4)
    direction[:3, :3] = matrix[:3, :3] / spacing_mm
    oriented = slicer.vtkOrientedGridTransform()
    oriented.SetDisplacementGridData(image_data)
    oriented.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    oriented.SetInterpolationModeToLinear()
    return oriented


def _thick(field: Field) -> Field:
    """Repeat a single slice, one slice apart: VTK needs two points along each axis."""
    values, grid = field.displacement_lps_mm, field.grid
    for c, size in enumerate(grid.size_ijk):
        if size == 1:
            values = np.repeat(values, 2, axis=2 - c)
            grid = Grid(tuple(2 if d == c else n for d, n in enumerate(grid.size_ijk)), grid.ijk_to_lps)
    return Field(values, grid)


def resampled(
    moving: slicer.vtkMRMLVolumeNode, reference: slicer.vtkMRMLVolumeNode, transform: object | None, name: str
) -> slicer.vtkMRMLVolumeNode:
    """Resample the moving volume node under a transform node to the reference's geometry, by Slicer's own logic."""
    before = moving.GetTransformNodeID()
    moving.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)
    node = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(moving, reference)
    moving.SetAndObserveTransformNodeID(before)
    node.SetAndObserveTransformNodeID(None)  # it comes back under the input's transform: warped twice
    node.SetName(name)
    return node


def layout_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLLayoutNode:
    """Return the node that says how the views are arranged; without a desktop it is made when it is first asked for."""
    nodes = slicer.util.getNodesByClass("vtkMRMLLayoutNode", scene)
    return nodes[0] if nodes else scene.AddNewNodeByClass("vtkMRMLLayoutNode")


def add_text_columns(node: slicer.vtkMRMLTableNode, columns: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Append columns of text, each with its title and values, to a table node; the titles are its heading."""
    for title, values in columns:
        column = vtk.vtkStringArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(value)
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)


def grid_part(transform: vtk.vtkAbstractTransform) -> vtk.vtkAbstractTransform | None:
    """Return the displacement grid inside a transform, however it was concatenated or read from a file."""
    if transform.IsA("vtkOrientedGridTransform"):
        return transform
    if transform.IsA("vtkGeneralTransform"):
        for n in range(transform.GetNumberOfConcatenatedTransforms()):
            part = grid_part(transform.GetConcatenatedTransform(n))
            if part is not None:
                return part
    return None
