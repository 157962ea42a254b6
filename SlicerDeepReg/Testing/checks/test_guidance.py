"""Which landmarks contradict others, and what files say of their uncertainty."""

import json

import numpy as np
import pytest
from SlicerDeepRegLib.checks.guidance import contradicting
from SlicerDeepRegLib.files.points import read_points
from SlicerDeepRegLib.files.surfaces import load_surface
from SlicerDeepRegLib.mrml.surfaces import read_surface
from SlicerDeepRegLib.types import InputError

GRID = np.stack(np.meshgrid(*[[-20.0, 0.0, 20.0]] * 3), -1).reshape(-1, 3)


def rotated(points, degrees):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return points @ turn.T


@pytest.mark.parametrize("degrees", [0, 40, 120])
def test_a_motion_that_all_share_contradicts_nothing(degrees):
    smooth = 4 * np.sin(GRID / 15)
    assert not contradicting(GRID, rotated(GRID + smooth, degrees) + 80).any()


def test_a_pair_that_goes_another_way_is_found():
    moved = rotated(GRID, 20) + 5
    moved[13] += [25, 0, 0]
    assert np.flatnonzero(contradicting(GRID, moved)).tolist() == [13]


def test_pairs_that_cross_are_found_and_of_two_both():
    fixed = np.array([[0.0, 0, 0], [10, 0, 0]])
    assert contradicting(fixed, fixed[::-1]).all()
    assert not contradicting(fixed, fixed + 30).any()
    assert not contradicting(fixed[:1], fixed[:1] + 99).any()


def test_landmarks_that_were_marked_twice_do_not_contradict_each_other():
    fixed = np.array([[0.0, 0, 0], [0.3, 0, 0], [30, 0, 0]])
    assert not contradicting(fixed, fixed + [[0, 0, 0], [-0.5, 0.2, 0], [0, 0, 0]]).any()


def test_a_file_says_how_far_its_landmarks_may_be_wrong(tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("label,l,p,s,uncertainty_mm\nA,1,2,3,0.5\nB,4,5,6,\n")
    found = read_points(table)
    assert found.uncertainty_mm[0] == 0.5 and np.isnan(found.uncertainty_mm[1])
    points = [{"position": [1, 2, 3], "label": "A", "description": "± 2.5 mm"}, {"position": [4, 5, 6], "label": "B"}]
    markups = tmp_path / "points.mrk.json"
    markups.write_text(json.dumps({"markups": [{"type": "Fiducial", "controlPoints": points}]}), encoding="utf-8")
    assert read_points(markups).uncertainty_mm[0] == 2.5
    table.write_text("label,l,p,s,uncertainty_mm\nA,1,2,3,-1\n")
    with pytest.raises(InputError, match="below 0 mm"):
        read_points(table)
    table.write_text("l,p,s\n1,2,3\n")
    assert read_points(table).uncertainty_mm is None


def test_curves_and_surfaces_are_read(tmp_path):
    points = [{"position": [float(x), 0, 0]} for x in (0, 10, 20)]
    curve = {"type": "ClosedCurve", "coordinateSystem": "RAS", "controlPoints": points}
    path = tmp_path / "curve.mrk.json"
    path.write_text(json.dumps({"markups": [curve]}))
    found = load_surface(str(path), "fixed surface")
    assert len(found) >= 40 and found[:, 0].min() == -20 and found[:, 0].max() == 0
    path.write_text(json.dumps({"markups": [{**curve, "type": "Fiducial"}]}))
    with pytest.raises(InputError, match="Fiducial, and no curve"):
        load_surface(str(path), "fixed surface")
    vtk = pytest.importorskip("vtk")
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(5)
    sphere.SetCenter(10, 0, 0)
    writer = vtk.vtkPolyDataWriter()
    writer.SetInputConnection(sphere.GetOutputPort())
    for space, center in (("LPS", 10), ("RAS", -10)):
        writer.SetFileName(str(tmp_path / "sphere.vtk"))
        writer.SetHeader(f"SPACE={space}")
        writer.Write()
        points = read_surface(tmp_path / "sphere.vtk", "moving surface")
        assert points.mean(0) == pytest.approx([center, 0, 0], abs=0.5)
    (tmp_path / "empty.stl").write_bytes(b"")
    with pytest.raises(InputError, match="holds no points"):
        read_surface(tmp_path / "empty.stl", "moving surface")
    with pytest.raises(InputError, match="does not exist"):
        read_surface(tmp_path / "none.vtk", "moving surface")
