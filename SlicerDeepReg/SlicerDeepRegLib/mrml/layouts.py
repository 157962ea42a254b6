"""Arrangements of slice views for judging a run: all of it at once, before and after, several runs. No Qt.

Each is one of Slicer's own layouts (a description in the layout node), so that its controllers, links and maximize
buttons work as in any other; ``restore`` brings the user's layout back. Its number is kept in the scene: one that is
saved meanwhile and loaded again would otherwise show an arrangement that nothing fills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import slicer
import slicer.util

from .display import refresh_legends, renew_legend
from .maps import magnitude
from .nodes import bounds_of, layout_node
from .review import ARRANGED, Review
from .runs import Run, check_fixed_place, moving_is_where_it_was

#: What our views' names begin with, and the group whose views follow each other; Slicer's own are of group 0.
PREFIX, GROUP = ARRANGED, 7
PLANES = ("Axial", "Coronal", "Sagittal")
#: Slicer's colors of its three views, for the bar above each of ours.
PLANE_COLORS = {"Axial": "#F34A33", "Coronal": "#6EB04B", "Sagittal": "#EDD54C"}
RUN_COLORS = ("#EDD54C", "#6EB04B", "#5EA9D6", "#C98BD1")
#: What a view can show, the letter on its bar, and what people read.
SHOWS = {
    "fixed": ("F", "fixed"),
    "moving": ("M", "moving"),
    "warped": ("W", "warped"),
    "blend": ("B", "blend"),
    "difference": ("D", "difference"),
    "difference_before": ("D0", "difference before"),
    "checkerboard": ("C", "checkerboard"),
    "jacobian": ("J", "volume change"),
    "magnitude": ("L", "length"),
    "grid": ("G", "grid"),
}
#: Layouts of one run: their number (no other layout has it), and columns of what is shown; rows are the three planes.
LAYOUTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "review": (7317, ("fixed", "warped", "blend", "difference")),
    "before_after": (7318, ("moving", "warped", "difference_before", "difference")),
    "deformation": (7319, ("grid", "jacobian", "magnitude")),
}


#: The number of the arrangement of several runs, and the attribute of the layout node that keeps the user's.
SIDE_BY_SIDE, BEFORE = 7316, "DeepReg.layout_before"
OURS = {number for number, _columns in LAYOUTS.values()} | {SIDE_BY_SIDE}


@dataclass(frozen=True)
class Cell:
    """One slice view of a layout: what it shows, of which run, in which plane."""

    name: str
    shows: str
    plane: str
    label: str
    color: str


def cells_of(layout: str) -> list[list[Cell]]:
    """Return the views of a layout of one run, row by row."""
    columns = LAYOUTS[layout][1]
    return [
        [
            Cell(f"{PREFIX}{layout}{SHOWS[what][0]}{plane[0]}", what, plane, SHOWS[what][0], PLANE_COLORS[plane])
            for what in columns
        ]
        for plane in PLANES
    ]


def description(rows: Sequence[Sequence[Cell]], beneath: str = "", size: int = 280) -> str:
    """Return a layout description for Slicer: rows of slice views, and something beneath them."""
    lines = []
    for row in rows:
        views = "".join(
            f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(cell.name)}>'
            f'<property name="orientation" action="default">{cell.plane}</property>'
            f'<property name="viewlabel" action="default">{cell.label}</property>'
            f'<property name="viewcolor" action="default">{cell.color}</property>'
            f'<property name="viewgroup" action="default">{GROUP}</property></view></item>'
            for cell in row
        )
        lines.append(f'<item splitSize="{size}"><layout type="horizontal">{views}</layout></item>')
    return f'<layout type="vertical" split="true">{"".join(lines)}{beneath}</layout>'


class Layouts:
    """Arranges the views of a scene, fills them, and restores the user's layout.

    Args:
        scene: the MRML scene.
        review: makes the volumes to show.
        arranged: called with the cells that the layout has now; the desktop makes the views by itself.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, review: Review, arranged: Callable[[list[Cell]], Any] = lambda cells: None
    ) -> None:
        self.scene, self.review, self.arranged = scene, review, arranged
        self._before: int | None = None
        self._crosshair_before: tuple[int, int] | None = None
        self._shown: tuple[str, Run] | None = None
        self._fitted: dict[str, str] = {}  # view, and the volume it was fitted to: after that the user's place is kept
        self._filled: set[str] = set()  # names of the views that the layout of now has; others cost time unseen
        self._seen: set[tuple[str, str]] = set()  # view and volume: a view draws no legend that is older than itself

    @property
    def shown(self) -> tuple[str, Run] | None:
        """The name of the layout and the run in it; None, too, where the user has chosen another layout since."""
        if self._shown is not None and layout_node(self.scene).GetViewArrangement() != LAYOUTS[self._shown[0]][0]:
            self.leave()
            self.let_go()
        return self._shown

    @property
    def is_ours(self) -> bool:
        """Whether the views are arranged by us now, for one run or for several."""
        return layout_node(self.scene).GetViewArrangement() in OURS

    @property
    def is_side_by_side(self) -> bool:
        """Whether several runs are beside each other now."""
        return bool(layout_node(self.scene).GetViewArrangement() == SIDE_BY_SIDE)

    def show(self, layout: str, run: Run) -> None:
        """Arrange the views for one run.

        Raises:
            ValueError: the run has lost its volumes, one was moved, or the run is linear and has no deformation to
                show.
        """
        check_fixed_place(run)
        number, columns = LAYOUTS[layout]
        for role in ("fixed", "warped", *(("moving",) if {"moving", "difference_before"} & set(columns) else ())):
            if run.get(role) is None:
                raise ValueError(
                    f"{run.name} cannot be shown in this layout: its {role} volume was removed from the scene. Choose "
                    "another layout, or register again."
                )
        if "moving" in columns and not moving_is_where_it_was(run):
            name = run.get("moving").GetName()
            raise ValueError(
                f"{name} is not what it was, or not where it was, when it was registered. Put it back as it was, or "
                "register again."
            )
        rows = cells_of(layout)
        cells = [cell for row in rows for cell in row]
        for cell in cells:
            self.volume(run, cell.shows)  # made, or refused, before anything changes
        if self._shown is not None and self._shown[1] != run:
            self._clear(self._shown[1])
        self.arrange(number, description(rows, size=300))
        self._shown = (layout, run)
        self.arranged(cells)
        self.fill([(cell, run) for cell in cells])

    def arrange(self, number: int, text: str) -> None:
        """Switch to one of our layouts, and remember the user's."""
        node = layout_node(self.scene)
        if self._before is None:
            self._before = node.GetViewArrangement()
            node.SetAttribute(BEFORE, str(self._before))
            self._take_crosshair()
        if node.IsLayoutDescription(number):
            node.SetLayoutDescription(number, text)
        else:
            node.AddLayoutDescription(number, text)
        node.SetViewArrangement(number)

    def leave(self) -> None:
        """Clear the run's layout before another takes its place."""
        if self._shown is not None:
            self._clear(self._shown[1])
        self._shown = None

    def restore(self) -> None:
        """Restore the user's layout; one that was chosen in the meantime stays."""
        self.leave()
        self._give_crosshair_back()
        node = layout_node(self.scene)
        if self._before is not None and node.GetViewArrangement() in OURS:
            node.SetViewArrangement(self._before)
        self._forget_before()

    def recover(self) -> None:
        """Restore the user's layout in a scene that was saved while one of ours was shown."""
        node = layout_node(self.scene)
        if self._before is not None or node.GetViewArrangement() not in OURS:
            return
        kept = node.GetAttribute(BEFORE) or ""
        node.SetViewArrangement(int(kept) if kept.isdigit() else node.SlicerLayoutFourUpView)
        self._forget_before()

    def let_go(self) -> None:
        """Respond to another layout that the user chose: where he went is where he wants to be."""
        self._give_crosshair_back()
        self._forget_before()

    def _forget_before(self) -> None:
        self._before = None
        layout_node(self.scene).RemoveAttribute(BEFORE)

    def fill(self, wanted: Sequence[tuple[Cell, Run]]) -> None:
        """Give every view its volumes, fit new ones to the first run's, draw grids and legends, link the views."""
        composites, fresh = [], {}
        self._filled = {cell.name for cell, _run in wanted}
        for cell, run in wanted:
            composite = self.of_view("vtkMRMLSliceCompositeNode", cell.name)
            node = self.of_view("vtkMRMLSliceNode", cell.name)
            if composite is None or node is None:
                continue
            background, foreground, opacity = self.layers(run, cell.shows)
            composite.SetLinkedControl(False)  # else the first would change the others
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
            composite.SetForegroundOpacity(opacity)
            composite.SetLabelVolumeID(None)
            node.SetViewGroup(GROUP)
            composites.append(composite)
            for volume in (background, foreground):
                users = volume is None or volume is run.get("fixed") or volume is run.get("moving")
                if not users and (cell.name, volume.GetID()) not in self._seen:
                    self._seen.add((cell.name, volume.GetID()))
                    fresh[volume.GetID()] = volume
        views = {cell.name: run.get("fixed").GetID() for cell, run in wanted}
        if any(self._fitted.get(name) != volume for name, volume in views.items()):
            self.fit(wanted[0][1])
            self._fitted.update(views)
        for run in {run.node.GetID(): run for _cell, run in wanted}.values():  # after it: a grid is slow to move
            drawn = [cell.name for cell, shown in wanted if shown == run and cell.shows == "grid"]
            if drawn:
                views = [self.of_view("vtkMRMLSliceNode", name) for name in drawn]
                self.review.grid_in(run, [view.GetID() for view in views if view is not None])
        for volume in fresh.values():
            renew_legend(volume)
        refresh_legends(self.scene)
        for composite in composites:
            composite.SetHotLinkedControl(True)
            composite.SetLinkedControl(True)

    def layers(self, run: Run, shows: str) -> tuple[Any, Any, float]:
        """Return background, foreground and its opacity for what a view shows."""
        if shows == "blend":
            return run.get("fixed"), run.get("warped"), 0.5
        if shows == "jacobian":
            return run.get("fixed"), self.volume(run, shows), 0.75
        return self.volume(run, shows), None, 0.0

    def volume(self, run: Run, shows: str) -> slicer.vtkMRMLVolumeNode | None:
        """Return the volume that a view shows; make it if necessary."""
        if shows in ("fixed", "moving", "warped"):
            return run.get(shows)
        if shows in ("blend", "grid"):
            return run.get("warped")
        if shows == "magnitude":
            return magnitude(self.scene, run)
        return self.review.volume(run, shows)

    def fit(self, run: Run) -> None:
        """Fit all our views to the run's volume."""
        self.jump(bounds_of(run.get("warped")).mean(1), fitted=True)

    def jump(self, ras_mm: Sequence[float], fitted: bool = False) -> None:
        """Center all our views on a point, and put the crosshair there."""
        self.review.cross(ras_mm)
        for logic in self.review.all_logics:
            node = logic.GetSliceNode()
            if node is not None and {node.GetLayoutName(), node.GetName()} & self._filled:
                if fitted:
                    logic.FitSliceToBackground()
                node.JumpSliceByCentering(*[float(value) for value in ras_mm])

    def of_view(self, kind: str, name: str) -> slicer.vtkMRMLNode | None:
        """Return the slice or composite node of a view, or None."""
        nodes = slicer.util.getNodesByClass(kind, self.scene)
        return next((node for node in nodes if name in (node.GetLayoutName(), node.GetName())), None)

    def _take_crosshair(self) -> None:
        """Show where the three planes meet; moved with Shift held down, it takes the planes along."""
        node = self.review.crosshair
        if node is not None:
            self._crosshair_before = (node.GetCrosshairMode(), node.GetCrosshairBehavior())
            node.SetCrosshairMode(node.ShowIntersection)
            node.SetCrosshairBehavior(node.OffsetJumpSlice)

    def _give_crosshair_back(self) -> None:
        node = self.review.crosshair
        if node is not None and self._crosshair_before is not None:
            node.SetCrosshairMode(self._crosshair_before[0])
            node.SetCrosshairBehavior(self._crosshair_before[1])
        self._crosshair_before = None

    def _clear(self, run: Run) -> None:
        if run.node.GetScene() is not None:
            self.review.grid_in(run, [])
