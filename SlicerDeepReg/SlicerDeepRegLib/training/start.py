"""From what was asked to a training at work: checks first, then data, network and loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch

from ..catalog import CARD_FILE, SEGMENTATION_CARD, Card
from ..checks import free_memory_bytes
from ..device import choose, free_bytes
from ..files.weights import read_weights
from ..networks import build, takes_dimensions
from ..types import InputError
from .checkpoints import CHECKPOINT_FILE, Lock
from .distributed import Distributed
from .joint import SEGMENTATION_FOLDER, JointObjective, JointTask, build_joint
from .loop import Ended, LoopSettings, Trainer
from .materials import materials, weights_of
from .objective import Objective, Weights
from .plan import Plan, check_same, write_plan
from .record import tidy
from .request import TrainingRequest, checked
from .sources import PairSource, SyntheticSource
from .task import RegistrationTask


def train(request: TrainingRequest, say: Callable[[str], None] = print) -> Ended:
    """Train, or go on with a training that was stopped.

    Raises:
        InputError: something asked for cannot be done; said before any work where it can be known by then.
    """
    device = choose(request.device)
    team = Distributed(device.type)
    try:
        if device.type == "cuda" and team.size > 1:
            device = torch.device("cuda", team.local_rank)
        return _train(request, device, team, say if team.is_first else lambda text: None)
    finally:
        team.leave()


def _train(request: TrainingRequest, device: torch.device, team: Distributed, say) -> Ended:
    chosen, schedule = checked(request)
    lock = _claim(request, team)
    try:
        source, held_out, plan = materials(request, chosen, schedule, team, device, say)
        settings = _loop_settings(request, plan, team)
        network = _network(request, chosen, plan, settings.batch, device, say)
        if team.is_first and request.resume:
            check_same(plan, request.output)
        elif team.is_first:
            write_plan(plan, request.output)
        team.wait()
        labels = source.labels if isinstance(source, SyntheticSource) else None
        objective = Objective(plan.network, plan.loss, Weights(**plan.weights), labels)
        task = RegistrationTask(plan)
        if plan.joint:
            registration = None if plan.joint["alone"] else objective
            objective = JointObjective(registration, plan.joint["classes"], plan.joint["weight"])
            task = JointTask(plan)
        count = min(request.validation_pairs, len(held_out) if isinstance(held_out, PairSource) else 10**6)
        trainer = Trainer(
            *(plan, network, objective, source, request.output, device, settings, team),
            held_out=held_out if count else None,
            held_out_count=count,
            task=task,
            say=say,
        )
        say(f"{plan.network}: {plan.steps} steps of {plan.pairs_per_step} on {plan.about_data}, on {device}")
        return trainer.run(request.resume)
    finally:
        if lock is not None:
            lock.release()


# ------------------------------------------------------------------------------------------ checks


def _claim(request: TrainingRequest, team: Distributed) -> Lock | None:
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
    marks = (CHECKPOINT_FILE, CARD_FILE, f"{SEGMENTATION_FOLDER}/{SEGMENTATION_CARD}")  # a plan alone: it never began
    taken = next((f for f in marks if (folder / f).exists()), None)
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


def _loop_settings(request: TrainingRequest, plan: Plan, team: Distributed) -> LoopSettings:
    return LoopSettings(
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
    if plan.joint:
        network = build_joint(None if plan.joint["alone"] else network, plan)
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
    on_gpu = free_bytes(device)
    free = free_memory_bytes() if on_gpu is None else on_gpu
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
    arrays = read_weights(weights_of(model))
    wanted = network.state_dict()
    unlike: list[str] = sorted(
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
