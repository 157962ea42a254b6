"""Animate a deformation: from moving to warped by a slider, and stage by stage as a sequence. No Qt.

What a run needs for it is kept with it in two Sequence nodes of transforms, "stages" and "path", both on coarse grids:
they are for display only. The end of either is the run's own transform.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..geometry.grids import on_grid, sampled
from ..types import Field, Result, Transform
from .display import show_alike
from .nodes import from_parent, grid_part, grid_transform, in_turn, resampled
from .runs import Run, check_moving_is_the_same, own, remove_node

#: Fields of stages are kept on grids of at most so many voxels.
VOXELS = 250_000
#: What the player of the stages is made of.
MADE = ("stage_volumes", "stage_browser", "stage_shown")


# ------------------------------------------------------------------ what a run keeps


def keep_motion(scene: slicer.vtkMRMLScene, run: Run, result: Result) -> None:
    """Keep the stages and the path of a result with its run; the path is there when it is measured."""
    stages = _sequence(scene, run, "stages", "stage")
    for number, stage in enumerate(result.stages):
        _put(stages, str(number), stage.name, from_parent_of(stage.linear_lps, stage.field))
    keep_path(scene, run, result)


def keep_path(scene: slicer.vtkMRMLScene, run: Run, result: Result) -> None:
    """Keep the path of a result with its run, where it has one."""
    if result.path:
        path = _sequence(scene, run, "path", "time")
        for number, field in enumerate(result.path, start=1):
            _put(path, f"{number / len(result.path):.4f}", "field", grid_transform(field))


def from_parent_of(linear_lps: np.ndarray, field: Field | None) -> vtk.vtkAbstractTransform:
    """Return ``T`` of a stage as a VTK transform in RAS mm, its field on a coarse grid."""
    if field is not None and field.grid.voxels > VOXELS:
        field = on_grid(field, sampled(field.grid, VOXELS))
    return from_parent(Transform(np.asarray(linear_lps, float), field))


def _sequence(
    scene: slicer.vtkMRMLScene, run: Run, role: str, index: str, save: bool = True
) -> slicer.vtkMRMLSequenceNode:
    node = slicer.vtkMRMLSequenceNode()
    node.SetIndexName(index)
    node.SetIndexUnit("")
    node.SetIndexType(slicer.vtkMRMLSequenceNode.NumericIndex)
    node.SetHideFromEditors(save)  # what is kept is no volume; what is made to be played can be played by Slicer
    scene.AddNode(node)
    return own(scene, run, role, node, save=save)


def _put(sequence: slicer.vtkMRMLSequenceNode, index: str, name: str, transform: vtk.vtkAbstractTransform) -> None:
    node = slicer.vtkMRMLTransformNode()
    node.SetName(name)
    node.SetAndObserveTransformFromParent(transform)
    sequence.SetDataNodeAtValue(node, index)


def _items(sequence: slicer.vtkMRMLSequenceNode) -> list[Any]:
    return [sequence.GetNthDataNode(n) for n in range(sequence.GetNumberOfDataNodes())] if sequence is not None else []


# ------------------------------------------------------------------ the slider from moving to warped


class Morph:
    """The moving volume deformed gradually, as a volume of its own under a transform of its own.

    Args:
        scene: the MRML scene. run: with its moving volume.

    Raises:
        ValueError: the run has no moving volume any more, or that was under a transform that is not linear.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, run: Run) -> None:
        moving, facts = run.get("moving"), run.facts
        if moving is None or run.get("transform") is None:
            raise ValueError(
                f"{run.name} cannot be animated: its moving volume or its transform was removed from the scene. "
                "Register again."
            )
        if facts.get("world_to_local_ras") is None or facts.get("linear_ras") is None:
            raise ValueError(
                f"{moving.GetName()} was registered under a transform that is not linear and "
                "cannot be animated. Harden the transform and register again."
            )
        check_moving_is_the_same(run)
        self.scene, self.run = scene, run
        self._linear = np.array(facts["linear_ras"])
        self._local = np.array(facts["world_to_local_ras"])
        self._path = [grid_part(node.GetTransformFromParent()) for node in _items(run.get("path"))]
        self._whole = grid_part(run.get("transform").GetTransformFromParent())
        self.node = run.get("morphing") or self._clone(moving)
        self._transform = run.get("morph_transform") or self._transform_node()
        self.node.SetAndObserveTransformNodeID(self._transform.GetID())
        self._vectors: list[np.ndarray] | None = None

    @property
    def how(self) -> str:
        """Which way the slider goes, in words."""
        if self._path:
            return "along the flow of the velocity that the field belongs to"
        return "each displacement along a straight line (the flow of a velocity field is not known)"

    def show(self, time: float) -> None:
        """Show the volume at a deformation amount from 0 (moving) to 1 (warped)."""
        time = min(1.0, max(0.0, float(time)))
        linear = np.eye(4) + time * (self._linear - np.eye(4))
        matrix = slicer.util.vtkMatrixFromArray(self._local @ linear)
        self._transform.SetAndObserveTransformFromParent(in_turn(self._field(time), matrix))

    def remove(self) -> None:
        """Remove its nodes from the scene."""
        for role in ("morphing", "morph_transform"):
            node = self.run.get(role)
            if node is not None:
                remove_node(self.scene, node)

    def _field(self, time: float) -> vtk.vtkAbstractTransform | None:
        if self._whole is None or time == 0.0:
            return None
        if time == 1.0 or not self._path:
            scaled = slicer.vtkOrientedGridTransform()
            scaled.SetDisplacementGridData(self._whole.GetDisplacementGrid())
            scaled.SetGridDirectionMatrix(self._whole.GetGridDirectionMatrix())
            scaled.SetInterpolationModeToLinear()
            scaled.SetDisplacementScale(time)
            return scaled
        if self._vectors is None:
            self._vectors = [_vectors(field) for field in self._path]
        place = time * len(self._path)
        before = int(place)
        first = self._vectors[before - 1] if before else np.zeros_like(self._vectors[0])
        second = self._vectors[min(before, len(self._path) - 1)]
        values = first + np.float32(place - before) * (second - first)
        return _with_vectors(self._path[0], values)

    def _clone(self, moving: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLVolumeNode:
        """Return a volume node of the same voxels, not copied, displayed like the warped one."""
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetHideFromEditors(True)
        self.scene.AddNode(node)
        matrix = vtk.vtkMatrix4x4()
        moving.GetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(moving.GetImageData())
        node.SetIJKToRASMatrix(matrix)
        node.CreateDefaultDisplayNodes()
        show_alike(node, self.run.get("warped") or moving)
        return own(self.scene, self.run, "morphing", node)

    def _transform_node(self) -> slicer.vtkMRMLTransformNode:
        node = slicer.vtkMRMLTransformNode()
        node.SetHideFromEditors(True)
        self.scene.AddNode(node)
        return own(self.scene, self.run, "morph_transform", node)


def _vectors(grid: vtk.vtkAbstractTransform) -> np.ndarray:
    return vtk_to_numpy(grid.GetDisplacementGrid().GetPointData().GetScalars())


def _with_vectors(like: vtk.vtkAbstractTransform, values: np.ndarray) -> vtk.vtkAbstractTransform:
    """Return a grid transform of the same geometry with other displacements."""
    image_data = vtk.vtkImageData()
    image_data.CopyStructure(like.GetDisplacementGrid())
    image_data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values), deep=True))
    oriented = slicer.vtkOrientedGridTransform()
    oriented.SetDisplacementGridData(image_data)
    oriented.SetGridDirectionMatrix(like.GetGridDirectionMatrix())
    oriented.SetInterpolationModeToLinear()
    return oriented


# ------------------------------------------------------------------ the stages as a Sequence


class Stages:
    """The moving volume as each stage had it, as a Sequence that Slicer's own player plays as far as it was shown.

    Args:
        scene: the MRML scene. run: one that kept its stages.

    Raises:
        ValueError: it kept none, or its volumes are gone.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, run: Run) -> None:
        if run.get("stages") is None or run.get("moving") is None or run.get("warped") is None:
            raise ValueError(
                f"{run.name} kept no stages, or its volumes were removed from the scene. Register again to see its "
                "stages."
            )
        if run.facts.get("world_to_local_ras") is None:
            raise ValueError(f"The moving volume of {run.name} was under a transform that is not linear.")
        check_moving_is_the_same(run)
        self.scene, self.run = scene, run
        self.names = stage_names(run)
        self._logic = slicer.vtkSlicerSequencesLogic()
        if any(run.get(role) is None for role in MADE):
            for role in MADE:  # remains of one that failed or was taken apart
                if run.get(role) is not None:
                    remove_node(scene, run.get(role))
            self._make()
        self.browser = run.get("stage_browser")

    @property
    def node(self) -> slicer.vtkMRMLVolumeNode:
        """The volume that shows the chosen stage."""
        return self.browser.GetProxyNode(self.run.get("stage_volumes"))

    def show(self, number: int) -> None:
        """Make the volume be that of a stage, 0 as given; one that was not shown before is resampled now."""
        number = max(0, min(int(number), len(self.names) - 1))
        sequence = self.run.get("stage_volumes")
        if sequence.GetItemNumberFromIndexValue(str(number), True) < 0:
            self._add(number)
        self.browser.SetSelectedItemNumber(sequence.GetItemNumberFromIndexValue(str(number), True))
        self._logic.UpdateProxyNodesFromSequences(self.browser)  # the desktop does it too, but later

    def _add(self, number: int) -> None:
        """Resample the moving volume by a stage's transform; the last one's is the warped volume itself."""
        scene, run = self.scene, self.run
        sequence, warped = run.get("stage_volumes"), run.get("warped")
        if number == len(self.names) - 1:
            sequence.SetDataNodeAtValue(warped, str(number))
            return
        local = slicer.util.vtkMatrixFromArray(np.array(run.facts["world_to_local_ras"]))
        step = _items(run.get("stages"))[number - 1].GetTransformFromParent() if number else None
        transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "stage")
        try:
            transform.SetAndObserveTransformFromParent(in_turn(step, local))
            moved = resampled(run.get("moving"), warped, transform, self.names[number])
            sequence.SetDataNodeAtValue(moved, str(number))
            remove_node(scene, moved)
        finally:
            scene.RemoveNode(transform)

    def _make(self) -> None:
        """Make the volume that shows a stage, and the browser that Slicer's player plays: stages as they are seen."""
        scene, run = self.scene, self.run
        sequence = _sequence(scene, run, "stage_volumes", "stage", save=False)
        self._add(len(self.names) - 1)
        browser = slicer.vtkMRMLSequenceBrowserNode()
        scene.AddNode(browser)
        own(scene, run, "stage_browser", browser)
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        browser.SetPlaybackRateFps(2)
        proxy = slicer.vtkMRMLScalarVolumeNode()
        scene.AddNode(proxy)
        proxy.CreateDefaultDisplayNodes()
        show_alike(proxy, run.get("warped"))
        own(scene, run, "stage_shown", proxy)
        browser.AddProxyNode(proxy, sequence, False)
        self.browser = browser
        self.show(len(self.names) - 1)


def stage_names(run: Run) -> list[str]:
    """Return "as given", then the name of each stage."""
    return ["as given", *[node.GetName() for node in _items(run.get("stages"))]]
