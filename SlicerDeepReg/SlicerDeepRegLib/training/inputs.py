"""From what was asked to what a training works with: where its batches come from, and its plan."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..catalog import WEIGHTS_FILE, Card
from ..files.weights import file_sha256
from ..types import InputError
from .annotated import annotated_pairs, classes_of, sliced
from .dataset.index import DatasetIndex, Pair
from .dataset.pairs import ATLAS_PAIRINGS, make_pairs
from .dataset.read import read_dataset_index
from .dataset.splits import described, with_splits, write_split
from .distributed import Distributed
from .label_maps.atlas import prepare_atlas
from .label_maps.frame import LabelMap, prepare_label_maps
from .label_maps.mean import mean_atlas
from .label_maps.slices import SliceSource
from .label_maps.source import (
    FOR_SEGMENTATION,
    LabelMapSettings,
    LabelMapSource,
    StructureSource,
    grid_size,
)
from .mixed import MixedSource, first_ones, part_of
from .plan import Plan, kept_precision
from .precision import precision_by_device
from .recipe import Prepared, prepare_subjects
from .request import TrainingRequest, default_name, schedule_name
from .rng import Rng, seed_of
from .schedules import Schedule
from .sources import HELD_OUT, TRAINING, PairSource, Source, SyntheticSource
from .synthetic import SyntheticSettings

_T = TypeVar("_T")
#: Voxels are alike whose sides differ by less than this part.
ALIKE_VOXELS = 0.01
#: What the kinds of synthetic pairs are called on a model's card.
_KIND_TEXTS = {
    "mixed": "shapes of noise and brain-like structures",
    "shapes": "shapes of noise",
    "brains": "brain-like structures",
}


@dataclass(frozen=True)
class Setup:
    """One training as it was asked for, and where it runs.

    Attributes:
        request: as asked for.
        card: of the registration network, if it is one.
        schedule: the defaults of what the request leaves out.
        distributed: the processes that train together.
        device: of this process.
        say: called with a line of text now and then.
    """

    request: TrainingRequest
    card: Card | None
    schedule: Schedule
    distributed: Distributed
    device: torch.device
    say: Callable[[str], None]

    @property
    def augment(self) -> str:
        """Name of the augmentation."""
        return self.request.augment or self.schedule.augment

    @property
    def match(self) -> bool:
        """Return whether the moving image gets the intensities of the fixed one."""
        return self.schedule.match if self.request.match is None else self.request.match

    @property
    def resample(self) -> bool:
        """Return whether images are resampled to their size, not cut."""
        return self.request.resample or self.schedule.resample

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        """Axes that are mirrored half of the time, of i, j, k as 0, 1, 2."""
        return tuple("ijk".index(letter) for letter in self.request.mirror)

    @property
    def workers(self) -> int:
        """Number of processes that read images."""
        if self.request.workers is not None:
            return self.request.workers
        return min(8, (os.cpu_count() or 1) // self.distributed.size) if self.device.type == "cuda" else 0


@dataclass(frozen=True)
class TrainingInputs:
    """What a training works with: pairs to train on, pairs to validate on if there are any, and the plan.

    Attributes:
        atlas: of the mean person, which goes beside a network of structures.
    """

    source: Source
    held_out: Source | None
    plan: Plan
    atlas: torch.Tensor | None = None


def training_inputs(setup: Setup) -> TrainingInputs:
    """Read and prepare the data, and decide everything that the request leaves open.

    Raises:
        InputError: the data cannot be used, or the network does not take such images.
    """
    if setup.request.label_maps:
        return _label_map_inputs(setup) if setup.card else _structure_inputs(setup)
    return _synthetic_inputs(setup) if setup.request.synthetic else _image_inputs(setup)


def weights_of(model: Path) -> Path:
    """Return the file of a model's weights; the model is a folder, or that file.

    Raises:
        InputError: there is no such file.
    """
    path = model / WEIGHTS_FILE if model.is_dir() else model
    if not path.is_file():
        raise InputError(
            f"The weights {path} are not there. Give the folder of a model, or a file of weights: --start."
        )
    return path


# ------------------------------------------------------------------------------------------ synthetic pairs


def _synthetic_inputs(setup: Setup) -> TrainingInputs:
    request = setup.request
    dimensions = request.dimensions or (len(request.size_ijk) if request.size_ijk else max(setup.card.dimensions))
    size = request.size_ijk or ((96, 96, 96) if dimensions == 3 else (128, 128))
    if len(size) != dimensions:
        raise InputError(f"--size has {len(size)} numbers and the images have {dimensions} axes. Give one for each.")
    shape = tuple(size[::-1])
    settings = SyntheticSettings(kind=request.synthetic)
    plan = _plan(
        setup,
        data={"synthetic": dataclasses.asdict(settings)},
        about_data=f"synthetic pairs ({_KIND_TEXTS[settings.kind]}; no scan)",
        shape=shape,
        recipe={"intensity": "unit", "voxel_mm": request.voxel_mm, "orientation": None},
        pairs=None,
        known_field=True,
    )
    source = SyntheticSource(shape, request.seed, settings)
    return TrainingInputs(source, SyntheticSource(shape, request.seed, settings, stream=HELD_OUT), plan)


# ------------------------------------------------------------------------------------------ label maps

#: People whose maps are held out, and from how many maps on.
HELD_OUT_PEOPLE, HELD_OUT_FROM = 2, 6
#: The voxel size that networks of so many dimensions are trained at unless another is asked for (mm).
LABEL_MAP_VOXEL_MM = {2: 1.5, 3: 3.0}
#: The shape of slices, that of FMIRNet's paper.
SLICE_SHAPE = (128, 128)
#: And the network that sees structures.
STRUCTURE_VOXEL_MM = 2.0


def _label_map_inputs(setup: Setup) -> TrainingInputs:
    request, settings = setup.request, LabelMapSettings()
    dimensions = request.dimensions or (len(request.size_ijk) if request.size_ijk else max(setup.card.dimensions))
    voxel_mm, shape = _painted(setup, dimensions, LABEL_MAP_VOXEL_MM[dimensions])
    cache, device = _cache(request), setup.device
    recipe = {"intensity": "unit", "voxel_mm": voxel_mm, "orientation": "RAS" if dimensions == 3 else None}
    real = _real_pairs(setup, *_subjects(setup, recipe, shape[::-1])) if request.data else None
    maps, velocities = _once(setup, lambda tell: related_label_maps(request.label_maps, cache, device, tell))
    training, held_out = people(len(maps), request.seed)
    data = _about_maps(maps, training, held_out, settings)
    about_data = f"images of random contrast painted on the label maps of {len(training)} people"
    if real is not None:
        data.update(real.data(), real_part=request.real_part)
        about_data += f", and {100 * request.real_part:.0f}% of the steps on {real.about()}"
    plan = _plan(setup, data=data, about_data=about_data, shape=shape, recipe=recipe, pairs=None, known_field=True)

    def source(places: Sequence[int], stream: int) -> LabelMapSource:
        chosen = [maps[n] for n in places]
        kind = LabelMapSource if dimensions == 3 else SliceSource
        return kind(chosen, velocities[list(places)], shape, voxel_mm, request.seed, settings, stream)

    made: Source = source(training, TRAINING)
    made_held_out: Source | None = source(held_out, HELD_OUT) if held_out else None
    if real is None:
        return TrainingInputs(made, made_held_out, plan)
    return TrainingInputs(
        MixedSource(made, real.source(), part_of(request.seed, request.real_part)), real.beside(made_held_out), plan
    )


def _structure_inputs(setup: Setup) -> TrainingInputs:
    """Return the inputs of the network that sees structures."""
    request, schedule = setup.request, setup.schedule
    settings = FOR_SEGMENTATION
    voxel_mm, shape = _painted(setup, 3, STRUCTURE_VOXEL_MM)
    cache, device = _cache(request), setup.device
    maps, velocities = _once(setup, lambda tell: related_label_maps(request.label_maps, cache, device, tell))
    training, held_out = people(len(maps), request.seed)
    atlas = mean_atlas([maps[n] for n in training], velocities[training])
    about_data = f"images of random contrast painted on the label maps of {len(training)} people"
    if request.start:
        about_data += f", from the weights of {request.start.resolve().name} on"
    plan = Plan(
        name=request.name or default_name(request.output),
        network=request.network,
        configuration={"features": 0},
        dimensions=3,
        recipe={"intensity": "unit", "voxel_mm": voxel_mm, "orientation": "RAS"},
        data=_about_maps(maps, training, held_out, settings),
        about_data=about_data,
        shape=shape,
        loss={},
        weights={},
        steps=request.steps or schedule.steps or 10000,
        pairs_per_step=(request.batch or schedule.batch) * request.accumulate * setup.distributed.size,
        optimizer=request.optimizer or schedule.optimizer,
        learning_rate=request.learning_rate or schedule.learning_rate,
        decay=request.decay or schedule.decay,
        clip=schedule.clip if request.clip is None else request.clip,
        ema=request.ema,
        precision=_precision(setup),
        seed=request.seed,
        schedule=schedule_name(request),
        start=file_sha256(weights_of(request.start)) if request.start else None,
    )

    def source(places: Sequence[int], stream: int) -> StructureSource:
        return StructureSource([maps[n] for n in places], shape, voxel_mm, request.seed, settings, stream)

    return TrainingInputs(source(training, TRAINING), source(held_out, HELD_OUT) if held_out else None, plan, atlas)


def people(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the places of the maps to train on, and of those that are held out."""
    order = Rng(seed_of(seed, HELD_OUT), torch.device("cpu")).permutation(count)
    kept = HELD_OUT_PEOPLE if count >= HELD_OUT_FROM else 0
    return sorted(order[kept:]), sorted(order[:kept])


def _about_maps(
    maps: Sequence[LabelMap], training: Sequence[int], held_out: Sequence[int], settings: LabelMapSettings
) -> dict[str, Any]:
    """Return what decides the images that are painted, as plain values."""
    return {
        "label_maps": [maps[n].name for n in training],
        "held_out": [maps[n].name for n in held_out],
        "classes": hashlib.sha256(b"".join(one.classes.tobytes() for one in maps)).hexdigest()[:16],
        "settings": dataclasses.asdict(settings),
    }


def _painted(setup: Setup, dimensions: int, usual_mm: float) -> tuple[float, tuple[int, ...]]:
    """Return the voxel size (mm) and the shape of painted images; what is wrong is said before the maps are read."""
    request = setup.request
    voxel_mm = request.voxel_mm or usual_mm
    shape: tuple[int, ...] = grid_size(voxel_mm) if dimensions == 3 else SLICE_SHAPE
    if request.size_ijk:
        shape = tuple(request.size_ijk[::-1])
    if len(shape) != dimensions:
        raise InputError(f"--size has {len(shape)} numbers and the images have {dimensions} axes. Give one for each.")
    if setup.card:
        _check_takes(setup.card, shape)
    if request.start:
        weights_of(request.start)
    return voxel_mm, shape


def related_label_maps(
    folder: Path, cache: Path, device: torch.device, say: Callable[[str], None]
) -> tuple[tuple[LabelMap, ...], np.ndarray]:
    """Bring the label maps of a folder into one frame, and relate them; both are kept in the cache.

    Raises:
        InputError: see ``frame.prepare_label_maps``.
    """
    maps = prepare_label_maps(folder, cache, say)
    return maps, prepare_atlas(maps, cache, device, say)


def _cache(request: TrainingRequest) -> Path:
    return request.cache or request.output / "prepared"


def _once(setup: Setup, prepare: Callable[[Callable[[str], None]], _T]) -> _T:
    """Prepare in the first process; the others then read what it kept."""
    if setup.distributed.is_main:
        prepared = prepare(setup.say)
    setup.distributed.barrier()
    return prepared if setup.distributed.is_main else prepare(lambda text: None)


# ------------------------------------------------------------------------------------------ images


def _image_inputs(setup: Setup) -> TrainingInputs:
    request = setup.request
    recipe: dict[str, Any] = {"intensity": "unit", "voxel_mm": request.voxel_mm, "orientation": request.orientation}
    index, subjects = _subjects(setup, recipe)
    if request.joint:
        return _joint_inputs(setup, index, subjects, recipe)
    real = _real_pairs(setup, index, subjects)
    first = _complete(recipe, subjects, setup.resample)
    if not real.held_out:
        setup.say("Nothing to validate on: the held-out images make no pair. The last weights will be the model.")
    plan = _plan(
        setup, data=real.data(), about_data=real.about(), shape=first.shape, recipe=recipe, pairs=len(real.pairs)
    )
    return TrainingInputs(real.source(), _validation_source(real.held_out, subjects, setup), plan)


@dataclass(frozen=True)
class _RealPairs:
    """Pairs of images on disk, to train on and held out."""

    setup: Setup
    index: DatasetIndex
    subjects: dict[str, Prepared]
    pairing: str
    pairs: Sequence[Pair]
    held_out: Sequence[Pair]

    @property
    def used(self) -> list[str]:
        return sorted({name for pair in self.pairs for name in (pair.moving, pair.fixed)})

    def data(self) -> dict[str, Any]:
        """Return what decides the pairs, as plain values."""
        return {
            "images": len(self.used),
            "pairs": len(self.pairs),
            "pairing": self.pairing,
            "files": _fingerprint(self.pairs, self.subjects),
        }

    def about(self) -> str:
        folder = self.setup.request.data.resolve().name
        return f"{len(self.used)} images of {folder} ({len(self.pairs)} pairs, {self.pairing})"

    def source(self) -> PairSource:
        setup = self.setup
        return PairSource(
            self.pairs,
            self.subjects,
            setup.request.seed,
            redraw=self.pairing == "random",
            groups={name: subject.group for name, subject in self.index.subjects.items()},
            augment=setup.augment,
            mirrored_axes=setup.mirrored_axes,
            workers=setup.workers,
            match=setup.match,
        )

    def beside(self, made: Source | None) -> Source | None:
        """Return the held-out pairs beside made ones; half of those that are validated on are real, if there are."""
        count = min(len(self.held_out), -(-self.setup.request.validation_pairs // 2))
        real = _validation_source(self.held_out[:count], self.subjects, self.setup)
        return MixedSource(made, real, first_ones(count)) if made is not None and real is not None else made or real


def _real_pairs(setup: Setup, index: DatasetIndex, subjects: dict[str, Prepared]) -> _RealPairs:
    request = setup.request
    pairing = request.pairing or ("given" if _gives_training_pairs(index) else setup.schedule.pairing)
    if request.atlas and pairing not in ATLAS_PAIRINGS:
        raise InputError(
            f"Pairs of images are {pairing}, in which the atlas {request.atlas} has no part. Give --pairs "
            f"{' or '.join(ATLAS_PAIRINGS)}, or leave --atlas out."
        )
    held_out = make_pairs(index, pairing, "val", request.atlas)[: request.validation_pairs]
    return _RealPairs(setup, index, subjects, pairing, make_pairs(index, pairing, "train", request.atlas), held_out)


def _joint_inputs(
    setup: Setup, index: DatasetIndex, subjects: dict[str, Prepared], recipe: dict[str, Any]
) -> TrainingInputs:
    """Pairs from annotated images to others; the fixed images' labels are for validation alone."""
    request = setup.request
    _complete(recipe, subjects, setup.resample)
    if request.slices:
        subjects, index = sliced(subjects, index, request.slices)
    pairs, annotated, left_out = annotated_pairs(index, subjects, "train", request.ratio)
    if left_out:
        setup.say(
            f"{len(left_out)} groups of images for training have no image with labels and are left out, among them "
            f"that of {left_out[0]}. Raise --ratio, or label one image of each."
        )
    held_out, _, _ = annotated_pairs(index, subjects, "val", request.ratio)
    if len(held_out) > request.validation_pairs:  # spread over all series
        places = np.linspace(0, len(held_out) - 1, request.validation_pairs).round().astype(int)
        held_out = [held_out[n] for n in places]
    count = sum(1 for subject in index.subjects.values() if subject.split == "train")
    plan = _plan(
        setup,
        data={"annotated": len(annotated), "pairs": len(pairs), "files": _fingerprint(pairs, subjects)},
        about_data=f"{len(annotated)} annotated of {count} images of {request.data.resolve().name}",
        shape=next(iter(subjects.values())).shape,
        recipe=recipe,
        pairs=len(pairs),
        joint={
            "network": request.joint,
            "alone": request.alone,
            "ratio": request.ratio,
            "slices": request.slices,
            "classes": classes_of(subjects, annotated),
            "weight": request.segmentation_weight,
        },
    )
    source = PairSource(
        pairs,
        subjects,
        request.seed,
        augment=setup.augment,
        mirrored_axes=setup.mirrored_axes,
        workers=setup.workers,
        match=setup.match,
    )
    return TrainingInputs(source, _validation_source(held_out, subjects, setup), plan)


def _subjects(
    setup: Setup, recipe: Mapping[str, Any], size_ijk: Sequence[int] | None = None
) -> tuple[DatasetIndex, dict[str, Prepared]]:
    """Return the index of the data with splits, and the prepared subjects by name; of that size if it is given."""
    request, schedule = setup.request, setup.schedule
    index = read_dataset_index(request.data, request.images, request.labels, request.masks)
    subjects, left_out = _prepared(setup, index, recipe, size_ijk)
    for why in left_out:
        setup.say(f"Left out: {why}")
    if len(subjects) < 2:
        raise InputError(
            f"{request.data} has {len(subjects)} image that can be used: a pair needs two. Add images, or use "
            "synthetic pairs: --synthetic."
        )
    axes = len(next(iter(subjects.values())).shape)
    if request.dimensions not in (None, axes) and not request.slices:
        raise InputError(f"The images of {request.data} have {axes} axes, not {request.dimensions} (--dimensions).")
    part = 0.1 if request.validation is None else request.validation
    counts = schedule.split if request.validation is None else None
    usable = index.without(set(index.subjects) - set(subjects))
    index, note = with_splits(usable, part, request.seed, counts, request.atlas)
    if note:
        setup.say(note)
    for line in described(index):
        setup.say(line)
    if setup.distributed.is_main and not request.resume:  # what is gone on with has its own
        write_split(index, request.output)
    return index, subjects


def _prepared(
    setup: Setup, index: DatasetIndex, recipe: Mapping[str, Any], size_ijk: Sequence[int] | None
) -> tuple[dict[str, Prepared], list[str]]:
    """Prepare all images."""
    request = setup.request
    size = size_ijk or request.size_ijk or setup.schedule.size_ijk
    free_axis = None if not request.slices else "ijk".index(request.slices)
    if request.slices and size and len(size) == 2:  # of the slices; as many of them as there are
        size = list(size)
        size.insert(free_axis, 0)

    def prepare(tell: Callable[[str], None]) -> tuple[dict[str, Prepared], list[str]]:
        return prepare_subjects(index, recipe, size, _cache(request), request.skip_bad, free_axis, tell, setup.resample)

    return _once(setup, prepare)


def _validation_source(pairs: Sequence[Pair], subjects: Mapping[str, Prepared], setup: Setup) -> PairSource | None:
    return PairSource(pairs, subjects, setup.request.seed, shuffle=False, match=setup.match) if pairs else None


def _complete(recipe: dict[str, Any], subjects: Mapping[str, Prepared], resampled: bool) -> Prepared:
    """Write what all images have in common into the recipe; returns one of them."""
    first = next(iter(subjects.values()))
    if first.orientation:
        recipe["orientation"] = first.orientation
    if resampled and recipe["voxel_mm"] is None:  # their voxels differ; in use an image gets the usual size of them
        sizes_mm = [float(np.prod(one.spacing_kji_mm)) ** (1 / len(one.shape)) for one in subjects.values()]
        recipe["voxel_mm"] = round(float(np.median(sizes_mm)), 4)
    elif recipe["voxel_mm"] is None:
        recipe["voxel_mm"] = _common_voxels(subjects.values())
    return first


def _common_voxels(subjects: Collection[Prepared]) -> float | list[float] | None:
    """Return the size of the voxels of all images, mm: one number, or those of i, j and k; None where they differ."""
    sizes_mm = np.array([one.spacing_kji_mm[::-1] for one in subjects])
    usual = sizes_mm[0]
    if np.abs(sizes_mm / usual - 1).max() > ALIKE_VOXELS:
        return None
    if usual.max() < (1 + ALIKE_VOXELS) * usual.min():
        return round(float(usual[-1]), 4)
    return [*(round(float(size), 4) for size in usual), *[1.0] * (3 - len(usual))]  # a slice has a third side, too


def _gives_training_pairs(index: DatasetIndex) -> bool:
    return any(pair.split in (None, "train") for pair in index.given)


def _fingerprint(pairs: Sequence[Pair], subjects: Mapping[str, Prepared]) -> str:
    """Return a checksum of the pairs, and of the files and the recipe that their arrays come from."""
    lines = [f"{p.moving} {subjects[p.moving].base.name} {p.fixed} {subjects[p.fixed].base.name}" for p in pairs]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------ the plan


def _plan(
    setup: Setup,
    data: Mapping[str, Any],
    about_data: str,
    shape: tuple[int, ...],
    recipe: Mapping[str, Any],
    pairs: int | None,
    known_field: bool = False,
    joint: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan; ``pairs`` is their number in an epoch, if it can be counted."""
    request, card, schedule = setup.request, setup.card, setup.schedule
    _check_takes(card, shape)
    pairs_per_step = (request.batch or schedule.batch) * request.accumulate * setup.distributed.size
    if request.start:
        about_data += f", from the weights of {request.start.resolve().name} on"
    return Plan(
        name=request.name or default_name(request.output),
        network=card.network,
        configuration=dict(card.configuration),
        dimensions=len(shape),
        recipe=recipe,
        data=data,
        about_data=about_data,
        shape=shape,
        loss=_loss_arguments(setup),
        weights=_weights(request, known_field),
        steps=_steps(setup, pairs, pairs_per_step),
        pairs_per_step=pairs_per_step,
        optimizer=request.optimizer or schedule.optimizer,
        learning_rate=request.learning_rate or schedule.learning_rate,
        decay=request.decay or schedule.decay,
        clip=schedule.clip if request.clip is None else request.clip,
        ema=request.ema,
        precision=_precision(setup),
        seed=request.seed,
        joint=joint,
        schedule=schedule_name(request),
        augment=setup.augment,
        match=setup.match if request.data else None,
        resample=(setup.resample or None) if request.data else None,
        mirror=request.mirror,
        start=file_sha256(weights_of(request.start)) if request.start else None,
    )


def _check_takes(card: Card, shape: Sequence[int]) -> None:
    if len(shape) not in card.dimensions:
        axes = " and ".join(f"{n}D" for n in card.dimensions)
        raise InputError(f"{card.title} takes {axes} images; these have {len(shape)} axes. Choose another network.")


def _steps(setup: Setup, pairs: int | None, pairs_per_step: int) -> int:
    steps = setup.request.steps
    epochs = setup.request.epochs or (None if steps else setup.schedule.epochs)
    if steps is None and epochs and pairs:
        steps = epochs * max(1, round(pairs / pairs_per_step))
    return steps or setup.schedule.steps or 10000


def _loss_arguments(setup: Setup) -> dict[str, Any]:
    loss = dict(setup.schedule.loss)
    if setup.request.regularity is not None:
        loss["regularity"] = setup.request.regularity
    elif "regularity" not in loss:
        loss["regularity"] = setup.card.settings.get("regularity", 1.0)
    return loss


def _weights(request: TrainingRequest, known_field: bool) -> dict[str, float]:
    """Return the weights of the objective's terms; labels and field count by themselves where the field is known."""
    labels, field = (1.0, 0.3) if known_field else (0.0, 0.0)
    return {
        "image": request.image_weight,
        "labels": labels if request.label_weight is None else request.label_weight,
        "field": field if request.field_weight is None else request.field_weight,
    }


def _precision(setup: Setup) -> str:
    """Return the precision; "auto" where the steps of both have to be timed."""
    request = setup.request
    kept = kept_precision(request.output) if request.resume and request.precision == "auto" else None
    return kept or precision_by_device(request.precision, setup.device)
