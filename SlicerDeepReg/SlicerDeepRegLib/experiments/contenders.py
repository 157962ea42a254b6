"""What is evaluated: a trained network, or a method that needs no training, on pairs as trainings prepare them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..catalog import CARD_FILE, Card, read_user_card
from ..geometry.fields import existing_axes, to_lps
from ..geometry.grids import coarser, on_grid, triple
from ..geometry.points import fixed_to_moving, voxel_centers_lps
from ..methods import method
from ..methods.network import NetworkMethod
from ..models.weights import built, load_weights
from ..networks.size import parameters
from ..pipeline import register
from ..types import PEOPLE, Field, Grid, Image, InputError, Request


@dataclass(frozen=True)
class Estimated:
    """What a contender found for a pair.

    Attributes:
        field: on the fixed grid, LPS mm.
        seconds: it took.
        stages: the fields inside a network by name, in their order, on the fixed grid.
    """

    field: Field
    seconds: float
    stages: Mapping[str, Field] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A model or method.

    Attributes:
        label: what it was asked for as; of a trained model the name of its folder.
        card: its card.
        parameters: of the network, or None.
        run: estimates a pair of images, values 0 to 1 on one grid: fixed, moving, and whether the fields inside the
            network are wanted.
    """

    label: str
    card: Card
    parameters: int | None
    run: Callable[[Image, Image, bool], Estimated]


def check_contender(label: str) -> None:
    """Check what can be known before any image is read.

    Raises:
        InputError: there is no such model or method, it is not installed, or it has no weights.
    """
    folder = Path(label)
    if (folder / CARD_FILE).is_file():
        read_user_card(folder)
        return
    if folder.is_dir():
        raise InputError(f"{folder} contains no {CARD_FILE}: it is not a trained model. Is its training finished?")
    chosen = method(label)
    if needs_training(label):
        raise InputError(
            f"{label} has no weights, so there is nothing to evaluate. Train it (slicerdeepreg train) and give the "
            "folder of the model."
        )
    missing = chosen.missing()
    if missing is not None:
        raise InputError(missing.sentence)


def contender(label: str, dimensions: int, device: torch.device) -> Contender:
    """Return a model or method that can be evaluated.

    Args:
        label: the folder of a trained model, or the name of a model or method (NAME or NAME:VARIANT).
        dimensions: of the images, 2 or 3.

    Raises:
        InputError: see :func:`check_contender`; or it does not take such images.
    """
    check_contender(label)
    folder = Path(label)
    if (folder / CARD_FILE).is_file():
        return _network(folder.resolve().name, read_user_card(folder), dimensions, device)
    chosen = method(label)
    if isinstance(chosen, NetworkMethod):
        return _network(label, chosen.card, dimensions, device)
    return Contender(label, chosen.card, None, lambda fixed, moving, _: _by_method(label, fixed, moving, device))


def needs_training(label: str) -> bool:
    """Return whether a name means a network without weights.

    Raises:
        InputError: there is no method of that name.
    """
    chosen = method(label)
    return isinstance(chosen, NetworkMethod) and chosen.card.weights is None


def _network(label: str, card: Card, dimensions: int, device: torch.device) -> Contender:
    if dimensions not in card.dimensions:
        raise InputError(f"{label} takes {card.dimensions[0]}D images; these have {dimensions} axes.")
    network = built(card, dimensions)
    load_weights(network, card)
    network = network.eval().to(device)

    def run(fixed: Image, moving: Image, with_stages: bool) -> Estimated:
        both = [_tensor(image, device) for image in (moving, fixed)]
        _wait(device)
        started = time.perf_counter()
        with torch.no_grad():
            output = network(*both)
        _wait(device)
        seconds = time.perf_counter() - started
        stages = {}
        for name, values in output.fields.items() if with_stages else ():
            grid = _grid_of(fixed.grid, values.shape[2:], output.factors[name])
            stages[name] = on_grid(to_lps(_array(values), grid, existing_axes(fixed.grid)), fixed.grid)
        return Estimated(to_lps(_array(output.displacement), fixed.grid), seconds, stages)

    return Contender(label, card, parameters(network), run)


def _grid_of(fixed: Grid, shape: tuple[int, ...], factor: int) -> Grid:
    """Return the grid of a field inside the network, whose voxels are so many times as large."""
    size = iter(shape[::-1])
    return coarser(fixed, factor, triple(next(size) if n > 1 else 1 for n in fixed.size_ijk))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _tensor(image: Image, device: torch.device) -> torch.Tensor:
    values = np.ascontiguousarray(image.values, np.float32)
    return torch.from_numpy(values.reshape([n for n in values.shape if n > 1]))[None, None].to(device)


def _array(displacement: torch.Tensor) -> np.ndarray:
    array: np.ndarray = displacement[0].detach().float().cpu().numpy()
    return array


def _by_method(label: str, fixed: Image, moving: Image, device: torch.device) -> Estimated:
    """Register the pair without a linear stage, since the images of a training are aligned.

    They are deformed freely, as the networks deform them: images that lie over one another are no reason not to.
    """
    request = Request(
        fixed=fixed, moving=moving, method=label, linear="none", pair=PEOPLE, device=device.type, measure=False
    )
    started = time.perf_counter()
    result = register(request)
    seconds = result.seconds.get("method", time.perf_counter() - started)
    places = voxel_centers_lps(fixed.grid)
    moved = fixed_to_moving(result.transform, places.reshape(-1, 3)).reshape(places.shape)
    return Estimated(Field((moved - places).astype(np.float32), fixed.grid), seconds)
