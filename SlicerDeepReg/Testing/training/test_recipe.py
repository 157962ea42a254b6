"""Images as the recipe wants them, kept once; and batches made of them."""

import numpy as np
import pytest
import torch
from helpers.geometry import make_grid
from helpers.scans import VOLUME, folder_of_scans, scan
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.geometry.grids import oriented, with_voxels
from SlicerDeepRegLib.preparation.resample import resample
from SlicerDeepRegLib.preparation.working import working_pair
from SlicerDeepRegLib.training.augment import AUGMENTATIONS, augmented
from SlicerDeepRegLib.training.dataset.index import DatasetIndex, Pair, Subject
from SlicerDeepRegLib.training.dataset.pairs import make_pairs
from SlicerDeepRegLib.training.dataset.read import read_dataset_index
from SlicerDeepRegLib.training.dataset.splits import with_splits
from SlicerDeepRegLib.training.recipe import prepare_subjects
from SlicerDeepRegLib.training.sources import PairSource
from SlicerDeepRegLib.types import Image, ImagePair, InputError

UNIT = {"intensity": "unit", "voxel_mm": None, "orientation": None}
CPU = torch.device("cpu")


def prepared(folder, cache, size_ijk=None, skip=False, **recipe):
    return prepare_subjects(read_dataset_index(folder), {**UNIT, **recipe}, size_ijk, cache, skip)


def test_arrays_are_those_that_a_registration_would_give_the_network(tmp_path, plain_case):
    """An oblique, anisotropic volume at the recipe's voxels and orientation: the same numbers as in ``prepare``."""
    write_image(plain_case.fixed, tmp_path / "a.nii.gz")
    found, _ = prepared(tmp_path, tmp_path / "cache", voxel_mm=3.0, orientation="ARS")
    trained = found["a"].array("image").astype(np.float32)
    fixed = plain_case.fixed
    working = working_pair(ImagePair(fixed, fixed), np.eye(4), "standard", "lncc", voxel_mm=3.0, orientation="ARS")
    assert found["a"].orientation == "ARS" and working.fixed.max() > 0.9
    # One is cut to the content: find it in the other by its best place.
    whole = with_voxels(oriented(fixed.grid, "ARS"), 3.0)
    seen = resample(Image(trained, whole, "trained"), working.grid)
    assert np.corrcoef(seen.ravel(), working.fixed.ravel())[0, 1] > 0.99
    assert np.abs(seen - working.fixed).mean() < 0.02


def test_sizes_are_cut_and_padded_around_the_content(tmp_path):
    grid = make_grid((30, 26, 24), (1, 1, 1), np.eye(3), (0, 0, 0))
    values = np.zeros(grid.shape_kji, np.float32)
    values[12:20, 4:12, 18:26] = np.arange(8, dtype=np.float32)[:, None, None] + 1
    write_image(Image(values, grid), tmp_path / "a.nii.gz")
    found, _ = prepared(tmp_path, tmp_path / "cache", size_ijk=(16, 40, 16))
    image = found["a"].array("image")
    assert image.shape == (16, 40, 16) == found["a"].shape
    assert (image > 0).sum() == 512 and (image[4:12, :, 4:12] > 0).sum() == 512  # in the middle along k and i
    with pytest.raises(InputError, match="3 axes and --size has 2 numbers"):
        prepared(tmp_path, tmp_path / "cache", size_ijk=(16, 16))


def test_what_was_prepared_is_kept_until_file_or_recipe_change(tmp_path):
    folder_of_scans(tmp_path / "scans", 2)
    found, _ = prepared(tmp_path / "scans", tmp_path / "cache")
    stamp = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    assert set(found["sub-00"].arrays) == {"image", "labels"} and found["sub-00"].array("image").dtype == np.float16
    again, _ = prepared(tmp_path / "scans", tmp_path / "cache")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == stamp and again == found
    image, _ = scan(7)
    write_image(image, tmp_path / "scans" / "sub-00.nii.gz")
    changed, _ = prepared(tmp_path / "scans", tmp_path / "cache")
    assert changed["sub-00"].base != found["sub-00"].base and changed["sub-01"] == found["sub-01"]
    other, _ = prepared(tmp_path / "scans", tmp_path / "cache", voxel_mm=2.0)
    assert other["sub-01"].shape == (16, 20)


def test_images_that_do_not_fit_are_named_and_stop_or_are_skipped(tmp_path):
    scans = folder_of_scans(tmp_path / "scans", 3)
    (scans / "sub-03.nii.gz").write_bytes(b"no image at all")
    image, _ = scan(4, shape=(32, 44))
    write_image(image, scans / "sub-04.nii.gz")
    image, labels = scan(5)
    write_image(image, scans / "sub-05.nii.gz")
    write_image(scan(4, shape=(32, 44))[1], scans / "sub-05_seg.nii.gz")
    with pytest.raises(InputError, match="sub-03.nii.gz.*--on-bad-image skip"):
        prepared(scans, tmp_path / "cache")
    found, left_out = prepared(scans, tmp_path / "cache", skip=True)
    assert sorted(found) == ["sub-00", "sub-01", "sub-02"]
    text = "\n".join(left_out)
    assert "sub-03" in text and "sub-04 has 44 x 32 voxels" in text and "most others have 40 x 32" in text
    assert "sub-05_seg.nii.gz is not on the voxel grid of the image" in text
    (scans / "sub-03.nii.gz").unlink()
    (scans / "sub-05.nii.gz").unlink()
    (scans / "sub-05_seg.nii.gz").unlink()
    with pytest.raises(InputError, match="sub-04 has 44 x 32"):
        prepared(scans, tmp_path / "cache")


def test_orientations_that_differ_are_named(tmp_path):
    image, _ = scan(0, VOLUME)
    for number in range(3):
        grid = image.grid if number else oriented(image.grid, "RAS")
        write_image(Image(image.values, grid), tmp_path / f"{number}.nii.gz")
    with pytest.raises(InputError, match="0 has .* in RAS; most others have .* in LPS"):
        prepared(tmp_path, tmp_path / "cache")
    found, _ = prepared(tmp_path, tmp_path / "cache", orientation="LPS")
    flipped = found["0"].array("image")[:, ::-1, ::-1]
    assert np.abs(flipped - found["1"].array("image")).max() < 1e-3


@pytest.fixture
def source(tmp_path):
    def build(pairing="all", count=4, **more):
        scans = folder_of_scans(tmp_path / "scans", count)
        found, _ = prepared(scans, tmp_path / "cache")
        index, _ = with_splits(read_dataset_index(scans), 0, 0)
        groups = dict.fromkeys(found)
        return PairSource(make_pairs(index, pairing, "train"), found, 0, pairing == "random", groups, **more)

    return build


def test_an_epoch_has_every_pair_once_in_a_new_order(source):
    all_pairs = source()
    names = [all_pairs.names([n])[0] for n in range(24)]
    assert len(set(names[:12])) == 12 and set(names[:12]) == set(names[12:]) and names[:12] != names[12:]
    redrawn = source("random")
    epochs = [sorted(redrawn.names([n])[0] for n in range(4 * e, 4 * e + 4)) for e in range(6)]
    assert all(len({name.split(" to ")[1] for name in epoch}) == 4 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1  # the moving images change
    assert all(len(set(name.split(" to "))) == 2 for epoch in epochs for name in epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_follows_from_its_positions(source, workers):
    locations = [[3, 4], [5, 6]]
    made = source(augment="strong", mirrored_axes=(0,), workers=workers)
    first = list(made.batches(locations, CPU))
    again = list(source(augment="strong", mirrored_axes=(0,)).batches(locations[1:], CPU))
    for name in ("moving", "fixed", "moving_labels", "fixed_labels"):
        assert torch.equal(first[1][name], again[0][name]), name
    assert first[0]["moving"].shape == (2, 1, 32, 40) and first[0]["moving"].dtype == torch.float32


def test_augmentation_moves_images_and_labels_together():
    torch.manual_seed(0)
    blob = torch.zeros(1, 1, 48, 48)
    blob[..., 14:30, 20:40] = 1
    batch = {"moving": blob, "fixed": blob, "moving_labels": blob.long(), "fixed_labels": blob.long()}
    changed = augmented({k: torch.cat([v] * 6) for k, v in batch.items()}, range(6), "strong")
    for side in ("moving", "fixed"):
        both = (changed[f"{side}_labels"] > 0) == (changed[side] > 0.3)
        assert both.float().mean() > 0.97
    moved = (changed["fixed_labels"] != batch["fixed_labels"]).flatten(1).any(1)
    apart = (changed["fixed_labels"] != changed["moving_labels"]).flatten(1).any(1)
    assert moved.all() and apart.any()
    assert augmented(batch, [0], "none") is batch
    mirrored = [augmented(batch, [seed], "none", (0,))["fixed"] for seed in range(12)]
    kinds = {bool(torch.equal(one, blob)) for one in mirrored}
    assert kinds == {True, False} and all(torch.equal(m, blob) or torch.equal(m, blob.flip(-1)) for m in mirrored)
    assert set(AUGMENTATIONS) == {"none", "light", "strong"}


def test_moving_images_get_the_intensities_of_the_fixed_one(tmp_path):
    """As a registration does it; a mask and missing labels go with their image."""
    image, labels = scan(0, shape=(64, 72))
    darker = Image((image.values**1.7).astype(np.float32), image.grid, "darker", 2)
    mask = Image((image.values > 300).astype(np.uint8), image.grid, "mask", 2)
    for name, what in (("a", image), ("b", darker), ("b_mask", mask), ("a_seg", labels)):
        write_image(what, tmp_path / f"{name}.nii.gz")
    found, _ = prepared(tmp_path, tmp_path / "cache")
    source = PairSource([Pair("a", "b")], found, 0)
    (batch,) = source.batches([[0]], CPU)
    plain = torch.from_numpy(found["a"].array("image").astype(np.float32))
    before, after = ((t - batch["fixed"][0, 0]).abs().mean() for t in (plain, batch["moving"][0, 0]))
    assert after < 0.3 * before
    assert 0 < batch["inside"].mean() < 1 and batch["moving_labels"].any() and not batch["fixed_labels"].any()


def test_voxels_of_one_size_may_differ_by_what_whole_numbers_leave(tmp_path):
    for number, length in enumerate((40, 41, 43)):
        image, _ = scan(number, (length, 36))
        write_image(image, tmp_path / f"{number}.nii.gz")
    found, left_out = prepared(tmp_path, tmp_path / "cache", size_ijk=(16, 16), voxel_mm=2.0)
    assert len(found) == 3 and not left_out and all(one.cropped for one in found.values())


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_images(tmp_path, monkeypatch):
    folder_of_scans(tmp_path / "scans", 2)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cache .* cannot be made"):
        prepared(tmp_path / "scans", tmp_path / "file")

    def full(stream, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="No space left.*--cache DIR"):
        prepared(tmp_path / "scans", tmp_path / "cache", skip=True)
    assert not list((tmp_path / "cache").iterdir())


def test_a_file_is_not_taken_for_another_with_the_same_part(tmp_path):
    """The same files as labels and as mask, a broken link, and the data beside a header."""
    image, labels = scan(0)
    write_image(image, tmp_path / "a.mhd")
    write_image(labels, tmp_path / "x.nii.gz")
    as_labels = DatasetIndex({"a": Subject("a", tmp_path / "a.mhd", labels=tmp_path / "x.nii.gz")})
    as_mask = DatasetIndex({"a": Subject("a", tmp_path / "a.mhd", mask=tmp_path / "x.nii.gz")})
    first, second = (prepare_subjects(one, UNIT, None, tmp_path / "c", False)[0]["a"] for one in (as_labels, as_mask))
    assert "labels" in first.arrays and "mask" in second.arrays and "labels" not in second.arrays
    write_image(scan(3)[0], tmp_path / "a.mhd")
    (data,) = tmp_path.glob("a.*raw")
    third = prepare_subjects(as_labels, UNIT, None, tmp_path / "c", False)[0]["a"]
    assert data.exists() and third.base != first.base
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    broken = DatasetIndex({"b": Subject("b", tmp_path / "b.nii.gz")})
    with pytest.raises(InputError, match="b: .* cannot be read"):
        prepare_subjects(broken, UNIT, None, tmp_path / "c", False)
