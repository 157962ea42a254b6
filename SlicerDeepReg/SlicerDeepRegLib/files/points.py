"""Landmarks from files, always returned as LPS mm."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from ..types import InputError, PointsSource

_FORMATS = "a .csv with x, y, z in LPS mm in each line, or Slicer's .mrk.json or .fcsv"


def load_points(source: PointsSource, role: str) -> np.ndarray:
    """(N, 3) LPS mm, from an array or a file.

    Raises:
        InputError: the file is missing, in another form, or holds no finite points.
    """
    points = read_points(source, role) if isinstance(source, (str, Path)) else np.asarray(source, float)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise InputError(f"The {role} must be N points of 3 coordinates; they have shape {points.shape}.")
    if not np.isfinite(points).all():
        raise InputError(f"The {role} hold values that are not numbers. Correct or remove those points.")
    return points


def read_points(path: str | Path, role: str = "points") -> np.ndarray:
    """(N, 3) LPS mm from a .csv (LPS), .mrk.json or .fcsv (whatever system they declare)."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The {role} file {path} does not exist. Check the path.")
    try:
        if path.name.endswith(".json"):
            return _read_markups(path)
        return _read_lines(path)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, csv.Error) as error:
        raise InputError(f"The {role} file {path} could not be read ({error}). Give {_FORMATS}.") from error


def _read_markups(path: Path) -> np.ndarray:
    markup = json.loads(path.read_text(encoding="utf-8"))["markups"][0]
    to_lps = np.array([-1, -1, 1]) if str(markup.get("coordinateSystem", "LPS")) in ("RAS", "0") else 1
    return np.array([point["position"] for point in markup["controlPoints"]], float).reshape(-1, 3) * to_lps


def _read_lines(path: Path) -> np.ndarray:
    to_lps: int | np.ndarray = 1
    rows: list[list[float]] = []
    first_column = 1 if path.name.endswith(".fcsv") else 0  # .fcsv: id, x, y, z, ...
    with open(path, newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.reader(stream)):
            text = ",".join(row)
            if text.startswith("#"):
                if "CoordinateSystem" in text and text.split("=")[-1].strip() in ("RAS", "0"):
                    to_lps = np.array([-1, -1, 1])
                continue
            if not text.strip():
                continue
            try:
                rows.append([float(value) for value in row[first_column : first_column + 3]])
            except ValueError:
                if number == 0 and not rows:
                    continue  # a line of column names
                raise
    return np.array(rows, float).reshape(-1, 3) * to_lps
