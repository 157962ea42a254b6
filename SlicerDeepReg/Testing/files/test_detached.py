"""Headers whose voxels lie in files of their own: what ITK would read, and what it must not."""

import os

import numpy as np
import pytest
from helpers.geometry import OBLIQUE, make_grid
from helpers.images import noise_image
from SlicerDeepRegLib.checks import read_inputs
from SlicerDeepRegLib.files.images import approximate_voxels, checksum, load, read_image, write_image
from SlicerDeepRegLib.files.segmentations import read_segmentation
from SlicerDeepRegLib.types import InputError, Request

VALUES = np.arange(4 * 5 * 6, dtype="<i2").reshape(4, 5, 6)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = 6 5 4\n"
    "ElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = "
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\ndata file: "
SLICES = "s0.raw\ns1.raw\ns2.raw\ns3.raw\n"
HEADERS = {".mhd": META, ".nhdr": NRRD}


@pytest.fixture
def folder(tmp_path):
    """A folder with the voxels in one file, in two and in four, in a folder with a file of others."""
    folder = tmp_path / "scan"
    folder.mkdir()
    VALUES.tofile(folder / "all.raw")
    for k in range(4):
        VALUES[k].tofile(folder / f"s{k}.raw")
    for k in range(2):
        VALUES[2 * k : 2 * k + 2].tofile(folder / f"b{k}.raw")
    (tmp_path / "secret.raw").write_bytes(bytes(240))
    return folder


def header(folder, ending, names):
    path = folder / f"image{ending}"
    path.write_bytes((HEADERS[ending] + names).encode())
    return path


@pytest.mark.parametrize(
    "ending, names, files",
    [
        (".mhd", "all.raw", 1),
        (".mhd", "LIST\n" + SLICES, 4),
        (".mhd", "LIST 2D\r\n" + SLICES.replace("\n", "\r\n"), 4),
        (".mhd", "s%d.raw 0 3 1", 4),
        (".mhd", "s%d.raw 0", 4),
        (".nhdr", "all.raw\n", 1),
        (".nhdr", "LIST\n" + SLICES, 4),
        (".nhdr", "LIST 3\nb0.raw\nb1.raw\n", 2),
        (".nhdr", "LIST\r\n" + SLICES.replace("\n", "\r\n"), 4),
        (".nhdr", "s%01d.raw 0 3 1\n", 4),
        (".nhdr", "b%d.raw 0 1 1 3\n", 2),
    ],
)
def test_every_file_of_the_voxels_is_read_named_and_hashed(folder, ending, names, files):
    path = header(folder, ending, names)
    image = read_image(path)
    assert np.array_equal(image.values, VALUES)
    assert len(image.files) == 1 + files and image.files[0] == str(path) and len(set(image.files)) == 1 + files
    before = checksum(path)
    last = folder / os.path.basename(image.files[-1])
    last.write_bytes(last.read_bytes()[:-1] + b"\x7f")
    assert checksum(path) != before


@pytest.mark.parametrize(
    "ending, names, words",
    [
        (".mhd", "LIST\n" + SLICES.rstrip(), "names 3 data files .* needs 4"),  # each of these ITK reads as what
        (".mhd", "LIST\ns0.raw\ns1.raw\n", "names 2 data files .* needs 4"),  # happens to lie in memory
        (".mhd", "s%d.raw 0 1 1", "names 2 data files .* needs 4"),
        (".mhd", "LIST 3D\nb0.raw\nb1.raw\n", "fewer dimensions"),
        (".mhd", "s%d.raw 0 3", "the greatest and the step"),  # and this ends its process
        (".mhd", "s%d.raw 0 3 0", "the greatest and the step"),
        (".mhd", "s%d%d.raw 0 3 1", "invalid data file"),
        (".mhd", "LISTS\n" + SLICES, "invalid data file"),
        (".mhd", "none.raw", "none.raw, which does not exist"),
        (".mhd", "LIST\n" + SLICES.replace("s2", "none"), "none.raw, which does not exist"),
        (".nhdr", "LIST\n" + SLICES.replace("s2", "none"), "none.raw, which does not exist"),
        (".nhdr", "LIST\ns0.raw\ns1.raw\n", "cut short"),
        (".nhdr", "LIST\n" + SLICES + "s0.raw\n", "expected 4 filenames"),
        (".nhdr", "s%d.raw 0 3 0\n", "invalid data file"),
        (".nhdr", "s%d.raw 0 999999999 1\n", "invalid data file"),
        (".nhdr", "s%s.raw 0 3 1\n", "invalid data file"),
    ],
)
def test_files_that_cannot_be_read_as_the_header_says_are_refused(folder, ending, names, words):
    with pytest.raises(InputError, match=words):
        read_image(header(folder, ending, names))


def test_packed_voxels_in_several_files_are_refused(folder):
    path = header(folder, ".mhd", "LIST\n" + SLICES)
    path.write_text(path.read_text().replace("NDims", "CompressedData = True\nNDims"))
    with pytest.raises(InputError, match="packed in several files"):
        read_image(path)


def outside_names(folder):
    os.symlink(folder.parent / "secret.raw", folder / "link.raw")
    return {
        "absolute": str(folder.parent / "secret.raw"),
        "absolute inside": str(folder / "all.raw"),
        "dots": "../secret.raw",
        "dots inside a folder": "./x/../../secret.raw",
        "link": "link.raw",
        "windows": "C:\\secret.raw",
    }


@pytest.mark.skipif(os.name != "posix", reason="makes symbolic links")
@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("form", ["{}\n", "LIST\ns0.raw\n{}\ns2.raw\ns3.raw\n"])
@pytest.mark.parametrize("kind", ["absolute", "absolute inside", "dots", "dots inside a folder", "link", "windows"])
def test_names_that_lead_out_of_the_folder_are_refused(folder, ending, form, kind):
    path = header(folder, ending, form.format(outside_names(folder)[kind]))
    with pytest.raises(InputError, match="fixed image .* outside the header's folder.*--allow-outside"):
        load(path, "fixed image")
    assert approximate_voxels(path) == 0 and read_segmentation(path, "fixed labels") is None


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_names_that_lead_out_of_the_folder_are_read_if_that_is_allowed(folder, ending):
    path = header(folder, ending, "../secret.raw\n")
    image = load(path, "fixed image", allow_outside=True)
    assert image.values.shape == (4, 5, 6) and not image.values.any()
    assert approximate_voxels(path, allow_outside=True) == 120 and len(image.files) == 2


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_a_link_to_the_header_keeps_its_own_folder(folder, tmp_path, ending):
    """What ITK does: the data lie beside the name that was given."""
    (tmp_path / "other").mkdir()
    os.symlink(header(folder, ending, "all.raw\n"), tmp_path / "other" / f"a{ending}")
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "other" / f"a{ending}")


def test_a_request_may_allow_it_for_all_that_it_names(folder, tmp_path):
    """Images, masks and labels alike."""
    image = noise_image(make_grid((20, 20, 20), (1, 1, 1), OBLIQUE))
    inside = np.zeros_like(image.values)
    inside[5:15, 5:15, 5:15] = 1
    for name, values in (("image", image.values), ("drawn", inside)):
        for ending in HEADERS:
            write_image(type(image)(values, image.grid, name), tmp_path / f"{name}{ending}")
    for path in [p for p in tmp_path.iterdir() if p.suffix in HEADERS]:
        for word in (b"ElementDataFile = ", b"data file: "):
            path.write_bytes(path.read_bytes().replace(word, word + b"../"))
        path.rename(folder / path.name)
    files = {
        "fixed": "image.mhd",
        "moving": "image.nhdr",
        "fixed_mask": "drawn.mhd",
        "moving_mask": "drawn.nhdr",
        "fixed_labels": "drawn.nhdr",
        "moving_labels": "drawn.mhd",
    }
    files = {role: str(folder / name) for role, name in files.items()}
    read = read_inputs(Request(**files, allow_outside=True))
    assert read.fixed_mask.sum() == 1000 and np.array_equal(read.fixed_labels.values, read.moving_labels.values)
    for role, path in files.items():
        beside = dict.fromkeys(("fixed", "moving"), image) | {role: path}
        with pytest.raises(InputError, match=f"{role.replace('_', ' ')}.*outside the header's folder"):
            read_inputs(Request(**beside))
