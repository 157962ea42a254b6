"""Displacements in voxels and in LPS mm: the conversion against points, and its round trip."""

import numpy as np
import pytest
from SlicerDeepRegLib.geometry.fields import existing_axes, to_lps, to_voxels
from SlicerDeepRegLib.types import Field, Grid


def oblique_grid(size_ijk):
    matrix = np.eye(4)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    matrix[:3, :3] = turn @ np.diag([0.7, 1.3, 2.5])
    matrix[:3, 3] = (-40.0, 12.0, 88.0)
    return Grid(size_ijk, matrix)


@pytest.mark.parametrize("size_ijk", [(7, 6, 5), (7, 6, 1), (7, 1, 5), (1, 6, 5)])
def test_a_step_of_one_voxel_leads_to_the_next_voxel(size_ijk):
    grid = oblique_grid(size_ijk)
    axes = existing_axes(grid)
    assert axes == [c for c in range(3) if size_ijk[c] > 1]
    shape = [n for n in grid.shape_kji if n > 1]
    for row, axis in enumerate(axes):
        step = np.zeros((len(axes), *shape), np.float32)
        step[row] = 1
        field = to_lps(step, grid)
        assert field.displacement_lps_mm.shape == (*grid.shape_kji, 3)
        assert field.displacement_lps_mm.flags.c_contiguous
        expected = np.broadcast_to(grid.ijk_to_lps[:3, axis], (*grid.shape_kji, 3))
        np.testing.assert_allclose(field.displacement_lps_mm, expected, atol=1e-6)


@pytest.mark.parametrize("size_ijk", [(7, 6, 5), (7, 6, 1), (1, 6, 5)])
def test_to_voxels_undoes_to_lps(size_ijk):
    grid = oblique_grid(size_ijk)
    shape = [n for n in grid.shape_kji if n > 1]
    voxels = np.random.default_rng(0).normal(size=(len(shape), *shape)).astype(np.float32)
    returned = to_voxels(to_lps(voxels, grid))
    assert returned.dtype == np.float32 and returned.flags.c_contiguous
    np.testing.assert_allclose(returned, voxels, atol=1e-5)


def test_to_voxels_of_another_grid_gives_its_units():
    grid = oblique_grid((4, 3, 2))
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, :3] *= 2
    field = Field(np.broadcast_to(grid.ijk_to_lps[:3, 0].astype(np.float32), (2, 3, 4, 3)), grid)
    values = to_voxels(field, Grid((2, 2, 2), matrix))
    assert values.shape == (3, 2, 3, 4)
    np.testing.assert_allclose(values[0], 0.5, atol=1e-6)
    np.testing.assert_allclose(values[1:], 0.0, atol=1e-6)
