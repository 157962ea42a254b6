"""Voxels that are NaN or infinite: how they are filled, and how many of them count as the body's."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case
from helpers.geometry import make_grid
from SlicerDeepRegLib.preparation.gaps import without_gaps
from SlicerDeepRegLib.preparation.resample import resample
from SlicerDeepRegLib.types import Image


@pytest.fixture(scope="module")
def head():
    return Case("oblique-LPS").moving


def with_gaps(image, where, value=np.nan):
    return dataclasses.replace(image, values=np.where(where, np.float32(value), image.values))


def test_an_image_of_numbers_is_returned_as_it_is(head):
    assert without_gaps(head) == (head, None)
    whole = dataclasses.replace(head, values=head.values.astype(np.int16))
    assert without_gaps(whole) == (whole, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gap_in_the_body_gets_the_nearest_value_and_one_outside_the_lowest(head, value):
    where = np.zeros(head.values.shape, bool)
    k, j, i = (n // 2 for n in where.shape)
    where[k, j, i : i + 2] = where[0, 0, 0] = True
    filled, gaps = without_gaps(with_gaps(head, where, value))
    assert (gaps.where == where).all() and filled.values.dtype == np.float32
    assert (filled.values[~where] == head.values[~where]).all()
    neighbors = [head.values[k + dk, j + dj, i] for dk, dj in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    assert filled.values[k, j, i] in [*neighbors, head.values[k, j, i - 1]]
    assert filled.values[0, 0, 0] == head.values[~where].min()
    assert gaps.part_of_body == pytest.approx(2 / (head.values > 0.8).sum(), rel=0.1)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_scattered_gaps_are_counted_in_the_body(head, part):
    where = np.random.default_rng(0).random(head.values.shape) < part
    counted = without_gaps(with_gaps(head, where))[1].part_of_body
    assert 0.4 * part < counted < part + 0.01  # those at its surface are not


def test_slices_without_a_number_are_counted_with_the_outline_of_their_neighbors(head):
    where = np.zeros(head.values.shape, bool)
    middle = where.shape[0] // 2
    where[middle - 3 : middle + 4] = True
    lost = (head.values[where] > 0.8).sum() / (head.values > 0.8).sum()
    assert lost > 0.2
    assert without_gaps(with_gaps(head, where))[1].part_of_body == pytest.approx(lost, abs=0.03)


def test_the_outside_of_a_stripped_or_turned_image_is_not_its_body(head):
    assert without_gaps(with_gaps(head, head.values < 5))[1].part_of_body < 0.001
    noise = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32) + 5  # without any background
    grid = make_grid((40, 40, 40), (1.0, 1.0, 1.0), np.eye(3), center_lps_mm=(0, 0, 0))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    turned = resample(Image(noise, grid), grid, turn, outside=-1.0)
    padded = with_gaps(Image(turned, grid), turned < 1)
    gaps = without_gaps(padded)[1]
    assert gaps.where.mean() > 0.05 and gaps.part_of_body == 0


def test_a_single_slice(head):
    k = head.values.shape[0] // 2
    flat = Image(head.values[k : k + 1], make_grid((*head.values.shape[:0:-1], 1), (1, 1, 1), np.eye(3)), "slice", 2)
    where = np.random.default_rng(0).random(flat.values.shape) < 0.3
    assert without_gaps(with_gaps(flat, where))[1].part_of_body == pytest.approx(0.3, abs=0.05)


def test_nothing_but_gaps():
    nothing = Image(np.full((9, 9, 9), np.nan), make_grid((9, 9, 9), (1, 1, 1), np.eye(3)))
    image, gaps = without_gaps(nothing)
    assert image is nothing and gaps.part_of_body == 1
