"""The lessons, as data: a pair, registrations of it, and what to look at, step by step.

The panel plays them in Slicer's views, the scripts in docs/teaching/ run them without Slicer, and the pages there are
generated from them, so all three agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..types import PEOPLE, Request
from .pairs import SyntheticPair


@dataclass(frozen=True)
class Try:
    """One registration of a lesson.

    Attributes:
        title: short; the name of the run in the scene.
        method, settings, preset, linear: as in ``Request``.
        guide: numbers of the landmarks that guide it, from 0 on; the others are held out.
    """

    title: str
    method: str = "svf"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preset: str = "fast"
    linear: str = "none"
    guide: tuple[int, ...] = ()

    def request(self, pair: SyntheticPair) -> Request:
        """Return the request for ``register``; on the CPU, where every computer gives the same result."""
        return Request(
            fixed=pair.fixed,
            moving=pair.moving,
            fixed_labels=pair.fixed_labels,
            moving_labels=pair.moving_labels,
            fixed_points=pair.fixed_points,
            moving_points=pair.moving_points,
            method=self.method,
            settings=self.settings,
            preset=self.preset,
            linear=self.linear,
            guide_points_mm=0.5 if self.guide else None,
            held_points=self.held_out(len(pair.fixed_points)) if self.guide else (),
            pair=PEOPLE,
            device="cpu",
        )

    def held_out(self, count: int) -> tuple[str, ...]:
        """Return the landmarks of ``count`` that do not guide, as a request names them."""
        return tuple(str(n + 1) for n in range(count) if n not in self.guide)


@dataclass(frozen=True)
class Step:
    """One thing to look at.

    Attributes:
        text: what it is, and what to see in it.
        shows: which of the lesson's registrations, by index.
        mode, amount: as in ``mrml.review.Review.show``.
        before: show the moving volume before registration in place of the warped one.
        grid, arrows: the deformation drawn over it.
        time: deformation amount, 0 (moving) to 1 (warped), in place of all of that.
        stage: show the stage of this name ("last" for the last one), in place of all of that.
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
        slider: the label of a slider through the registrations; empty for none.
        learned: the take-home message.
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
    "What does a registration compute, and which way do its arrows point?",
    "head",
    (Try("Field"),),
    (
        Step(
            "Two images of one synthetic head; the fixed one was deformed. Move the slider Opacity below: structures "
            "jump, because the same position in space is not the same position in the head.",
            amount=0.5,
            before=True,
        ),
        Step(
            "For each point of the FIXED image, the field holds an arrow to the corresponding point of the moving "
            "image: warped(x) = moving(x + u(x)). It says where a value is taken from, not where tissue moves to.",
            amount=0.0,
            arrows=True,
        ),
        Step(
            "The displacement magnitude in mm. The head was deformed by up to 10 mm, and not equally everywhere.",
            mode="magnitude",
            amount=0.75,
        ),
        Step(
            "A regular grid moved by the field, drawn over the warped image: each crossing lies where its arrow ends. "
            "Where the lines spread, a structure is larger in the moving image than in the fixed one; where they "
            "crowd, it is smaller.",
            grid=True,
        ),
        Step(
            "Half of the deformation: move the slider Deformation amount below from 0 to 1.",
            time=0.5,
        ),
        Step(
            "Warped minus fixed: hardly any difference is left. But similar is not aligned: the landmarks, whose "
            "true counterparts are known here and were not shown to the method, tell how far it still is from the "
            "truth (TRE).",
            mode="difference",
        ),
    ),
    learned="A field is defined on the fixed grid and points into the moving image. Images that look alike after "
    "registration are a sign of alignment, not a proof: landmarks or structures measure it.",
)

_REGULARITY = Lesson(
    "regularity",
    "Why a field must be smooth",
    "What happens when smoothness is weighted too little, or too much?",
    "head",
    tuple(Try(f"Weight {weight:g}", settings={"lncc.regularity": weight}) for weight in (0.05, 0.3, 1.6, 6.0, 20.0)),
    (
        Step("A large weight on smoothness: the field is stiff, and differences remain.", 4, "difference"),
        Step("Its grid is hardly deformed.", 4, grid=True),
        Step("A small weight: hardly any difference remains.", 0, "difference"),
        Step(
            "But look at its volume change: it expands and shrinks from point to point, although the head was "
            "deformed smoothly. Nothing in the images shows that this is wrong.",
            0,
            "jacobian",
            0.8,
        ),
        Step(
            "Now move the slider and compare TRE and NCC below. The similarity (NCC) hardly changes over the "
            "first three. The distance to the truth (TRE) is smallest in the middle.",
            1,
            grid=True,
        ),
    ),
    "Weight on smoothness",
    "Many fields make two images look alike. The weight on smoothness chooses among them, and similarity "
    "alone cannot tell which weight is right: tune it on landmarks or structures, never on similarity.",
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
            "Demons that ADD each step to the field, with little smoothing. Magenta: the Jacobian is 0 or less. "
            "There the field turns space inside out: two points of the fixed image take their value from the same "
            "point of the moving image.",
            0,
            "jacobian",
            0.8,
        ),
        Step("The same as a grid: lines cross. No tissue can do that.", 0, grid=True),
        Step(
            "The same forces and the same smoothing, but each step is COMPOSED with the field so far, as an "
            "exponential. A composition of maps that do not fold does not fold: no magenta.",
            1,
            "jacobian",
            0.8,
        ),
        Step("Its grid is crowded in places, but no lines cross.", 1, grid=True),
        Step(
            "Absence of folding is not enough: velocity-field optimization, which also penalizes roughness, has a "
            "smooth Jacobian and is closer to the truth (TRE below).",
            2,
            "jacobian",
            0.8,
        ),
    ),
    "Method",
    "A negative Jacobian is always wrong; a positive one is not necessarily right. Composing small steps "
    "keeps a field from folding, and smoothness keeps it plausible.",
)

_STAGES = Lesson(
    "stages",
    "What a stage, a scale or a cascade adds",
    "Why do methods work from coarse to fine, and in several passes?",
    "turned slice",
    (
        Try("Optimize, stage by stage", preset="standard", linear="rigid"),
        Try("Network, one pass", "fmirnet:1", {"instance_steps": 40}, "standard", "rigid"),
        Try("Network, second pass", "fmirnet:1", {"instance_steps": 40, "refine": 20}, "standard", "rigid"),
    ),
    (
        Step("Before registration: the moving slice is rotated, shifted and deformed.", stage="as given"),
        Step(
            "Linear alignment removes rotation and translation: most of the distance, with six parameters.",
            stage="linear",
        ),
        Step(
            "The coarsest scale, 1/8 resolution: a step of one voxel there is a step of eight here. It finds "
            "large displacements.",
            stage="scale 1/8",
        ),
        Step(
            "Each finer scale starts where the coarser one ended and only has to find the rest. Below is the TRE of "
            "each stage: the first ones gain most.",
            stage="last",
        ),
        Step("A network in one pass: some of the difference remains.", 1, "difference"),
        Step(
            "A second pass, here by optimization, that starts from the field of the first: a cascade. It corrects "
            "what the first one left.",
            2,
            "difference",
        ),
    ),
    "Method",
    "Large motion is found on coarse scales, where it is small. Stages, scales and cascades let each part "
    "correct what the previous one left.",
)

_NETWORKS = Lesson(
    "networks",
    "Networks against optimization",
    "What does a network change if both minimize the same kind of loss?",
    "slice",
    (
        Try("Optimize", preset="standard"),
        Try("Network, 20 steps", "fmirnet:1", {"instance_steps": 20}, "standard"),
        Try("Network, 100 steps", "fmirnet:1", {"instance_steps": 100}, "standard"),
        Try("Network, then velocity field", "fmirnet:1", {"instance_steps": 20, "refine": 20}, "standard"),
    ),
    (
        Step("Optimization: the field itself is changed until the loss is low. It takes about a second.", 0, grid=True),
        Step(
            "A network with random weights, FITTED to this one pair for 20 steps: the weights are changed, and "
            "the field follows. It has hardly started.",
            1,
            grid=True,
        ),
        Step(
            "After 100 steps it is about as close to the truth (TRE below) as optimization, in many times the "
            "time. And all it has learned is this pair.",
            2,
            grid=True,
        ),
        Step(
            "The 20 steps, then optimization: this is how the two are combined in practice. The network provides "
            "the start, a few steps of optimization the rest.",
            3,
            grid=True,
        ),
        Step(
            "The benefit of a network does not show on one pair: TRAINED on many pairs, it gives its field in one "
            "pass, while optimization starts anew each time. docs/training.md shows how.",
            3,
            "difference",
        ),
    ),
    "Method",
    "Fitted to one pair, a network is a slow optimizer. Trained on many, it is a fast one, and as good as "
    "its training data resemble your pair: look at the metrics, not at the name.",
)

_GUIDANCE = Lesson(
    "guidance",
    "What landmarks add",
    "What if the images alone lead astray, and what may be measured then?",
    "far slice",
    (
        Try("Images alone"),
        Try("3 landmarks guide", guide=(26, 4, 22)),
        Try("4 landmarks guide", guide=(26, 4, 22, 0)),
    ),
    (
        Step(
            "The moving slice is turned by 30 degrees and 30 mm away, and nobody aligned it first.",
            amount=0.5,
            before=True,
        ),
        Step(
            "Images alone: parts of the brain fit the wrong parts. The difference looks better than before, and the "
            "landmarks are still far off (TRE below): similar is not aligned.",
            0,
            "difference",
        ),
        Step("Its grid shows how: it was pulled toward whatever was near and bright.", 0, grid=True),
        Step(
            "Three of the 27 landmarks now pull at the deformation. TRE is that of the OTHER landmarks: those that "
            "guide would be near whatever happened in between.",
            1,
            grid=True,
        ),
        Step(
            "A fourth one, in the quarter where none was: the rest follows. Landmarks help where the images do not "
            "know where to go; from there, the images are better.",
            2,
            grid=True,
        ),
        Step("What is left of the difference.", 2, "difference"),
    ),
    "Landmarks",
    "A few landmarks lead where images alone do not find the way. What guides a registration cannot also measure "
    "it: hold some out.",
)

LESSONS: dict[str, Lesson] = {
    lesson.name: lesson for lesson in (_FIELD, _REGULARITY, _FOLDING, _STAGES, _NETWORKS, _GUIDANCE)
}
#: The metrics of a lesson's table, by their names in ``metrics.METRICS``.
SHOWN = ("tre_mm", "ncc", "dice", "folds_percent", "sdlogj")
