"""The structures of the brain by FreeSurfer's numbers: names, sides, tissues. numpy and torch are not needed.

Numbers and names: FreeSurfer's FreeSurferColorLUT.txt (Fischl et al., Neuron 2002). The 32 structures are those that
the label maps of SynthSeg (Billot et al., Medical Image Analysis 2023) and of FreeSurfer's aseg have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        number: FreeSurfer's.
        name: for people, with the side.
        mirror: the number on the other side; its own where it has no side.
        tissue: which of ``TISSUES`` it is made of.
        color: red, green and blue, 0..255, for display.
    """

    number: int
    name: str
    mirror: int
    tissue: str
    color: tuple[int, int, int]


#: What structures are made of, as far as contrasts tell it apart.
TISSUES = ("csf", "gray", "white", "deep", "pallidum", "brainstem", "cerebellum gray", "cerebellum white")

#: Left number, right number, name, tissue, color.
_PAIRS = (
    (2, 41, "cerebral white matter", "white", (225, 225, 225)),
    (3, 42, "cerebral cortex", "gray", (205, 110, 120)),
    (4, 43, "lateral ventricle", "csf", (120, 18, 134)),
    (5, 44, "inferior lateral ventricle", "csf", (196, 58, 250)),
    (7, 46, "cerebellum white matter", "cerebellum white", (220, 200, 164)),
    (8, 47, "cerebellum cortex", "cerebellum gray", (230, 148, 34)),
    (10, 49, "thalamus", "deep", (0, 118, 14)),
    (11, 50, "caudate", "deep", (122, 186, 220)),
    (12, 51, "putamen", "deep", (236, 13, 176)),
    (13, 52, "pallidum", "pallidum", (12, 48, 255)),
    (17, 53, "hippocampus", "gray", (220, 216, 20)),
    (18, 54, "amygdala", "gray", (103, 255, 255)),
    (26, 58, "accumbens area", "deep", (255, 165, 0)),
    (28, 60, "ventral DC", "brainstem", (165, 42, 42)),
)
_MIDDLE = (
    (14, "third ventricle", "csf", (204, 182, 142)),
    (15, "fourth ventricle", "csf", (42, 204, 164)),
    (16, "brain stem", "brainstem", (119, 159, 176)),
    (24, "cerebrospinal fluid", "csf", (60, 60, 160)),
)


def _structures() -> tuple[Structure, ...]:
    middle = [Structure(number, name, number, tissue, color) for number, name, tissue, color in _MIDDLE]
    sides = [
        Structure(own, f"{side} {name}", other, tissue, color)
        for left, right, name, tissue, color in _PAIRS
        for side, own, other in (("left", left, right), ("right", right, left))
    ]
    return tuple(sorted([*middle, *sides], key=lambda structure: structure.number))


#: The 32, by rising number.
STRUCTURES = _structures()
STRUCTURE_BY_NUMBER: Mapping[int, Structure] = {structure.number: structure for structure in STRUCTURES}
#: Structures that are more than a surface and do not depend on where a mask was cut: good for centers and volumes.
COMPACT = tuple(s.number for s in STRUCTURES if s.number not in (2, 3, 24, 41, 42))

#: Where the compact structures of a mean person lie, LPS mm about their mean, and how far people differ there after an
#: affine alignment (root mean square, mm): of the left ones and of those in the middle. Measured on the 18 label maps
#: of SynthSeg and three of IXI (NiChart) that the shipped network was trained on.
_CENTERS = (
    (4, (13.6, 1.8, 21.3), 3.8),
    (5, (30.4, -1.4, -4.7), 5.1),
    (7, (16.6, 31.0, -28.4), 2.0),
    (8, (22.5, 39.8, -33.5), 2.2),
    (10, (12.1, 3.7, 13.1), 2.1),
    (11, (14.7, -22.0, 23.5), 2.4),
    (12, (25.2, -15.6, 13.2), 1.4),
    (13, (20.1, -12.0, 10.9), 1.4),
    (14, (0.0, -6.2, 8.3), 1.9),
    (15, (0.0, 23.6, -25.9), 1.7),
    (16, (0.0, 9.6, -20.9), 1.8),
    (17, (24.3, 4.1, -4.2), 3.1),
    (18, (22.6, -14.3, -3.6), 1.7),
    (26, (9.3, -27.1, 10.4), 1.9),
    (28, (10.4, -1.6, 1.3), 1.5),
)


def _both_sides() -> Iterator[tuple[int, tuple[float, float, float], float]]:
    for number, (x, y, z), apart in _CENTERS:
        yield number, (x, y, z), apart
        if STRUCTURE_BY_NUMBER[number].mirror != number:
            yield STRUCTURE_BY_NUMBER[number].mirror, (-x, y, z), apart


MEAN_CENTERS_MM: Mapping[int, tuple[float, float, float]] = {n: center for n, center, _ in _both_sides()}
SPREAD_MM: Mapping[int, float] = {n: apart for n, _, apart in _both_sides()}
#: Volumes of compact structures that vary little, in a person of the mean person's size: half the least and twice the
#: most of those people, ml; of one side.
_VOLUMES = (
    (7, 4.9, 34),
    (8, 19, 141),
    (10, 2.6, 20),
    (11, 1.3, 10.4),
    (12, 1.7, 14.9),
    (13, 0.44, 4),
    (16, 7.9, 50),
    (17, 0.71, 11),
    (18, 0.26, 4.3),
    (28, 1.4, 10.7),
)
VOLUMES_ML: Mapping[int, tuple[float, float]] = {
    side: (least, most) for n, least, most in _VOLUMES for side in (n, STRUCTURE_BY_NUMBER[n].mirror)
}
#: Numbers of FreeSurfer that are parts of some of the 32, and what they belong to: one, or the left and the right one,
#: whichever lies nearer.
MERGED: Mapping[int, tuple[int, ...]] = {
    31: (4,),  # choroid plexus
    63: (43,),
    25: (2,),  # lesions
    57: (41,),
    77: (2, 41),  # white-matter hypointensities
    78: (2,),
    79: (41,),
    30: (2,),  # vessels
    62: (41,),
    72: (14,),  # fifth ventricle
    80: (2, 41),  # hypointensities outside the white matter
    172: (8, 47),  # vermis
    251: (2, 41),  # corpus callosum
    252: (2, 41),
    253: (2, 41),
    254: (2, 41),
    255: (2, 41),
}


def is_surrounding(number: int) -> bool:
    """Tell whether a number names something around the brain: optic chiasm, skull, skin, fat, muscle, air, eyes.

    Those of 501 and more are SynthSeg's own; 136, 137, 163 and 164 are its small ones beside the cerebellum.
    """
    return number in (85, 118, 130, 136, 137, 163, 164, 165, 257, 258, 259) or 500 < number < 600
