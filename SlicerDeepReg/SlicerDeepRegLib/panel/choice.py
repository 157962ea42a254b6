"""What the user chose, as nodes, and what is wrong with it, in words. No Qt, no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ..checks import AttachmentFacts, PairFacts, Pairs, VolumeFacts, check, held_out, pair_landmarks, raise_error
from ..files.atomic import reason
from ..methods import linear_method, method, settings_of
from ..mrml.automatic import is_automatic
from ..mrml.corrections import Correction, partners_of, root_of
from ..mrml.dicom_origin import dicom_notes
from ..mrml.runs import OWNED, Run, place_of, runs, transform_of
from ..mrml.segments import segments_of
from ..mrml.series import proxies
from ..mrml.surfaces import surface_in_world
from ..mrml.world import Placed, grid_in_world, labels_of, mask_of, placed_volume, points_in_world, voxels_of
from ..similarity import similarities, similarity
from ..types import AUTOMATIC, Finding, GeometryError, InputError, Request


@dataclass(frozen=True, eq=False)
class Choice:
    """Everything the panel asks for. Nodes are MRML nodes or None; the rest is as in ``Request``.

    The result is also put into ``output_volume`` and ``output_transform``, and the moving volume under the transform if
    ``apply_transform``.
    """

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
    pair: str = Request.pair
    start: str = ""
    device: str = Request.device
    uncertainty_runs: int = Request.uncertainty_runs
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    output_volume: Any = None
    output_transform: Any = None
    apply_transform: bool = False
    guide_points_mm: float | None = None
    held_points: tuple[str, ...] = ()
    guide_structures: tuple[str, ...] = ()
    fixed_excluded: Any = None
    moving_excluded: Any = None
    fixed_rigid: Any = None
    fixed_surface: Any = None
    moving_surface: Any = None
    #: The run that is continued, and what corrects it.
    continued: Run | None = None
    corrections: tuple[Correction, ...] = ()

    def nodes(self) -> list[Any]:
        """Return every node that the registration depends on."""
        nodes = [
            self.fixed,
            self.moving,
            self.fixed_mask,
            self.moving_mask,
            self.fixed_segmentation,
            self.moving_segmentation,
            self.fixed_points,
            self.moving_points,
            self.fixed_excluded,
            self.moving_excluded,
            self.fixed_rigid,
            self.fixed_surface,
            self.moving_surface,
            self.initial,
        ]
        return [node for node in nodes if node is not None]

    def names(self) -> dict[str, str]:
        """Return what the nodes that belong to the volumes are called, by what they are: notes may tell their names."""
        nodes = {
            "fixed mask": self.fixed_mask,
            "moving mask": self.moving_mask,
            "fixed segmentation": self.fixed_segmentation,
            "moving segmentation": self.moving_segmentation,
            "fixed landmarks": self.fixed_points,
            "moving landmarks": self.moving_points,
        }
        return {role: node.GetName() for role, node in nodes.items() if node is not None}

    def of_moving(self) -> list[Any]:
        """Return the moving volume and everything that was chosen for it."""
        nodes = [
            self.moving,
            self.moving_mask,
            self.moving_segmentation,
            self.moving_points,
            self.moving_excluded,
            self.moving_surface,
        ]
        return [node for node in nodes if node is not None]


#: Findings that the worker settles by itself, because it knows better or can take a faster preset: warnings here.
SETTLED_BY_WORKER = {"memory": "", "gpu_memory": "Otherwise a faster preset will be tried."}


def findings(
    choice: Choice, devices: Sequence[Mapping[str, Any]] | None = None, free_bytes: int | None = None
) -> list[Finding]:
    """Return what the checks say about a choice, without reading voxels: errors first.

    Args:
        devices: as the worker names them; None before it was asked.
        free_bytes: of this computer's memory; None where it is not known.
    """
    try:
        chosen = method(choice.method)
        settings = settings_of(chosen, choice.preset, choice.settings)
        linear = linear_method(choice.linear)
        if choice.similarity != AUTOMATIC:
            similarity(choice.similarity)
        facts = facts_of(choice, devices, free_bytes)
    except InputError as error:  # a scene of another version, or a model that was taken away
        return [Finding("error", str(error), control=error.control)]
    found = [_for_panel(finding) for finding in check(facts, chosen, settings, linear)]
    if choice.start and (choice.fixed_points is None or choice.moving_points is None):
        text = "The registration should start from landmarks, but none are chosen."
        found.insert(0, Finding("error", text, "Choose point lists, or start from the volumes.", "fixed_points"))
    found = _about_guidance(choice) + _about_outputs(choice) + _about_names(choice) + found
    return found + [Finding("note", note, control="moving_labels") for note in _how_labels_compare(choice)]


def _about_guidance(choice: Choice) -> list[Finding]:
    """Return errors where something is to guide that is not there."""
    found = []
    if choice.guide_points_mm is not None and None in (choice.fixed_points, choice.moving_points):
        text = "Landmarks are to guide the registration, and none are chosen."
        found.append(Finding("error", text, "Choose both point lists, or let them not guide.", "fixed_points"))
    if choice.held_points and choice.guide_points_mm is None and choice.continued is None:
        text = "Landmarks are held out, but none guide the registration."
        found.append(Finding("error", text, "Let the landmarks guide, or hold none out.", "held_points"))
    if choice.guide_structures and None in (choice.fixed_segmentation, choice.moving_segmentation):
        text = "Structures are to guide the registration, and a segmentation is missing."
        found.append(Finding("error", text, "Choose both segmentations.", "fixed_labels"))
    if (choice.fixed_surface is None) != (choice.moving_surface is None):
        missing = "fixed" if choice.fixed_surface is None else "moving"
        text = f"A surface of the {missing} volume is missing."
        found.append(Finding("error", text, "Choose one for each volume, or none.", f"{missing}_surface"))
    return found


def _about_names(choice: Choice) -> list[Finding]:
    """Return a warning where two segmentations have no name of a structure in common."""
    pair = choice.fixed_segmentation, choice.moving_segmentation
    if any(node is None or not node.IsA("vtkMRMLSegmentationNode") for node in pair):
        return []
    names = [[name for _identifier, name in segments_of(node)] for node in pair]
    if not all(names) or set(names[0]) & set(names[1]):
        return []
    listed = ["; ".join(some[:3]) + ("; ..." if len(some) > 3 else "") for some in names]
    text = (
        f"The segmentations have no structure in common: the fixed one has {listed[0]}, the moving one {listed[1]}. "
        "Their structures are not compared."
    )
    return [Finding("warning", text, "Give the same structures the same names.", "moving_labels")]


def _about_outputs(choice: Choice) -> list[Finding]:
    """Return errors where the result would overwrite what it is made from, or another result."""
    found = []
    remedy = "Choose another one, or Create new."
    for what, node in (("volume", choice.output_volume), ("transform", choice.output_transform)):
        text = None if node is None else _overwritten(choice, what, node)
        if text is not None:
            found.append(Finding("error", text, remedy, f"output_{what}"))
    return found


def _overwritten(choice: Choice, what: str, node: Any) -> str | None:
    """Return what an output node is already, and would not be any more; None for nothing."""
    if what == "volume" and node in choice.nodes():
        return "The output volume is an input of the registration, which it would overwrite."
    if what == "transform" and node in _transforms_of(choice):
        return "The output transform is an input of the registration, or moves one, and would be overwritten."
    if node in proxies():
        return f"The output {what} shows the selected item of a sequence, whose next item would replace the result."
    for run in runs(slicer.mrmlScene):
        if any(run.get(role) is node for role in OWNED):
            return f"The output {what} belongs to the result {run.name}, which it would overwrite."
        for role in ("fixed", "moving"):
            if run.get(role) is node:
                return (
                    f"The output volume is the {role} volume of the result {run.name}, which could not be judged then."
                )
    return None


def _transforms_of(choice: Choice) -> list[Any]:
    """Return the transforms that move what a registration depends on, and the one that it starts from."""
    parents = []
    for node in choice.nodes():
        parent = node if node is choice.initial else node.GetParentTransformNode()
        while parent is not None:
            parents.append(parent)
            parent = parent.GetParentTransformNode()
    return parents


def _for_panel(finding: Finding) -> Finding:
    if finding.reason not in SETTLED_BY_WORKER:
        return finding
    remedy = f"{finding.remedy} {SETTLED_BY_WORKER[finding.reason]}".strip()
    return dataclasses.replace(finding, severity="warning", remedy=remedy)


def facts_of(
    choice: Choice, devices: Sequence[Mapping[str, Any]] | None = None, free_bytes: int | None = None
) -> PairFacts:
    """Describe the nodes of a choice to the checks; arguments as for :func:`findings`."""
    gpu = next((d for d in devices or [] if d["name"] == "cuda"), None) if choice.device in ("auto", "cuda") else None
    return PairFacts(
        fixed=_volume_facts("fixed", choice.fixed, None),
        moving=_volume_facts("moving", choice.moving, choice.initial),
        same_image=choice.fixed is not None and choice.fixed is choice.moving,
        attachments=tuple(_attachment_facts(choice)),
        points=_landmarks(choice).facts,
        linear=choice.linear,
        preset=choice.preset,
        similarity=choice.similarity,
        guided=choice.guide_points_mm is not None
        or bool(choice.guide_structures or choice.corrections)
        or choice.fixed_rigid is not None
        or choice.fixed_surface is not None,
        free_bytes=free_bytes,
        device_free_bytes=gpu.get("free_bytes") if gpu is not None else None,
    )


def _landmarks(choice: Choice) -> Pairs:
    for role, node in (("fixed", choice.fixed_points), ("moving", choice.moving_points)):
        if node is not None and not node.IsA("vtkMRMLMarkupsFiducialNode"):  # a plane or a box has control points too
            text = f"{node.GetName()} is not a point list. Choose a point list with the {role} landmarks."
            raise InputError(text, f"{role}_points")
    return pair_landmarks(
        None if choice.fixed_points is None else points_in_world(choice.fixed_points),
        None if choice.moving_points is None else points_in_world(choice.moving_points, choice.initial),
    )


def _volume_facts(role: str, node: Any, initial: Any) -> VolumeFacts | None:
    if node is None:
        return None
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        text = f"{node.GetName()} is a label map. Choose a scalar volume, and the label map as its segmentation."
        raise InputError(text, role)
    parent = node.GetParentTransformNode()
    facts = VolumeFacts(
        role=role,
        name=node.GetName(),
        noun="volume",
        parent=parent.GetName() if parent is not None else "",
        parent_is_linear=parent is None or bool(parent.IsTransformToWorldLinear()),
    )
    try:
        grid = grid_in_world(node, initial)
    except GeometryError as error:
        also = "" if parent is None and initial is None else " Check also the transforms that are applied to it."
        return dataclasses.replace(facts, geometry_error=f"{facts.called} cannot be used: {error}{also}")
    if grid is None:
        return facts
    image = node.GetImageData()
    low, high = (value if np.isfinite(value) else None for value in image.GetScalarRange())  # infinity is no data
    return dataclasses.replace(
        facts,
        grid=grid,
        components=image.GetNumberOfScalarComponents(),
        low=low,
        high=high,
        notes=dicom_notes(node, facts.called),
        values=voxels_of(node),
    )


def _attachment_facts(choice: Choice) -> Iterator[AttachmentFacts]:
    for control, noun, node, volume in (
        ("fixed_mask", "mask", choice.fixed_mask, choice.fixed),
        ("moving_mask", "mask", choice.moving_mask, choice.moving),
        ("fixed_excluded", "mask", choice.fixed_excluded, choice.fixed),
        ("moving_excluded", "mask", choice.moving_excluded, choice.moving),
        ("fixed_rigid", "segmentation", choice.fixed_rigid, choice.fixed),
        ("fixed_labels", "segmentation", choice.fixed_segmentation, choice.fixed),
        ("moving_labels", "segmentation", choice.moving_segmentation, choice.moving),
    ):
        if node is not None and volume is not None:
            yield AttachmentFacts(
                control=control,
                name=node.GetName(),
                noun=noun,
                segments=len(segments_of(node)) if node.IsA("vtkMRMLSegmentationNode") else None,
                same_transform=node.GetParentTransformNode() is volume.GetParentTransformNode(),
                volume=volume.GetName(),
            )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request made from nodes, and what is needed to put its result back into the scene.

    Attributes:
        notes: what its result has to say that the worker does not know.
        places: of both volumes, by role; see ``mrml.runs.place_of``.
        point_names: what each pair of landmarks is called, in their order.
    """

    request: Request
    fixed: Placed
    moving: Placed
    label_names: dict[int, str]
    notes: tuple[str, ...] = ()
    places: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    point_names: tuple[str, ...] = ()


@contextmanager
def handing_over() -> Iterator[None]:
    """Turn what may go wrong while nodes are read and handed to the worker into errors for the user.

    Raises:
        InputError: memory or the disk does not suffice.
    """
    try:
        yield
    except MemoryError as error:
        text = "This computer's memory does not suffice to read the volumes. Close other programs, or crop the volumes."
        raise InputError(text) from error
    except OSError as error:
        raise InputError(f"The volumes could not be handed to the registration process: {reason(error)}.") from error


def prepare(choice: Choice) -> Prepared:
    """Read the nodes of a choice. The scene is only read.

    Raises:
        InputError: an error of ``findings``, or one that shows in the voxels.
    """
    raise_error(findings(choice))
    fixed, moving = placed_volume(choice.fixed), placed_volume(choice.moving, choice.initial)
    given: dict[str, Any] = {}
    for role, node, volume, placed in (
        ("fixed_mask", choice.fixed_mask, choice.fixed, fixed),
        ("moving_mask", choice.moving_mask, choice.moving, moving),
        ("fixed_excluded", choice.fixed_excluded, choice.fixed, fixed),
        ("moving_excluded", choice.moving_excluded, choice.moving, moving),
    ):
        if node is not None:
            given[role] = mask_of(node, volume, placed)
    if choice.fixed_rigid is not None:
        given["fixed_rigid"], _ = labels_of(choice.fixed_rigid, choice.fixed, fixed)
    if choice.fixed_surface is not None and choice.moving_surface is not None:
        given["fixed_surface"] = surface_in_world(choice.fixed_surface)
        given["moving_surface"] = surface_in_world(choice.moving_surface, choice.initial)
    numbers = _numbers(choice)
    names: dict[int, str] = {}
    for role, node, volume, placed in (
        ("fixed_labels", choice.fixed_segmentation, choice.fixed, fixed),
        ("moving_labels", choice.moving_segmentation, choice.moving, moving),
    ):
        if node is not None:
            given[role], found = labels_of(node, volume, placed, numbers)
            # A label map has no names: its own must not hide those of the other segmentation.
            names = {**names, **found} if node.IsA("vtkMRMLSegmentationNode") else {**found, **names}
    pairs = _landmarks(choice)
    given.update(fixed_points=pairs.fixed_lps_mm, moving_points=pairs.moving_lps_mm)
    given["held_points"] = tuple(str(n + 1) for n in np.flatnonzero(held_out(choice.held_points, pairs)))
    request = Request(
        fixed=fixed.image,
        moving=moving.image,
        method=choice.method,
        linear=choice.linear,
        preset=choice.preset,
        similarity=choice.similarity,
        pair=choice.pair,
        initial=choice.start or None,
        device=choice.device,
        uncertainty_runs=choice.uncertainty_runs,
        settings=dict(choice.settings),
        guide_points_mm=choice.guide_points_mm,
        guide_structures=tuple(str(numbers.get(name, name)) for name in choice.guide_structures),
        label_names=names,
        **given,
    )
    point_names = pairs.names
    if choice.continued is not None:
        request = dataclasses.replace(request, **_of_corrections(choice, choice.continued, pairs))
        corrections = len(request.fixed_points) - len(pairs.names)
        point_names = (*(f"correction {n + 1}" for n in range(corrections)), *pairs.names)
    notes = (*_how_labels_compare(choice), *_automatic(choice), *pairs.facts.notes)
    places = {"fixed": place_of(choice.fixed), "moving": place_of(choice.moving)}
    return Prepared(request, fixed, moving, names, notes, places, point_names)


def _of_corrections(choice: Choice, run: Run, pairs: Pairs) -> dict[str, Any]:
    """Return what continues a run: its transform, and its corrections before the landmarks, which are held out."""
    belongs, partners = partners_of(run, list(choice.corrections))
    points = [(belongs, partners), (pairs.fixed_lps_mm, pairs.moving_lps_mm)]
    fixed, moving = (np.concatenate([side for side in sides if side is not None]) for sides in zip(*points))
    facts = root_of(run).facts
    return {
        "continued": transform_of(root_of(run)),
        "fixed_points": fixed,
        "moving_points": moving,
        "held_points": tuple(str(n + 1) for n in range(len(belongs), len(fixed))),
        "guide_points_mm": None,  # as checks/guidance.py has it for corrections
        "similarity": facts["similarity"] if facts.get("similarity") in similarities() else choice.similarity,
        "initial": None,
    }


def _numbers(choice: Choice) -> dict[str, int]:
    """One label for each segment name of either segmentation, so that equal names are compared."""
    names: list[str] = []
    for node in (choice.moving_segmentation, choice.fixed_segmentation):
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            names += [name for _, name in segments_of(node) if name not in names]
    return {name: number for number, name in enumerate(names, start=1)}


def _automatic(choice: Choice) -> Iterator[str]:
    """Say so where structures are measured that no person outlined."""
    pair = choice.fixed_segmentation, choice.moving_segmentation
    made = [node.GetName() for node in pair if is_automatic(node)]
    if made:
        verb = "was" if len(made) == 1 else "were"
        yield (
            f"{' and '.join(made)} {verb} segmented automatically and not checked by anyone: the overlap of "
            "structures compares automatic results, not ground truth."
        )


def _how_labels_compare(choice: Choice) -> Iterator[str]:
    """Say so where a segmentation is compared with a label map, which has numbers only."""
    pair = choice.fixed_segmentation, choice.moving_segmentation
    named = [node for node in pair if node is not None and node.IsA("vtkMRMLSegmentationNode")]
    if None not in pair and len(named) == 1:
        said = ", ".join(f"{number} is {name}" for name, number in _numbers(choice).items())
        yield f"Segments of {named[0].GetName()} are compared with labels of the same number: {said}."
