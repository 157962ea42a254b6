import json

import numpy as np
import pytest
from SlicerDeepRegLib.files.points import load_points, read_points
from SlicerDeepRegLib.types import InputError

LPS = np.array([[1.0, 2.0, 3.0], [-4.5, 5.0, 6.25]])
RAS = LPS * [-1, -1, 1]


def markup(points, system, statuses=(), **more):
    places = [{"position": place, "label": name} for place, name in zip(points.tolist(), "abcdef")]
    for place, status in zip(places, statuses):
        place["positionStatus"] = status
    return json.dumps({"markups": [{"coordinateSystem": system, "controlPoints": places, **more}]})


OUTPUTPOINTS = (
    "Point\t0\t; InputIndex = [ 9 9 9 ]\t; InputPoint = [ 1.0 2.0 3.0 ]\t; OutputIndexFixed = [ 8 8 8 ]\t; "
    "OutputPoint = [ 7.0 8.0 9.0 ]\t; Deformation = [ 6.0 6.0 6.0 ]\n"
    "Point\t1\t; InputIndex = [ 9 9 9 ]\t; InputPoint = [ -4.5 5.0 6.25 ]\t; OutputIndexFixed = [ 8 8 8 ]\t; "
    "OutputPoint = [ -1.0 -2.0 -3.0 ]\t; Deformation = [ 3.5 -7.0 -9.25 ]\n"
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
        ("g.csv", "label,r,a,s,defined\nF-1,-1,-2,3,1\nF-2,4.5,-5,6.25,1\n"),
        ("h.csv", "label,l,p,s\nF-1,1,2,3\nF-2,-4.5,5,6.25\n"),
        ("i.txt", "point\n2\n1 2 3\n-4.5 5 6.25\n"),
        ("j.txt", OUTPUTPOINTS),
    ],
)
def test_points_come_as_lps(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert np.allclose(read_points(tmp_path / name).positions_lps_mm, LPS)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", "x,y,z\n1,2\n"),
        ("b.csv", ""),
        ("c.csv", "1,2,3\n4,five,6\n"),
        ("d.mrk.json", "{}"),
        ("e.csv", "1,2,nan\n"),
        ("f.csv", "1,2\n3,4\n5,6\n"),
        ("g.fcsv", "1,1,2,3,0,0,0,1\n"),
        ("h.fcsv", "# CoordinateSystem = IJK\n1,1,2,3,0,0,0,1\n"),
        ("i.txt", "point\n3\n1 2 3\n4 5 6\n"),
        ("j.txt", "point\n0\n"),
        ("k.txt", OUTPUTPOINTS.replace("InputPoint", "Point", 1)),
        ("l.mrk.json", markup(LPS, "IJK")),
        ("m.mrk.json", markup(LPS, "LPS", coordinateUnits="um")),
        ("n.mrk.json", markup(LPS, "LPS", statuses=("defined", "lost"))),
    ],
)
def test_other_files_are_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="fixed points"):
        load_points(str(tmp_path / name), "fixed points")


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.mrk.json", "{}", r"\(markups is missing\)"),
        ("b.mrk.json", '{"markups": [{}]}', r"\(controlPoints is missing\)"),
        ("c.txt", "point\n", r"\(the number of its points is missing\)"),
        ("d.csv", "x,y,z\n", "fixed points are empty or do not have three coordinates each"),
    ],
)
def test_what_a_file_lacks_is_said(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        load_points(str(tmp_path / name), "fixed points")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_points(tmp_path / "none.csv")


def test_points_that_are_not_placed_are_kept_without_a_position_and_previews_are_not(tmp_path):
    statuses = ("defined", "undefined", "missing", "preview")
    (tmp_path / "a.mrk.json").write_text(markup(np.ones((4, 3)), "RAS", statuses))
    assert read_points(tmp_path / "a.mrk.json").labels == ("a", "b", "c")
    assert read_points(tmp_path / "a.mrk.json").placed.tolist() == [True, False, False]
    # Slicer's own files have an empty text where a point was not placed, and numbers after the columns of a .fcsv.
    text = (tmp_path / "a.mrk.json").read_text().replace('[1.0, 1.0, 1.0], "label": "b"', '"", "label": "b"')
    assert '"position": ""' in text
    (tmp_path / "b.mrk.json").write_text(text)
    assert read_points(tmp_path / "b.mrk.json").placed.tolist() == [True, False, False]
    lines = "".join(f"{n},1,2,3,0,0,0,1,1,1,0,{label},,,{n},0\n" for n, label in enumerate("bxac"))
    (tmp_path / "c.fcsv").write_text(f"# CoordinateSystem = LPS\n{lines}")
    assert read_points(tmp_path / "c.fcsv").labels == ("b", "a", "c")
    assert read_points(tmp_path / "c.fcsv").placed.tolist() == [False, True, False]
    (tmp_path / "d.csv").write_text("label,r,a,s,defined\na,1,2,3,1\nb,0,0,0,0\n")
    assert read_points(tmp_path / "d.csv").placed.tolist() == [True, False]


@pytest.mark.parametrize("kind", ["ROI", "Plane", "Line", "Curve", "Angle"])
def test_other_markups_are_refused_by_name(tmp_path, kind):
    (tmp_path / "a.mrk.json").write_text(markup(LPS, "LPS", type=kind))
    with pytest.raises(InputError, match=f"a.mrk.json contains a markup of type {kind}.*Give a point list"):
        read_points(tmp_path / "a.mrk.json", "fixed points")


def test_several_markups_in_a_file_are_refused(tmp_path):
    both = {"markups": json.loads(markup(LPS, "LPS"))["markups"] * 2}
    (tmp_path / "a.mrk.json").write_text(json.dumps(both))
    with pytest.raises(InputError, match="contains 2 markups"):
        read_points(tmp_path / "a.mrk.json")


def test_indices_of_elastix_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("index\n1\n1 2 3\n")
    with pytest.raises(InputError, match="indices of voxels. Give points in LPS mm"):
        read_points(tmp_path / "a.txt")


def test_points_of_a_2d_image_lie_in_its_plane(tmp_path):
    (tmp_path / "a.txt").write_text("point\n3\n1 2\n3 4\n5 6\n")
    assert read_points(tmp_path / "a.txt").positions_lps_mm.tolist() == [[1, 2, 0], [3, 4, 0], [5, 6, 0]]


def test_the_moving_points_of_transformix_are_its_output_and_this_is_said(tmp_path):
    (tmp_path / "outputpoints.txt").write_text(OUTPUTPOINTS)
    moving, fixed = (read_points(tmp_path / "outputpoints.txt", f"{role} points") for role in ("moving", "fixed"))
    assert moving.positions_lps_mm.tolist() == [[7, 8, 9], [-1, -2, -3]] and np.allclose(fixed.positions_lps_mm, LPS)
    assert "OutputPoint" in moving.notes[0] and "InputPoint" in fixed.notes[0]


@pytest.mark.parametrize(
    ("text", "lps", "labels"),
    [
        ("RAS_x,RAS_y,RAS_z\n10,20,30", [[-10, -20, 30]], ()),
        ("x_ras,y_ras,z_ras,name\n10,20,30,tip", [[-10, -20, 30]], ("tip",)),
        ("R (mm),A (mm),S (mm)\n10,20,30", [[-10, -20, 30]], ()),
        ("label,L,P,S\n a,10,20,30", [[10, 20, 30]], ("a",)),
        ("X [mm],Y [mm],Z [mm]\n10,20,30", [[10, 20, 30]], ()),
        ("# x_ras,y_ras,z_ras\n10,20,30", [[-10, -20, 30]], ()),
        ("#CoordinateSystem: RAS\n10,20,30", [[-10, -20, 30]], ()),
        ("# coordinatesystem=ras\nx,y,z\n10,20,30", [[-10, -20, 30]], ()),
        ("label,x,y,z\n#1,1,2,3\n#2,4,5,6\n3,7,8,9", [[1, 2, 3], [4, 5, 6], [7, 8, 9]], ("#1", "#2", "3")),
        ("10,20,30,tip\n1,2,3,base", [[10, 20, 30], [1, 2, 3]], ("tip", "base")),
        ("i,x,y,z\n1,10,20,30", [[10, 20, 30]], ()),
        ("# made by hand\n10,20,30", [[10, 20, 30]], ()),
    ],
)
def test_tables_say_what_their_columns_are(tmp_path, text, lps, labels):
    (tmp_path / "points.csv").write_text(text)
    points = read_points(tmp_path / "points.csv")
    np.testing.assert_allclose(points.positions_lps_mm, lps)
    assert points.labels == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("i,j,k\n1,2,3", "its column i counts voxels; x,y,z or l,p,s or r,a,s in mm are needed"),
        ("x_voxel,y_voxel,z_voxel\n1,2,3", "its column x_voxel counts voxels"),
        ("across,up,deep\n1,2,3", "its headings are across, up, deep"),
        ("x,y\n1,2", "its headings are x, y"),
        ("1,2", "the line 1,2 has fewer than three coordinates"),
        ("x;y;z\n1,5;2;3", "separated by semicolons"),
    ],
)
def test_tables_that_do_not_say_are_refused(tmp_path, text, message):
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / "points.csv")
