"""The tables of the papers, from their descriptions in ``Resources/Papers``: rows, data, and what was printed.

A description is a JSON file: "title", "network", "doi"; "data": data sets by name, each with "title", the "schedule" of
the trainings on it, how "pairing" makes pairs, "size_ijk", "split" (scans for training, validation and test, or their
names), "epochs", "label_warp"; "tables" by name, each with "title", "rows", "test" (data sets), "train" (the data set
where it is another one), "metrics", a "note", and "stages" where fields inside the networks are measured. A row has a
"title", a "method" (NAME or NAME:VARIANT), and as far as there are any "set" (changes, as ``train --set``), "joint"
(what is trained beside it, see ``training.joint``) and "published": figures by data set and metric, a number, [mean,
deviation] or a text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Union

from ..anatomy import STRUCTURE_BY_NUMBER
from ..types import InputError, meant

#: How labels are warped, see ``evaluate.EvaluationRequest``; and every image, whatever its split.
LABEL_WARPS, ALL = ("nearest", "linear"), "all"
FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Papers"
#: A figure of a paper: a number, mean and deviation, or what was printed ("<0.001").
Figure = Union[float, str, Sequence[float]]


@dataclass(frozen=True)
class DataSet:
    """A data set of a paper and the protocol on it; see the module.

    Attributes:
        resample: the images are resampled to ``size_ijk``, not cut.
        slices: axis that volumes are cut into slices along.
        structures: the labels that count; empty for all.
        names: of labels, by number as text; "freesurfer" for those of FreeSurfer.
        learning_rate, augment, precision: of trainings on it, where they are not the schedule's.
        validate_every, patience: see ``training.loop.LoopSettings``.
        images, labels: usual patterns of the files in its folder.
    """

    name: str
    title: str
    schedule: str | None = None
    pairing: str = "random"
    size_ijk: tuple[int, ...] | None = None
    split: tuple[int, ...] | Mapping[str, Sequence[str]] | None = None
    epochs: int | None = None
    steps: int | None = None
    label_warp: str = "nearest"
    resample: bool = False
    slices: str | None = None
    structures: tuple[int, ...] = ()
    names: str | Mapping[str, str] = dataclasses.field(default_factory=dict)
    learning_rate: float | None = None
    augment: str | None = None
    precision: str = "auto"
    validate_every: int = 500
    patience: int = 0
    images: str | None = None
    labels: str | None = None

    def name_of(self, label: str) -> str:
        """Return what a label is called in plots."""
        if isinstance(self.names, Mapping):
            return self.names.get(label, label)
        known = STRUCTURE_BY_NUMBER.get(int(label)) if label.isdecimal() else None
        return label if known is None else known.name


@dataclass(frozen=True)
class Row:
    """A row of a table; see the module. ``number`` counts from 1."""

    number: int
    title: str
    method: str
    set: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    joint: Mapping[str, Any] | None = None
    regularity_factor: float = 1.0
    label_weight: float = 0.0
    published: Mapping[str, Mapping[str, Figure]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of a paper; see the module.

    Attributes:
        train: data set that its networks are trained on; None for each one that they are tested on.
    """

    name: str
    title: str
    test: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    train: str | None = None
    stages: bool = False
    note: str = ""

    @property
    def data_sets(self) -> list[str]:
        """Return the names of the data sets that are needed to build it."""
        return list(self.test) if self.train is None or self.train in self.test else [*self.test, self.train]


@dataclass(frozen=True)
class Paper:
    """A paper with its data sets and tables by name."""

    name: str
    title: str
    data: Mapping[str, DataSet]
    tables: Mapping[str, Table]
    network: str | None = None
    doi: str | None = None


@lru_cache
def papers() -> dict[str, Paper]:
    """Return the papers by name, in alphabetical order."""
    return {path.stem: read_paper(path) for path in sorted(FOLDER.glob("*.json"))}


def paper(name: str) -> Paper:
    """Return a paper.

    Raises:
        InputError: there is none of that name.
    """
    if name not in papers():
        raise InputError(f"There is no paper {name!r}.{meant(name, papers())} There are: {', '.join(papers())}.")
    return papers()[name]


def table_of(chosen: Paper, name: str) -> Table:
    """Return a table of a paper.

    Raises:
        InputError: it has none of that name.
    """
    if name not in chosen.tables:
        listed = "; ".join(f"{key} ({table.title})" for key, table in chosen.tables.items())
        raise InputError(f"{chosen.title} has no table {name!r}. Its tables: {listed}.")
    return chosen.tables[name]


def read_paper(path: Path) -> Paper:
    """Read the description of a paper.

    Raises:
        TypeError, KeyError: it says something that nothing here knows, or leaves out what is needed.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    sets = {name: DataSet(name, **_tuples(entry)) for name, entry in values["data"].items()}
    tables = {name: _table(name, entry) for name, entry in values["tables"].items()}
    for table in tables.values():
        for used in table.data_sets:
            sets[used]  # noqa: B018 - a data set that is not described is a KeyError
    return Paper(path.stem, values["title"], sets, tables, values.get("network"), values.get("doi"))


def _table(name: str, values: Mapping[str, Any]) -> Table:
    rows = tuple(Row(number, **row) for number, row in enumerate(values["rows"], start=1))
    return Table(name, **{**_tuples({key: value for key, value in values.items() if key != "rows"}), "rows": rows})


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
