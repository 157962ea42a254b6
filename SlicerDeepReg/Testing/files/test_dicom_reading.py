"""DICOM as hospitals leave it: put where the headers say, or refused, or told; never silently elsewhere."""

import os
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from helpers.dicom import save, write_enhanced, write_series
from helpers.geometry import OBLIQUE, make_grid
from helpers.images import texture
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.frames import read_frames
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.geometry.points import fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, InputError, Request

GRID = make_grid((24, 28, 20), (2.5, 2.3, 3.0), OBLIQUE)
NORMAL = GRID.direction[:, 2]


def image_at(positions=None):
    """The texture where the slices lie; positions are (K, 3) of their first pixels."""
    points = voxel_centers_lps(GRID)
    if positions is not None:
        points = points + (positions - (GRID.origin_lps_mm + np.outer(np.arange(20) * 3.0, NORMAL)))[:, None, None]
    return Image(texture(points).astype(np.float32), GRID, "scan")


def positions_of(kind):
    along = np.arange(20) * 3.0
    across = np.zeros((20, 3))
    if kind == "tilted":
        across = np.outer(along, np.tan(np.radians(15)) * GRID.direction[:, 1])
        across -= across.mean(axis=0)
    elif kind == "uneven":
        along = np.concatenate([along[:12], along[11] + np.arange(1, 9) * 4.2])
    return GRID.origin_lps_mm + np.outer(along, NORMAL) + across


def scan(folder, kind):
    """A folder of slices of the texture; each slice holds what lies at its own position."""
    positions = positions_of(kind)

    def placed(k, header):
        header.ImagePositionPatient = [f"{v:.8f}" for v in positions[k]]

    return write_series(folder, image_at(positions), change=placed)


def error_of(image):
    """The largest difference from the texture, of 100, where the image shows some of it."""
    truth = np.clip(texture(voxel_centers_lps(image.grid)) * 10, 0, 4000)
    shown = image.values > image.values.min()
    return float(np.abs(np.where(shown, image.values - truth, 0)).max() / 10)


@pytest.mark.parametrize(
    "kind, words, largest",
    [
        ("regular", "", 0.2),
        ("tilted", "tilted by 15.0 degrees", 9.0),
        ("uneven", "uneven slice spacing (3.00 to 4.20 mm)", 22.0),
    ],
)
def test_slices_are_put_where_their_headers_say(tmp_path, kind, words, largest):
    """What linear interpolation may cost is bounded; the wrong geometry costs above 60 of 100."""
    image = read_image(scan(tmp_path / kind, kind), "moving image")
    assert error_of(image) < largest
    assert " ".join(image.notes).count(words) and bool(image.notes) == bool(words)
    direction = image.grid.direction
    assert np.abs(direction.T @ direction - np.eye(3)).max() < 1e-9


@pytest.mark.parametrize("kind", ["tilted", "uneven", "missing", "enhanced"])
def test_a_registration_to_such_a_scan_is_right(tmp_path, kind):
    """The scan shows the same thing as the fixed image: nothing is to be moved."""
    fixed = image_at()
    write_image(Image(np.clip(fixed.values * 10, 0, 4000), GRID, "fixed"), tmp_path / "fixed.nrrd")
    folder = tmp_path / "scan"
    if kind == "enhanced":
        folder = write_enhanced(tmp_path / "scan.dcm", fixed, np.random.default_rng(0).permutation(20))
    else:
        scan(folder, kind)
    if kind == "missing":
        for k in (9, 10):
            (folder / f"{k:03d}.dcm").unlink()
    request = Request(
        str(tmp_path / "fixed.nrrd"),
        str(folder),
        linear="rigid",
        preset="fast",
        device="cpu",
        pair="people",
        measure=False,
    )
    result = register(request)
    points = voxel_centers_lps(GRID)[fixed.values > 20]
    off = np.linalg.norm(fixed_to_moving(result.transform, points) - points, axis=1)
    assert off.mean() < 0.5, off.mean()
    assert bool(result.notes) == (kind != "enhanced")


def test_missing_slices_are_named_and_too_many_are_refused(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    (folder / "007.dcm").unlink()
    image = read_image(folder, "fixed image")
    assert image.grid.size_ijk == GRID.size_ijk and "is missing 1 slice after 006.dcm" in image.notes[0]
    assert len(image.files) == 19
    for k in range(8, 12):
        (folder / f"{k:03d}.dcm").unlink()
    with pytest.raises(InputError, match="between 006.dcm and 012.dcm there is a gap of 18.0 mm"):
        read_image(folder, "fixed image")


def test_a_scout_under_the_same_series_is_left_out_with_a_note(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    first = dcmread(folder / "000.dcm")
    first.ImageOrientationPatient = [f"{v:.8f}" for v in (*GRID.direction[:, 1], *GRID.direction[:, 2])]
    first.SOPInstanceUID = first.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    save(first, folder / "scout.dcm")
    image = read_image(folder, "fixed image")
    assert error_of(image) < 0.2 and "scout.dcm of the same series" in image.notes[0]
    assert not any(file.endswith("scout.dcm") for file in image.files)


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "EchoNumbers", "InstanceNumber"])
def test_two_scans_at_the_same_places_are_told_apart_and_one_is_chosen(tmp_path, tag):
    folder, series = tmp_path / "scan", generate_uid()
    for n, prefix in enumerate("ab"):

        def told(k, header, n=n):
            header.SeriesInstanceUID, header.SeriesDescription = series, "PD and T2"
            setattr(header, tag, k + 1 + 20 * n if tag == "InstanceNumber" else n + 1)

        write_series(folder, Image(image_at().values * (n + 1), GRID), frame="1.2.3", change=told, prefix=prefix)
    with pytest.raises(
        InputError, match="2 images in 1 DICOM series. Choose one by its number: 1: .PD and T2"
    ) as caught:
        read_image(folder, "moving image")
    assert caught.value.control == "moving_series"
    first, second = (read_image(folder, "moving image", series=number) for number in "12")
    assert error_of(first) < 0.2 and np.abs(second.values - 2.0 * first.values).max() <= 2
    with pytest.raises(InputError, match="none with the number or series UID '3'"):
        read_image(folder, "moving image", series="3")


def test_the_command_names_the_option_that_chooses(tmp_path, capsys):
    for name in ("a", "b"):
        write_series(tmp_path / "both", image_at(), prefix=name)
    call = ["register", "--fixed", str(tmp_path / "both"), "--moving", str(tmp_path / "both")]
    assert main([*call, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "2 DICOM series" in said and "--fixed-series" in said and not (tmp_path / "out").exists()


def test_slices_that_are_there_twice(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    shutil.copy(folder / "003.dcm", folder / "003 again.dcm")
    image = read_image(folder, "fixed image")
    assert error_of(image) < 0.2 and "copies of others" in image.notes[0]
    again = dcmread(folder / "003.dcm")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    save(again, folder / "003 again.dcm")
    image = read_image(folder, "fixed image")
    assert error_of(image) < 0.2 and "duplicate slice" in image.notes[0]
    again.PixelData = bytes(len(again.PixelData))
    save(again, folder / "003 again.dcm")
    with pytest.raises(InputError, match="mixes several images"):
        read_image(folder, "fixed image")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in folders")
def test_what_is_no_file_does_not_end_the_reading(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    (folder / "001 link.dcm").symlink_to(folder / "nowhere.dcm")
    os.mkfifo(folder / "001 pipe.dcm")
    (folder / "notes.txt").write_text("hello")
    image = read_image(folder, "fixed image")
    assert error_of(image) < 0.2 and len(image.files) == 20
    assert image.notes == (
        "001 link.dcm, 001 pipe.dcm in the folder of the fixed image were skipped: broken links or special files.",
    )


def test_low_values_for_bright_are_turned_round(tmp_path):
    regular = read_image(scan(tmp_path / "scan", "regular"))

    def inverted(k, header):
        header.PhotometricInterpretation = "MONOCHROME1"
        header.PixelData = (5000 - np.frombuffer(header.PixelData, np.uint16)).tobytes()

    image = read_image(write_series(tmp_path / "inverted", image_at(), change=inverted), "fixed image")
    shift = image.values.astype(int) - regular.values
    assert shift.min() == shift.max() and "MONOCHROME1" in image.notes[0]


@pytest.mark.parametrize(
    "slopes", [None, [round(0.25 + 0.05 * k, 2) for k in range(20)]], ids=["one slope", "a slope for each"]
)
def test_an_enhanced_file_whose_frames_are_in_no_order(tmp_path, slopes):
    order = np.random.default_rng(1).permutation(20)
    image = read_image(write_enhanced(tmp_path / "enhanced.dcm", image_at(), order, slopes))
    assert image.grid.same_as(GRID, 1e-3) and error_of(image) < 0.2


def test_a_slope_for_each_slice(tmp_path):
    def scaled(k, header):
        slope = round(0.5 + 0.1 * k, 1)
        header.RescaleSlope, header.RescaleIntercept = str(slope), "-100"
        values = np.round((np.frombuffer(header.PixelData, np.uint16) + 100.0) / slope)
        header.PixelData = values.astype(np.uint16).tobytes()

    assert error_of(read_image(write_series(tmp_path / "scan", image_at(), change=scaled))) < 0.25


@pytest.mark.parametrize(
    "kind, words",
    [
        ("one slice", "is one slice of a DICOM series; 20 slices of it lie in"),
        ("no position", "no position and orientation"),
        ("no spacing", "no pixel spacing"),
        ("cut short", "005.dcm are damaged or cut short"),
        ("color", "is a color image"),
        ("folders", "but folders .scan"),
        ("no image", "contains no DICOM series"),
        ("palette", "is a color image"),
        ("mosaic", "is a mosaic"),
    ],
)
def test_refused_in_words(tmp_path, kind, words):
    def change(k, header):
        if kind == "no position":
            del header.ImagePositionPatient
        elif kind == "no spacing":
            del header.PixelSpacing
        elif kind == "color":
            header.SamplesPerPixel = 3
        elif kind == "palette":
            header.PhotometricInterpretation = "PALETTE COLOR"
        elif kind == "mosaic":
            header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    folder = write_series(tmp_path / "scan", image_at(), change=change)
    path = {"one slice": folder / "005.dcm", "folders": tmp_path, "no image": tmp_path / "other"}.get(kind, folder)
    if kind == "cut short":
        file = folder / "005.dcm"
        file.write_bytes(file.read_bytes()[:-200])
    if kind == "no image":
        path.mkdir()
        (path / "readme").write_text("nothing")
    with pytest.raises(InputError, match=words) as caught:
        read_image(path, "fixed image")
    assert "fixed image" in str(caught.value) and "\n" not in str(caught.value)


def test_one_slice_alone_is_a_planar_image(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "005.dcm", alone)
    for path in (alone, alone / "005.dcm"):
        assert read_image(path).grid.size_ijk == (24, 28, 1)


def test_images_of_other_kinds_in_the_folder_are_left_out_with_a_note(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    report = dcmread(folder / "000.dcm")
    report.SeriesInstanceUID, report.SamplesPerPixel, report.PhotometricInterpretation = generate_uid(), 3, "RGB"
    save(report, folder / "dose report.dcm")
    image = read_image(folder, "fixed image")
    assert error_of(image) < 0.2 and "dose report.dcm in the folder of the fixed image were left out" in image.notes[0]


def test_a_changed_slice_under_the_same_uid_is_no_copy(tmp_path):
    folder = scan(tmp_path / "scan", "regular")
    changed = dcmread(folder / "003.dcm")
    changed.PixelData = bytes(len(changed.PixelData))
    save(changed, folder / "000 processed.dcm")
    with pytest.raises(InputError, match="mixes several images"):
        read_image(folder, "fixed image")


def test_an_enhanced_file_of_each_slice(tmp_path):
    folder, series = tmp_path / "scan", generate_uid()
    folder.mkdir()
    for k in range(20):
        write_enhanced(folder / f"{k:03d}.dcm", image_at(), [k])
        one = dcmread(folder / f"{k:03d}.dcm")
        one.SeriesInstanceUID, one.FrameOfReferenceUID = series, "1.2.3"
        save(one, folder / f"{k:03d}.dcm")
    assert error_of(read_image(folder)) < 0.2
    with pytest.raises(InputError, match="one slice of a DICOM series; 20 slices"):
        read_image(folder / "004.dcm")


def test_what_a_maker_keeps_in_a_frame_does_not_count(tmp_path):
    path = write_enhanced(tmp_path / "enhanced.dcm", image_at(), range(20))
    whole = dcmread(path)
    for frame in whole.PerFrameFunctionalGroupsSequence:
        own = Dataset()
        own.PixelSpacing = [9, 9]
        frame.private_block(0x2005, "A maker", create=True).add_new(0x0F, "SQ", [own])
    save(whole, path)
    assert read_image(path).grid.same_as(GRID, 1e-3)


@pytest.mark.parametrize("implicit", [True, False])
def test_slices_without_the_header_of_a_file(tmp_path, implicit):
    """As old archives write them, with the UID for a name."""
    folder = scan(tmp_path / "scan", "regular")
    for k, file in enumerate(sorted(folder.iterdir())):
        one = dcmread(file)
        one.file_meta, one.preamble = FileMetaDataset(), None
        pydicom.dcmwrite(folder / f"1.2.840.{k}", one, implicit_vr=implicit, little_endian=True, force_encoding=True)
        file.unlink()
    assert error_of(read_image(folder)) < 0.2


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_slices_have_the_values_of_plain_ones(tmp_path, inverted, signed):
    """Lossless JPEG, which GDCM writes and decodes; it turns MONOCHROME1 round within the stored bits."""
    values = (np.arange(16 * 12).reshape(12, 16) * 7) % 1000
    piece = sitk.GetImageFromArray(values.astype(np.int16 if signed else np.uint16))
    for tag, value in (("0008|0060", "MR"), ("0020|0032", "0\\0\\0"), ("0020|0037", "1\\0\\0\\0\\1\\0")):
        piece.SetMetaData(tag, value)
    read = {}
    for compressor in ("", "JPEG2000"):
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "one.dcm"))
        writer.SetUseCompression(bool(compressor))
        if compressor:
            writer.SetCompressor(compressor)
        writer.Execute(piece)
        if inverted:
            one = dcmread(tmp_path / "one.dcm")
            one.PhotometricInterpretation = "MONOCHROME1"
            one.save_as(tmp_path / "one.dcm")
        encapsulated = dcmread(tmp_path / "one.dcm").file_meta.TransferSyntaxUID.is_compressed
        assert encapsulated == bool(compressor)
        read[compressor] = read_image(tmp_path / "one.dcm").values
    assert (read[""] == read["JPEG2000"]).all()
    assert (read[""][0] == (values.max() - values if inverted else values)).all()


def test_large_values_and_positions_that_are_rounded(tmp_path):
    """0.625 mm apart, written to a tenth of a millimeter; 32 bits with an intercept."""
    grid = make_grid((12, 12, 40), (1.0, 1.0, 0.625), np.eye(3))
    image = Image(np.random.default_rng(0).random(grid.shape_kji).astype(np.float32) * 100, grid)

    def rounded(k, header):
        header.ImagePositionPatient = [f"{value:.1f}" for value in header.ImagePositionPatient]
        header.BitsAllocated = header.BitsStored = 32
        header.HighBit, header.RescaleSlope, header.RescaleIntercept = 31, "1", "-10"
        header.PixelData = (np.frombuffer(header.PixelData, np.uint16).astype(np.uint32) + 4_000_000_000).tobytes()

    read = read_image(write_series(tmp_path / "scan", image, change=rounded))
    assert read.grid.size_ijk == grid.size_ijk and not read.notes
    assert (read.values - 3_999_999_990 == (image.values * 10).astype(np.uint16)).all()


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "EchoNumbers", "TriggerTime"])
def test_a_tag_that_some_slices_lack_or_that_varies_does_not_part_a_volume(tmp_path, tag):
    def some(k, header):
        if tag == "TriggerTime":
            header.TriggerTime = str(10 + k % 3)
        elif k % 3:
            setattr(header, tag, 1)

    image = read_image(write_series(tmp_path / "scan", image_at(), change=some))
    assert error_of(image) < 0.2 and not image.notes


# ------------------------------------------------------------------ series in time


def _beating(folder, tag, values, series=None):
    """Frames of one place in one folder, the later ones first; frame n is brighter by n."""
    for number, value in enumerate(values):

        def stamp(k, header, value=value, number=number):
            if series is not None:
                header.SeriesInstanceUID = series if isinstance(series, str) else series[number]
            header.InstanceNumber = (len(values) - number) * 100 + k
            if tag:
                setattr(header, tag, value)

        image = Image(SMALL.values + number, SMALL.grid)
        write_series(folder, image, study="1.2.3", frame="1.2.4", change=stamp, prefix=f"{len(values) - number}_")
    return folder


SMALL = Image(np.full((6, 8, 10), 5, np.float32), make_grid((10, 8, 6), (2.0, 2.0, 3.0), np.eye(3)))


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("TemporalPositionIdentifier", (1, 2, 10)),
        ("TriggerTime", (0, 400, 1000)),
        ("AcquisitionTime", ("090000", "090001", "100000")),
        ("", (None, None, None)),
    ],
)
def test_the_frames_of_a_series_in_time_come_in_their_order(tmp_path, tag, values):
    frames = read_frames([str(_beating(tmp_path / "cine", tag, values, "1.2.5"))], "frames")
    in_time = [5, 6, 7] if tag else [7, 6, 5]  # their headers know nothing but their numbers, which run the other way
    assert [float(frame.values.mean()) / 10 for frame in frames] == in_time
    assert [frame.name for frame in frames] == ["cine, frame 0", "cine, frame 1", "cine, frame 2"]
    assert all(frame.grid.same_as(SMALL.grid, 1e-4) for frame in frames)


def test_a_series_for_each_frame_is_a_series_too(tmp_path):
    folder = _beating(tmp_path / "4dct", "AcquisitionTime", ("090000", "090001", "090002"), ["1.5", "1.6", "1.7"])
    frames = read_frames([str(folder)], "frames")
    assert [float(frame.values.mean()) / 10 for frame in frames] == [5, 6, 7]
    assert "Each of the 3 series" in frames[0].notes[0]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda n, header: setattr(header, "FrameOfReferenceUID", f"1.2.{n + 7}"), "several places or examinations"),
        (lambda n, header: setattr(header, "DiffusionBValue", 500.0 * n), "several b values"),
        (lambda n, header: delattr(header, "AcquisitionTime"), "several series without times"),
    ],
)
def test_images_that_are_no_series_in_time_are_refused(tmp_path, spoil, text):
    for number in range(3):

        def stamp(k, header, number=number):
            header.AcquisitionTime, header.AcquisitionNumber = f"09000{number}", number + 1
            spoil(number, header)

        image = Image(SMALL.values + number, SMALL.grid)
        write_series(tmp_path / "some", image, study="1.2.3", frame="1.2.4", change=stamp, prefix=f"{number}_")
    with pytest.raises(InputError, match=text):
        read_frames([str(tmp_path / "some")], "frames")


def test_one_volume_is_no_series(tmp_path):
    write_series(tmp_path / "one", SMALL)
    with pytest.raises(InputError, match="is one volume, not a series"):
        read_frames([str(tmp_path / "one")], "frames")
    _beating(tmp_path / "two", "TriggerTime", (0, 1), "1.8")
    for file in (tmp_path / "two").iterdir():
        file.rename(tmp_path / "two" / f"a{file.name}")
    _beating(tmp_path / "two", "TriggerTime", (0, 1), "1.9")
    with pytest.raises(InputError, match="contains 2 series of several images"):
        read_frames([str(tmp_path / "two")], "frames")
