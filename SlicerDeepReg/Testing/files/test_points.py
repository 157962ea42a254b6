import json

import numpy as np
import pytest
from SlicerDeepRegLib.files.points import load_points, read_points
from SlicerDeepRegLib.types import InputError

LPS = np.array([[1.0, 2.0, 3.0], [-4.5, 5.0, 6.25]])
RAS = LPS * [-1, -1, 1]


def markup(points, system):
    return json.dumps(
        {"markups": [{"coordinateSystem": system, "controlPoints": [{"position": p} for p in points.tolist()]}]}
    )


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", "x,y,z\n1,2,3\n-4.5,5,6.25\n"),
        ("b.csv", "1,2,3\n-4.5,5,6.25\n"),
        ("c.mrk.json", markup(LPS, "LPS")),
        ("d.mrk.json", markup(RAS, "RAS")),
        ("e.fcsv", "# Markups fiducial file\n# CoordinateSystem = RAS\n1,-1,-2,3\n2,4.5,-5,6.25\n"),
        ("f.fcsv", "# CoordinateSystem = LPS\n1,1,2,3,0,0,0,1\n2,-4.5,5,6.25,0,0,0,1\n"),
    ],
)
def test_points_come_as_lps(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert np.allclose(read_points(tmp_path / name), LPS)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", "x,y,z\n1,2\n"),
        ("b.csv", ""),
        ("c.csv", "1,2,3\n4,five,6\n"),
        ("d.mrk.json", "{}"),
        ("e.csv", "1,2,nan\n"),
    ],
)
def test_other_files_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="fixed points"):
        load_points(str(tmp_path / name), "fixed points")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_points(tmp_path / "none.csv")
