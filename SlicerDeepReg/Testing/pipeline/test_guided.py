"""What the user knows guides the registration: landmarks, structures, surfaces, rigid bodies, what is excluded."""

import dataclasses
import json

import numpy as np
import pytest
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.requests import request
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.transform_files import read_fields
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field
from SlicerDeepRegLib.geometry.points import fixed_to_moving, moving_to_fixed, points_before, voxel_centers_lps
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.report.content import content_of
from SlicerDeepRegLib.report.facts import facts_of
from SlicerDeepRegLib.types import Image, InputError, Transform

GRID = make_grid((44, 48, 40), (1.5, 1.5, 1.6), np.eye(3))
POINTS = voxel_centers_lps(GRID)
FAST = {"preset": "fast", "linear": "none", "pair": "people", "similarity": "lncc"}


def bump(points, center=(0, 0, 0), width=14.0):
    away = ((points - np.array(center)) ** 2).sum(-1)
    return np.exp(-away / (2 * width**2))[..., None] * np.array([5.0, -4.0, 3.0])


FIXED = Image(texture(POINTS + bump(POINTS)).astype(np.float32), GRID, "fixed")
MOVING = Image(texture(POINTS).astype(np.float32), GRID, "moving")
#: Landmarks where nothing in the images says that they are wrong: the images show no motion.
STILL = Image(texture(POINTS).astype(np.float32), GRID, "still")
PLACES = np.array([[4.0, 2.0, -3.0], [-12.0, 10.0, 6.0], [14.0, -12.0, 8.0]])
SHIFT = np.array([2.0, -1.5, 1.0])


def guided(**options):
    return register(request(FIXED, MOVING, **{**FAST, **options}))


def errors_mm(result, points, partners):
    return np.linalg.norm(fixed_to_moving(result.transform, points) - partners, axis=1)


def test_landmarks_pull_as_far_as_their_uncertainty_lets_them():
    partners = PLACES + bump(PLACES) + SHIFT
    found = {}
    for mm in (0.0, 0.5, 4.0):
        result = guided(fixed_points=PLACES, moving_points=partners, guide_points_mm=mm)
        found[mm] = errors_mm(result, PLACES, partners).mean()
    assert found[0.0] < 0.1 and found[0.0] < found[0.5] < 0.8 and found[4.0] > 2 * found[0.5]


def test_landmarks_that_guide_are_not_measured_as_if_they_did_not():
    result = guided(fixed_points=PLACES, moving_points=PLACES + bump(PLACES), guide_points_mm=1.0, held_points=("2",))
    after = result.metrics["after"]
    assert after["guided_points"] == [0, 2] and after["guided_tre_mm"] < 0.5
    assert after["tre_mm"] == pytest.approx(after["tre_by_point_mm"][1])
    assert any("2 of 3 landmarks guided" in note for note in result.notes)
    everything = guided(fixed_points=PLACES, moving_points=PLACES + bump(PLACES), guide_points_mm=1.0)
    assert "tre_mm" not in everything.metrics["after"] and "guided_tre_mm" in everything.metrics["after"]


def test_far_landmarks_lead_where_the_images_alone_do_not_find_it():
    far = np.array([55.0, -45.0, 40.0])
    moving = dataclasses.replace(MOVING, grid=dataclasses.replace(GRID, ijk_to_lps=_moved(GRID.ijk_to_lps, far)))
    places = np.concatenate([PLACES, [[0.0, -8.0, -12.0]]])
    partners = places + bump(places) + far
    options = {**FAST, "fixed_points": places, "moving_points": partners, "guide_points_mm": 1.0}
    result = register(request(FIXED, moving, **options))
    head = texture(POINTS) > 30
    error = errors_mm(result, POINTS[head], POINTS[head] + bump(POINTS[head]) + far).mean()
    assert error < 3 and result.metrics["after"]["digital_folds_percent"] == 0


def _moved(matrix, by):
    moved = matrix.copy()
    moved[:3, 3] += by
    return moved


def test_a_pair_that_contradicts_its_neighbors_is_named_and_not_obeyed():
    places = np.concatenate([PLACES, [[6.0, 4.0, -2.0]]])
    partners = places + bump(places)
    partners[3] += [0.0, 0.0, 24.0]
    options = {"fixed_points": places, "moving_points": partners, "guide_points_mm": 0.0}
    result = guided(**options)
    assert any("Landmark number 4 contradicts" in note for note in result.notes)
    assert result.metrics["after"]["guided_points"] == [0, 1, 2]
    assert errors_mm(result, places[:3], partners[:3]).max() < 0.1
    obeyed = guided(**options, obey_all_points=True)
    assert errors_mm(obeyed, places, partners)[3] < 0.5 * errors_mm(result, places, partners)[3]
    assert jacobian_of_field(obeyed.transform.field).min() > 0


def boxes(points, shift=0.0):
    labels = np.zeros(GRID.shape_kji, np.int32)
    for label, center in enumerate(((0, 0, 0), (-14, 8, 4), (12, -10, -6)), 1):
        labels[np.abs(points + shift - np.array(center)).max(-1) < 6] = label
    return labels


def test_structures_guide_and_those_held_out_are_measured():
    fixed = Image(boxes(POINTS, bump(POINTS)), GRID, "fixed labels")
    moving = Image(boxes(POINTS), GRID, "moving labels")
    still = register(request(STILL, MOVING, fixed_labels=fixed, moving_labels=moving, **FAST))
    led = register(
        request(STILL, MOVING, fixed_labels=fixed, moving_labels=moving, guide_structures=("1", "3"), **FAST)
    )
    before, after = still.metrics["after"], led.metrics["after"]
    assert after["guided_labels"] == [1, 3]
    assert after["dice_by_label"][1] > before["dice_by_label"][1] + 0.15
    assert after["dice"] == after["dice_by_label"][2] and after["guided_dice"] > after["dice"]
    content = content_of(facts_of(led))
    assert [row[0] for row in content.tables["structures"].lines] == ["label 1 (guided)", "label 2", "label 3 (guided)"]
    overlap = next(line for line in content.statuses if line.name == "Overlap (Dice)")
    assert "label 2" in overlap.value and "of 1" in overlap.value
    with pytest.raises(InputError, match="structure liver is to guide.* Both have: 1, 2, 3"):
        guided(fixed_labels=fixed, moving_labels=moving, guide_structures=("liver",))
    with pytest.raises(InputError, match="the fixed labels are missing"):
        guided(moving_labels=moving, guide_structures=("all",))


def test_a_rigid_body_moves_rigidly():
    body = Image((np.abs(POINTS - np.array([6, 4, 0])).max(-1) < 7).astype(np.uint8), GRID, "bone")
    inside = body.values > 0

    def bent_mm(result):
        moved = fixed_to_moving(result.transform, POINTS[inside])
        a, b = POINTS[inside] - POINTS[inside].mean(0), moved - moved.mean(0)
        u, _, v = np.linalg.svd(a.T @ b)
        turn = v.T @ np.diag([1, 1, np.linalg.det(v.T @ u.T)]) @ u.T
        return np.abs(b - a @ turn.T).max()

    free, stiff = guided(), guided(fixed_rigid=body)
    assert bent_mm(free) > 0.5 and bent_mm(stiff) < 0.1
    assert stiff.metrics["after"]["digital_folds_percent"] == 0
    moved = [fixed_to_moving(result.transform, POINTS[inside]).mean(0) for result in (free, stiff)]
    assert np.linalg.norm(moved[0] - moved[1]) < 1.0  # it went along with the image
    assert not any("not quite rigid" in note for note in stiff.notes)
    corner = POINTS[inside][:1]
    there = fixed_to_moving(stiff.transform, corner) + [0, 0, 3]
    pulled = guided(fixed_rigid=body, fixed_points=corner, moving_points=there, guide_points_mm=0.0)
    assert bent_mm(pulled) > 0.2 and any("not quite rigid" in note for note in pulled.notes)


def test_surfaces_are_brought_onto_one_another():
    turns = np.random.default_rng(0).normal(size=(900, 3))
    sphere = 10 * turns / np.linalg.norm(turns, axis=1, keepdims=True)
    other = 1.3 * sphere
    led = register(request(STILL, MOVING, fixed_surface=sphere, moving_surface=other, **FAST))
    radius = np.linalg.norm(fixed_to_moving(led.transform, sphere), axis=1)
    assert abs(radius.mean() - 13) < 0.6
    with pytest.raises(InputError, match="A surface of the moving image is missing"):
        request(STILL, MOVING, fixed_surface=sphere)


def test_what_is_excluded_does_not_pull():
    lesion = np.linalg.norm(POINTS - np.array([5.0, 3.0, 0.0]), axis=-1) < 7
    spoiled = dataclasses.replace(FIXED, values=np.where(lesion, 10.0, FIXED.values).astype(np.float32))
    mask = Image(lesion.astype(np.uint8), GRID, "lesion")
    head = texture(POINTS) > 30
    away = head & ~lesion

    def error(fixed, **options):
        result = register(request(fixed, MOVING, **{**FAST, **options}))
        return errors_mm(result, POINTS[away], POINTS[away] + bump(POINTS[away])).mean(), result

    whole, _ = error(FIXED)
    obeyed, _ = error(spoiled)
    left_out, result = error(spoiled, fixed_excluded=mask)
    assert left_out < obeyed and left_out < 1.3 * whole
    grown = jacobian_of_field(result.transform.field)[lesion]
    assert 0.4 < grown.min() and grown.max() < 2.5  # extrapolated, not pulled
    with pytest.raises(InputError, match=r"excludes \d+% of the image"):
        error(FIXED, fixed_excluded=Image(np.ones(GRID.shape_kji, np.uint8), GRID, "all"))
    with pytest.raises(InputError, match="selects nothing"):
        error(FIXED, moving_excluded=Image(np.zeros(GRID.shape_kji, np.uint8), GRID, "none"))


@pytest.fixture(scope="module")
def wrong_result(tmp_path_factory):
    """A result with an error in one place, as a folder and in memory."""
    folder = tmp_path_factory.mktemp("result")
    write_image(FIXED, folder / "fixed.nii.gz")
    write_image(MOVING, folder / "moving.nii.gz")
    paths = {"fixed": str(folder / "fixed.nii.gz"), "moving": str(folder / "moving.nii.gz")}
    options = ["--preset", "fast", "--linear", "none", "--pair", "people", "--similarity", "lncc", "--quiet"]
    given = [part for name, path in paths.items() for part in (f"--{name}", path)]
    assert main(["register", *given, "--output", str(folder / "base"), *options]) == 0
    return folder, given


def points_file(path, points):
    path.write_text("x,y,z\n" + "\n".join(",".join(f"{value:.4f}" for value in point) for point in points) + "\n")
    return str(path)


def test_a_result_is_continued_around_its_corrections_only(wrong_result, tmp_path, capsys):
    folder, given = wrong_result
    base = read_fields(folder / "base" / "transform.h5", folder / "base" / "inverse.h5")
    place = np.array([[4.0, 2.0, -3.0]])
    partner = fixed_to_moving(base, place) + SHIFT
    points = ["--fixed-points", points_file(tmp_path / "f.csv", place)]
    points += ["--moving-points", points_file(tmp_path / "m.csv", partner), "--guide-points", "0"]
    output = tmp_path / "corrected"
    small = ["--set", "guidance_reach_mm=5"]
    command = ["register", *given, "--output", str(output), "--continue", str(folder / "base"), *points, *small]
    assert main([*command, "--quiet"]) == 0
    found = read_fields(output / "transform.h5", output / "inverse.h5")
    assert np.linalg.norm(fixed_to_moving(found, place) - partner) < 0.1
    far = POINTS[np.abs(POINTS - place).max(-1) > 24]
    assert len(far) > 1000
    np.testing.assert_allclose(fixed_to_moving(found, far), fixed_to_moving(base, far), atol=0.02)
    inner = POINTS[4:-4:5, 4:-4:5, 4:-4:5].reshape(-1, 3)
    back = moving_to_fixed(found, fixed_to_moving(found, inner))
    assert np.linalg.norm(back - inner, axis=1).max() < 0.3
    described = json.loads((output / "result.json").read_text())
    assert described["metrics"]["after"]["digital_folds_percent"] == 0
    assert [stage["name"] for stage in described["stages"]] == ["continued result", "correction"]
    assert any("continued in a box of" in note for note in described["notes"])
    capsys.readouterr()
    assert main([*command[:-2], "--quiet", "--anonymous"]) == 0
    anonymous = (output / "result.json").read_text()
    assert '"continued": "<result>"' in anonymous and "f.csv" not in anonymous
    other = [*given[:1], given[3], *given[2:]]
    assert main(["register", *other, "--output", str(output), "--continue", str(folder / "base"), *points]) != 0
    assert "one of another fixed image" in capsys.readouterr().err
    assert main(["register", *given, "--output", str(output), "--continue", str(folder), *points]) != 0
    assert "is not the folder of a result" in capsys.readouterr().err
    assert main(["register", *given, "--output", str(output), "--continue", str(folder / "no"), *points]) != 0
    said = capsys.readouterr().err
    assert "There is no result" in said and "(Option --continue.)" in said
    assert main(["register", *given, "--output", str(output), "--continue", str(folder / "base")]) != 0
    assert "none are given" in capsys.readouterr().err


@pytest.mark.parametrize("has_inverse", [True, False])
def test_a_transform_in_memory_is_continued(wrong_result, has_inverse):
    folder, _ = wrong_result
    known = read_fields(folder / "base" / "transform.h5", folder / "base" / "inverse.h5")
    base = known if has_inverse else Transform(known.linear_lps, known.field)
    partner = fixed_to_moving(base, PLACES[:1]) + SHIFT
    result = register(
        request(FIXED, MOVING, continued=base, fixed_points=PLACES[:1], moving_points=partner, preset="fast")
    )
    assert errors_mm(result, PLACES[:1], partner)[0] < 0.5
    assert bool(result.transform.inverse_fields) == has_inverse
    assert not has_inverse or result.metrics["after"]["inverse_error_mm"] < 0.1


def test_a_transform_file_gets_its_way_back(wrong_result, tmp_path):
    folder, given = wrong_result
    base = read_fields(folder / "base" / "transform.h5", folder / "base" / "inverse.h5")
    partner = fixed_to_moving(base, PLACES[:1]) + SHIFT
    points = ["--fixed-points", points_file(tmp_path / "f.csv", PLACES[:1])]
    points += ["--moving-points", points_file(tmp_path / "m.csv", partner), "--preset", "fast", "--quiet"]
    command = ["register", *given, "--continue", str(folder / "base" / "transform.h5"), *points]
    assert main([*command, "--similarity", "lncc", "--pair", "people", "--output", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]["after"]
    assert found["guided_tre_mm"] < 0.5 and found["inverse_error_mm"] < 0.05


def test_points_are_found_before_a_deformation_without_its_inverse(wrong_result):
    folder, _ = wrong_result
    known = read_fields(folder / "base" / "transform.h5", folder / "base" / "inverse.h5")
    places = POINTS[::9, ::9, ::9].reshape(-1, 3)
    found = points_before(Transform(known.linear_lps, known.field), fixed_to_moving(known, places))
    np.testing.assert_allclose(found, places, atol=1e-3)


@pytest.mark.parametrize("method", ["demons", "msrd-net:small", "rigid"])
def test_methods_that_cannot_follow_say_so(method):
    options = {"settings": {"instance_steps": 1, "refine": 0}} if "net" in method else {}
    with pytest.raises(InputError, match="guided"):
        guided(method=method, fixed_points=PLACES, moving_points=PLACES, guide_points_mm=1.0, **options)


def test_a_network_is_guided_in_its_refinement():
    partners = PLACES + bump(PLACES)
    options = {"method": "msrd-net:small", "settings": {"instance_steps": 2, "refine": 10}}
    result = guided(fixed_points=PLACES, moving_points=partners, guide_points_mm=0.0, **options)
    assert errors_mm(result, PLACES, partners).max() < 0.05


def test_guidance_goes_with_a_deformation_to_start_from_and_with_perturbed_inputs(wrong_result):
    folder, _ = wrong_result
    partners = PLACES + bump(PLACES)
    result = guided(
        initial=str(folder / "base" / "transform.h5"),
        fixed_points=PLACES,
        moving_points=partners + SHIFT,
        guide_points_mm=0.0,
        uncertainty_runs=1,
        measure=False,
    )
    assert errors_mm(result, PLACES, partners + SHIFT).max() < 0.1
    assert result.uncertainty is not None and result.uncertainty.values.max() < 6


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"guide_points_mm": 1.0}, "none are given"),
        ({"held_points": ("1",), "fixed_points": PLACES, "moving_points": PLACES}, "none guide"),
        (
            {"held_points": ("nose",), "guide_points_mm": 1.0, "fixed_points": PLACES, "moving_points": PLACES},
            "no landmark 'nose'.* number 1, number 2",
        ),
        ({"guide_points_mm": -1.0}, "0 mm or more"),
        (
            {"pair": "visit", "guide_points_mm": 1.0, "fixed_points": PLACES, "moving_points": PLACES},
            "one visit, which is not deformed",
        ),
        ({"fixed_rigid": Image(np.zeros(GRID.shape_kji, np.uint8), GRID, "bone")}, "empty|fewer"),
        ({"fixed_surface": np.zeros((2, 3)), "moving_surface": np.zeros((5, 3))}, "fewer than 3 points"),
        ({"continued": "result", "initial": "start.h5"}, "one of the two"),
    ],
)
def test_guidance_that_cannot_be_used_is_refused(options, text):
    with pytest.raises(InputError, match=text):
        guided(**options)
