"""What can be asked of a training, and what cannot."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..catalog import MODEL_FOLDERS, Card, card, cards
from ..networks.segmentation import SEGMENTATIONS
from ..types import InputError
from .augment import AUGMENTATIONS
from .changes import with_changes
from .dataset.pairs import ATLAS_PAIRINGS
from .schedules import GENERAL, Schedule, find_schedule


@dataclass(frozen=True)
class TrainingRequest:
    """One training, as the command line and the tests ask for it; None is what the schedule says.

    Attributes:
        network: name of a network's card, or NAME:VARIANT.
        output: folder for model, checkpoint, log and pictures.
        data: a folder, a CSV or a dataset.json; or ``synthetic``: one of ``synthetic.KINDS``; or ``label_maps``: a
            folder of label maps of whole brains, on which images are painted, alone or with ``data`` beside it.
        real_part: of the steps that ``data`` makes, where it stands beside ``label_maps``, above 0 and below 1.
        images, labels, masks: see ``dataset.read``. pairing, atlas: see ``dataset.pairs``.
        size_ijk: images are cut or padded to it, or with ``resample`` resampled to it.
        voxel_mm, orientation: of the recipe.
        dimensions: 2 or 3, for synthetic pairs of a network that takes both.
        epochs or steps: how long. batch: pairs of one process at once. accumulate: batches of a step.
        image_weight, label_weight, field_weight: see ``objective.Weights``.
        changed: "NAME=VALUE" for an argument of the network's class, "loss.NAME=VALUE" for one of its loss.
        match: whether the moving image gets the intensities of the fixed one.
        mirror: axes that are mirrored half of the time, of "ijk".
        validation: part of the subjects that is held out where the data name none; None for the schedule's counts, or a
            tenth. validation_pairs: most of them.
        joint: "fcn" or "unet", trained with the registration; alone: that one without registration. ratio: part of the
            images of a series that are annotated. slices: cut volumes into slices along "i", "j" or "k".
            segmentation_weight: of its loss beside the registration's. See ``joint``.
        start: a model whose weights are the start.
        skip_bad: leave out images that cannot be used.
        workers: processes that read images; None for as many as help (on a GPU up to 8, else none).
        ...: see ``plan.Plan`` and ``loop.LoopSettings``.
    """

    network: str
    output: Path
    data: Path | None = None
    synthetic: str | None = None
    label_maps: Path | None = None
    real_part: float = 0.5
    images: str | None = None
    labels: str | None = None
    masks: str | None = None
    pairing: str | None = None
    atlas: str | None = None
    size_ijk: tuple[int, ...] | None = None
    resample: bool = False
    voxel_mm: float | None = None
    orientation: str | None = None
    dimensions: int | None = None
    name: str | None = None
    schedule: str | None = None
    epochs: int | None = None
    steps: int | None = None
    batch: int | None = None
    accumulate: int = 1
    optimizer: str | None = None
    learning_rate: float | None = None
    decay: str | None = None
    regularity: float | None = None
    changed: tuple[str, ...] = ()
    image_weight: float = 1.0
    label_weight: float | None = None
    field_weight: float | None = None
    clip: float | None = None
    match: bool | None = None
    ema: float = 0.0
    precision: str = "auto"
    augment: str | None = None
    mirror: str = ""
    seed: int = 0
    validation: float | None = None
    validation_pairs: int = 20
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 10
    patience: int = 0
    surfaces: bool = False
    limit_minutes: float | None = None
    tensorboard: bool = False
    joint: str | None = None
    alone: bool = False
    ratio: float | None = None
    slices: str | None = None
    segmentation_weight: float = 1.0
    start: Path | None = None
    device: str = "auto"
    workers: int | None = None
    cache: Path | None = None
    skip_bad: bool = False
    resume: bool = False


NAMED = "and not the name of a model that comes with the product"


def _is_name(text: str) -> bool:
    letters = text and text[0] != "." and all(c.isalnum() or c in "-_." for c in text)
    return bool(letters) and not (text in cards() and cards()[text].folder.parent in MODEL_FOLDERS)


def default_name(output: Path) -> str:
    """Return the output folder's name, as far as it can be a model's."""
    text = "".join(c if c.isalnum() or c in "-_." else "-" for c in output.resolve().name).lstrip(".") or "model"
    return text if _is_name(text) else f"{text}-trained"


def schedule_name(request: TrainingRequest) -> str:
    """Return the name of the schedule that is asked for."""
    if request.label_maps:
        return request.schedule or "label-maps"
    return request.schedule or ("synthetic" if request.synthetic else "general")


def checked_structures(request: TrainingRequest) -> Schedule:
    """Return the schedule of the network that sees structures.

    Raises:
        InputError: something that can be known before any work is wrong.
    """
    if not request.label_maps or request.data or request.synthetic:
        raise InputError("The network that sees structures is trained on label maps alone: --label-maps FOLDER.")
    if request.joint or request.slices:
        raise InputError("--joint and --slices do not belong to the network that sees structures. Leave them out.")
    _check_numbers(request)
    _check_label_maps(request)
    _refuse(
        request,
        ("changed", "image_weight", "label_weight", "field_weight", "regularity"),
        "the registration networks' loss",
        "the network that sees structures",
    )
    if request.dimensions == 2:
        raise InputError("The network that sees structures takes volumes. Leave out --dimensions.")
    if request.epochs:
        raise InputError(
            "Images that are painted (--label-maps) have no epochs: every one is new. Give --steps instead."
        )
    if request.schedule not in (None, "label-maps"):
        raise InputError(
            f"The network that sees structures has no schedule {request.schedule!r}. Leave --schedule out."
        )
    return GENERAL["label-maps"]


def checked(request: TrainingRequest) -> tuple[Card, Schedule]:
    """Return the card and the schedule that are asked for, with the changes of ``--set``.

    Raises:
        InputError: something that can be known before any work is wrong.
    """
    chosen = card(request.network)
    if bool(request.synthetic) == bool(request.data or request.label_maps):
        raise InputError(
            "Give what to train on: --data FOLDER, --label-maps FOLDER, both of these, or --synthetic for pairs that "
            "are made."
        )
    if request.real_part != TrainingRequest.real_part and not (request.data and request.label_maps):
        raise InputError("--real-part says how --data and --label-maps are mixed. Give both, or leave it out.")
    schedule = find_schedule(chosen, schedule_name(request))
    _check_numbers(request)
    _check_source(request)
    if chosen.weights is not None:
        raise InputError(
            f"{chosen.name} is a model with weights. To train its network anew, give --network {chosen.network}; to go "
            "on from its weights, --start with its folder, too."
        )
    _check_joint(request)
    return with_changes(request.changed, chosen, schedule)


def _check_source(request: TrainingRequest) -> None:
    """Raise InputError for what does not go with that which is trained on."""
    made = "--synthetic" if request.synthetic else "--label-maps"
    if request.epochs and (request.label_maps or not request.data):
        raise InputError(f"Pairs that are made ({made}) have no epochs: every pair is new. Give --steps instead.")
    if request.joint and (request.label_maps or not request.data):
        raise InputError(f"Joint training needs images with labels: --data, not {made}.")
    if request.label_maps:
        _check_label_maps(request)
    elif request.synthetic:
        _refuse(request, (*_OF_IMAGES, "orientation", "resample"), "images on disk (--data)", "--synthetic")
    else:
        _refuse(request, ("field_weight",), "pairs that are made", "--data")
    if request.epochs and request.steps:
        raise InputError("--epochs and --steps both say how long to train. Give one of them.")
    if request.pairing in ATLAS_PAIRINGS and not request.atlas:
        raise InputError(f"--pairs {request.pairing} needs the name of the atlas: --atlas NAME.")


def _check_joint(request: TrainingRequest) -> None:
    """Raise InputError for what belongs to joint training alone, or does not go with it."""
    if request.joint and (request.atlas or request.pairing):
        raise InputError("Joint training makes its own pairs, from annotated images; leave out --pairs and --atlas.")
    if request.joint and request.label_weight:
        raise InputError("Joint training hides the labels of the fixed images; leave out --label-weight.")
    if not request.joint and (request.alone or request.ratio or request.slices or request.segmentation_weight != 1):
        raise InputError(
            "--alone, --ratio, --slices and --segmentation-weight belong to joint training: --joint fcn or unet."
        )


#: Options that decide what is made of images on disk, which painted ones are not.
_OF_IMAGES = ("images", "labels", "masks", "pairing", "atlas", "augment", "mirror", "validation")
_OF_IMAGES += ("workers", "skip_bad", "match")
_OPTIONS = {"pairing": "pairs", "skip_bad": "on-bad-image", "changed": "set"}


def _check_label_maps(request: TrainingRequest) -> None:
    """Raise InputError for what would change nothing beside label maps, which decide how images lie."""
    if not request.data:
        _refuse(request, _OF_IMAGES, "images on disk (--data)", "--label-maps")
    _refuse(request, ("orientation", "resample"), "images alone", "--label-maps")


def _refuse(request: TrainingRequest, names: Iterable[str], what: str, beside: str) -> None:
    """Raise InputError for options that would change nothing."""
    usual = {field.name: field.default for field in dataclasses.fields(request)}
    given = [_OPTIONS.get(name, name.replace("_", "-")) for name in names if getattr(request, name) != usual[name]]
    if given:
        raise InputError(f"--{' and --'.join(given)} belong to {what}. Leave them out with {beside}.")


def _check_numbers(request: TrainingRequest) -> None:
    """Raise InputError for the first option whose value is out of range."""
    wrong = {
        "--augment": request.augment not in (None, *AUGMENTATIONS) and f"one of {', '.join(AUGMENTATIONS)}",
        "--mirror": bool(set(request.mirror) - set("ijk")) and "of the letters i, j, k",
        "--batch": request.batch is not None and request.batch < 1 and "1 or more",
        "--accumulate": request.accumulate < 1 and "1 or more",
        "--validation": not 0 <= (request.validation or 0) < 1 and "a part, from 0 to below 1",
        "--validation-pairs": request.validation_pairs < 0 and "0 or more",
        "--log-every": request.log_every < 1 and "1 or more",
        "--workers": (request.workers or 0) < 0 and "0 or more",
        "--clip": (request.clip or 0) < 0 and "0 (for none) or more",
        "--steps": request.steps is not None and request.steps < 1 and "1 or more",
        "--epochs": request.epochs is not None and request.epochs < 1 and "1 or more",
        "--learning-rate": request.learning_rate is not None and not request.learning_rate > 0 and "above 0",
        "--name": request.name is not None and not _is_name(request.name) and f"of letters, digits, - and _; {NAMED}",
        "--size": bool(request.size_ijk) and min(request.size_ijk) < 16 and "16 voxels or more along each axis",
        "--voxel-mm": request.voxel_mm is not None and not 0.01 <= request.voxel_mm <= 100 and "0.01 to 100 mm",
        "--real-part": not 0 < request.real_part < 1 and "a part, above 0 and below 1",
        "--joint": request.joint not in (None, *SEGMENTATIONS) and f"one of {', '.join(SEGMENTATIONS)}",
        "--ratio": request.ratio is not None and not 0 < request.ratio <= 1 and "a part, above 0 to 1",
        "--slices": request.slices not in (None, "i", "j", "k") and "one of i, j, k",
        "--validate-every": request.validate_every < 1 and "1 or more",
        "--checkpoint-every": request.checkpoint_every < 1 and "1 or more",
        "--ema": not 0 <= request.ema < 1 and "a part, from 0 to below 1",
        "--limit": request.limit_minutes is not None and not request.limit_minutes > 0 and "above 0",
        "--patience": request.patience < 0 and "0 (for none) or more",
        **{
            f"--{name.replace('_', '-')}": not 0 <= (getattr(request, name) or 0) < math.inf and "0 or more"
            for name in ("image_weight", "label_weight", "field_weight", "segmentation_weight", "regularity")
        },
    }
    for option, wanted in wrong.items():
        if wanted:
            raise InputError(f"{option} must be {wanted}.")
