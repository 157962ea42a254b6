from importlib import import_module

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid, rotation
from helpers.images import texture
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.methods import Context, linear_method
from SlicerDeepRegLib.methods.linear.candidates import information
from SlicerDeepRegLib.methods.linear.pair import Frames, LinearPair
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, ImagePair, InputError, Request

optimize = import_module("SlicerDeepRegLib.methods.linear.optimize")  # the function of that name hides it
#: Sizes of a fixed and a moving image.
VOLUMES, SLICES = ((40, 44, 36), (56, 60, 52)), ((60, 64, 1), (70, 70, 1))
GRID = make_grid((40, 44, 36), (1.6, 1.6, 1.8), rotation([5, 0, 10]))


def aligned(fixed, moving, model, fixed_mask=None, moving_mask=None):
    """Return the stage and the notes of a linear method."""
    pair = ImagePair(fixed, moving, fixed_mask, moving_mask)
    method = linear_method(model)
    outcome = method.run(pair, np.eye(4), method.presets["standard"], Context())
    return outcome.stages[0], outcome.notes


def moved_pair(matrix, grid=GRID, moving_grid=None):
    """A fixed image and the moving one in which T(x) = matrix x is the truth; and points to compare at."""
    fixed = texture(apply_matrix(matrix, voxel_centers_lps(grid).reshape(-1, 3))).reshape(grid.shape_kji)
    moving_grid = moving_grid or make_grid((56, 60, 52), (1.5, 1.5, 1.5), np.eye(3))
    moving = texture(voxel_centers_lps(moving_grid))
    fixed, moving = Image(fixed.astype(np.float32), grid), Image(moving.astype(np.float32), moving_grid)
    return fixed, moving, voxel_centers_lps(grid)[fixed.values > 30]


def matrix_of(degrees, shift, scale=(1, 1, 1)):
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(degrees) @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize(
    "model, degrees, shift, scale",
    [
        ("rigid", (8, -6, 10), (4, -3, 5), (1, 1, 1)),
        ("rigid", (0, 0, 25), (-6, 2, 0), (1, 1, 1)),
        ("affine", (5, 8, -6), (3, 5, -4), (1.1, 0.92, 1.05)),
    ],
)
def test_known_motion_is_found(model, degrees, shift, scale):
    truth = matrix_of(degrees, shift, scale)
    fixed, moving, points = moved_pair(truth)
    stage, notes = aligned(fixed, moving, model)
    error = np.linalg.norm(apply_matrix(stage.linear_lps, points) - apply_matrix(truth, points), axis=1).mean()
    assert error < 0.6
    assert notes == [] and stage.name == "linear" and len(stage.curve) > 5
    if model == "rigid":
        assert np.allclose(stage.linear_lps[:3, :3] @ stage.linear_lps[:3, :3].T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize(
    "model, degrees",
    [("rigid", (90, 0, 0)), ("affine", (0, -90, 0)), ("rigid", (0, 0, 180)), ("rigid", (70, -60, 130))],
)
def test_turned_frames_are_found_and_that_is_said(model, degrees):
    truth = matrix_of(degrees, (4, -3, 5))
    fixed, moving, points = moved_pair(truth)
    stage, (note,) = aligned(fixed, moving, model)
    error = np.linalg.norm(apply_matrix(stage.linear_lps, points) - apply_matrix(truth, points), axis=1).mean()
    assert error < 0.6
    assert "had to be turned by" in note and "Check right and left" in note


@pytest.mark.parametrize("degrees", [90, 180, -120])
def test_turned_slices_are_found_in_their_plane(degrees):
    flat = make_grid((60, 64, 1), (1.2, 1.2, 1.0), np.eye(3))
    truth = matrix_of((0, 0, degrees), (4, -3, 0))
    fixed, moving, points = moved_pair(truth, flat, make_grid((70, 70, 1), (1.2, 1.2, 1.0), np.eye(3)))
    stage, (note,) = aligned(fixed, moving, "rigid")
    error = np.linalg.norm(apply_matrix(stage.linear_lps, points) - apply_matrix(truth, points), axis=1).mean()
    assert error < 0.6 and f"turned by {abs(degrees)} degrees" in note


@pytest.mark.parametrize("sizes, axis", [(VOLUMES, 0), pytest.param(VOLUMES, 2, marks=pytest.mark.slow), (SLICES, 1)])
def test_a_mirrored_image_is_said_to_be_one(sizes, axis):
    """Whichever axis of its header is reversed; the right image, turned or not, is not suspected (tests above)."""
    spacing = (1.6, 1.6, 1.8)
    turn = (8, -6, 10) if sizes[0][2] > 1 else (0, 0, 12)
    truth = matrix_of(turn, (4, -3, 0))
    fixed, moving, _ = moved_pair(
        truth, make_grid(sizes[0], spacing, np.eye(3)), make_grid(sizes[1], spacing, np.eye(3))
    )
    mirrored = Image(np.flip(moving.values, 2 - axis).copy(), moving.grid)
    notes = aligned(fixed, mirrored, "rigid")[1]
    assert any("fits clearly better when it is mirrored" in note for note in notes)
    assert not any("mirrored" in note for note in aligned(fixed, moving, "affine")[1])


def part_of(image, low, high, shift_mm=(0, 0, 0)):
    """The voxels from low to high (i, j, k) as an image of its own, put elsewhere."""
    matrix = image.grid.ijk_to_lps.copy()
    matrix[:3, 3] = apply_matrix(matrix, np.array([low], float))[0] + shift_mm
    values = image.values[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1]))]
    return Image(values.copy(), Grid(values.shape[::-1], matrix), "part")


@pytest.mark.parametrize(
    "box, shift_mm", [(((0, 0, 0), (56, 60, 24)), (60, -45, 80)), (((14, 30, 20), (34, 52, 40)), (0, 0, 0))]
)
@pytest.mark.parametrize("is_fixed", [False, True])
def test_a_part_is_found_in_the_whole_wherever_it_lies(box, shift_mm, is_fixed):
    """A half whose header is wrong, and a crop whose header is right: then nothing is said."""
    truth = matrix_of((4, -3, 5), (2, 1, -2))
    fixed, moving, _ = moved_pair(truth)
    part = part_of(moving, *box, shift_mm)
    shown = voxel_centers_lps(part.grid)[part.values > 30]
    truth[:3, 3] += shift_mm  # from the whole to the part
    if is_fixed:
        truth, fixed, moving, points = np.linalg.inv(truth), part, fixed, shown
    else:
        moving, points = part, apply_matrix(np.linalg.inv(truth), shown)
    stage, notes = aligned(fixed, moving, "rigid")
    error = np.linalg.norm(apply_matrix(stage.linear_lps, points) - apply_matrix(truth, points), axis=1).mean()
    assert error < 0.8
    assert any("looked for everywhere" in note for note in notes) == any(shift_mm)


def test_none_is_the_identity_and_center_a_shift_of_the_centers_of_mass():
    truth = matrix_of((0, 0, 0), (6, -4, 3))
    fixed, moving, _ = moved_pair(truth)
    assert (aligned(fixed, moving, "none")[0].linear_lps == np.eye(4)).all()
    center = aligned(fixed, moving, "center")[0].linear_lps
    assert np.allclose(center[:3, :3], np.eye(3)) and np.allclose(center[:3, 3], [6, -4, 3], atol=0.7)


def test_images_far_apart_start_from_their_centers_and_say_so():
    far = make_grid((56, 60, 52), (1.5, 1.5, 1.5), np.eye(3))
    fixed, moving, points = moved_pair(np.eye(4), moving_grid=far)
    away = moving.grid.ijk_to_lps.copy()
    away[:3, 3] += [700, 0, -300]
    moving = Image(moving.values, type(moving.grid)(moving.grid.size_ijk, away))
    stage, notes = aligned(fixed, moving, "rigid")
    assert any("do not overlap" in note for note in notes)
    moved = apply_matrix(stage.linear_lps, points)
    assert np.linalg.norm(moved - points - [700, 0, -300], axis=1).mean() < 0.6


def test_slices_in_their_plane_wherever_the_planes_lie():
    """An axial slice at z = 0 against one at z = 50: the plane is mapped on the plane, and turned in it."""
    flat = make_grid((60, 64, 1), (1.2, 1.2, 1.0), np.eye(3))
    angle = np.eye(4)
    angle[:3, :3] = rotation([0, 0, 12])
    angle[:3, 3] = [3, -2, 0]
    fixed, moving, points = moved_pair(angle, flat, make_grid((70, 70, 1), (1.1, 1.1, 1.0), np.eye(3)))
    lifted = moving.grid.ijk_to_lps.copy()
    lifted[2, 3] += 50
    moving = Image(moving.values, type(moving.grid)(moving.grid.size_ijk, lifted))
    stage, _ = aligned(fixed, moving, "rigid")
    expected = apply_matrix(angle, points) + [0, 0, 50]
    error = np.linalg.norm(apply_matrix(stage.linear_lps, points) - expected, axis=1)
    assert error.mean() < 0.5 and np.allclose(apply_matrix(stage.linear_lps, points)[:, 2], 50, atol=1e-6)


def test_a_small_moving_image_is_compared_although_it_holds_few_of_the_fixed_voxels():
    fixed, moving, _ = moved_pair(np.eye(4))
    part = part_of(moving, (18, 20, 16), (34, 38, 32))
    assert part.grid.voxels * 1.5**3 < 0.1 * fixed.grid.voxels * 1.6 * 1.6 * 1.8
    still, away = sitk.Euler3DTransform(), sitk.Euler3DTransform()
    away.SetTranslation([500.0, 0.0, 0.0])
    values = information(LinearPair(ImagePair(fixed, part), Frames(np.eye(3), np.eye(3), 3)), [still, away], 20_000)
    assert values[0] > 0.5 and values[1] == -np.inf


def test_masks_without_anything_in_common_are_refused():
    fixed, moving, _ = moved_pair(np.eye(4))
    mask = np.zeros(fixed.grid.shape_kji, bool)
    mask[:2, :2, :2] = True
    other = np.zeros(moving.grid.shape_kji, np.uint8)
    other[-2:, -2:, -2:] = 1
    with pytest.raises(InputError, match="no position was found"):
        aligned(fixed, moving, "rigid", mask, Image(other, moving.grid))


@pytest.mark.parametrize("factor", [-1.0, 0.01, 50.0])
def test_an_affine_transform_that_no_patient_makes_is_not_taken(plain_case, monkeypatch, factor):
    """Found by images that nobody chose: between noise and a texture the affine stage mirrored."""
    real = optimize.refine

    def collapsing(pair, transform, *rest, **more):
        refined, value = real(pair, transform, *rest, **more)
        if isinstance(refined, sitk.AffineTransform):
            refined.SetMatrix((np.diag([factor, 1.0, 1.0])).ravel().tolist())
        return refined, value

    monkeypatch.setattr(optimize, "refine", collapsing)
    stage, notes = aligned(plain_case.fixed, plain_case.moving, "affine")
    assert np.linalg.det(stage.linear_lps[:3, :3]) == pytest.approx(1.0, abs=1e-6)
    assert any("implausible" in note for note in notes)


def test_images_that_share_nothing_but_one_value_are_refused(plain_case):
    values = np.zeros_like(plain_case.fixed.values)
    values[:, :, :4] = 100 * np.random.default_rng(0).random(values[:, :, :4].shape)  # far from where the other lies
    matrix = plain_case.fixed.grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, 0] * 8
    moving = Image(plain_case.fixed.values, Grid(plain_case.fixed.grid.size_ijk, matrix), "moving")
    with pytest.raises(InputError, match="a single value"):
        register(Request(Image(values, plain_case.fixed.grid), moving, linear="none", preset="fast", device="cpu"))


def test_where_one_image_has_a_single_value_there_is_nothing_to_compare(plain_case):
    """The histogram of ITK has no width then, and it raises an error of its own: also in the middle of its steps."""
    values = np.zeros((8, 8, 8), np.float32)
    values[0, 0, 0] = 100
    point = Image(values, make_grid((8, 8, 8), (4, 4, 4), np.eye(3)))
    elsewhere = values == 0
    elsewhere[:2, :2, :2] = False
    moving_mask = Image(elsewhere.astype(np.uint8), point.grid)
    frames = Frames(np.eye(3), np.eye(3), 3)
    for images in ((point, plain_case.moving, elsewhere, None), (plain_case.fixed, point, None, moving_mask)):
        start = sitk.VersorRigid3DTransform()
        pair = LinearPair(ImagePair(*images), frames)
        refined, value = optimize.refine(pair, start, 0, [])
        assert refined is start and value == np.inf
        fixed, moving, fixed_mask, moving_mask_of_pair = images
        with pytest.raises(InputError, match="blank where they overlap"):
            aligned(fixed, moving, "rigid", fixed_mask, moving_mask_of_pair)


def test_a_similarity_has_one_scale():
    truth = matrix_of((6, -5, 8), (3, -4, 2), (1.12, 1.12, 1.12))
    fixed, moving, points = moved_pair(truth)
    found = aligned(fixed, moving, "similarity")[0].linear_lps
    assert np.linalg.norm(apply_matrix(found, points) - apply_matrix(truth, points), axis=1).mean() < 0.6
    sizes = np.linalg.svd(found[:3, :3])[1]
    assert sizes == pytest.approx([sizes[0]] * 3) and sizes[0] == pytest.approx(1.12, abs=0.03)


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
@pytest.mark.parametrize("grid", [GRID, make_grid((64, 60, 1), (1.2, 1.2, 1.0), rotation([0, 0, 20]))])
def test_it_goes_on_from_a_start_that_it_would_not_find(model, grid):
    turned = matrix_of((0, 0, 140), (8, -6, 0))
    moving_grid = make_grid((70, 70, 1), (1.2, 1.2, 1.0), np.eye(3)) if grid.is_planar else None
    fixed, moving, points = moved_pair(turned, grid, moving_grid)
    near, method = matrix_of((0, 0, 133), (6, -4, 0)), linear_method(model)
    outcome = method.run(ImagePair(fixed, moving), near, method.presets["standard"], Context())
    found, truth = apply_matrix(outcome.linear_lps, points), apply_matrix(turned, points)
    assert (
        np.linalg.norm(found - truth, axis=1).mean()
        < 0.6
        < np.linalg.norm(apply_matrix(near, points) - truth, axis=1).mean()
    )


def test_what_a_linear_method_has_no_use_for_is_said():
    fixed, moving, _ = moved_pair(np.eye(4))
    request = Request(fixed, moving, method="rigid", linear="affine", similarity="ngf", device="cpu", measure=False)
    (note,) = [note for note in register(request).notes if "not used" in note]
    assert "the linear alignment and the similarity metric that were asked for" in note


def test_none_keeps_the_start():
    fixed, moving, _ = moved_pair(np.eye(4))
    start = matrix_of((3, 0, 0), (1, 2, 3))
    for model in ("none", "center"):
        outcome = linear_method(model).run(ImagePair(fixed, moving), start, None, Context())
        assert np.array_equal(outcome.linear_lps, start)


@pytest.mark.parametrize("model", ["rigid", "similarity", "affine"])
def test_a_linear_method_is_an_answer_of_its_own(model):
    truth = matrix_of((5, -4, 6), (3, -2, 4))
    fixed, moving, points = moved_pair(truth)
    result = register(Request(fixed, moving, method=model, device="cpu"))
    assert result.transform.field is None and result.transform.inverse_fields == ()
    error = np.linalg.norm(apply_matrix(result.transform.linear_lps, points) - apply_matrix(truth, points), axis=1)
    assert error.mean() < 0.6 and [stage.name for stage in result.stages] == ["linear"]
    assert np.ptp(result.jacobian.values) == 0
    assert result.metrics["after"]["ncc"] == result.metrics["linear"]["ncc"] > result.metrics["before"]["ncc"]


def test_an_interrupt_inside_itk_is_an_interrupt():
    """ITK calls Python at each step, and turns what is raised there into an error of its own."""

    class Interrupted(list):
        def append(self, value):
            raise KeyboardInterrupt

    fixed, moving, _ = moved_pair(np.eye(4))
    pair = LinearPair(ImagePair(fixed, moving), Frames(np.eye(3), np.eye(3), 3))
    with pytest.raises(KeyboardInterrupt):
        optimize.refine(pair, pair.translations()[0], 0, Interrupted())
