"""Reading: every format, and every file that cannot be used, each refused in words."""

import gzip
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import OBLIQUE, make_grid
from helpers.images import noise_image
from helpers.paths import PROJECT
from SlicerDeepRegLib.files.headers import header_fault_of
from SlicerDeepRegLib.files.images import checksum, from_sitk, read_image, write_image
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.types import Grid, InputError


def oblique_image(size=(9, 10, 11), dtype=np.float32, direction=OBLIQUE):
    return noise_image(make_grid(size, (1.0, 1.5, 2.5), direction, (10, -20, 30)), "made", dtype, scale=1000)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_formats_round_trip(tmp_path, ending, dtype):
    original = oblique_image(dtype=dtype)
    write_image(original, tmp_path / f"my image é 图{ending}")
    back = read_image(tmp_path / f"my image é 图{ending}")
    assert back.grid.same_as(original.grid, 1e-3)
    assert back.values.dtype == dtype and (back.values == original.values).all()


def test_left_handed_geometry_round_trips(tmp_path):
    original = oblique_image(direction=OBLIQUE @ np.diag([1, 1, -1]))
    write_image(original, tmp_path / "left.nii.gz")
    assert read_image(tmp_path / "left.nii.gz").grid.same_as(original.grid, 1e-3)


def test_2d_files_stay_2d(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(120, dtype=np.uint8).reshape(10, 12)), str(tmp_path / "flat.png"))
    flat = read_image(tmp_path / "flat.png")
    assert flat.dimensions == 2 and flat.grid.size_ijk == (12, 10, 1) and flat.grid.is_planar


def nifti_file(path, sform=None, qform=None, codes=(0, 0), kind=nib.Nifti1Image, unit="mm"):
    """A NIfTI with those geometries, RAS; returns the path and the values (K, J, I)."""
    values = np.random.default_rng(2).random((9, 10, 11)).astype(np.float32)
    image = kind(values, None)
    image.header.set_zooms((1.5, 2.0, 3.0))
    image.header.set_xyzt_units(unit)
    image.header["qform_code"] = image.header["sform_code"] = 0
    if qform is not None:
        image.set_qform(qform, codes[1])
    if sform is not None:
        image.set_sform(sform, codes[0])
    nib.save(image, path)
    return path, values.T


PLAIN = np.array([[1.5, 0, 0, -5], [0, 2.0, 0, -6], [0, 0, 3.0, -7], [0, 0, 0, 1]])
SHEARED = PLAIN + np.array([[0, 0.1, 0, 0]] + [[0.0] * 4] * 3)
ELSEWHERE = PLAIN + np.array([[0, 0, 0, 30.0]] + [[0.0] * 4] * 3)
RAS_TO_LPS = np.diag([-1, -1, 1, 1])


@pytest.mark.parametrize(
    "sform, qform, codes, taken, words",
    [
        (PLAIN, PLAIN, (1, 1), PLAIN, ""),
        (PLAIN, None, (2, 0), PLAIN, ""),
        (None, PLAIN, (0, 1), PLAIN, ""),
        (PLAIN, ELSEWHERE, (1, 1), PLAIN, "disagree by up to 30.0 mm; the sform was taken"),
        (PLAIN, ELSEWHERE, (2, 1), ELSEWHERE, "disagree by up to 30.0 mm; the qform was taken"),
        (SHEARED, PLAIN, (1, 1), SHEARED, "the sform was taken, because it is sheared"),
        (None, None, (0, 0), RAS_TO_LPS @ np.diag([1.5, 2, 3, 1]), "no orientation"),
    ],
)
def test_the_geometry_of_a_nifti_and_which_of_two_was_taken(tmp_path, sform, qform, codes, taken, words):
    path, values = nifti_file(tmp_path / "image.nii", sform, qform, codes)
    image = read_image(path, "moving image", straight=False)
    assert np.allclose(image.grid.ijk_to_lps, RAS_TO_LPS @ taken, atol=1e-5) and (image.values == values).all()
    assert words in " ".join(image.notes) and bool(image.notes) == bool(words)
    if taken is not SHEARED:  # ITK, and so Slicer, puts the voxels at the same place
        assert from_sitk(sitk.ReadImage(str(path)), "").grid.same_as(image.grid)


def test_nifti_2_and_other_units(tmp_path):
    path, values = nifti_file(tmp_path / "two.nii.gz", PLAIN, PLAIN, (1, 1), nib.Nifti2Image)
    two = read_image(path)
    assert np.allclose(two.grid.ijk_to_lps, RAS_TO_LPS @ PLAIN) and (two.values == values).all() and not two.notes
    small = PLAIN.copy()
    small[:3] /= 1000
    meters = read_image(nifti_file(tmp_path / "meters.nii", small, None, (1, 0), unit="meter")[0])
    assert np.allclose(meters.grid.ijk_to_lps, RAS_TO_LPS @ PLAIN, atol=1e-4) and "converted to mm" in meters.notes[0]


@pytest.mark.parametrize("code", [0, 1])
def test_a_quaternion_that_is_none_does_not_spoil_a_good_sform(tmp_path, code):
    path, values = nifti_file(tmp_path / "image.nii", PLAIN, PLAIN, (1, code))
    data = bytearray(path.read_bytes())
    header = np.frombuffer(data[:348], nib.nifti1.header_dtype).copy()
    header["quatern_b"], header["quatern_c"], header["qform_code"], header["xyzt_units"] = 5, 3, code, 7
    data[:348] = header.tobytes()
    path.write_bytes(data)
    image = read_image(path)
    assert np.allclose(image.grid.ijk_to_lps, RAS_TO_LPS @ PLAIN) and (image.values == values).all()


def test_an_empty_sform_does_not_count(tmp_path):
    path, _ = nifti_file(tmp_path / "image.nii", np.diag([0, 0, 0, 1.0]), PLAIN, (1, 1))
    assert np.allclose(read_image(path).grid.ijk_to_lps, RAS_TO_LPS @ PLAIN)


def test_whole_numbers_on_a_sheared_grid(tmp_path):
    """A CT with a gantry tilt, converted."""
    made = nib.Nifti1Image(np.arange(720, dtype=np.int16).reshape(8, 9, 10), None)
    made.header["qform_code"] = 0
    made.set_sform(SHEARED, 1)
    nib.save(made, tmp_path / "tilted.nii")
    image = read_image(tmp_path / "tilted.nii")
    assert image.values.min() == 0 and image.values.max() > 700 and "not at right angles" in image.notes[0]


@pytest.mark.parametrize("ending", [".nii", ".nrrd"])
def test_a_sheared_grid_is_straightened_exactly_and_said(tmp_path, ending):
    """An image that grows linearly stays exactly so under linear interpolation, wherever the voxels lie."""
    matrix = np.array([[-4.0, 0.8, 0.3, 60], [0.0, -4.0, 1.1, 50], [0, 0, 4, -40], [0, 0, 0, 1]])
    along = np.array([0.5, -0.7, 0.4])
    grid = Grid((16, 18, 20), matrix)
    values = (voxel_centers_lps(grid) @ along + 1000).astype(np.float32)
    path = tmp_path / f"sheared{ending}"
    if ending == ".nii":
        made = nib.Nifti1Image(values.T, None)
        made.header["qform_code"] = 0
        made.set_sform(RAS_TO_LPS @ matrix, 1)
        nib.save(made, path)
    else:
        rows = " ".join("(" + ",".join(str(n) for n in matrix[:3, c]) + ")" for c in range(3))
        head = (
            "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 16 18 20\n"
            f"space directions: {rows}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
            "space origin: (60,50,-40)\n\n"
        )
        path.write_bytes(head.encode() + values.astype("<f4").tobytes())
    image = read_image(path, "fixed image")
    direction = image.grid.direction
    assert np.abs(direction.T @ direction - np.eye(3)).max() < 1e-9
    ijk = apply_matrix(grid.lps_to_ijk, voxel_centers_lps(image.grid).reshape(-1, 3)).reshape(*image.values.shape, 3)
    inside = ((ijk > -1e-6) & (ijk < np.array(grid.size_ijk) - 1 + 1e-6)).all(axis=-1)
    assert inside.mean() > 0.5
    expected = voxel_centers_lps(image.grid) @ along + 1000
    assert np.abs(image.values - expected)[inside].max() < 0.01
    assert "not at right angles" in image.notes[0]
    low, high = (voxel_centers_lps(g).reshape(-1, 3) for g in (image.grid, grid))
    assert (low.min(0) <= high.min(0) + 1e-6).all() and (low.max(0) >= high.max(0) - 1e-6).all()


@pytest.mark.parametrize("name", ["scan.vtk", "scan.mnc", "scan.gipl", "scan.hdr", "scan"])
def test_only_known_formats_are_tried(tmp_path, name):
    """A legacy VTK header of 284 bytes made ITK ask for 8 GB."""
    (tmp_path / name).write_text(
        "# vtk DataFile Version 3.0\nx\nBINARY\nDATASET STRUCTURED_POINTS\nDIMENSIONS 2000 2000 1000\n"
    )
    with pytest.raises(InputError, match="not an image that can be read here. Give NIfTI"):
        read_image(tmp_path / name, "fixed image")


def test_dicom_folder(tmp_path):
    write_dicom(tmp_path / "series", "1.2.3.1")
    read = read_image(tmp_path / "series")
    assert read.grid.size_ijk == (16, 12, 5)
    assert np.allclose(read.grid.spacing_mm, [1.0, 1.0, 2.0])


def test_dicom_folder_with_two_series_is_refused(tmp_path):
    write_dicom(tmp_path / "both", "1.2.3.1")
    write_dicom(tmp_path / "both", "1.2.3.2", prefix="b")
    with pytest.raises(InputError, match="2 DICOM series"):
        read_image(tmp_path / "both", "fixed image")


def write_dicom(folder, uid, prefix="a"):
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(5):
        piece = sitk.GetImageFromArray(np.full((12, 16), 10 * k, np.int16) + np.arange(16, dtype=np.int16))
        for tag, value in (
            ("0008|0060", "CT"),
            ("0020|000e", uid),
            ("0020|000d", "1.2.3"),
            ("0008|0018", f"{uid}.{k + 1}"),
            ("0020|0013", str(k)),
            ("0020|0032", f"0\\0\\{2 * k}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0018|0050", "2"),
        ):
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{prefix}{k}.dcm"))
        writer.Execute(piece)


def broken(tmp_path, kind):  # noqa: C901 - a list of cases
    """A file or folder that cannot be used, by name."""
    path = tmp_path / "scan.nii.gz"
    write_image(oblique_image((40, 40, 40)), path)
    if kind == "missing":
        return tmp_path / "nowhere.nii.gz"
    if kind == "empty file":
        path.write_bytes(b"")
    elif kind == "not an image":
        path = tmp_path / "scan.nii"
        path.write_text("hello")
    elif kind == "text":
        path = tmp_path / "notes.txt"
        path.write_text("hello")
    elif kind == "truncated gzip":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "truncated voxels":
        with gzip.open(path) as stream, open(tmp_path / "cut.nii", "wb") as out:
            out.write(stream.read()[:100_000])
        path = tmp_path / "cut.nii"
    elif kind == "truncated nrrd":
        path = tmp_path / "cut.nrrd"
        sitk.WriteImage(sitk.Image([30, 30, 30], sitk.sitkFloat32), str(path))
        path.write_bytes(path.read_bytes()[:-5000])
    elif kind == "truncated mha":
        path = tmp_path / "cut.mha"
        sitk.WriteImage(sitk.Image([30, 30, 30], sitk.sitkFloat32), str(path))
        path.write_bytes(path.read_bytes()[:-5000])
    elif kind == "4D":
        path = tmp_path / "series.nii.gz"
        sitk.WriteImage(sitk.Image([8, 8, 8, 3], sitk.sitkFloat32), str(path))
    elif kind == "color":
        path = tmp_path / "color.png"
        sitk.WriteImage(sitk.Image([20, 20], sitk.sitkVectorUInt8, 3), str(path))
    elif kind == "vector":
        path = tmp_path / "field.nii.gz"
        sitk.WriteImage(sitk.Image([9, 9, 9], sitk.sitkVectorFloat32, 3), str(path))
    elif kind == "empty folder":
        path = tmp_path / "folder"
        path.mkdir()
    elif kind == "singular direction":
        path = tmp_path / "flat.nrrd"
        path.write_bytes(
            b"NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 8 8\n"
            b"space directions: (1,0,0) (1,0,0) (0,0,1)\nkinds: domain domain domain\nendian: little\n"
            b"encoding: raw\nspace origin: (0,0,0)\n\n" + bytes(8 * 8 * 8 * 4)
        )
    elif kind == "singular sform":
        path, _ = nifti_file(tmp_path / "flat.nii", sform=np.diag([1.0, 1.0, 0.0, 1.0]), codes=(1, 0))
    return path


@pytest.mark.parametrize(
    "kind, words",
    [
        ("missing", "does not exist"),
        ("empty file", "0 bytes"),
        ("not an image", "not an image|cannot be read|could not be read"),
        ("text", "not an image"),
        ("truncated gzip", "cut short"),
        ("truncated voxels", "cut short"),
        ("truncated nrrd", "cut short|could not be read"),
        ("truncated mha", "cut short|could not be read"),
        ("4D", "4D series of 3 volumes"),
        ("color", "3 values in each voxel"),
        ("vector", "3 values in each voxel"),
        ("empty folder", "no DICOM series"),
        ("singular direction", "direction matrix"),
        ("singular sform", "The moving image .*flat.nii cannot be used: its axis directions are invalid"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(tmp_path, kind, words):
    with pytest.raises(InputError, match=words) as caught:
        read_image(broken(tmp_path, kind), "moving image")
    text = str(caught.value)
    assert "moving image" in text and "\n" not in text
    assert "Traceback" not in text and "itk::" not in text


def test_checksum_tells_contents_apart(tmp_path):
    write_image(oblique_image(), tmp_path / "a.nrrd")
    shutil.copy(tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    assert checksum(tmp_path / "a.nrrd") == checksum(tmp_path / "b.nrrd")
    (tmp_path / "b.nrrd").write_bytes((tmp_path / "b.nrrd").read_bytes() + b"x")
    assert checksum(tmp_path / "a.nrrd") != checksum(tmp_path / "b.nrrd")
    assert checksum(oblique_image()) == checksum(oblique_image()) != checksum(oblique_image(dtype=np.int16))


@pytest.mark.skipif(os.name != "posix", reason="limits what a process may write")
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_disk_that_fills_up_is_an_error_and_leaves_no_file(tmp_path, ending):
    """ITK's writer of NIfTI says nothing of it: the file is cut short."""
    code = (
        "import resource, signal, sys, numpy as np; from SlicerDeepRegLib.types import Grid, Image; "
        "from SlicerDeepRegLib.files.images import write_image; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY)); "
        "write_image(Image(np.random.rand(40, 40, 40).astype('f4'), Grid((40, 40, 40), np.eye(4))), sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "SlicerDeepReg")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / f"image{ending}")],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=environment,
    )
    assert done.returncode == 1 and "OSError" in done.stderr.splitlines()[-1], done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".mha", ".mhd"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_metaimage_is_looked_at_for_its_length(tmp_path, ending, packed, dtype):
    """SimpleITK before 2.4 reads one that is cut short without a word; whole ones must pass."""
    path = tmp_path / f"image{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(oblique_image(dtype=dtype).values), str(path), useCompression=packed)
    assert header_fault_of(path) is None
    data = path if ending == ".mha" else next(p for p in tmp_path.iterdir() if p != path)
    data.write_bytes(data.read_bytes()[:-20])
    assert "cut short" in header_fault_of(path)


@pytest.mark.parametrize(
    "name",
    [
        "signed char",
        "int8",
        "int8_t",
        "uchar",
        "unsigned char",
        "uint8",
        "uint8_t",
        "short",
        "short int",
        "signed short int",
        "int16_t",
        "ushort",
        "unsigned short int",
        "uint16",
        "int",
        "signed int",
        "int32_t",
        "uint",
        "unsigned int",
        "uint32",
        "longlong",
        "long long int",
        "int64",
        "ulonglong",
        "uint64_t",
        "float",
        "double",
    ],
)
def test_a_nrrd_is_as_long_as_its_type_says(tmp_path, name):
    """By every kind of name that other programs write: voxels that fill the file are read, fewer bytes are refused."""
    size = {"8": 1, "char": 1, "16": 2, "short": 2, "64": 8, "long": 8, "double": 8}
    size = next((bytes_ for word, bytes_ in size.items() if word in name), 4)
    head = f"NRRD0004\ntype: {name}\ndimension: 3\nsizes: 20 30 40\nendian: little\nencoding: raw\n\n".encode()
    path = tmp_path / "other.nrrd"
    path.write_bytes(head + bytes(20 * 30 * 40 * size))
    assert read_image(path).values.nbytes == 24_000 * size
    path.write_bytes(head + bytes(20 * 30 * 40 * size - len(head) - 1))
    assert "cut short" in header_fault_of(path)


def test_a_metaimage_written_as_text_has_another_length(tmp_path):
    header = "ObjectType = Image\nNDims = 3\nBinaryData = False\nDimSize = 8 8 8\nElementType = MET_DOUBLE\n"
    (tmp_path / "text.mha").write_text(header + "ElementDataFile = LOCAL\n" + "0 1 " * 256)
    assert read_image(tmp_path / "text.mha").values.sum() == 256


def test_a_file_that_cannot_be_written_leaves_what_lay_there(tmp_path):
    (tmp_path / "notes.pdf").write_text("mine")
    with pytest.raises(OSError, match="writing notes.pdf failed"):
        write_image(oblique_image(), tmp_path / "notes.pdf")
    assert (tmp_path / "notes.pdf").read_text(encoding="utf-8") == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_voxels_that_are_not_finite_are_read_as_such(tmp_path, name, kind):
    """ITK's reader of NIfTI takes them for 0 without a word."""
    values = np.random.default_rng(0).random((4, 5, 6)).astype(kind)
    values[1, 2, 3], values[3, 4, 5] = np.nan, np.inf
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / name))
    read = read_image(tmp_path / name).values
    assert read.dtype == kind and (np.isfinite(read) == np.isfinite(values)).all()
    assert (read[np.isfinite(values)] == values[np.isfinite(values)]).all()
