"""Build a table of a paper: train what its rows need, evaluate it, and keep each outcome; it can be stopped anywhere.

Under the output folder there are ``data/NAME.csv`` (the images of a data set with their splits, the same for every
training), ``models/`` (a folder for each training; rows of several tables that mean the same training share it),
``cells/`` (what was measured, a file for each training and data set), ``prepared/`` and, of each table,
``tables/NAME/``.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..catalog import Card
from ..files.atomic import whole_file, writing
from ..files.jsonable import jsonable
from ..methods import method
from ..training.checkpoints import CHECKPOINT_FILE
from ..training.dataset.index import SPLITS, DatasetIndex
from ..training.dataset.pairs import ATLAS_PAIRINGS
from ..training.dataset.read import read_dataset_index
from ..training.dataset.splits import contents_of, with_splits
from ..training.dataset.table import write_csv
from ..training.joint import SEGMENTATION_FOLDER
from ..training.plan import PLAN_FILE
from ..training.record import FINISHED_FILE
from ..training.schedules import schedules_of
from ..training.start import TrainingRequest, train
from ..types import InputError
from .contenders import needs_training
from .evaluate import Evaluation, EvaluationRequest, evaluate
from .papers import DataSet, Paper, Row, Table
from .segmentation import evaluate_segmentation

#: Beside a finished training: what was asked for.
ASKED_FILE = "asked.json"
#: The pairing of data that name their pairs.
GIVEN = "given"
SURFACE_METRICS = ("hd95_mm", "hd_mm", "assd_mm")
#: Where a paper does not say how many there were for training, validation and test.
USUAL_SPLIT = (8, 1, 1)
#: An image that is made smaller keeps so many voxels along its shortest axis, and a split so many scans.
SMALLEST, FEWEST = 32, {"train": 4, "val": 2, "test": 2}


@dataclass(frozen=True)
class PaperRequest:
    """One table as it is asked for.

    Attributes:
        paper, table: which.
        output: folder of the experiment, the same for every table of the paper.
        data: a folder, CSV or dataset.json by name of the data set.
        images, labels, atlas: patterns, and the name of the atlas, by name of the data set.
        scale: part of the voxels along each axis, of the scans and of the epochs.
        size_ijk: of the images, instead of the paper's; they are cut or padded to it.
        steps: of each training, instead of the epochs.
        rows: numbers of rows; empty for all.
        job: (n, m): only each m-th training with its evaluation, from the n-th on, counted from 1.
        seed, device: of trainings.
        precision: of trainings.
        limit_minutes: stop after so long; the same request goes on.
    """

    paper: Paper
    table: Table
    output: Path
    data: Mapping[str, Path]
    images: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    atlas: Mapping[str, str] = field(default_factory=dict)
    scale: float = 1.0
    size_ijk: tuple[int, ...] | None = None
    steps: int | None = None
    rows: tuple[int, ...] = ()
    job: tuple[int, int] = (1, 1)
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    limit_minutes: float | None = None


@dataclass(frozen=True)
class Cell:
    """A row of the table on one data set, and the training that it needs.

    Attributes:
        train, test: names of data sets; ``train`` is None for a method that needs no training.
        name: of its files; the same for rows that mean the same.
    """

    row: Row
    train: str | None
    test: str
    name: str

    @property
    def model(self) -> str | None:
        """Name of the folder of its training."""
        return None if self.train is None else self.name.rpartition("--on--")[0]


#: What a cell gave: "pairs", "outcomes", "parameters", and of a training "training" and "minutes_per_epoch".
Measured = dict[str, Any]


def cells_of(request: PaperRequest) -> list[Cell]:
    """Return the cells of the table, those of one training one after another.

    Raises:
        InputError: a data set is not given, or no row has such a number.
    """
    chosen = request.table
    numbers = {row.number for row in chosen.rows}
    unknown = sorted(set(request.rows) - numbers)
    if unknown:
        raise InputError(f"Table {chosen.name} has rows 1 to {max(numbers)}; there is no row {unknown[0]}.")
    missing = sorted(set(chosen.data_sets) - set(request.data))
    if missing:
        title = request.paper.data[missing[0]].title
        raise InputError(f"This table needs the data set {missing[0]} ({title}): --data {missing[0]}=PATH.")
    cells = []
    for row in chosen.rows:
        if request.rows and row.number not in request.rows:
            continue
        for test in chosen.test:
            train = (chosen.train or test) if row.joint or needs_training(row.method) else None
            cells.append(Cell(row, train, test, f"{_model_name(row, train)}--on--{test}"))
    return cells


def _model_name(row: Row, train: str | None) -> str:
    """Return a name that is the same for rows that mean the same training."""
    parts = [train or "as-it-is", row.method]
    parts += [f"{name}={value}" for name, value in sorted(row.set.items())]
    parts += [f"{name}={value}" for name, value in sorted((row.joint or {}).items())]
    if row.regularity_factor != 1:
        parts.append(f"regularity-x{row.regularity_factor:g}")
    if row.label_weight:
        parts.append(f"labels={row.label_weight:g}")
    return "".join(c if c.isalnum() or c in "-_.=" else "-" for c in "-".join(parts))


@dataclass(frozen=True)
class Ran:
    """How a run ended.

    Attributes:
        cells: of the table. measured: what those that are done gave, by their names.
        finished: every cell is done. stopped: a training was stopped, and can go on.
        failed: what was wrong with a cell, by its name.
    """

    cells: Sequence[Cell]
    measured: Mapping[str, Measured]
    stopped: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Return whether every cell is done."""
        return all(cell.name in self.measured for cell in self.cells)


def trainings_of(request: PaperRequest) -> list[str]:
    """Return the names of the trainings of the table; of a method that needs none, that of its cell.

    Raises:
        InputError: see :func:`cells_of`.
    """
    return list(dict.fromkeys(cell.model or cell.name for cell in cells_of(request)))


def run(request: PaperRequest, say: Callable[[str], None] = print) -> Ran:
    """Train and evaluate what is not done yet.

    A cell that fails is named and left; the next run tries it again.

    Raises:
        InputError: the table or the data cannot be used, before any training.
    """
    cells = cells_of(request)
    names = {name for cell in cells for name in (cell.train, cell.test) if name is not None}
    for name in sorted(names):
        _fixed_splits(request, request.paper.data[name], say)
    n, m = request.job
    own, failed = set(trainings_of(request)[n - 1 :: m]), {}
    for cell in cells:
        if (cell.model or cell.name) not in own or kept(request, cell) is not None:
            continue
        try:
            measured = _measure(request, cell, say)
        except InputError as error:
            failed[cell.name] = str(error)
            say(f"row {cell.row.number}, {cell.row.title}, on {cell.test}: {error}")
            continue
        if measured is None:
            return Ran(cells, _all_kept(request, cells), True, failed)
        _keep(request, cell, measured)
    return Ran(cells, _all_kept(request, cells), False, failed)


def _path(request: PaperRequest, cell: Cell) -> Path:
    return request.output / "cells" / f"{cell.name}.json"


def kept(request: PaperRequest, cell: Cell) -> Measured | None:
    """Return what a cell gave before, or None where it is not done, or was asked for in another way."""
    try:
        measured = json.loads(_path(request, cell).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = _deciding(measured.get("asked")) == _asked(request, cell)
    return measured if same and not lacks_distances(request.table.metrics, measured) else None


def lacks_distances(metrics: Collection[str], measured: Measured) -> bool:
    """Return whether a table has distances of surfaces, and another one, for which a cell was measured, has none."""
    after = [outcome["metrics"]["after"] for outcome in measured.get("outcomes", ()) if "metrics" in outcome]
    return _with_distances(metrics) and any("dice" in one for one in after) and not any("hd95_mm" in o for o in after)


def _with_distances(metrics: Collection[str]) -> bool:
    return any(name in metrics for name in SURFACE_METRICS)


def _asked(request: PaperRequest, cell: Cell) -> dict[str, Any]:
    """Return what decides the outcome of a cell beside its data."""
    sets = [dataclasses.asdict(request.paper.data[name]) for name in (cell.train, cell.test) if name]
    values: dict[str, Any] = {"scale": request.scale, "steps": request.steps, "seed": request.seed, "sets": sets}
    values.update({"size": request.size_ijk} if request.size_ijk else {}, stages=request.table.stages)
    plain: dict[str, Any] = _deciding(json.loads(json.dumps(values)))
    return plain


#: Of a data set: what is for people, or says where its files are.
_WORDS = ("title", "names", "images", "labels")


def _deciding(asked: Any) -> Any:
    """Return what was asked for without what decides nothing."""
    if not isinstance(asked, dict) or not isinstance(asked.get("sets"), list):
        return None
    sets = [{key: value for key, value in one.items() if key not in _WORDS} for one in asked["sets"]]
    return {**asked, "sets": sets}


def _all_kept(request: PaperRequest, cells: Sequence[Cell]) -> dict[str, Measured]:
    found = {cell.name: kept(request, cell) for cell in cells}
    return {name: measured for name, measured in found.items() if measured is not None}


def _keep(request: PaperRequest, cell: Cell, measured: Measured) -> None:
    path = _path(request, cell)
    values = jsonable({**measured, "asked": _asked(request, cell)})
    with writing("The outcome", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as private:
            private.write_text(json.dumps(values, indent=1), encoding="utf-8")


# ------------------------------------------------------------------------------------------ the data


def _fixed_splits(request: PaperRequest, data: DataSet, say: Callable[[str], None]) -> None:
    """Write the images of a data set with their splits into a CSV, once for all trainings.

    Raises:
        InputError: the data cannot be read, too few of them are there for the paper's split, or the folder holds
            trainings on other data.
    """
    path = _csv_of(request, data.name)
    _check_same_data(request, data, path)
    if path.is_file():
        return
    patterns = {"images": data.images, "labels": data.labels}
    for name, given in (("images", request.images), ("labels", request.labels)):
        patterns[name] = given.get(data.name, patterns[name])
    place = request.data[data.name]
    index = read_dataset_index(place, **(patterns if place.is_dir() else {}))
    atlas = request.atlas.get(data.name)
    # Joint trainings draw their pairs themselves.
    if data.pairing == GIVEN and not index.given and not all(row.joint for row in request.table.rows):
        raise InputError(
            f"{data.title}: its pairs are given, not drawn. Give a .csv of them (docs/training.md) in place of {place}."
        )
    if data.pairing in ATLAS_PAIRINGS and atlas not in index.subjects:
        known = ", ".join(list(index.subjects)[:4])
        raise InputError(f"{data.title} needs an atlas: --atlas {data.name}=NAME, one of its images ({known}, ...).")
    if isinstance(data.split, Mapping):
        index = _by_names(index, data)
    else:
        train, val, test = data.split or USUAL_SPLIT
        index, note = with_splits(index, 0.1, request.seed, (train, val, test), atlas)
        if note:
            say(f"{data.title}: {note}")
    index = _fewer(index, request.scale, request.seed, atlas)
    counted = {split: sum(one.split == split for one in index.subjects.values()) for split in SPLITS}
    say(f"{data.title}: {', '.join(f'{count} {split}' for split, count in counted.items())}")
    if not counted["test"]:
        raise InputError(
            f"{data.title}: none of the {len(index.subjects)} images is left for a test. Give more images."
        )
    with writing("The splits", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as private:
            write_csv(index, private)
        with whole_file(path.with_suffix(".json")) as private:
            origin = {**_origin(request, data), "contents": contents_of(index)}
            private.write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


def _origin(request: PaperRequest, data: DataSet) -> dict[str, Any]:
    """Return what decides which images there are, and which of them are for what."""
    return {
        "from": str(request.data[data.name].resolve()),
        "scale": request.scale,
        "seed": request.seed,
        "atlas": request.atlas.get(data.name),
        "images": request.images.get(data.name),
        "labels": request.labels.get(data.name),
    }


def _check_same_data(request: PaperRequest, data: DataSet, path: Path) -> None:
    """Raise InputError where the images of the folder's trainings are others than those that are asked for."""
    try:
        before = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = _origin(request, data)
    different = [
        f"{name} was {before.get(name)} and is now {value}" for name, value in now.items() if before.get(name) != value
    ]
    if different:
        raise InputError(
            f"{request.output} holds trainings on other images of {data.title}: {'; '.join(different)}. Give what it "
            "had, or another --output."
        )
    if before.get("contents") not in (None, contents_of(read_dataset_index(path))):
        raise InputError(
            f"Images, labels or masks of {data.title} have changed since the trainings in {request.output}. Give "
            "another --output."
        )


def _by_names(index: DatasetIndex, data: DataSet) -> DatasetIndex:
    """Return the index with the splits that the description names; images that it does not name are left out."""
    assert isinstance(data.split, Mapping)
    split_of = {name: split for split, names in data.split.items() for name in names}
    found = {
        name: dataclasses.replace(one, split=split_of[name]) for name, one in index.subjects.items() if name in split_of
    }
    missing = sorted(set(split_of) - set(found))
    if missing:
        raise InputError(
            f"{data.title}: {len(missing)} images that its split names are not there, {missing[0]} among them. Give "
            "the whole data set."
        )
    return dataclasses.replace(index, subjects=found)


def _fewer(index: DatasetIndex, scale: float, seed: int, atlas: str | None) -> DatasetIndex:
    """Return a part of the images (or of their groups) of each split, the atlas among them."""
    if scale >= 1 or index.given:
        return index
    kept: set[str] = {atlas} if atlas else set()
    for split in SPLITS:
        members = [one for one in index.subjects.values() if one.split == split and one.name != atlas]
        groups = sorted({one.group or one.name for one in members})
        count = min(len(groups), max(FEWEST[split], round(scale * len(groups))))
        sampled = set(random.Random(seed).sample(groups, count))
        kept |= {one.name for one in members if (one.group or one.name) in sampled}
    return index.without(set(index.subjects) - kept)


def _csv_of(request: PaperRequest, data: str) -> Path:
    return request.output / "data" / f"{data}.csv"


# ------------------------------------------------------------------------------------------ one cell


def _measure(request: PaperRequest, cell: Cell, say: Callable[[str], None]) -> Measured | None:
    """Train what a cell needs, and evaluate it; None where the training was stopped."""
    model = None
    if cell.train is not None:
        assert cell.model is not None
        model = request.output / "models" / cell.model
        if not _train(request, cell, model, say):
            return None
    data = request.paper.data[cell.test]
    say(f"row {cell.row.number}, {cell.row.title}: evaluated on {data.title}")
    if cell.row.joint:
        assert model is not None
        seen = evaluate_segmentation(
            model / SEGMENTATION_FOLDER,
            _csv_of(request, cell.test),
            "test",
            request.output / "prepared",
            slices=data.slices,
            size_ijk=_size(request, data),
            resample=data.resample,
            device=request.device,
        )
        return {**seen, **_about_training(model)}
    asked = EvaluationRequest(
        models=(str(model) if model else cell.row.method,),
        data=_csv_of(request, cell.test),
        cache=request.output / "prepared",
        split="test",
        pairing=data.pairing,
        atlas=request.atlas.get(cell.test),
        size_ijk=_size(request, data),
        voxel_mm=_voxel_mm(request, data),
        resample=data.resample,
        label_warp=data.label_warp,
        structures=data.structures,
        surfaces=_with_distances(request.table.metrics),
        stages=request.table.stages,
        device=request.device,
    )
    return {**_values(evaluate(asked, say)), **_about_training(model)}


def _values(evaluation: Evaluation) -> Measured:
    one = evaluation.contenders[0]
    return {
        "pairs": list(evaluation.pairs),
        "outcomes": list(evaluation.outcomes[one.label]),
        "parameters": one.parameters,
    }


def _about_training(model: Path | None) -> Measured:
    """Return how a training ended, and the minutes of an epoch."""
    if model is None:
        return {}
    finished = json.loads((model / FINISHED_FILE).read_text(encoding="utf-8"))
    plan = json.loads((model / PLAN_FILE).read_text(encoding="utf-8"))
    pairs = plan["data"].get("pairs")
    seconds = finished["seconds"] / max(1, finished["step"])
    epoch = pairs and seconds * pairs / plan["pairs_per_step"] / 60
    return {"training": finished, "minutes_per_epoch": epoch}


def _train(request: PaperRequest, cell: Cell, folder: Path, say: Callable[[str], None]) -> bool:
    """Train the model of a cell unless it is finished; return whether it is.

    Raises:
        InputError: another training lies in its folder, or the data cannot be used.
    """
    row, data = cell.row, request.paper.data[cell.train or cell.test]
    chosen = method(row.method).card
    schedule = _schedule(chosen, data)
    regularity = None
    if row.regularity_factor != 1:
        usual = schedules_of(chosen)[schedule].loss.get("regularity", chosen.settings.get("regularity", 1.0))
        regularity = usual * row.regularity_factor
    joint = dict(row.joint or {})
    asked = TrainingRequest(
        network=row.method,
        output=folder,
        data=_csv_of(request, data.name),
        pairing=None if joint else data.pairing,
        atlas=request.atlas.get(data.name) if data.pairing in ATLAS_PAIRINGS and not joint else None,
        size_ijk=_size(request, data),
        voxel_mm=_voxel_mm(request, data),
        resample=data.resample,
        schedule=schedule,
        epochs=None
        if request.steps is not None or data.steps
        else _epochs(request, data, schedules_of(chosen)[schedule].epochs),
        steps=request.steps if request.steps is not None else data.steps and max(1, round(request.scale * data.steps)),
        changed=tuple(f"{name}={json.dumps(value)}" for name, value in row.set.items()),
        regularity=regularity,
        label_weight=row.label_weight or None,
        joint=joint.get("network"),
        alone=bool(joint.get("alone", False)),
        ratio=joint.get("ratio"),
        slices=data.slices if joint else None,
        seed=request.seed,
        learning_rate=data.learning_rate,
        augment=data.augment,
        precision=data.precision if request.precision == "auto" else request.precision,
        validate_every=data.validate_every,
        patience=data.patience,
        device=request.device,
        cache=request.output / "prepared",
        limit_minutes=request.limit_minutes,
        resume=(folder / CHECKPOINT_FILE).is_file(),
    )
    if (folder / FINISHED_FILE).is_file():
        _check_same_training(request, folder, asked)
        return True
    say(f"row {row.number}, {row.title}: training on {data.title}")
    finished = train(asked, say).finished
    if finished:
        (folder / ASKED_FILE).write_text(json.dumps(_of_training(asked), indent=1) + "\n", encoding="utf-8")
    return finished


def _of_training(asked: TrainingRequest) -> dict[str, Any]:
    """Return what decides a training beside its data and what its folder is called after."""
    values = {name: getattr(asked, name) for name in ("steps", "epochs", "size_ijk", "voxel_mm", "learning_rate")}
    plain: dict[str, Any] = json.loads(json.dumps({**values, "seed": asked.seed, "precision": asked.precision}))
    return plain


def _check_same_training(request: PaperRequest, folder: Path, asked: TrainingRequest) -> None:
    """Raise InputError where the training that a folder holds was another one than is asked for now."""
    now = _of_training(asked)
    try:
        before = json.loads((folder / ASKED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of an older version, which kept the number of steps alone
        before = {**now, "steps": json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))["steps"]}
        now = now if now["steps"] is not None else before
    different = [
        f"{name} was {before.get(name)} and is now {value}" for name, value in now.items() if before.get(name) != value
    ]
    if different:
        raise InputError(
            f"{folder} holds another training: {'; '.join(different)}. Give what it had, or another --output than "
            f"{request.output}."
        )


def _schedule(card: Card, data: DataSet) -> str:
    """Return the schedule of a network: the one for the data set, else its first own one, else the general one."""
    known = schedules_of(card)
    if data.schedule in known:
        return data.schedule
    return next(iter(known))


def _size(request: PaperRequest, data: DataSet) -> tuple[int, ...] | None:
    if request.size_ijk is not None or data.size_ijk is None:
        return request.size_ijk
    part = _part(request, data)
    return tuple(max(16, round(part * n)) for n in data.size_ijk)


def _part(request: PaperRequest, data: DataSet) -> float:
    """Return how much smaller images are along each axis."""
    if data.size_ijk is None or request.size_ijk is not None or request.scale >= 1:
        return 1.0
    return min(1.0, max(request.scale, SMALLEST / min(data.size_ijk)))


def _voxel_mm(request: PaperRequest, data: DataSet) -> float | None:
    """Return the voxel size (mm) of smaller images of the data set, whose own voxels are of 1 mm; else None."""
    part = _part(request, data)
    return None if part == 1.0 or data.resample else round(1.0 / part, 4)


def _epochs(request: PaperRequest, data: DataSet, usual: int | None) -> int | None:
    epochs = data.epochs or usual
    return None if epochs is None else max(1, round(request.scale * epochs))
