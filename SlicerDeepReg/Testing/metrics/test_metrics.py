import numpy as np
import pytest
import scipy.ndimage
import surface_distance
from helpers.geometry import OBLIQUE, make_grid
from helpers.images import smooth_field
from skimage.metrics import normalized_mutual_information, structural_similarity
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field, jacobian_of_transform, non_diffeomorphic_volume
from SlicerDeepRegLib.metrics import METRICS, measure
from SlicerDeepRegLib.metrics.intensities import Similarities, similarity_metrics
from SlicerDeepRegLib.metrics.labels import dice_by_label, topology_changes
from SlicerDeepRegLib.metrics.landmarks import target_registration_errors
from SlicerDeepRegLib.metrics.measure import Measurer
from SlicerDeepRegLib.metrics.regularity import inverse_metrics, regularity_metrics
from SlicerDeepRegLib.metrics.surfaces import Surfaces, surface_by_label
from SlicerDeepRegLib.metrics.table import table
from SlicerDeepRegLib.types import Field, Image, Transform


def cube(shift=0, size=30):
    values = np.zeros((size,) * 3, np.int32)
    values[8 + shift : 18 + shift, 8:18, 8:18] = 1
    return values


def test_dice_and_surface_distance_of_a_shifted_cube():
    assert dice_by_label(cube(), cube(2)) == {1: pytest.approx(0.8)}
    distances = surface_by_label(cube(), cube(2), (1.5, 1.0, 1.0))
    assert distances["hd95"][1] == pytest.approx(3.0) and distances["hd"][1] == pytest.approx(3.0)
    assert 0 < distances["assd"][1] < 3.0
    assert surface_by_label(cube(), cube(), (1.0, 1.0, 1.0))["hd95"] == {1: 0.0}


def blobs(seed, shape, labels=4):
    """A label map of smooth structures, some of which touch the border."""
    random = np.random.default_rng(seed)
    fields = scipy.ndimage.gaussian_filter(random.standard_normal((labels, *shape)), (0, *(4,) * len(shape)))
    return np.where(fields.max(0) > 0.02, fields.argmax(0) + 1, 0).astype(np.int32)


@pytest.mark.parametrize("shape", [(30, 36, 32), (50, 60)])
def test_surfaces_are_as_far_apart_as_the_library_of_learn2reg_says(shape):
    spacing = (1.5, 0.8, 1.1)[: len(shape)]
    fixed, others = blobs(0, shape), [blobs(seed, shape) for seed in (1, 2)] + [np.roll(blobs(0, shape), 1, 0)]
    surfaces = Surfaces(fixed, spacing)
    for other in others:  # the second and third use what was kept of the first
        hd95, hd, assd = (surfaces.compare(other)[name] for name in ("hd95", "hd", "assd"))
        assert set(hd95) == {1, 2, 3, 4}
        for label in hd95:
            found = surface_distance.compute_surface_distances(fixed == label, other == label, spacing)
            areas = found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()
            mean = np.average(surface_distance.compute_average_surface_distance(found), weights=areas)
            assert hd95[label] == pytest.approx(surface_distance.compute_robust_hausdorff(found, 95), abs=1e-9)
            assert assd[label] == pytest.approx(mean, abs=1e-9)
            assert hd[label] == pytest.approx(surface_distance.compute_robust_hausdorff(found, 100), abs=1e-9)


@pytest.mark.parametrize("shape", [(20, 24, 22), (1, 30, 40)])
def test_ssim_is_that_of_scikit_image(shape):
    random = np.random.default_rng(0)
    fixed = scipy.ndimage.gaussian_filter(random.random(shape), 1).astype(np.float32)
    mask = np.zeros(shape, bool)
    mask[..., 3:9, 2:15] = True
    similarities = Similarities(fixed, mask)
    for amount in (0.02, 0.1):
        warped = np.clip(fixed + amount * random.standard_normal(shape), 0, 1).astype(np.float32)
        given = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, full=True)
        _, image = structural_similarity(np.squeeze(fixed), np.squeeze(warped), **given)
        assert similarities.metrics(warped)["ssim"] == pytest.approx(image.reshape(shape)[mask].mean(), abs=1e-6)


def test_a_constant_or_far_away_intensity_is_no_obstacle():
    grid = make_grid((14, 13, 12), (1.0, 1.0, 1.0), np.eye(3))
    values = np.random.default_rng(0).normal(size=grid.shape_kji)
    far = Image(values + 1e8, grid)
    measured = Measurer(far, far).metrics(far, None, Transform(np.eye(4)))
    assert measured["ncc"] == pytest.approx(1) and measured["mse"] == 0
    flat = Image(np.full(grid.shape_kji, 7.0), grid)
    assert Measurer(far, flat).metrics(flat, None, Transform(np.eye(4)))["ncc"] is None


def test_mutual_information_is_that_of_scikit_image(monkeypatch):
    monkeypatch.setattr("SlicerDeepRegLib.metrics.intensities._PART", 1000)  # several parts
    random = np.random.default_rng(1)
    fixed, mask = random.random((14, 20, 17), np.float32), random.random((14, 20, 17)) > 0.4
    warped = np.clip(fixed + 0.3 * random.standard_normal(fixed.shape), 0, 1).astype(np.float32)
    expected = normalized_mutual_information(fixed[mask], warped[mask], bins=64)
    measured = similarity_metrics(fixed, warped, mask)
    assert measured["nmi"] == pytest.approx(expected, abs=1e-9)
    assert measured["nmi_unit"] == pytest.approx(2 * (expected - 1) / expected, abs=1e-8)
    alone = similarity_metrics(fixed, fixed, mask)
    assert alone["nmi_unit"] == pytest.approx(1) and alone["nmi"] == pytest.approx(2)


def test_a_label_missing_in_one_map_has_no_metric():
    other = cube()
    other[0, 0, 0] = 5
    assert 5 not in dice_by_label(cube(), other)
    assert 5 not in surface_by_label(cube(), other, (1.0, 1.0, 1.0))["hd95"]


def test_a_structure_of_which_nothing_is_left_counts_as_zero():
    fixed = np.zeros((6, 6, 6), np.int32)
    fixed[:3], fixed[4:] = 1, 2
    moving, warped = fixed.copy(), np.where(fixed == 1, 1, 0)
    assert dice_by_label(fixed, warped) == {1: 1.0}
    assert dice_by_label(fixed, warped, {1, 2}) == {1: 1.0, 2: 0.0}
    assert dice_by_label(fixed, warped, {1, 7}) == {1: 1.0}
    grid = make_grid((6, 6, 6), (1.0, 1.0, 1.0), np.eye(3))
    picture, labels = Image(fixed.astype(np.float32), grid), Image(moving, grid)
    measurer = Measurer(picture, picture, fixed_labels=Image(fixed, grid), moving_labels=labels)
    found = measurer.metrics(picture, Image(warped, grid), Transform(np.eye(4)))
    assert found["dice"] == 0.5 and found["hd95_by_label_mm"].keys() == {1}
    assert measurer.lost(warped) == [2] and measurer.lost(moving) == []


def test_topology_change_sees_a_hole_and_a_second_part():
    holed, split = cube(), cube()
    holed[12, 12, 12] = 0
    split[2, 2, 2] = 1
    assert topology_changes(cube(), cube(3)) == {}
    assert topology_changes(cube(), holed)[1]["parts"] == (1, 1)
    assert topology_changes(cube(), holed)[1]["euler"] != (1, 1)
    assert topology_changes(cube(), split)[1]["parts"] == (1, 2)


def test_similarity_of_equal_and_of_inverted_images():
    image = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    mask = np.ones(image.shape, bool)
    same = similarity_metrics(image, image, mask)
    assert same["ncc"] == pytest.approx(1) and same["ssim"] == pytest.approx(1) and same["mse"] == 0
    assert same["nmi"] == pytest.approx(2)
    inverted = similarity_metrics(image, 1 - image, mask)
    assert inverted["ncc"] == pytest.approx(-1) and inverted["nmi"] == pytest.approx(2, abs=0.05)
    assert similarity_metrics(image, np.zeros_like(image), mask)["ncc"] is None


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, OBLIQUE @ np.diag([1, -1, 1])])
def test_jacobian_of_a_linear_displacement_is_exact_in_any_direction(direction):
    grid = make_grid((9, 10, 11), (1.0, 2.0, 3.0), direction)
    matrix = np.array([[0.1, 0.2, 0.0], [0.0, -0.2, 0.1], [0.05, 0.0, 0.3]])
    from SlicerDeepRegLib.geometry.points import voxel_centers_lps

    field = Field((voxel_centers_lps(grid) @ matrix.T).astype(np.float32), grid)
    expected = np.linalg.det(np.eye(3) + matrix)
    assert np.allclose(jacobian_of_field(field), expected, atol=1e-5)
    assert non_diffeomorphic_volume(field) == (0.0, 0.0)


def test_folding_is_seen_and_its_volume_measured():
    """x -> -x along i over the whole grid: every one of the ten determinants is negative everywhere."""
    grid = make_grid((12, 12, 12), (2.0, 2.0, 2.0), np.eye(3))
    vectors = np.zeros((12, 12, 12, 3), np.float32)
    vectors[..., 0] = -2 * (np.arange(12) * 2.0)  # mm: twice back
    field = Field(vectors, grid)
    assert (jacobian_of_field(field) == -1).all()
    ndv, failing = non_diffeomorphic_volume(field)
    assert failing == 100
    # eight of |J| = 1 and two central tetrahedra of |J| = 2, over 12
    assert ndv == pytest.approx(100 * (8 + 2 * 2) / 12)


def test_digital_criterion_sees_a_fold_that_central_differences_miss():
    """A zigzag: neighbors two apart are in order, direct neighbors are not."""
    grid = make_grid((12, 12, 12), (1.0, 1.0, 1.0), np.eye(3))
    vectors = np.zeros((12, 12, 12, 3), np.float32)
    vectors[..., 0] = np.where(np.arange(12) % 2, 0.6, -0.6)
    field = Field(vectors, grid)
    assert (jacobian_of_field(field)[:, :, 1:-1] > 0).all()
    ndv, failing = non_diffeomorphic_volume(field)
    assert failing > 50 and ndv > 5


def test_digital_criterion_in_a_plane():
    grid = make_grid((12, 12, 1), (1.0, 1.0, 1.0), np.eye(3))
    vectors = np.zeros((1, 12, 12, 3), np.float32)
    assert non_diffeomorphic_volume(Field(vectors, grid)) == (0.0, 0.0)
    vectors[..., 1] = -2 * np.arange(12)[:, None]
    assert non_diffeomorphic_volume(Field(vectors, grid)) == (100.0, 100.0)


def test_regularity_metrics_have_both_definitions_of_sdlogj():
    field = smooth_field(make_grid((20, 20, 20), (2.0, 2.0, 2.0), OBLIQUE))
    mask = np.ones((20, 20, 20), bool)
    metrics = regularity_metrics(field, mask)
    jacobian = jacobian_of_field(field).astype(float)
    assert metrics["sdlogj"] == pytest.approx(np.log(jacobian).std())
    assert metrics["sdlogj_learn2reg"] == pytest.approx(np.log(jacobian + 3).std())
    assert metrics["sdlogj_learn2reg"] < metrics["sdlogj"]
    assert regularity_metrics(None, mask) == {}


@pytest.mark.parametrize("first", [1.1, -1.1])
def test_smallest_jacobian_is_that_of_the_map_with_its_place(first):
    grid = make_grid((20, 20, 20), (2.0, 2.0, 2.0), OBLIQUE)
    transform = Transform(np.diag([first, 1.2, 0.8, 1.0]), smooth_field(grid))
    mask = np.zeros((20, 20, 20), bool)
    mask[3:12, 5:15, 4:9] = True
    jacobian = np.where(mask, jacobian_of_transform(transform), np.inf)
    metrics = regularity_metrics(transform.field, mask, grid, transform.linear_lps)
    assert metrics["jacobian_min"] == pytest.approx(jacobian.min(), abs=1e-6)
    assert metrics["jacobian_max"] == pytest.approx(jacobian[mask].max(), abs=1e-6)
    kji = np.unravel_index(jacobian.argmin(), jacobian.shape)
    np.testing.assert_allclose(metrics["jacobian_min_lps_mm"], (grid.ijk_to_lps @ [*kji[::-1], 1])[:3])


def with_inverse(field):
    """A transform whose inverse is the negated field: wrong by what that is wrong."""
    return Transform(np.eye(4), field, (Field(-field.displacement_lps_mm, field.grid),))


def test_inverse_consistency_error_is_the_distance_after_both_transforms():
    grid = make_grid((20, 22, 24), (1.0, 2.0, 1.5), OBLIQUE)
    mask = np.ones(grid.shape_kji, bool)
    shift = np.broadcast_to(np.float32([1.0, -2.0, 2.0]), (*grid.shape_kji, 3))
    exact = inverse_metrics(with_inverse(Field(shift, grid)), mask)
    assert exact["inverse_error_max_mm"] < 1e-5 and exact["inverse_over_tenth_mm_percent"] == 0
    too_short = Transform(np.eye(4), Field(shift, grid), (Field(-0.9 * shift, grid),))
    assert inverse_metrics(too_short, mask)["inverse_error_mm"] == pytest.approx(0.3, abs=1e-4)
    assert inverse_metrics(too_short, mask)["inverse_over_tenth_mm_percent"] == 100
    assert inverse_metrics(Transform(np.eye(4)), mask) == {}


def test_landmark_error_of_a_shift():
    shift = np.eye(4)
    shift[:3, 3] = [3, 0, 4]
    points = np.random.default_rng(0).random((5, 3))
    assert np.allclose(target_registration_errors(Transform(shift), points, points), 5)


def test_a_fold_of_one_voxel_is_seen_in_a_large_image(monkeypatch):
    """Where the field is as fine as the image, every voxel is looked at; intensities at every second one."""
    monkeypatch.setattr(measure, "MOST_VOXELS", 800)
    grid = make_grid((16, 16, 16), (1.0, 1.0, 1.0), np.eye(3))
    values = np.random.default_rng(0).random(grid.shape_kji).astype(np.float32)
    vectors = np.zeros((*grid.shape_kji, 3), np.float32)
    vectors[7, 7, 7, 0], vectors[7, 7, 8, 0] = 0.9, -0.9
    transform = Transform(np.eye(4), Field(vectors, grid))
    image = Image(values, grid)
    measurer = Measurer(image, image)
    assert measurer.every == 2 and measurer.mask.shape == (8, 8, 8) and not measurer.coarse_enough(transform.field)
    metrics = measurer.metrics(image, None, transform)
    jacobian = Image(jacobian_of_field(transform.field), grid)
    assert metrics["digital_folds_percent"] > 0 and metrics["ncc"] == pytest.approx(1)
    locations = measurer.locations(image, jacobian, transform, metrics)
    assert any(place.kind == "fold" for place in locations)
    coarse = smooth_field(make_grid((8, 8, 8), (2.2, 2.2, 2.2), np.eye(3)))
    assert measurer.coarse_enough(coarse)
    thin = measurer.metrics(image, None, Transform(np.eye(4), coarse))
    whole = regularity_metrics(coarse, measurer.whole_mask, grid)
    assert thin["sdlogj"] == pytest.approx(whole["sdlogj"], rel=0.1) and 0.001 < thin["sdlogj"]
    with pytest.raises(ValueError, match="mask has shape"):
        regularity_metrics(transform.field, measurer.mask)


def test_every_metric_is_named_and_shown_in_the_table():
    grid = make_grid((30, 30, 30), (1.0, 1.0, 1.0), np.eye(3))
    image = Image(np.random.default_rng(0).random((30, 30, 30)).astype(np.float32), grid)
    labels = Image(cube(), grid)
    points = np.array([[0.0, 1.0, 2.0]])
    measurer = Measurer(image, image, None, labels, labels, points, points + [0, 0, 2.0])
    found = measurer.metrics(image, Image(cube(1), grid), with_inverse(smooth_field(grid, 0.5)))
    found.update(measurer.uncertainty(image))
    found.update(guided_dice=0.9, guided_tre_mm=0.1)  # where structures and landmarks guided it; test_guided.py
    unknown = [name for name in found if name not in METRICS and "by_" not in name and not name.endswith("_lps_mm")]
    assert not unknown
    assert set(METRICS) - set(found) == {"epe_voxels"}  # known for synthetic pairs alone; a training measures it
    text = table({"before": {"dice": 0.5}, "after": found})
    for name in found:
        assert name not in METRICS or METRICS[name].title in text
