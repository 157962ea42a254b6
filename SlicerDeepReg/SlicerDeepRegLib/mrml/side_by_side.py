"""Several runs beside each other: a row for each, linked views, common scales, and a table beneath. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import slicer.util

from ..metrics import METRICS
from .display import set_range
from .layouts import PREFIX, RUN_COLORS, SHOWS, SIDE_BY_SIDE, Cell, Layouts, description
from .nodes import add_text_columns, layout_node
from .runs import Run, check_fixed_place, runs

#: How many runs go beside each other; a single one shows its columns.
FEWEST, MOST = 1, 4
#: What our table is called.
TABLE = "DeepReg comparison"
#: What is named by a letter while a reading is blinded: Slicer writes the names of volumes into the views.
NAMED = ("warped", "difference", "jacobian", "jacobian_shown", "layout_grid")
#: The attribute that keeps the own name meanwhile.
OWN_NAME = "DeepReg.own_name"
#: What is shown of each run.
COLUMNS = ("warped", "grid", "jacobian", "difference")
#: The metrics in the table, by their names in ``METRICS``.
TABLE_METRICS = ("dice", "hd95_mm", "tre_mm", "ncc", "ssim", "folds_percent", "ndv_percent", "sdlogj")


def cells_of(count: int, letters: Sequence[str] | None = None) -> list[list[Cell]]:
    """Return a row of views for each run, labeled by numbers or by letters."""
    marks = letters or [str(row + 1) for row in range(count)]
    return [
        [
            Cell(f"{PREFIX}{row + 1}{SHOWS[what][0]}", what, "Axial", f"{marks[row]}{SHOWS[what][0]}", RUN_COLORS[row])
            for what in COLUMNS
        ]
        for row in range(count)
    ]


class SideBySide:
    """Shows runs beside each other in a scene.

    Args:
        layouts: arranges and fills views.
    """

    def __init__(self, layouts: Layouts) -> None:
        self.layouts, self.scene, self.review = layouts, layouts.scene, layouts.review
        self._runs: tuple[Run, ...] = ()
        #: Names in place of those of runs and methods, while a reader must not know them.
        self.blind: Sequence[str] | None = None
        self._told: list[str] = []  # names of the runs, as the table has them
        self._names: list[tuple[Any, Run, str, str]] = []  # node, run and its name then, the node's own name
        self._windows: list[tuple[Any, tuple[float, float], tuple[float, float]]] = []  # display, its own, the common

    @property
    def shown(self) -> tuple[Run, ...]:
        """The runs that are beside each other; none, too, where another layout was chosen since."""
        if self._runs and layout_node(self.scene).GetViewArrangement() != SIDE_BY_SIDE:
            self._put_away()
            if not self.layouts.is_ours:
                self.layouts.let_go()
        return self._runs

    def show(self, runs: Sequence[Run], blind: Sequence[str] | None = None) -> None:
        """Arrange the views and show the runs.

        Args:
            blind: a name for each run, to be read in place of its own; then there are no metrics either.

        Raises:
            ValueError: too few or too many runs, runs of several fixed volumes, or one that has lost its volumes or
                maps, or whose fixed volume was moved. Nothing was changed then.
        """
        if not FEWEST <= len(runs) <= MOST:
            raise ValueError(f"Choose {FEWEST} to {MOST} results to show side by side; {len(runs)} are chosen.")
        for run in runs:
            if run.get("warped") is None or run.get("fixed") is None:
                raise ValueError(
                    f"{run.name} cannot be shown: its fixed or warped volume was removed from the scene. Leave it out, "
                    "or register again."
                )
            check_fixed_place(run)
        if any(run.get("fixed") is not runs[0].get("fixed") for run in runs):
            raise ValueError(
                "The results have different fixed volumes. Check results of one to look at them side by side."
            )
        for run in runs:
            self.layouts.volume(run, "jacobian")  # refused where it was removed, before anything changes
        rows = cells_of(len(runs), blind)
        self._give_back()
        self.layouts.leave()
        self._runs, self.blind = tuple(runs), blind
        self.layouts.arrange(SIDE_BY_SIDE, description(rows, _table_item()))
        self.layouts.arranged([cell for row in rows for cell in row])
        self._common_window()
        self.layouts.fill([(cell, run) for row, run in zip(rows, runs) for cell in row])
        self._show_table()
        if blind is not None:
            self._hide_names()

    def refresh(self) -> None:
        """Fill the table again where a run was renamed since."""
        if self.shown and self._told != [run.name for run in self._runs]:
            self._show_table()

    def restore(self) -> None:
        """Restore the user's layout, and remove the table."""
        self.layouts.restore()
        self._put_away()

    def _put_away(self) -> None:
        """Give back all but the layout."""
        for run in self._runs:
            if run.node.GetScene() is not None:
                self.review.grid_in(run, [])
        table = self._table()
        if table is not None:
            self.scene.RemoveNode(table)
        self._give_back()
        self._runs, self.blind = (), None

    def _hide_names(self) -> None:
        """Rename volumes to letters while the reading is blinded."""
        for run, letter in zip(self._runs, self.blind):
            for role in NAMED:
                node = run.get(role)
                if node is not None:
                    self._names.append((node, run, run.name, node.GetName()))
                    node.SetAttribute(OWN_NAME, node.GetName())
                    node.SetName(f"{letter}: {role}")

    def recover(self) -> None:
        """Give volumes their names back in a scene that was saved during a blinded reading."""
        live = {node.GetID() for node, *_rest in self._names}
        for run in runs(self.scene):
            for role in NAMED:
                node = run.get(role)
                if node is None or node.GetID() in live:
                    continue
                kept = node.GetAttribute(OWN_NAME)
                if kept and node.GetName().partition(": ")[2] == role:
                    node.SetName(kept)
                node.RemoveAttribute(OWN_NAME)

    def _give_back(self) -> None:
        """Give volumes their names and windows back, but for those that were changed since."""
        for node, run, name, own in self._names:
            node.RemoveAttribute(OWN_NAME)
            if run.node.GetScene() is not None and node.GetName().partition(": ")[2] in NAMED:
                renamed = own.replace(name, run.name, 1) if own.startswith(f"{name}: ") else own
                node.SetName(renamed)  # the run may have another name by now
        for display, (low, high), common in self._windows:
            if (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == common:
                display.SetWindowLevelMinMax(low, high)
        self._names, self._windows = [], []

    def forget(self, run: Run) -> None:
        """Restore the layout if it shows a run that is about to be removed."""
        if run in self._runs:
            self.restore()

    def _common_window(self) -> None:
        """Use one window for the warped volumes of one moving volume; maps have a common scale anyway."""
        windows: dict[Any, tuple[float, float]] = {}
        for run in self._runs:
            display, moving = run.get("warped").GetDisplayNode(), run.get("moving")
            own = display.GetWindowLevelMin(), display.GetWindowLevelMax()
            set_range(run.get("warped"), *windows.setdefault(moving.GetID() if moving else None, own))
            self._windows.append((display, own, (display.GetWindowLevelMin(), display.GetWindowLevelMax())))

    # ------------------------------------------------------------------ the table

    def _table(self) -> slicer.vtkMRMLTableNode | None:
        nodes = slicer.util.getNodesByClass("vtkMRMLTableNode", self.scene)
        return next((node for node in nodes if node.GetName() == TABLE), None)

    def _show_table(self) -> None:
        node = self._table() or self.scene.AddNewNodeByClass("vtkMRMLTableNode", TABLE)
        node.SetSaveWithScene(False)
        node.RemoveAllColumns()
        columns, self._told = table_columns(self._runs), [run.name for run in self._runs]
        if self.blind is not None:
            columns = [("Run", [f"{number + 1}: {name}" for number, name in enumerate(self.blind)])]
        add_text_columns(node, columns)
        for view in slicer.util.getNodesByClass("vtkMRMLTableViewNode", self.scene):
            if PREFIX in (view.GetSingletonTag() or "", view.GetLayoutName() or ""):
                view.SetTableNodeID(node.GetID())


def table_columns(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return heading and cells of every column; a metric that no run has gets none."""
    facts = [run.facts for run in runs]
    columns = [("Run", [f"{number + 1}: {run.name}" for number, run in enumerate(runs)])]
    columns.append(("Method", [f"{of.get('title', of.get('method', ''))}, {of.get('preset', '')}" for of in facts]))
    for name in TABLE_METRICS:
        metric = METRICS[name]
        values = [of.get("metrics", {}).get(name) for of in facts]
        if any(value is not None for value in values):
            columns.append((metric.heading, ["" if value is None else metric.form.format(value) for value in values]))
    shown = [of.get("seconds_until_shown", of.get("seconds", 0)) for of in facts]
    columns.append(("Seconds until shown", [f"{seconds:.1f}" for seconds in shown]))
    return columns


def _table_item() -> str:
    return (
        f'<item splitSize="160"><view class="vtkMRMLTableViewNode" singletontag="{PREFIX}">'
        '<property name="viewlabel" action="default">T</property></view></item>'
    )
