"""The lessons, as data: a pair, registrations of it, and what to look at in turn.

The panel plays them in Slicer's views, the scripts in docs/teaching/ run them on their own, and the pages there are
written from them; so all three say the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..types import Request
from .pairs import TaughtPair


@dataclass(frozen=True)
class Try:
    """One registration of a lesson.

    Attributes:
        title: short; the run in the scene is called so.
        method, settings, preset, linear: as in ``Request``.
    """

    title: str
    method: str = "svf"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preset: str = "fast"
    linear: str = "none"

    def request(self, pair: TaughtPair) -> Request:
        """What ``register`` is asked for; on the CPU, where every computer gives the same."""
        return Request(**pair.given(), **self.choices(), device="cpu")

    def choices(self) -> dict[str, Any]:
        """The fields of ``Request`` that say how, without the images."""
        return {name: getattr(self, name) for name in ("method", "settings", "preset", "linear")}


@dataclass(frozen=True)
class Step:
    """One thing to look at.

    Attributes:
        text: what it is, and what to see in it.
        shows: which of the lesson's registrations, by its place in the list.
        mode, amount: as in ``mrml.review.Review.show``.
        before: the moving volume as it was, in place of the warped one.
        grid, arrows: the deformation drawn over it.
        time: moving on its way to warped, 0 to 1, in place of all of that.
        stage: the stage of this name (the last where it is "last"), in place of all of that.
    """

    text: str
    shows: int = 0
    mode: str = "fade"
    amount: float = 1.0
    before: bool = False
    grid: bool = False
    arrows: bool = False
    time: float | None = None
    stage: str = ""


@dataclass(frozen=True)
class Lesson:
    """A lesson.

    Attributes:
        name: short and stable; its script is docs/teaching/NAME.py.
        title, question: what it is about.
        pair: a name of ``teaching.pairs.PAIRS``.
        tries: its registrations.
        steps: in order.
        slider: what a slider through the registrations is called; empty for a lesson without one.
        learned: what a student should take home.
    """

    name: str
    title: str
    question: str
    pair: str
    tries: tuple[Try, ...]
    steps: tuple[Step, ...]
    slider: str = ""
    learned: str = ""


_FIELD = Lesson(
    "field",
    "What a displacement field is",
    "What does a registration find, and which way do its arrows point?",
    "head",
    (Try("Field"),),
    (
        Step(
            "Two images of one made head; the fixed one was bent. Move the fade slider: structures jump, because the "
            "same place in space is not the same place in the head.",
            amount=0.5,
            before=True,
        ),
        Step(
            "The field gives each point of the FIXED image an arrow to the point of the moving image that looks the "
            "same: warped(x) = moving(x + u(x)). It says where a value is fetched from, not where tissue goes to.",
            amount=0.0,
            arrows=True,
        ),
        Step(
            "The length of each arrow in mm. The head was bent by up to 10 mm, and not by the same everywhere.",
            mode="magnitude",
            amount=0.75,
        ),
        Step(
            "Straight lines drawn through the field: each crossing lies where its arrow ends, in the moving image. "
            "Where they spread a structure is larger there than in the fixed image, where they crowd it is smaller.",
            grid=True,
        ),
        Step("Half of the way, in time: move the slider in the section In time from 0 to 1.", time=0.5),
        Step(
            "Warped against fixed: nothing is left to see. But alike is not aligned: the landmarks, whose true "
            "partners are known here and were not shown to the method, say how far it still is from the truth (TRE).",
            mode="difference",
        ),
    ),
    learned="A field lives on the fixed grid and points into the moving image. Images that look alike after it are a "
    "sign, not a proof: landmarks or structures measure it.",
)

_REGULARITY = Lesson(
    "regularity",
    "Why a field must be smooth",
    "What happens when smoothness counts too little, or too much?",
    "head",
    tuple(Try(f"Weight {weight:g}", settings={"regularity_lncc": weight}) for weight in (0.05, 0.3, 1.6, 6.0, 20.0)),
    (
        Step("Much weight on smoothness: the field is stiff, and differences are left.", 4, "difference"),
        Step("Its grid hardly bends.", 4, grid=True),
        Step("Little weight: hardly any difference is left.", 0, "difference"),
        Step(
            "But look at its change of volume: it swells and shrinks from place to place, where the head was only "
            "bent. Nothing in the images says that this is wrong.",
            0,
            "log_jacobian",
            0.8,
        ),
        Step(
            "Now move the slider and read TRE and NCC beneath. The likeness (NCC) hardly changes over the first three. "
            "The distance to the truth (TRE) is least in the middle.",
            1,
            grid=True,
        ),
    ),
    "Weight of smoothness",
    "Many fields make two images alike. The weight of smoothness chooses among them, and likeness alone cannot tell "
    "which weight is right: tune it on landmarks or structures, never on the likeness.",
)

_FOLDING = Lesson(
    "folding",
    "Folding, and how a diffeomorphism prevents it",
    "What is wrong with a negative Jacobian, and why do some methods never have one?",
    "head",
    (
        Try("Steps added", "demons:symmetric", {"sigma": 0.5}),
        Try("Steps composed", "demons", {"sigma": 0.5}),
        Try("Optimize"),
    ),
    (
        Step(
            "Demons that ADD each step to the field, smoothed little. Magenta: the Jacobian is 0 or less. There the "
            "field turns space inside out: two locations of the fixed image fetch from one place of the moving image.",
            0,
            "log_jacobian",
            0.8,
        ),
        Step("The same as a grid: lines cross. No tissue can do that.", 0, grid=True),
        Step(
            "The same forces and the same smoothing, but each step is COMPOSED with what was there, as an exponential. "
            "A composition of maps that do not fold does not fold: no magenta.",
            1,
            "log_jacobian",
            0.8,
        ),
        Step("Its grid is crowded in locations, but no line crosses another.", 1, grid=True),
        Step(
            "Not folding is not enough: Optimize, which asks for smoothness too, has a calm Jacobian and is nearer to "
            "the truth (TRE beneath).",
            2,
            "log_jacobian",
            0.8,
        ),
    ),
    "Method",
    "A negative Jacobian is always wrong; a positive one is not yet right. Composing small steps keeps a field from "
    "folding, smoothness keeps it sensible.",
)

_STAGES = Lesson(
    "stages",
    "What a stage, a scale or a cascade adds",
    "Why do methods go from coarse to fine, and in several passes?",
    "turned slice",
    (
        Try("Optimize, stage by stage", preset="standard", linear="rigid"),
        Try("Network, one pass", "fmirnet:1", {"instance_steps": 40}, "standard", "rigid"),
        Try("Network, second pass", "fmirnet:1", {"instance_steps": 40, "refine": 20}, "standard", "rigid"),
    ),
    (
        Step("Before anything: the moving slice is turned, shifted and bent.", stage="as given"),
        Step("The linear stage takes turn and shift away: most of the distance, with six numbers.", stage="linear"),
        Step(
            "The coarsest scale, one eighth of the size: a step of one voxel there is a step of eight here. It finds "
            "what is large.",
            stage="scale 1/8",
        ),
        Step(
            "Each finer scale begins where the coarser one ended and has only the rest to find. Beneath the section In "
            "time stands the TRE of each stage: the first ones gain most.",
            stage="last",
        ),
        Step("A network in one pass: some of the difference is left.", 1, "difference"),
        Step(
            "A second pass, here by optimization, that begins with the field of the first: a cascade. It corrects what "
            "the first left over.",
            2,
            "difference",
        ),
    ),
    "Method",
    "Large motion is found where it is small, on coarse scales. Stages, scales and cascades let each part correct what "
    "the one before left over.",
)

_NETWORKS = Lesson(
    "networks",
    "Networks against optimization",
    "What does a network change, when both minimize the same kind of loss?",
    "slice",
    (
        Try("Optimize", preset="standard"),
        Try("Network, 20 steps", "fmirnet:1", {"instance_steps": 20}, "standard"),
        Try("Network, 100 steps", "fmirnet:1", {"instance_steps": 100}, "standard"),
        Try("Network, then velocity field", "fmirnet:1", {"instance_steps": 20, "refine": 20}, "standard"),
    ),
    (
        Step("Optimization: the field itself is changed until the loss is low. It takes a second.", 0, grid=True),
        Step(
            "A network with random weights, FITTED to this one pair for 20 steps: the weights are changed, and the "
            "field follows. It has hardly begun.",
            1,
            grid=True,
        ),
        Step(
            "After 100 steps it is about as near to the truth (TRE beneath) as optimization, at many times the "
            "seconds. And what it has learned is this pair.",
            2,
            grid=True,
        ),
        Step(
            "The 20 steps, and optimization from there: this is how the two are joined in practice. The network "
            "begins, a few steps finish.",
            3,
            grid=True,
        ),
        Step(
            "What a network is for is not seen on one pair: TRAINED on many, it gives its field in one pass, where "
            "optimization starts anew each time. 'slicerdeepreg train' and docs/training.md show that.",
            3,
            "difference",
        ),
    ),
    "Method",
    "Fitted to one pair, a network is a slow way to optimize. Trained on many it is a fast one, and as good as its "
    "training data are like your pair: look at the metrics, not at the name.",
)

LESSONS: dict[str, Lesson] = {lesson.name: lesson for lesson in (_FIELD, _REGULARITY, _FOLDING, _STAGES, _NETWORKS)}
#: The metrics of a lesson's table, by their names in ``metrics.METRICS``.
SHOWN = ("tre_mm", "ncc", "dice", "folds_percent", "sdlogj")
