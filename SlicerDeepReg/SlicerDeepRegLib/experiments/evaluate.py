"""Measure trained models and methods on the pairs of a split, as tables of papers do.

The images are prepared as the model's training prepared them, so that what is measured is the network and not what
surrounds it; they are assumed to be aligned. For what a user gets, files to files, there is ``slicerdeepreg compare``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..device import choose
from ..files.jsonable import jsonable
from ..geometry.jacobian import jacobian_of_field
from ..methods import method
from ..methods.network import NetworkMethod
from ..metrics.labels import dice_by_label
from ..metrics.measure import Measurer
from ..metrics.regularity import regularity_metrics
from ..pipeline.provenance import provenance
from ..preparation.planes import planes_of
from ..preparation.resample import warp_image, warp_labels, warp_labels_linearly
from ..training.dataset.index import SPLITS, DatasetIndex, Pair
from ..training.dataset.pairs import make_pairs
from ..training.dataset.read import read_dataset_index
from ..training.dataset.splits import read_split, trained_on, with_splits
from ..training.plan import PLAN_FILE
from ..training.recipe import Prepared, prepare_subjects
from ..training.sources import matched
from ..types import Field, Grid, Image, InputError, Transform
from .contenders import Contender, Estimated, check_contender, contender
from .papers import ALL, LABEL_WARPS

#: What a pair and a model gave: "metrics" by state, "seconds", "stages".
Outcome = dict[str, Any]
#: Pairs of which planes are kept for montages.
PICTURED = 3


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated on what.

    Attributes:
        models: folders of trained models, and names of models and methods.
        data, images, labels, masks: see ``training.dataset.read``.
        split: "train", "val", "test", or "all".
        pairing, atlas: see ``training.dataset.pairs``; the pairs that the data give where it is None, else "random".
        size_ijk, resample, voxel_mm, orientation: of the images, see ``training.recipe.prepare_subjects``; those of the
            first trained model where they are None.
        label_warp: "nearest", or "linear": each label's membership is warped linearly, and the largest wins.
        structures: the labels that count; empty for all.
        surfaces: distances between surfaces too.
        stages: measure the fields inside the networks too.
        pairs: at most so many, spread over all of them; None for all.
        cache: where prepared images are kept.
        device: see ``device.choose``.
    """

    models: Sequence[str]
    data: Path
    cache: Path
    images: str | None = None
    labels: str | None = None
    masks: str | None = None
    split: str = "test"
    pairing: str | None = None
    atlas: str | None = None
    size_ijk: tuple[int, ...] | None = None
    resample: bool = False
    voxel_mm: float | None = None
    orientation: str | None = None
    label_warp: str = "nearest"
    structures: tuple[int, ...] = ()
    surfaces: bool = True
    stages: bool = False
    pairs: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        pairs: names of the pairs, in order.
        contenders: what was evaluated, in order.
        outcomes: by label of the contender, one for each pair.
        planes: by (pair, label), for montages, see ``preparation.planes``.
    """

    pairs: Sequence[str]
    contenders: Sequence[Contender]
    outcomes: Mapping[str, Sequence[Outcome]]
    planes: Mapping[tuple[str, str], Mapping[str, np.ndarray]]


def evaluate(request: EvaluationRequest, say: Callable[[str], None] = print) -> Evaluation:
    """Measure every model on every pair.

    Args:
        say: called with a line of text now and then.

    Raises:
        InputError: a model cannot be evaluated, or the data cannot be used; before any registration.
    """
    if request.label_warp not in LABEL_WARPS:
        raise InputError(f"Labels are warped by {' or '.join(LABEL_WARPS)}; it was {request.label_warp!r}.")
    _check_numbers(request)
    for label in request.models:
        check_contender(label)
    device = choose(request.device)
    index = _split(request, read_dataset_index(request.data, request.images, request.labels, request.masks), say)
    pairs = _pairs(request, index)
    _say_what_was_learned(request, index, pairs, say)
    recipe, size, resample_to = _recipe(request)
    used = {name for pair in pairs for name in (pair.moving, pair.fixed)}
    wanted = index.without(set(index.subjects) - used)
    subjects, _ = prepare_subjects(wanted, recipe, size, request.cache, skip=False, say=say, resample_to=resample_to)
    _check_structures(request, subjects, say)
    dimensions = len(next(iter(subjects.values())).shape)
    contenders = [contender(label, dimensions, device) for label in request.models]
    labels = [one.label for one in contenders]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"{twice[0]} is named twice. Give each model once, in folders of different names.")
    about = provenance({}, device, "", {})
    outcomes: dict[str, list[Outcome]] = {one.label: [] for one in contenders}
    planes = {}
    for number, pair in enumerate(pairs, start=1):
        name = f"{pair.moving} to {pair.fixed}"
        for one in contenders:
            fixed, moving = _images(subjects, pair, one.card.recipe.get("match", True))
            truth = [_labels(subjects[side], request.structures) for side in (pair.fixed, pair.moving)]
            found = one.run(fixed, moving, request.stages)
            outcome = _measured(request, fixed, moving, truth, _mask(subjects[pair.fixed]), found)
            outcome.update({key: about[key] for key in ("device", "threads", "versions")})
            outcomes[one.label].append(jsonable(outcome))
            if number <= PICTURED:
                warped = warp_image(moving, fixed, Transform(np.eye(4), found.field))
                jacobian = Image(jacobian_of_field(found.field), fixed.grid)
                shown = {"fixed": fixed, "linear": moving, "warped": warped, "jacobian": jacobian}
                planes[name, one.label] = planes_of(shown, found.field.displacement_lps_mm)
        say(f"[{number}/{len(pairs)}] {name}: {_in_words(outcomes, labels)}")
    return Evaluation([f"{p.moving} to {p.fixed}" for p in pairs], contenders, outcomes, planes)


def _in_words(outcomes: Mapping[str, Sequence[Outcome]], labels: Sequence[str]) -> str:
    """Return the Dice, or the correlation, of the last pair by each model."""
    shown = []
    for label in labels:
        after = outcomes[label][-1]["metrics"]["after"]
        name = "dice" if after.get("dice") is not None else "ncc"
        shown.append(f"{label} {name} {after[name]:.3f}" if after.get(name) is not None else f"{label} done")
    return ", ".join(shown)


# ------------------------------------------------------------------------------------------ the data


def _split(request: EvaluationRequest, index: DatasetIndex, say: Callable[[str], None]) -> DatasetIndex:
    """Return the index with the splits of the data, else of the trainings of the models.

    Raises:
        InputError: neither knows, or two trainings say different things.
    """
    if request.split == ALL:
        subjects = {name: dataclasses.replace(one, split=ALL) for name, one in index.subjects.items()}
        given = tuple(dataclasses.replace(pair, split=None) for pair in index.given)
        return dataclasses.replace(index, subjects=subjects, given=given)
    if any(one.split for one in index.subjects.values()) or any(pair.split for pair in index.given):
        return with_splits(index, 0, 0)[0]
    known: dict[str, dict[str, str]] = {}
    for label in request.models:
        split = read_split(Path(label))
        if split and set(split) & set(index.subjects):
            known[label] = {name: split[name] for name in index.subjects if name in split}
    if not known:
        raise InputError(
            f"Which images of {request.data} are for a {request.split} is said neither by the data (folders train, "
            "val, test, or a column split in a CSV) nor by the training of a model. --split all evaluates all of them."
        )
    first, chosen = next(iter(known.items()))
    for label, other in known.items():
        if other != chosen:
            raise InputError(
                f"{first} and {label} were trained on different parts of {request.data}. Give a CSV with a column "
                "split, so that no model is tested on what it learned from."
            )
    say(f"The {request.split} split is the one of the training of {Path(first).name}.")
    subjects = {name: dataclasses.replace(one, split=chosen.get(name, "train")) for name, one in index.subjects.items()}
    return dataclasses.replace(index, subjects=subjects)


def _say_what_was_learned(
    request: EvaluationRequest, index: DatasetIndex, pairs: Sequence[Pair], say: Callable[[str], None]
) -> None:
    """Say so where a model is measured on images that it learned from: the data may name another split than it had."""
    used = [index.subjects[name] for name in sorted({name for pair in pairs for name in (pair.moving, pair.fixed)})]
    for label in request.models:
        learned = trained_on(Path(label), used)
        if learned and request.split != "train":
            listed = ", ".join(learned[:3]) + (", ..." if len(learned) > 3 else "")
            say(
                f"Note: {Path(label).name} was trained on {len(learned)} of the {len(used)} images that it is measured "
                f"on ({listed}): its figures say less of new images."
            )


def _pairs(request: EvaluationRequest, index: DatasetIndex) -> list[Pair]:
    pairing = request.pairing or ("given" if index.given else "random")
    pairs = make_pairs(index, pairing, request.split, request.atlas)
    if not pairs:
        counts = ", ".join(f"{sum(one.split == split for one in index.subjects.values())} {split}" for split in SPLITS)
        raise InputError(
            f"No pair of {request.data} is in the split {request.split} ({counts}). Choose another --split, or --split "
            "all for every image."
        )
    if request.pairs is not None and len(pairs) > request.pairs:
        places = np.linspace(0, len(pairs) - 1, request.pairs).round().astype(int)
        pairs = [pairs[place] for place in places]
    return pairs


def _recipe(request: EvaluationRequest) -> tuple[dict[str, Any], tuple[int, ...] | None, bool]:
    """Return the recipe and the size of the images, and whether they are resampled to it.

    They are those of the networks' trainings, as far as nothing else is asked for.

    Raises:
        InputError: two networks need different ones.
    """
    asked = {"voxel_mm": request.voxel_mm, "orientation": request.orientation}
    asked = {name: value for name, value in asked.items() if value is not None}
    found: dict[str, tuple[dict[str, Any], tuple[int, ...] | None, bool]] = {}
    for label in request.models:
        needed = _needed(label)
        if needed is not None:
            recipe, size, resampled = needed
            found[label] = {**recipe, **asked}, request.size_ijk or size, request.resample or resampled
    sizes = {size for _recipe, size, _resampled in found.values() if size is not None}
    recipes = {json.dumps([recipe, resampled], sort_keys=True) for recipe, _size, resampled in found.values()}
    if len(recipes) > 1 or len(sizes) > 1:
        names = [Path(label).name for label in found]
        raise InputError(
            f"{names[0]} and {names[-1]} were trained on images that were prepared differently (size, voxels, "
            "orientation, intensities). Evaluate each alone; or say what all get: --size, --voxel-mm, --orientation."
        )
    usual: dict[str, Any] = {"intensity": "unit", "voxel_mm": None, "orientation": None, **asked}
    recipe, _size, resampled = next(iter(found.values()), (usual, None, request.resample))
    return recipe, next(iter(sizes), request.size_ijk), resampled and not (request.size_ijk and not request.resample)


def _needed(label: str) -> tuple[dict[str, Any], tuple[int, ...] | None, bool] | None:
    """Return how a network's training prepared images: the recipe, their size if one is kept, whether it was resampled.

    None for a method, and for a model of others that says nothing.
    """
    folder, keys = Path(label), ("intensity", "voxel_mm", "orientation")
    if not folder.is_dir():
        chosen = method(label)
        given = chosen.card.recipe if isinstance(chosen, NetworkMethod) else None
        return ({key: given.get(key) for key in keys}, None, False) if given else None
    try:
        plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        recipe = {key: plan["recipe"].get(key) for key in keys}
        resampled = bool(plan.get("resample"))
        if resampled:
            recipe["voxel_mm"] = None  # in use the usual size of voxels; here the very size of the images
        return recipe, tuple(plan["shape"][::-1]), resampled
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_numbers(request: EvaluationRequest) -> None:
    """Raise InputError for the first number that is out of range."""
    wrong = {
        "--voxel-mm": request.voxel_mm is not None and not 0.01 <= request.voxel_mm <= 100 and "0.01 to 100 mm",
        "--most-pairs": request.pairs is not None and request.pairs < 1 and "1 or more",
        "--size": bool(request.size_ijk) and min(request.size_ijk or ()) < 16 and "16 voxels or more along each axis",
    }
    for option, wanted in wrong.items():
        if wanted:
            raise InputError(f"{option} must be {wanted}.")


def _check_structures(request: EvaluationRequest, subjects: Mapping[str, Prepared], say: Callable[[str], None]) -> None:
    """Say which of the structures no image of the pairs has; raise InputError where that is all of them."""
    there: set[int] = set()
    for subject in subjects.values() if request.structures else ():
        labels = subject.array("labels")
        there |= set() if labels is None else set(np.unique(np.asarray(labels)).tolist())
    absent = sorted(set(request.structures) - there)
    if absent:
        text = f"No image of these pairs has the label {', '.join(map(str, absent))}."
        if len(absent) == len(set(request.structures)):
            raise InputError(f"{text} Choose others, or leave --structures out.")
        say(text)


def _images(subjects: Mapping[str, Prepared], pair: Pair, match: bool) -> tuple[Image, Image]:
    """Return the fixed and the moving image, on one grid."""
    fixed, moving = (np.asarray(subjects[name].array("image"), np.float32) for name in (pair.fixed, pair.moving))
    if match:
        moving = matched(moving, fixed)
    return _image(fixed, subjects[pair.fixed]), _image(moving, subjects[pair.moving])


def _image(values: np.ndarray, subject: Prepared) -> Image:
    planar = len(subject.shape) == 2
    shape = (1, *subject.shape) if planar else subject.shape
    spacing = (1.0, *subject.spacing_kji_mm) if planar else subject.spacing_kji_mm
    size = (shape[2], shape[1], shape[0])
    return Image(values.reshape(shape), Grid(size, np.diag([*spacing[::-1], 1.0])), subject.name, 2 if planar else 3)


def _labels(subject: Prepared, structures: Sequence[int]) -> Image | None:
    labels = subject.array("labels")
    if labels is None:
        return None
    values = np.asarray(labels, np.int32)
    return _image(np.where(np.isin(values, structures), values, 0) if structures else values, subject)


def _mask(subject: Prepared) -> np.ndarray | None:
    mask = subject.array("mask")
    return None if mask is None else np.asarray(mask).reshape((1,) * (3 - mask.ndim) + mask.shape)


# ------------------------------------------------------------------------------------------ measuring


def _measured(
    request: EvaluationRequest,
    fixed: Image,
    moving: Image,
    truth: Sequence[Image | None],
    mask: np.ndarray | None,
    found: Estimated,
) -> Outcome:
    """Return the metrics before and after, of the whole image but for the mask where there is one."""
    fixed_labels, moving_labels = truth if all(truth) else (None, None)
    if mask is None:
        mask = fixed.values > 0
    measurer = Measurer(fixed, moving, mask if mask.any() else None, fixed_labels, moving_labels)

    def metrics(transform: Transform) -> dict[str, Any]:
        warped_labels = warp_labels(moving_labels, fixed, transform)
        if moving_labels is not None and request.label_warp == "linear":
            warped_labels = warp_labels_linearly(moving_labels, fixed, transform)
        warped = warp_image(moving, fixed, transform)
        measured: dict[str, Any] = {}
        for group in measurer.one_by_one(warped, warped_labels, transform, surfaces=request.surfaces):
            measured.update(group)
        return measured

    outcome: Outcome = {
        "metrics": {"before": metrics(Transform(np.eye(4))), "after": metrics(Transform(np.eye(4), found.field))},
        "seconds": {"registration": found.seconds},
    }
    if request.stages:
        outcome["stages"] = {name: _of_stage(measurer, fixed, truth, stage) for name, stage in found.stages.items()}
    return outcome


def _of_stage(measurer: Measurer, fixed: Image, truth: Sequence[Image | None], stage: Field) -> dict[str, Any]:
    """Return Dice and folds of a field inside a network."""
    transform = Transform(np.eye(4), stage)
    measured: dict[str, Any] = dict(regularity_metrics(stage, measurer.mask, measurer.grid))
    fixed_labels, moving_labels = truth
    if fixed_labels is not None and moving_labels is not None:
        warped = warp_labels(moving_labels, fixed, transform)
        dice = dice_by_label(fixed_labels.values, warped.values, measurer.numbers_of_moving)
        measured["dice"] = float(np.mean(list(dice.values()))) if dice else None
    return measured
