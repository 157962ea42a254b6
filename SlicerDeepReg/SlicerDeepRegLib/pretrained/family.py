"""One kind of checkpoint: how it is recognized, and how its arrays become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog import UNIT
from ..types import InputError

Arrays = Mapping[str, np.ndarray]
#: A pattern of the file's names, and our name (a template, or a function of the match); None for what nothing uses.
Rule = tuple[str, Any]


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint.

    Attributes:
        network: name of the network.
        title: the family, for people.
        marks: patterns; every one matches a name of such a file.
        never: a pattern that matches no name of such a file, where another family has the same marks; or None.
        rules: for names; the first that matches counts. A name that none matches is unknown.
        configuration: from the file's arrays and the settings saved with them to our network's arguments and what
            to say about them.
        heads: our names (patterns) of arrays whose first axis is the field's components in the order k, j, i.
        change: what else must be done to our arrays, or None.
        orientation: how i, j and k grew in the volumes that the weights learned from, where their code says so.
        intensity: how their code scaled values, as in a card's recipe.
        notes: what was done about the conventions of their code, for people.
    """

    network: str
    title: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...]
    configuration: Callable[[Arrays, Mapping[str, Any]], tuple[dict[str, Any], list[str]]]
    heads: tuple[str, ...] = (r"head\.(weight|bias)",)
    change: Callable[[dict[str, np.ndarray], dict[str, Any]], None] | None = None
    orientation: str | None = None
    intensity: str = UNIT
    notes: tuple[str, ...] = field(default=())
    never: str | None = None

    def has(self, arrays: Arrays) -> bool:
        """Return whether the names of these arrays are those of such a file."""
        if self.never is not None and any(re.fullmatch(self.never, name) for name in arrays):
            return False
        return all(any(re.fullmatch(mark, name) for name in arrays) for mark in self.marks)

    def renamed(self, arrays: Arrays) -> tuple[dict[str, np.ndarray], list[str]]:
        """Return our names for the arrays, the field's components in our order, and the names of what is left out.

        Raises:
            InputError: a name that is not of this family.
        """
        ours, left_out, unknown = {}, [], []
        for name, array in arrays.items():
            target = self._target(name)
            if target is None:
                left_out.append(name)
            elif not target:
                unknown.append(name)
            else:
                head = any(re.fullmatch(pattern, target) for pattern in self.heads)
                ours[target] = array[::-1] if head else array
        if unknown:
            raise InputError(
                f"This looks like {self.title}, but {len(unknown)} of its arrays are not of it "
                f"({', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}). It is a variant that is not known "
                "here, or two checkpoints in one file."
            )
        return ours, left_out

    def _target(self, name: str) -> str | None:
        """Return our name; None for what is left out, "" for what is unknown."""
        for pattern, target in self.rules:
            match = re.fullmatch(pattern, name)
            if match:
                if target is None:
                    return None
                return target(match) if callable(target) else match.expand(target)
        return ""


#: Buffers that can be computed again.
COMPUTED: tuple[Rule, ...] = (
    (r"(.*\.)?grid", None),
    (r".*relative_position_index(_OAB)?", None),
    (r".*attn_mask", None),
)


def numbered(arrays: Arrays, pattern: str) -> list[int]:
    """Return the numbers that a pattern's first group matches in the names, in order."""
    numbers = {int(match.group(1)) for name in arrays for match in [re.fullmatch(pattern, name)] if match}
    return sorted(numbers)


def need(arrays: Arrays, name: str) -> tuple[int, ...]:
    """Return the shape of an array.

    Raises:
        InputError: it is not there.
    """
    if name not in arrays:
        raise InputError(f"The array {name} is missing from this checkpoint: the file is cut short, or a part of one.")
    return tuple(arrays[name].shape)


def window_of(rows: int, image: Sequence[int] | None, usual: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Return the attention window of a table of relative positions, and how it was found out.

    Args:
        rows: of the table: the product of 2 w - 1.
        image: voxels of the images that the weights are for (their code took windows of 1/32), where the file tells.
        usual: that of the published configuration.

    Raises:
        InputError: it cannot be found out.
    """

    def fits(window: Sequence[int]) -> bool:
        return int(np.prod([2 * w - 1 for w in window])) == rows

    if image is not None and fits([n // 32 for n in image]):
        return tuple(n // 32 for n in image), f"from the images of {' x '.join(map(str, image))} that they are for"
    if fits(usual):
        return tuple(usual), "the family's usual one"
    side = round((rows ** (1 / 3) + 1) / 2)
    if fits([side] * 3):
        return (side, side, side), "from its table of positions"
    raise InputError(
        f"The attention windows cannot be derived from this checkpoint (a table of {rows} positions). Give them: "
        "--set window=[5,6,7]"
    )


def image_of(arrays: Arrays) -> tuple[int, ...] | None:
    """Return the voxels along the axes of the images that the weights are for, from the grid that some files hold."""
    for name in ("spatial_trans.grid", "grid"):
        if name in arrays and arrays[name].ndim >= 4:
            return tuple(arrays[name].shape[2:])
    return None
