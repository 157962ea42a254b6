"""From what was asked to what a training works with: where its batches come from, and its plan."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..catalog import WEIGHTS_FILE, Card
from ..files.weights import file_sha256
from ..types import InputError
from .dataset_index import Listing, Pair, make_pairs, read_listing, with_splits
from .distributed import Distributed
from .joint import annotated_pairs, classes_of, sliced
from .plan import Plan
from .recipe import Prepared, prepare_subjects
from .request import TrainingRequest, default_name, schedule_name
from .schedules import Schedule
from .sources import HELD_OUT, PairSource, SyntheticSource
from .synthetic import SyntheticSettings


def materials(request: TrainingRequest, chosen: Card, schedule: Schedule, team: Distributed, device, say):
    """(source, held-out source or None, plan)."""
    if request.synthetic:
        return _made_data(request, chosen, schedule, team, device)
    return _real_data(request, chosen, schedule, team, device, say)


def _made_data(request: TrainingRequest, chosen: Card, schedule: Schedule, team: Distributed, device):
    dimensions = request.dimensions or (len(request.size_ijk) if request.size_ijk else max(chosen.dimensions))
    size = request.size_ijk or ((96,) * 3 if dimensions == 3 else (128, 128))
    if len(size) != dimensions:
        raise InputError(f"--size has {len(size)} numbers and the images have {dimensions} axes. Give one for each.")
    shape = tuple(size[::-1])
    made = SyntheticSettings(kind=request.synthetic)
    words = {"mixed": "shapes of noise and brain-like structures", "shapes": "shapes of noise"}
    about = f"pairs that were made ({words.get(made.kind, 'brain-like structures')}; no scan)"
    recipe = {"intensity": "unit", "voxel_mm": request.voxel_mm, "orientation": None}
    plan = _plan(
        *(request, chosen, schedule, team, device),
        data={"synthetic": dataclasses.asdict(made)},
        about_data=about,
        shape=shape,
        recipe=recipe,
        pairs=None,
        truth=True,
    )
    source = SyntheticSource(shape, request.seed, made)
    return source, SyntheticSource(shape, request.seed, made, stream=HELD_OUT), plan


def _subjects(request: TrainingRequest, recipe: dict[str, Any], schedule: Schedule, team: Distributed, say):
    """(listing with splits, prepared subjects by name)."""
    listing = read_listing(request.data, request.images, request.labels, request.masks)
    size = request.size_ijk or schedule.size_ijk
    if request.slices and size and len(size) == 2:  # of the slices; as many of them as there are
        size = list(size)
        size.insert("ijk".index(request.slices), 0)
    free_axis = None if not request.slices else "ijk".index(request.slices)
    arguments = (listing, recipe, size, request.cache or request.output / "prepared", request.skip_bad, free_axis)
    if team.is_first:
        subjects, left_out = prepare_subjects(*arguments, say)
    team.wait()
    if not team.is_first:  # what the first one prepared
        subjects, left_out = prepare_subjects(*arguments)
    for why in left_out:
        say(f"Left out: {why}")
    if len(subjects) < 2:
        raise InputError(
            f"{request.data} has {len(subjects)} image that can be used: a pair needs two. Add images, or use "
            "synthetic pairs: --synthetic."
        )
    part = 0.1 if request.validation is None else request.validation
    counts = schedule.split if request.validation is None else None
    usable = listing.without(set(listing.subjects) - set(subjects))
    listing, note = with_splits(usable, part, request.seed, counts, request.atlas)
    if note:
        say(note)
    return listing, subjects


def _real_data(request: TrainingRequest, chosen: Card, schedule: Schedule, team: Distributed, device, say):
    recipe: dict[str, Any] = {"intensity": "unit", "voxel_mm": request.voxel_mm, "orientation": request.orientation}
    listing, subjects = _subjects(request, recipe, schedule, team, say)
    if request.joint:
        return _joint_data(request, chosen, schedule, team, device, listing, subjects, recipe)
    pairing = request.pairing or ("given" if _trains(listing) else schedule.pairing)
    pairs = make_pairs(listing, pairing, "train", request.atlas)
    held_out = make_pairs(listing, pairing, "val", request.atlas)[: request.validation_pairs]
    first = _complete(recipe, subjects)
    if not held_out:
        say("Nothing to validate on: the held-out images make no pair. The last weights will be the model.")
    used = sorted({name for pair in pairs for name in (pair.moving, pair.fixed)})
    plan = _plan(
        *(request, chosen, schedule, team, device),
        data={
            "images": len(used),
            "pairs": len(pairs),
            "pairing": pairing,
            "files": _fingerprint(pairs, subjects),
        },
        about_data=f"{len(used)} images of {request.data.resolve().name} ({len(pairs)} pairs, {pairing})",
        shape=first.shape,
        recipe=recipe,
        pairs=len(pairs),
        truth=False,
    )
    groups = {name: one.group for name, one in listing.subjects.items()}
    augment, mirrored = request.augment or schedule.augment, tuple("ijk".index(c) for c in request.mirror)
    source = PairSource(
        *(pairs, subjects, request.seed),
        redraw=pairing == "random",
        groups=groups,
        augment=augment,
        mirrored_axes=mirrored,
        workers=_workers(request, team, device),
    )
    validation = PairSource(held_out, subjects, request.seed, shuffle=False) if held_out else None
    return source, validation, plan


def _complete(recipe: dict[str, Any], subjects: Mapping[str, Prepared]) -> Prepared:
    """Write what all images have in common into the recipe; returns one of them."""
    first = next(iter(subjects.values()))
    if first.orientation:
        recipe["orientation"] = first.orientation
    if recipe["voxel_mm"] is None and max(first.spacing_kji_mm) < 1.01 * min(first.spacing_kji_mm):
        recipe["voxel_mm"] = round(first.spacing_kji_mm[0], 4)
    return first


def _trains(listing: Listing) -> bool:
    """Whether the data name pairs for training themselves."""
    return any(pair.split in (None, "train") for pair in listing.given)


def _workers(request: TrainingRequest, team: Distributed, device: torch.device) -> int:
    if request.workers is not None:
        return request.workers
    return min(8, (os.cpu_count() or 1) // team.size) if device.type == "cuda" else 0


def _fingerprint(pairs: Sequence[Pair], subjects: Mapping[str, Prepared]) -> str:
    """Of the pairs, and of the files and the recipe that their arrays come from."""
    lines = [f"{p.moving} {subjects[p.moving].base.name} {p.fixed} {subjects[p.fixed].base.name}" for p in pairs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _about(request: TrainingRequest, data: str) -> str:
    return f"{data}, from the weights of {request.start.resolve().name} on" if request.start else data


def _joint_data(request, chosen, schedule, team, device, listing: Listing, subjects, recipe):
    """Pairs from annotated images to others; the fixed images' labels are for validation alone."""
    _complete(recipe, subjects)
    if request.slices:
        subjects, listing = sliced(subjects, listing, request.slices)
    pairs, annotated = annotated_pairs(listing, subjects, "train", request.ratio)
    held_out, _ = annotated_pairs(listing, subjects, "val", request.ratio)
    if len(held_out) > request.validation_pairs:  # spread over all series
        locations = np.linspace(0, len(held_out) - 1, request.validation_pairs).round().astype(int)
        held_out = [held_out[n] for n in locations]
    joint = {"network": request.joint, "alone": request.alone, "ratio": request.ratio, "slices": request.slices}
    joint.update(classes=classes_of(subjects, annotated), weight=request.segmentation_weight)
    many = f"{len(annotated)} annotated of {sum(1 for one in listing.subjects.values() if one.split == 'train')} images"
    plan = _plan(
        *(request, chosen, schedule, team, device),
        data={"annotated": len(annotated), "pairs": len(pairs), "files": _fingerprint(pairs, subjects)},
        about_data=f"{many} of {request.data.resolve().name}",
        shape=next(iter(subjects.values())).shape,
        recipe=recipe,
        pairs=len(pairs),
        truth=False,
        joint=joint,
    )
    augment, mirrored = request.augment or schedule.augment, tuple("ijk".index(c) for c in request.mirror)
    source = PairSource(
        *(pairs, subjects, request.seed),
        augment=augment,
        mirrored_axes=mirrored,
        workers=_workers(request, team, device),
    )
    validation = PairSource(held_out, subjects, request.seed, shuffle=False) if held_out else None
    return source, validation, plan


def _plan(
    request: TrainingRequest, chosen: Card, schedule: Schedule, team: Distributed, device, *, pairs, truth, **about
) -> Plan:
    shape = about["shape"]
    if len(shape) not in chosen.dimensions:
        axes = " and ".join(f"{n}D" for n in chosen.dimensions)
        raise InputError(f"{chosen.title} takes {axes} images; these have {len(shape)} axes. Choose another network.")
    batch = (request.batch or schedule.batch) * request.accumulate * team.size
    steps = request.steps
    epochs = request.epochs or (None if steps else schedule.epochs)
    if steps is None and epochs and pairs:
        steps = epochs * max(1, round(pairs / batch))
    loss = dict(schedule.loss)
    if request.regularity is not None:
        loss["regularity"] = request.regularity
    elif "regularity" not in loss:
        loss["regularity"] = chosen.settings.get("regularity", 1.0)
    made = {"labels": 1.0, "field": 0.3} if truth else {"labels": 0.0, "field": 0.0}
    weights = {
        "image": request.image_weight,
        "labels": made["labels"] if request.label_weight is None else request.label_weight,
        "field": made["field"] if request.field_weight is None else request.field_weight,
    }
    return Plan(
        name=request.name or default_name(request.output),
        network=chosen.network,
        configuration=dict(chosen.configuration),
        dimensions=len(shape),
        loss=loss,
        weights=weights,
        steps=steps or schedule.steps or 10000,
        pairs_per_step=batch,
        optimizer=request.optimizer or schedule.optimizer,
        learning_rate=request.learning_rate or schedule.learning_rate,
        decay=request.decay or schedule.decay,
        clip=request.clip,
        ema=request.ema,
        precision=_precision(request.precision, device),
        seed=request.seed,
        augment=request.augment or schedule.augment,
        mirror=request.mirror,
        start=file_sha256(weights_of(request.start)) if request.start else None,
        schedule=schedule_name(request),
        **{**about, "about_data": _about(request, about["about_data"])},
    )


def weights_of(model: Path) -> Path:
    """The file of a model's weights; the model is a folder, or that file."""
    path = model / WEIGHTS_FILE if model.is_dir() else model
    if not path.is_file():
        raise InputError(
            f"The weights {path} are not there. Give the folder of a model, or a file of weights: --start."
        )
    return path


def _precision(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"  # older ones only emulate it
