"""Memberships of structures as few channels, in which the same structures lie at the same place.

A membership for each of the 32 structures and the background would be 33 channels to register. Nine keep them apart:
each structure is plus or minus one unit vector, left and right alike (the linear alignment has told the sides apart),
and the background is 0. What is opposite lies farther apart (2) than other structures (1.4): neighbors, mostly.
"""

from __future__ import annotations

import numpy as np

from ..anatomy import STRUCTURES
from ..types import InputError

#: The structures of each channel, plus and minus, by FreeSurfer's number of the left or the only one.
CODE_PAIRS = ((3, 2), (8, 7), (4, 11), (17, 5), (12, 13), (10, 14), (28, 16), (18, 26), (15, 24))


def structure_codes(memberships: np.ndarray) -> np.ndarray:
    """Return memberships as the channels that a registration takes (:class:`~..types.Channels`).

    Args:
        memberships: (33, K, J, I) 0..1, the background and then ``anatomy.STRUCTURES`` in their order; sum 1.

    Returns:
        (9, K, J, I) float32, -1..1.

    Raises:
        InputError: the memberships are not 33.
    """
    if memberships.ndim != 4 or len(memberships) != len(STRUCTURES) + 1:
        raise InputError(
            f"The memberships have shape {tuple(memberships.shape)}; a code needs ({len(STRUCTURES) + 1}, k, j, i): "
            "the background and the 32 structures."
        )
    codes: np.ndarray = np.tensordot(_matrix(), memberships.astype(np.float32, copy=False), 1)
    return codes


def _matrix() -> np.ndarray:
    """(9, 33): the code of each class as a column."""
    matrix = np.zeros((len(CODE_PAIRS), len(STRUCTURES) + 1), np.float32)
    for place, structure in enumerate(STRUCTURES, 1):
        number = min(structure.number, structure.mirror)
        channel = next(n for n, pair in enumerate(CODE_PAIRS) if number in pair)
        matrix[channel, place] = 1.0 if CODE_PAIRS[channel][0] == number else -1.0
    return matrix
