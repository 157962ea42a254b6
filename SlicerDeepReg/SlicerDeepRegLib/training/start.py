"""From what was asked to a training at work: checks first, then data, network and loop."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch

from ..catalogue import CARD_FILE, WEIGHTS_FILE, Card, card
from ..contracts import InputError
from ..device import choose, free_bytes
from ..files.weights import read_weights
from ..networks import build, takes_dimensions
from ..preparation.checks import free_memory_bytes
from .augment import AUGMENTATIONS
from .checkpoints import CHECKPOINT_FILE, Lock
from .listing import make_pairs, read_listing, with_splits
from .loop import Ended, Schedule, Trainer
from .objective import Objective, Weights
from .plan import PLAN_FILE, Plan, check_same, write_plan
from .presets import Preset, preset
from .recipe import prepare_subjects
from .record import tidy
from .sources import HELD_OUT, PairSource, SyntheticSource
from .synthetic import SyntheticSettings, describe
from .team import Team


@dataclass(frozen=True)
class TrainingRequest:
    """One training, as the command line and the tests ask for it; None is what the preset says.

    Attributes:
        network: name of a network's card, or NAME:VARIANT.
        output: folder for model, checkpoint, log and pictures.
        data: a folder, a CSV or a dataset.json; or ``synthetic``: one of ``synthetic.KINDS``.
        images, labels, masks: see ``listing.read_listing``. pairing, atlas: see ``listing.make_pairs``.
        size_ijk: images are cut or padded to it. voxel_mm, orientation: of the recipe.
        dimensions: 2 or 3, for synthetic pairs of a network that takes both.
        epochs or steps: how long. batch: pairs of one process at once. accumulate: batches of a step.
        image_weight, label_weight, field_weight: see ``objective.Weights``.
        mirror: axes that are mirrored half of the time, of "ijk".
        validation: part of the subjects that is held out where the data name none. validation_pairs: most of them.
        start: a model whose weights are the start.
        skip_bad: leave out images that cannot be used.
        ...: see ``plan.Plan`` and ``loop.Schedule``.
    """

    network: str
    output: Path
    data: Optional[Path] = None
    synthetic: Optional[str] = None
    images: Optional[str] = None
    labels: Optional[str] = None
    masks: Optional[str] = None
    pairing: Optional[str] = None
    atlas: Optional[str] = None
    size_ijk: Optional[Tuple[int, ...]] = None
    voxel_mm: Optional[float] = None
    orientation: Optional[str] = None
    dimensions: Optional[int] = None
    name: Optional[str] = None
    preset: Optional[str] = None
    epochs: Optional[int] = None
    steps: Optional[int] = None
    batch: Optional[int] = None
    accumulate: int = 1
    optimiser: Optional[str] = None
    learning_rate: Optional[float] = None
    decay: Optional[str] = None
    regularity: Optional[float] = None
    image_weight: float = 1.0
    label_weight: Optional[float] = None
    field_weight: Optional[float] = None
    clip: float = 1.0
    ema: float = 0.0
    precision: str = "auto"
    augment: Optional[str] = None
    mirror: str = ""
    seed: int = 0
    validation: float = 0.1
    validation_pairs: int = 20
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 10
    patience: int = 0
    surfaces: bool = False
    limit_minutes: Optional[float] = None
    tensorboard: bool = False
    start: Optional[Path] = None
    device: str = "auto"
    workers: int = 0
    cache: Optional[Path] = None
    skip_bad: bool = False
    resume: bool = False


def train(request: TrainingRequest, say: Callable[[str], None] = print) -> Ended:
    """Train, or go on with a training that was stopped.

    Raises:
        InputError: something asked for cannot be done; said before any work where it can be known by then.
    """
    device = choose(request.device)
    team = Team(device.type)
    try:
        if device.type == "cuda" and team.size > 1:
            device = torch.device("cuda", team.local_rank)
        return _train(request, device, team, say if team.is_first else lambda text: None)
    finally:
        team.leave()


def _train(request: TrainingRequest, device: torch.device, team: Team, say) -> Ended:
    chosen, settings = _checked(request, team)
    lock = _claim(request, team)
    try:
        source, held_out, plan = _data(request, chosen, settings, team, device, say)
        schedule = _schedule(request, plan, team)
        network = _network(request, chosen, plan, schedule.batch, device, say)
        if team.is_first and request.resume:
            check_same(plan, request.output)
        elif team.is_first:
            write_plan(plan, request.output)
        team.wait()
        objective = Objective(plan.network, plan.loss, Weights(**plan.weights))
        count = min(request.validation_pairs, len(held_out) if isinstance(held_out, PairSource) else 10**6)
        trainer = Trainer(
            *(plan, network, objective, source, request.output, device, schedule, team),
            held_out=held_out if count else None,
            held_out_count=count,
            say=say,
        )
        say(f"{plan.network}: {plan.steps} steps of {plan.pairs_per_step} on {plan.about_data}, on {device}")
        return trainer.run(request.resume)
    finally:
        if lock is not None:
            lock.release()


# ------------------------------------------------------------------------------------------ checks


def _checked(request: TrainingRequest, team: Team) -> Tuple[Card, Preset]:
    chosen = card(request.network)
    if chosen.network is None:
        raise InputError(f"{chosen.title} has nothing to train. Choose a network: see 'slicerdeepreg models'.")
    if bool(request.data) == bool(request.synthetic):
        raise InputError("Give what to train on: --data FOLDER, or --synthetic for pairs that are made; not both.")
    settings = preset(chosen.network, request.preset or ("synthetic" if request.synthetic else "general"))
    wrong = {
        "--augment": request.augment not in (None, *AUGMENTATIONS) and f"one of {', '.join(AUGMENTATIONS)}",
        "--mirror": bool(set(request.mirror) - set("ijk")) and "of the letters i, j, k",
        "--batch": request.batch is not None and request.batch < 1 and "1 or more",
        "--accumulate": request.accumulate < 1 and "1 or more",
        "--validation": not 0 <= request.validation < 1 and "a part, from 0 to below 1",
        "--size": bool(request.size_ijk) and min(request.size_ijk) < 16 and "16 voxels or more along each axis",
        "--voxel-mm": request.voxel_mm is not None and not 0.01 <= request.voxel_mm <= 100 and "0.01 to 100 mm",
        "--validate-every": request.validate_every < 1 and "1 or more",
        "--checkpoint-every": request.checkpoint_every < 1 and "1 or more",
    }
    for option, wanted in wrong.items():
        if wanted:
            raise InputError(f"{option} must be {wanted}.")
    return chosen, settings


def _claim(request: TrainingRequest, team: Team) -> Optional[Lock]:
    """The output folder for this training alone; the first process holds it for all."""
    if not team.is_first:
        team.wait()
        return None
    folder = request.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)
    except OSError as error:
        raise InputError(
            f"The output folder {folder} cannot be written to ({error.strerror}). Choose another."
        ) from error
    tidy(folder)
    taken = next((f for f in (CHECKPOINT_FILE, PLAN_FILE, CARD_FILE) if (folder / f).exists()), None)
    if taken and not request.resume:
        lock.release()
        raise InputError(
            f"{folder} already holds a training ({taken}). Add --resume to go on with it, or give another --output."
        )
    if request.resume and not (folder / CHECKPOINT_FILE).is_file():
        lock.release()
        raise InputError(f"{folder} holds no checkpoint to go on from. Leave out --resume to start.")
    team.wait()
    return lock


# ------------------------------------------------------------------------------------------ data


def _data(request: TrainingRequest, chosen: Card, settings: Preset, team: Team, device, say):
    """(source, held-out source or None, plan)."""
    if request.synthetic:
        return _made_data(request, chosen, settings, team, device)
    return _real_data(request, chosen, settings, team, device, say)


def _made_data(request: TrainingRequest, chosen: Card, settings: Preset, team: Team, device):
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
        *(request, chosen, settings, team, device),
        data={"synthetic": describe(made)},
        about_data=about,
        shape=shape,
        recipe=recipe,
        pairs=None,
        truth=True,
    )
    source = SyntheticSource(shape, request.seed, made)
    return source, SyntheticSource(shape, request.seed, made, stream=HELD_OUT), plan


def _real_data(request: TrainingRequest, chosen: Card, settings: Preset, team: Team, device, say):
    listing = read_listing(request.data, request.images, request.labels, request.masks)
    recipe: Dict[str, Any] = {"intensity": "unit", "voxel_mm": request.voxel_mm, "orientation": request.orientation}
    size = request.size_ijk or settings.size_ijk
    cache = request.cache or request.output / "prepared"
    arguments = (listing, recipe, size, cache, request.skip_bad)
    if team.is_first:
        subjects, left_out = prepare_subjects(*arguments, say)
    team.wait()
    if not team.is_first:  # what the first one prepared
        subjects, left_out = prepare_subjects(*arguments)
    for why in left_out:
        say(f"Left out: {why}")
    listing, note = with_splits(
        listing.without(set(listing.subjects) - set(subjects)), request.validation, request.seed
    )
    if note:
        say(note)
    if len(subjects) < 2:
        raise InputError(
            f"{request.data} has {len(subjects)} image that can be used: a pair needs two. Add images, or use "
            "synthetic pairs: --synthetic."
        )
    pairing = request.pairing or ("given" if any(p.split != "val" for p in listing.given) else settings.pairing)
    pairs = make_pairs(listing, pairing, "train", request.atlas)
    held_out = make_pairs(listing, pairing, "val", request.atlas)[: request.validation_pairs]
    first = next(iter(subjects.values()))
    if first.orientation:
        recipe["orientation"] = first.orientation
    if recipe["voxel_mm"] is None and max(first.spacing_kji_mm) < 1.01 * min(first.spacing_kji_mm):
        recipe["voxel_mm"] = round(first.spacing_kji_mm[0], 4)
    used = sorted({name for pair in pairs for name in (pair.moving, pair.fixed)})
    fingerprint = hashlib.sha256("\n".join(f"{p.moving} {p.fixed}" for p in pairs).encode()).hexdigest()[:16]
    plan = _plan(
        *(request, chosen, settings, team, device),
        data={"images": len(used), "pairs": len(pairs), "pairing": pairing, "fingerprint": fingerprint},
        about_data=f"{len(used)} images of {request.data.resolve().name} ({len(pairs)} pairs, {pairing})",
        shape=first.shape,
        recipe=recipe,
        pairs=len(pairs),
        truth=False,
    )
    groups = {name: one.group for name, one in listing.subjects.items()}
    augment, mirrored = request.augment or settings.augment, tuple("ijk".index(c) for c in request.mirror)
    source = PairSource(
        pairs, subjects, request.seed, pairing == "random", groups, True, augment, mirrored, request.workers
    )
    validation = PairSource(held_out, subjects, request.seed, shuffle=False) if held_out else None
    return source, validation, plan


def _plan(
    request: TrainingRequest, chosen: Card, settings: Preset, team: Team, device, *, pairs, truth, **about
) -> Plan:
    shape = about["shape"]
    if len(shape) not in chosen.dimensions:
        axes = " and ".join(f"{n}D" for n in chosen.dimensions)
        raise InputError(f"{chosen.title} takes {axes} images; these have {len(shape)} axes. Choose another network.")
    batch = (request.batch or settings.batch) * request.accumulate * team.size
    steps = request.steps
    epochs = request.epochs or (None if steps else settings.epochs)
    if steps is None and epochs and pairs:
        steps = epochs * max(1, round(pairs / batch))
    loss = dict(settings.loss)
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
        name=request.name or request.output.resolve().name,
        network=chosen.network,
        configuration=dict(chosen.configuration),
        dimensions=len(shape),
        loss=loss,
        weights=weights,
        steps=steps or settings.steps or 10000,
        pairs_per_step=batch,
        optimiser=request.optimiser or settings.optimiser,
        learning_rate=request.learning_rate or settings.learning_rate,
        decay=request.decay or settings.decay,
        clip=request.clip,
        ema=request.ema,
        precision=_precision(request.precision, device),
        seed=request.seed,
        preset=request.preset or ("synthetic" if request.synthetic else "general"),
        **about,
    )


def _precision(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _schedule(request: TrainingRequest, plan: Plan, team: Team) -> Schedule:
    return Schedule(
        batch=plan.pairs_per_step // request.accumulate // team.size,
        accumulate=request.accumulate,
        validate_every=request.validate_every,
        checkpoint_every=request.checkpoint_every,
        log_every=request.log_every,
        patience=request.patience,
        surfaces=request.surfaces,
        limit_s=60 * request.limit_minutes if request.limit_minutes else None,
        tensorboard=request.tensorboard,
    )


# ------------------------------------------------------------------------------------------ the network


def _network(
    request: TrainingRequest, chosen: Card, plan: Plan, batch: int, device: torch.device, say
) -> torch.nn.Module:
    configuration = dict(plan.configuration)
    if takes_dimensions(plan.network):
        configuration["dimensions"] = plan.dimensions
    configuration["checkpointing"] = _needs_checkpointing(chosen, plan, batch, device)
    if configuration["checkpointing"]:
        say("Parts of the network are computed twice, so that the memory is enough.")
    torch.manual_seed(plan.seed)
    network = build(plan.network, **configuration)
    if request.start is not None and not request.resume:
        _start_from(network, request.start, plan)
    network = network.to(device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return network.to(memory_format=torch.channels_last_3d) if plan.dimensions == 3 else network


def _needs_checkpointing(chosen: Card, plan: Plan, batch: int, device: torch.device) -> bool:
    """Whether memory is enough by computing blocks twice only.

    Raises:
        InputError: it is not enough at all.
    """
    voxels = math.prod(plan.shape)
    free = free_bytes(device) or free_memory_bytes()
    needs = {kind: voxels * batch * chosen.bytes_per_voxel[kind] + 500_000_000 for kind in ("fit", "checkpointed")}
    if needs["fit"] <= free:
        return False
    if needs["checkpointed"] <= free:
        return True
    raise InputError(
        f"This training needs about {needs['checkpointed'] / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. Lower "
        "--batch (and raise --accumulate), cut the images (--size), larger voxels (--voxel-mm), or a smaller variant."
    )


def _start_from(network: torch.nn.Module, model: Path, plan: Plan) -> None:
    """Weights of a model that was trained before, as the start."""
    arrays = read_weights(model / WEIGHTS_FILE if model.is_dir() else model)
    wanted = network.state_dict()
    unlike: List[str] = sorted(
        name
        for name in set(wanted) | set(arrays)
        if name not in wanted or name not in arrays or tuple(wanted[name].shape) != arrays[name].shape
    )
    if unlike:
        raise InputError(
            f"The weights in {model} are not those of {plan.network} as it is configured: {len(unlike)} arrays differ "
            f"({', '.join(unlike[:2])}). Give the same --network NAME:VARIANT as it was trained with."
        )
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
