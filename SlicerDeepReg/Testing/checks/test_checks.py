"""What is wrong with a request, found before any work: the same findings for the command and the panel."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.geometry import make_grid
from helpers.segmentations import write_segmentation
from SlicerDeepRegLib.checks import (
    AttachmentFacts,
    PairFacts,
    PointFacts,
    VolumeFacts,
    check,
    check_image,
    read_inputs,
)
from SlicerDeepRegLib.methods import method, settings_of
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, InputError, Request, Transform

GRID = make_grid((12, 13, 14), (1.0, 1.0, 2.0), np.eye(3))


def image(values=None, grid=GRID, name="scan"):
    if values is None:
        values = np.random.default_rng(0).random(grid.shape_kji).astype(np.float32)
    return Image(values, grid, name)


def request(**changes):
    return dataclasses.replace(Request(image(), image()), **changes)


def moved(grid, by_mm):
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] += by_mm
    return Grid(grid.size_ijk, matrix)


def refused(control, text, **changes):
    """The request is refused because of that control."""
    with pytest.raises(InputError, match=text) as said:
        read_inputs(request(**changes))
    assert said.value.control == control


def test_good_inputs_pass_without_a_note():
    inputs = read_inputs(request())
    assert inputs.notes == ()
    assert check(inputs.facts, method("svf"), settings_of(method("svf"), "standard")) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_few_voxels_that_are_not_finite_are_filled_left_out_and_counted(bad):
    values = image().values.copy()
    values[3, 4, 5] = bad
    mask = image(np.ones(GRID.shape_kji, np.uint8))
    for given in (request(fixed=image(values)), request(fixed=image(values), fixed_mask=mask)):
        inputs = read_inputs(given)
        assert np.isfinite(inputs.pair.fixed.values).all()
        assert np.argwhere(~inputs.pair.fixed_mask).tolist() == [[3, 4, 5]]
        assert inputs.pair.moving_mask is None
    inputs = read_inputs(request(moving=image(values)))
    assert inputs.pair.fixed_mask is None and np.argwhere(inputs.pair.moving_mask.values == 0).tolist() == [[3, 4, 5]]
    (warning,) = [f for f in check(inputs.facts, method("svf"), settings_of(method("svf"), "standard"))]
    assert warning.severity == "warning" and warning.control == "moving"
    assert "moving image (scan) has 1 voxels that are NaN or infinite" in warning.text


def test_too_many_voxels_that_are_not_finite():
    values = image().values.copy()
    values[np.random.default_rng(1).random(values.shape) < 0.2] = np.nan
    refused("fixed", r"has \d+ voxels that are NaN or infinite, 1\d% of the body", fixed=image(values))
    refused("moving", "NaN or infinite, 100% of the body", moving=image(np.full(GRID.shape_kji, np.nan)))
    constant = np.full(GRID.shape_kji, 4.0)
    constant[5, 5, 5] = np.nan
    refused("fixed", "constant", fixed=image(constant))
    with pytest.raises(
        InputError, match="1 voxels that are NaN or infinite"
    ):  # where nothing would say that it was filled
        check_image(image(constant), "image")


def test_voxels_of_masks_that_are_not_finite_are_outside_and_of_labels_refused():
    mask = np.ones(GRID.shape_kji, np.float32)
    mask[2, 2, 2], mask[3, 3, 3] = np.nan, np.inf
    inputs = read_inputs(request(fixed_mask=image(mask)))
    assert np.argwhere(~inputs.pair.fixed_mask).tolist() == [[2, 2, 2], [3, 3, 3]]
    assert inputs.notes == ("The fixed mask has 2 voxels that are NaN or infinite; they were taken as outside it.",)
    refused("fixed_labels", "whole numbers", fixed_labels=image(mask))


def test_a_mask_of_nothing_but_gaps_is_empty():
    values, mask = image().values.copy(), np.zeros(GRID.shape_kji, np.uint8)
    values[3, 4, 5], mask[3, 4, 5] = np.nan, 1
    refused(
        "moving_mask",
        "selects nothing: it is empty, or lies outside the image",
        moving=image(values),
        moving_mask=image(mask),
    )


@pytest.mark.parametrize("kind", [">f4", ">i2", "f2", "longdouble", "bool"])
def test_voxels_of_any_numeric_type_are_computed_with(kind):
    values = np.round(image().values * 3).astype(kind)
    found = read_inputs(request(fixed=image(values), moving_mask=image(np.ones(GRID.shape_kji, bool))))
    read, mask = found.pair.fixed.values, found.pair.moving_mask
    assert read.dtype.isnative and read.dtype.name in ("float32", "float64", "int16", "uint8")
    np.testing.assert_array_equal(read, values)
    assert mask is None or mask.values.dtype.name == "uint8"


def test_what_is_no_plain_array_of_numbers_is_refused():
    refused("", "must be an array of numbers; it was of <U1", fixed=image(np.full(GRID.shape_kji, "a")))
    refused("", "is a masked array", fixed=image(np.ma.masked_less(image().values, 0.5)))


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"fixed": None}, "fixed must be a path or an Image; it was of type NoneType"),
        ({"moving": np.zeros(3)}, "moving must be a path or an Image"),
        ({"fixed_mask": np.zeros(3)}, "fixed_mask must be a path or an Image"),
        ({"more_fixed": (3,), "more_moving": (3,)}, "fixed_2 must be a path or an Image"),
        ({"method": None}, "method must be the name of one"),
        ({"initial": np.eye(4)}, "initial must be a path or a Transform"),
        ({"settings": [("step", 1)]}, "settings must be numbers by name"),
        ({"settings": {1: 2}}, "settings must be numbers by name"),
        ({"guide_points_mm": "2"}, "guide_points_mm must be a number"),
        ({"contrast_weights": ("1",)}, "contrast_weights must be a number"),
        ({"uncertainty_runs": True}, "uncertainty_runs must be a whole number"),
        ({"fixed_points": [["a", "b", "c"]], "moving_points": [[1, 2, 3]]}, "fixed points must be"),
    ],
)
def test_what_is_of_another_kind_is_said_by_name(changes, text):
    with pytest.raises(InputError, match=text):
        read_inputs(request(**changes))


def test_whole_numbers_of_numpy_and_no_settings_are_fine():
    asked = request(uncertainty_runs=np.int64(2), settings=None)
    assert asked.uncertainty_runs == 2 and type(asked.uncertainty_runs) is int and asked.settings == {}


@pytest.mark.parametrize("matrix", [np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 0, 1, 1])])
def test_a_matrix_that_is_no_transform_is_refused(matrix):
    with pytest.raises(InputError, match="matrix of finite numbers that can be inverted"):
        request(initial=Transform(matrix))


def test_complex_constant_and_tiny_images():
    refused("fixed", "complex values", fixed=image(np.ones(GRID.shape_kji, np.complex64)))
    refused("fixed", "constant: every voxel is 7", fixed=image(np.full(GRID.shape_kji, 7, np.int16)))
    refused("fixed", "at least 8", fixed=image(grid=make_grid((4, 12, 12), (1, 1, 1), np.eye(3))))


def test_slice_to_volume():
    slice_ = image(grid=make_grid((12, 12, 1), (1, 1, 1), np.eye(3)))
    refused("moving", "fixed image is a single slice", fixed=slice_)
    refused("moving", "One image is stored as 2D", fixed=slice_, moving=dataclasses.replace(slice_, dimensions=2))


def test_no_overlap_is_only_an_error_without_linear_alignment():
    far = image(grid=moved(GRID, [500, 0, 0]))
    refused("linear", "do not overlap in space.*center of mass", moving=far, linear="none")
    read_inputs(request(moving=far, linear="center"))


def test_empty_masks_and_labels():
    nothing = image(np.zeros(GRID.shape_kji, np.uint8))
    refused("moving_mask", "moving mask .* is empty", moving_mask=nothing)
    refused("fixed_labels", "fixed labels .* are empty", fixed_labels=nothing)


def test_labels_must_be_whole_numbers_that_a_label_map_holds():
    refused("fixed_labels", "whole numbers", fixed_labels=image())
    refused("moving_labels", "above 65535", moving_labels=image(np.full(GRID.shape_kji, 70000, np.int32)))
    flat = image(np.ones((1, 12, 12), np.uint8), make_grid((12, 12, 1), (1, 1, 1), np.eye(3)))
    refused("moving_labels", "are a single slice and the moving image is a volume", moving_labels=flat)


def test_mask_and_labels_in_another_geometry_are_resampled_and_said():
    other = make_grid((24, 26, 28), (0.5, 0.5, 1.0), np.eye(3))
    half = np.zeros(other.shape_kji, np.uint8)
    half[:14] = 3
    inputs = read_inputs(request(fixed_mask=image(half, other), fixed_labels=image(half, other)))
    assert inputs.pair.fixed_mask.shape == GRID.shape_kji
    assert inputs.pair.fixed_mask[:6].all() and not inputs.pair.fixed_mask[8:].any()
    assert set(np.unique(inputs.fixed_labels.values)) == {0, 3}
    assert len(inputs.notes) == 2 and all("different voxel grid" in note for note in inputs.notes)


def half(first, last):
    values = np.zeros(GRID.shape_kji, np.uint8)
    values[first:last] = 1
    return values


def test_masks_that_are_too_small_to_estimate_a_motion_from():
    spot = np.zeros(GRID.shape_kji, np.uint8)
    spot[6:9, 6:8, 6:9] = 1
    refused("moving_mask", "moving mask .* selects 18 voxels; at least 1000", moving_mask=image(spot))
    read_inputs(request(fixed_mask=image(half(3, 12))))
    flat = make_grid((12, 12, 1), (1, 1, 1), np.eye(3))
    small = np.zeros(flat.shape_kji, np.uint8)
    small[0, 2:9, 2:9] = 1
    slices = {"fixed": image(grid=flat), "moving": image(grid=flat)}
    refused("fixed_mask", "selects 49 voxels; at least 64", fixed_mask=image(small, flat), **slices)
    small[0, 2:10, 2:10] = 1
    read_inputs(request(fixed_mask=image(small, flat), **slices))


@pytest.mark.parametrize(
    "size_ijk, severity, unaligned, words",
    [
        ((20, 20, 20), "warning", None, "selects 1.6% of the image"),
        ((80, 1, 80), "error", "warning", "one voxel thick"),
    ],
)
def test_a_thin_mask_or_one_of_a_small_part_of_the_image(size_ijk, severity, unaligned, words):
    large = make_grid((80, 80, 80), (1, 1, 1), np.eye(3))
    part = AttachmentFacts("fixed_mask", "spot", "mask", size_ijk=size_ijk, voxels=int(np.prod(size_ijk)))
    facts = PairFacts(volume("fixed", grid=large), volume("moving", grid=large), attachments=(part,))
    ((control, sentence),) = sentences(facts, severity)
    assert control == "fixed_mask" and words in sentence
    without = dataclasses.replace(facts, linear="none")
    found = {level: sentences(without, level) for level in ("error", "warning") if sentences(without, level)}
    assert list(found) == ([unaligned] if unaligned else [])


def test_a_slice_of_a_volume_is_measured_as_a_thin_mask():
    large = make_grid((40, 40, 12), (1, 1, 1), np.eye(3))
    values = np.zeros(large.shape_kji, np.uint8)
    values[6] = 1
    pair = {"fixed": image(grid=large), "moving": image(grid=large)}
    refused("fixed_mask", "one voxel thick", fixed_mask=image(values, large), **pair)
    values[8] = 1
    read_inputs(request(fixed_mask=image(values, large), **pair))


def segmentation(folder, name, layers, segments):
    return write_segmentation(folder / f"{name}.seg.nrrd", GRID, layers, segments)


def test_segments_of_two_files_are_compared_by_name(tmp_path):
    fixed = segmentation(tmp_path, "f", [half(0, 3) + 2 * half(5, 8)], [("core", 1, 0), ("skull", 2, 0)])
    moving = segmentation(tmp_path, "m", [5 * half(0, 3) + half(9, 12)], [("core", 5, 0), ("rim", 1, 0)])
    inputs = read_inputs(request(fixed_labels=fixed, moving_labels=moving))
    assert inputs.label_names == {5: "core", 1: "rim", 6: "skull"}
    assert (inputs.fixed_labels.values == 5 * half(0, 3) + 6 * half(5, 8)).all()
    assert (inputs.moving_labels.values == 5 * half(0, 3) + half(9, 12)).all()
    assert "by their names" in inputs.notes[0]
    assert "Only the fixed labels" in inputs.notes[1] and inputs.notes[1].endswith("skull.")
    assert "Only the moving labels" in inputs.notes[2] and inputs.notes[2].endswith("rim.")


def test_a_segmentation_and_a_label_map_are_compared_by_number_and_this_is_said(tmp_path):
    fixed = segmentation(tmp_path, "f", [half(0, 3) + 4 * half(5, 8)], [("core", 1, 0), ("skull", 4, 0)])
    inputs = read_inputs(request(fixed_labels=fixed, moving_labels=image(half(0, 3))))
    assert set(np.unique(inputs.fixed_labels.values)) == {0, 1, 4}
    assert "The moving labels have no names" in inputs.notes[0] and "1 is core, 4 is skull" in inputs.notes[0]
    crossed = segmentation(tmp_path, "h", [half(0, 3), half(2, 8)], [("core", 1, 0), ("skull", 1, 1)])
    refused("moving_labels", "segments core and skull of h.seg.nrrd overlap", fixed_labels=fixed, moving_labels=crossed)
    layered = segmentation(tmp_path, "g", [half(0, 3), half(5, 8)], [("core", 1, 0), ("skull", 1, 1)])
    refused("", "share a number", fixed_labels=layered, moving_labels=image(half(0, 3)))


def test_a_segmentation_as_a_mask_is_its_union(tmp_path):
    path = segmentation(tmp_path, "f", [half(0, 8), half(5, 12)], [("core", 1, 0), ("brain", 1, 1)])
    inputs = read_inputs(request(fixed_mask=path))
    assert (inputs.pair.fixed_mask == (half(0, 12) > 0)).all()
    assert inputs.notes == ("The fixed mask is the union of the segments core, brain.",)


def test_points():
    inside = GRID.center_lps_mm[None]
    outside = np.concatenate([inside, inside + [0, 200, 0]])
    refused("moving_points", "needed in both images", fixed_points=inside)
    refused("moving_points", "1 fixed and 2 moving", fixed_points=inside, moving_points=outside)
    both = np.concatenate([inside] * 2)
    refused(
        "moving_points",
        "1 of the moving points lie outside .*number 2",
        fixed_points=both,
        moving_points=outside,
    )


def test_landmarks_of_files_say_how_they_were_paired_and_the_number_of_one_outside_is_that_of_its_line(tmp_path):
    x, y, z = GRID.center_lps_mm
    fixed, moving, far = (str(tmp_path / f"{name}.csv") for name in ("fixed", "moving", "far"))
    Path(fixed).write_text(f"label,x,y,z\na,{x},{y},{z}\nb,{x + 1},{y},{z}\nc,{x + 2},{y},{z}\n")
    Path(moving).write_text(f"label,x,y,z\nc,{x + 2},{y},{z}\nb,{x + 1},{y},{z}\n")
    Path(far).write_text(f"label,x,y,z\nd,{x + 2},{y},{z}\nc,{x},{y + 200},{z}\n")
    inputs = read_inputs(request(fixed_points=fixed, moving_points=moving))
    assert np.allclose(inputs.fixed_points, inputs.moving_points) and len(inputs.fixed_points) == 2
    assert "by their labels" in inputs.notes[0] and "1 of the 3 fixed points" in inputs.notes[1]
    refused("moving_points", "outside .*number 2", fixed_points=fixed, moving_points=far)
    in_memory = read_inputs(request(fixed_points=inputs.fixed_points, moving_points=inputs.moving_points))
    assert in_memory.notes == ()


@pytest.mark.parametrize("name", ["linear", "preset", "similarity", "device", "method"])
def test_unknown_choices(name):
    with pytest.raises(InputError, match="must be one of|There is no method") as said:
        register(request(**{name: "wrong"}))
    assert said.value.control == name


# ------------------------------------------------------------------ what only a scene can tell


def volume(role, grid=GRID, low=0.0, high=100.0, **more):
    return VolumeFacts(role=role, name=role.title(), noun="volume", grid=grid, low=low, high=high, **more)


def sentences(facts, severity, name="svf"):
    findings = check(facts, method(name), settings_of(method(name), facts.preset))
    assert findings == sorted(findings, key=lambda f: ("error", "warning", "note").index(f.severity))
    return [(f.control, f.sentence) for f in findings if f.severity == severity]


def test_what_is_missing_or_twice_the_same_is_an_error_at_its_control():
    assert sentences(PairFacts(None, None), "error") == [("fixed", "Choose a fixed and a moving volume.")]
    assert sentences(PairFacts(volume("fixed"), None), "error") == [("moving", "Choose a moving volume.")]
    same = PairFacts(volume("fixed"), volume("moving"), same_image=True)
    assert sentences(same, "error")[0][0] == "moving"


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"geometry_error": "Its axes are parallel."}, "axes are parallel"),
        ({"grid": None}, "has no voxels"),
        ({"components": 3}, "3 values for each voxel"),
        ({"low": 5.0, "high": 5.0}, "constant: every voxel is 5"),
    ],
)
def test_a_volume_that_cannot_be_registered_is_an_error_and_ends_the_checks(changes, text):
    facts = PairFacts(volume("fixed", **changes), volume("moving"), free_bytes=1)
    ((control, sentence),) = sentences(facts, "error")
    assert control == "fixed" and text in sentence


def test_notes_and_warnings_do_not_forbid():
    thick = make_grid((12, 13, 14), (1.0, 1.0, 6.0), np.eye(3))
    near = moved(GRID, [10.0, 0, 0])
    facts = PairFacts(
        volume("fixed", grid=thick, parent="Turn", low=-1000.0, high=1200.0),
        volume("moving", grid=near, parent="Bend", parent_is_linear=False),
        similarity="lncc",
        linear="none",
    )
    assert sentences(facts, "error") == []
    assert [control for control, _ in sentences(facts, "warning")] == ["linear", "similarity"]
    notes = " ".join(text for _, text in sentences(facts, "note"))
    assert "thick slices" in notes and "under Turn; that transform is taken into account" in notes
    assert "under Bend, which is not linear" in notes
    assert "centers are matched first" in str(sentences(dataclasses.replace(facts, linear="rigid"), "note"))


def test_segmentations_and_landmarks_of_a_scene():
    pair = PairFacts(volume("fixed"), volume("moving"))
    for changes, text in (({"segments": 0}, "has no segment"), ({"same_transform": False}, "different transforms")):
        attached = AttachmentFacts("fixed_labels", "Lobes", "segmentation", volume="Fixed", **changes)
        ((control, sentence),) = sentences(dataclasses.replace(pair, attachments=(attached,)), "error")
        assert control == "fixed_labels" and text in sentence
    ((control, sentence),) = sentences(dataclasses.replace(pair, points=PointFacts(0, 0)), "error")
    assert control == "moving_points" and "No landmark is placed in both images" in sentence


def test_what_a_method_forbids_names_the_control_to_change():
    pair = PairFacts(volume("fixed"), volume("moving"), similarity="mind")
    assert sentences(pair, "error", "svf") == []
    ((control, sentence),) = sentences(pair, "error", "demons")
    assert control == "similarity" and "MIND" in sentence
    flat = make_grid((40, 40, 1), (1, 1, 1), np.eye(3))
    slices = PairFacts(volume("fixed", grid=flat), volume("moving", grid=flat))
    ((control, sentence),) = sentences(slices, "error", "caml")
    assert control == "method" and "registers only 3D images, and these are 2D" in sentence
