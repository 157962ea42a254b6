"""Landmarks from files, always returned as LPS mm."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..types import InputError, PointList, PointsSource

_FORMATS = (
    "a .csv with x, y, z in LPS mm in each line, Slicer's .mrk.json or .fcsv, or a point file of elastix or "
    "transformix (.txt)"
)
#: The systems of coordinates by their names in Slicer's files, and what turns them into LPS.
_SYSTEMS = {"LPS": (1, 1, 1), "1": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1)}
#: The columns of a .fcsv that does not name them, and where later versions keep whether a point is placed.
_FCSV_COLUMNS, _FCSV_STATUS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID".split(","), 14
#: Slicer's numbers for it.
_STATUSES = {"0": "undefined", "1": "preview", "2": "defined", "3": "missing"}
#: What the coordinates are called in the first line of a .csv, and their system; Slicer's tables have the first two.
_AXES = (("ras", "RAS"), ("lps", "LPS"), ("xyz", ""))
#: Words beside these in a heading, and those of columns that count voxels.
_BESIDE_AXES = {"mm", "coordinate", "coord", "position", "pos", "point", "world", "physical"}
_VOXELS = {"i", "j", "k", "voxel", "voxels", "vox", "index", "ijk", "pixel", "pixels", "px"}

#: How a point's description says how far it may be wrong, in Slicer.
_UNCERTAINTY = re.compile(r"\s*(?:\+/?-|\u00b1)?\s*(\d+(?:\.\d+)?)\s*mm\s*")
#: A point of a file: its coordinates (None where it was not placed), its label, and how far it may be wrong (NaN).
_Row = tuple[Any, str, float]


def load_points(source: PointsSource, role: str) -> PointList:
    """Return points, read first if they are a path.

    Args:
        source: a path, or (N, 3) LPS mm.
        role: what they are for, as messages should call them: "fixed points" or "moving points".

    Raises:
        InputError: the file is missing, in another form, or holds no finite points.
    """
    if isinstance(source, (str, Path)):
        return read_points(source, role)
    try:
        positions = np.asarray(source, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"The {role} must be (N, 3) numbers, LPS mm ({error}).", role.replace(" ", "_")) from error
    return _checked(PointList(positions), positions, role)


def read_points(path: str | Path, role: str = "points") -> PointList:
    """Read points from a .csv (LPS unless it says RAS), .mrk.json, .fcsv, or point file of elastix or transformix.

    Args:
        path: the file.
        role: as for :func:`load_points`; it chooses the points of transformix's output.

    Raises:
        InputError: as for :func:`load_points`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The {role} file {path} does not exist. Check the path.")
    notes: tuple[str, ...] = ()
    try:
        if path.name.endswith(".json"):
            rows, signs = _read_markups(path, role)
        elif path.name.endswith(".fcsv"):
            rows, signs = _read_fcsv(path)
        elif _first_word(path) in ("point", "index"):
            (rows, notes), signs = _read_elastix(path, role), _signs("LPS")
        else:
            rows, signs = _read_table(path)
        placed = np.array([row[0] for row in rows if row[0] is not None], float)
        if placed.size and placed.shape[1:] != (3,):
            raise ValueError("a point does not have 3 coordinates")
        positions = np.full((len(rows), 3), np.nan)
        if placed.size:
            positions[[row[0] is not None for row in rows]] = placed * signs
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, csv.Error) as error:
        why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"The {role} file {path} could not be read ({why}). Give {_FORMATS}.") from error
    labels = tuple(label.strip() for _, label, _ in rows)
    uncertainty = np.array([row[2] for row in rows], float)
    known = uncertainty[~np.isnan(uncertainty)]
    if not ((known >= 0) & np.isfinite(known)).all():
        raise InputError(f"The {role} file {path} has an uncertainty below 0 mm. Correct it.")
    points = PointList(positions, labels if any(labels) else (), notes, uncertainty if known.size else None)
    return _checked(points, placed, role)


def _checked(points: PointList, placed: np.ndarray, role: str) -> PointList:
    """Return the points, those of them that were placed being ``placed``, if they can be used."""
    shape = points.positions_lps_mm.shape
    if len(shape) != 2 or shape[1] != 3 or not shape[0]:
        raise InputError(
            f"The {role} are empty or do not have three coordinates each. Give at least one point with x, y and z in "
            "mm."
        )
    if not np.isfinite(placed).all():
        raise InputError(f"The {role} have values that are not numbers. Correct or remove those points.")
    return points


def _row(place: Sequence[Any], label: Any, status: str = "defined", uncertainty_mm: float = math.nan) -> Iterable[_Row]:
    """Yield a point; none for one that follows the mouse in Slicer (a preview)."""
    if status not in _STATUSES.values():
        raise ValueError(f"the status of a point is {status!r}")
    if status != "preview":
        yield ([float(value) for value in place] if status == "defined" else None), str(label), uncertainty_mm


def _signs(system: str) -> Sequence[int]:
    if system not in _SYSTEMS:
        raise ValueError(f"its coordinate system is {system or 'not named'}; LPS or RAS is needed")
    return _SYSTEMS[system]


def _read_markups(path: Path, role: str) -> tuple[list[_Row], Sequence[int]]:
    lists = json.loads(path.read_text(encoding="utf-8"))["markups"]
    if len(lists) != 1:
        raise InputError(f"The {role} file {path} contains {len(lists)} markups. Save the list of points by itself.")
    markup = lists[0]
    kind, unit = markup.get("type", "Fiducial"), markup.get("coordinateUnits", "mm")
    if kind != "Fiducial":
        raise InputError(
            f"The {role} file {path} contains a markup of type {kind}, whose control points are not landmarks. Give "
            "a point list (type Fiducial)."
        )
    if unit != "mm" and "mm" not in list(unit):
        raise ValueError(f"its unit is {unit}; mm is needed")
    rows: list[_Row] = []
    for point in markup["controlPoints"]:
        said = _UNCERTAINTY.fullmatch(str(point.get("description", "")))
        rows += _row(
            point["position"],
            point.get("label", ""),
            point.get("positionStatus", "defined"),
            math.nan if said is None else float(said.group(1)),
        )
    return rows, _signs(str(markup.get("coordinateSystem", "LPS")))


def _read_lines(path: Path) -> tuple[list[list[str]], dict[str, str]]:
    """Return the lines of a file with commas, and what its comments say ("# name = value"), in small letters.

    A line that begins with a label such as #1 is no comment, and headings behind a # are headings.
    """
    lines: list[list[str]] = []
    said: dict[str, str] = {}
    with open(path, newline="", encoding="utf-8-sig") as stream:
        for cells in csv.reader(stream):
            text = ",".join(cells)
            if text.startswith("#") and (text[1:2] in ("", " ", "\t") or "=" in text or ":" in text):
                name, _, value = text[1:].replace(":", "=", 1 if "=" not in text else 0).partition("=")
                said[name.strip().lower()] = value.strip()
                headings = [cell.strip(" \t#") for cell in cells]
                if not lines and len(headings) > 2 and not value and _columns(headings)[0]:
                    lines.append(headings)
            elif text.strip():
                lines.append([cell.strip() for cell in cells])
    if lines and len(lines[0]) == 1 and ";" in lines[0][0]:
        raise ValueError("its columns are separated by semicolons; commas are needed, and points in numbers")
    return lines, said


def _read_fcsv(path: Path) -> tuple[list[_Row], Sequence[int]]:
    lines, said = _read_lines(path)
    columns = said["columns"].split(",") if "columns" in said else _FCSV_COLUMNS
    first, named = columns.index("x"), columns.index("label")
    rows: list[_Row] = []
    for line in lines:
        status = line[_FCSV_STATUS] if len(line) > _FCSV_STATUS else "2"
        label = line[named] if len(line) > named else ""
        rows += _row(line[first : first + 3], label, _STATUSES.get(status, status))
    return rows, _signs(said.get("coordinatesystem", ""))


def _read_table(path: Path) -> tuple[list[_Row], Sequence[int]]:
    lines, said = _read_lines(path)
    if not lines:
        return [], _signs("LPS")
    system, places, named, names = said.get("coordinatesystem", "LPS").upper(), [0, 1, 2], 3, []
    if not _are_numbers(lines[0][:3]):
        names = [cell.lower() for cell in lines[0]]
        places, of_axes = _columns(names)
        if not places:
            counts = [name for name in names if set(re.findall("[a-z]+", name)) & _VOXELS]
            why = f"its column {counts[0]} counts voxels" if counts else f"its headings are {', '.join(names)}"
            raise ValueError(f"{why}; x,y,z or l,p,s or r,a,s in mm are needed")
        system, lines = of_axes or system, lines[1:]
        named = next((names.index(name) for name in ("label", "name") if name in names), len(names))
    rows: list[_Row] = []
    for line in lines:
        label = line[named] if len(line) > named else ""
        defined = "defined" not in names or line[names.index("defined")] != "0"
        known = line[names.index("uncertainty_mm")] if "uncertainty_mm" in names else ""
        uncertainty_mm = float(known) if known else math.nan
        if len(line) <= max(places):
            raise ValueError(f"the line {','.join(line)} has fewer than three coordinates")
        rows += _row([line[place] for place in places], label, "defined" if defined else "undefined", uncertainty_mm)
    return rows, _signs(system)


def _columns(headings: Sequence[str]) -> tuple[list[int], str]:
    """Return where the coordinates stand by the headings of a table, nowhere if they do not say, and their system."""
    found: dict[str, dict[str, int]] = {}
    for place, heading in enumerate(headings):
        words = set(re.findall("[a-z]+", heading.lower())) - _BESIDE_AXES
        named = words & {"ras", "lps"}
        for axes, of_axes in _AXES:
            for axis in words - named if len(words - named) == 1 else ():
                if len(axis) == 1 and axis in axes:
                    found.setdefault("".join(named).upper() or of_axes, {}).setdefault(axis, place)
    for axes, of_axes in _AXES:
        for system, columns in found.items():
            if set(axes) <= set(columns) and (axes == "xyz" or system == of_axes):
                return [columns[axis] for axis in axes], system
    return [], ""


def _are_numbers(cells: Sequence[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _first_word(path: Path) -> str:
    with open(path, encoding="utf-8-sig") as stream:
        return (stream.readline(1000).split() or [""])[0].lower()


def _read_elastix(path: Path, role: str) -> tuple[list[_Row], tuple[str, ...]]:
    """Read a point file of elastix: "point", how many there are, and their coordinates in LPS mm."""
    text = path.read_text(encoding="utf-8-sig")
    if "InputPoint" in text:
        return _read_transformix(path, text, role)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise ValueError("the number of its points is missing")
    (kind, *_), (count, *_), *places = lines
    if kind.lower() == "index":
        raise InputError(
            f"The {role} file {path} contains indices of voxels. Give points in LPS mm (then its first line is "
            "'point')."
        )
    if len(places) != int(count):
        raise ValueError(f"it announces {count} points and has {len(places)} lines of coordinates")
    return _in_space(places), ()


def _read_transformix(path: Path, text: str, role: str) -> tuple[list[_Row], tuple[str, ...]]:
    """Read the points that were given to transformix as fixed ones, what it made of them as moving ones."""
    name = "OutputPoint" if role.startswith("moving") else "InputPoint"
    found = [re.search(rf"\b{name} = \[([^\]]*)\]", line) for line in text.splitlines() if line.strip()]
    if None in found:
        raise ValueError(f"a line has no {name}")
    rows = _in_space([match.group(1).split() for match in found if match])
    return rows, (f"The {role} are the values {name} of transformix in {path.name}.",)


def _in_space(places: Sequence[Sequence[str]]) -> list[_Row]:
    """Return points, those of a 2D image in the plane z = 0, as the image itself is."""
    if {len(place) for place in places} == {2}:
        places = [[*place, "0"] for place in places]
    return [([float(value) for value in place], "", math.nan) for place in places]
