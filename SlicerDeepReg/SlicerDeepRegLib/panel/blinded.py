"""Blinded reading: runs in random order under letters, and the reader's ranking. No Qt."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any

import slicer
import slicer.util

from ..mrml.nodes import add_text_columns
from ..mrml.runs import Run
from ..types import InputError

#: The table that keeps the rankings with the scene.
TABLE = "DeepReg rankings"
LETTERS = "ABCD"


def shuffled(runs: Sequence[Run]) -> list[Run]:
    """Return the runs in random order."""
    order = list(runs)
    random.SystemRandom().shuffle(order)
    return order


def read_ranking(text: str, count: int) -> list[int]:
    """Return the indices of the runs, the best first, from letters as "B A C" or "bac".

    Raises:
        InputError: a letter is missing, unknown or given twice.
    """
    letters = [letter for letter in text.upper() if letter not in " ,;>"]
    wanted = list(LETTERS[:count])
    if sorted(letters) != wanted:
        example = " ".join(reversed(wanted))
        raise InputError(
            f"Enter each of {', '.join(wanted)} once, the best first, for example {example}; got {text!r}."
        )
    return [wanted.index(letter) for letter in letters]


def save_ranking(scene: Any, ranked: Sequence[str]) -> Any:
    """Add a row to the scene's table of rankings: the time, then what was ranked.

    Args:
        scene: the MRML scene.
        ranked: run and method in words, the best first.

    Returns:
        The table node.
    """
    titles = ["Read at"] + [f"Rank {rank + 1}" for rank in range(len(LETTERS))]
    tables = [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode", scene) if node.GetName() == TABLE]
    tables = [node for node in tables if _titles(node) == titles]  # one that was changed by hand stays as it is
    node = tables[0] if tables else scene.AddNewNodeByClass("vtkMRMLTableNode", TABLE)
    if not tables:
        add_text_columns(node, [(title, []) for title in titles])
    unused = [""] * (len(LETTERS) - len(ranked))
    values = [datetime.datetime.now().isoformat(timespec="seconds"), *ranked, *unused]
    table = node.GetTable()
    for column, value in enumerate(values):
        table.GetColumn(column).InsertNextValue(value)
    table.Modified()
    node.Modified()
    return node


def _titles(node: slicer.vtkMRMLTableNode) -> list[str]:
    """Return the titles of a table's columns, "" for one that is not of text."""
    columns = [node.GetTable().GetColumn(number) for number in range(node.GetNumberOfColumns())]
    return [column.GetName() if column.IsA("vtkStringArray") else "" for column in columns]
