"""Reading without knowing the method: runs in a random order under letters, and the reader's ranking kept. Qt-free."""

from __future__ import annotations

import datetime
import random
from typing import List, Sequence

import slicer
import slicer.util
import vtk

from ..mrml.runs import Run
from ..types import InputError

#: The table that keeps the rankings with the scene.
TABLE = "DeepReg rankings"
LETTERS = "ABCD"


def shuffled(runs: Sequence[Run]) -> List[Run]:
    """The runs in an order that nobody knows."""
    order = list(runs)
    random.SystemRandom().shuffle(order)
    return order


def read_ranking(text: str, count: int) -> List[int]:
    """Places of the runs, best first, from letters as "B A C" or "bac".

    Raises:
        InputError: not each letter once.
    """
    letters = [letter for letter in text.upper() if letter not in " ,;>"]
    wanted = list(LETTERS[:count])
    if sorted(letters) != wanted:
        example = " ".join(reversed(wanted))
        raise InputError(f"Write each of {', '.join(wanted)} once, the best first, as: {example}. It was {text!r}.")
    return [wanted.index(letter) for letter in letters]


def keep_ranking(scene, runs: Sequence[Run], ranking: Sequence[int]):
    """Add a row to the scene's table of rankings: when, and run and method from best to worst; returns the table."""
    found = [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode", scene) if node.GetName() == TABLE]
    node = found[0] if found else scene.AddNewNodeByClass("vtkMRMLTableNode", TABLE)
    titles = ["Read at", *(f"Rank {place + 1}" for place in range(len(LETTERS)))]
    if not found:
        for title in titles:
            column = vtk.vtkStringArray()
            column.SetName(title)
            node.AddColumn(column)
        node.SetUseColumnTitleAsColumnHeader(True)
    ranked = [runs[place] for place in ranking]
    said = [f"{run.name} ({run.facts.get('method', '')}, {run.facts.get('preset', '')})" for run in ranked]
    values = [datetime.datetime.now().isoformat(timespec="seconds"), *said, *([""] * (len(LETTERS) - len(said)))]
    table = node.GetTable()
    for column, value in enumerate(values):
        table.GetColumn(column).InsertNextValue(value)
    table.Modified()
    node.Modified()
    return node
