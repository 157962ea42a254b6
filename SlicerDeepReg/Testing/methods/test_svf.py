"""The method itself: what it must never do, on small synthetic pairs."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.requests import request
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field, non_diffeomorphic_volume
from SlicerDeepRegLib.geometry.points import (
    apply_matrix,
    displacement_at,
    fixed_to_moving,
    moving_to_fixed,
    voxel_centers_lps,
)
from SlicerDeepRegLib.methods import Context
from SlicerDeepRegLib.methods.svf import optimizer, plan, search
from SlicerDeepRegLib.methods.svf.channels import ChannelTerm
from SlicerDeepRegLib.methods.svf.folds import min_jacobian
from SlicerDeepRegLib.methods.svf.pyramid import Images
from SlicerDeepRegLib.methods.svf.settings import PRESET_SETTINGS
from SlicerDeepRegLib.metrics import measure
from SlicerDeepRegLib.pipeline import align, register
from SlicerDeepRegLib.preparation.resolution import RESOLUTIONS
from SlicerDeepRegLib.preparation.working import working_pair
from SlicerDeepRegLib.types import Canceled, Channels, Grid, Image, ImagePair
from SlicerDeepRegLib.warping.filters import gaussian

GRID = make_grid((40, 44, 36), (1.6, 1.6, 1.8), np.eye(3))
POINTS = voxel_centers_lps(GRID)


def seen(displacement_lps_mm, contrast=lambda v: v, grid=GRID):
    """The texture seen through x + u(x)."""
    return Image(contrast(texture(voxel_centers_lps(grid) + displacement_lps_mm)).astype(np.float32), grid, "made")


def bump(vector_mm, width_mm=14.0):
    return np.exp(-(POINTS**2).sum(-1) / (2 * width_mm**2))[..., None] * np.array(vector_mm)


def error(result, displacement_lps_mm):
    """Mean distance to the true displacement inside the head, mm: (before, after)."""
    head = result.fixed.values > 0.3 * result.fixed.values.max()
    points, truth = POINTS[head], (POINTS + displacement_lps_mm)[head]
    return (
        np.linalg.norm(truth - points, axis=1).mean(),
        np.linalg.norm(fixed_to_moving(result.transform, points) - truth, axis=1).mean(),
    )


def test_identical_images_stay_where_they_are():
    image = seen(0)
    result = register(request(image, image, linear="none"))
    assert np.abs(result.transform.field.displacement_lps_mm).max() < 0.1  # a sixteenth of a voxel
    assert np.abs(result.warped.values - image.values).max() < 0.5


@pytest.mark.parametrize("similarity, limit", [("lncc", 0.5), ("mind", 0.8)])
def test_a_known_bump_is_found(similarity, limit):
    true = bump([4.0, -3.0, 2.0])
    result = register(request(seen(true), seen(0), similarity=similarity, linear="none"))
    before, after = error(result, true)
    assert after < limit < before / 2


def test_a_field_coarser_than_the_images_finds_the_same_bump(monkeypatch):
    true = bump([4.0, -3.0, 2.0])
    fine = register(request(seen(true), seen(0), linear="none"))
    monkeypatch.setattr(plan, "LARGE", 1000)
    coarse = register(request(seen(true), seen(0), linear="none"))
    assert coarse.stages[-1].field.grid.size_ijk == (20, 22, 20) and fine.stages[-1].field.grid.size_ijk[0] == 40
    assert coarse.transform.field.grid.same_as(GRID)
    assert error(coarse, true)[1] < error(fine, true)[1] + 0.1
    assert non_diffeomorphic_volume(coarse.transform.field)[0] == 0


@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 7)])
def test_the_search_compares_every_voxel_with_all_that_it_may_move_to(shape):
    torch.manual_seed(0)
    fixed, moving = torch.rand(1, 4, *shape), torch.rand(1, 4, *shape)
    found = search.differences(fixed, moving, 2)
    offsets = list(np.ndindex(*[5] * len(shape)))
    assert found.shape == (len(offsets), *shape)
    own = (fixed[0] ** 2).mean(0)  # the same for every candidate, and left out
    for index in np.ndindex(*shape):
        for number, offset in enumerate(offsets):
            there = tuple(min(max(n + o - 2, 0), size - 1) for n, o, size in zip(index, offset, shape))
            difference = ((fixed[(0, slice(None), *index)] - moving[(0, slice(None), *there)]) ** 2).mean()
            assert float(found[(number, *index)] + own[index]) == pytest.approx(float(difference), abs=1e-5)


def test_a_large_image_is_registered_in_less_memory_and_says_how_it_was_measured(monkeypatch):
    """Every limit that is for large images at once: they change what is kept and looked at, hardly what is found."""
    true = bump([4.0, -3.0, 2.0])
    whole = register(request(seen(true), seen(0), linear="none"))
    monkeypatch.setattr(plan, "LARGE", 1000)
    monkeypatch.setattr(align, "MAX_DENSE_VOXELS", 1000)
    monkeypatch.setattr(measure, "MOST_VOXELS", GRID.voxels // 8)
    monkeypatch.setattr(search, "MAX_CELLS", 200)
    large = register(request(seen(true), seen(0), linear="none"))
    assert len(large.transform.inverse_fields) == len(whole.transform.inverse_fields) == 2
    assert max(field.grid.voxels for field in large.transform.inverse_fields) < GRID.voxels
    assert error(large, true)[1] < error(whole, true)[1] + 0.1
    assert (
        any("similarity was measured on a coarser grid (one voxel in 2 " in note for note in large.notes)
        and not whole.notes
    )
    for name in ("ncc", "mse", "sdlogj", "jacobian_max"):
        assert large.metrics["after"][name] == pytest.approx(whole.metrics["after"][name], rel=0.2, abs=2e-3), name
    assert large.metrics["after"]["inverse_error_mm"] < 0.05
    assert large.jacobian.grid.same_as(GRID) and large.warped.grid.same_as(GRID)
    kept = large.transform.field.grid  # over all of the fixed image, on the voxels on which it was found
    assert np.allclose(kept.spacing_mm, (3.2, 3.2, 3.24)) and kept.size_ijk == (22, 24, 22)
    points = POINTS[4:-4, 4:-4, 4:-4].reshape(-1, 3)  # beyond the image nothing is known
    back = moving_to_fixed(large.transform, fixed_to_moving(large.transform, points))
    assert np.linalg.norm(back - points, axis=1).mean() < 0.05


def test_cells_of_the_search_are_limited_by_their_number_with_thick_slices_too(monkeypatch):
    cells = []
    real = search.coupled_search
    monkeypatch.setattr(search, "MAX_CELLS", 400)
    monkeypatch.setattr(search, "coupled_search", lambda *a: cells.append(a[0].shape[2:]) or real(*a))
    grid = make_grid((64, 60, 20), (1.0, 1.0, 5.0), np.eye(3))
    register(request(seen(0, grid=grid), seen(0, grid=grid), preset="fast", linear="none"))
    assert len(cells) == 2 and 100 < np.prod(cells[0]) <= 500


def test_a_refined_field_begins_at_full_size(monkeypatch):
    """Its coarser scale would throw away what a network found."""
    monkeypatch.setattr(plan, "LARGE", 1000)
    sizes = []
    real = optimizer.optimize_level
    monkeypatch.setattr(
        optimizer, "optimize_level", lambda images, level, *a: sizes.append(level) or real(images, level, *a)
    )
    pair = working_pair(ImagePair(seen(0), seen(bump([2.0, 0, 0]))), np.eye(4), "standard", "lncc")
    optimizer.refine(pair, torch.zeros(1, 3, *pair.grid.shape_kji), 2, Context())
    assert sizes[0].field_size_ijk == sizes[0].size_ijk and sizes[1].field_size_ijk != sizes[1].size_ijk


def blobs(points):
    """Two channels of a structure each, which the images below do not show."""
    centers = np.array([[[6.0, 4, -2]], [[-8.0, -6, 4]]])
    return (3 * np.exp(-((points[None] - centers[:, None, None]) ** 2).sum(-1) / (2 * 5.0**2))).astype(np.float32)


def flat_pair_with_channels(grid, shift_lps_mm, **more):
    """Heads without anything inside, and what is inside them as channels on voxels and axes of their own."""
    far = voxel_centers_lps(grid)
    moved = shift_lps_mm * np.exp(-(far**2).sum(-1) / (2 * 14.0**2))[..., None]
    own = make_grid(tuple(n // 2 if n > 1 else 1 for n in grid.size_ijk), 2 * grid.spacing_mm, np.eye(3))
    points = voxel_centers_lps(own)
    of_fixed = blobs(points + shift_lps_mm * np.exp(-(points**2).sum(-1) / (2 * 14.0**2))[..., None])
    turned = Grid(own.size_ijk, own.ijk_to_lps @ [[-1, 0, 0, own.size_ijk[0] - 1], *np.eye(4)[1:]])
    channels = Channels(of_fixed, blobs(points)[..., ::-1], own, turned)
    flat = [Image(np.minimum(seen(u, grid=grid).values, 30), grid, "flat") for u in (moved, 0)]
    return ImagePair(*flat, channels=channels, **more), moved


def error_inside(found, moved, grid):
    """Mean distance to the true displacement where the channels show something, mm."""
    points = voxel_centers_lps(grid)
    inside = blobs(points).max(0) > 1
    return np.linalg.norm(displacement_at(found, points[inside]) - moved[inside], axis=1).mean()


@pytest.mark.parametrize("size, coarse", [((40, 44, 36), False), ((40, 44, 36), True), ((40, 44, 1), False)])
def test_channels_bring_together_what_the_intensities_do_not_show(size, coarse, monkeypatch):
    if coarse:
        monkeypatch.setattr(plan, "LARGE", 1000)
    grid = make_grid(size, (1.6, 1.6, 1.8), np.eye(3))
    pair, moved = flat_pair_with_channels(grid, np.array([3.0, -2.0, 0.0]))
    without = dataclasses.replace(pair, channels=None)
    errors = []
    for one in (without, pair):
        work = working_pair(one, np.eye(4), "standard", "lncc")
        outcome = optimizer.optimize(work, PRESET_SETTINGS["standard"], Context())
        errors.append(error_inside(outcome.displacement, moved, grid))
        assert outcome.displacement.displacement_lps_mm[..., 2].any() == (size[2] > 1)
    assert errors[1] < 0.6 * errors[0], errors


def test_channels_of_no_weight_change_no_bit():
    pair, _ = flat_pair_with_channels(GRID, np.array([3.0, -2.0, 0.0]))
    off = dataclasses.replace(PRESET_SETTINGS["fast"], structure_weight=0.0)
    fields = [
        optimizer.optimize(working_pair(one, np.eye(4), "fast", "lncc"), settings, Context(preset="fast")).displacement
        for one, settings in ((dataclasses.replace(pair, channels=None), PRESET_SETTINGS["fast"]), (pair, off))
    ]
    assert np.array_equal(fields[0].displacement_lps_mm, fields[1].displacement_lps_mm)


def test_a_refinement_uses_the_channels():
    pair, moved = flat_pair_with_channels(GRID, np.array([3.0, -2.0, 0.0]))
    errors = []
    for one in (dataclasses.replace(pair, channels=None), pair):
        work = working_pair(one, np.eye(4), "standard", "lncc")
        start = torch.zeros(1, 3, *work.grid.shape_kji)
        errors.append(error_inside(optimizer.refine(work, start, 20, Context()).displacement, moved, GRID))
    assert errors[1] < 0.6 * errors[0], errors


def test_the_pull_of_channels_is_the_derivative_of_their_loss():
    """Between voxels of the level and of the channels, which are larger here."""
    pair, _ = flat_pair_with_channels(GRID, np.array([3.0, -2.0, 0.0]))
    work = working_pair(pair, np.eye(4), "standard", "lncc")
    term = ChannelTerm(Images(work, torch.device("cpu")), work.grid, work.grid, 5.0)
    towards = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, *work.grid.shape_kji))).float()
    towards = gaussian(towards, [4.0] * 3)
    zero = torch.zeros_like(towards)
    value, pull = term(zero)
    step = 0.2 / float(towards.abs().max())
    expected = (term(step * towards)[0] - term(-step * towards)[0]) / (2 * step)
    # a displacement is in voxels of the level, the pull per finest voxel: the third axis is longer
    per_voxel = towards * torch.tensor([1.0, 1.0, 1.8 / 1.6]).view(1, 3, 1, 1, 1)
    on_own = torch.nn.functional.interpolate(per_voxel, size=pull.shape[2:], mode="trilinear")
    assert value > 0
    assert float((pull * on_own).sum()) / pull[0, 0].numel() == pytest.approx(expected, rel=0.1)


def test_another_contrast_is_recognized_and_registered():
    true = bump([4.0, -3.0, 2.0])
    inverted = seen(0, lambda v: 110 - v)
    result = register(request(seen(true), inverted, linear="none", similarity="auto"))
    assert result.provenance["similarity"] == "ngf-mind"
    before, after = error(result, true)
    assert after < before / 2


def test_impossible_pair_does_not_fold_and_has_an_inverse():
    """Pure noise against the head: the deformation is meaningless, but it is a deformation."""
    noise = Image(np.random.default_rng(3).random(GRID.shape_kji).astype(np.float32) * 100, GRID, "noise")
    result = register(request(seen(0), noise, preset="thorough", similarity="lncc", linear="none"))
    assert jacobian_of_field(result.transform.field).min() > 0
    assert non_diffeomorphic_volume(result.transform.field)[0] < 0.01


def test_masks_decide_what_counts():
    """Outside the fixed mask another displacement is true; only the masked half is matched."""
    true = np.zeros((*GRID.shape_kji, 3))
    upper = POINTS[..., 2] > 0
    true[..., 0] = np.where(upper, 3.0, -3.0)
    pair = seen(true), seen(0)
    mask = Image(upper.astype(np.uint8), GRID)
    result = register(request(*pair, fixed_mask=mask, linear="none"))
    inner = upper & (pair[0].values > 40) & (POINTS[..., 2] > 6)
    moved = fixed_to_moving(result.transform, POINTS[inner])
    assert np.linalg.norm(moved - (POINTS + true)[inner], axis=1).mean() < 0.7


def test_thick_slices_and_a_single_slice():
    thick = make_grid((44, 48, 12), (1.5, 1.5, 5.0), np.eye(3))
    shift = np.array([2.0, 1.5, 0.0])
    result = register(request(seen(shift, grid=thick), seen(0, grid=thick), linear="none"))
    head = result.fixed.values > 40
    points = voxel_centers_lps(thick)[head]
    assert np.linalg.norm(fixed_to_moving(result.transform, points) - points - shift, axis=1).mean() < 0.7

    for axis in range(3):  # a slice stacked along any axis
        size, spacing = [44, 44, 44], [1.5, 1.5, 1.5]
        size[axis] = 1
        flat = make_grid(size, spacing, np.eye(3))
        shift = np.array([2.0, -1.5, 1.8])
        shift[axis] = 0
        result = register(request(seen(shift, grid=flat), seen(0, grid=flat), linear="none"))
        head = result.fixed.values > 40
        points = voxel_centers_lps(flat)[head]
        moved = fixed_to_moving(result.transform, points) - points
        assert np.abs(moved[:, axis]).max() < 1e-6
        assert np.linalg.norm(moved - shift, axis=1).mean() < 0.7


@pytest.mark.parametrize("shape", [(6, 7, 8), (9, 8)])
def test_min_jacobian_equals_the_eight_determinants(shape):
    torch.manual_seed(0)
    n = len(shape)
    u = torch.rand(1, n, *shape) * 0.9
    ours = min_jacobian(u)[0, 0].numpy()
    place = np.moveaxis(u[0].numpy() + np.indices(shape)[::-1], 0, -1)  # (k, j, i, n)
    for index in np.ndindex(*[size - 2 for size in shape]):
        at = tuple(np.array(index) + 1)
        found = []
        for signs in np.ndindex(*[2] * n):
            columns = []
            for c in range(n):
                step = np.zeros(n, int)
                step[n - 1 - c] = 1 if signs[c] else -1
                columns.append((place[tuple(np.array(at) + step)] - place[at]) * (1 if signs[c] else -1))
            found.append(np.linalg.det(np.stack(columns, 1)))
        assert ours[at] == pytest.approx(min(found), abs=1e-5)


def test_stages_are_kept_in_order_with_their_fields():
    result = register(request(seen(bump([3.0, 0, 0])), seen(0), preset="fast", linear="none"))
    names = [stage.name for stage in result.stages]
    assert names[:2] == ["linear", "search"] and names[-1] == "scale 1/2" and len(names) == len(set(names))
    for stage in result.stages[2:]:
        assert stage.field is not None and len(stage.curve) > 5
        assert stage.curve[-1] < stage.curve[0]
    last = result.stages[-1].field
    assert apply_matrix(last.grid.ijk_to_lps, np.zeros((1, 3))).shape == (1, 3)


def test_the_run_can_be_stopped_at_any_report():
    pair = seen(bump([3.0, 0, 0])), seen(0)
    reports = []
    register(request(*pair, preset="fast", linear="none"), reports.append)
    fractions = [progress.fraction for progress in reports]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert len({progress.stage for progress in reports}) >= 5
    for stop in range(0, len(reports), max(1, len(reports) // 6)):
        seen_so_far = []

        def tell(progress, stop=stop, seen_so_far=seen_so_far):
            seen_so_far.append(progress)
            if len(seen_so_far) > stop:
                raise Canceled

        with pytest.raises(Canceled):
            register(request(*pair, preset="fast", linear="none"), tell)
        assert len(seen_so_far) == stop + 1


def test_the_same_request_gives_the_same_field():
    pair = seen(bump([3.0, 0, 0])), seen(0)
    first, second = (register(request(*pair, preset="fast", linear="none")).transform.field for _ in range(2))
    assert (first.displacement_lps_mm == second.displacement_lps_mm).all()


def test_storage_orientation_does_not_matter():
    """The same moving image stored with its first axis reversed gives the same transform."""
    true = bump([3.0, -2.0, 1.0])
    fixed, moving = seen(true), seen(0)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = GRID.size_ijk[0] - 1
    turned = Image(moving.values[:, :, ::-1].copy(), Grid(GRID.size_ijk, GRID.ijk_to_lps @ flip), "turned")
    first, second = (register(request(fixed, m, preset="fast", linear="none")).transform for m in (moving, turned))
    head = POINTS[fixed.values > 30]  # elsewhere nothing but rounding decides
    assert np.abs(fixed_to_moving(first, head) - fixed_to_moving(second, head)).max() < 0.05


def test_search_finds_motion_beyond_the_reach_of_gradients():
    """Bright balls far apart: without the search the gradient sees nothing to follow."""

    def ball(center):
        return np.exp(-((POINTS - center) ** 2).sum(-1) / (2 * 4.0**2)) * 100

    fixed = Image((ball([8.0, 0, 0]) + 0.6 * ball([-14.0, 12, 0])).astype(np.float32), GRID, "fixed")
    moving = Image((ball([-6.0, 0, 0]) + 0.6 * ball([-14.0, 12, 0])).astype(np.float32), GRID, "moving")
    pair = working_pair(ImagePair(fixed, moving), np.eye(4), "fast", "mind")
    center = np.array([[8.0, 0, 0]])
    outcome = optimizer.optimize(pair, PRESET_SETTINGS["fast"], Context(preset="fast"))
    assert float(displacement_at(outcome.displacement, center)[0, 0]) < -9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    true = bump([4.0, -3.0, 2.0])
    pair = seen(true), seen(0)
    results = [register(request(*pair, linear="none", device=device)) for device in ("cpu", "cuda")]
    fields = [result.transform.field.displacement_lps_mm for result in results]
    assert np.abs(fields[0] - fields[1]).mean() < 0.05
    assert error(results[1], true)[1] < 0.5


def test_plan_has_coarse_to_fine_levels_and_a_limit():
    levels = plan.levels(make_grid((160, 192, 224), (1, 1, 1), np.eye(3)), "standard")
    assert [level.size_ijk for level in levels] == [(20, 24, 28), (40, 48, 56), (80, 96, 112), (160, 192, 224)]
    huge = plan.levels(make_grid((512, 512, 512), (0.5, 0.5, 0.5), np.eye(3)), "standard")
    assert np.prod(huge[-1].size_ijk) <= RESOLUTIONS["standard"].max_voxels
    thick = plan.levels(make_grid((64, 64, 10), (1, 1, 5), np.eye(3)), "standard")
    assert thick[1].size_ijk == (16, 16, 10)  # 4 mm voxels: the slices of 5 mm are kept
