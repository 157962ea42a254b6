"""Rotations: evenly spread, and how far they turn."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from SlicerDeepRegLib.geometry.rotations import rotation_by, rotation_degrees, rotations


def test_every_rotation_is_near_one_of_them():
    spread = rotations(200)
    assert np.allclose(spread @ spread.transpose(0, 2, 1), np.eye(3)) and np.allclose(np.linalg.det(spread), 1)
    others = Rotation.random(500, random_state=0).as_matrix()
    nearest = [min(rotation_degrees(other.T @ one) for one in spread) for other in others[:60]]
    assert max(nearest) < 40


def test_in_the_plane_they_are_equal_steps_from_none():
    steps = rotations(8, 2)
    assert np.allclose(steps[0], np.eye(2)) and np.allclose(steps[2], [[0, -1], [1, 0]])
    assert [rotation_degrees(one) for one in steps] == pytest.approx([0, 45, 90, 135, 180, 135, 90, 45])


@pytest.mark.parametrize("degrees", [(30.0, 0.0, 0.0), (0.0, 0.0, 180.0), (10.0, -20.0, 15.0), (25.0,)])
def test_a_rotation_by_angles_turns_by_them(degrees):
    matrix = rotation_by(degrees)
    assert np.allclose(matrix @ matrix.T, np.eye(len(matrix)))
    if np.count_nonzero(degrees) == 1:
        assert rotation_degrees(1.3 * matrix) == pytest.approx(max(degrees))
    if len(degrees) == 3:
        x, y, z = (Rotation.from_rotvec(a * axis, degrees=True).as_matrix() for a, axis in zip(degrees, np.eye(3)))
        assert np.allclose(matrix, z @ y @ x)
