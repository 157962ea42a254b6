"""The runs of the scene, which of them is selected, and which are checked. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from ..mrml.runs import Run, runs


def complete(run: Run | None) -> bool:
    """Return whether a run still has the volumes that it is displayed with."""
    return run is not None and run.get("fixed") is not None and run.get("warped") is not None


class RunSelection:
    """The list of runs as the panel shows it."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._selected: Run | None = None
        self._checked: list[Run] = []

    @property
    def selected(self) -> Run | None:
        """The selected run, or None."""
        run = self._selected
        return run if run is not None and run.node.GetScene() is not None else None

    @property
    def checked(self) -> list[Run]:
        """The runs that are checked, in the order of the list."""
        return [run for run in self.runs if run in self._checked and run.node.GetScene() is not None]

    def read(self) -> None:
        """Read the runs of the scene again. If the selected one is gone, the one in its row takes its place."""
        before = self.runs
        self.runs = runs(slicer.mrmlScene)
        if self._selected is not None and self._selected not in self.runs:
            row = before.index(self._selected) if self._selected in before else len(before)
            self._selected = self.runs[min(row, len(self.runs) - 1)] if self.runs else None

    def select(self, run: Run | None) -> None:
        """Select a run of the list, or none."""
        self._selected = run if run in self.runs else None

    def lost(self, node: Any) -> bool:
        """Return whether a node that leaves the scene is one that a run is displayed with."""
        return any(run.refers_to(node) for run in self.runs if run.node.GetScene() is not None)

    def check(self, checked: Sequence[Run]) -> None:
        """Check these runs and no others."""
        self._checked = list(checked)
