"""From what was asked to a training at work: checks first, then data, network and loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import torch

from ..catalog import CARD_FILE, SEGMENTATION_CARD, STRUCTURES_NETWORK, Card
from ..device import choose, free_bytes
from ..files.weights import read_weights
from ..networks import build, takes_dimensions
from ..processes.memory import free_memory_bytes
from ..types import InputError
from .checkpoints import CHECKPOINT_FILE, Lock
from .distributed import Distributed
from .inputs import Setup, training_inputs, weights_of
from .joint import SEGMENTATION_FOLDER, JointObjective, JointTask, build_joint
from .label_maps.source import LabelMapSource
from .loop import Ended, LoopSettings, Trainer, outputs
from .mixed import MixedSource
from .objective import Objective, Weights
from .plan import Plan, check_same, write_plan
from .precision import faster_precision
from .record import tidy
from .request import TrainingRequest, checked, checked_structures
from .sources import PairSource, Source, SyntheticSource
from .structures import StructureObjective, StructureTask, StructureTraining
from .task import RegistrationTask


def train(request: TrainingRequest, say: Callable[[str], None] = print) -> Ended:
    """Train, or go on with a training that was stopped.

    Args:
        request: what is asked for.
        say: called with a line of text now and then, in the first process.

    Returns:
        How the training ended.

    Raises:
        InputError: something asked for cannot be done; said before any work where it can be known by then.
    """
    device = choose(request.device)
    distributed = Distributed(device.type)
    try:
        if device.type == "cuda" and distributed.size > 1:
            device = torch.device("cuda", distributed.local_rank)
        return _train(request, device, distributed, say if distributed.is_main else lambda text: None)
    finally:
        distributed.close()


def _train(
    request: TrainingRequest, device: torch.device, distributed: Distributed, say: Callable[[str], None]
) -> Ended:
    structures = request.network == STRUCTURES_NETWORK
    card, schedule = (None, checked_structures(request)) if structures else checked(request)
    lock = _claim(request, distributed)
    try:
        inputs = training_inputs(Setup(request, card, schedule, distributed, device, say))
        plan, held_out = inputs.plan, inputs.held_out
        settings = _loop_settings(request, plan, distributed)
        objective: Objective | JointObjective | StructureObjective
        task: RegistrationTask | JointTask | StructureTask
        if card is None:
            network = _structure_network(request, plan, device)
            objective, task = StructureObjective(), StructureTask(plan, inputs.atlas)
        else:
            network = _network(request, card, plan, settings.batch, device, say)
            objective, task = _objective(plan, inputs.source), JointTask(plan) if plan.joint else RegistrationTask(plan)
        if request.resume and distributed.is_main:
            check_same(plan, request.output)
        if plan.precision == "auto":
            plan = _with_precision(plan, network, objective, inputs.source, settings.batch, device, distributed, say)
            task.plan = plan
        if distributed.is_main and not request.resume:
            write_plan(plan, request.output)
        distributed.barrier()
        count = min(request.validation_pairs, len(held_out) if isinstance(held_out, PairSource) else 10**6)
        trainer = Trainer(
            plan,
            network,
            objective,
            inputs.source,
            request.output,
            device,
            settings,
            distributed,
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


def _with_precision(
    plan: Plan,
    network: torch.nn.Module,
    objective: Callable[..., tuple[torch.Tensor, dict[str, torch.Tensor]]],
    source: Source,
    batch: int,
    device: torch.device,
    distributed: Distributed,
    say: Callable[[str], None],
) -> Plan:
    """Return the plan with the precision that is faster on this CPU; the first process decides for all."""
    chosen = None
    if distributed.is_main:
        positions = list(range(batch))
        pairs = next(source.batches([positions], device))

        def step(tried: torch.nn.Module, precision: str) -> None:
            loss, _ = objective(pairs, outputs(tried, pairs, precision), positions)
            if bool(torch.isfinite(loss)):  # else the backward pass can end the process; the training says so
                loss.backward()

        chosen, seconds = faster_precision(network.train(), step)
        each = " and ".join(f"{value:.2f} s in {name}" for name, value in seconds.items() if value < math.inf)
        say(f"A step takes {each}; the training computes in {chosen} (--precision chooses).")
        for name in (name for name, value in seconds.items() if value == math.inf):
            say(f"This torch does not compute the same gradients twice in {name}, so it is not used.")
    return dataclasses.replace(plan, precision=distributed.gather(chosen)[0])


def _objective(plan: Plan, source: Source) -> Objective | JointObjective:
    labels = source.labels if isinstance(source, (SyntheticSource, LabelMapSource)) else None
    structures = 12 if isinstance(source, (LabelMapSource, MixedSource)) else 8  # of 32, some of them small
    objective = Objective(plan.network, plan.loss, Weights(**plan.weights), labels, structures)
    if not plan.joint:
        return objective
    registration = None if plan.joint["alone"] else objective
    return JointObjective(registration, plan.joint["classes"], plan.joint["weight"])


# ------------------------------------------------------------------------------------------ checks


def _claim(request: TrainingRequest, distributed: Distributed) -> Lock | None:
    """Lock the output folder for this training; the first process holds it for all."""
    if not distributed.is_main:
        distributed.barrier()
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
    # A plan alone does not count: that training never began.
    marks = (CHECKPOINT_FILE, CARD_FILE, SEGMENTATION_CARD, f"{SEGMENTATION_FOLDER}/{SEGMENTATION_CARD}")
    taken = next((f for f in marks if (folder / f).exists()), None)
    if taken and not request.resume:
        lock.release()
        raise InputError(
            f"{folder} already contains a training ({taken}). Add --resume to go on with it, or give another --output."
        )
    if request.resume and not (folder / CHECKPOINT_FILE).is_file():
        lock.release()
        raise InputError(f"{folder} contains no checkpoint to go on from. Leave out --resume to start.")
    distributed.barrier()
    return lock


def _loop_settings(request: TrainingRequest, plan: Plan, distributed: Distributed) -> LoopSettings:
    return LoopSettings(
        batch=plan.pairs_per_step // request.accumulate // distributed.size,
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
    request: TrainingRequest, card: Card, plan: Plan, batch: int, device: torch.device, say: Callable[[str], None]
) -> torch.nn.Module:
    configuration = dict(plan.configuration)
    if takes_dimensions(plan.network):
        configuration["dimensions"] = plan.dimensions
    configuration["checkpointing"] = _needs_checkpointing(card, plan, batch, device)
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


def _structure_network(request: TrainingRequest, plan: Plan, device: torch.device) -> torch.nn.Module:
    torch.manual_seed(plan.seed)
    network = StructureTraining(**plan.configuration)
    if request.start is not None and not request.resume:
        _start_from(network, request.start, plan)
    return network.to(device)


def _needs_checkpointing(card: Card, plan: Plan, batch: int, device: torch.device) -> bool:
    """Return whether the memory is enough only when blocks are computed twice.

    Raises:
        InputError: it is not enough at all.
    """
    voxels = math.prod(plan.shape)
    on_gpu = free_bytes(device)
    free = free_memory_bytes() if on_gpu is None else on_gpu
    needs = {kind: voxels * batch * card.bytes_per_voxel[kind] + 500_000_000 for kind in ("fit", "checkpointed")}
    if needs["fit"] <= free:
        return False
    if needs["checkpointed"] <= free:
        return True
    raise InputError(
        f"This training needs about {needs['checkpointed'] / 1e9:.1f} GB of "
        f"{'memory' if on_gpu is None else 'GPU memory'}, and {free / 1e9:.1f} GB are free. Lower --batch (and raise "
        "--accumulate), crop the images (--size), use larger voxels (--voxel-mm), or choose a smaller variant."
    )


def _start_from(network: torch.nn.Module, model: Path, plan: Plan) -> None:
    """Load the weights of a model that was trained before, as the start."""
    arrays = read_weights(weights_of(model))
    wanted = network.state_dict()
    different: list[str] = sorted(
        name
        for name in set(wanted) | set(arrays)
        if name not in wanted or name not in arrays or tuple(wanted[name].shape) != arrays[name].shape
    )
    if different:
        raise InputError(
            f"The weights in {model} are not those of {plan.network} as it is configured: {len(different)} arrays "
            f"differ ({', '.join(different[:2])}). Give the same --network NAME:VARIANT as it was trained with."
        )
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})
