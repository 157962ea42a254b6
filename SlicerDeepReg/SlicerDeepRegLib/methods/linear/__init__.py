"""Linear registration: SimpleITK, mutual information, coarse to fine, from several starts or from a given one.

A single slice is registered in its plane, as a 2D image; the result is still a 4 x 4 matrix, which
maps the plane of the fixed slice onto that of the moving one.
"""

from __future__ import annotations

import time
import weakref

import numpy as np

from ...catalog import Card, brain_model
from ...geometry.grids import overlap_fraction
from ...geometry.rotations import rotation_degrees
from ...settings import NoSettings
from ...types import Finding, ImagePair, InputError, Stage
from ..base import BaseMethod, Context, Outcome
from .optimize import affine_of, optimize, rigid_of
from .pair import Frames, LinearPair, frames_of
from .starts import MIRRORED, best_start, mirrored_gain

MATTES = (
    "Mattes D et al. PET-CT image registration in the chest using free-form deformations. IEEE Trans Med Imaging 2003. "
    "doi:10.1109/TMI.2003.809072"
)
MIRRORED_NOTE = (
    "The moving image fits clearly better when it is mirrored: an axis in the header of one of the images may be "
    "reversed. Check right and left in both before you use this result."
)
#: What was prepared of pairs that are still in use.
_PREPARED: weakref.WeakKeyDictionary[ImagePair, LinearPair] = weakref.WeakKeyDictionary()


class LinearMethod(BaseMethod):
    """A linear registration by mutual information, coarse to fine, from several starts."""

    kind = "linear"
    card: Card

    def __init__(self, name: str, title: str, summary: str) -> None:
        super().__init__(
            Card(
                name=name,
                title=title,
                summary=summary,
                references=(MATTES,),
                license="Apache-2.0",
                dimensions=(2, 3),
                good_for="one matrix, nothing is deformed",
            )
        )

    def missing(self) -> Finding | None:
        """See :class:`Method`; the one that starts from structures needs the network that sees them."""
        if self.name != "structures":
            return None
        try:
            brain_model()
        except InputError as error:
            return Finding("error", str(error), "Choose another linear alignment.", "linear")
        return None

    def run(self, pair: ImagePair, start: np.ndarray, settings: NoSettings, context: Context) -> Outcome:
        """Find the linear part.

        Args:
            start: (4, 4) to go on from; from the identity several starts are tried.

        Raises:
            InputError: the optimizer found no overlap to work on.
        """
        began = time.perf_counter()
        given = not np.array_equal(start, np.eye(4))
        if self.name == "none" or (self.name == "center" and given):
            note = "the linear part that was given" if given else "no linear part"
            return Outcome(start, [Stage("linear", 0.0, start, note=note)])
        notes: list[str] = []
        frames = frames_of(pair.fixed, pair.moving, notes)
        images = _prepared(pair, frames)
        if self.name == "structures" and pair.start is not None and frames.dimensions == 3:
            images.given = rigid_of(images, pair.start)
        if not given and overlap_fraction(pair.fixed.grid, pair.moving.grid) == 0:
            notes.append("The images do not overlap in space; where their headers put them was not used.")
        curve: list[float] = []
        if self.name == "center":
            compared, transform = images, images.translations()[0]
        else:
            if given:
                compared = images.framed(start).near(start)
                first = affine_of(compared, start)
            else:
                begin = best_start(images, notes)
                compared, first = begin.pair, begin.transform
            context.report(0.2, "linear")
            transform = optimize(
                compared, MODELS[self.name], first, not given, lambda part: context.report(part, "linear"), curve, notes
            )
            if not given and mirrored_gain(compared, transform) >= MIRRORED:
                notes.append(MIRRORED_NOTE)
        matrix = compared.to_lps(transform)
        stage = Stage(
            name="linear",
            seconds=time.perf_counter() - began,
            linear_lps=matrix,
            metrics={
                "rotation_deg": rotation_degrees(matrix[:3, :3]),
                "volume_factor": float(np.linalg.det(matrix[:3, :3])),
            },
            curve=tuple(curve),
            note=MODELS.get(self.name, self.name) if self.name != "structures" else self.name,
        )
        images.keep_resolutions()
        return Outcome(matrix, [stage], notes=notes)


def _prepared(pair: ImagePair, frames: Frames) -> LinearPair:
    """Return the pair at all resolutions; an affine stage after a rigid one finds what that has made of it."""
    if pair not in _PREPARED:
        _PREPARED[pair] = LinearPair(pair, frames)
    images = _PREPARED[pair]
    images.given = None
    return images


#: What each method that optimizes finds.
MODELS = {"auto": "rigid", "rigid": "rigid", "similarity": "similarity", "affine": "affine", "structures": "affine"}
#: Those that are an answer of their own.
ANSWERS = ("rigid", "similarity", "affine")

METHODS = (
    LinearMethod(
        "auto",
        "Automatic (rigid or affine)",
        "Rigid for two images of one person; affine where they show different people.",
    ),
    LinearMethod("none", "None: already aligned", "Leaves the images where they are."),
    LinearMethod("center", "Center of mass", "Puts the centers of mass onto one another."),
    LinearMethod("rigid", "Rigid", "Rotation and translation, by mutual information."),
    LinearMethod("similarity", "Similarity", "Rotation, translation and one scale, by mutual information."),
    LinearMethod("affine", "Affine", "Rotation, translation, scaling and shear, by mutual information."),
    LinearMethod(
        "structures",
        "Affine, also from structures of the brain",
        "As affine; where both images show a brain, it also starts from the centers of its structures.",
    ),
)
