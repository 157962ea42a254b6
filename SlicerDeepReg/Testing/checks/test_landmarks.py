"""Which landmarks of two lists belong together, and what is said about it."""

import numpy as np
import pytest
from SlicerDeepRegLib.checks import pair_landmarks
from SlicerDeepRegLib.types import PointList


def points(labels, unplaced=""):
    """Points whose x tells their label."""
    place = [[np.nan] * 3 if label in unplaced else [ord(label), 0.0, 0.0] for label in labels]
    return PointList(np.array(place), tuple(labels))


def paired(fixed, moving):
    pairs = pair_landmarks(fixed, moving)
    assert pairs.facts.fixed == pairs.facts.moving == len(pairs.fixed_lps_mm) == len(pairs.moving_lps_mm)
    return pairs


def test_labels_decide_and_not_the_order():
    pairs = paired(points("abcd"), points("dbca"))
    assert (pairs.fixed_lps_mm == pairs.moving_lps_mm).all() and len(pairs.fixed_lps_mm) == 4
    assert pairs.moving_indices == (3, 1, 2, 0)
    assert pairs.facts.notes == ("The landmarks were paired by their labels.",)


def test_points_that_only_one_list_has_are_left_out_and_named():
    pairs = paired(points("abcd"), points("xdcbyz"))
    assert (pairs.fixed_lps_mm == pairs.moving_lps_mm).all() and pairs.fixed_indices == (1, 2, 3)
    notes = " ".join(pairs.facts.notes)
    assert "1 of the 4 fixed points" in notes and "label: a." in notes
    assert "3 of the 6 moving points" in notes and "label: x, y, z." in notes


@pytest.mark.parametrize("unplaced", [("b", "b"), ("b", ""), ("", "b")])
def test_a_pair_with_a_point_that_is_not_placed_is_left_out_and_named(unplaced):
    pairs = paired(points("abc", unplaced[0]), points("cba", unplaced[1]))
    assert pairs.fixed_lps_mm[:, 0].tolist() == pairs.moving_lps_mm[:, 0].tolist() == [ord("a"), ord("c")]
    assert "left out: b." in pairs.facts.notes[-1]


@pytest.mark.parametrize(
    "fixed, moving, reason",
    [
        ("", "abc", "not every fixed point has a label"),
        ("abc", "aab", "a label of the moving points occurs twice"),
        ("abc", "xyz", "the lists have no label in common (a, ... and x, ...)"),
    ],
)
def test_without_common_labels_the_order_decides_and_the_numbers_must_agree(fixed, moving, reason):
    first = PointList(np.arange(9.0).reshape(3, 3), tuple(fixed))
    pairs = paired(first, points(moving))
    assert pairs.fixed_indices == pairs.moving_indices == (0, 1, 2)
    assert pairs.facts.notes == (f"The landmarks were paired by their order, because {reason}.",)
    facts = pair_landmarks(PointList(np.zeros((4, 3)), (*fixed, "d") if fixed else ()), points(moving)).facts
    assert (facts.fixed, facts.moving) == (4, 3)


def test_the_order_counts_points_that_are_not_placed():
    gap = PointList(np.array([[0.0, 0, 0], [np.nan] * 3, [2.0, 0, 0]]))
    pairs = paired(gap, PointList(np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]])))
    assert (pairs.fixed_lps_mm == pairs.moving_lps_mm).all()
    assert pairs.facts.notes[-1].endswith("left out: number 2.")
