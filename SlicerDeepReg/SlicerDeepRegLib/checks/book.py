"""The rules. Each takes the facts and yields findings; a group runs only where the groups before found no error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..geometry.grids import overlap_fraction
from ..similarity import for_modality, similarities
from ..types import (
    PRESETS,
    DeviceMemoryError,
    Finding,
    Image,
    InputError,
    Memory,
    PairDescription,
)
from .facts import AttachmentFacts, PairFacts, VolumeFacts, facts_of_image

#: The smallest number of voxels along an axis.
SMALLEST_SIZE = 8
#: A tenth of a micrometer: far below, a known rotation of a slice was not found.
SMALLEST_VOXEL_MM = 1e-4
#: The fewest voxels of a mask, in a volume and in a slice: from fewer the linear alignment went 2 to 10 mm astray even
#: inside the mask, where a mask of a few slices changed the result by less than a voxel.
SMALLEST_MASK = {False: 1000, True: SMALLEST_SIZE**2}
#: Below this part of its image, people are warned of a mask (boxes of 0.4 to 1.3% gave errors of 2 to 7 mm).
LITTLE_MASK = 0.02
#: Below this part of the fixed image inside the moving one, people are warned.
LITTLE_OVERLAP = 0.25
#: Slices are called thick where they are so many times the smallest voxel.
THICK = 4
#: The largest label that is accepted: label maps are written with 16 bits.
LARGEST_LABEL = 65535
#: The largest part of the body that may be NaN or infinite.
MOST_GAPS = 0.1
SEVERITIES = ("error", "warning", "note")


class Checkable(Protocol):
    """What the checks need of a method; see ``methods.base.Method``."""

    @property
    def title(self) -> str:
        """Its title, for messages."""
        ...

    @property
    def compares_contrasts(self) -> bool:
        """Whether it compares several contrasts at once."""
        ...

    @property
    def presets(self) -> Mapping[str, Any]:
        """Its settings by name of the preset."""
        ...

    def check(self, pair: PairDescription, settings: Any) -> list[Finding]:
        """Say what forbids it."""
        ...

    def memory(self, pair: PairDescription, settings: Any) -> Memory:
        """Estimate its peak memory."""
        ...


def check_pair_alone(facts: PairFacts) -> list[Finding]:
    """Return the findings that need no method, errors first."""
    return _run(facts, PAIR_RULES)


def check(facts: PairFacts, method: Checkable, settings: Any, linear: Checkable | None = None) -> list[Finding]:
    """Return every finding about a request, errors first.

    Args:
        facts: what is known of it.
        method: the method that was asked for.
        settings: its settings.
        linear: the linear method that comes first, where one does.
    """
    return _run(
        facts,
        (
            *PAIR_RULES,
            _contrast,
            lambda f: [] if linear is None else linear.check(_unguided(f), linear.presets[f.preset]),
            lambda f: _contrasts(f, method),
            lambda f: method.check(description_of(f), settings),
            lambda f: memory_findings(f, method, settings, description_of(f)),
        ),
    )


def _run(facts: PairFacts, groups: Sequence[Callable[[PairFacts], Iterable[Finding]]]) -> list[Finding]:
    findings: list[Finding] = []
    for group in groups:
        findings += group(facts)
        if errors_of(findings):
            break
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that forbid the registration."""
    return [finding for finding in findings if finding.severity == "error"]


def raise_error(findings: Iterable[Finding]) -> None:
    """Raise the first error, if there is one.

    Raises:
        InputError: its sentence; DeviceMemoryError where the GPU has too little memory.
    """
    for finding in errors_of(findings):
        kind = DeviceMemoryError if finding.reason == "gpu_memory" else InputError
        raise kind(finding.sentence, finding.control)


def check_image(image: Image, role: str) -> Image:
    """Return the image, where it can be registered.

    Raises:
        InputError: NaN or infinite voxels, complex ones, a constant image, or one that is too small.
    """
    raise_error(image_findings(facts_of_image(image, role)))
    return image


def description_of(facts: PairFacts) -> PairDescription:
    """Return what methods are told of the pair."""
    return PairDescription(
        fixed=facts.chosen_fixed.known_grid,
        moving=facts.chosen_moving.known_grid,
        preset=facts.preset,
        similarity=facts.similarity,
        on_gpu=facts.device_free_bytes is not None,
        fixed_range=_range_of(facts.chosen_fixed),
        moving_range=_range_of(facts.chosen_moving),
        fixed_values=facts.chosen_fixed.values,
        moving_values=facts.chosen_moving.values,
        contrasts=facts.contrasts,
        guided=facts.guided,
    )


def _unguided(facts: PairFacts) -> PairDescription:
    """Return what the linear method is told: the deformable one follows what guides."""
    return dataclasses.replace(description_of(facts), guided=False)


def _range_of(volume: VolumeFacts) -> tuple[float, float] | None:
    return None if volume.low is None or volume.high is None else (volume.low, volume.high)


def _chosen(facts: PairFacts) -> Iterable[Finding]:
    missing = [role for role, volume in (("fixed", facts.fixed), ("moving", facts.moving)) if volume is None]
    if missing:
        yield Finding("error", f"Choose a {' and a '.join(missing)} volume.", control=missing[0])
        return
    if facts.same_image:
        yield Finding("error", "Fixed and moving are the same volume.", "Choose another for one of them.", "moving")
    for volume in (facts.chosen_fixed, facts.chosen_moving):
        if volume.geometry_error:
            yield Finding("error", volume.geometry_error, control=volume.role)
        elif volume.grid is None:
            yield Finding("error", f"{volume.called} has no voxels.", "Load it again, or choose another.", volume.role)
        elif volume.components != 1:
            yield Finding(
                "error",
                f"{volume.called} has {volume.components} values for each voxel; one is needed.",
                "Convert it to a scalar volume (module Vector to Scalar Volume).",
                volume.role,
            )


def _contrasts(facts: PairFacts, method: Checkable) -> Iterable[Finding]:
    if facts.contrasts > 1 and not method.compares_contrasts:
        yield Finding(
            "error",
            f"{method.title} compares one contrast, and {facts.contrasts} were given.",
            "Choose velocity-field optimization, or give one fixed and one moving image.",
            "method",
        )


def _images(facts: PairFacts) -> Iterable[Finding]:
    for volume in (facts.chosen_fixed, facts.chosen_moving):
        yield from image_findings(volume)


def image_findings(volume: VolumeFacts) -> Iterable[Finding]:
    """Yield what is to be said about one image."""
    for note in volume.notes:
        yield Finding("warning", note, control=volume.role)
    if volume.is_complex:
        yield Finding(
            "error",
            f"{volume.called} has complex values (real and imaginary part).",
            "Convert it to a magnitude image.",
            volume.role,
        )
    elif volume.not_finite and (volume.gaps_in_body is None or volume.gaps_in_body > MOST_GAPS):
        part = "" if volume.gaps_in_body is None else f", {100 * volume.gaps_in_body:.0f}% of the body"
        yield Finding(
            "error",
            f"{volume.called} has {volume.not_finite} voxels that are NaN or infinite{part}.",
            "Replace them, for example by the background value.",
            volume.role,
        )
    elif volume.low is not None and volume.low == volume.high:
        yield Finding(
            "error",
            f"{volume.called} is constant: every voxel is {volume.low:g}. It shows nothing.",
            "Check that this is the right one.",
            volume.role,
        )
    elif volume.not_finite:
        where = f"{100 * volume.gaps_in_body:.2g}% of the body" if volume.gaps_in_body else "all in the background"
        text = f"{volume.called} has {volume.not_finite} voxels that are NaN or infinite ({where})."
        yield Finding("warning", text, "These voxels are ignored in the comparison.", volume.role)
    size_ijk = volume.known_grid.size_ijk
    sizes = [n for n in size_ijk if n > 1]
    if len(sizes) < 2 or min(sizes) < SMALLEST_SIZE:
        yield Finding(
            "error",
            f"{volume.called} has {' x '.join(map(str, size_ijk))} voxels; at least {SMALLEST_SIZE} are "
            f"needed along each axis, or a single slice of {SMALLEST_SIZE} x {SMALLEST_SIZE}.",
            control=volume.role,
        )


def _together(facts: PairFacts) -> Iterable[Finding]:
    fixed, moving = facts.chosen_fixed, facts.chosen_moving
    planar = fixed.known_grid.is_planar
    if planar != moving.known_grid.is_planar:
        flat, solid = (fixed, moving) if planar else (moving, fixed)
        yield Finding(
            "error",
            f"The {flat.role} {flat.noun} is a single slice and the {solid.role} one is a volume.",
            "Choose two volumes or two slices. To register a slice to a volume, first extract the matching slice from "
            "the volume.",
            solid.role,
        )
        return
    if fixed.dimensions != moving.dimensions:
        yield Finding(
            "error",
            "One image is stored as 2D and the other as 3D with one slice, so they do not share a coordinate system.",
            "Save both as 2D, or both as 3D with one slice.",
            "moving",
        )
        return
    yield from _voxels(facts)
    yield from _overlap(facts)
    if planar:
        yield Finding("note", "Both are single slices: they are registered in their plane.")
    for volume in (fixed, moving):
        yield from _about_placing(volume)


def _voxels(facts: PairFacts) -> Iterable[Finding]:
    """Refuse voxels at which the steps of the linear alignment are lost."""
    for volume in (facts.chosen_fixed, facts.chosen_moving) if facts.linear != "none" else ():
        grid = volume.known_grid
        smallest_mm = float(grid.spacing_mm[np.array(grid.size_ijk) > 1].min())
        if smallest_mm < SMALLEST_VOXEL_MM:
            yield Finding(
                "error",
                f"{volume.called} has voxels of {smallest_mm:.2g} mm; linear alignment works down to "
                f"{SMALLEST_VOXEL_MM:g} mm.",
                "Scale the geometry of both images by one factor, or leave out the linear alignment.",
                volume.role,
            )


def _overlap(facts: PairFacts) -> Iterable[Finding]:
    if facts.started:
        return
    noun = facts.chosen_fixed.noun
    part = overlap_fraction(facts.chosen_fixed.known_grid, facts.chosen_moving.known_grid)
    if part == 0 and facts.linear == "none":
        yield Finding(
            "error",
            f"The two {noun}s do not overlap in space, so nothing can be compared without linear alignment.",
            "Choose a linear alignment: center of mass, rigid or affine start from the centers.",
            "linear",
        )
    elif part < LITTLE_OVERLAP and facts.linear == "none":
        text = f"Only {100 * part:.0f}% of the fixed {noun} overlaps the moving one without linear alignment."
        yield Finding("warning", text, control="linear")
    elif part < LITTLE_OVERLAP:
        text = f"{100 * part:.0f}% of the fixed {noun} overlaps the moving one; their centers are matched first."
        yield Finding("note", text)


def _about_placing(volume: VolumeFacts) -> Iterable[Finding]:
    grid = volume.known_grid
    spacing = grid.spacing_mm[np.array(grid.size_ijk) > 1]
    if spacing.max() > THICK * spacing.min():
        text = (
            f"The {volume.role} {volume.noun} has thick slices ({spacing.max():.1f} mm); little is known between them."
        )
        yield Finding("note", text, control=volume.role)
    if volume.parent and volume.parent_is_linear:
        text = f"The {volume.role} volume is under {volume.parent}; that transform is taken into account."
        yield Finding("note", text, control=volume.role)
    elif volume.parent:
        text = f"The {volume.role} volume is under {volume.parent}, which is not linear; it will be resampled first."
        yield Finding("note", text, control=volume.role)


def _attached(facts: PairFacts) -> Iterable[Finding]:
    for attached in facts.attachments:
        yield from _about_attachment(attached, facts)


def _about_attachment(attached: AttachmentFacts, facts: PairFacts) -> Iterable[Finding]:
    problem, remedy = "", ""
    image = facts.chosen_fixed if attached.control.startswith("fixed") else facts.chosen_moving
    if not attached.same_transform:
        problem = f"{attached.name} and {attached.volume} are under different transforms."
        remedy = "Put both under the same one."
    elif attached.segments == 0:
        problem, remedy = f"{attached.name} has no segment.", "Draw one, or choose None."
    elif not attached.whole:
        problem = f"{attached.called} must be whole numbers from 0 up; other values were found."
        remedy = "Give a label map."
    elif attached.empty and attached.noun == "mask":
        problem = f"{attached.called} selects nothing: it is empty, or lies outside the image."
        remedy = "Check that it belongs to this image, or leave it out."
    elif attached.size_ijk is not None:
        yield from _about_extent(attached, attached.size_ijk, image, facts.linear)
    elif attached.empty:
        problem = f"{attached.called} are empty: every voxel is 0."
        remedy = "Leave them out, or correct them."
    elif attached.high is not None and attached.high > LARGEST_LABEL:
        problem, remedy = f"{attached.called} have labels above {LARGEST_LABEL}.", "Renumber them."
    elif attached.is_planar is not None and attached.is_planar != image.known_grid.is_planar:
        one, other = ("a single slice", "a volume") if attached.is_planar else ("a volume", "a single slice")
        problem = f"{attached.called} are {one} and the {image.role} {image.noun} is {other}."
        remedy = "Give labels of that image."
    if problem:
        yield Finding("error", problem, remedy, attached.control)


def _about_extent(
    mask: AttachmentFacts, size_ijk: tuple[int, ...], image: VolumeFacts, linear: str
) -> Iterable[Finding]:
    """Say where a mask selects too little to estimate a motion from."""
    grid, aligned = image.known_grid, linear not in ("none", "center")
    fewest, part = SMALLEST_MASK[grid.is_planar], mask.voxels / grid.voxels
    remedy = "Draw it larger, or leave it out."
    if mask.voxels < fewest:
        text = f"{mask.called} selects {mask.voxels} voxels; at least {fewest} are needed to estimate motion."
        yield Finding("error", text, remedy, mask.control)
    elif any(inside == 1 < size for inside, size in zip(size_ijk, grid.size_ijk)):
        text = f"{mask.called} is one voxel thick, so motion across it cannot be estimated."
        yield Finding("error" if aligned else "warning", text, remedy, mask.control)
    elif part < LITTLE_MASK and aligned:
        text = (
            f"{mask.called} selects {100 * part:.1f}% of the image; a linear alignment based on so little may be wrong."
        )
        yield Finding("warning", text, remedy, mask.control)


def _landmarks(facts: PairFacts) -> Iterable[Finding]:
    points = facts.points
    if points.fixed is None and points.moving is None:
        return
    for note in points.notes:
        yield Finding("note", note, control="moving_points")
    if points.fixed is None or points.moving is None:
        control = "fixed_points" if points.fixed is None else "moving_points"
        yield Finding("error", "Landmarks are needed in both images.", "Give both lists, or none.", control)
        return
    if points.fixed != points.moving or not points.fixed:
        yield Finding(
            "error",
            f"There are {points.fixed} fixed and {points.moving} moving points."
            if points.fixed or points.moving
            else "No landmark is placed in both images.",
            "Each fixed point needs its partner, with the same label or on the same line of the other list.",
            "moving_points",
        )
    for role, outside in (("fixed", points.fixed_outside), ("moving", points.moving_outside)):
        if outside:
            numbers = ", ".join(str(n + 1) for n in outside[:10])
            yield Finding(
                "error",
                f"{len(outside)} of the {role} points lie outside the {role} image (number {numbers}).",
                "Check that they belong to this image and, if read from a file, that its coordinate system is "
                "the right one.",
                f"{role}_points",
            )


def _contrast(facts: PairFacts) -> Iterable[Finding]:
    """CT is told by air at -1000 HU; other modalities cannot be told from their numbers."""
    kinds = [_looks_like_ct(volume) for volume in (facts.chosen_fixed, facts.chosen_moving)]
    metric = similarities().get(facts.similarity)
    if None not in kinds and kinds[0] != kinds[1] and metric is not None and metric.modality == "same":
        text = "One volume looks like CT and the other does not."
        remedy = f"Choose the similarity metric {for_modality('different').title}, or automatic."
        yield Finding("warning", text, remedy, "similarity")


def _looks_like_ct(volume: VolumeFacts) -> bool | None:
    if volume.low is None or volume.high is None:
        return None
    return volume.low <= -900 and volume.high >= 200


def memory_findings(facts: PairFacts, method: Checkable, settings: Any, description: PairDescription) -> list[Finding]:
    """Say where the estimate of memory exceeds what is free, naming a preset that fits.

    Args:
        description: of the pair, as far as it is known by now.
    """
    needed, findings = method.memory(description, settings), []
    for amount, free, where in (
        (needed.host, facts.free_bytes, "this computer"),
        (needed.device, facts.device_free_bytes, "the GPU"),
    ):
        if free is None or amount <= free:
            continue
        on_gpu = where == "the GPU"
        remedy = "Close other programs, resample the fixed image to larger voxels, or use a computer with more memory."
        smaller = _fitting_preset(method, description, on_gpu, free)
        if smaller is not None:
            remedy = f"Use the preset {smaller[0]}, which needs about {smaller[1] / 1e9:.1f} GB."
        if on_gpu:
            remedy += " Or compute on the CPU."
        text = (
            f"This registration needs about {amount / 1e9:.1f} GB of memory and {where} has {free / 1e9:.1f} GB free."
        )
        findings.append(Finding("error", text, remedy, "preset", "gpu_memory" if on_gpu else "memory"))
    return findings


def _fitting_preset(method: Checkable, description: PairDescription, on_gpu: bool, free: int) -> tuple[str, int] | None:
    """Return the slowest of the faster presets that fits, with the bytes that it needs."""
    for preset in reversed(PRESETS[: PRESETS.index(description.preset)]):
        memory = method.memory(dataclasses.replace(description, preset=preset), method.presets[preset])
        needed = memory.device if on_gpu else memory.host
        if needed <= free:
            return preset, needed
    return None


#: The rules that need no method, in the order of the checks; the first group with an error is the last.
PAIR_RULES = (_chosen, _images, _together, lambda facts: (*_attached(facts), *_landmarks(facts)))
