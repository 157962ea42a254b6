"""Label maps of any orientation and pose come to one frame; what is no label map of a whole brain is refused."""

import functools
import os

import numpy as np
import pytest
import torch
from helpers.heads import POSES, folder_of_heads, head
from SlicerDeepRegLib.anatomy import MERGED, STRUCTURE_BY_NUMBER, STRUCTURES, TISSUES
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.training.label_maps.frame import (
    MIRRORED,
    SURROUNDINGS,
    centers_of,
    classes_of,
    prepare_label_maps,
)
from SlicerDeepRegLib.training.label_maps.paint import Head, frame_positions
from SlicerDeepRegLib.types import Grid, Image, InputError

CPU = torch.device("cpu")


@functools.lru_cache
def plain(person):
    """A person in the usual pose."""
    return head(person)


def centers_in_frame(one):
    return centers_of(one.classes, np.linalg.inv(one.frame_to_ijk))


def test_the_32_structures_are_a_body_with_two_sides():
    assert len(STRUCTURES) == 32 and [s.number for s in STRUCTURES] == sorted(STRUCTURE_BY_NUMBER)
    for one in STRUCTURES:
        other = STRUCTURE_BY_NUMBER[one.mirror]
        assert other.mirror == one.number and other.tissue == one.tissue in TISSUES
        assert (one.name.replace("left", "right") == other.name) or one.name.startswith("right")
    assert len({s.name for s in STRUCTURES}) == 32 and sum(s.mirror == s.number for s in STRUCTURES) == 4
    assert all(whole in STRUCTURE_BY_NUMBER for parts in MERGED.values() for whole in parts)
    assert not set(MERGED) & set(STRUCTURE_BY_NUMBER)


def test_one_person_in_any_pose_comes_to_one_place(tmp_path):
    for number, pose in enumerate(POSES):
        write_image(head(1, **pose), tmp_path / f"{number}.nii.gz")
    maps = prepare_label_maps(tmp_path, tmp_path / "cache")
    centers = [centers_in_frame(one) for one in maps]
    assert all(one.residual_mm < 0.7 and one.whole_head for one in maps)
    thin = {5, 44, 14}  # two voxels or fewer
    for number in set(centers[0]) - thin:
        places = np.array([each[number] for each in centers])
        assert np.abs(places - places.mean(0)).max() < 1, STRUCTURE_BY_NUMBER[number].name
        if STRUCTURE_BY_NUMBER[number].name.startswith("left"):
            assert (places[:, 0] > 0).all()
    assert all(abs(np.mean([center[0] for center in each.values()])) < 0.2 for each in centers)  # x = 0: the midplane
    assert np.abs(np.mean([list(each.values()) for each in centers], (0, 1))).max() < 0.1
    positions = frame_positions((40, 48, 40), 4.0, CPU)
    seen = [Head.of(one, CPU).at(positions) for one in maps]
    brain = (seen[0] > 0) & (seen[0] < SURROUNDINGS)
    for other in seen[1:]:
        assert (other == seen[0])[brain].float().mean() > 0.85  # but for borders, with voxels of 4 and 5 mm


def test_what_was_prepared_is_kept_until_a_file_changes(heads, tmp_path):
    said = []
    again = prepare_label_maps(heads.folder, heads.cache, said.append)
    assert not said and [one.name for one in again] == ["head-0.nii.gz", "head-1.nii.gz", "head-2.nii.gz"]
    for one, other in zip(again, heads.maps):
        assert np.array_equal(one.classes, other.classes) and np.array_equal(one.frame_to_ijk, other.frame_to_ijk)
        assert one.whole_head == other.whole_head and one.residual_mm == other.residual_mm
    folder = folder_of_heads(tmp_path / "maps", 2)
    prepare_label_maps(folder, tmp_path / "cache")
    before = (folder / "head-1.nii.gz").stat()
    os.utime(folder / "head-1.nii.gz", ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
    prepare_label_maps(folder, tmp_path / "cache", said.append)
    assert len(said) == 2 and not list((tmp_path / "cache").glob(".unfinished*"))


def test_heads_without_surroundings_are_known(tmp_path):
    folder = folder_of_heads(tmp_path / "maps", 2, whole_head=False)
    maps = prepare_label_maps(folder, tmp_path / "cache")
    assert not any(one.whole_head for one in maps) and max(one.classes.max() for one in maps) < SURROUNDINGS


def test_parts_are_joined_and_split_between_the_sides():
    """Choroid plexus to its ventricle; the corpus callosum to the white matter that is nearer; no number is lost."""
    image = plain(0)
    values = image.values.copy()
    k, j, i = np.indices(values.shape)
    left = image.grid.ijk_to_lps[0, 0] * i + image.grid.ijk_to_lps[0, 3] > 0
    white, fluid = np.isin(values, (2, 41)), values == 4
    bridge = white & (np.abs(i - values.shape[2] / 2) < 4)
    values[bridge] = 251
    values[fluid & (j % 2 == 0)] = 31
    classes = classes_of(Image(values, image.grid), "head")
    usual = classes_of(image, "head")
    place = {s.number: n for n, s in enumerate(STRUCTURES, start=1)}
    assert bridge.any() and (classes[bridge] == np.where(left, place[2], place[41])[bridge]).mean() > 0.95
    assert np.array_equal(classes[fluid], usual[fluid])
    assert set(np.unique(usual)) == set(range(SURROUNDINGS + 2))  # nothing, 32 structures, skull and skin
    assert all(MIRRORED[MIRRORED[n]] == n for n in range(SURROUNDINGS))


# ------------------------------------------------------------------------------------------ what is refused


def changed(image, **numbers):
    """The label map with numbers exchanged: old=new, with n before each."""
    values = image.values.astype(np.float32)
    for old, new in numbers.items():
        values[image.values == int(old[1:])] = new
    return Image(values, image.grid)


def sides_exchanged(image):
    values = image.values.copy()
    for one in STRUCTURES:
        values[image.values == one.number] = one.mirror
    return Image(values, image.grid)


def upside_down(image):
    """Its header calls up what is down."""
    matrix = np.array(image.grid.ijk_to_lps)
    matrix[2] *= -1
    return Image(image.values, Grid(image.grid.size_ijk, matrix))


def shuffled(image):
    """Each structure is where another one should be."""
    values, numbers = image.values.copy(), [s.number for s in STRUCTURES if s.name.startswith("left")]
    for own, other in zip(numbers, np.random.default_rng(0).permutation(numbers)):
        values[image.values == own] = other
        values[image.values == STRUCTURE_BY_NUMBER[own].mirror] = STRUCTURE_BY_NUMBER[other].mirror
    return Image(values, image.grid)


def only(image, numbers):
    return Image(np.where(np.isin(image.values, numbers), image.values, 0), image.grid)


def slab(image):
    """Three slices through the nuclei."""
    middle = round((-6 - image.grid.ijk_to_lps[2, 3]) / image.grid.ijk_to_lps[2, 2])
    matrix = np.array(image.grid.ijk_to_lps)
    matrix[2, 3] += (middle - 1) * matrix[2, 2]
    values = np.ascontiguousarray(image.values[middle - 1 : middle + 2])
    return Image(values, Grid((*image.grid.size_ijk[:2], 3), matrix))


#: The structures of one side alone, and two sets that have nothing in common.
LEFT = [s.number for s in STRUCTURES if s.name.startswith("left") or s.number in (14, 15, 16)]
SOME, OTHERS = ([s.number for s in STRUCTURES if {s.number, s.mirror} & set(n)] for n in (range(10, 19), range(4, 9)))
OTHERS += [26, 58, 28, 60]


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda im: changed(im, n10=1035, n49=-3), "b.nii.gz has label numbers that are none of .*: -3, 1035"),
        (lambda im: changed(im, n10=10.5), "b.nii.gz has values other than whole numbers"),
        (lambda im: changed(im, n10=np.inf), "b.nii.gz has values other than whole numbers"),
        (lambda im: changed(im, n10=np.nan), "b.nii.gz has values other than whole numbers"),
        (sides_exchanged, "b.nii.gz has its sides exchanged"),
        (upside_down, "b.nii.gz and a.nii.gz are mirror images of each other"),
        (shuffled, "b.nii.gz does not lie over the others|a.nii.gz does not lie over the others"),
        (lambda im: only(im, [2, 3, 4, 10, 11, 41, 42, 43, 49, 50]), "b.nii.gz has 6 of the 27 compact structures"),
        (lambda im: only(im, []), "b.nii.gz has 0 of the 27"),
        (slab, "b.nii.gz is a slice or a slab"),
        (lambda im: only(im, LEFT), "b.nii.gz has 0 compact structures on both sides, and 4"),
    ],
    ids="unknown fraction infinite nan sides flipped shuffled few empty slab half".split(),
)
def test_what_is_no_label_map_of_a_brain_is_refused(tmp_path, spoil, message):
    write_image(plain(0), tmp_path / "a.nii.gz")
    write_image(spoil(plain(1)), tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=message) as refused:
        prepare_label_maps(tmp_path, tmp_path / "cache")
    assert "\n" not in str(refused.value) and not list(tmp_path.glob("cache/*"))


def test_maps_with_too_little_in_common_are_refused(tmp_path):
    write_image(only(plain(0), SOME), tmp_path / "a.nii.gz")
    write_image(only(plain(1), OTHERS), tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match="b.nii.gz and a.nii.gz have 0 compact structures in common, and 8"):
        prepare_label_maps(tmp_path, tmp_path / "cache")


def test_a_structure_of_one_side_alone_does_no_harm(tmp_path):
    """As after an operation; here in all maps."""
    missing = 54
    for person in (0, 1):
        kept = [s.number for s in STRUCTURES if s.number != missing]
        write_image(only(plain(person), kept), tmp_path / f"{person}.nii.gz")
    for one in prepare_label_maps(tmp_path, tmp_path / "cache"):
        centers = centers_in_frame(one)
        assert one.residual_mm < 3 and missing not in centers and abs(centers[14][0]) < 0.5


def test_folders_that_make_no_pairs_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read .No such file"):
        prepare_label_maps(tmp_path / "nowhere", tmp_path / "cache")
    folder = folder_of_heads(tmp_path / "maps", 1)
    (folder / "._head-0.nii.gz").write_bytes(b"what macOS leaves beside files")
    (folder / "notes.txt").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="contains 1 label map .*two people are the fewest"):
        prepare_label_maps(folder, tmp_path / "cache")
    (folder / "other.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="label map .*other.nii.gz"):
        prepare_label_maps(folder, tmp_path / "cache")
    (folder / "aseg.mgz").write_bytes(b"")
    with pytest.raises(InputError, match="aseg.mgz is in FreeSurfer's own format.*mri_convert aseg.mgz aseg.nii.gz"):
        prepare_label_maps(folder, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_to_is_said(tmp_path):
    folder = folder_of_heads(tmp_path / "maps", 2)
    (tmp_path / "cache").write_text("a file in its place", encoding="utf-8")
    with pytest.raises(InputError, match="prepared label maps could not be written to .*--cache DIR"):
        prepare_label_maps(folder, tmp_path / "cache")
