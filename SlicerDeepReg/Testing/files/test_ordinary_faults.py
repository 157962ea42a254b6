"""Files as they lie on disks of clinics, of which a wrong answer would come without a word."""

import dataclasses
import json

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from helpers.cases import Case
from helpers.geometry import make_grid
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.commands.how import whole_labels
from SlicerDeepRegLib.files.anonymous import without_names
from SlicerDeepRegLib.files.detached import stamps_of
from SlicerDeepRegLib.files.frames import read_frames, write_sequence
from SlicerDeepRegLib.files.images import checksum, place, read_image, to_sitk, write_image
from SlicerDeepRegLib.files.initial import read_initial
from SlicerDeepRegLib.files.segmentations import read_segmentation
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, InputError, Request


def turned(degrees, axis="x"):
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return {"x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])}[axis]


@pytest.mark.parametrize("turn", [turned(60), turned(45), turned(30, "z"), turned(45, "z") @ turned(50), turned(90)])
def test_pixels_of_an_oblique_slice_keep_their_size(tmp_path, turn):
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 4.0])
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 24), np.float32), affine), tmp_path / "slice.nii")
    grid = read_image(tmp_path / "slice.nii").grid
    np.testing.assert_allclose(grid.spacing_mm[:2], [2, 3], atol=1e-5)
    np.testing.assert_allclose(grid.direction.T @ grid.direction, np.eye(3), atol=2e-3)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("mm", 1), ("micron", 0.001)])
def test_qform_and_sform_are_compared_in_millimeters(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(np.zeros((8, 9, 10), np.float32), None)
    for apart_mm, said in ((0.05, False), (90.0, True)):
        sform, qform = np.diag([1 / factor] * 3 + [1]), np.diag([1 / factor] * 3 + [1])
        qform[0, 3] = apart_mm / factor
        image.set_sform(sform, 1)
        image.set_qform(qform, 1)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "two.nii")
        notes = [note for note in read_image(tmp_path / "two.nii").notes if "disagree" in note]
        assert bool(notes) == said and all("by up to 90.0 mm" in note for note in notes)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_series_that_is_cut_short_is_refused(tmp_path, ending):
    values = np.random.default_rng(0).integers(0, 1000, (20, 20, 20, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"whole{ending}")
    frames = read_frames([str(tmp_path / f"whole{ending}")], "frames")
    assert [frame.name for frame in frames] == [f"whole{ending}, frame {n}" for n in range(3)]
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.values, values[..., number].T)
    cut = tmp_path / f"cut{ending}"
    cut.write_bytes((tmp_path / f"whole{ending}").read_bytes()[:-3000])
    with pytest.raises(InputError, match="cut short"):
        read_frames([str(cut)], "frames")


def test_a_series_says_what_is_not_known_of_its_place(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8, 2), np.float32), None), tmp_path / "series.nii")
    for frame in read_frames([str(tmp_path / "series.nii")], "frames"):
        assert any("has no orientation" in note for note in frame.notes)


@pytest.mark.parametrize("labels", [False, True])
def test_a_sequence_of_slicer_is_a_series(tmp_path, labels):
    grid = make_grid((8, 9, 10), (1.0, 2.0, 3.0), turned(30))
    random = np.random.default_rng(0)
    frames = [Image(random.integers(0, 9, grid.shape_kji).astype(np.int16), grid) for _ in range(3)]
    write_sequence(frames, tmp_path / "made.seq.nrrd", labels=labels)
    again = read_frames([str(tmp_path / "made.seq.nrrd")], "frames")
    assert len(again) == 3 and all(one.grid.same_as(grid) for one in again)
    for one, other in zip(again, frames):
        np.testing.assert_array_equal(one.values, other.values)


def test_a_matrix_of_flirt_between_images_without_orientation_is_radiological(tmp_path):
    """FSL exchanges the sides of no image that does not say which they are."""
    for name in ("fixed", "moving"):
        image = nibabel.Nifti1Image(np.zeros((20, 20, 20), np.float32), None)
        image.header.set_zooms((2.0, 2.0, 2.0))
        nibabel.save(image, tmp_path / f"{name}.nii")
    fixed, moving = (read_image(tmp_path / f"{name}.nii") for name in ("fixed", "moving"))
    matrix = np.eye(4)
    matrix[0, 3] = 6.0  # what is at voxel 7 of the moving image goes to voxel 10 of the fixed one
    np.savetxt(tmp_path / "moved.mat", matrix)
    transform, _notes = read_initial(tmp_path / "moved.mat", fixed, moving)
    there = fixed_to_moving(transform, apply_matrix(fixed.grid.ijk_to_lps, np.array([[10.0, 10, 10]])))
    np.testing.assert_allclose(apply_matrix(moving.grid.lps_to_ijk, there), [[7, 10, 10]], atol=1e-6)


def test_a_space_that_names_no_side_is_said(tmp_path):
    image = Image(np.zeros((8, 9, 10), np.float32), make_grid((10, 9, 8), (1.0, 1.0, 1.0), np.eye(3)))
    write_image(image, tmp_path / "known.nrrd")
    assert not read_image(tmp_path / "known.nrrd").notes
    text = (tmp_path / "known.nrrd").read_bytes()
    other = text.replace(b"space: left-posterior-superior", b"space: 3D-right-handed")
    assert other != text
    (tmp_path / "other.nrrd").write_bytes(other)
    assert "names no anatomical space" in read_image(tmp_path / "other.nrrd").notes[0]


def test_microscopes_have_grids_too():
    small = make_grid((40, 40, 40), (0.0002, 0.0002, 0.0002), np.eye(3))
    beside = small.ijk_to_lps.copy()
    beside[0, 3] += 4.5 * 0.0002
    assert small.same_as(Grid(small.size_ijk, small.ijk_to_lps.copy()))
    assert not small.same_as(Grid(small.size_ijk, beside))
    assert make_grid((10, 10, 10), (5e-5, 5e-5, 5e-5), np.eye(3)).voxels == 1000


def test_names_that_are_not_utf_8_are_refused(capsys, tmp_path):
    name = b"pat_\xe4.nii.gz".decode("utf-8", "surrogateescape")
    assert main(["register", "--fixed", name, "--moving", "b.nii", "--output", "c"]) == 2
    assert "is not valid UTF-8" in capsys.readouterr().err
    with pytest.raises(InputError, match="is not valid UTF-8"):
        read_image(tmp_path / name)


def test_an_anonymous_result_names_no_segment_and_no_landmark(tmp_path):
    from SlicerDeepRegLib.files.segmentations import write_segmentation

    case = Case("oblique-LPS")
    parts = Image((case.fixed.values > 30).astype(np.int32) + (case.fixed.values > 60), case.fixed.grid, "mask")
    colors = [(1, "MaierAnna_tumor", (255, 0, 0)), (2, "MaierAnna_liver", (0, 255, 0))]
    write_segmentation(parts, colors, tmp_path / "mask.seg.nrrd")
    center = case.fixed.grid.center_lps_mm
    lines = [f"{center[0] + 3 * n},{center[1]},{center[2]},{name}" for n, name in enumerate("abcd")]
    (tmp_path / "fixed.csv").write_text("\n".join([*lines, f"{center[0]},{center[1] + 3},{center[2]},Maier_only"]))
    (tmp_path / "moving.csv").write_text("\n".join(lines))
    result = register(
        Request(
            case.fixed,
            case.moving,
            method="rigid",
            device="cpu",
            fixed_mask=str(tmp_path / "mask.seg.nrrd"),
            fixed_points=str(tmp_path / "fixed.csv"),
            moving_points=str(tmp_path / "moving.csv"),
        )
    )
    assert sum("Maier" in note for note in result.notes) == 2
    assert not [note for note in without_names(result).notes if "Maier" in note]


def test_padding_with_the_lowest_number_is_no_data():
    case = Case("oblique-LPS")
    values = case.moving.values.astype(np.float64)
    values[:, :3] = -1.7e308
    values[:, -2:] = np.finfo(np.float32).min
    moving = dataclasses.replace(case.moving, values=values)
    with np.errstate(all="raise", under="ignore"):
        result = register(Request(case.fixed, moving, method="rigid", device="cpu"))
    assert any("NaN or infinite" in note for note in result.notes) and result.metrics["after"]["ncc"] > 0.5


def test_what_lies_beside_a_dicom_series_is_no_part_of_it(tmp_path):
    from helpers.dicom import write_series

    folder = write_series(tmp_path / "series", Case("oblique-LPS").fixed)
    before = checksum(str(folder))
    (folder / ".DS_Store").write_bytes(b"finder")
    (folder / "result.json").write_text("{}")
    assert checksum(str(folder)) == before
    first = sorted(folder.glob("*.dcm"))[0]
    first.write_bytes(first.read_bytes()[:-2] + b"xx")
    assert checksum(str(folder)) != before


def test_points_of_a_curve_that_were_not_placed_are_left_out(tmp_path):
    from SlicerDeepRegLib.files.surfaces import load_surface

    def curve(*points):
        rows = [{"position": list(place), "positionStatus": status} for place, status in points]
        text = json.dumps({"markups": [{"type": "Curve", "coordinateSystem": "LPS", "controlPoints": rows}]})
        (tmp_path / "curve.mrk.json").write_text(text)
        return load_surface(str(tmp_path / "curve.mrk.json"), "fixed surface")

    placed = ((1, 2, 3), "defined"), ((1, 2, 9), "defined")
    found = curve(placed[0], ((0, 0, 0), "undefined"), placed[1])
    np.testing.assert_allclose(found, curve(*placed))
    with pytest.raises(InputError, match="it has 1 control points with a position; two are needed"):
        curve(placed[0], ([], "missing"))


@pytest.mark.parametrize(
    ("written", "mm"),
    [("mm", 1), ("um", 0.001), ("\N{MICRO SIGN}m", 0.001), ("centimetre", 10), ("???", 1), ("inch", 25.4)],
)
def test_a_nrrd_in_another_unit_comes_in_millimeters(tmp_path, written, mm):
    grid = make_grid((8, 9, 10), (1.5, 2.0, 3.0), turned(20), (3.0, -4.0, 5.0))
    write_image(Image(np.zeros(grid.shape_kji, np.int16), grid), tmp_path / "mm.nrrd")
    content = (tmp_path / "mm.nrrd").read_bytes()
    units = "space units: " + " ".join([f'"{written}"'] * 3) + "\n"
    assert b"space units" not in content
    (tmp_path / "other.nrrd").write_bytes(content.replace(b"encoding:", units.encode() + b"encoding:", 1))
    image = read_image(tmp_path / "other.nrrd")
    np.testing.assert_allclose(image.grid.ijk_to_lps[:3], mm * grid.ijk_to_lps[:3], atol=1e-6)
    assert [note for note in image.notes if "converted to mm" in note] == list(image.notes) and bool(image.notes) == (
        mm != 1
    )


def in_microns(path, latin=False):
    content, unit = path.read_bytes(), b"\xb5m" if latin else b"um"
    time = b' "s"' if b"dimension: 4\nspace dimension: 4" in content else b""
    units = b"space units: " + b" ".join([b'"' + unit + b'"'] * 3) + time + b"\n"
    path.write_bytes(content.replace(b"encoding:", units + b"encoding:", 1))


def test_segmentations_series_and_fields_are_in_the_unit_of_their_header(tmp_path):
    grid = make_grid((8, 9, 10), (1500.0, 2000.0, 3000.0), np.eye(3))
    image = Image(np.zeros(grid.shape_kji, np.int16), grid)
    write_image(image, tmp_path / "labels.seg.nrrd", {"Segment0_ID": "a", "Segment0_Name": "a"})
    sitk.WriteImage(sitk.JoinSeries([to_sitk(image, 3)] * 2), str(tmp_path / "series.nrrd"))
    vectors = sitk.GetImageFromArray(np.zeros((*grid.shape_kji, 3)), isVector=True)
    place(vectors, grid)
    sitk.WriteImage(vectors, str(tmp_path / "field.nrrd"))
    for number, path in enumerate(sorted(tmp_path.glob("*.nrrd"))):
        in_microns(path, latin=number == 0)
    (layer,) = read_segmentation(tmp_path / "labels.seg.nrrd", "labels").layers
    frames = read_frames([str(tmp_path / "series.nrrd")], "frames")
    for one in (layer, *frames):
        np.testing.assert_allclose(one.grid.spacing_mm, [1.5, 2.0, 3.0])
    with pytest.raises(InputError, match="gives its geometry in microns"):
        read_initial(tmp_path / "field.nrrd", image, image)


@pytest.mark.parametrize("units", ['"s" "s" "s"', '"mm" "mm" "um"'])
def test_a_nrrd_in_units_of_which_nothing_follows_is_refused(tmp_path, units):
    write_image(
        Image(np.zeros((4, 5, 6), np.int16), make_grid((6, 5, 4), (1.0, 1.0, 1.0), np.eye(3))), tmp_path / "a.nrrd"
    )
    content = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(
        content.replace(b"encoding:", f"space units: {units}\n".encode() + b"encoding:", 1)
    )
    with pytest.raises(InputError, match="its header gives its geometry in .*Save it in mm"):
        read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("size", "spacing_mm", "words"),
    [
        ((12, 14), None, "does not say how large its pixels are; 1 mm was taken"),
        ((12, 14, 5), None, "how large its pixels are and how far apart its slices are; 1 mm was taken"),
        ((12, 14, 5), 0.5, "is a picture that does not say how far apart its slices are; 1 mm was taken"),
        ((12, 14), 0.5, ""),
    ],
)
def test_a_picture_does_not_say_how_large_it_is(tmp_path, size, spacing_mm, words):
    path = tmp_path / ("picture.png" if len(size) == 2 else "stack.tif")
    if spacing_mm is None:
        pages = [PIL.Image.fromarray(np.zeros(size[1::-1], np.uint8)) for _ in range(size[2] if len(size) > 2 else 1)]
        pages[0].save(path, **({"save_all": True, "append_images": pages[1:]} if len(size) > 2 else {}))
    else:
        picture = sitk.Image(size, sitk.sitkUInt8)
        picture.SetSpacing([spacing_mm] * len(size))
        sitk.WriteImage(picture, str(path))
    image = read_image(path, "fixed image")
    assert image.grid.size_ijk[: len(size)] == size and len(image.notes) == bool(words)
    assert all(words in note for note in image.notes)


def test_label_maps_on_a_sheared_grid_lie_on_that_of_their_image(tmp_path):
    matrix = np.array([[-1.5, 0.2, 0, 5], [0, -2, 0.3, 6], [0, 0, 3.0, -7], [0, 0, 0, 1]])
    labels = np.zeros((12, 13, 14), np.uint8)
    labels[3:8, 4:9, 5:10] = 7
    for name, values in (("image", labels.astype(np.float32)), ("labels", labels)):
        made = nibabel.Nifti1Image(values, None)
        made.header["qform_code"] = 0
        made.set_sform(matrix, 1)
        nibabel.save(made, tmp_path / f"{name}.nii")
    image = read_image(tmp_path / "image.nii")
    straight = whole_labels(read_image(tmp_path / "labels.nii", straight=False))
    assert straight.grid.same_as(image.grid) and set(np.unique(straight.values)) == {0, 7}
    assert straight.values[image.values == 7].min() == 7 and straight.values[image.values == 0].max() == 0


def test_the_voxels_behind_a_header_count_for_what_is_kept(tmp_path):
    """Whatever they are called: results and prepared images are kept until a file changes."""
    image = Image(np.zeros((6, 7, 8), np.int16), make_grid((8, 7, 6), (1.0, 1.0, 1.0), np.eye(3)))
    write_image(image, tmp_path / "scan.mhd")
    header = tmp_path / "scan.mhd"
    (raw,) = (file for file in tmp_path.iterdir() if file != header)
    raw.rename(tmp_path / "voxels.bin")
    header.write_text(header.read_text().replace(raw.name, "voxels.bin"))
    before = stamps_of(header)
    assert [name.rsplit("/", 1)[1] for name, _size, _time in before] == ["scan.mhd", "voxels.bin"]
    (tmp_path / "voxels.bin").write_bytes((tmp_path / "voxels.bin").read_bytes() + b"0")
    assert stamps_of(header) != before
    folder = stamps_of(tmp_path)
    (tmp_path / "another.dcm").write_bytes(b"0")
    assert stamps_of(tmp_path) != folder
