"""Labels that do not belong to their image, and starts that make up for where images lie."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case
from SlicerDeepRegLib.checks.inputs import read_inputs
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, InputError, Request, Transform


@pytest.fixture(scope="module")
def case():
    return Case("oblique-LPS")


def labels_of(image, threshold=50, number=1):
    return Image((image.values > threshold).astype(np.int16) * number, image.grid, "labels")


def moved(image, shift_mm):
    matrix = image.grid.ijk_to_lps.copy()
    matrix[:3, 3] += shift_mm
    return dataclasses.replace(image, grid=Grid(image.grid.size_ijk, matrix))


def asked(case, **given):
    return Request(case.fixed, case.moving, preset="fast", device="cpu", **given)


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_labels_beside_their_image_are_refused(case, side):
    both = {"fixed_labels": labels_of(case.fixed), "moving_labels": labels_of(case.moving)}
    both[f"{side}_labels"] = moved(both[f"{side}_labels"], [500, 0, 0])
    with pytest.raises(InputError, match=f"The {side} labels .* do not lie on the {side} image") as refused:
        read_inputs(asked(case, **both))
    assert refused.value.control == f"{side}_labels"


def test_labels_that_an_image_does_not_show_are_named(case):
    labels = labels_of(case.moving)
    larger = np.pad(labels.values, ((30, 0), (0, 0), (0, 0)))
    larger[2:5, 3:6, 3:6] = 7
    matrix = labels.grid.ijk_to_lps.copy()
    matrix[:3, 3] -= 30 * matrix[:3, 2]
    wide = Image(larger, Grid((*labels.grid.size_ijk[:2], labels.grid.size_ijk[2] + 30), matrix), "wide")
    inputs = read_inputs(asked(case, fixed_labels=labels_of(case.fixed), moving_labels=wide))
    assert any("The moving labels 7 lie outside the moving image" in note for note in inputs.notes)


def test_labels_without_a_common_number_are_said(case):
    given = {"fixed_labels": labels_of(case.fixed), "moving_labels": labels_of(case.moving, number=255)}
    assert any("no number in common" in note for note in read_inputs(asked(case, **given)).notes)
    given["moving_labels"] = labels_of(case.moving)
    assert not any("in common" in note for note in read_inputs(asked(case, **given)).notes)


def test_images_may_lie_apart_where_a_transform_brings_them_together(case):
    far = moved(case.moving, [400, 0, 0])
    start = Transform(np.eye(4))
    start.linear_lps[0, 3] = 400
    request = dataclasses.replace(asked(case, method="rigid", linear="none"), moving=far)
    with pytest.raises(InputError, match="do not overlap"):
        read_inputs(request)
    assert read_inputs(dataclasses.replace(request, initial=start)).facts.started


def test_uncertainty_of_what_nothing_aligns_is_none(case):
    """Without linear stage and deformation nothing is estimated, so that nothing is uncertain."""
    request = asked(case, linear="none", pair="visit", uncertainty_runs=2)
    result = register(dataclasses.replace(request, moving=case.fixed))
    assert result.uncertainty.values.max() < 1e-6


def test_a_continuation_has_no_uncertainty_of_its_own(case):
    points = case.fixed.grid.center_lps_mm + np.eye(3) * 4
    request = asked(case, continued=Transform(np.eye(4)), fixed_points=points, moving_points=points)
    with pytest.raises(InputError, match="Leave one of them out"):
        register(dataclasses.replace(request, uncertainty_runs=1))


def test_labels_in_memory_are_called_by_the_names_that_the_request_gives():
    grid = Grid((24, 24, 24), np.eye(4))
    values = np.zeros(grid.shape_kji, np.float32)
    values[6:18, 6:18, 6:18] = 100
    labels = np.zeros(grid.shape_kji, np.int16)
    labels[6:12, 6:18, 6:18], labels[12:18, 6:18, 6:18] = 1, 2
    given = {"fixed_labels": Image(labels, grid), "moving_labels": Image(labels, grid)}
    request = Request(
        Image(values, grid),
        Image(values, grid),
        label_names={"1": "a/liver", 2: "spleen"},
        guide_structures=("spleen",),
        **given,
    )
    found = read_inputs(request)
    assert found.label_names == {1: "a/liver", 2: "spleen"} and request.describe()["label_names"][1] == "a/liver"
    assert any("(spleen): their overlap" in note for note in found.notes)
    with pytest.raises(InputError, match="Both have: a/liver, spleen"):
        read_inputs(dataclasses.replace(request, guide_structures=("heart",)))
    for names in (["liver"], {"liver": 1}, None):
        with pytest.raises(InputError, match="label_names must be names by label"):
            dataclasses.replace(request, label_names=names)


def test_what_is_excluded_is_called_so():
    grid = Grid((24, 24, 24), np.eye(4))
    values = np.zeros(grid.shape_kji, np.float32)
    values[6:18, 6:18, 6:18] = 100
    image, lesion = Image(values, grid), np.zeros(grid.shape_kji, np.uint8)
    lesion[6:18, 6:18, 6:18] = 1
    pair = {
        "fixed": image,
        "moving": image,
        "fixed_excluded": Image(lesion, grid),
        "moving_excluded": Image(lesion, grid),
    }
    with pytest.raises(InputError, match="The fixed mask and what is excluded leave nothing to compare. Change one."):
        read_inputs(Request(**pair, fixed_mask=Image(lesion, grid)))
    with pytest.raises(InputError, match=r"The moving mask of what to exclude \(\w*\) selects nothing"):
        read_inputs(Request(**{**pair, "moving_excluded": Image(0 * lesion, grid)}))
