"""What the structures of two brains give to their registration: a start for the linear stage, and channels."""

from __future__ import annotations

import dataclasses

from ..catalog import brain_model
from ..checks import Inputs
from ..geometry.structures import motion_between
from ..models.structures import StructureModel, Structures
from ..preparation.structures import structure_codes
from ..types import AUTOMATIC, Channels, ImagePair, InputError, Request
from .align import Plan

#: The linear method that starts from structures.
LINEAR = "structures"


def asks_for_structures(request: Request) -> bool:
    """Tell whether a registration is to look for the structures of brains."""
    return request.structures == AUTOMATIC or request.linear == LINEAR


def with_structures(inputs: Inputs, plan: Plan) -> tuple[Inputs, tuple[str, ...]]:
    """Return the inputs with what was seen in both images, where both are brains, and sentences about it.

    Raises:
        InputError: the model is damaged, or it is missing and the linear stage was to start from it.
    """
    pair, request = inputs.pair, plan.request
    if pair.channels is not None and request.linear != LINEAR:
        return inputs, ("Structures were not segmented automatically: those of the user guide the registration.",)
    if pair.fixed.grid.is_planar or pair.moving.grid.is_planar:
        return inputs, ("Structures were not used: they are seen in volumes only.",)
    try:
        folder = brain_model()
    except InputError as error:
        if request.linear == LINEAR:
            raise
        return inputs, (f"Structures were not used. {error}",)
    model = StructureModel(folder, plan.device)
    fixed, moving = model.see(pair.fixed), model.see(pair.moving)
    strange = [f"the {role} image" for role, one in (("fixed", fixed), ("moving", moving)) if not one.evidence.is_brain]
    if strange:
        looks = "does" if len(strange) == 1 else "do"
        return inputs, (
            f"Structures were not used: {' and '.join(strange)} {looks} not look like a whole human brain.",
        )
    return dataclasses.replace(inputs, pair=_with(pair, fixed, moving, request)), (_said(request),)


def _with(pair: ImagePair, fixed: Structures, moving: Structures, request: Request) -> ImagePair:
    channels, start = pair.channels, pair.start
    if request.structures == AUTOMATIC and channels is None:
        channels = Channels(
            structure_codes(fixed.memberships), structure_codes(moving.memberships), fixed.grid, moving.grid
        )
    if request.linear == LINEAR:
        found = motion_between(fixed.centers, moving.centers, affine=False)
        start = None if found is None else found[0]
    return dataclasses.replace(pair, channels=channels, start=start)


def _said(request: Request) -> str:
    what = []
    if request.linear == LINEAR:
        what.append("the linear alignment also started from their centers")
    if request.structures == AUTOMATIC:
        what.append("they were given to the method")
    return (
        "Both images look like brains. Their structures were segmented automatically, by the model that comes with "
        f"SlicerDeepReg, not by a person: {', and '.join(what)}."
    )
