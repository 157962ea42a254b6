"""Several runs beside each other: a column for each, linked views, common scales, and a table beneath. No Qt.

The layout is one of Slicer's own kind (a description in the layout node), so that its controllers, links and maximise
buttons work as in any other. What was there before comes back with ``restore``.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple
from xml.sax.saxutils import quoteattr

import slicer
import slicer.util
import vtk

from .review import Review
from .runs import Run

#: How many runs go beside each other.
FEWEST, MOST = 2, 4
#: A number that no other layout has, and what our views and table are called.
LAYOUT, PREFIX, TABLE = 7316, "DeepReg", "DeepReg comparison"
#: Views of one group follow each other; Slicer's own are of group 0.
GROUP = 7
#: From top to bottom: what of a run is shown, and the letter on the view.
ROWS = (("warped", "W"), ("difference", "D"), ("jacobian", "J"))
COLOURS = ("#EDD54C", "#6EB04B", "#5EA9D6", "#C98BD1")
#: Columns of the table: heading, name of the figure, form.
FIGURES = (
    ("Dice", "dice", "{:.3f}"),
    ("HD95 (mm)", "hd95_mm", "{:.2f}"),
    ("TRE (mm)", "tre_mm", "{:.2f}"),
    ("NCC", "ncc", "{:.3f}"),
    ("SSIM", "ssim", "{:.3f}"),
    ("|J| <= 0 (%)", "folds_percent", "{:.3g}"),
    ("NDV (%)", "ndv_percent", "{:.3g}"),
    ("SDlogJ", "sdlogj", "{:.3f}"),
)


def view_name(column: int, row: int) -> str:
    """The name of a view: columns are runs, rows are ROWS."""
    return f"{PREFIX}{column + 1}{ROWS[row][1]}"


class SideBySide:
    """Shows runs beside each other in a scene.

    Args:
        scene: the MRML scene.
        review: makes difference and Jacobian volumes.
        arranged: called with the names of the views that the layout has now; the desktop makes them by itself.
    """

    def __init__(self, scene, review: Review, arranged: Callable[[List[str]], Any] = lambda names: None) -> None:
        self.scene, self.review, self.arranged = scene, review, arranged
        self._before: Optional[int] = None
        self._runs: Tuple[Run, ...] = ()

    @property
    def shown(self) -> Tuple[Run, ...]:
        """The runs that are beside each other, or none."""
        return self._runs

    def show(self, runs: Sequence[Run]) -> None:
        """Arrange the views and show the runs.

        Raises:
            ValueError: too few or too many runs, or one that has lost its volumes.
        """
        if not FEWEST <= len(runs) <= MOST:
            raise ValueError(f"Choose {FEWEST} to {MOST} runs to put beside each other; {len(runs)} are chosen.")
        for run in runs:
            if run.get("warped") is None or run.get("fixed") is None:
                raise ValueError(f"{run.name} has lost its volumes and cannot be shown.")
        layout = self._layout_node()
        if self._before is None:
            self._before = layout.GetViewArrangement()
        description = layout_description(len(runs))
        if layout.IsLayoutDescription(LAYOUT):
            layout.SetLayoutDescription(LAYOUT, description)
        else:
            layout.AddLayoutDescription(LAYOUT, description)
        layout.SetViewArrangement(LAYOUT)
        self._runs = tuple(runs)
        self.arranged([view_name(column, row) for column in range(len(runs)) for row in range(len(ROWS))])
        self._common_window()
        self._fill()
        self._show_table()
        self.fit()

    def fit(self) -> None:
        """All views on the same place, and as large as they can be."""
        volume, bounds = self._runs[0].get("warped"), [0.0] * 6
        volume.GetRASBounds(bounds)
        middle = [(bounds[n] + bounds[n + 1]) / 2 for n in (0, 2, 4)]
        logics = self.review.logics
        for logic in [logics.GetItemAsObject(n) for n in range(logics.GetNumberOfItems())]:
            if logic.GetSliceNode() is not None and logic.GetSliceNode().GetName().startswith(PREFIX):
                logic.GetSliceNode().JumpSliceByCentering(*middle)
                logic.FitSliceToBackground()

    def restore(self) -> None:
        """The layout that was there before; the table goes."""
        if self._before is not None:
            self._layout_node().SetViewArrangement(self._before)
        table = self._table()
        if table is not None:
            self.scene.RemoveNode(table)
        self._before, self._runs = None, ()

    def forget(self, run: Run) -> None:
        """Before a run is removed: put the layout back where it shows it."""
        if run in self._runs:
            self.restore()

    # ------------------------------------------------------------------ the views

    def _fill(self) -> None:
        for column, run in enumerate(self._runs):
            for row, (what, _letter) in enumerate(ROWS):
                composite = self._of_view("vtkMRMLSliceCompositeNode", view_name(column, row))
                node = self._of_view("vtkMRMLSliceNode", view_name(column, row))
                if composite is None or node is None:
                    continue
                background = run.get("fixed") if what == "jacobian" else self.review.volume(run, what)
                foreground = self.review.volume(run, what) if what == "jacobian" else None
                composite.SetLinkedControl(False)  # else the first would change the others
                composite.SetBackgroundVolumeID(background.GetID())
                composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
                composite.SetForegroundOpacity(0.7 if foreground is not None else 0.0)
                composite.SetLabelVolumeID(None)
                node.SetViewGroup(GROUP)
        for column in range(len(self._runs)):
            for row in range(len(ROWS)):
                composite = self._of_view("vtkMRMLSliceCompositeNode", view_name(column, row))
                if composite is not None:
                    composite.SetHotLinkedControl(True)
                    composite.SetLinkedControl(True)

    def _common_window(self) -> None:
        """Window and level of the first run's warped volume for all of them; maps have one scale anyway."""
        first = self._runs[0].get("warped").GetDisplayNode()
        low, high = first.GetWindowLevelMin(), first.GetWindowLevelMax()
        for run in self._runs:
            display = run.get("warped").GetDisplayNode()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(low, high)

    def _of_view(self, kind: str, name: str):
        nodes = slicer.util.getNodesByClass(kind, self.scene)
        return next((node for node in nodes if name in (node.GetLayoutName(), node.GetName())), None)

    # ------------------------------------------------------------------ the table

    def _table(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLTableNode", self.scene)
        return next((node for node in nodes if node.GetName() == TABLE), None)

    def _show_table(self) -> None:
        node = self._table() or self.scene.AddNewNodeByClass("vtkMRMLTableNode", TABLE)
        node.SetSaveWithScene(False)
        node.RemoveAllColumns()
        for title, values in table_columns(self._runs):
            column = vtk.vtkStringArray()
            column.SetName(title)
            for value in values:
                column.InsertNextValue(value)
            node.AddColumn(column)
        node.SetUseColumnTitleAsColumnHeader(True)
        for view in slicer.util.getNodesByClass("vtkMRMLTableViewNode", self.scene):
            if PREFIX in (view.GetSingletonTag() or "", view.GetLayoutName() or ""):
                view.SetTableNodeID(node.GetID())

    def _layout_node(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLLayoutNode", self.scene)
        return nodes[0] if nodes else self.scene.AddNewNodeByClass("vtkMRMLLayoutNode")


def table_columns(runs: Sequence[Run]) -> List[Tuple[str, List[str]]]:
    """Heading and cells of every column that some run has a figure for."""
    facts = [run.facts for run in runs]
    columns = [("Run", [f"{number + 1}: {run.name}" for number, run in enumerate(runs)])]
    columns.append(("Method", [f"{one.get('title', one.get('method', ''))}, {one.get('effort', '')}" for one in facts]))
    for title, name, form in FIGURES:
        values = [one.get("figures", {}).get(name) for one in facts]
        if any(value is not None for value in values):
            columns.append((title, ["" if value is None else form.format(value) for value in values]))
    columns.append(("Seconds", [f"{one.get('seconds', 0):.1f}" for one in facts]))
    return columns


def layout_description(columns: int) -> str:
    """The layout as Slicer reads it: a row of views for each of ROWS, and the table beneath."""
    rows = []
    for row, (_what, letter) in enumerate(ROWS):
        views = "".join(
            f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(view_name(column, row))}>'
            '<property name="orientation" action="default">Axial</property>'
            f'<property name="viewlabel" action="default">{column + 1}{letter}</property>'
            f'<property name="viewcolor" action="default">{COLOURS[column]}</property>'
            f'<property name="viewgroup" action="default">{GROUP}</property></view></item>'
            for column in range(columns)
        )
        rows.append(f'<item splitSize="280"><layout type="horizontal">{views}</layout></item>')
    table = (
        f'<item splitSize="160"><view class="vtkMRMLTableViewNode" singletontag="{PREFIX}">'
        '<property name="viewlabel" action="default">T</property></view></item>'
    )
    return f'<layout type="vertical" split="true">{"".join(rows)}{table}</layout>'
